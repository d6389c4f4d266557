"""The only place that speaks to S3 and what is compatible with it: `s3://BUCKET/KEY` or `s3://HOST:PORT/BUCKET/KEY`.

An object appears whole or not at all, and `If-None-Match` gives it its name only while nobody else has it; where a
store does not know that, an object that appears between our last look and the end of ours is lost. Large files go in
parts, side by side. What a store has taken it says, when it is done, by its ETag, the MD5 of the parts; where that is
another one, as with encryption by keys of the store, the object is read back.

Keys, profile and token are found by boto3 itself (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_PROFILE`, ...).
boto3 and not s3fs, which pins its own version of it.
"""

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from functools import cache, partial
from hashlib import md5
from pathlib import Path
from typing import Any, NamedTuple

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, IncompleteReadError
from botocore.exceptions import ConnectionError as NotConnected

from esfsm.adapters.storage.fsspec import TROUBLE, OtherBytes, local_file
from esfsm.durable import BUFFER_BYTES, Checksum
from esfsm.errors import PilotErrorCode, TransferError
from esfsm.model.settings import Settings
from esfsm.ports import Stored

__all__ = ["S3Storage", "open_storage"]

PART_BYTES = 16 << 20
"""Of a multipart upload, which may have 10,000 parts: up to 156 GiB. A file of one part is sent at once."""
PARTS_AT_ONCE = 4
"""Of one file; each is in memory."""
SAID = (*TROUBLE, BotoCoreError, ClientError)
"""What boto3 raises, and what a local file does."""
NOT_FOUND = frozenset({"404", "NoSuchKey", "NotFound"})
TAKEN = frozenset({"PreconditionFailed", "412"})
NOT_KNOWN = frozenset({"NotImplemented", "501"})
PASSING = frozenset({"RequestTimeout", "RequestTimeTooSkewed", "SlowDown", "TooManyRequests", "OperationAborted"})
PASSING |= {"ConditionalRequestConflict", "NoSuchUpload", "BadDigest", "IncompleteBody", "ExpiredToken"}
"""What another try may get over although the store blames the request."""
PASSING_ERRORS = (HTTPClientError, NotConnected, IncompleteReadError)
"""Of boto3: nobody answered, or not to the end."""
_URL = re.compile(r"s3://(?:([^/:]+:\d+)/)?([^/]+)/(.*)")


class _Place(NamedTuple):
    """An object, whether there is one or not."""

    host: str | None
    bucket: str
    key: str

    @property
    def named(self) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": self.key}


class _Taken(OtherBytes):
    """Another object bears the name."""


class _Sent(NamedTuple):
    """What was sent, its ETag, and the one that the store said when it named it; None: another object has the name."""

    checksum: Checksum
    etag: str
    told: str | None


class _Digest:
    """Size, adler32 and ETag of the bytes that went by."""

    def __init__(self) -> None:
        self.checksum = Checksum()
        self._parts: list[bytes] = []
        self._part, self._left_bytes = _md5(), PART_BYTES

    def update(self, piece: bytes) -> None:
        """These bytes went by."""
        self.checksum.update(piece)
        while piece:
            if not self._left_bytes:
                self._parts.append(self._part.digest())
                self._part, self._left_bytes = _md5(), PART_BYTES
            self._part.update(piece[: self._left_bytes])
            piece, self._left_bytes = piece[self._left_bytes :], max(0, self._left_bytes - len(piece))

    @property
    def etag(self) -> str:
        """As a store says it that does not encrypt."""
        return _etag([*self._parts, self._part.digest()])


