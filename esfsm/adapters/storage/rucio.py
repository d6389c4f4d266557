"""The only place that speaks to Rucio, by its own client: `rucio://RSE/SCOPE/LFN`, and `.../DATASET` to list.

Account, server and credentials are what that client finds: `RUCIO_CONFIG` or `$RUCIO_HOME/etc/rucio.cfg`, and
`RUCIO_ACCOUNT`, `RUCIO_AUTH_TYPE`, `X509_USER_PROXY`. A file is claimed in the catalogue first, with its size and
adler32, so of two writers with different bytes the second is refused there; it is available only when its bytes are at
the RSE. Between the two, Rucio writes to LFN.rucio.upload beside it.

Size and adler32 are asked back twice: from the catalogue, and from the RSE by its own protocol; where that knows no
checksums, the bytes are read back. `DownloadClient` is not used: it waits up to 600 s for a server that says nothing,
for ever to report a copy, and takes `*` in a name for many files.
"""

import logging
import os
import re
from configparser import Error as ConfigurationError
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from rucio.client.client import Client
from rucio.client.uploadclient import UploadClient
from rucio.common import exception
from rucio.common.config import config_has_option, config_set
from rucio.rse import rsemanager

from esfsm.adapters.storage.fsspec import TROUBLE as LOCAL_TROUBLE
from esfsm.adapters.storage.fsspec import local_file
from esfsm.durable import Checksum
from esfsm.errors import PilotErrorCode, TransferError
from esfsm.model.settings import Settings
from esfsm.ports import Stored

__all__ = ["RucioStorage", "open_storage"]

_ODD = (LookupError, TypeError, StopIteration)
"""What becomes of an answer that is none of Rucio's; a `KeyError` also of a proxy that is not found."""
TROUBLE = (*LOCAL_TROUBLE, exception.RucioException, ConfigurationError, *_ODD)
"""What Rucio's client raises."""
FINAL = frozenset({
    *("AccessDenied", "ConfigNotFound", "DataIdentifierAlreadyExists", "FileConsistencyMismatch", "InvalidObject"),
    *("FileReplicaAlreadyExists", "InputValidationError", "InsufficientAccountLimit", "InvalidRSEExpression"),
    *("MissingClientParameter", "MissingDependency", "NoAuthInformation", "RSEAccessDenied", "RSENotFound"),
    *("RSEOverQuota", "RSEProtocolNotSupported", "RSEWriteBlocked", "ScopeNotFound", "UnsupportedOperation"),
})  # fmt: skip
"""What Rucio will say the next time, too. A refused credential may be renewed."""
_FINAL_WORDS = re.compile("permission denied|access denied|quota|no space left|read-only", re.I)
"""The same in the words of a protocol, of which Rucio keeps only the words."""
_FILE = re.compile(r"rucio://([^/?#*:]+)/([^/?#*:]+)/([^/?#*:]+)")
_DIRECTORY = re.compile(r"rucio://([^/?#*:]+)/([^/?#*:]+)(?:/([^/?#*:]+))?/?")
_SIGNATURE = re.compile(r"(\w+://[^\s?]+)\?\S+")
SLOWEST_BYTES_PER_S = 500_000
"""A copy that is slower is given up, as Rucio's own client does."""
_SILENT = logging.Logger("rucio", logging.CRITICAL + 1)
"""Rucio's client writes passwords into its debug lines."""


class _Place(NamedTuple):
    """A file of Rucio at one RSE."""

    rse: str
    scope: str
    name: str

    @property
    def did(self) -> dict[str, str]:
        return {"scope": self.scope, "name": self.name}


class _Replica(NamedTuple):
    """What the catalogue has of a file at one RSE."""

    size_bytes: int
    adler32: str
    available: bool
    pfns: list[str]


class _Client(Client):  # type: ignore[misc]
    """Tries again once, with a new token when the old one has ended."""

    AUTH_RETRIES = 1

    def close(self) -> None:
        """Give up its connections."""
        self.session.close()


