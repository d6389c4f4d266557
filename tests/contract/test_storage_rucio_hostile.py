"""What servers, RSEs, other writers and crashes can do to a copy by Rucio; its promises are in the file beside this."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event

import pytest

pytest.importorskip("rucio.client", reason="Rucio's client is not installed: pip install 'esfsm[rucio]'")

from contract.rucio import CONTENT, RSE, SCOPE, STATES, STORED, Refusal, Server, fresh, known, refused, server
from rucio.common.config import clean_cached_config
from rucio.common.exception import DestinationNotAccessible
from rucio.rse import rsemanager
from rucio.rse.protocols.posix import Default as Posix

from esfsm.adapters.storage.rucio import RucioStorage
from esfsm.errors import PilotErrorCode


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    with TemporaryDirectory(prefix="esfsm-rucio-") as home, server(Path(home)) as made:
        yield made


@pytest.fixture
def there(running: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with fresh(running, monkeypatch):
        yield running


@pytest.fixture
def storage() -> RucioStorage:
    return RucioStorage(2.0)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (path := tmp_path / "EventService_premerge_1.tar").write_bytes(CONTENT)
    return path


def test_a_put_asks_for_its_rse_and_reports_nothing_by_ways_that_know_no_time_limit(
    there: Server, storage: RucioStorage, source: Path
) -> None:
    rsemanager.RSE_REGION.invalidate()
    storage.put(source, there.url("a.tar"))
    assert there.asked.count(f"GET rses/{RSE}") == 2
    assert not [request for request in there.asked if "traces" in request]


def test_a_file_that_its_rse_has_lost_is_said_not_to_be_there(
    there: Server, storage: RucioStorage, source: Path, tmp_path: Path
) -> None:
    url = known(there, source, "a.tar", CONTENT)
    there.path("a.tar").unlink()
    assert refused(storage.get, url, tmp_path / "x").pilot_error_code == PilotErrorCode.NOSUCHFILE
    assert "No such file" in refused(storage.put, source, url).why


@pytest.mark.parametrize("request_", ["POST replicas", "POST rules", "PUT replicas"], ids=["claim", "rule", "end"])
def test_a_put_that_is_killed_is_ended_by_the_next(
    there: Server, storage: RucioStorage, source: Path, request_: str
) -> None:
    put = "from esfsm.adapters.storage.rucio import *; import sys, pathlib as p; a, b = sys.argv[1:]\n"
    put += "RucioStorage(2.0).put(p.Path(a), b)"
    writers: list[subprocess.Popen[bytes]] = []

    def kill(request: str) -> None:
        if request == request_:
            writers[0].kill()
            raise Refusal(500, "RucioException", "killed")

    there.fault = kill
    with subprocess.Popen([sys.executable, "-c", put, source, there.url("a.tar")]) as writer:
        writers.append(writer)
    assert writer.returncode == -signal.SIGKILL
    assert "AVAILABLE" not in there.replicas.values()
    there.fault = lambda request: None
    assert storage.put(source, there.url("a.tar"))[:2] == STORED
    assert there.contents() == {"a.tar": CONTENT}
    assert (there.replicas, there.rules) == ({"a.tar": "AVAILABLE"}, ["a.tar"])


def test_a_copy_that_was_claimed_and_never_registered_is_registered_by_the_next_put(
    there: Server, storage: RucioStorage, source: Path
) -> None:
    url = known(there, source, "a.tar", CONTENT)
    there.replicas["a.tar"] = "COPYING"
    before = there.path("a.tar").stat().st_ino
    assert refused(storage.get, url, source.with_name("x")).pilot_error_code == PilotErrorCode.NOSUCHFILE
    assert storage.put(source, url)[:2] == STORED
    assert there.replicas == {"a.tar": "AVAILABLE"}
    assert there.path("a.tar").stat().st_ino == before


def test_a_copy_of_which_the_catalogue_knows_nothing_is_registered_by_the_next_put(
    there: Server, storage: RucioStorage, source: Path
) -> None:
    url = known(there, source, "a.tar", CONTENT)
    before = there.path("a.tar").stat().st_ino
    there.forget()
    assert storage.put(source, url)[:2] == STORED
    assert there.dids == {"a.tar": {"bytes": STORED[0], "adler32": STORED[1]}}
    assert (there.replicas, there.rules) == ({"a.tar": "AVAILABLE"}, ["a.tar"])
    assert there.path("a.tar").stat().st_ino == before


def test_the_remains_of_a_try_that_was_killed_are_replaced(there: Server, storage: RucioStorage, source: Path) -> None:
    url = known(there, source, "a.tar", CONTENT)
    there.replicas["a.tar"] = "COPYING"
    path = there.path("a.tar")
    path.write_bytes(CONTENT[:1000])
    path.rename(f"{path}.rucio.upload")
    assert storage.put(source, url)[:2] == STORED
    assert there.contents() == {"a.tar": CONTENT}


def test_a_copy_that_the_rse_corrupts_is_removed(
    there: Server, storage: RucioStorage, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as rotting:
        rotting.setattr(Posix, "put", corrupting(Posix.put))
        error = refused(storage.put, source, there.url("a.tar"))
    assert "Checksum mismatch" in error.why
    assert (there.contents(), there.replicas, error.final) == ({}, {"a.tar": "COPYING"}, False)
    assert storage.put(source, there.url("a.tar"))[:2] == STORED


def test_a_file_that_rots_at_the_rse_is_neither_got_nor_believed(
    there: Server, storage: RucioStorage, source: Path, tmp_path: Path
) -> None:
    url = known(there, source, "a.tar", CONTENT)
    there.path("a.tar").write_bytes(b"?" + CONTENT[1:])
    error = refused(storage.get, url, tmp_path / "in" / "x.tar")
    assert error.pilot_error_code == PilotErrorCode.STAGEINFAILED
    assert list((tmp_path / "in").iterdir()) == []
    assert "the RSE has 10240 bytes" in refused(storage.put, source, url).why


@pytest.mark.parametrize("adler32", ["none", "short"])
def test_an_rse_that_tells_checksums_its_own_way_is_understood(
    there: Server, storage: RucioStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, adler32: str
) -> None:
    content = b"\0\1"  # its adler32 is 00030002
    stat = Posix.stat

    def told(self: Posix, pfn: str) -> dict[str, object]:
        found = stat(self, pfn)
        return found | {"adler32": "30002"} if adler32 == "short" else {"filesize": found["filesize"]}

    monkeypatch.setattr(Posix, "stat", told)
    (source := tmp_path / "a.tar").write_bytes(content)
    assert storage.put(source, there.url("a.tar"))[:2] == (2, "00030002")


@pytest.mark.parametrize("other", [CONTENT, b"other"], ids=["same", "other"])
def test_the_second_of_two_writers_never_takes_the_name(
    there: Server, storage: RucioStorage, source: Path, other: bytes
) -> None:
    (second := source.with_name("second.tar")).write_bytes(other)

    def meanwhile(request: str) -> None:
        if request.startswith("GET dids/"):
            there.fault = lambda request: None
            RucioStorage(2.0).put(second, there.url("a.tar"))

    there.fault = meanwhile
    error = refused(storage.put, source, there.url("a.tar"))
    assert (there.contents(), there.replicas) == ({"a.tar": other}, {"a.tar": "AVAILABLE"})
    assert error.final is (other != CONTENT)


@pytest.mark.parametrize(
    ("refusal", "final"),
    [
        (Refusal(503, "ServiceUnavailable", "the database sleeps"), False),
        (Refusal(500, "DatabaseException", "ORA-03113"), False),
        (Refusal(429, "ResourceTemporaryUnavailable", "slow down"), False),
        (Refusal(403, "AccessDenied", "account es can not add file replicas"), True),
        (Refusal(404, "ScopeNotFound", "no scope user.es"), True),
        (Refusal(409, "InsufficientAccountLimit", "the quota of es is used"), True),
    ],
    ids=lambda value: value.name if isinstance(value, Refusal) else "",
)
def test_what_the_server_refuses_is_told_in_its_own_words(
    there: Server, storage: RucioStorage, source: Path, refusal: Refusal, final: bool
) -> None:
    def fault(request: str) -> None:
        if request == "POST replicas":
            raise refusal

    there.fault = fault
    error = refused(storage.put, source, there.url("a.tar"))
    assert error.why.endswith(refusal.message)
    assert (error.pilot_error_code, error.final) == (PilotErrorCode.STAGEOUTFAILED, final)
    assert there.contents() == {}


@pytest.mark.parametrize("answer", ["<html>Sorry</html>", [], {}, None], ids=["text", "nothing", "{}", "null"])
def test_an_answer_that_is_none_of_rucio_may_be_another_the_next_time(
    there: Server, storage: RucioStorage, source: Path, monkeypatch: pytest.MonkeyPatch, answer: object
) -> None:
    monkeypatch.setattr(there, "_do", lambda *_: answer)
    assert not refused(storage.put, source, there.url("a.tar")).final


def test_a_copy_that_the_catalogue_does_not_make_available_is_no_success(
    there: Server, storage: RucioStorage, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(STATES, "A", "COPYING")
    assert "not registered as available" in refused(storage.put, source, there.url("a.tar")).why


def test_a_copy_that_cannot_be_registered_is_no_success_until_it_is(
    there: Server, storage: RucioStorage, source: Path
) -> None:
    def fault(request: str) -> None:
        if request == "PUT replicas":
            raise Refusal(500, "DatabaseException", "ORA-03113")

    there.fault = fault
    assert not refused(storage.put, source, there.url("a.tar")).final
    there.fault = lambda request: None
    assert storage.put(source, there.url("a.tar"))[:2] == STORED


@pytest.mark.parametrize("settings", [{"availability_write": False}, {"deterministic": False}])
def test_an_rse_that_takes_no_files_is_said_to_do_so_for_good(
    there: Server, storage: RucioStorage, source: Path, settings: dict[str, object]
) -> None:
    there.settings |= settings
    assert refused(storage.put, source, there.url("a.tar")).final
    assert (there.contents(), there.dids) == ({}, {})


def test_an_rse_that_nobody_knows_is_refused_for_good(there: Server, storage: RucioStorage, source: Path) -> None:
    assert refused(storage.put, source, f"rucio://ELSEWHERE/{SCOPE}/a.tar").final


@pytest.mark.parametrize("why", ["Permission denied", "No space left on device", "Disk quota exceeded"])
def test_who_may_not_write_is_told_so_for_good(
    there: Server, storage: RucioStorage, source: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise DestinationNotAccessible(why)

    monkeypatch.setattr(Posix, "put", refuse)  # its own words for that are lost in a KeyError
    error = refused(storage.put, source, there.url("a.tar"))
    assert why in error.why
    assert (error.final, there.contents()) == (True, {})


def test_a_token_that_has_ended_is_replaced(there: Server, storage: RucioStorage, source: Path) -> None:
    known(there, source, "a.tar", CONTENT)
    there.token = "another.token"
    assert storage.put(source, there.url("b.tar"))[:2] == STORED
    assert there.asked.count("GET auth/userpass") == 1


def test_a_credential_that_is_refused_may_be_renewed(there: Server, storage: RucioStorage, source: Path) -> None:
    def fault(request: str) -> None:
        raise Refusal(401, "CannotAuthenticate", "Cannot authenticate to account es")

    there.fault = fault
    error = refused(storage.put, source, there.url("a.tar"))
    assert "Cannot authenticate to account es" in error.why
    assert not error.final


def test_a_server_that_is_away_may_come_back(there: Server, storage: RucioStorage, source: Path) -> None:
    there.end()
    try:
        error = refused(storage.put, source, there.url("a.tar"))
        assert (error.pilot_error_code, error.final) == (PilotErrorCode.STAGEOUTFAILED, False)
        refused(storage.names, f"rucio://{RSE}/{SCOPE}")
    finally:
        there.begin()
    assert storage.put(source, there.url("a.tar"))[:2] == STORED


def test_a_server_that_says_nothing_is_not_waited_for(
    there: Server, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        told = there.configuration.read_text().replace(str(there.port), str(silent.getsockname()[1]))
        (tmp_path / "rucio.cfg").write_text(told)
        monkeypatch.setenv("RUCIO_CONFIG", str(tmp_path / "rucio.cfg"))
        clean_cached_config()
        error = refused(RucioStorage(0.5).put, source, there.url("a.tar"))
    assert "timed out" in error.why
    assert not error.final


@pytest.mark.parametrize(
    "request_",
    [
        "GET auth/userpass",
        "POST replicas/list",
        f"GET rses/{RSE}",
        "GET rses",
        "GET accounts/es/scopes",
        "GET dids/user.es/a.tar/meta",
        "POST replicas",
        "POST rules",
        "PUT replicas",
    ],
)
def test_a_server_that_falls_silent_is_not_waited_for(there: Server, source: Path, request_: str) -> None:
    over = Event()

    def fall_silent(request: str) -> None:
        if request == request_:
            over.wait()
            raise Refusal(503, "ServiceUnavailable", "too late")

    there.token = "ended.token"  # so a new one is asked for
    there.fault = fall_silent
    try:
        error = refused(RucioStorage(0.2).put, source, there.url("a.tar"))
    finally:
        over.set()
    assert (error.pilot_error_code, error.final) == (PilotErrorCode.STAGEOUTFAILED, False)


@pytest.mark.parametrize(
    ("configuration", "why"),
    [("[client]\n", "rucio_host"), ("rucio_host = http://rucio.cern.ch\n", "no section headers")],
    ids=["no server", "no section"],
)
def test_a_configuration_that_cannot_be_used_is_a_trouble_for_good(
    there: Server,
    storage: RucioStorage,
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    configuration: str,
    why: str,
) -> None:
    (tmp_path / "rucio.cfg").write_text(configuration)
    monkeypatch.setenv("RUCIO_CONFIG", str(tmp_path / "rucio.cfg"))
    clean_cached_config()
    error = refused(storage.put, source, there.url("a.tar"))
    assert why in error.why
    assert error.final


def test_a_signature_is_never_told(there: Server, storage: RucioStorage, source: Path) -> None:
    def fault(request: str) -> None:
        raise Refusal(500, "RucioException", "no answer from https://s3.cern.ch/es/a.tar?Signature=c2VjcmV0")

    there.fault = fault
    assert refused(storage.put, source, there.url("a.tar")).why.endswith("https://s3.cern.ch/es/a.tar?...")


def corrupting(put: object) -> object:
    def corrupt(self: Posix, source: str, target: str, *given: object, **options: object) -> None:
        put(self, source, target, *given, **options)  # type: ignore[operator]
        path = Path(self.pfn2path(target))
        path.write_bytes(b"?" + path.read_bytes()[1:])

    return corrupt
