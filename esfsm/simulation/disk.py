"""A simulated disk of one work directory: what was written, what of it survives a power failure, and its troubles.

A kernel that could not write a page forgets that it could not: what was written before a failed sync is read well until
the power fails, and later syncs do not bring it to the disk (seen with ext4, XFS and btrfs).
"""

import errno
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from zlib import adler32

from esfsm.simulation.agenda import Life

__all__ = ["PLACE", "Content", "Disk", "SimFile", "disk_broken", "disk_full"]

PLACE = Path("/simulated")
SECTOR_BYTES = 512
"""What a disk writes whole, or not at all."""


@dataclass(frozen=True, slots=True)
class Content:
    """What a file holds: members, as (name, digest of their bytes), and a size."""

    members: tuple[tuple[str, int], ...]
    size_bytes: int

    @property
    def adler32(self) -> str:
        """Follows from the members alone, so equal archives have equal checksums."""
        return f"{adler32(repr(self.members).encode()):08x}"


@dataclass(slots=True)
class Disk:
    """The files of a work directory; `trouble("write")` and `trouble("sync")` raise OSError when it is time for one."""

    chance: Random
    trouble: Callable[[str], None]
    files: dict[str, Content] = field(default_factory=dict)
    stamps: dict[str, int] = field(default_factory=dict)
    journal: bytearray = field(default_factory=bytearray)
    synced_bytes: int = 0
    """Of the journal, what is on the disk."""
    forgotten: bool = False
    """A sync has failed: what was unsynced then will not reach the disk unless it is written again."""
    unsynced: set[str] = field(default_factory=set)
    _clock: int = 1_700_000_000_000_000_000

    def write(self, name: str, content: Content, synced: bool) -> None:
        """A file appears, or is another one from now on."""
        self._clock += 1
        self.files[name], self.stamps[name] = content, self._clock
        (self.unsynced.discard if synced else self.unsynced.add)(name)

    def remove(self, name: str) -> Content | None:
        """What was in the file, if there was one."""
        self.stamps.pop(name, None)
        self.unsynced.discard(name)
        return self.files.pop(name, None)

    def power_fails(self) -> None:
        """Of what was not synced, some is lost, some is torn, some survives."""
        for name in sorted(self.unsynced):
            if self.chance.random() < 0.5:
                self.files.pop(name, None)
                self.stamps.pop(name, None)
        self.unsynced.clear()
        kept = self.synced_bytes
        if len(self.journal) > kept and not self.forgotten:
            kept += self.chance.randrange(len(self.journal) - kept + 1)
        tail = self.journal[self.synced_bytes : kept]
        if tail and self.chance.random() < 0.3:  # a sector in between did not reach the disk
            sector = self.chance.randrange(self.synced_bytes // SECTOR_BYTES, (kept - 1) // SECTOR_BYTES + 1)
            start = max(sector * SECTOR_BYTES - self.synced_bytes, 0)
            end = min((sector + 1) * SECTOR_BYTES, kept) - self.synced_bytes
            tail[start:end] = bytes(end - start)
        self.journal[self.synced_bytes :] = tail
        self.synced_bytes, self.forgotten = len(self.journal), False


class SimFile:
    """The journal's file on a simulated disk, as one engine has it open; a `journal.file.AppendOnly`."""

    def __init__(self, disk: Disk, life: Life) -> None:
        self.path = PLACE / "journal.jsonl"
        self._disk, self._life = disk, life

    def lines(self) -> Iterator[bytes]:
        """From the beginning."""
        yield from io.BytesIO(bytes(self._disk.journal))

    def cut(self, size_bytes: int) -> None:
        """Keep so many bytes, written once more."""
        self._disk.trouble("write")
        del self._disk.journal[size_bytes:]
        self._disk.forgotten = False
        self._disk.synced_bytes = min(self._disk.synced_bytes, size_bytes)
        self.sync()

    def write(self, content: bytes) -> None:
        """Write all of it; whoever is killed, or finds the disk full, has written some of it."""
        self._life.step()
        try:
            self._disk.trouble("write")
            self._life.step()
        except BaseException:
            self._disk.journal += content[: self._disk.chance.randrange(len(content) + 1)]
            raise
        self._disk.journal += content
        self._life.step()

    def sync(self) -> None:
        """Return when all that was written survives a power failure."""
        self._life.step()
        try:
            self._disk.trouble("sync")
        except OSError:
            self._disk.forgotten = True
            raise
        if not self._disk.forgotten:
            self._disk.synced_bytes = len(self._disk.journal)
        self._life.step()

    def close(self) -> None:
        """Nothing to let go of."""


def disk_full() -> OSError:
    """What a full disk says."""
    return OSError(errno.ENOSPC, "No space left on device")


def disk_broken() -> OSError:
    """What a bad disk says."""
    return OSError(errno.EIO, "Input/output error")
