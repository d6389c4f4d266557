"""The only place that speaks to Google Cloud Storage: `gs://BUCKET/NAME`, by gcsfs.

A name appears there with all its bytes or not at all, and is asked to be a new one (`ifGenerationMatch=0`): of two
writers the second is refused by the server. What it has is then asked back: its size and its own md5, or the bytes
where it keeps no md5, as for an object that was composed of others.

Credentials are found by Google's library: `GOOGLE_APPLICATION_CREDENTIALS`, `gcloud`, or the machine's own account.
There are none for the server that `STORAGE_EMULATOR_HOST` names.
"""

import os
import re
from base64 import b64decode
from collections.abc import Callable
from functools import cached_property
from hashlib import md5
from http import HTTPStatus
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from aiohttp import ClientError, ClientTimeout
from gcsfs.core import GCSFileSystem
from gcsfs.retry import ChecksumError, HttpError
from google.auth.exceptions import GoogleAuthError

from esfsm.adapters.storage.fsspec import TROUBLE as LOCAL_TROUBLE
from esfsm.adapters.storage.fsspec import local_file
from esfsm.durable import BUFFER_BYTES, Checksum
from esfsm.errors import PilotErrorCode, TransferError
from esfsm.model.settings import Settings
from esfsm.ports import Stored

__all__ = ["GcsStorage", "open_storage"]

_ODD = (LookupError, TypeError)
"""What becomes of an answer that is none of such a server."""
TROUBLE = (*LOCAL_TROUBLE, ClientError, GoogleAuthError, HttpError, ChecksumError, *_ODD)
"""What gcsfs raises: its own, those of the connection, and those of Google's library for credentials."""
TEMPORARY = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})
"""Of what a server refuses (4xx) that which it may do the next time."""
_SESSION = re.compile(r"(\w+://[^\s?]+)\?\S+")
"""Who knows the URL of an upload that has begun may write to it."""
SLOWEST_BYTES_PER_S = 500_000
"""A copy that is slower is given up, as Rucio's client does: who writes knows no limit of silence."""
SENT_BYTES = 8 << 20
"""What is read and sent at a time; a multiple of 256 KiB, as the server wants it."""


class Refused(OSError):
    """What will be said the next time, too."""


class _Sums(NamedTuple):
    """What was read of a file; md5 in hex."""

    checksum: Checksum
    md5: str


