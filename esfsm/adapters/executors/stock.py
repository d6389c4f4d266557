"""The stock: event ranges ahead of demand, so that a slow broker never stands between a payload and its next range."""

from collections import deque
from collections.abc import Callable, Mapping
from threading import Condition, Thread
from time import monotonic
from typing import Any

__all__ = ["GetEventRanges", "Stock"]

STOCK_FACTOR = 2
"""Ranges in stock for each worker at least: what pilot3 reserves."""
STOCK_LIMIT = 1024
STOCK_S = 0.25
"""The stock grows until it lasts so long, or twice as long as the broker's answer took: small beside the value of what
a sudden end would give back unprocessed."""

GetEventRanges = Callable[[int], list[dict[str, Any]]]


class Stock:
    """Event ranges in PanDA's form. One thread asks and takes, another fills; any may close it."""

    def __init__(self, cores: int) -> None:
        self._least = self._target = STOCK_FACTOR * cores
        self._changed = Condition()
        self._ranges: deque[Mapping[str, Any]] = deque()
        self._waiting = 0
        self._exhausted = False
        self._fetched_at = self._took_s = 0.0
        self.asked = False
        """Whether anything was ever waited for."""
        self.closed = False

    @property
    def is_over(self) -> bool:
        """Whether nothing will be handed out any more."""
        with self._changed:
            return self.closed or (self._exhausted and not self._ranges)

    @property
    def is_low(self) -> bool:
        """Whether it is to be filled."""
        return len(self._ranges) <= self._target // 2

    def ask(self) -> None:
        """One more range is waited for; from the first time on the stock is filled."""
        with self._changed:
            self.asked = True
            self._waiting += 1
            self._changed.notify()

    def take(self) -> Mapping[str, Any] | None:
        """The next range; None when there is none now."""
        with self._changed:
            if self.closed or not self._ranges:
                return None
            self._waiting -= 1
            event_range = self._ranges.popleft()
            if self.is_low:
                self._changed.notify()
            return event_range

    def close(self) -> None:
        """Hand out nothing more, and end the filling; a second call does nothing."""
        with self._changed:
            self.closed = True
            self._changed.notify()

    def fill(self, get_event_ranges: GetEventRanges, filled: Callable[[], None]) -> None:
        """Keep it filled, in a thread, until there are no more or it is closed; after each change call `filled`."""
        Thread(target=self._fill, args=(get_event_ranges, filled), name="event ranges", daemon=True).start()

    def _fill(self, get_event_ranges: GetEventRanges, filled: Callable[[], None]) -> None:
        try:
            while (n := self._wait_for_need()) > 0 and (event_ranges := get_event_ranges(n)):
                with self._changed:
                    self._took_s = monotonic() - self._fetched_at
                    self._ranges.extend(event_ranges)
                filled()
        finally:  # whatever the hook did, a payload that asks is answered
            self._exhausted = True
            filled()

    def _wait_for_need(self) -> int:
        """How many ranges it needs, as soon as it needs any; 0 when nothing is handed out any more."""
        with self._changed:
            self._changed.wait_for(lambda: self.closed or (self.asked and self.is_low))
            if self.closed:
                return 0
            lasted_s = monotonic() - self._fetched_at
            self._fetched_at += lasted_s
            enough_s = max(STOCK_S, 2 * self._took_s)
            if lasted_s < enough_s:
                self._target = min(2 * self._target, STOCK_LIMIT)
            elif lasted_s > 4 * enough_s:
                self._target = max(self._target // 2, self._least)
            wanted = self._target + self._waiting - len(self._ranges)
            return min(max(wanted, 1), STOCK_LIMIT)  # the stock is low: a target that has shrunk asks for one
