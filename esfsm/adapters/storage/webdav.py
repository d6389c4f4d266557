"""The only place that speaks WebDAV: `davs://` or `https://`, and without TLS `dav://` or `http://`.

A copy is PUT under another name beside its target, and renamed (MOVE with `Overwrite: F`) when the server has said
that it has the right bytes: by `Digest: adler32=` (RFC 3230, as dCache, EOS, StoRM and XrdHttp have it), and where it
says nothing by reading them back. A server without MOVE is asked to take the file only while nobody has the name
(`If-None-Match: *`), and so is any server where a name has escapes: XRootD 5.5 does not undo them in `Destination`.
Some honour neither; there a file that appears between our last look and the end is lost.

Who we are: a bearer token where WLCG looks for it (`BEARER_TOKEN`, `BEARER_TOKEN_FILE`, `bt_u<uid>` in
`$XDG_RUNTIME_DIR` or `/tmp`), or the X.509 proxy in `X509_USER_PROXY`. A token goes to the host of the URL only, and
only over TLS; a redirection to another host has to bring its own. Authorities: `X509_CERT_DIR`,
`/etc/grid-security/certificates`, and the system's.
"""

import os
import re
import socket
import ssl
from base64 import b64decode
from binascii import Error as NoBase64
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from hashlib import blake2b
from io import FileIO
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote, urljoin, urlsplit
from xml.etree import ElementTree

import urllib3
from urllib3.exceptions import HTTPError, LocationParseError

from esfsm.adapters.storage.fsspec import TROUBLE, OtherBytes, local_file
from esfsm.durable import BUFFER_BYTES, Checksum
from esfsm.errors import PilotErrorCode, TransferError
from esfsm.model.settings import Settings
from esfsm.ports import Stored

__all__ = ["WebdavStorage", "open_storage"]

SCHEMES = {"dav": "http", "davs": "https", "http": "http", "https": "https"}
CONNECTIONS = 8
REDIRECTIONS = 5
REDIRECTS = frozenset({301, 302, 303, 307, 308})
FINAL = frozenset({400, 401, 403, 404, 405, 406, 410, 411, 413, 414, 415, 501, 505, 507})
"""What a server will say the next time, too; 507: its space, or our quota, is used up."""
NO_MOVE = frozenset({400, 403, 405, 501})
"""How a server says that it cannot rename."""
NO_DIRECTORY = frozenset({404, 409})
THERE_ALREADY = frozenset({301, 405})
"""How MKCOL says so."""
LISTING_BYTES = 64 << 20
"""The longest listing that is read; an entry has some hundreds."""
SAID = (*TROUBLE, HTTPError)
DAV = "{DAV:}"
GRID_AUTHORITIES = Path("/etc/grid-security/certificates")
_ADLER32 = re.compile(r"adler32=([^,\s]+)", re.IGNORECASE)


class _Refused(OSError):
    """A status that is none of those that were hoped for."""

    def __init__(self, method: str, status: int, reason: str) -> None:
        super().__init__(f"{method}: {status} {reason}".strip())
        self.status = status


class _Taken(OtherBytes):
    """Another file bears the name."""


