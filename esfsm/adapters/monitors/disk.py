"""What a work directory takes on its disk, and when a payload was seen to do something there."""

import os
import re
import stat
from collections.abc import Collection, Iterator
from fnmatch import translate
from pathlib import Path

from esfsm.model.resources import Resources
from esfsm.model.settings import Settings
from esfsm.ports import ProcessIdentity

__all__ = ["DiskMonitor", "open_monitor"]

NO_PROGRESS = (
    *("prmon", "memory_", "mem."),  # what measures memory writes on while the payload hangs
    *("/pilot/", "pilotlog", "/pandawnutil", "pandaJob", "runjob"),  # the pilot's and its wrappers' own
    *("setup.sh", "PoolFileCatalog", ".lib.tgz", ".py", "docs/", "DBRelease-"),  # set up or unpacked, not computed
)
"""A file whose path has one of these does not tell of progress.

Source: PanDAWMS/pilot3 `pilot/user/atlas/loopingjob_definitions.py`. It looks at the whole path; here the path of the
work directory, where one of them would hide every file, is left out.
"""
BLOCK_BYTES = 512
"""The unit of `st_blocks`, whatever that of the file system."""

_tells_nothing = re.compile("|".join(map(re.escape, NO_PROGRESS))).search


class DiskMonitor:
    """Measures a work directory in one walk (100,000 files: 0.35 s, measured), whether the payload lives or not."""

    def __init__(
        self, workdir: Path, ignored: Collection[str], logs: Collection[str] = ("payload.stdout", "payload.stderr")
    ) -> None:
        """`ignored`: our own files; `logs`: the payload's standard output and error. Paths in the work directory.

        An ignored one may be a pattern, as `*.sent`; what is a log as well is a log.
        """
        self._workdir, self._ignored, self._logs = workdir, ignored, logs

    def measure(self, payload: ProcessIdentity) -> Resources:
        """Sizes and times; nothing where there is no work directory. What may not be read there is not counted."""
        try:
            disk, top = os.statvfs(self._workdir), self._workdir.stat()
        except OSError:
            return Resources()
        tally = _Tally(self._ignored, self._logs)
        tally.add("", top)
        for path, found in _walk(str(self._workdir), top.st_dev):
            tally.add(path, found)
        return Resources(
            workdir_bytes=tally.blocks * BLOCK_BYTES,
            free_bytes=disk.f_bavail * disk.f_frsize,
            largest=None if tally.largest is None else _shown(tally.largest),
            largest_bytes=tally.largest_bytes,
            log_bytes=tally.log_bytes,
            touched_at=tally.touched_at,
        )


def open_monitor(settings: Settings, workdir: Path, ours: Collection[str]) -> DiskMonitor:
    """For the work directory."""
    return DiskMonitor(workdir, ours)


class _Tally:
    """What a walk has seen so far; paths in the work directory, sizes in bytes, times in seconds since 1970."""

    def __init__(self, ignored: Collection[str], logs: Collection[str]) -> None:
        self.blocks = 0
        self.largest: str | None = None
        self.largest_bytes: int | None = None
        self.log_bytes: int | None = None
        self.touched_at: float | None = None
        self._logs = frozenset(logs)
        self._ours = re.compile("|".join(map(translate, ignored)) or r"(?!)").match
        self._linked: set[int] = set()

    def add(self, path: str, found: os.stat_result) -> None:
        """One more; a file of several names takes its place on the disk once."""
        if found.st_ino not in self._linked:
            self.blocks += found.st_blocks
        if found.st_nlink > 1:
            self._linked.add(found.st_ino)
        if not stat.S_ISREG(found.st_mode):
            return
        if path in self._logs:
            self.log_bytes = max(found.st_size, self.log_bytes or 0)
        elif self._ours(path):
            return
        elif self.largest_bytes is None or found.st_size > self.largest_bytes:
            self.largest, self.largest_bytes = path, found.st_size
        # A payload may set the one to any time, as tar does; nobody can set the other.
        changed_at = min(found.st_mtime, found.st_ctime)
        if (self.touched_at is None or changed_at > self.touched_at) and not _tells_nothing("/" + path):
            self.touched_at = changed_at


def _walk(top: str, device: int) -> Iterator[tuple[str, os.stat_result]]:
    """Whatever lies below `top` on its disk, each with its path from there; links are not followed."""
    waiting = [top]
    while waiting:
        try:
            entries = list(os.scandir(waiting.pop()))
        except OSError:  # it has gone meanwhile, or may not be read
            continue
        for entry in entries:
            try:
                found = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if found.st_dev == device:
                yield entry.path[len(top) + 1 :], found
                if stat.S_ISDIR(found.st_mode):
                    waiting.append(entry.path)


def _shown(path: str) -> str:
    """A path that can be written down, as a payload may have put anything into a name."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in path)
