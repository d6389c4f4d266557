"""The inbox: in order, bounded, with alarms; nobody waits for ever."""

from threading import Event, Thread
from time import time

import pytest

from esfsm import inbox as module
from esfsm.core.facts import AlarmRang, Fact, RangesWanted
from esfsm.inbox import GROUP, Clock, Inbox

PATIENCE_S = 10.0


class ClockByHand(Clock):
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time


class Putter(Thread):
    """Puts facts in a thread of its own; `tried` when it is about to put the last one, `done` behind it."""

    def __init__(self, inbox: Inbox, facts: list[Fact]) -> None:
        super().__init__(daemon=True)
        self._inbox, self._facts = inbox, facts
        self.tried, self.done = Event(), Event()
        self.start()

    def run(self) -> None:
        *first, last = self._facts
        for fact in first:
            self._inbox.put(fact)
        self.tried.set()
        self._inbox.put(last)
        self.done.set()


def wanted(*numbers: int) -> list[Fact]:
    return [RangesWanted(n=n) for n in numbers]


@pytest.fixture
def clock() -> ClockByHand:
    return ClockByHand()


@pytest.fixture
def inbox(clock: ClockByHand) -> Inbox:
    return Inbox(clock)


def test_facts_are_taken_in_the_order_in_which_they_were_put(inbox: Inbox) -> None:
    facts = wanted(3, 1, 2)
    for fact in facts:
        inbox.put(fact)
    assert inbox.take() == facts


def test_so_many_facts_are_taken_at_a_time(inbox: Inbox) -> None:
    facts = wanted(*range(GROUP + 1))
    for fact in facts:
        inbox.put(fact)
    assert inbox.take() == facts[:GROUP]
    assert inbox.take() == facts[GROUP:]


def test_who_takes_waits_for_who_puts(inbox: Inbox) -> None:
    putter = Putter(inbox, wanted(1))
    assert inbox.take() == wanted(1)
    assert putter.done.wait(PATIENCE_S)


def test_who_puts_into_a_full_inbox_waits_until_something_is_taken(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LIMIT", 2)
    putter = Putter(inbox, wanted(1, 2, 3))
    assert putter.tried.wait(PATIENCE_S)
    assert not putter.done.wait(0.05)
    assert inbox.take() == wanted(1, 2)
    assert putter.done.wait(PATIENCE_S)
    assert inbox.take() == wanted(3)


def test_who_takes_puts_into_a_full_inbox_without_waiting(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMIT", 1)
    for fact in wanted(1, 2, 3):
        inbox.put_now(fact)
    assert inbox.take() == wanted(1, 2, 3)


def test_a_closed_inbox_frees_who_waits_and_listens_to_nobody(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMIT", 1)
    putters = [Putter(inbox, wanted(n, n)) for n in range(5)]
    inbox.close()
    assert all(putter.done.wait(PATIENCE_S) for putter in putters)
    inbox.put_now(RangesWanted(n=7))
    assert inbox.take() == wanted(7), "and nothing of those before"


def test_an_alarm_rings_when_its_time_has_come_and_not_before(inbox: Inbox, clock: ClockByHand) -> None:
    inbox.set_alarm(1010.0, 5)
    inbox.put(RangesWanted(n=1))
    assert inbox.take() == wanted(1)
    clock.time = 1010.0
    assert inbox.take() == [AlarmRang(answers=5)]


def test_alarms_ring_in_the_order_of_their_times_behind_the_facts_that_waited(inbox: Inbox, clock: ClockByHand) -> None:
    for when, number in ((1030.0, 3), (1010.0, 1), (1020.0, 2), (1040.0, 4)):
        inbox.set_alarm(when, number)
    inbox.put(RangesWanted(n=1))
    clock.time = 1035.0
    assert inbox.take() == [*wanted(1), *(AlarmRang(answers=number) for number in (1, 2, 3))]
    clock.time = 1040.0
    assert inbox.take() == [AlarmRang(answers=4)]


def test_who_waits_for_an_alarm_is_woken_by_it() -> None:
    inbox = Inbox(Clock())
    inbox.set_alarm(inbox.clock.now() + 0.05, 1)
    while not (taken := inbox.take()):
        pass
    assert taken == [AlarmRang(answers=1)]


def test_a_clock_is_right_to_a_microsecond_and_never_goes_back() -> None:
    clock = Clock()
    times = [clock.now() for _ in range(1000)]
    assert times == sorted(times)
    assert abs(times[0] - time()) < 1.0
    assert all(round(now, 6) == now for now in times)


def test_a_clock_does_not_follow_a_machine_whose_clock_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    before = clock.now()
    monkeypatch.setattr(module, "time", lambda: 0.0)
    assert clock.now() >= before
