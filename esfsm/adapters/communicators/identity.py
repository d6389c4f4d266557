"""Who we are to a PanDA server: an OIDC token or an X.509 proxy, where sites put them, read anew when they change.

What is in them is never logged, journalled, shown, or put on a command line.
"""

import os
import stat
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from esfsm.errors import UnusableInput
from esfsm.proxy import TOKEN, proxy_path

__all__ = ["Identity", "Proxy", "Token", "find_identity", "without_secret"]

ORIGIN = ("OIDC_AUTH_ORIGIN", "PANDA_AUTH_ORIGIN")
"""`<vo>.<role>`, told beside the token."""
TOKEN_DIRECTORY = ("OIDC_AUTH_DIR", "PANDA_AUTH_DIR")
"""Where that file is, if its name alone is told."""
LARGEST_TOKEN_BYTES = 1 << 16
BEARER = "Bearer "
SHORTEST_SECRET = 8
"""Bytes; anything shorter stands in texts that have nothing to do with it."""
BLANK = b"***"


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
        return {"Authorization": f"{BEARER}{self._token}", "Origin": self.origin}

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
    if not origin.isascii() or not origin.isprintable():
        raise UnusableInput(f"{ORIGIN[0]} or {ORIGIN[1]}: <vo>.<role> is expected, not {origin!r}")
    if token:
        return Token(Path(directory, token).absolute(), origin)
    return Proxy(proxy_path(environment))


def _secret(path: Path, what: str) -> os.stat_result:
    """The state of a file that nobody else may read. Raises `UnusableInput`."""
    try:
        found = path.stat()
    except OSError as error:
        raise UnusableInput(f"{what} {path}: {error.strerror}") from None
    if not stat.S_ISREG(found.st_mode):
        raise UnusableInput(f"{what} {path}: not a regular file")
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


def without_secret(said: bytes, told: Mapping[str, str]) -> bytes:
    """What a server said, without the token in the headers that it was told, in whatever spelling it gives that back.

    What is quoted of a reply goes into journals and logs.
    """
    token = told.get("Authorization", "").removeprefix(BEARER)
    for spelt in sorted(_spellings(token), key=len, reverse=True):
        if len(spelt) >= SHORTEST_SECRET:
            said = said.replace(spelt, BLANK)
    return said


def _spellings(token: str) -> set[bytes]:
    """As it is, percent-encoded, as some write JSON, and in base64; its parts, too, if it has some.

    The first part of a JSON Web Token says how it is signed: no secret, and the same in those that jobs are sent.
    """
    words = {token, *token.split(".")[1:]}
    spelt = {each for word in words for each in (word, quote(word), quote(word, safe=""), word.replace("/", "\\/"))}
    return {each.encode() for each in spelt} | _in_base64(token.encode())


def _in_base64(secret: bytes) -> set[bytes]:
    """What of it is the same wherever it stands in a text: three bytes make four characters, so it has three forms."""
    forms: set[bytes] = set()
    for before in range(3):
        packed = b64encode(bytes(before) + secret)
        first, last = (0, 2, 3)[before], (0, 3, 2)[(before + len(secret)) % 3]  # characters with bits of others
        form = packed[first : len(packed) - last]
        forms |= {form, form.translate(bytes.maketrans(b"+/", b"-_"))}
    return forms
