"""What archives of each format have in common: flat, regular files only, checked as a whole before one is written."""

import os
import shutil
import stat
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from io import FileIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

from esfsm.durable import BUFFER_BYTES, Checksum, sync_directory
from esfsm.errors import MissingMember, PilotErrorCode, TransferError

__all__ = [
    "ENCODING",
    "MODE",
    "Member",
    "Packed",
    "UnsafeArchive",
    "fault_of",
    "member_of",
    "missing",
    "pieces",
    "place",
    "write",
]

NAME_BYTES = 255
"""The longest file name on Linux (NAME_MAX)."""
MODE = 0o644
ENCODING = ("utf-8", "surrogateescape")
"""Of member names: any file name of Linux survives it."""


class UnsafeArchive(TransferError):
    """An archive that is damaged, or would write where it must not; nothing was unpacked.

    `member` is empty where the fault is not in one member.
    Its code is one of those by which PanDA takes the input of a merge job for corrupted and makes its events again.
    """

    def __init__(self, archive: Path, member: str, why: str) -> None:
        self.archive, self.member = archive, member
        super().__init__(str(archive), f"member {member!r}: {why}" if member else why, PilotErrorCode.NOSUCHFILE)


class Packed(NamedTuple):
    """An archive that is on the disk: size in bytes, adler32 as 8 hex digits."""

    size_bytes: int
    adler32: str


class Member(NamedTuple):
    """A regular file in an archive, and its contents as often as they are asked for."""

    name: str
    size_bytes: int
    contents: Callable[[], Iterator[bytes]]


def fault_of(name: str) -> str | None:
    """Why this is no flat base name; None for a good one."""
    if name in ("", ".", ".."):
        return "no file name"
    for character in "/\0\n":
        if character in name:
            return f"{character!r} in the name"
    if len(name.encode(*ENCODING)) > NAME_BYTES:
        return f"a name of more than {NAME_BYTES} bytes"
    return None


def missing(members: Mapping[str, Path]) -> list[str]:
    """The members that `pack` would refuse, in order: no regular file to read, or a name that no member can have."""
    return [name for name, path in members.items() if fault_of(name) or not _readable(path)]


def write(members: Mapping[str, Path], archive: Path, blocks: Iterable[bytes]) -> Packed:
    """An archive whose bytes are `blocks`; one of that name is replaced, once the new one is whole and on the disk.

    Raises ValueError for a member that is no flat base name, and what `blocks` or the file raise; nothing of it is
    left then.
    """
    for name in members:
        if fault := fault_of(name):
            raise ValueError(f"member {name!r}: {fault}")
    checksum = Checksum()
    part = archive.with_name(archive.name + ".part")
    try:
        with part.open("wb") as file:
            for block in blocks:
                file.write(block)
                checksum.update(block)
            file.flush()
            os.fsync(file.fileno())
        part.replace(archive)
    finally:
        part.unlink(missing_ok=True)
    sync_directory(archive.parent)
    return Packed(checksum.size_bytes, checksum.adler32)


def member_of(name: str, path: Path, head: Callable[[int], Iterator[bytes]]) -> Iterator[bytes]:
    """What `head` says for a member of its size, and its contents. Raises `MissingMember`."""
    try:
        with _open_regular(path) as file:
            size_bytes = os.fstat(file.fileno()).st_size
            yield from head(size_bytes)
            yield from pieces(file, size_bytes)
    except (OSError, ValueError) as error:
        raise MissingMember(name, path, str(error)) from error


def pieces(file: FileIO | BinaryIO, size_bytes: int) -> Iterator[bytes]:
    """The next bytes of a file; raises OSError when there are fewer."""
    while size_bytes:
        piece = file.read(min(size_bytes, BUFFER_BYTES))
        if not piece:
            raise OSError(f"ends {size_bytes} bytes too early")
        size_bytes -= len(piece)
        yield piece


def place(
    members: Sequence[Member],
    archive: Path,
    directory: Path,
    *,
    limit_bytes: int | None = None,
    only: Container[str] | None = None,
) -> list[str]:
    """Write members, those of these names or all, into a directory, which is made if need be; returns their names.

    A file that is there with the same bytes is left alone, so it may be repeated after a crash. One process at a time
    may unpack into a directory. Raises as the `unpack` of a format does.
    """
    chosen = [member for member in members if only is None or member.name in only]
    total_bytes = 0
    for member in chosen:
        total_bytes += member.size_bytes
        if limit_bytes is not None and total_bytes > limit_bytes:
            raise UnsafeArchive(archive, member.name, f"the contents exceed {limit_bytes} bytes")
    wanted = [member for member in chosen if not _is_there(member, archive, directory)]
    part = directory / f".{archive.name}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        for member in wanted:
            _extract(member, part)
        for member in wanted:
            (part / member.name).rename(directory / member.name)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    sync_directory(directory)
    return [member.name for member in chosen]


def _readable(path: Path) -> bool:
    try:
        _open_regular(path).close()
    except (OSError, ValueError):
        return False
    return True


def _open_regular(path: Path) -> FileIO:
    """Open a file, but nothing else; without waiting, as a payload may have announced a fifo that nobody writes."""
    file = FileIO(path, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise OSError("not a regular file")


def _is_there(member: Member, archive: Path, directory: Path) -> bool:
    """Whether a member has been unpacked before; raises `TransferError` for anything else of that name."""
    path = directory / member.name
    if not os.path.lexists(path):
        return False
    if path.is_file() and path.stat().st_size == member.size_bytes:
        with path.open("rb") as there:
            if all(piece == there.read(len(piece)) for piece in member.contents()):
                return True
    why = f"member {member.name!r}: other contents are at {path}"
    raise TransferError(str(archive), why, PilotErrorCode.STAGEINFAILED)


def _extract(member: Member, directory: Path) -> None:
    with (directory / member.name).open("xb") as target:
        os.fchmod(target.fileno(), MODE)
        for piece in member.contents():
            target.write(piece)
        target.flush()
        os.fsync(target.fileno())
