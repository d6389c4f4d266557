"""Doing things at the same time: results in order, trouble in its turn, and nobody who waits for nothing."""

import threading
from concurrent.futures import CancelledError
from threading import Barrier, Event

import pytest

from esfsm.errors import EsfsmError
from esfsm.pools import each_at_once

PATIENCE_S = 10.0


def test_results_come_in_their_order_whoever_is_first() -> None:
    second = Event()

    def do(number: int) -> int:
        if number == 1:
            assert second.wait(PATIENCE_S)
        second.set()
        return number * number

    assert [*each_at_once(2, do, [1, 2, 3])] == [1, 4, 9]


def test_as_many_as_may_go_on_at_once_and_no_more() -> None:
    together = Barrier(3)

    def do(number: int) -> int:
        together.wait(PATIENCE_S)
        return number

    assert [*each_at_once(3, do, range(9))] == [*range(9)]


def test_trouble_is_raised_in_its_turn_and_nothing_more_is_begun() -> None:
    begun: list[int] = []

    def do(number: int) -> int:
        begun.append(number)
        if number == 2:
            raise EsfsmError(number)
        return number

    results = each_at_once(1, do, [1, 2, 3])
    assert next(results) == 1
    with pytest.raises(EsfsmError):
        next(results)
    some = each_at_once(1, do, [1, *[5] * 100_000])
    next(some)
    some.close()
    assert len(begun) < 100_000


def test_whoever_waits_for_what_nobody_foresaw_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    with pytest.raises(CancelledError):
        next(each_at_once(1, int, ["no number"]))


def test_nothing_is_done_for_nothing() -> None:
    assert [*each_at_once(8, str, [])] == []
