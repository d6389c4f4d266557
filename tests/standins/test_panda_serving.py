"""The PanDA stand-in at a real port: what is carried, who is let in, and that it can be stopped and started again."""

import http.client
import json
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from time import monotonic

import pytest
import trustme

from esfsm.adapters.communicators.address import read_address
from esfsm.adapters.communicators.connection import Connection
from esfsm.adapters.communicators.identity import Identity, Proxy, Token
from esfsm.errors import UnusableInput, WireError
from esfsm.standins.panda.books import SILENCE_S, Books
from esfsm.standins.panda.envelope import NOBODY, Reply, Who
from esfsm.standins.panda.quirks import QUIRKS
from esfsm.standins.panda.server import PandaServer
from esfsm.standins.panda.tasks import Task
from esfsm.testing.panda import panda_tls, serve_panda
from esfsm.wire.panda.calls import Call

JSON = {"Accept": "application/json", "Content-Type": "application/json"}
ALIVE = Call("GET", "/api/v1/system/is_alive", {"Accept": "application/json"})
JOB = Call("POST", "/api/v1/pilot/acquire_jobs", JSON, b'{"site_name": "TEST_ES"}')
RANGES = Call("POST", "/api/v1/event/acquire_event_ranges", JSON, b'{"job_id": 5001, "jobset_id": 4001, "n_ranges": 2}')
Connect = Callable[..., Connection]


class Noting(PandaServer):
    """Notes who asks."""

    who: Who | None = None

    def answer(self, call: Call, who: Who = NOBODY, *, now_s: float = 0.0) -> Reply:
        self.who = who
        return super().answer(call, who, now_s=now_s)


@pytest.fixture
def task(books: Books) -> Books:
    """Two hundred ranges and a running job."""
    books.submit(Task(1001, 4001, 5001, 200, state="running"))
    return books


@pytest.fixture
def connect() -> Iterator[Connect]:
    opened: list[Connection] = []

    def connect(url: str, identity: Identity | None = None, **options: object) -> Connection:
        opened.append(Connection(read_address("server", url), identity or Proxy(None), **options))
        return opened[-1]

    yield connect
    for each in opened:
        each.close()


def data(body: bytes) -> object:
    return json.loads(body)["data"]


# --- what is carried ---


def test_a_job_from_its_beginning_to_its_end(books: Books, connect: Connect) -> None:
    books.submit(Task(1001, 4001, 5001, 2, state="activated"))
    with serve_panda(PandaServer(books), ends_jobs=True, clock=lambda: 7.0) as panda:
        pilot = connect(panda.url)
        assert data(pilot(JOB).body)["jobs"][0]["PandaID"] == 5001
        names = [each["eventRangeID"] for each in data(pilot(RANGES).body)]
        ranges = json.dumps([{"eventRangeID": name, "eventStatus": "finished"} for name in names])
        said = json.dumps({"event_ranges": ranges}).encode()
        assert pilot(Call("POST", "/api/v1/event/update_event_ranges", JSON, said)).status == 200
        last = b'{"job_id": 5001, "job_status": "finished"}'
        assert data(pilot(Call("POST", "/api/v1/pilot/update_job", JSON, last)).body)["command"] == "NULL"
        assert books.jobs()[0].state == "holding"
        assert json.loads(pilot(JOB).body)["message"] == "No jobs in PanDA"
    assert books.jobs()[0].state == "merging"
    assert [beat.at_s for beat in books.heartbeats()] == [7.0]
    assert panda.calls == {
        "acquire_jobs": 2,
        "acquire_event_ranges": 1,
        "update_event_ranges": 1,
        "update_job": 1,
    }
    assert panda.bytes_in == 2 * len(JOB.body) + len(RANGES.body) + len(said) + len(last)
    assert panda.bytes_out > 2000


@pytest.mark.parametrize(
    ("verb", "path", "status", "reason", "content_type"),
    [
        ("GET", "/api/v1/system/is_alive", 200, "OK", "text/plain"),
        ("GET", "/server/panda/checkEventsAvailability?pandaID=1&jobsetID=1&taskID=1", 200, "OK", "application/json"),
        ("GET", "/server/panda/getEventRanges", 500, "INTERNAL SERVER ERROR", "text/plain"),
        ("POST", "/api/v1/event/no_such_method", 403, "Forbidden", "text/plain"),
        ("GET", "/", 403, "Forbidden", "text/plain"),
    ],
)
def test_the_head_of_a_reply_is_the_real_one(
    task: Books, verb: str, path: str, status: int, reason: str, content_type: str
) -> None:
    with serve_panda(PandaServer(task)) as panda, closing(http.client.HTTPConnection("127.0.0.1", panda.port)) as line:
        line.request(verb, path)
        reply = line.getresponse()
        assert (reply.status, reply.reason, reply.headers["Content-Type"]) == (status, reason, content_type)
        assert len(reply.read()) == int(reply.headers["Content-Length"])


