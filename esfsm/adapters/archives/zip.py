"""The only place that writes and reads zip archives, for sites whose Harvester or storage wants them.

`zipfile` makes and reads them. They are written as a stream, without compression and without times, so that size and
adler32 come of the same pass and equal outputs give equal archives; what others have compressed can be read.
"""

import stat
import zipfile
import zlib
from collections.abc import Container, Iterator, Mapping
from functools import partial
from io import RawIOBase
from pathlib import Path

from esfsm.adapters.archives import flat
from esfsm.adapters.archives.flat import MODE, Member, Packed, UnsafeArchive, fault_of, member_of, place, write
from esfsm.durable import BUFFER_BYTES

__all__ = ["missing", "names", "pack", "unpack"]

LARGE_BYTES = 2**31
"""From here on a member gets zip64 records (`zipfile` wants to know before it has seen the contents)."""
ENCRYPTED = 1
"""The flag bit of a member."""
KNOWN = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})


def missing(members: Mapping[str, Path]) -> list[str]:
    """The members that `pack` would refuse, in order; here also those whose names are no UTF-8."""
    refused = set(flat.missing(members))
    return [name for name in members if name in refused or not _is_utf8(name)]


def pack(members: Mapping[str, Path], archive: Path) -> Packed:
    """Write an archive of the files in `members`, by the base names they get inside, in that order.

    Raises as the `pack` of tar archives does.
    """
    return write(members, archive, _blocks(members))


def names(archive: Path) -> list[str]:
    """The names of the members, in order. Raises `UnsafeArchive` just as `unpack` does, and OSError."""
    with _opened(archive) as file:
        return [member.name for member in _members(file, archive)]


def unpack(
    archive: Path, directory: Path, *, limit_bytes: int | None = None, only: Container[str] | None = None
) -> list[str]:
    """Unpack members of these names, or all, into a directory; returns their names.

    As with tar archives all members are checked first, and so are their checksums, which zip archives have. Raises as
    that.
    """
    with _opened(archive) as file:
        members = _members(file, archive)
        try:
            return place(members, archive, directory, limit_bytes=limit_bytes, only=only)
        except (zipfile.BadZipFile, EOFError, zlib.error) as error:
            raise UnsafeArchive(archive, "", f"{error}") from None


class _Stream(RawIOBase):
    """What a writer writes, until it is taken; there is no way back in it."""

    def __init__(self) -> None:
        self._blocks: list[bytes] = []
        self._size_bytes = 0

    def writable(self) -> bool:
        """It takes whatever comes."""
        return True

    def write(self, block: bytes) -> int:  # type: ignore[override]
        """More of it."""
        self._blocks.append(bytes(block))
        self._size_bytes += len(block)
        return len(block)

    def tell(self) -> int:
        """How much there was."""
        return self._size_bytes

    def take(self) -> Iterator[bytes]:
        """All that was written since the last time."""
        blocks, self._blocks = self._blocks, []
        yield from blocks


def _blocks(members: Mapping[str, Path]) -> Iterator[bytes]:
    """A whole zip: header, contents and checksum of each member, and the directory of all."""
    stream = _Stream()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as file:
        for name, path in members.items():
            yield from _entry(file, stream, name, path)
    yield from stream.take()


def _entry(file: zipfile.ZipFile, stream: _Stream, name: str, path: Path) -> Iterator[bytes]:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (stat.S_IFREG | MODE) << 16
    sizes: list[int] = []

    def note(size_bytes: int) -> Iterator[bytes]:
        sizes.append(size_bytes)
        return iter([b""])

    contents = member_of(name, path, note)
    next(contents)
    with file.open(entry, "w", force_zip64=sizes[0] >= LARGE_BYTES) as member:
        for piece in contents:
            member.write(piece)
            yield from stream.take()
    yield from stream.take()


def _is_utf8(name: str) -> bool:
    return name == name.encode(errors="replace").decode()


def _opened(archive: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(archive)
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise UnsafeArchive(archive, "", f"no zip archive: {error}") from None


def _members(file: zipfile.ZipFile, archive: Path) -> list[Member]:
    """All members, in order; raises `UnsafeArchive` unless each is a regular file by a flat name, and there once."""
    found: dict[str, Member] = {}
    for entry in file.infolist():
        if fault := _fault_of(entry):
            raise UnsafeArchive(archive, entry.filename, fault)
        if entry.filename in found:
            raise UnsafeArchive(archive, entry.filename, "there twice")
        found[entry.filename] = Member(entry.filename, entry.file_size, partial(_contents, file, entry))
    return list(found.values())


def _fault_of(entry: zipfile.ZipInfo) -> str | None:
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        return "no regular file"
    if entry.flag_bits & ENCRYPTED or entry.compress_type not in KNOWN:
        return "encrypted, or compressed in a way that is not known"
    return fault_of(entry.filename)


def _contents(file: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    """No more than the archive says that there is: `zipfile` stops there."""
    with file.open(entry) as member:
        while piece := member.read(BUFFER_BYTES):
            yield piece
