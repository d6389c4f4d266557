"""The stock of event ranges, in simulated time: nobody stands idle for a broker whose answers take long."""

from heapq import heappop, heappush
from threading import Event
from typing import Any

import pytest

from esfsm.adapters.executors import stock as module
from esfsm.adapters.executors.stock import Stock

WORKERS, RANGE_S, RANGES = 8, 1.0, 4000
PATIENCE_S = 30.0


class Workers:
    """They ask for a range whenever they have done one; `answer_s` is what the broker takes."""

    def __init__(self, answer_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answer_s, self.now, self.idle_s, self.left = answer_s, 0.0, 0.0, RANGES
        self.stock, self.ended = Stock(WORKERS), Event()
        self.most = 0
        """The most ranges that were asked for at a time."""
        self._done_at = [0.0] * WORKERS
        self._waiting_since: list[float] = []
        monkeypatch.setattr(module, "monotonic", lambda: self.now)

    def run(self) -> None:
        self._pass(0.0)
        self.stock.fill(self.get_event_ranges, self.filled)
        assert self.ended.wait(PATIENCE_S)

    def get_event_ranges(self, n: int) -> list[dict[str, Any]]:
        self._pass(self.now + self.answer_s)
        self.most = max(self.most, n)
        granted = min(n, self.left)
        self.left -= granted
        return [{}] * granted

    def filled(self) -> None:
        while self._waiting_since and self.stock.take() is not None:
            self.idle_s += self.now - self._waiting_since.pop(0)
            heappush(self._done_at, self.now + RANGE_S)
        while self._done_at and not self.stock.is_low:
            self._pass(self._done_at[0])
        if self.stock.is_over or not self.left:
            self.ended.set()

    def _pass(self, until: float) -> None:
        """Time passes; whoever is done by then asks for the next."""
        while self._done_at and self._done_at[0] <= until:
            self.now = heappop(self._done_at)
            self.stock.ask()
            if self.stock.take() is None:
                self._waiting_since.append(self.now)
            else:
                heappush(self._done_at, self.now + RANGE_S)
        self.now = until


@pytest.mark.parametrize("answer_s", [0.0, 0.2, 1.0, 2.0])
def test_nobody_stands_idle_after_the_first_answer_however_long_answers_take(
    monkeypatch: pytest.MonkeyPatch, answer_s: float
) -> None:
    workers = Workers(answer_s, monkeypatch)
    workers.run()
    assert workers.idle_s <= WORKERS * answer_s


def test_even_a_broker_that_takes_many_times_as_long_as_a_range_soon_idles_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workers = Workers(10.0, monkeypatch)
    workers.run()
    assert workers.idle_s <= 5 * WORKERS * 10.0


def test_of_a_broker_that_answers_at_once_no_more_is_taken_than_lasts_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    workers = Workers(0.0, monkeypatch)
    workers.run()
    assert workers.most <= 5 * WORKERS
