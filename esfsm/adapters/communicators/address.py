"""Addresses of HTTP that somebody gives: the one rule for what can be asked."""

import re
from ipaddress import IPv6Address
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from esfsm.errors import UnusableInput

__all__ = ["Address", "read_address"]

PORTS = {"https": 443, "http": 80}
LOOPBACK = ("localhost", "127.0.0.1", "::1")
HOST = re.compile(r"(?=.{1,253}$)([\w-]{1,63}\.)*[\w-]{1,63}\.?", re.ASCII)
"""A name, or an address of version 4."""
NOT_QUOTED = "/?%:@!$&'()*+,;=~"
"""What may stand in a path and its query beside letters, digits and `_.-`, and what is quoted already (RFC 3986)."""


class Address(NamedTuple):
    """Where to ask, and for what."""

    scheme: str
    """https or http."""
    host: str
    """As the name service knows it: ASCII; an address of version 6 without brackets."""
    port: int
    path: str
    """With its query, as it stands in a request; `/` where there is none."""

    @property
    def server(self) -> str:
        """Scheme, host and port: `https://panda.cern.ch:25443`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def is_private(self) -> bool:
        """Whether nobody else can read what is said: over TLS, or inside this machine."""
        return self.scheme == "https" or self.host in LOOPBACK


def read_address(what: str, url: str) -> Address:
    """The parts of a URL; `what` it is the address of, a refusal tells. Raises `UnusableInput`."""
    try:
        parts = urlsplit(url)
        host = _host(parts.hostname or "")
        port = PORTS[parts.scheme] if parts.port is None else parts.port
        path = quote(f"{parts.path or '/'}{parts.query and '?'}{parts.query}", safe=NOT_QUOTED)
    except (ValueError, KeyError):
        host, port = "", 0
    if not host or not port or not url.isprintable() or parts.fragment:
        raise UnusableInput(f"{what} {url!r}: https://host:port/path is expected")
    if parts.username is not None or parts.password is not None:
        raise UnusableInput(f"{what} at {host}: a URL is shown to everybody, so it may hold no user and no password")
    return Address(parts.scheme, host, port, path)


def _host(name: str) -> str:
    """As the name service knows it; empty for what is none. Raises ValueError."""
    if ":" in name:
        return str(IPv6Address(name))
    name = name.encode("idna").decode()
    return name if HOST.fullmatch(name) else ""
