"""The wire to a PanDA server: HTTP over TLS, with the certificate always verified. The only place that opens it."""

from collections.abc import Callable
from pathlib import Path
from threading import Lock
from time import monotonic
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from esfsm.adapters.communicators.identity import Identity
from esfsm.errors import UnusableInput, WireError
from esfsm.wire.panda.calls import Call, Reply

__all__ = ["Connection"]

CONNECT_S, REPLY_S = 30.0, 120.0
"""How long a connection, and a whole reply, may take (pilot3 waits 100 s and 120 s)."""
LARGEST_REPLY_BYTES = 64 << 20
"""A hundred thousand event ranges have 20 MB."""
CHUNK_BYTES = 1 << 16
CONNECTIONS = 4
CA_DIRECTORY = Path("/etc/grid-security/certificates")
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Connection:
    """Makes calls to one server, as somebody. Any thread may use it."""

    def __init__(
        self, url: str, identity: Identity, ca_directory: Path | None = None, reply_s: float = REPLY_S
    ) -> None:
        """`url`: `https://host:port`; http only to this machine. Raises `UnusableInput`."""
        parts = urlsplit(url)
        if parts.scheme not in ("https", "http") or not parts.hostname or parts.path.strip("/"):
            raise UnusableInput(f"PanDA server {url!r}: https://host:port is expected")
        if parts.scheme == "http" and parts.hostname not in LOOPBACK:
            raise UnusableInput(f"PanDA server {url!r}: secrets would be told in clear; use https")
        self._url, self._identity, self._reply_s = url.rstrip("/"), identity, reply_s
        self._ca_directory = ca_directory or (CA_DIRECTORY if CA_DIRECTORY.is_dir() else None)
        self._lock = Lock()
        self._opened: tuple[object, urllib3.PoolManager] | None = None

    def __call__(self, call: Call) -> Reply:
        """Make a call. Raises `WireError` where no reply came, or none that is whole."""
        try:
            headers = {**call.headers, **self._identity.headers()}
            pool = self._pool()
        except (UnusableInput, OSError) as error:  # a proxy that is being renewed
            raise WireError(str(error)) from None
        until = monotonic() + self._reply_s
        try:
            response = pool.request(
                call.verb,
                self._url + call.path,
                body=call.body or None,
                headers=headers,
                redirect=False,
                retries=False,
                preload_content=False,
                timeout=urllib3.Timeout(connect=min(CONNECT_S, self._reply_s), read=self._reply_s),
            )
            try:
                return Reply(response.status, self._body(response.read1, until))
            finally:
                response.close()
        except (HTTPError, OSError) as error:  # OSError: of a proxy that is none
            raise WireError(f"{self._url}: {_sentence(error)}") from None

    def close(self) -> None:
        """Let go of all connections."""
        with self._lock:
            if self._opened is not None:
                self._opened[1].clear()

    def _body(self, read: Callable[[int], bytes], until: float) -> bytes:
        """All of it; a server may send without an end, or a byte now and then."""
        chunks: list[bytes] = []
        size_bytes = 0
        while chunk := read(CHUNK_BYTES):
            chunks.append(chunk)
            size_bytes += len(chunk)
            if size_bytes > LARGEST_REPLY_BYTES:
                raise WireError(f"{self._url}: the reply is larger than {LARGEST_REPLY_BYTES} bytes")
            if monotonic() > until:
                raise WireError(f"{self._url}: the reply took longer than {self._reply_s:g} s")
        return b"".join(chunks)

    def _pool(self) -> urllib3.PoolManager:
        """Connections as who we are now: a new proxy is a new certificate."""
        certificate = self._identity.certificate()
        known = None if certificate is None else (certificate, certificate.stat().st_mtime_ns)
        with self._lock:
            if self._opened is None or self._opened[0] != known:
                file = None if certificate is None else str(certificate)
                authorities = None if self._ca_directory is None else str(self._ca_directory)
                self._opened = (
                    known,
                    urllib3.PoolManager(
                        maxsize=CONNECTIONS,
                        cert_reqs="CERT_REQUIRED",
                        cert_file=file,
                        key_file=file,
                        ca_cert_dir=authorities,
                    ),
                )
            return self._opened[1]


def _sentence(error: Exception) -> str:
    """What went wrong, in one line, without the address that stands before it."""
    cause = getattr(error, "reason", None) or error
    text = str(cause).partition(": ")[2] if "object at 0x" in str(cause) else str(cause)
    return " ".join(text.split()) or type(cause).__name__