def test_a_connection_is_kept_for_many_calls_and_let_go_at_the_end(task: Books) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1")) as line:
        with serve_panda(PandaServer(task)) as panda:
            line.port = panda.port
            for _ in range(3):
                line.request("GET", ALIVE.path)
                assert line.getresponse().read()
                mine = line.sock.getsockname() if line.sock else None
                assert mine is not None
            assert line.sock is not None
            assert line.sock.getsockname() == mine
        assert line.sock.recv(1) == b""


@pytest.mark.parametrize("size", ["-1", "many", str(1 << 40)])
def test_a_body_of_no_good_size_is_not_read(task: Books, size: str) -> None:
    with serve_panda(PandaServer(task)) as panda, closing(http.client.HTTPConnection("127.0.0.1", panda.port)) as line:
        line.putrequest("POST", ALIVE.path)
        line.putheader("Content-Length", size)
        line.endheaders()
        assert line.getresponse().status == 413
    assert panda.calls == {}


def test_several_clients_get_each_range_once(task: Books, connect: Connect) -> None:
    with serve_panda(PandaServer(task)) as panda, ThreadPoolExecutor(8) as threads:
        pilot = connect(panda.url)
        answers = list(threads.map(lambda _: data(pilot(RANGES).body), range(100)))
    names = [each["eventRangeID"] for ranges in answers for each in ranges]
    assert len(names) == len(set(names)) == 200
    assert panda.calls["acquire_event_ranges"] == 100


def test_a_reply_may_take_its_time(task: Books, connect: Connect) -> None:
    with serve_panda(PandaServer(task), reply_after_s=0.05) as panda:
        began = monotonic()
        assert connect(panda.url)(ALIVE).status == 200
        assert monotonic() - began >= 0.05


@pytest.mark.parametrize(
    ("quirk", "why"),
    [("lost-reply", "without response|Connection aborted|RemoteDisconnected"), ("stalled", r"took longer than 0\.2 s")],
)
def test_what_was_done_may_remain_unheard(task: Books, connect: Connect, quirk: str, why: str) -> None:
    with serve_panda(PandaServer(task, quirks={quirk: 1.0})) as panda, pytest.raises(WireError, match=why):
        connect(panda.url, reply_s=0.2)(RANGES)
    assert task.counts()["sent"] == 2
    assert (panda.calls["acquire_event_ranges"], panda.bytes_out) == (1, 0)


def test_a_proxy_page_is_no_answer_of_panda(task: Books, connect: Connect) -> None:
    with serve_panda(PandaServer(task, quirks={"html-proxy": 1.0})) as panda:
        assert connect(panda.url)(RANGES).status == 502
    assert task.counts()["sent"] == 0


def test_jobs_are_ended_before_others_are_given(task: Books, connect: Connect) -> None:
    now_s = 0.0
    with serve_panda(PandaServer(task), ends_jobs=True, clock=lambda: now_s) as panda:
        pilot = connect(panda.url)
        assert json.loads(pilot(JOB).body)["message"] == "No jobs in PanDA"
        now_s = SILENCE_S + 1
        assert data(pilot(JOB).body)["jobs"][0]["attemptNr"] == 2


def test_it_can_be_stopped_and_started_again_over_the_same_books(tmp_path: Path, connect: Connect) -> None:
    with closing(Books(tmp_path / "panda.db")) as books:
        books.submit(Task(1001, 4001, 5001, 10, state="running"))
        with serve_panda(PandaServer(books)) as panda:
            pilot = connect(panda.url)
            first = data(pilot(RANGES).body)
    with pytest.raises(WireError):
        pilot(RANGES)
    with closing(Books(tmp_path / "panda.db")) as books, serve_panda(PandaServer(books), port=panda.port) as again:
        assert again.url == panda.url
        second = data(pilot(RANGES).body)
        assert [each["startEvent"] for each in (*first, *second)] == [1, 2, 3, 4]


def test_a_port_is_of_one_server(task: Books) -> None:
    with (
        serve_panda(PandaServer(task)) as panda,
        pytest.raises(UnusableInput, match=f"port {panda.port}: .*in use"),
        serve_panda(PandaServer(task), port=panda.port),
    ):
        pass


