"""When outputs are worth an archive: the value of unsaved work, the price of a store, the chance of a sudden end.

A machine with a mean lifetime of L seconds vanishes in the next second with a chance of 1/L. Work of V seconds that
waits then costs V/L seconds of work a second, on average. All that since the last archive is the exposure. An archive
is due when its exposure has reached its price: before, it costs more than it saves, later, less. Where V grows evenly,
w seconds a second, the exposure is w t²/2L, so this is t = sqrt(2 L price / w): Young's interval between two
checkpoints (Communications of the ACM 17, 1974).
"""

from math import inf

__all__ = ["Exposure"]


class Exposure:
    """The exposure of what waits; times and values in seconds, `at` in seconds since 1970."""

    def __init__(self) -> None:
        self.value_s = 0.0
        """Work that waits."""
        self._exposure_s = self._since = 0.0

    def add(self, value_s: float, at: float, lifetime_s: float) -> None:
        """More work waits, or less."""
        self._exposure_s += self.value_s * max(0.0, at - self._since) / lifetime_s
        self._since = max(at, self._since)
        self.value_s = max(0.0, self.value_s + value_s)

    def forget(self, at: float, lifetime_s: float) -> None:
        """What has waited so far is on its way."""
        self.add(0.0, at, lifetime_s)
        self._exposure_s = 0.0

    def due_at(self, price_s: float, lifetime_s: float) -> float:
        """When the exposure reaches the price; infinity where nothing of value waits."""
        if self.value_s <= 0:
            return inf
        return self._since + max(0.0, price_s - self._exposure_s) * lifetime_s / self.value_s
