"""Stop requests: the only place that makes signals, notices and the end of a pilot's time facts of a job or pilot."""

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
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


class _Count:
    """A handler of signals that counts them, for the handlers around it, too; what they mean is told elsewhere."""

    def __init__(self, before: Mapping[signal.Signals, object]) -> None:
        self._before = before
        self._heard = 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self._heard += 1
        outer = self._before[signal.Signals(number)]
        if isinstance(outer, _Count):
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
    """Signals are facts while the job runs, and `also` is called.

    Python runs a handler in its main thread, and only when that comes to its next step: a signal that arrives just
    before the thread begins to wait is not heard until the wait is over. What the kernel's handler writes to Python's
    wake-up descriptor is heard at once, so it is read by a thread of its own, which tells who listened there before.
    """
    if current_thread() is not main_thread():
        yield
        return
    heard, told = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(told, False)
    outer = signal.set_wakeup_fd(told, warn_on_full_buffer=False)

    def listen() -> None:
        with os.fdopen(heard, "rb", buffering=0) as numbers:
            while number := numbers.read(1):
                if outer >= 0:
                    with suppress(OSError):
                        os.write(outer, number)
                if number[0] in STOP_SIGNALS:
                    asked = signal.Signals(number[0])
                    inbox.put(Preempted(error_code=STOP_SIGNALS[asked], why=f"a stop was asked for by {asked.name}"))
                    if also is not None:
                        also()

    Thread(target=listen, name="stop requests", daemon=True).start()
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    count = _Count(before)
    try:
        for number in STOP_SIGNALS:
            signal.signal(number, count)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        signal.set_wakeup_fd(outer)
        os.close(told)