class RucioStorage:
    """A `ports.Storage` for `rucio://RSE/SCOPE/LFN`; each copy has a client of its own, so any thread may use it."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s

    def put(self, path: Path, url: str) -> Stored:
        """Upload and register a file. Raises `TransferError`: MISSINGOUTPUTFILE if there is none, or STAGEOUTFAILED."""
        source = local_file(path)
        try:
            if source.size_bytes() is None:
                raise TransferError(url, f"there is no file {path}", PilotErrorCode.MISSINGOUTPUTFILE)
            place, expected = _Place(*_parts(_FILE, url)), source.checksum()
            with self._client() as client:
                self._put(client, path, place, expected)
        except TROUBLE as error:
            raise _failed(url, error, PilotErrorCode.STAGEOUTFAILED) from error
        return Stored(expected.size_bytes, expected.adler32, url)

    def get(self, url: str, path: Path) -> Stored:
        """Copy a file here. Raises `TransferError`: NOSUCHFILE if the RSE has none, else STAGEINFAILED."""
        try:
            place = _Place(*_parts(_FILE, url))
            with self._client() as client:
                replica = _replica(client, place)
                if replica is None or not replica.available:
                    raise exception.SourceNotFound(f"{place.rse} has no replica of it")
                got = self._get(client, place, replica, path)
        except exception.SourceNotFound as error:
            raise _failed(url, error, PilotErrorCode.NOSUCHFILE) from error
        except TROUBLE as error:
            raise _failed(url, error, PilotErrorCode.STAGEINFAILED) from error
        return Stored(got.size_bytes, got.adler32, url)

    def names(self, url: str) -> list[str]:
        """The files of a dataset, or of a scope, that the RSE has, sorted. Raises `TransferError`: STAGEINFAILED."""
        try:
            rse, scope, dataset = _parts(_DIRECTORY, url)
            with self._client() as client:
                return _names(client, rse, scope, dataset)
        except (exception.DataIdentifierNotFound, exception.ScopeNotFound):
            return []
        except TROUBLE as error:
            raise _failed(url, error, PilotErrorCode.STAGEINFAILED) from error

    def _put(self, client: Any, path: Path, place: _Place, expected: Checksum) -> None:
        replica = _replica(client, place)
        if replica is not None:
            _must_be("the catalogue", replica[:2], expected)
        if replica is None or not replica.available:
            self._make_available(client, path, place, expected, replica is not None)
            replica = _replica(client, place)
        if replica is None or not replica.available:
            raise exception.RucioException("it is at the RSE, but was not registered as available")
        _must_be("the catalogue", replica[:2], expected)
        self._must_hold(*_source(client, place, replica), expected)

    def _make_available(self, client: Any, path: Path, place: _Place, expected: Checksum, known: bool) -> None:
        settings = client.get_rse(place.rse)
        if not settings["availability_write"]:
            raise exception.RSEWriteBlocked(f"{place.rse} is not open for writing")
        if not settings["deterministic"]:
            raise exception.UnsupportedOperation(f"{place.rse} does not derive paths from names")
        protocol = _protocol(client, settings, "read")
        (pfn,) = protocol.lfns2pfns(place.did).values()
        if protocol.exists(pfn):
            self._must_hold(protocol, pfn, expected)  # of a try that was killed, or of others
            file = place.did | {"bytes": expected.size_bytes, "adler32": expected.adler32, "state": "A"}
            (client.update_replicas_states if known else client.add_replicas)(place.rse, [file])
        else:
            self._upload(client, settings, path, place, expected)
        with suppress(exception.DuplicateRule):  # a try that was killed may not have come so far
            client.add_replication_rule([place.did], copies=1, rse_expression=place.rse)

    def _upload(self, client: Any, settings: dict[str, Any], path: Path, place: _Place, expected: Checksum) -> None:
        """Claim, copy, have it checked, rename, register as available."""
        if not config_has_option("client", "protocol_stat_retries"):
            config_set("client", "protocol_stat_retries", "0")  # else an empty file is asked for during 63 s
        uploader = UploadClient(client, logger=_SILENT)
        uploader.tracing = False  # reports have no time limit
        uploader.rses[place.rse] = settings  # else it is asked for with a limit of 600 s
        item = {"path": str(path.absolute()), "rse": place.rse, "did_scope": place.scope, "did_name": place.name}
        traces: list[dict[str, Any]] = []
        try:
            uploader.upload([item | {"transfer_timeout": self._limit_s(expected.size_bytes)}], traces_copy_out=traces)
        except exception.NoFilesUploaded as error:
            _remove_remains(client, settings, place)
            why = "; ".join(trace["stateReason"] for trace in traces if "stateReason" in trace)
            raise exception.RucioException(why or "it was not registered as available") from error

    def _get(self, client: Any, place: _Place, replica: _Replica, path: Path) -> Checksum:
        target = local_file(path)
        part = target.part(f"{place.scope}:{place.name}")
        part.remove()
        if target.size_bytes() is not None:
            there = target.checksum()
            _must_be("the catalogue", replica[:2], there)
            return there
        target.make_directory()
        try:
            protocol, pfn = _source(client, place, replica)
            protocol.get(pfn, part.name, transfer_timeout=self._limit_s(replica.size_bytes))
            with Path(part.name).open("rb") as copy:
                os.fsync(copy.fileno())
            copied = part.checksum()
            if (copied.size_bytes, copied.adler32) != replica[:2]:
                raise exception.RucioException("the RSE gave other bytes than are registered")
            target.take(part, copied)
        finally:
            part.remove()
        target.sync_name()
        return copied

    def _must_hold(self, protocol: Any, pfn: str, expected: Checksum) -> None:
        """Raise unless the RSE says that it has these bytes, or gives them when it knows no checksums."""
        try:
            told = protocol.stat(pfn)
        except (exception.RSEChecksumUnavailable, NotImplementedError):
            told = {}
        if "adler32" not in told:
            with TemporaryDirectory(prefix="esfsm-rucio-") as directory:
                copy = Path(directory, "copy")
                protocol.get(pfn, str(copy), transfer_timeout=self._limit_s(expected.size_bytes))
                read = local_file(copy).checksum()
                told = {"filesize": read.size_bytes, "adler32": read.adler32}
        _must_be("the RSE", (int(told["filesize"]), _eight(told["adler32"])), expected)

    def _limit_s(self, size_bytes: int) -> int:
        """How long a copy may take, whole seconds: protocols know no limit of silence."""
        return round(self._timeout_s + size_bytes / SLOWEST_BYTES_PER_S) + 1

    def _client(self) -> "closing[_Client]":
        return closing(_Client(timeout=self._timeout_s, logger=_SILENT))


def open_storage(settings: Settings) -> RucioStorage:
    """For a server that answers within `storage_timeout_s`; who and where it is, Rucio's configuration says."""
    return RucioStorage(settings.storage_timeout_s)


