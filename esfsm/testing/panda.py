"""The PanDA stand-in behind HTTP or HTTPS on a port of this machine: who asks, when, and what is carried.

    with serve_panda(PandaServer(Books("panda.db")), reply_after_s=0.05) as panda:
        ...  # ask `panda.url`; `panda.calls`, `panda.bytes_in` and `panda.bytes_out` tell how much was asked

It may be stopped at any time and started again at the same port over the same books.
"""

import socket
import ssl
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Lock, Thread
from time import time
from typing import Any
from urllib.parse import urlsplit

from esfsm.errors import UnusableInput
from esfsm.standins.panda.envelope import NOBODY, PILOT, TEXT, Fate, Reply, Who
from esfsm.standins.panda.server import PandaServer
from esfsm.wire.panda.calls import Call

__all__ = ["ServedPanda", "panda_tls", "serve_panda"]

HOST = "127.0.0.1"
STALL_S = 600.0
"""How long a reply that stalls is held back: no pilot waits for so long."""
LARGEST_BODY_BYTES = 64 << 20
REASONS = {500: "INTERNAL SERVER ERROR", 502: "Proxy Error"}
"""As the real ones spell them."""
JOB_REQUESTS = ("getJob", "acquire_jobs")
HEADERS = ("Accept", "Content-Type", "Content-Encoding")
"""What the server looks at."""
SHORT = {
    "countryName": "C",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "commonName": "CN",
    "domainComponent": "DC",
}
"""How a DN spells what Python spells out."""


class ServedPanda:
    """A server at its port; any thread may look at it."""

    def __init__(self, server: PandaServer, url: str, port: int) -> None:
        self.server, self.url, self.port = server, url, port
        self.calls: Counter[str] = Counter()
        """By the name of the method."""
        self.bytes_in = 0
        """Of the bodies that came."""
        self.bytes_out = 0
        """Of the bodies that were sent."""
        self._lock = Lock()

    def count(self, path: str, bytes_in: int, bytes_out: int) -> None:
        """Note one call."""
        with self._lock:
            self.calls[_method(path)] += 1
            self.bytes_in += bytes_in
            self.bytes_out += bytes_out


