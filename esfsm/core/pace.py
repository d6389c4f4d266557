"""How fast storing goes: measured on the archives of this job, from the decision to pack to the server's answer."""

from collections import deque

__all__ = ["Pace"]

REMEMBERED = 16
"""Archives that are looked back on."""
FIRST_S, FIRST_BYTES_S = 1.0, 20e6
"""What is assumed before one was measured: so long for each archive, and so many bytes a second. A guess."""


class Pace:
    """Sizes in bytes, times in seconds."""

    def __init__(self) -> None:
        self._stored: deque[tuple[int, float]] = deque(maxlen=REMEMBERED)

    def measured(self, size_bytes: int, took_s: float) -> None:
        """An archive has gone all the way."""
        self._stored.append((size_bytes, max(took_s, 0.0)))

    @property
    def archive_s(self) -> float:
        """What one archive takes, on average."""
        return sum(took_s for _, took_s in self._stored) / len(self._stored) if self._stored else FIRST_S

    def takes_s(self, size_bytes: int) -> float:
        """How long so many bytes will take, one after the other: no less than any archive does."""
        if not self._stored:
            return FIRST_S + size_bytes / FIRST_BYTES_S
        stored_bytes = sum(size for size, _ in self._stored)
        each_s = self.archive_s * len(self._stored) / stored_bytes if stored_bytes else 0.0
        return max(self.archive_s, size_bytes * each_s)
