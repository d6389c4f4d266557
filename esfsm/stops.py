"""Stop requests: the only place that makes signals, notices and the end of a pilot's time facts of a job or pilot."""

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Event, Thread, Timer, current_thread, main_thread
from types import FrameType

from esfsm.core.facts import Preempted
from esfsm.errors import PilotErrorCode
from esfsm.inbox import Inbox
from esfsm.model.settings import YEAR_S
from esfsm.ports import Notice

__all__ = ["STOP_SIGNALS", "notices", "stop_requests", "time_limit"]

STOP_SIGNALS = {
    signal.SIGTERM: PilotErrorCode.SIGTERM,
    signal.SIGINT: PilotErrorCode.SIGINT,
    signal.SIGUSR1: PilotErrorCode.SIGUSR1,
    signal.SIGUSR2: PilotErrorCode.KILLSIGNAL,
    signal.SIGXCPU: PilotErrorCode.SIGXCPU,
}
"""What batch systems and users send before they take a place away, and what it is to PanDA."""
MOST = 2
"""Signals that are requests; the one after these ends the process as if nobody listened, and the journal is good."""


class _Ask:
    """A handler of signals that tells a listener, and the listeners around it, too."""

    def __init__(self, requests: SimpleQueue[int], before: Mapping[signal.Signals, object]) -> None:
        self._requests, self._before = requests, before
        self._heard = 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self._heard += 1
        self._requests.put(number)
        outer = self._before[signal.Signals(number)]
        if isinstance(outer, _Ask):
            outer(number, frame)
        if self._heard == MOST:
            for each in STOP_SIGNALS:
                signal.signal(each, signal.SIG_DFL)


@contextmanager
def time_limit(inbox: Inbox, until: float) -> Iterator[None]:
    """A fact at this time (seconds since 1970), unless the job has ended before."""
    over = Preempted(why="its time is over")
    left_s = until - inbox.now()
    if left_s <= 0:
        inbox.put(over)
    timer = Timer(min(max(0.0, left_s), YEAR_S), inbox.put, [over])
    timer.daemon = True
    if 0 < left_s < YEAR_S:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def notices(inbox: Inbox, notice: Notice | None, every_s: float) -> Iterator[None]:
    """A fact as soon as it is told that this place will be taken away."""
    closed = Event()

    def watch(notice: Notice) -> None:
        while (why := notice.look()) is None:
            if closed.wait(every_s):
                return
        inbox.put(Preempted(error_code=PilotErrorCode.PREEMPTION, why=why))

    if notice is not None:
        Thread(target=watch, args=(notice,), name="notices", daemon=True).start()
    try:
        yield
    finally:
        closed.set()


@contextmanager
def stop_requests(inbox: Inbox, also: Callable[[], None] | None = None) -> Iterator[None]:
    """Signals are facts while the job runs, and `also` is called; Python hears them in its main thread only.

    A handler may interrupt `take` just before it waits, and nothing that it does there would be noticed. So it only
    tells a thread, by a queue that may be interrupted by itself.
    """
    if current_thread() is not main_thread():
        yield
        return
    requests: SimpleQueue[int] = SimpleQueue()

    def listen() -> None:
        while number := requests.get():
            name, code = signal.Signals(number).name, STOP_SIGNALS[signal.Signals(number)]
            inbox.put(Preempted(error_code=code, why=f"a stop was asked for by {name}"))
            if also is not None:
                also()

    Thread(target=listen, name="stop requests", daemon=True).start()
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    ask = _Ask(requests, before)
    try:
        for number in STOP_SIGNALS:
            signal.signal(number, ask)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        requests.put(0)