def panda_tls(certificate: Path, key: Path | None = None, ca: Path | None = None) -> ssl.SSLContext:
    """Of a server with this certificate, and its key where that is another file; `ca` says whose clients are believed.

    Raises `UnusableInput` for files that are none of that.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key)
        if ca is not None:
            context.load_verify_locations(ca)
            context.verify_mode = ssl.CERT_OPTIONAL
    except (OSError, ssl.SSLError) as error:
        files = ", ".join(str(file) for file in (certificate, key, ca) if file)
        raise UnusableInput(f"certificates {files}: {error}") from None
    return context


@contextmanager
def serve_panda(
    server: PandaServer,
    *,
    port: int = 0,
    tls: ssl.SSLContext | None = None,
    tokens: Mapping[str, str] | None = None,
    reply_after_s: float = 0.0,
    ends_jobs: bool = False,
    clock: Callable[[], float] = time,
) -> Iterator[ServedPanda]:
    """Serve until the end of the block; port 0: any that is free.

    Known are: with `tls` that asks for certificates, who has one, by its DN and with the production role; with
    `tokens`, token -> `vo.role`, who tells one and that role as its origin. Where neither is asked for, everybody is
    known. `ends_jobs`: before somebody is given jobs, those are ended that have said their last word or were not heard
    of for too long. Raises `UnusableInput` for a port that cannot be had.
    """
    try:
        listener = _Listener(port, server, tls)
    except (OSError, OverflowError) as error:
        raise UnusableInput(f"port {port}: {error}") from None
    listener.tokens, listener.reply_after_s, listener.ends_jobs = tokens, reply_after_s, ends_jobs
    listener.clock = clock
    thread = Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01}, name="panda")
    thread.start()
    try:
        yield listener.served
    finally:
        listener.shutdown()
        thread.join()
        listener.hang_up()
        listener.server_close()


class _Listener(ThreadingHTTPServer):
    daemon_threads = False  # each is waited for, so nobody writes into books that are closed
    tokens: Mapping[str, str] | None
    reply_after_s: float
    ends_jobs: bool
    clock: Callable[[], float]

    def __init__(self, port: int, server: PandaServer, tls: ssl.SSLContext | None) -> None:
        super().__init__((HOST, port), _Handler)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.asks_for_certificates = tls is not None and tls.verify_mode != ssl.CERT_NONE
        url = f"{'https' if tls else 'http'}://localhost:{self.server_port}"
        self.served = ServedPanda(server, url, self.server_port)
        self.stopped = Event()
        self._lock = Lock()
        self._open: set[socket.socket] = set()

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Talk until the connection is closed, by whomever."""
        with self._lock:
            if self.stopped.is_set():
                return
            self._open.add(request)
        try:
            super().finish_request(request, client_address)
        finally:
            with self._lock:
                self._open.discard(request)

    def hang_up(self) -> None:
        """Close all connections."""
        with self._lock:
            self.stopped.set()
            for each in self._open:
                with suppress(OSError):  # gone already
                    socket.socket.shutdown(each, socket.SHUT_RDWR)  # below TLS, which another thread may be reading

    def handle_error(self, *_: Any) -> None:
        """Clients go away, and some are not let in."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # head and body in one packet, or a client waits 40 ms for the second
    server: _Listener

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""

    def _answer(self) -> None:
        size_bytes = self.headers.get("Content-Length", "0")
        if not size_bytes.isdecimal() or int(size_bytes) > LARGEST_BODY_BYTES:
            self.close_connection = True
            self.send_error(413)
            return
        body = self.rfile.read(int(size_bytes))
        reply = self._reply(body)
        wait_s = STALL_S if reply.fate == Fate.STALLED else self.server.reply_after_s
        hung_up = wait_s > 0 and self.server.stopped.wait(wait_s)
        if reply.fate == Fate.ARRIVES and not hung_up:
            self.server.served.count(self.path, len(body), len(reply.body))
            self._send(reply)
        else:
            self.server.served.count(self.path, len(body), 0)
            self.close_connection = True

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status, REASONS.get(reply.status))
        self.send_header("Content-Type", reply.content_type)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)

    def _reply(self, body: bytes) -> Reply:
        who = self._who()
        if isinstance(who, Reply):
            return who
        panda, now_s = self.server.served.server, self.server.clock()
        if self.server.ends_jobs and _method(self.path) in JOB_REQUESTS:
            panda.books.sweep(now_s)
        headers = {name: value for name in HEADERS if (value := self.headers.get(name)) is not None}
        call = Call("GET" if self.command == "GET" else "POST", self.path, headers, body)
        return panda.answer(call, who, now_s=now_s)

    def _who(self) -> Who | Reply:
        """Who asks, or what is said of a token that is not believed."""
        tokens = self.server.tokens
        if tokens is not None and (told := self.headers.get("Authorization")):
            return _bearer(told, self.headers.get("Origin"), tokens)
        if isinstance(self.connection, ssl.SSLSocket) and (certificate := self.connection.getpeercert()):
            return Who(_dn(certificate), PILOT.fqans)
        return NOBODY if self.server.asks_for_certificates or tokens is not None else PILOT


def _dn(certificate: Mapping[str, Any]) -> str:
    """As servers write it: `/DC=ch/DC=cern/CN=pilot`."""
    return "".join(f"/{SHORT.get(key, key)}={value}" for part in certificate["subject"] for key, value in part)


def _bearer(told: str, origin: str | None, tokens: Mapping[str, str]) -> Who | Reply:
    """`Authorization: Bearer <token>` and `Origin: <vo>.<role>`, or `<vo>:<role>`."""
    group = tokens.get(told.removeprefix("Bearer "))
    wanted = (origin or "None").replace(":", ".")
    vo, _, role = wanted.partition(".")
    if group is None:
        complaint = "Corrupted token. Signature verification failed"
    elif vo != group.partition(".")[0]:
        complaint = f"Unknown vo : {vo}"
    elif wanted != group:
        complaint = f"Not a member of the {vo}/{role} group"
    else:
        return Who(f"Robot {role}", (f"/{vo}/Role={role}",))
    return Reply(403, TEXT, f"ERROR : Token authentication failed. {complaint}".encode())


def _method(path: str) -> str:
    return urlsplit(path).path.rpartition("/")[2]
