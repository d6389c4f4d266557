"""Stop requests: signals become facts while a job runs, and what they were before afterwards."""

import ctypes
import os
import signal
from contextlib import suppress
from math import inf
from threading import Thread, active_count
from threading import enumerate as enumerate_threads

import pytest

from esfsm.core.facts import Preempted
from esfsm.inbox import Clock, Inbox
from esfsm.stops import STOP_SIGNALS, notices, stop_requests, time_limit

SIGTERM = Preempted(error_code=1201, why="a stop was asked for by SIGTERM")


@pytest.mark.parametrize(("number", "code"), STOP_SIGNALS.items())
def test_a_signal_is_a_fact_while_a_job_runs(number: signal.Signals, code: int) -> None:
    inbox = Inbox(Clock())
    with stop_requests(inbox):
        signal.raise_signal(number)
        assert inbox.take() == [Preempted(error_code=code, why=f"a stop was asked for by {number.name}")]


def test_a_signal_is_heard_while_the_main_thread_waits_and_runs_no_handler() -> None:
    """As when it comes just before that begins to wait. What is written here is more than a pipe holds."""
    inbox, heard = Inbox(Clock()), []
    inbox.set_alarm(inbox.now() + 10.0, 1)
    read, write = os.pipe()

    def ask_and_listen() -> None:
        with os.fdopen(read, "rb", buffering=0) as waits:
            waits.read(1)
            os.kill(os.getpid(), signal.SIGTERM)
            heard.extend(inbox.take())
            waits.readall()

    with stop_requests(inbox):
        asking = Thread(target=ask_and_listen)
        asking.start()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        ctypes.CDLL(None).write(write, bytes(1 << 20), 1 << 20)
        os.close(write)
        asking.join()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert heard == [SIGTERM]


def test_each_signal_is_a_fact_of_its_own() -> None:
    inbox, heard = Inbox(Clock()), []
    with stop_requests(inbox):
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.raise_signal(number)
        while len(heard) < 2:
            heard += inbox.take()
    assert [fact.why.split()[-1] for fact in heard] == ["SIGTERM", "SIGINT"]


def test_after_the_second_one_nobody_listens_any_more() -> None:
    with stop_requests(Inbox(Clock())), stop_requests(Inbox(Clock())):
        signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        signal.raise_signal(signal.SIGUSR1)
        assert {signal.getsignal(number) for number in STOP_SIGNALS} == {signal.SIG_DFL}


class Told:
    """Where it is told, at the third look, that this place will be taken away."""

    def __init__(self, looks: int) -> None:
        self.looks = looks

    def look(self) -> str | None:
        self.looks -= 1
        return None if self.looks else "it will be taken away"


def test_a_notice_is_a_fact() -> None:
    inbox = Inbox(Clock())
    with notices(inbox, Told(3), 0.001):
        assert inbox.take() == [Preempted(error_code=1379, why="it will be taken away")]


@pytest.mark.parametrize("notice", [None, Told(0)])
def test_a_job_without_a_notice_hears_of_none(notice: Told | None) -> None:
    inbox, before = Inbox(Clock()), active_count()
    with notices(inbox, notice, 3600.0):
        pass
    while active_count() > before:
        enumerate_threads()[-1].join()
    assert inbox.take_now() == []


def test_signals_are_as_they_were_when_the_job_has_ended_however_it_ended() -> None:
    before = [signal.getsignal(number) for number in STOP_SIGNALS]
    during: list[object] = []
    with suppress(LookupError), stop_requests(Inbox(Clock())):
        during = [signal.getsignal(number) for number in STOP_SIGNALS]
        raise LookupError
    assert during != before
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == before


def test_a_signal_that_comes_before_both_can_be_facts_leaves_no_handler_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    set_handler, outer = signal.signal, signal.getsignal(signal.SIGINT)
    set_handler(signal.SIGINT, signal.default_int_handler)  # a shell may have put us into the background
    before = [signal.getsignal(number) for number in STOP_SIGNALS]

    def signalled_between(number: signal.Signals, handler: signal.Handlers) -> None:
        monkeypatch.undo()
        set_handler(number, handler)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(signal, "signal", signalled_between)
    with pytest.raises(KeyboardInterrupt), stop_requests(Inbox(Clock())):
        pytest.fail("it was no fact yet")
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == before
    set_handler(signal.SIGINT, outer)


def test_a_signal_is_heard_by_whoever_is_around_a_job_too() -> None:
    pilot, job = Inbox(Clock()), Inbox(Clock())
    with stop_requests(pilot):
        with stop_requests(job):
            signal.raise_signal(signal.SIGTERM)
            assert job.take() == [SIGTERM]
        assert pilot.take() == [SIGTERM]
        signal.raise_signal(signal.SIGTERM)
        assert pilot.take() == [SIGTERM]
    assert job.take_now() == []


OVER = [Preempted(why="its time is over")]


def test_the_end_of_its_time_is_a_fact() -> None:
    inbox = Inbox(Clock())
    with time_limit(inbox, inbox.now() + 0.01):
        assert inbox.take() == OVER


def test_a_job_whose_time_is_over_hears_so_before_anything_else() -> None:
    inbox = Inbox(Clock())
    with time_limit(inbox, 0.0):
        assert inbox.take_now() == OVER


@pytest.mark.parametrize("left_s", [3600.0, inf])
def test_a_job_that_ends_in_time_hears_of_no_end(left_s: float) -> None:
    inbox, before = Inbox(Clock()), active_count()
    with time_limit(inbox, inbox.now() + left_s):
        pass
    while active_count() > before:  # a timer that is cancelled ends at once
        enumerate_threads()[-1].join()
    assert inbox.take_now() == []


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
