"""The time of a job as views tell it: from its first fact on, and never back."""

from dataclasses import dataclass

__all__ = ["Elapsed"]


@dataclass(slots=True)
class Elapsed:
    """Seconds since the first fact. A machine's clock may be set back between two engines: then no time has passed."""

    began: float = 0.0
    """When the first fact was, seconds since 1970."""
    seconds: float = 0.0
    _before: float = 0.0

    def hear(self, at: float) -> float:
        """The next fact was at this time (seconds since 1970); returns how many seconds have passed since the last."""
        if not self.began:
            self.began = self._before = at
        passed_s = max(0.0, at - self._before)
        self._before = at
        self.seconds += passed_s
        return passed_s