class S3Storage:
    """A `ports.Storage`; any thread may use it."""

    def __init__(self, endpoint: str | None, region: str | None, timeout_s: float) -> None:
        self._endpoint, self._region, self._timeout_s = endpoint, region, timeout_s

    def put(self, path: Path, url: str) -> Stored:
        """Copy a file there. Raises `TransferError`: MISSINGOUTPUTFILE if there is none, else STAGEOUTFAILED."""
        try:
            if local_file(path).size_bytes() is None:
                raise TransferError(url, f"there is no file {path}", PilotErrorCode.MISSINGOUTPUTFILE)
            place = _place(url)
            stored = self._put(self._client(place), path, place)
        except SAID as error:
            raise _failed(url, error, PilotErrorCode.STAGEOUTFAILED) from error
        return Stored(stored.size_bytes, stored.adler32, url)

    def get(self, url: str, path: Path) -> Stored:
        """Copy a file here. Raises `TransferError`: NOSUCHFILE if there is none, else STAGEINFAILED."""
        try:
            place = _place(url)
            client = self._client(place)
            head = _head(client, place)
            if head is None:
                raise TransferError(url, "there is no such object", PilotErrorCode.NOSUCHFILE)
            got = _get(client, place, path, head)
        except SAID as error:
            raise _failed(url, error, PilotErrorCode.STAGEINFAILED) from error
        return Stored(got.size_bytes, got.adler32, url)

    def names(self, url: str) -> list[str]:
        """The objects in a directory, sorted, without those further below. Raises `TransferError`: STAGEINFAILED."""
        try:
            place = _place(url if url.endswith("/") else f"{url}/")
            pages = self._client(place).get_paginator("list_objects_v2")
            listed = pages.paginate(Bucket=place.bucket, Prefix=place.key, Delimiter="/")
            found = [entry["Key"] for page in listed for entry in page.get("Contents", ())]
        except SAID as error:
            raise _failed(url, error, PilotErrorCode.STAGEINFAILED) from error
        return sorted(name for key in found if (name := key.removeprefix(place.key)))

    def _client(self, place: _Place) -> Any:
        endpoint = self._endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        if place.host is not None and (endpoint is None or endpoint.partition("://")[2].rstrip("/") != place.host):
            endpoint = f"https://{place.host}"
        return _client(endpoint, self._region, self._timeout_s)

    @staticmethod
    def _put(client: Any, path: Path, place: _Place) -> Checksum:
        if _head(client, place) is not None:
            there = _digest_of(path)
            _must_hold(client, place, there.checksum, there.etag)
            return there.checksum
        _abort_others(client, place)
        sent = (_send_parts if path.stat().st_size > PART_BYTES else _send)(client, path, place)
        if sent.told == sent.etag:
            return sent.checksum
        try:
            _must_hold(client, place, sent.checksum, sent.etag)
        except _Taken as error:
            if sent.told is None:
                raise
            client.delete_object(**place.named)
            raise OtherBytes(f"{error}: it was damaged on its way") from None
        return sent.checksum


def open_storage(settings: Settings) -> S3Storage:
    """As the settings, or else boto3's own ways, say."""
    return S3Storage(settings.s3_endpoint, settings.s3_region, settings.storage_timeout_s)


@cache
def _client(endpoint: str | None, region: str | None, timeout_s: float) -> Any:
    """One for all threads; it takes a tenth of a second to make. It tries once: when to try again is not its business.

    The MD5 of what has arrived comes back with each part; so the signature needs no SHA-256 of the same bytes, and
    newer checksums, which not every store knows, are left out.
    """
    config = Config(
        connect_timeout=timeout_s,
        read_timeout=timeout_s,
        retries={"total_max_attempts": 1},
        max_pool_connections=8 * PARTS_AT_ONCE,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "path" if endpoint else "auto", "payload_signing_enabled": False},
    )
    session = boto3.session.Session()
    region = region or session.region_name or "us-east-1"
    return session.client("s3", endpoint_url=endpoint, region_name=region, config=config)


def _place(url: str) -> _Place:
    found = _URL.fullmatch(url)
    if found is None:
        raise ValueError("a URL as s3://BUCKET/KEY or s3://HOST:PORT/BUCKET/KEY is expected")
    return _Place(*found.groups())


def _send(client: Any, path: Path, place: _Place) -> _Sent:
    """One request for all of it."""
    content = path.read_bytes()
    digest = _Digest()
    digest.update(content)
    return _Sent(
        digest.checksum,
        digest.etag,
        _name(partial(client.put_object, Body=content), place),
    )


def _send_parts(client: Any, path: Path, place: _Place) -> _Sent:
    """Many requests side by side, while size and adler32 are computed."""
    upload = {**place.named, "UploadId": client.create_multipart_upload(**place.named)["UploadId"]}
    checksum = Checksum()
    try:
        with path.open("rb", buffering=0) as file, ThreadPoolExecutor(PARTS_AT_ONCE) as threads:
            offsets = range(0, path.stat().st_size, PART_BYTES)
            sending = threads.map(partial(_send_part, client, upload, file.fileno()), offsets)
            try:
                while piece := file.read(BUFFER_BYTES):
                    checksum.update(piece)
                sent = [*sending]
            finally:
                threads.shutdown(cancel_futures=True)
        parts = [{"PartNumber": number, "ETag": f'"{part.hex()}"'} for number, part in enumerate(sent, start=1)]
        finish = partial(
            client.complete_multipart_upload, MultipartUpload={"Parts": parts}, UploadId=upload["UploadId"]
        )
        return _Sent(checksum, _etag(sent), _name(finish, place))
    except SAID:
        with suppress(*SAID):
            client.abort_multipart_upload(**upload)
        raise


