"""Who we are to a PanDA server: an OIDC token or an X.509 proxy, where sites put them, read anew when they change.

What is in them is never logged, journalled, shown, or put on a command line.
"""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from esfsm.errors import UnusableInput

__all__ = ["Identity", "Proxy", "Token", "find_identity"]

TOKEN = ("OIDC_AUTH_TOKEN", "PANDA_AUTH_TOKEN")
"""Name the file of the token; the first that is set counts, as in pilot3."""
ORIGIN = ("OIDC_AUTH_ORIGIN", "PANDA_AUTH_ORIGIN")
"""`<vo>.<role>`, told beside the token."""
TOKEN_DIRECTORY = ("OIDC_AUTH_DIR", "PANDA_AUTH_DIR")
"""Where that file is, if its name alone is told."""
LARGEST_TOKEN_BYTES = 1 << 16


class Identity(Protocol):
    """What tells a server who we are. Both may change while a job runs; both raise `UnusableInput`."""

    def headers(self) -> Mapping[str, str]:
        """What is told with each call."""
        ...

    def certificate(self) -> Path | None:
        """The file with certificate and key, if there is one."""
        ...


@dataclass(frozen=True, slots=True)
class Proxy:
    """An X.509 proxy; None: we are nobody."""

    path: Path | None

    def headers(self) -> Mapping[str, str]:
        """The connection says it."""
        return {}

    def certificate(self) -> Path | None:
        """The proxy, as long as nobody else may read it."""
        if self.path is not None:
            _secret(self.path, "proxy")
        return self.path


@dataclass(slots=True)
class Token:
    """An OIDC token, told in place of a certificate. Whoever renews it replaces its file."""

    path: Path
    origin: str
    _token: str = field(default="", init=False, repr=False)
    _seen: tuple[int, int, int] = field(default=(0, 0, 0), init=False, repr=False)

    def headers(self) -> Mapping[str, str]:
        """The token as it is now."""
        found = _secret(self.path, "token")
        seen = (found.st_ino, found.st_mtime_ns, found.st_size)
        if seen != self._seen:
            self._token, self._seen = _read(self.path), seen
        return {"Authorization": f"Bearer {self._token}", "Origin": self.origin}

    def certificate(self) -> Path | None:
        """The headers say it."""
        return None


def find_identity(environment: Mapping[str, str]) -> Identity:
    """The token that is named, or else the proxy, if there is one. Raises `UnusableInput` for half a token."""
    token, origin, directory = (
        next((environment[name] for name in names if environment.get(name)), "")
        for names in (TOKEN, ORIGIN, TOKEN_DIRECTORY)
    )
    if token and not origin:
        raise UnusableInput(
            f"a token is told by {TOKEN[0]} or {TOKEN[1]}, but neither {ORIGIN[0]} nor {ORIGIN[1]} is set"
        )
    if token:
        return Token(Path(directory, token).absolute(), origin)
    named = environment.get("X509_USER_PROXY")
    proxy = Path(named or f"/tmp/x509up_u{os.getuid()}")
    return Proxy(proxy if named or proxy.exists() else None)


def _secret(path: Path, what: str) -> os.stat_result:
    """The state of a file that nobody else may read. Raises `UnusableInput`."""
    try:
        found = path.stat()
    except OSError as error:
        raise UnusableInput(f"{what} {path}: {error.strerror}") from None
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise UnusableInput(f"{what} {path}: others may read it; chmod 600 it, and have it renewed")
    return found


def _read(path: Path) -> str:
    """The token in a file. Raises `UnusableInput`, without a word of what is there."""
    try:
        with path.open("rb") as file:
            token = file.read(LARGEST_TOKEN_BYTES + 1).strip().decode("ascii")
    except OSError as error:
        raise UnusableInput(f"token {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        token = ""
    if not token or len(token) > LARGEST_TOKEN_BYTES or not token.isprintable() or " " in token:
        raise UnusableInput(f"token {path}: there is no token in it")
    return token
