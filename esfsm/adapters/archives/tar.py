"""The only place that writes and reads Event Service archives.

An archive is a plain tar, flat: one member per output, by its base name. It is written in GNU format, as `tar -r`
of other pilots writes it, so whatever merges their archives merges ours; the format has room for names of any
length and sizes over 8 GiB. `tarfile` makes and reads the headers. The blocks go by here, which gives size and
adler32 in the same pass, and a reader that checks everything before it writes anything.
"""

import os
import shutil
import stat
import tarfile
from collections.abc import Iterator, Mapping
from io import FileIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

from esfsm.durable import BUFFER_BYTES, Checksum, sync_directory
from esfsm.errors import MissingMember, PilotErrorCode, TransferError

__all__ = ["Packed", "UnsafeArchive", "missing", "names", "pack", "unpack"]

EXTENSION_BYTES = 1 << 16
"""The longest extension header that is believed; it holds a name, so a few hundred bytes are usual."""
SIZE_DIGITS = 19
"""What a file's size can have (2^63)."""
NAME_BYTES = 255
"""The longest file name on Linux (NAME_MAX)."""
MODE = 0o644
ENCODING = ("utf-8", "surrogateescape")
"""Of member names: any file name of Linux survives it."""

KINDS = {tarfile.LNKTYPE: "a hard link", tarfile.SYMTYPE: "a symbolic link", tarfile.DIRTYPE: "a directory"}
KINDS |= {tarfile.CHRTYPE: "a device", tarfile.BLKTYPE: "a device", tarfile.FIFOTYPE: "a fifo"}


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


def missing(members: Mapping[str, Path]) -> list[str]:
    """The members that `pack` would refuse, in order: no regular file to read, or a name that no member can have."""
    return [name for name, path in members.items() if _fault(name) or not _readable(path)]


def _readable(path: Path) -> bool:
    try:
        _open_regular(path).close()
    except (OSError, ValueError):
        return False
    return True


def pack(members: Mapping[str, Path], archive: Path) -> Packed:
    """Write an archive of the files in `members`, by the base names they get inside, in that order.

    The same names and contents give the same bytes, whoever owns the files and whenever they were made. An archive of
    that name is replaced, once the new one is whole and on the disk.

    Raises ValueError for a name that is no flat base name, `MissingMember` for a file that cannot be read or shrinks
    meanwhile, OSError where the archive cannot be written. Nothing of it is left then.
    """
    for name in members:
        if fault := _fault(name):
            raise ValueError(f"member {name!r}: {fault}")
    checksum = Checksum()
    part = archive.with_name(archive.name + ".part")
    try:
        with part.open("wb") as file:
            for block in _blocks(members):
                file.write(block)
                checksum.update(block)
            file.flush()
            os.fsync(file.fileno())
        part.replace(archive)
    finally:
        part.unlink(missing_ok=True)
    sync_directory(archive.parent)
    return Packed(checksum.size_bytes, checksum.adler32)


def names(archive: Path) -> list[str]:
    """The names of the members, in order. Raises `UnsafeArchive` just as `unpack` does, and OSError."""
    with archive.open("rb") as file:
        return [member.name for member in _members(file, archive)]


def unpack(archive: Path, directory: Path, *, limit_bytes: int | None = None) -> list[str]:
    """Unpack into a directory, which is made if need be; the names of the members, in order.

    All members are checked before the first is written: regular files by flat base names, none twice, together no more
    than `limit_bytes`. A file that is there with the same bytes is left alone, so it may be repeated after a crash.
    One process at a time may unpack into a directory.

    Raises `UnsafeArchive`; `TransferError` where a file with other bytes is in the way, which is not touched; OSError.
    """
    part = directory / f".{archive.name}.part"
    with archive.open("rb") as file:
        members = _members(file, archive)
        total_bytes = 0
        for member in members:
            total_bytes += member.size_bytes
            if limit_bytes is not None and total_bytes > limit_bytes:
                raise UnsafeArchive(archive, member.name, f"the contents exceed {limit_bytes} bytes")
        wanted = [member for member in members if not _is_there(file, member, archive, directory)]
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        try:
            for member in wanted:
                _extract(file, member, part)
            for member in wanted:
                (part / member.name).rename(directory / member.name)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    sync_directory(directory)
    return [member.name for member in members]


class _Member(NamedTuple):
    """A regular file in an archive: where its bytes are."""

    name: str
    offset: int
    size_bytes: int


def _fault(name: str) -> str | None:
    """Why this is no flat base name; None for a good one."""
    if name in ("", ".", ".."):
        return "no file name"
    for character in "/\0\n":
        if character in name:
            return f"{character!r} in the name"
    if len(name.encode(*ENCODING)) > NAME_BYTES:
        return f"a name of more than {NAME_BYTES} bytes"
    return None


