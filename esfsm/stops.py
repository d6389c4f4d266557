"""Stop requests: the only place that makes SIGTERM and SIGINT facts of a running job."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Thread, current_thread, main_thread
from types import FrameType

from esfsm.core.facts import Preempted
from esfsm.inbox import Inbox

__all__ = ["STOP_SIGNALS", "stop_requests"]

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


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

    def ask(number: int, _: FrameType | None) -> None:
        requests.put(number)

    def listen() -> None:
        while number := requests.get():
            inbox.put(Preempted(why=f"a stop was asked for by {signal.Signals(number).name}"))

    Thread(target=listen, name="stop requests", daemon=True).start()
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    try:
        for number in STOP_SIGNALS:
            signal.signal(number, ask)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        requests.put(0)