class _Reading(FileIO):
    """A local file, and the checksum of what was read of it since its beginning."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.checksum = Checksum()

    def read(self, size: int | None = -1) -> bytes:
        """The next bytes; a redirection sends all of them again."""
        if not self.tell():
            self.checksum = Checksum()
        piece = super().read(size) or b""
        self.checksum.update(piece)
        return piece


class _Place(NamedTuple):
    """A file on a server, whether it is there or not."""

    url: str

    @property
    def directory(self) -> "_Place":
        return _Place(self.url.rstrip("/").rpartition("/")[0] + "/")

    def part(self, writer: str) -> "_Place":
        """The name beside this one for a copy that is not whole: another one for each writer."""
        digest = blake2b(f"{socket.gethostname()} {writer} {self.url}".encode(errors="surrogateescape"), digest_size=8)
        return _Place(f"{self.directory.url}.{digest.hexdigest()}.part")


class WebdavStorage:
    """A `ports.Storage`; any thread may use it."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s

    def put(self, path: Path, url: str) -> Stored:
        """Copy a file there. Raises `TransferError`: MISSINGOUTPUTFILE if there is none, else STAGEOUTFAILED."""
        try:
            if local_file(path).size_bytes() is None:
                raise TransferError(url, f"there is no file {path}", PilotErrorCode.MISSINGOUTPUTFILE)
            stored = self._put(path, _place(url))
        except SAID as error:
            raise _failed(url, error, PilotErrorCode.STAGEOUTFAILED) from error
        return Stored(stored.size_bytes, stored.adler32, url)

    def get(self, url: str, path: Path) -> Stored:
        """Copy a file here. Raises `TransferError`: NOSUCHFILE if there is none, else STAGEINFAILED."""
        try:
            place = _place(url)
            if self._size_bytes(place) is None:
                raise TransferError(url, "there is no such file", PilotErrorCode.NOSUCHFILE)
            got = self._get(place, path)
        except SAID as error:
            raise _failed(url, error, PilotErrorCode.STAGEINFAILED) from error
        return Stored(got.size_bytes, got.adler32, url)

    def names(self, url: str) -> list[str]:
        """The files in a directory, sorted, without those further below. Raises `TransferError`: STAGEINFAILED."""
        try:
            place = _Place(_place(url).url.rstrip("/") + "/")
            with self._asked("PROPFIND", place, {"Depth": "1"}, {207, 404}) as told:
                listing = b"" if told.status == 404 else told.read(LISTING_BYTES)
            return sorted(_files(listing, place)) if listing else []
        except (*SAID, ElementTree.ParseError) as error:
            raise _failed(url, error, PilotErrorCode.STAGEINFAILED) from error

    def _put(self, path: Path, place: _Place) -> Checksum:
        if self._size_bytes(place) is not None:
            expected = local_file(path).checksum()
            self._must_hold(place, expected)
            return expected
        if self._size_bytes(place.directory) is None:
            self._make_directory(place.directory)
        copied = None if "%" in place.url else self._put_by_another_name(path, place)
        if copied is None:
            copied = self._send(path, place, {"If-None-Match": "*"})
        self._must_hold(place, copied)
        return copied

    def _put_by_another_name(self, path: Path, place: _Place) -> Checksum | None:
        """What was sent, and has its name now, or somebody else's file has; None where a server cannot rename."""
        part = place.part(str(path.absolute()))
        try:
            copied = self._send(path, part, {})
            try:
                self._must_hold(part, copied)
            except _Taken as error:
                raise OtherBytes(f"{error}: it was damaged on its way") from None
            return copied if self._move(part, place) else None
        finally:
            self._remove(part)

    def _move(self, part: _Place, place: _Place) -> bool:
        """Give it its name; False where the server cannot. Who was first keeps the name."""
        if self._size_bytes(place) is not None:
            return True
        headers = {"Destination": place.url, "Overwrite": "F"}
        with self._asked("MOVE", part, headers, {200, 201, 204, 412, *NO_MOVE}) as told:
            return told.status not in NO_MOVE

    def _send(self, path: Path, place: _Place, headers: dict[str, str]) -> Checksum:
        """Its contents as they were read while they were sent."""
        with _Reading(path) as file:
            size = {"Content-Length": str(os.fstat(file.fileno()).st_size)}
            with self._asked("PUT", place, {**headers, **size}, {200, 201, 204, 412}, file):
                return file.checksum

    def _make_directory(self, place: _Place) -> None:
        made = {200, 201, 204, *THERE_ALREADY}
        with self._asked("MKCOL", place, {}, made | NO_DIRECTORY) as told:
            lacks_parent = told.status in NO_DIRECTORY
        if lacks_parent and urlsplit(place.url).path != "/":
            self._make_directory(place.directory)
            with self._asked("MKCOL", place, {}, made):
                pass

    def _get(self, place: _Place, path: Path) -> Checksum:
        target = local_file(path)
        part = target.part(place.url)
        part.remove()
        if target.size_bytes() is not None:
            there = target.checksum()
            self._must_hold(place, there)
            return there
        target.make_directory()
        try:
            copied = Checksum()
            with part.create() as writer:
                for piece in self._contents(place):
                    writer.write(piece)
                    copied.update(piece)
                part.sync(writer)
            self._must_hold(place, copied, was_read=True)
            target.take(part, copied)
        finally:
            part.remove()
        target.sync_name()
        return copied

    def _must_hold(self, place: _Place, expected: Checksum, *, was_read: bool = False) -> None:
        """Raise `_Taken` unless the server says that it has these bytes, or gives them when it says nothing."""
        with self._asked("HEAD", place, {"Want-Digest": "adler32"}, {200, 404}) as told:
            size = told.headers.get("Content-Length", "")
            adler32 = _adler32(told.headers.get("Digest", ""))
            is_there = told.status == 200
        if is_there and adler32 is None and not was_read:
            read = Checksum()
            for piece in self._contents(place):
                read.update(piece)
            size, adler32 = str(read.size_bytes), read.adler32
        if not is_there or size != str(expected.size_bytes) or adler32 not in (None, expected.adler32):
            what = f"{expected.size_bytes} bytes of adler32 {expected.adler32}"
            raise _Taken(f"{urlsplit(place.url).path} has not the {what}")

    def _contents(self, place: _Place) -> Iterator[bytes]:
        with self._asked("GET", place, {"Accept-Encoding": "identity"}, {200}) as told:
            yield from told.stream(BUFFER_BYTES)

    def _size_bytes(self, place: _Place) -> int | None:
        """None where there is nothing."""
        listing = {403} if place.url.endswith("/") else set()  # it is there, and may not be listed
        with self._asked("HEAD", place, {}, {200, 404, 410, *listing}) as told:
            return None if told.status in (404, 410) else int(told.headers.get("Content-Length", 0))

    def _remove(self, place: _Place) -> None:
        """Remove the file, if there is one and if that can be done: whoever calls has worse to tell."""
        try:
            with self._asked("DELETE", place, {}, {200, 202, 204, 404}):
                return
        except SAID:
            return

    @contextmanager
    def _asked(
        self, method: str, place: _Place, headers: dict[str, str], hoped: set[int], body: FileIO | None = None
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        """The answer to a request, wherever it is redirected to. Raises `_Refused` or `HTTPError`."""
        url = place.url
        for _ in range(REDIRECTIONS + 1):
            if body is not None:
                body.seek(0)
            told = self._pool().request(
                method,
                url,
                body=body,
                headers={**headers, **(_credential(url) if _host(url) == _host(place.url) else {})},
                redirect=False,
                preload_content=False,
            )
            if told.status not in REDIRECTS or "Location" not in told.headers:
                break
            told.drain_conn()
            told.release_conn()
            url = urljoin(url, told.headers["Location"])
        try:
            if told.status not in hoped:
                raise _Refused(method, told.status, told.reason or "")
            yield told
        finally:
            told.close()

    def _pool(self) -> urllib3.PoolManager:
        proxy = os.environ.get("X509_USER_PROXY")
        changed = Path(proxy).stat().st_mtime_ns if proxy and not _token() else 0
        return _pool(self._timeout_s, proxy if changed else None, changed, os.environ.get("X509_CERT_DIR"))


def open_storage(settings: Settings) -> WebdavStorage:
    """For servers that answer within `storage_timeout_s`."""
    return WebdavStorage(settings.storage_timeout_s)


@cache
def _pool(timeout_s: float, proxy: str | None, changed: int, authorities: str | None) -> urllib3.PoolManager:
    """Connections for all threads, as who shows this proxy in the state of that time. Raises OSError."""
    context = ssl.create_default_context()
    directory = Path(authorities) if authorities else GRID_AUTHORITIES
    if directory.is_dir():
        context.load_verify_locations(capath=directory)
    if proxy is not None:
        context.load_cert_chain(proxy)
    return urllib3.PoolManager(maxsize=CONNECTIONS, timeout=timeout_s, retries=False, ssl_context=context)


def _token() -> str | None:
    """As WLCG's bearer token discovery finds it. Raises OSError for a file that is named and cannot be read."""
    if told := os.environ.get("BEARER_TOKEN"):
        return told.strip()
    if named := os.environ.get("BEARER_TOKEN_FILE"):
        return Path(named).read_text().strip()
    for directory in (os.environ.get("XDG_RUNTIME_DIR"), "/tmp"):
        path = Path(directory or "/tmp", f"bt_u{os.getuid()}")
        if path.is_file():
            return path.read_text().strip()
    return None


def _credential(url: str) -> dict[str, str]:
    token = _token() if url.startswith("https://") else None
    return {"Authorization": f"Bearer {token}"} if token else {}


def _host(url: str) -> tuple[str, str]:
    split = urlsplit(url)
    return split.scheme, split.netloc


def _place(url: str) -> _Place:
    scheme, _, rest = url.partition("://")
    host, _, path = rest.partition("/")
    if scheme not in SCHEMES or not host or "@" in host:
        raise ValueError("a URL as davs://HOST[:PORT]/PATH is expected, without user or password")
    return _Place(f"{SCHEMES[scheme]}://{host}/{quote(path)}")


def _adler32(digest: str) -> str | None:
    """Of a `Digest` header, as 8 hex digits; some servers write four bytes in base64."""
    found = _ADLER32.search(digest)
    if found is None:
        return None
    told = found[1]
    if re.fullmatch("[0-9a-fA-F]{1,8}", told) and not told.endswith("="):
        return told.lower().zfill(8)
    try:
        decoded = b64decode(told, validate=True)
    except NoBase64:
        return None
    return decoded.hex().zfill(8) if len(decoded) == 4 else decoded.decode(errors="replace").lower().zfill(8)


def _files(listing: bytes, place: _Place) -> Iterator[str]:
    """The names of a multistatus that are no collections. Raises ValueError or ParseError."""
    if b"<!DOCTYPE" in listing:
        raise ValueError("the listing declares a document type")
    here = unquote(urlsplit(place.url).path).rstrip("/")
    for entry in ElementTree.fromstring(listing).iter(f"{DAV}response"):
        href = entry.findtext(f"{DAV}href", "")
        path = unquote(href if href.startswith("/") else urlsplit(href).path)
        is_directory = entry.find(f".//{DAV}collection") is not None
        if path.rstrip("/") == here and not is_directory:
            raise ValueError("it is no directory")
        if not is_directory:
            yield path.rpartition("/")[2]


def _failed(url: str, error: Exception, code: PilotErrorCode) -> TransferError:
    final = isinstance(error, ValueError | _Taken | LocationParseError)
    final = final or (isinstance(error, _Refused) and error.status in FINAL)
    why = str(error) if isinstance(error, OSError | ValueError) else f"{type(error).__name__}: {error}"
    return TransferError(url, " ".join(why.split()), code, final=final)