class GcsStorage:
    """A `ports.Storage` for `gs://` and `gcs://`; any thread may use it."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s

    def put(self, path: Path, url: str) -> Stored:
        """Copy a file there. Raises `TransferError`: MISSINGOUTPUTFILE if there is none, else STAGEOUTFAILED."""
        try:
            if local_file(path).size_bytes() is None:
                raise TransferError(url, f"there is no file {path}", PilotErrorCode.MISSINGOUTPUTFILE)
            name, sums = _name(url), _sums(path)
            self._put(path, name, sums)
        except TROUBLE as error:
            raise _failed(url, error, PilotErrorCode.STAGEOUTFAILED) from error
        return Stored(sums.checksum.size_bytes, sums.checksum.adler32, url)

    def get(self, url: str, path: Path) -> Stored:
        """Copy a file here. Raises `TransferError`: NOSUCHFILE if there is none, else STAGEINFAILED."""
        try:
            name = _name(url)
            found = self._found(name)
            if found is None:
                raise TransferError(url, "there is no such file", PilotErrorCode.NOSUCHFILE)
            got = self._get(name, found, path)
        except TROUBLE as error:
            raise _failed(url, error, PilotErrorCode.STAGEINFAILED) from error
        return Stored(got.size_bytes, got.adler32, url)

    def names(self, url: str) -> list[str]:
        """The files in a directory, sorted, without those further below. Raises `TransferError`: STAGEINFAILED."""
        try:
            directory = _name(url).rstrip("/")
            found = self._ask(lambda fs, s: fs.ls(directory, detail=True, timeout=s))
        except FileNotFoundError:
            return []
        except TROUBLE as error:
            raise _failed(url, error, PilotErrorCode.STAGEINFAILED) from error
        if [entry["name"] for entry in found if entry["type"] == "file"] == [directory]:
            raise TransferError(url, f"{directory} is no directory", PilotErrorCode.STAGEINFAILED)
        return sorted(entry["name"].rpartition("/")[2] for entry in found if entry["type"] == "file")

    def _put(self, path: Path, name: str, sums: _Sums) -> None:
        found = self._found(name)
        if found is None:
            try:
                self._send(path, name, sums.checksum.size_bytes)
                ours = True
            except FileExistsError:
                ours = False  # another writer was first
            found = self._found(name)
        else:
            ours = False
        if self._is(name, found, sums):
            return
        if ours:
            self._ask(lambda fs, s: fs.rm_file(name, timeout=s))
            raise OSError(f"the server made other bytes of it than the {_words(sums)}")
        raise Refused(f"it is there, and has not the {_words(sums)}")

    def _send(self, path: Path, name: str, size_bytes: int) -> None:
        sent = {"mode": "create", "chunksize": SENT_BYTES, "content_type": "application/octet-stream"}
        try:
            self._ask(lambda fs, s: fs.put_file(str(path), name, timeout=s, **sent), size_bytes)
        except FileNotFoundError as error:
            if error.__context__ is not None:  # nor was there an upload to give up, after it failed
                raise error.__context__ from None
            raise Refused(f"there is no bucket {name.partition('/')[0]}") from error

    def _get(self, name: str, found: dict[str, Any], path: Path) -> Checksum:
        target = local_file(path)
        part = target.part(name)
        part.remove()
        if target.size_bytes() is not None:
            there = _sums(path)
            if not self._is(name, found, there):
                raise Refused(f"{path} is there, and has other bytes")
            return there.checksum
        target.make_directory()
        try:
            copied = self._fetch(name, found, Path(part.name))
            target.take(part, copied.checksum)
        finally:
            part.remove()
        target.sync_name()
        return copied.checksum

    def _fetch(self, name: str, found: dict[str, Any], path: Path) -> _Sums:
        """Copy to a new file, on the medium and as the server says that it is."""
        self._ask(lambda fs, s: fs.get_file(name, str(path), timeout=s), int(found["size"]))
        with path.open("rb") as copy:
            os.fsync(copy.fileno())
        copied = _sums(path)
        if not _agree(found, copied):
            raise OSError(f"what came are {_words(copied)}, which are not those that the server has")
        return copied

    def _found(self, name: str) -> dict[str, Any] | None:
        """What the server says of it, None where there is nothing; `Refused` where it is no file."""
        try:
            found: dict[str, Any] = self._ask(lambda fs, s: fs.info(name, timeout=s))
        except FileNotFoundError:
            return None
        if found["type"] != "file":
            raise Refused(f"{name} is no regular file")
        return found

    def _is(self, name: str, found: dict[str, Any] | None, sums: _Sums) -> bool:
        """Whether these are the bytes that are there."""
        if found is None or not _agree(found, sums):
            return False
        if "md5Hash" in found:
            return True
        with TemporaryDirectory(prefix="esfsm-gcs-") as directory:
            return self._fetch(name, found, Path(directory, "copy")) == sums

    def _ask(self, what: Callable[[Any, float], Any], size_bytes: int = 0) -> Any:
        return what(self._fs, self._timeout_s + size_bytes / SLOWEST_BYTES_PER_S)

    @cached_property
    def _fs(self) -> Any:
        """Connected when it is first needed; its work is done by one thread, whoever asks."""
        silence = ClientTimeout(total=None, sock_connect=self._timeout_s, sock_read=self._timeout_s)
        token = "anon" if os.environ.get("STORAGE_EMULATOR_HOST") else None
        return _Once(token=token, requests_timeout=silence, use_listings_cache=False, skip_instance_cache=True)


class _Once(GCSFileSystem):  # type: ignore[misc]
    """Without the six tries, and 36 s between them, of each request."""

    async def _request(self, *asked: Any, data: Any = None, **options: Any) -> Any:
        body = BytesIO(data) if isinstance(data, bytes) else data  # of many bytes in one piece aiohttp warns
        return await GCSFileSystem._request.__wrapped__(self, *asked, data=body, **options)

    _get_file_request = GCSFileSystem._get_file_request.__wrapped__
    _get_file_concurrent = GCSFileSystem._get_file_concurrent.__wrapped__


def open_storage(settings: Settings) -> GcsStorage:
    """For a server that answers within `storage_timeout_s`; nothing is asked yet."""
    return GcsStorage(settings.storage_timeout_s)


def _name(url: str) -> str:
    """BUCKET/NAME."""
    name = url.partition("://")[2]
    bucket, _, rest = name.partition("/")
    if not bucket or not rest:
        raise Refused("a URL as gs://BUCKET/NAME is expected")
    return name


def _sums(path: Path) -> _Sums:
    checksum, digest = Checksum(), md5(usedforsecurity=False)
    with path.open("rb", buffering=0) as file:
        while piece := file.read(BUFFER_BYTES):
            checksum.update(piece)
            digest.update(piece)
    return _Sums(checksum, digest.hexdigest())


def _agree(found: dict[str, Any], sums: _Sums) -> bool:
    """As far as the server says: its md5 is in base64, and not of every object."""
    told = b64decode(found["md5Hash"]).hex() if "md5Hash" in found else sums.md5
    return (int(found["size"]), told) == (sums.checksum.size_bytes, sums.md5)


def _words(sums: _Sums) -> str:
    return f"{sums.checksum.size_bytes} bytes of md5 {sums.md5}"


def _failed(url: str, error: Exception, code: PilotErrorCode) -> TransferError:
    final = isinstance(error, Refused) or str(error).startswith(("Forbidden", "Bad Request"))
    if isinstance(error, HttpError) and error.code:
        final = int(error.code) < HTTPStatus.INTERNAL_SERVER_ERROR and int(error.code) not in TEMPORARY
    said = f"{type(error).__name__}: {error}" if isinstance(error, _ODD) else str(error)
    why = _SESSION.sub(r"\1?...", " ".join(said.split())) or f"no answer: {type(error).__name__}"
    return TransferError(url, why, code, final=final)
