"""The local files of outputs, counted by the ranges that need them: nothing is removed that one of them still needs."""

from collections import Counter
from collections.abc import Iterable

from esfsm.core.actions import LocalFile, Member

__all__ = ["Leftovers"]


class Leftovers:
    """Which files may go, and how many bytes all that is here has.

    A payload may announce one file for several ranges. The files of a range that came to no good end are never free.
    """

    def __init__(self) -> None:
        self._needed: Counter[str] = Counter()
        self._free: dict[str, LocalFile] = {}
        self._free_bytes = 0

    def need(self, paths: Iterable[str]) -> None:
        """One more range needs these."""
        self._needed.update(paths)

    def replace(self, old: Iterable[str], new: Iterable[str]) -> None:
        """A range needs other ones than it said before."""
        self.need(new)
        for path in old:
            self._drop(path)

    def booked(self, members: Iterable[Member], size_bytes: int) -> None:
        """The server has booked the ranges of these: whatever no other range needs is free."""
        for member in members:
            self._drop(member.path)
            self._free[member.path] = LocalFile(member.path, member.stamp)
        self._free_bytes += size_bytes

    def archive_booked(self, lfn: str, size_bytes: int) -> None:
        """The server has answered for all ranges of this archive."""
        self._free[lfn] = LocalFile(lfn)
        self._free_bytes += size_bytes

    def take(self) -> tuple[tuple[LocalFile, ...], int]:
        """All that is free, once, and how many bytes it has; what a range needs again by now stays."""
        free = tuple(file for path, file in self._free.items() if path not in self._needed)
        free_bytes, self._free_bytes = self._free_bytes, 0
        self._free.clear()
        return free, free_bytes

    def _drop(self, path: str) -> None:
        self._needed[path] -= 1
        if self._needed[path] <= 0:
            del self._needed[path]
