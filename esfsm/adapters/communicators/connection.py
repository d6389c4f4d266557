"""The wire to a PanDA server: calls as somebody, over lines that are kept. The only place that knows our secret in it.

Over TLS the certificate of the server is always verified. What it says of our token, nobody hears.
"""

import ssl
from pathlib import Path
from threading import Lock

from esfsm.adapters.communicators.address import Address
from esfsm.adapters.communicators.identity import Identity, without_secret
from esfsm.adapters.communicators.line import Line
from esfsm.errors import UnusableInput, WireError
from esfsm.wire.panda.calls import Call, Reply

__all__ = ["Connection"]

REPLY_S = 120.0
"""How long a call may take (pilot3 waits 100 s for a connection and 120 s for a reply)."""
LINES = 4
"""So many are kept."""
LONGEST_SENTENCE = 300
"""Characters of what went wrong; a server may have said it."""
CA_DIRECTORY = Path("/etc/grid-security/certificates")


class Connection:
    """Makes calls to one server, as somebody. Any thread may use it."""

    def __init__(
        self, address: Address, identity: Identity, ca_directory: Path | None = None, reply_s: float = REPLY_S
    ) -> None:
        """Raises `UnusableInput` for a directory of authorities that is none."""
        if ca_directory is not None and not ca_directory.is_dir():
            raise UnusableInput(f"the certificates of authorities: {ca_directory} is no directory")
        self._address, self._identity, self._reply_s = address, identity, reply_s
        self._ca_directory = ca_directory or (CA_DIRECTORY if CA_DIRECTORY.is_dir() else None)
        self._lock = Lock()
        self._tls: tuple[object, ssl.SSLContext | None] = None, None
        """The proxy, as it was when it was read, and what was made of it."""
        self._idle: list[Line] = []
        self._busy: set[Line] = set()
        self._is_closed = False

    def __call__(self, call: Call) -> Reply:
        """Make a call. Raises `WireError` where no reply came, or none that is whole, and once it is closed."""
        try:
            told = self._identity.headers()
            line = self._line()
        except (UnusableInput, OSError) as error:  # a proxy that is none, or is being renewed
            raise WireError(f"{self._address.server}: {error}") from None
        try:
            reply = line(call, {**call.headers, **told}, self._reply_s)
        except WireError as error:
            why = without_secret(str(error).encode(errors="replace"), told).decode()
            raise WireError(f"{self._address.server}: {why[:LONGEST_SENTENCE]}") from None
        finally:
            self._put_back(line)
        return Reply(reply.status, without_secret(reply.body, told))

    def close(self) -> None:
        """Let go of the server; a call that is under way raises `WireError` now."""
        with self._lock:
            self._is_closed = True
            for line in self._busy:
                line.cut("the connection was closed")
            for line in self._idle:
                line.close()
            self._idle.clear()

    def _line(self) -> Line:
        """One that nobody else has. Raises `UnusableInput`, OSError for a certificate that is none, and `WireError`."""
        proxy = self._identity.certificate()
        seen = proxy and (proxy, proxy.stat().st_mtime_ns)
        with self._lock:
            if self._is_closed:
                raise WireError(f"{self._address.server}: the connection was closed")
            if self._address.scheme == "https" and (self._tls[1] is None or self._tls[0] != seen):
                self._tls = seen, self._context(proxy)
            while self._idle and not self._may_be_used(self._idle[-1]):
                self._idle.pop().close()
            line = self._idle.pop() if self._idle else Line(self._address, self._tls[1])
            self._busy.add(line)
            return line

    def _put_back(self, line: Line) -> None:
        with self._lock:
            self._busy.remove(line)
            if not self._is_closed and len(self._idle) < LINES and self._may_be_used(line):
                self._idle.append(line)
            else:
                line.close()

    def _may_be_used(self, line: Line) -> bool:
        """A new proxy is a new certificate, which an old line does not tell."""
        return line.tls is self._tls[1] and line.is_good

    def _context(self, proxy: Path | None) -> ssl.SSLContext:
        context = ssl.create_default_context(capath=self._ca_directory)
        if proxy is not None:
            context.load_cert_chain(proxy, password="")  # or OpenSSL would ask a terminal for it
        return context
