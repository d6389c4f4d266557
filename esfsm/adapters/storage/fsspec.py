"""The only place that speaks to fsspec: stage-in and stage-out by URL, or by a plain path of a local directory.

A copy is written under another name beside its target, read back, and only then believed. Reading back is honest: it
opens the file again and takes nothing over from the copy, so it finds what a full disk, a second writer or a broken
server made of it. It does not prove the medium, as a kernel answers from its page cache where it can; that the medium
took the bytes is what fsync says, which comes before.
"""

import errno
import os
import socket
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from esfsm.durable import BUFFER_BYTES, Checksum, sync_directory
from esfsm.errors import PilotErrorCode, TransferError
from esfsm.model.settings import Settings
from esfsm.ports import Stored

__all__ = ["TROUBLE", "FsspecStorage", "OtherBytes", "local_file", "open_storage"]

TROUBLE = (OSError, ValueError, ImportError, NotImplementedError)
"""What fsspec raises: trouble with a file or a server, a URL it cannot read, a package or a function that it lacks."""
NO_HARD_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK})
"""How a file system refuses a hard link, and would not refuse to rename."""


class FsspecStorage:
    """A `ports.Storage` for whatever fsspec reaches; it keeps nothing, so any thread may use it.

    A local file never takes its name from another, however close two writers are. Other storages, and disks without
    hard links, know no such step: there a file that appears between our last look and our renaming is lost.
    """

    def put(self, path: Path, url: str) -> Stored:
        """Copy a file there. Raises `TransferError`: MISSINGOUTPUTFILE if there is none, else STAGEOUTFAILED."""
        return _transfer(path, url, url, PilotErrorCode.MISSINGOUTPUTFILE, PilotErrorCode.STAGEOUTFAILED)

    def get(self, url: str, path: Path) -> Stored:
        """Copy a file here. Raises `TransferError`: NOSUCHFILE if there is none, else STAGEINFAILED."""
        return _transfer(url, path, url, PilotErrorCode.NOSUCHFILE, PilotErrorCode.STAGEINFAILED)

    def names(self, url: str) -> list[str]:
        """The files in a directory, sorted, without those further below. Raises `TransferError`: STAGEINFAILED."""
        try:
            return sorted(_place(url).names())
        except TROUBLE as error:
            raise TransferError(url, f"{type(error).__name__}: {error}", PilotErrorCode.STAGEINFAILED) from error


def open_storage(settings: Settings) -> FsspecStorage:
    """For local files; what it needs to know is in the URL."""
    return FsspecStorage()


class OtherBytes(OSError):
    """The bytes at a place are not those that should be there."""


def _transfer(
    origin: Path | str, target: Path | str, url: str, missing: PilotErrorCode, failed: PilotErrorCode
) -> Stored:
    try:
        source, destination = _place(origin), _place(target)
        if source.size_bytes() is None:
            raise TransferError(url, f"there is no file {origin}", missing)
        copied = _copy(source, destination)
    except TROUBLE as error:
        raise TransferError(url, f"{type(error).__name__}: {error}", failed) from error
    return Stored(copied.size_bytes, copied.adler32, url)


def _copy(source: "_Place", destination: "_Place") -> Checksum:
    part = destination.part(source.name)
    part.remove()  # a try that was killed may have left it
    if destination.size_bytes() is not None:
        expected = source.checksum()
        destination.must_hold(expected)
        destination.sync_name()  # that try may not have come so far
        return expected
    destination.make_directory()
    try:
        copied = part.fill(source)
        destination.take(part, copied)
    finally:
        part.remove()
    destination.sync_name()
    return copied


