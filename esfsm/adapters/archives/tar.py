"""The only place that writes and reads tar archives: what Event Service archives are, unless somebody says otherwise.

An archive is a plain tar, flat: one member per output, by its base name. It is written in GNU format, as `tar -r`
of other pilots writes it, so whatever merges their archives merges ours; the format has room for names of any
length and sizes over 8 GiB. `tarfile` makes and reads the headers. The blocks go by here, which gives size and
adler32 in the same pass, and a reader that checks everything before it writes anything.
"""

import os
import tarfile
import zlib
from collections.abc import Container, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import BinaryIO

from esfsm.adapters.archives.flat import (
    ENCODING,
    MODE,
    Member,
    Packed,
    UnsafeArchive,
    fault_of,
    member_of,
    missing,
    pieces,
    place,
    write,
)
from esfsm.durable import BUFFER_BYTES

__all__ = ["Packed", "UnsafeArchive", "missing", "names", "pack", "pack_compressed", "unpack"]

EXTENSION_BYTES = 1 << 16
"""The longest extension header that is believed; it holds a name, so a few hundred bytes are usual."""
GZIP = 16 + zlib.MAX_WBITS
"""How zlib is told to write gzip's format."""
SIZE_DIGITS = 19
"""What a file's size can have (2^63)."""

KINDS = {tarfile.LNKTYPE: "a hard link", tarfile.SYMTYPE: "a symbolic link", tarfile.DIRTYPE: "a directory"}
KINDS |= {tarfile.CHRTYPE: "a device", tarfile.BLKTYPE: "a device", tarfile.FIFOTYPE: "a fifo"}


def pack(members: Mapping[str, Path], archive: Path) -> Packed:
    """Write an archive of the files in `members`, by the base names they get inside, in that order.

    The same names and contents give the same bytes, whoever owns the files and whenever they were made. An archive of
    that name is replaced, once the new one is whole and on the disk.

    Raises ValueError for a name that is no flat base name, `MissingMember` for a file that cannot be read or shrinks
    meanwhile, OSError where the archive cannot be written. Nothing of it is left then.
    """
    return write(members, archive, _blocks(members))


def pack_compressed(members: Mapping[str, Path], archive: Path) -> Packed:
    """The same, as a .tgz: what logs are. Raises as `pack`."""
    return write(members, archive, _compressed(_blocks(members)))


def names(archive: Path) -> list[str]:
    """The names of the members, in order. Raises `UnsafeArchive` just as `unpack` does, and OSError."""
    with archive.open("rb") as file:
        return [member.name for member in _members(file, archive)]


def unpack(
    archive: Path, directory: Path, *, limit_bytes: int | None = None, only: Container[str] | None = None
) -> list[str]:
    """Unpack members of these names, or all, into a directory, which is made if need be; returns their names, in order.

    All members are checked before the first is written: regular files by flat base names, none twice, those that are
    written together no more than `limit_bytes`. A file that is there with the same bytes is left alone, so it may be
    repeated after a crash. One process at a time may unpack into a directory.

    Raises `UnsafeArchive`; `TransferError` where a file with other bytes is in the way, which is not touched; OSError.
    """
    with archive.open("rb") as file:
        return place(_members(file, archive), archive, directory, limit_bytes=limit_bytes, only=only)


def _blocks(members: Mapping[str, Path]) -> Iterator[bytes]:
    """A whole tar: header, contents and padding of each member, and two blocks of zeros."""
    for name, path in members.items():
        size_bytes = 0
        for block in member_of(name, path, partial(_header, name)):
            size_bytes += len(block)
            yield block
        yield bytes(-size_bytes % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _compressed(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """In gzip's format, which holds no time and no name here: equal contents give equal bytes."""
    compressor = zlib.compressobj(wbits=GZIP)
    for block in blocks:
        yield compressor.compress(block)
    yield compressor.flush()


def _header(name: str, size_bytes: int) -> Iterator[bytes]:
    """A member's header; owner and time are left out, so that equal outputs give equal archives."""
    header = tarfile.TarInfo(name)
    header.size, header.mode = size_bytes, MODE
    yield header.tobuf(tarfile.GNU_FORMAT, *ENCODING)


def _contents(file: BinaryIO, offset: int, size_bytes: int) -> Iterator[bytes]:
    file.seek(offset)
    yield from pieces(file, size_bytes)


def _members(file: BinaryIO, archive: Path) -> list[Member]:
    """All members of a tar, in order; raises `UnsafeArchive` unless every one of them and its end is sound."""
    end = os.fstat(file.fileno()).st_size
    found: dict[str, Member] = {}
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
        if fault := fault_of(name):
            raise UnsafeArchive(archive, name, fault)
        if name in found:
            raise UnsafeArchive(archive, name, "there twice")
        found[name] = Member(name, size_bytes, partial(_contents, file, file.tell(), size_bytes))
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