# --- who is let in ---


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(authority: trustme.CA, tmp_path: Path) -> Path:
    """A directory with the certificates of server and pilot, and one of authorities as OpenSSL looks for them."""
    (tmp_path / "trusted").mkdir()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    digest = subprocess.run(
        ["openssl", "x509", "-hash", "-noout", "-in", tmp_path / "ca.pem"], capture_output=True, text=True, check=True
    ).stdout.strip()
    authority.cert_pem.write_to_path(str(tmp_path / "trusted" / f"{digest}.0"))
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    for name, issuer in (("pilot", authority), ("stranger", trustme.CA())):
        (tmp_path / name).touch(0o600)
        issuer.issue_cert(common_name=name).private_key_and_cert_chain_pem.write_to_path(str(tmp_path / name))
    return tmp_path


@pytest.fixture
def tls(files: Path) -> ssl.SSLContext:
    return panda_tls(files / "server.pem", ca=files / "ca.pem")


def test_a_certificate_says_who_asks(task: Books, connect: Connect, files: Path, tls: ssl.SSLContext) -> None:
    server = Noting(task)
    with serve_panda(server, tls=tls) as panda:
        pilot = connect(panda.url, Proxy(files / "pilot"), ca_directory=files / "trusted")
        assert len(data(pilot(RANGES).body)) == 2
    assert panda.url.startswith("https://")
    assert server.who is not None
    assert server.who.dn is not None
    assert server.who.dn.startswith("/O=trustme")
    assert server.who.dn.endswith("/CN=pilot")
    assert server.who.is_pilot


def test_who_has_no_certificate_is_nobody(task: Books, connect: Connect, files: Path, tls: ssl.SSLContext) -> None:
    with serve_panda(PandaServer(task), tls=tls) as panda:
        reply = connect(panda.url, ca_directory=files / "trusted")(RANGES)
    assert json.loads(reply.body)["message"] == "SSL secure connection is required"
    assert task.counts()["sent"] == 0


def test_a_certificate_of_another_authority_is_not_let_in(
    task: Books, connect: Connect, files: Path, tls: ssl.SSLContext
) -> None:
    server = Noting(task)
    with serve_panda(server, tls=tls) as panda, pytest.raises(WireError):
        connect(panda.url, Proxy(files / "stranger"), ca_directory=files / "trusted")(RANGES)
    assert server.who is None


def test_where_nobody_is_asked_everybody_is_known(task: Books, connect: Connect, files: Path) -> None:
    with serve_panda(PandaServer(task), tls=panda_tls(files / "server.pem")) as panda:
        assert len(data(connect(panda.url, ca_directory=files / "trusted")(RANGES).body)) == 2


@pytest.mark.parametrize(
    ("token", "origin", "status", "said"),
    [
        ("secret", "atlas.pilot", 200, '{"success": true'),
        ("secret", "atlas:pilot", 200, '{"success": true'),
        ("guessed", "atlas.pilot", 403, "ERROR : Token authentication failed. Corrupted token."),
        (
            "secret",
            "atlas.production",
            403,
            "ERROR : Token authentication failed. Not a member of the atlas/production",
        ),
        ("secret", "cms.pilot", 403, "ERROR : Token authentication failed. Unknown vo : cms"),
        (None, None, 200, '{"success": false, "message": "SSL secure connection is required"'),
    ],
)
def test_a_token_says_who_asks(
    task: Books, connect: Connect, tmp_path: Path, token: str | None, origin: str | None, status: int, said: str
) -> None:
    (tmp_path / "token").touch(0o600)
    (tmp_path / "token").write_text(token or "")
    identity = Token(tmp_path / "token", str(origin)) if token else None
    with serve_panda(PandaServer(task), tokens={"secret": "atlas.pilot"}) as panda:
        reply = connect(panda.url, identity)(RANGES)
    assert reply.status == status
    assert reply.body.decode().startswith(said)


@pytest.mark.parametrize("what", ["missing", "no certificate", "no key"])
def test_what_is_no_certificate_is_refused(tmp_path: Path, files: Path, what: str) -> None:
    if what == "no certificate":
        (tmp_path / "it").write_text("hello")
    elif what == "no key":
        (tmp_path / "it").write_bytes((files / "ca.pem").read_bytes())
    with pytest.raises(UnusableInput, match=f"certificates {tmp_path / 'it'}: "):
        panda_tls(tmp_path / "it")


# --- as a process ---

COMMAND = """
import argparse, signal, sys
from esfsm.testing.serve import add_serve, serve
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may ignore it
parser = argparse.ArgumentParser()
add_serve(parser.add_subparsers())
sys.exit(serve(parser.parse_args()))
"""


def command(*given: str) -> list[str]:
    return [sys.executable, "-c", COMMAND, "serve", *given]


