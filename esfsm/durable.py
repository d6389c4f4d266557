"""How bytes are counted, and how a name is made to last: what the journal and every adapter that writes files need."""

import os
import zlib
from dataclasses import dataclass
from pathlib import Path

__all__ = ["BUFFER_BYTES", "Checksum", "adler32_of", "sync_directory"]

BUFFER_BYTES = 1 << 20
"""What is read at a time: large enough that system calls do not count, small enough for many threads."""


@dataclass(slots=True)
class Checksum:
    """Size and adler32 of the bytes that went by."""

    size_bytes: int = 0
    value: int = 1
    """The adler32 as a number; that of no bytes is 1."""

    def update(self, piece: bytes) -> None:
        """These bytes went by."""
        self.size_bytes += len(piece)
        self.value = zlib.adler32(piece, self.value)

    @property
    def adler32(self) -> str:
        """As PanDA and Rucio write it: 8 lower-case hex digits."""
        return f"{self.value:08x}"


def adler32_of(path: Path) -> str:
    """The adler32 of a file, as 8 hex digits; raises OSError."""
    checksum = Checksum()
    with path.open("rb", buffering=0) as file:
        while piece := file.read(BUFFER_BYTES):
            checksum.update(piece)
    return checksum.adler32


def sync_directory(directory: Path) -> None:
    """A name is only on the disk once its directory is; fsync of the file does not do that."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
