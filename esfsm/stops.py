"""Stop requests: the only place that makes signals, and the end of a job's time, facts of a running job or pilot."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Thread, Timer, current_thread, main_thread
from types import FrameType

from esfsm.core.facts import Preempted
from esfsm.inbox import Inbox
from esfsm.model.settings import YEAR_S

__all__ = ["STOP_SIGNALS", "stop_requests", "time_limit"]

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class _Ask:
    """A handler of signals that tells a listener, and the listeners around it, too."""

    def __init__(self, requests: SimpleQueue[int], outer: object) -> None:
        self._requests, self._outer = requests, outer

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self._requests.put(number)
        if isinstance(self._outer, _Ask):
            self._outer(number, frame)


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
def stop_requests(inbox: Inbox) -> Iterator[None]:
    """SIGTERM and SIGINT are facts while the job runs; Python hears them in its main thread only.

    A handler may interrupt `take` just before it waits, and nothing that it does there would be noticed. So it only
    tells a thread, by a queue that may be interrupted by itself.
    """
    if current_thread() is not main_thread():
        yield
        return
    requests: SimpleQueue[int] = SimpleQueue()

    def listen() -> None:
        while number := requests.get():
            inbox.put(Preempted(why=f"a stop was asked for by {signal.Signals(number).name}"))

    Thread(target=listen, name="stop requests", daemon=True).start()
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    try:
        for number in STOP_SIGNALS:
            signal.signal(number, _Ask(requests, before[number]))
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        requests.put(0)