def test_it_serves_until_it_is_told_to_stop_and_its_books_stay(tmp_path: Path, connect: Connect) -> None:
    file, port = tmp_path / "panda.db", "0"
    for stop, events in ((signal.SIGTERM, [1, 2]), (signal.SIGKILL, [3, 4]), (signal.SIGINT, [5, 6])):
        given = command("--books", str(file), "--jobs", "2", "--ranges", "6", "--queue", "Q", "--port", port)
        with subprocess.Popen(given, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            port = url.rpartition(":")[2]
            pilot = connect(url)
            if events == [1, 2]:
                assert data(pilot(JOB._replace(body=b'{"site_name": "Q"}')).body)["jobs"][0]["PandaID"] == 5001
            assert [each["startEvent"] for each in data(pilot(RANGES).body)] == events
            process.send_signal(stop)
        assert process.returncode == (0 if stop != signal.SIGKILL else -signal.SIGKILL)
    with closing(Books(file)) as books:
        assert books.counts() == {"sent": 6}
        assert len(books.jobs()) == 2


@pytest.mark.parametrize(("generation", "legacy", "v1"), [("both", 200, 200), ("legacy", 200, 403), ("v1", 403, 200)])
def test_it_speaks_the_generations_that_are_wanted(connect: Connect, generation: str, legacy: int, v1: int) -> None:
    given = command("--generation", generation, "--reply-after", "0.001", "--seed", "3", "--quirk", "rollback=0.5")
    with subprocess.Popen(given, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pilot = connect(process.stdout.readline().strip())
        assert pilot(Call("GET", "/server/panda/getStatus?ids=1", {})).status == legacy
        assert pilot(ALIVE).status == v1
        process.terminate()


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_it_can_be_stopped_before_it_serves(tmp_path: Path, stop: signal.Signals) -> None:
    definition = tmp_path / "definition"
    os.mkfifo(definition)
    with (
        subprocess.Popen(command("--definition", str(definition)), stderr=subprocess.DEVNULL) as process,
        definition.open("w"),
    ):
        process.send_signal(stop)
        assert process.wait(20) == -stop


def test_its_jobs_say_what_they_are_to_say(connect: Connect, tmp_path: Path) -> None:
    said = tmp_path / "said.json"
    said.write_text('{"transformation": "mine.py"}')
    with subprocess.Popen(command("--definition", str(said)), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        jobs = data(connect(process.stdout.readline().strip())(JOB).body)["jobs"]
        process.terminate()
    assert [(job["PandaID"], job["transformation"]) for job in jobs] == [(5001, "mine.py")]


def test_what_its_jobs_say_is_an_object(tmp_path: Path) -> None:
    (tmp_path / "said.json").write_text("[]")
    given = command("--definition", str(tmp_path / "said.json"))
    ended = subprocess.run(given, capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "a JSON object is expected" in ended.stderr


def test_it_serves_over_tls(connect: Connect, files: Path) -> None:
    given = command(
        "--certificate", str(files / "server.pem"), "--ca", str(files / "ca.pem"), "--quirk", "empty-body=1"
    )
    with subprocess.Popen(given, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        reply = connect(url, Proxy(files / "pilot"), ca_directory=files / "trusted")(RANGES)
        process.terminate()
    assert (reply.status, reply.body) == (200, b"")


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (["--quirk", "lost-replies"], "there is no quirk 'lost-replies'"),
        (["--quirk", "rollback=often"], "quirk 'rollback=often': NAME or NAME=PROBABILITY is expected"),
        (["--quirk", "rollback=2"], "a probability is between 0 and 1"),
        (["--jobs", "0"], "--jobs: 1 to 10000 are expected, not 0"),
        (["--ranges", "9" * 20], f"--ranges: 1 to 1000000 are expected, not {'9' * 20}"),
        (["--jobs", "10001"], "--jobs: 1 to 10000 are expected, not 10001"),
        (["--queue", ""], "--queue: a name is expected, not ''"),
        (["--queue", os.fsdecode(b"\xff")], "--queue: a name is expected, not "),
        (["--ranges", "-3"], "--ranges: 1 to 1000000 are expected, not -3"),
        (["--reply-after", "nan"], "--reply-after: 0 to 3600 seconds are expected, not nan"),
        (["--port", "70000"], "port 70000: "),
        (["--books", os.devnull + "/panda.db"], "books /dev/null/panda.db: "),
        (["--key", "x"], "--key and --ca are nothing without --certificate"),
        (["--certificate", "/nowhere.pem"], "certificates /nowhere.pem: "),
        (["--definition", "/nowhere.json"], "--definition /nowhere.json: "),
        (["--definition", __file__], f"--definition {__file__}: "),
    ],
)
def test_what_cannot_be_used_is_told_in_one_sentence(given: list[str], why: str) -> None:
    ended = subprocess.run(command(*given), capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert why in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_the_help_tells_the_quirks() -> None:
    told = subprocess.run(command("--help"), capture_output=True, text=True, check=True).stdout
    for name, said in QUIRKS.items():
        assert f"{name}: {said}" in told
