"""The file of a journal: locked, only appended to, and on the disk when `sync` returns.

All methods raise OSError, and whoever got one writes no more.
"""

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Protocol, Self

from esfsm.durable import BUFFER_BYTES, sync_directory

__all__ = ["JOURNAL", "UNSYNCED_LIMIT_BYTES", "AppendOnly", "JournalFile"]

JOURNAL = "journal.jsonl"
"""Its name in a work directory."""
UNSYNCED_LIMIT_BYTES = 1 << 20
"""What may be written without a sync, unless nobody cares (`sync = never`): so much is lost at most."""


class AppendOnly(Protocol):
    """What a journal asks of its file."""

    @property
    def path(self) -> Path:
        """Where it is, for people."""
        ...

    def lines(self) -> Iterator[bytes]:
        """From the beginning; each with its end of line, but for a torn last one."""
        ...

    def cut(self, size_bytes: int) -> None:
        """Keep so many bytes, and make sure that they are on the disk; what is written follows them."""
        ...

    def write(self, content: bytes) -> None:
        """Write all of it."""
        ...

    def sync(self) -> None:
        """Return when all that was written survives a power failure."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class JournalFile:
    """A file of the operating system. Raises BlockingIOError where another process has it open."""

    def __init__(self, path: Path, descriptor: int, directory: int) -> None:
        self.path, self._descriptor, self._directory = path, descriptor, directory
        self._size_bytes = 0

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open it, or make it, and lock it. Its directory is locked, too: whoever removes the file is no way in."""
        with ExitStack() as undo:
            directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            undo.callback(os.close, directory)
            try:
                fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if isinstance(error, BlockingIOError):
                    raise
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            undo.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(0, "it is no regular file")
            undo.pop_all()
        return cls(path, descriptor, directory)

    def lines(self) -> Iterator[bytes]:
        """From the beginning."""
        with open(self._descriptor, "rb", buffering=BUFFER_BYTES, closefd=False) as file:
            file.seek(0)
            yield from file

    def cut(self, size_bytes: int) -> None:
        """Keep so many bytes.

        A kernel that could not write a page forgets that it could not, so the last ones are written once more.
        """
        dropped = os.pread(self._descriptor, os.fstat(self._descriptor).st_size - size_bytes, size_bytes)
        if b"\n" in dropped:  # more than one torn line
            Path(f"{self.path}.cut").write_bytes(dropped)
        os.ftruncate(self._descriptor, size_bytes)
        self._size_bytes = start = max(0, size_bytes - 2 * UNSYNCED_LIMIT_BYTES)
        os.lseek(self._descriptor, start, os.SEEK_SET)
        self.write(os.pread(self._descriptor, size_bytes - start, start))
        fcntl.fcntl(self._descriptor, fcntl.F_SETFL, os.O_APPEND)  # so that a file that somebody cuts is too short
        self.sync()
        sync_directory(self.path.parent)

    def write(self, content: bytes) -> None:
        """Write all of it."""
        view = memoryview(content)
        while view:
            written = os.write(self._descriptor, view)
            self._size_bytes += written
            view = view[written:]

    def sync(self) -> None:
        """Return when all that was written survives a power failure; and somebody finds it, who looks for it."""
        os.fdatasync(self._descriptor)
        try:
            found = self.path.stat()
        except FileNotFoundError:
            raise OSError(errno.ENOENT, "it was moved or removed while it was written") from None
        if not os.path.samestat(found, os.fstat(self._descriptor)) or found.st_size != self._size_bytes:
            raise OSError(errno.ESTALE, "it was replaced or changed while it was written")

    def close(self) -> None:
        """Unlock it and let go of it; what is on the disk stays there, whatever the disk says to this."""
        for descriptor in (self._descriptor, self._directory):
            with suppress(OSError):
                os.close(descriptor)
