"""What a notice promises: a sentence once this machine will be taken back, and silence for whatever else comes."""

import gzip
import json
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Event

import pytest
from contract.web import Asked, Handle, reply, serving

from esfsm import plugins
from esfsm.adapters.notices import KNOWN
from esfsm.adapters.notices.file import FileNotice
from esfsm.adapters.notices.web import WebNotice
from esfsm.errors import UnusableInput

BACK = "says that this machine will be taken back"
AMAZON = "/latest/meta-data/spot/instance-action"
GOOGLE = "/computeMetadata/v1/instance/preempted"
AZURE = "/metadata/scheduledevents?api-version=2020-07-01"
AZURE_NAME = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"


@pytest.mark.parametrize("scheme", sorted(KNOWN))
def test_a_scheme_has_a_notice_that_is_silent_where_nothing_is(scheme: str, tmp_path: Path) -> None:
    place = str(tmp_path / "nowhere") if scheme == "file" else f"{scheme}://127.0.0.1:9/discard"
    assert plugins.find("notices", scheme)(place).look() is None


# --- a file ---


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        (b"", ""),
        (b"\n \n", ""),
        (b"drained at noon", ": drained at noon"),
        (b"\n drained at noon \nby root\n", ": drained at noon "),
        (b"\x1b[2Jgone\x07", ": ?[2Jgone?"),
        (b"caf\xc3\xa9 \xff", ": caf\u00e9 \ufffd"),
        (b"x" * 5000, ": " + "x" * 200),
        ("é".encode() * 5000, ": " + "é" * 200),
    ],
)
def test_a_file_that_is_there_tells(contents: bytes, said: str, tmp_path: Path) -> None:
    notice = FileNotice(tmp_path / "notice")
    assert notice.look() is None
    (tmp_path / "notice").write_bytes(contents)
    assert notice.look() == f"{tmp_path}/notice {BACK}{said}"
    (tmp_path / "notice").unlink()
    assert notice.look() is None


def test_a_file_may_be_told_by_its_url(tmp_path: Path) -> None:
    (tmp_path / "notice").touch()
    assert FileNotice(f"file://{tmp_path}/notice").look() == f"{tmp_path}/notice {BACK}"


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["directory", "pipe"])
def test_what_cannot_be_read_is_there_all_the_same(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "notice")
    assert FileNotice(tmp_path / "notice").look() == f"{tmp_path}/notice {BACK}"


@pytest.mark.parametrize("place", ["file/notice", "x" * 300, "nothing"])
def test_a_place_that_cannot_be_has_no_file(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "nothing").symlink_to(tmp_path / "gone")
    assert FileNotice(tmp_path / place).look() is None


# --- an address ---


def looked_at(path: str, handle: Handle, headers: dict[str, str] | None = None) -> str | None:
    """What is told of an address whose server answers so."""
    with serving(handle) as url:
        return WebNotice(url + path, headers, patience_s=0.5).look()


def told(path: str, body: bytes, status: int = 200) -> str | None:
    return looked_at(path, lambda asked: reply(asked, body, status))


def preempt(*machines: str, kind: str = "Preempt", **more: object) -> bytes:
    """What Azure sends when it will do something with these machines."""
    event = {"EventId": "1", "EventType": kind, "ResourceType": "VirtualMachine", "Resources": machines, **more}
    return json.dumps({"DocumentIncarnation": 1, "Events": [event]}).encode()


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        (AMAZON, b'{"action": "terminate", "time": "2026-11-23T08:22:00Z"}', "terminate at 2026-11-23T08:22:00Z"),
        (AMAZON, b'{"action": "stop", "time": "soon", "more": 1}\n', "stop at soon"),
        (GOOGLE, b"TRUE", "preempted"),
        (GOOGLE, b"true\n", "preempted"),
        (AZURE, preempt("node7", NotBefore="Mon, 23 Nov 2026 08:22:00 GMT"), "not before Mon, 23 Nov 2026 08:22:00"),
        (AZURE, preempt("node7"), "Preempt, not before now"),
        ("/drain", b"at noon\nby root\n", "at noon by root"),
        ("/drain", b"TRUE", "TRUE"),
        ("/drain", b"x" * 5000, "x" * 200),
    ],
)
def test_a_cloud_that_takes_the_machine_back_is_heard(path: str, body: bytes, said: str) -> None:
    sentence = told(path, body)
    assert sentence is not None
    assert sentence.startswith(f"localhost {BACK}: ")
    assert said in sentence
    assert "x" * 201 not in sentence


@pytest.mark.parametrize(
    ("path", "body"),
    [
        *((path, b"") for path in (AMAZON, GOOGLE, AZURE, "/drain")),
        *((path, b"FALSE") for path in (AMAZON, GOOGLE, AZURE, "/drain")),
        *((path, b"<html>Please log in</html>") for path in (AMAZON, GOOGLE, AZURE)),
        *((path, body) for path in (AMAZON, AZURE) for body in (b"{}", b"[]", b"null", b'"x"', b"[" * 60000, b"\xff")),
        (AMAZON, b'{"action": null, "time": null}'),
        (AZURE, b'{"DocumentIncarnation": 1, "Events": []}'),
        (AZURE, b'{"Events": [{"EventType": 1}]}'),
        *((AZURE, preempt("node7", kind=kind)) for kind in ("Reboot", "Redeploy", "Freeze")),
        ("/drain", b" \n"),
        ("/drain", b"false\n"),
        ("/drain", b"\xff\xfe"),
        ("/drain", gzip.compress(b"at noon")),
        ("/drain", b"x" * 70000),
    ],
)
def test_a_body_that_says_something_else_says_nothing(path: str, body: bytes) -> None:
    assert told(path, body) is None