def _send_part(client: Any, upload: dict[str, str], file: int, offset: int) -> bytes:
    """Its MD5, which the store has found, too."""
    content = os.pread(file, PART_BYTES, offset)
    part: bytes = _md5(content).digest()
    told = client.upload_part(**upload, PartNumber=offset // PART_BYTES + 1, Body=content)["ETag"]
    if re.fullmatch('"[0-9a-f]{32}"', told) and told != f'"{part.hex()}"':
        raise OtherBytes(f"the part at byte {offset} has not arrived as it was sent")
    return part


def _name(finish: Any, place: _Place) -> str | None:
    """Give an object its name unless another one has it; returns the ETag that the store says then."""
    try:
        told = finish(**place.named, IfNoneMatch="*")
    except ClientError as error:
        if _code(error) in TAKEN:
            return None
        if _code(error) not in NOT_KNOWN:
            raise
        told = finish(**place.named)
    return str(told["ETag"]).strip('"')


def _abort_others(client: Any, place: _Place) -> None:
    """What a writer has left who was killed: nobody sees it, and it takes room. Not all stores let us look."""
    with suppress(*SAID):
        for upload in client.list_multipart_uploads(Bucket=place.bucket, Prefix=place.key).get("Uploads", ()):
            if upload["Key"] == place.key:
                client.abort_multipart_upload(**place.named, UploadId=upload["UploadId"])


def _get(client: Any, place: _Place, path: Path, head: dict[str, Any]) -> Checksum:
    target = local_file(path)
    part = target.part(f"s3://{place.bucket}/{place.key}")
    part.remove()
    if target.size_bytes() is not None:
        there = _digest_of(path)
        _must_hold(client, place, there.checksum, there.etag)
        return there.checksum
    target.make_directory()
    try:
        digest = _Digest()
        with part.create() as writer:
            for piece in _contents(client, place):
                writer.write(piece)
                digest.update(piece)
            part.sync(writer)
        _must_be(head, digest)
        target.take(part, digest.checksum)
    finally:
        part.remove()
    target.sync_name()
    return digest.checksum


def _must_hold(client: Any, place: _Place, expected: Checksum, etag: str) -> None:
    """Raise `_Taken` unless the object has these bytes: by its ETag, or else read back."""
    head = _head(client, place)
    if head is None or head["ContentLength"] != expected.size_bytes:
        raise _Taken(f"{place.key} has not the {expected.size_bytes} bytes of adler32 {expected.adler32}")
    if head["ETag"].strip('"') != etag and _checksum(client, place) != expected:
        raise _Taken(f"{place.key} has other bytes than those of adler32 {expected.adler32}")


def _must_be(head: dict[str, Any], read: _Digest) -> None:
    """Raise `OtherBytes` unless what was read is what the store says of it, as far as its ETag tells."""
    told, encrypts = head["ETag"].strip('"'), head.get("ServerSideEncryption", "AES256") != "AES256"
    tells = not encrypts and told.partition("-")[2] == read.etag.partition("-")[2]
    if head["ContentLength"] != read.checksum.size_bytes or (tells and told != read.etag and "-" not in told):
        raise OtherBytes(f"what was read is not the {head['ContentLength']} bytes of ETag {told}")


def _checksum(client: Any, place: _Place) -> Checksum:
    checksum = Checksum()
    for piece in _contents(client, place):
        checksum.update(piece)
    return checksum


def _contents(client: Any, place: _Place) -> Iterator[bytes]:
    """The bytes of an object; raises where there are fewer than it said."""
    with closing(client.get_object(**place.named)["Body"]) as body:
        yield from body.iter_chunks(BUFFER_BYTES)


def _head(client: Any, place: _Place) -> dict[str, Any] | None:
    """What the store says of an object; None where there is none."""
    try:
        return dict(client.head_object(**place.named))
    except ClientError as error:
        if _code(error) in NOT_FOUND:
            return None
        raise


def _digest_of(path: Path) -> _Digest:
    digest = _Digest()
    with path.open("rb", buffering=0) as file:
        while piece := file.read(BUFFER_BYTES):
            digest.update(piece)
    return digest


def _md5(content: bytes = b"") -> Any:
    return md5(content, usedforsecurity=False)


def _etag(parts: list[bytes]) -> str:
    """Of one part its MD5, of several the MD5 of theirs and their number."""
    return parts[0].hex() if len(parts) == 1 else f"{_md5(b''.join(parts)).hexdigest()}-{len(parts)}"


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _failed(url: str, error: Exception, code: PilotErrorCode) -> TransferError:
    """`final` is what another request would be told, too: no permission, no such bucket, no keys, other bytes there."""
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
        final = 400 <= status < 429 and status != 408 and _code(error) not in PASSING
        said = error.response.get("Error", {}).get("Message", "")
        return TransferError(url, " ".join(f"{_code(error)}: {said}".split()), code, final=final)
    final = isinstance(error, BotoCoreError | ValueError | _Taken) and not isinstance(error, PASSING_ERRORS)
    return TransferError(url, " ".join(f"{type(error).__name__}: {error}".split()), code, final=final)
