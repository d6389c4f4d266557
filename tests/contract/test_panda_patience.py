"""How long a PanDA server is waited for: a call has an end, whatever the server does, and any thread may end it."""

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from threading import Event

import pytest
from contract.web import Asked, reply, serving

from esfsm.adapters.communicators.address import read_address
from esfsm.adapters.communicators.connection import Connection
from esfsm.adapters.communicators.identity import Proxy
from esfsm.adapters.communicators.jobs.panda import open_jobs
from esfsm.adapters.communicators.line import Line
from esfsm.errors import WireError
from esfsm.model.settings import Settings
from esfsm.standins.panda.books import Books
from esfsm.standins.panda.server import PandaServer
from esfsm.testing.panda import serve_panda
from esfsm.wire.panda.calls import Call, Reply

CALL = Call("GET", "/", {})
TRICKLE_S = 0.02
PATIENCE_S = 10.0
"""What a test waits for takes some hundredths of it."""


def connection(url: str, reply_s: float = 120.0) -> Connection:
    return Connection(read_address("server", url), Proxy(None), reply_s=reply_s)


class Slow:
    """Says a part of a reply, and then a byte now and then until the test is over, or nothing."""

    def __init__(self, said: bytes, trickle: bytes) -> None:
        self._said, self._trickle = said, trickle
        self.asked, self.over = Event(), Event()

    def __call__(self, asked: Asked) -> None:
        asked.close_connection = True
        asked.wfile.write(self._said)
        self.asked.set()
        while not self.over.wait(TRICKLE_S if self._trickle else PATIENCE_S):
            asked.wfile.write(self._trickle)


SLOW = {
    "silent": (b"", b""),
    "a byte of a header now and then": (b"HTTP/1.1 200 OK\r\nX-A: ", b"a"),
    "a header now and then": (b"HTTP/1.1 200 OK\r\n", b"X-A: 1\r\n"),
    "a byte of the body now and then": (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b" "),
    "half a chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n{", b""),
    "a body without a length": (b"HTTP/1.1 200 OK\r\n\r\n{}", b""),
}


@contextmanager
def slow_server(how: str) -> Iterator[tuple[Slow, str]]:
    slow = Slow(*SLOW[how])
    with serving(slow) as url:
        yield slow, url
        slow.over.set()


@pytest.mark.parametrize("how", SLOW)
def test_a_call_takes_no_longer_than_it_may(how: str) -> None:
    with (
        slow_server(how) as (_, url),
        closing(connection(url, 0.2)) as ask,
        pytest.raises(WireError, match=rf"{url}: the reply took longer than 0\.2 s"),
    ):
        ask(CALL)


@contextmanager
def nobody_accepts() -> Iterator[int]:
    """The port of a server whose queue is full: the system lets nobody connect, and says nothing."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=0)) as server:
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(server.getsockname())
        yield server.getsockname()[1]
        for each in waiting:
            each.close()


@contextmanager
def nobody_speaks() -> Iterator[int]:
    """The port of a server that accepts and says nothing, in no TLS either."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize(("scheme", "server"), [("http", nobody_accepts), ("https", nobody_speaks)])
def test_a_call_takes_no_longer_where_no_connection_comes_about(
    scheme: str, server: Callable[[], AbstractContextManager[int]]
) -> None:
    with (
        server() as port,
        closing(connection(f"{scheme}://127.0.0.1:{port}", 0.2)) as ask,
        pytest.raises(WireError, match=r"took longer than 0\.2 s"),
    ):
        ask(CALL)


@contextmanager
def in_a_thread(do: Callable[[], object]) -> Iterator[Future[object]]:
    with ThreadPoolExecutor(1) as thread:
        yield thread.submit(do)


@pytest.mark.parametrize("how", SLOW)
def test_a_call_that_is_under_way_ends_when_the_connection_is_closed(how: str) -> None:
    with slow_server(how) as (slow, url), closing(connection(url)) as ask, in_a_thread(lambda: ask(CALL)) as call:
        assert slow.asked.wait(PATIENCE_S)
        ask.close()
        with pytest.raises(WireError, match=f"{url}: the connection was closed"):
            call.result(PATIENCE_S)


def test_a_line_that_was_cut_before_it_was_connected_is_never_connected() -> None:
    asked: list[Asked] = []
    with serving(asked.append) as url, closing(Line(read_address("server", url), None)) as line:
        line.cut("it is over")
        with pytest.raises(WireError, match="it is over"):
            line(CALL, {}, PATIENCE_S)
    assert asked == []


def test_a_connection_that_was_closed_asks_nobody() -> None:
    asked: list[Asked] = []
    with serving(asked.append) as url:
        ask = connection(url)
        ask.close()
        ask.close()
        with pytest.raises(WireError, match="the connection was closed"):
            ask(CALL)
    assert asked == []


def test_a_pilot_need_not_wait_for_a_job(tmp_path: Path) -> None:
    asked = Event()

    def clock() -> float:
        asked.set()
        return 0.0

    with (
        closing(Books()) as books,
        serve_panda(PandaServer(books, quirks={"stalled": 1.0}), clock=clock) as panda,
        closing(open_jobs(Settings(panda_server=panda.url, queue="Q"), tmp_path)) as jobs,
        in_a_thread(jobs.fetch) as fetch,
    ):
        assert asked.wait(PATIENCE_S)
        jobs.close()
        with pytest.raises(WireError, match="closed"):
            fetch.result(PATIENCE_S)


def test_a_line_is_kept_for_many_calls_and_left_when_the_server_hangs_up() -> None:
    peers: list[object] = []

    def handle(asked: Asked) -> None:
        peers.append(asked.client_address)
        asked.close_connection = len(peers) == 2
        reply(asked, b"{}")

    with serving(handle) as url, closing(connection(url)) as ask:
        assert [ask(CALL) for _ in range(3)] == [Reply(200, b"{}")] * 3
    assert peers[0] == peers[1] != peers[2]