@pytest.mark.parametrize("status", [204, 301, 400, 401, 403, 404, 410, 429, 500, 503])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        (AMAZON, b'{"action": "stop", "time": "soon"}'),
        (GOOGLE, b"TRUE"),
        (AZURE, preempt("node7")),
        ("/drain", b"x"),
    ],
)
def test_any_status_but_200_says_nothing(path: str, body: bytes, status: int) -> None:
    assert told(path, b"" if status == 204 else body, status) is None


def test_an_answer_from_elsewhere_says_nothing() -> None:
    def handle(asked: Asked) -> bytes:
        return reply(asked, b"log in", 200) if asked.path == "/login" else reply(asked, b"", 302, Location="/login")

    assert looked_at("/drain", handle) is None


@pytest.mark.parametrize(
    ("path", "name", "value"), [(GOOGLE, "Metadata-Flavor", "Google"), (AZURE, "Metadata", "true")]
)
def test_a_cloud_is_asked_in_the_way_that_it_wants(path: str, name: str, value: str) -> None:
    body = {GOOGLE: b"TRUE", AZURE: preempt("node7")}[path]

    def handle(asked: Asked) -> bytes:
        return reply(asked, body, 200 if asked.headers.get(name) == value else 403)

    assert looked_at(path, handle) is not None


def test_headers_that_were_given_are_told() -> None:
    def handle(asked: Asked) -> bytes:
        return reply(asked, b"at noon", 200 if asked.headers.get("X-Key") == "secret" else 403)

    assert looked_at("/drain", handle, {"X-Key": "secret"}) == f"localhost {BACK}: at noon"
    assert looked_at("/drain", handle) is None


def test_a_header_that_cannot_be_told_is_no_error() -> None:
    assert looked_at("/drain", lambda asked: reply(asked, b"at noon"), {"X-Key": "a\nb"}) is None


# --- Amazon's tokens ---


def amazon(token: bytes, token_status: int = 200) -> Handle:
    """A machine that answers only with a token."""

    def handle(asked: Asked) -> bytes:
        type(asked).do_PUT = handle  # type: ignore[attr-defined]
        if asked.command == "PUT":
            wanted = asked.path == "/latest/api/token" and asked.headers["X-aws-ec2-metadata-token-ttl-seconds"]
            return reply(asked, token, token_status if wanted else 400)
        if asked.headers.get("X-aws-ec2-metadata-token") == "t0ken":
            return reply(asked, b'{"action": "terminate", "time": "soon"}')
        return reply(asked, b"", 401)

    return handle


def test_a_machine_that_wants_a_token_gets_it() -> None:
    assert looked_at(AMAZON, amazon(b"t0ken")) == f"localhost {BACK}: terminate at soon"


@pytest.mark.parametrize(("token", "status"), [(b"t0ken", 403), (b"other", 200), (b"", 200), (b"a\nb", 200)])
def test_a_token_that_does_not_help_is_no_error(token: bytes, status: int) -> None:
    assert looked_at(AMAZON, amazon(token, status)) is None


# --- Azure's machines ---


def azure(events: bytes, name: bytes, name_status: int = 200) -> Handle:
    """A machine of this name."""

    def handle(asked: Asked) -> bytes:
        return reply(asked, name, name_status) if asked.path == AZURE_NAME else reply(asked, events)

    return handle


@pytest.mark.parametrize(("machines", "ours"), [(["node7"], True), (["node6", "node7"], True), (["node6"], False)])
def test_what_befalls_another_machine_is_none_of_ours(machines: list[str], ours: bool) -> None:
    assert (looked_at(AZURE, azure(preempt(*machines), b"node7")) is not None) is ours


@pytest.mark.parametrize(("name", "status"), [(b"", 200), (b"node7", 404), (b"node7<br>", 200), (b"\xff", 200)])
def test_a_machine_that_does_not_know_its_name_takes_it_for_its_own(name: bytes, status: int) -> None:
    assert looked_at(AZURE, azure(preempt("node6"), name, status)) is not None


# --- what goes wrong on the way ---


def test_nobody_there_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    assert WebNotice(f"http://127.0.0.1:{port}/drain").look() is None


def test_a_server_that_never_answers_is_not_waited_for() -> None:
    over = Event()
    with serving(lambda _: over.wait(20)) as url:
        try:
            assert WebNotice(url + "/drain", patience_s=0.1).look() is None
            assert not over.is_set()
        finally:
            over.set()


@pytest.mark.parametrize("piece", [b"x", b"x" * 10000], ids=["slow", "large"])
def test_a_body_without_an_end_is_not_waited_for(piece: bytes) -> None:
    over = Event()

    def handle(asked: Asked) -> None:
        asked.send_response(200)
        asked.end_headers()
        with suppress(OSError):  # until nobody listens
            while not over.wait(0.01):
                asked.wfile.write(piece)

    with serving(handle) as url:
        try:
            assert WebNotice(url + "/drain", patience_s=0.2).look() is None
        finally:
            over.set()


@pytest.mark.parametrize(
    "url", ["", "drain", "/drain", "ftp://here/drain", "http://", "http:///drain", "http://[::1/x", "http://here:x/"]
)
def test_what_is_no_address_is_refused_at_once(url: str) -> None:
    with pytest.raises(UnusableInput, match=r"http://host/path is expected"):
        WebNotice(url)
