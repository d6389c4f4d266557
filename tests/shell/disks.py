"""Disks that are full, fail, or forget what was not synced, without one."""

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path


@contextmanager
def room_for(size_bytes: int) -> Iterator[None]:
    """No file of this process may grow beyond a size: the kernel refuses it as it would on a full disk."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


class FileInMemory:
    """The file of a journal; what was not synced does not survive a power failure. `broken`: the methods that fail."""

    path = Path("journal.jsonl")

    def __init__(self, content: bytes = b"", broken: tuple[str, ...] = ()) -> None:
        self.content, self.broken = content, broken
        self.synced_bytes = len(content)
        self.syncs = 0
        self.closed = False

    @property
    def unsynced_bytes(self) -> int:
        return len(self.content) - self.synced_bytes

    def lines(self) -> Iterator[bytes]:
        yield from BytesIO(self.content)
        self._do("lines")

    def cut(self, size_bytes: int) -> None:
        self._do("cut")
        self.content = self.content[:size_bytes]
        self.sync()

    def write(self, content: bytes) -> None:
        self._do("write")
        self.content += content

    def sync(self) -> None:
        self._do("sync")
        self.synced_bytes = len(self.content)
        self.syncs += 1

    def close(self) -> None:
        self.closed = True

    def _do(self, what: str) -> None:
        if what in self.broken:
            raise OSError(5, "Input/output error")