def _open_regular(path: Path) -> FileIO:
    """Open a file, but nothing else; without waiting, as a payload may have announced a fifo that nobody writes."""
    file = FileIO(path, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise OSError("not a regular file")


def _pieces(file: FileIO | BinaryIO, size_bytes: int) -> Iterator[bytes]:
    """The next bytes of a file; raises OSError when there are fewer."""
    while size_bytes:
        piece = file.read(min(size_bytes, BUFFER_BYTES))
        if not piece:
            raise OSError(f"ends {size_bytes} bytes too early")
        size_bytes -= len(piece)
        yield piece


def _blocks(members: Mapping[str, Path]) -> Iterator[bytes]:
    """A whole tar: header, contents and padding of each member, and two blocks of zeros."""
    for name, path in members.items():
        try:
            with _open_regular(path) as file:
                size_bytes = os.fstat(file.fileno()).st_size
                yield _header(name, size_bytes)
                yield from _pieces(file, size_bytes)
                yield bytes(-size_bytes % tarfile.BLOCKSIZE)
        except (OSError, ValueError) as error:
            raise MissingMember(name, path, str(error)) from error
    yield bytes(2 * tarfile.BLOCKSIZE)


def _header(name: str, size_bytes: int) -> bytes:
    """A member's header; owner and time are left out, so that equal outputs give equal archives."""
    header = tarfile.TarInfo(name)
    header.size, header.mode = size_bytes, MODE
    return header.tobuf(tarfile.GNU_FORMAT, *ENCODING)


def _members(file: BinaryIO, archive: Path) -> list[_Member]:
    """All members of a tar, in order; raises `UnsafeArchive` unless every one of them and its end is sound."""
    end = os.fstat(file.fileno()).st_size
    found: dict[str, _Member] = {}
    extended: dict[str, str] = {}
    while True:
        header = _read_header(file, archive)
        if header is None:
            return list(found.values())
        if header.type in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE):
            extended |= _extension(file, header, archive)
            continue
        name, size_bytes = _name_and_size(header, extended, archive)
        extended = {}
        if header.type == tarfile.DIRTYPE and name == ".":
            continue
        if header.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
            raise UnsafeArchive(archive, name, f"{KINDS.get(header.type, 'of another kind')}, no regular file")
        if fault := _fault(name):
            raise UnsafeArchive(archive, name, fault)
        if name in found:
            raise UnsafeArchive(archive, name, "there twice")
        found[name] = _Member(name, file.tell(), size_bytes)
        padded = size_bytes + -size_bytes % tarfile.BLOCKSIZE
        if file.tell() + padded > end:
            raise UnsafeArchive(archive, name, "cut off")
        file.seek(padded, os.SEEK_CUR)


def _read_header(file: BinaryIO, archive: Path) -> tarfile.TarInfo | None:
    """The next header; None at the end of the archive, where nothing but zeros may follow."""
    offset = file.tell()
    block = file.read(tarfile.BLOCKSIZE)
    if block == bytes(tarfile.BLOCKSIZE):
        while rest := file.read(BUFFER_BYTES):
            if rest.strip(b"\0"):
                raise UnsafeArchive(archive, "", f"something follows its end at byte {offset}")
        return None
    try:
        return tarfile.TarInfo.frombuf(block, *ENCODING)
    except tarfile.HeaderError as error:
        raise UnsafeArchive(archive, "", f"no tar header at byte {offset}: {error}") from None


def _name_and_size(header: tarfile.TarInfo, extended: Mapping[str, str], archive: Path) -> tuple[str, int]:
    """What the header, or the extension headers before it, say; `tar -C directory .` puts `./` before each name."""
    name = extended.get("path", header.name).removeprefix("./")
    if any(key.startswith("GNU.sparse.") for key in extended):
        raise UnsafeArchive(archive, name, "a sparse file, no regular file")
    size = extended.get("size", str(header.size))
    if not (size.isdecimal() and len(size) <= SIZE_DIGITS):
        raise UnsafeArchive(archive, name, f"a size of {size[:SIZE_DIGITS]!r}")
    return name, int(size)


def _extension(file: BinaryIO, header: tarfile.TarInfo, archive: Path) -> dict[str, str]:
    """What an extension header says about the member after it: `path`, `size`, ..."""
    if not 0 <= header.size <= EXTENSION_BYTES:
        raise UnsafeArchive(archive, header.name, f"an extension header of {header.size} bytes")
    body = file.read(header.size + -header.size % tarfile.BLOCKSIZE)[: header.size]
    if header.type == tarfile.GNUTYPE_LONGNAME:
        return {"path": body.rstrip(b"\0").decode(*ENCODING)}
    records = {}
    while body:  # each is "<length of it all> <key>=<value>\n"
        length, _, _ = body[: len(str(EXTENSION_BYTES)) + 1].partition(b" ")
        if not (length.isdigit() and len(length) + 1 < int(length) <= len(body)):
            raise UnsafeArchive(archive, header.name, "an extension header that cannot be read")
        key, _, value = body[len(length) + 1 : int(length) - 1].partition(b"=")
        records[key.decode(*ENCODING)] = value.decode(*ENCODING)
        body = body[int(length) :]
    return records


def _is_there(file: BinaryIO, member: _Member, archive: Path, directory: Path) -> bool:
    """Whether a member has been unpacked before; raises `TransferError` for anything else of that name."""
    path = directory / member.name
    if not os.path.lexists(path):
        return False
    if path.is_file() and path.stat().st_size == member.size_bytes:
        file.seek(member.offset)
        with path.open("rb") as there:
            if all(piece == there.read(len(piece)) for piece in _pieces(file, member.size_bytes)):
                return True
    why = f"member {member.name!r}: other contents are at {path}"
    raise TransferError(str(archive), why, PilotErrorCode.STAGEINFAILED)


def _extract(file: BinaryIO, member: _Member, directory: Path) -> None:
    file.seek(member.offset)
    with (directory / member.name).open("xb") as target:
        os.fchmod(target.fileno(), MODE)
        for piece in _pieces(file, member.size_bytes):
            target.write(piece)
        target.flush()
        os.fsync(target.fileno())