@dataclass(frozen=True, slots=True)
class _Place:
    """A name in a storage, whether there is a file or not. All methods raise `TROUBLE`."""

    fs: AbstractFileSystem
    name: str

    @property
    def directory(self) -> str:
        return self.name.rpartition("/")[0]

    def part(self, origin: str) -> "_Place":
        """The name beside this one for a copy that is not whole.

        It is the same for each try, which replaces what the one before left, and another one for each writer.
        """
        writer = f"{socket.gethostname()} {origin} {self.name}"
        digest = blake2b(writer.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
        return type(self)(self.fs, f"{self.directory}/.{digest}.part")

    def size_bytes(self) -> int | None:
        """None where there is nothing; OSError where it is no file. (`fs.exists` takes any trouble for a no.)"""
        try:
            found = self.fs.info(self.name)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if found["type"] != "file":
            raise OSError(f"{self.name} is no regular file")
        return int(found["size"])

    def names(self) -> list[str]:
        """Of the files in this directory, none where there is nothing; OSError where it is no directory."""
        try:
            found = self.fs.ls(self.name, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        if [entry["name"] for entry in found] == [self.name]:  # how fsspec lists a file
            raise OSError(f"{self.name} is no directory")
        return [entry["name"].rpartition("/")[2] for entry in found if entry["type"] == "file"]

    def checksum(self) -> Checksum:
        """Of what is there now, byte by byte."""
        checksum = Checksum()
        with self.fs.open(self.name, "rb") as file:
            while piece := file.read(BUFFER_BYTES):
                checksum.update(piece)
        return checksum

    def must_hold(self, expected: Checksum) -> None:
        """Raise `OtherBytes` unless a fresh read gives these."""
        if self.size_bytes() != expected.size_bytes or self.checksum() != expected:
            raise OtherBytes(f"{self.name} has not the {expected.size_bytes} bytes of adler32 {expected.adler32}")

    def fill(self, source: "_Place") -> Checksum:
        """Copy the contents; size and adler32 as they were read."""
        checksum = Checksum()
        with source.fs.open(source.name, "rb") as reader, self.create() as writer:
            while piece := reader.read(BUFFER_BYTES):
                writer.write(piece)
                checksum.update(piece)
            self.sync(writer)
        return checksum

    def remove(self) -> None:
        """Remove the file, if there is one and if that can be done: whoever calls has worse to tell."""
        try:
            self.fs.rm_file(self.name)
        except TROUBLE:
            return

    def make_directory(self) -> None:
        self.fs.makedirs(self.directory, exist_ok=True)

    def create(self) -> Any:
        """A file to write to; fsspec has no type for it."""
        return self.fs.open(self.name, "wb")

    def sync(self, writer: Any) -> None:
        """Bring what was written to the medium: elsewhere that is the server's business."""

    def sync_name(self) -> None:
        """The same for the name."""

    def take(self, part: "_Place", copied: Checksum) -> None:
        """Give this name to a copy. For many servers that means to copy it once more, so it is read back after."""
        self.fs.mv(part.name, self.name)
        try:
            self.must_hold(copied)
        except OtherBytes:
            self.remove()
            raise


class _LocalPlace(_Place):
    """A local file, where names and bytes can be synced and a name can be given without taking it from another."""

    __slots__ = ()

    def make_directory(self) -> None:
        _make_directory(Path(self.name).parent)

    def create(self) -> Any:
        # Never through a link, or into a file that has a second name already.
        return Path(self.name).open("xb")

    def sync(self, writer: Any) -> None:
        writer.flush()
        os.fsync(writer.fileno())

    def sync_name(self) -> None:
        sync_directory(Path(self.name).parent)

    def take(self, part: _Place, copied: Checksum) -> None:
        """Read the copy back before it is named: here naming it moves no bytes."""
        part.must_hold(copied)
        try:
            os.link(part.name, self.name)
        except FileExistsError:
            self.must_hold(copied)  # another writer was first
        except OSError as error:
            if error.errno not in NO_HARD_LINKS or os.path.lexists(self.name):
                raise
            Path(part.name).rename(self.name)


def local_file(path: Path) -> _LocalPlace:
    """A file of this machine, for those who fill it by other means."""
    return _LocalPlace(LocalFileSystem(), str(path.absolute()))


def _place(where: Path | str) -> _Place:
    if isinstance(where, Path):
        return local_file(where)
    # A listing that is remembered would hide what other writers do.
    fs, name = url_to_fs(where, use_listings_cache=False)
    return (_LocalPlace if isinstance(fs, LocalFileSystem) else _Place)(fs, name)


def _make_directory(directory: Path) -> None:
    """Make it and its parents so that a power failure does not undo it."""
    if not directory.is_dir():
        _make_directory(directory.parent)
        directory.mkdir(exist_ok=True)
        sync_directory(directory.parent)
