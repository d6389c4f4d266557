"""Stop requests: signals become facts while a job runs, and what they were before afterwards."""

import signal
from contextlib import suppress
from threading import Thread

import pytest

from esfsm.core.facts import Preempted
from esfsm.inbox import Clock, Inbox
from esfsm.stops import STOP_SIGNALS, stop_requests


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_is_a_fact_while_a_job_runs(number: signal.Signals) -> None:
    inbox = Inbox(Clock())
    with stop_requests(inbox):
        signal.raise_signal(number)
        assert inbox.take() == [Preempted(why=f"a stop was asked for by {number.name}")]


def test_each_signal_is_a_fact_of_its_own() -> None:
    inbox, heard = Inbox(Clock()), []
    with stop_requests(inbox):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(number)
        while len(heard) < 3:
            heard += inbox.take()
    assert [fact.why.split()[-1] for fact in heard] == ["SIGTERM", "SIGINT", "SIGTERM"]


def test_signals_are_as_they_were_when_the_job_has_ended_however_it_ended() -> None:
    before = [signal.getsignal(number) for number in STOP_SIGNALS]
    during: list[object] = []
    with suppress(LookupError), stop_requests(Inbox(Clock())):
        during = [signal.getsignal(number) for number in STOP_SIGNALS]
        raise LookupError
    assert during != before
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == before


def test_a_signal_that_comes_before_both_can_be_facts_leaves_no_handler_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    before = [signal.getsignal(number) for number in STOP_SIGNALS]
    set_handler = signal.signal

    def signalled_between(number: signal.Signals, handler: signal.Handlers) -> None:
        monkeypatch.undo()
        set_handler(number, handler)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(signal, "signal", signalled_between)
    with pytest.raises(KeyboardInterrupt), stop_requests(Inbox(Clock())):
        pytest.fail("it was no fact yet")
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == before


def test_in_another_thread_than_the_first_signals_are_left_alone() -> None:
    before = [signal.getsignal(number) for number in STOP_SIGNALS]
    during: list[object] = []

    def run() -> None:
        with stop_requests(Inbox(Clock())):
            during.extend(signal.getsignal(number) for number in STOP_SIGNALS)

    thread = Thread(target=run)
    thread.start()
    thread.join()
    assert during == before