def _parts(pattern: re.Pattern[str], url: str) -> tuple[Any, ...]:
    if (found := pattern.fullmatch(url)) is None:
        raise exception.InputValidationError("a URL as rucio://RSE/SCOPE/LFN is expected")
    return found.groups()


def _replica(client: Any, place: _Place) -> _Replica | None:
    """What the catalogue has, in any state; None where it knows of no replica at this RSE."""
    try:
        listed = list(client.list_replicas([place.did], rse_expression=place.rse, all_states=True))
    except exception.DataIdentifierNotFound:
        return None
    for entry in listed:
        if pfns := entry["rses"].get(place.rse):
            available = entry["states"][place.rse] == "AVAILABLE"
            return _Replica(entry["bytes"], _eight(entry["adler32"]), available, pfns)
    return None


def _names(client: Any, rse: str, scope: str, dataset: str | None) -> list[str]:
    if dataset is None:
        dids = [{"scope": scope, "name": name} for name in client.list_dids(scope, [{}], did_type="file")]
    else:
        dids = [{"scope": scope, "name": dataset}]
        if client.get_did(scope, dataset)["type"] == "FILE":
            raise NotADirectoryError(f"{scope}:{dataset} is no dataset")
    listed = client.list_replicas(dids, rse_expression=rse) if dids else []
    return sorted({entry["name"] for entry in listed if rse in entry["rses"]})


def _protocol(client: Any, settings: dict[str, Any], operation: str) -> Any:
    """How this RSE is reached first of all, connected; Rucio has no type for it."""
    token = client.auth_token if client.auth_token.count(".") == 2 else None  # an RSE takes no other than a JWT
    protocol = rsemanager.create_protocol(settings, operation, auth_token=token, logger=_SILENT.log)
    protocol.connect()
    return protocol


def _source(client: Any, place: _Place, replica: _Replica) -> tuple[Any, str]:
    """How a replica is read, and its name there: the catalogue has one for each protocol."""
    protocol = _protocol(client, client.get_rse(place.rse), "read")
    first = f"{protocol.attributes['scheme']}:"
    return protocol, min(replica.pfns, key=lambda pfn: not pfn.startswith(first))


def _remove_remains(client: Any, settings: dict[str, Any], place: _Place) -> None:
    """Remove half a copy, if there is one and if that can be done: whoever calls has worse to tell."""
    with suppress(*TROUBLE):
        protocol = _protocol(client, settings, "delete")
        (pfn,) = protocol.lfns2pfns(place.did).values()
        protocol.delete(f"{pfn}.rucio.upload")


def _must_be(where: str, found: tuple[int, str], expected: Checksum) -> None:
    """Raise unless size and adler32 are those that are expected."""
    if found != (expected.size_bytes, expected.adler32):
        has = f"{where} has {found[0]} bytes of adler32 {found[1]}"
        raise exception.FileReplicaAlreadyExists(f"{has}, not {expected.size_bytes} of {expected.adler32}")


def _eight(adler32: object) -> str:
    """Some storages leave out leading zeros."""
    return str(adler32).lower().zfill(8)


def _failed(url: str, error: Exception, code: PilotErrorCode) -> TransferError:
    said = f"{type(error).__name__}: {error}" if isinstance(error, _ODD) else str(error)
    said = " ".join(said.split()).removeprefix("An unknown exception occurred. Details: ")
    why = _SIGNATURE.sub(r"\1?...", said) or f"no answer: {type(error).__name__}"
    final = type(error).__name__ in FINAL or isinstance(error, ConfigurationError) or _FINAL_WORDS.search(why)
    return TransferError(url, why, code, final=bool(final))
