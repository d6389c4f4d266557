"""One connection to a server, for one call at a time: the only place that opens a socket to PanDA.

Who waits for a socket hears nothing else, and a server may be silent, or send a byte now and then for ever. So whoever
ends a call early, a clock or another thread, shuts its socket down.
"""

import select
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse, IncompleteRead
from socket import IPPROTO_TCP, SHUT_RDWR, SOCK_STREAM, TCP_NODELAY, getaddrinfo, socket
from ssl import SSLContext
from threading import Lock, Timer

from esfsm.adapters.communicators.address import Address
from esfsm.errors import WireError
from esfsm.wire.panda.calls import Call, Reply

__all__ = ["Line"]

CONNECT_S = 30.0
"""How long one of a server's addresses may take, before the next one is tried."""
LARGEST_REPLY_BYTES = 64 << 20
"""A hundred thousand event ranges have 20 MB."""
CHUNK_BYTES = 1 << 16
GZIP = zlib.MAX_WBITS | 16


class Line:
    """One thread has it at a time; only `cut` may be called by others."""

    def __init__(self, address: Address, tls: SSLContext | None) -> None:
        """`tls`: whom we trust, and as whom; None: no TLS."""
        self.tls = tls
        self._http = HTTPConnection(address.host, address.port)
        self._is_idle = False
        self._lock = Lock()
        self._handle: socket | None = None
        """The socket once more: TLS and HTTP replace and close theirs while another thread may want to cut it."""
        self._why = ""
        """... it was cut."""

    @property
    def is_good(self) -> bool:
        """Whether it may be used again: the last call has ended well, and the server has not hung up since."""
        if not self._is_idle or self._http.sock is None:
            return False
        poll = select.poll()
        poll.register(self._http.sock, select.POLLIN)
        return not poll.poll(0)

    def __call__(self, call: Call, headers: Mapping[str, str], reply_s: float) -> Reply:
        """Make a call, which may take so long from its first step to its last: names, connection, all of the reply.

        Only the name service cannot be interrupted. Raises `WireError` where no reply came, or none that is whole.
        """
        self._is_idle = False
        try:
            with self._at_most(reply_s):
                reply = self._reply(call, headers)
        except (HTTPException, OSError, WireError, zlib.error) as error:
            raise WireError(self._why or _sentence(error)) from None
        self._is_idle = True
        return reply

    def cut(self, why: str) -> None:
        """The call that is under way raises `WireError` now, and says why."""
        with self._lock:
            self._why = why
            if self._handle is not None:
                with suppress(OSError):  # it is not connected
                    self._handle.shutdown(SHUT_RDWR)

    def close(self) -> None:
        """Hang up."""
        self._http.close()
        with self._lock:
            if self._handle is not None:
                self._handle.close()
                self._handle = None

    @contextmanager
    def _at_most(self, reply_s: float) -> Iterator[None]:
        clock = Timer(reply_s, self.cut, [f"the reply took longer than {reply_s:g} s"])
        clock.start()
        try:
            yield
        finally:
            clock.cancel()
            clock.join()
        self._look_up()  # where a body has no length, one that was cut looks whole

    def _look_up(self) -> None:
        """Raises OSError if it was cut."""
        with self._lock:
            if self._why:
                raise ConnectionAbortedError(self._why)

    def _reply(self, call: Call, headers: Mapping[str, str]) -> Reply:
        if self._http.sock is None:
            plain = self._connected()
            self._http.sock = self.tls.wrap_socket(plain, server_hostname=self._http.host) if self.tls else plain
        self._http.request(call.verb, call.path, call.body or None, dict(headers))
        with self._http.getresponse() as response:
            return Reply(response.status, _body(response))

    def _connected(self) -> socket:
        """To the first of the server's addresses that answers. Raises OSError."""
        trouble = OSError("the server has no address")
        for family, kind, protocol, _, place in getaddrinfo(self._http.host, self._http.port, type=SOCK_STREAM):
            opened = socket(family, kind, protocol)
            try:
                self._hold(opened)
                opened.settimeout(CONNECT_S)
                opened.connect(place)
                self._look_up()  # before it was connected, nobody could cut it
                opened.settimeout(None)
                opened.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
            except OSError as error:
                opened.close()
                trouble = error
            else:
                return opened
        raise trouble

    def _hold(self, opened: socket) -> None:
        """It can be cut from now on. Raises OSError if that has happened before."""
        self.close()
        with self._lock:
            self._handle = opened.dup()
        self._look_up()


def _body(response: HTTPResponse) -> bytes:
    """All of it. Raises `WireError`, as `HTTPException`, where it breaks off or has no end."""
    body = bytearray()
    while chunk := response.read1(CHUNK_BYTES):
        body += chunk
        if len(body) > LARGEST_REPLY_BYTES:
            raise WireError(f"the reply is larger than {LARGEST_REPLY_BYTES} bytes")
    if response.length:
        raise IncompleteRead(bytes(body), response.length)
    return _unpacked(body) if response.headers.get("Content-Encoding") == "gzip" else bytes(body)


def _unpacked(body: bytes | bytearray) -> bytes:
    """Nobody asks for packed replies, but a web store sends packed what was put so."""
    unpacker = zlib.decompressobj(GZIP)
    unpacked = unpacker.decompress(body, LARGEST_REPLY_BYTES)
    if not unpacker.eof:
        raise WireError(f"the packed reply breaks off, or is larger than {LARGEST_REPLY_BYTES} bytes")
    return unpacked


def _sentence(error: Exception) -> str:
    """What went wrong, in one line."""
    return " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__
