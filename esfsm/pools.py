"""The only pools of threads. Whoever is stuck in one is let go of: it keeps no process from ending."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from time import monotonic
from typing import Protocol, TypeVar

from esfsm.core.actions import Action
from esfsm.errors import EsfsmError

__all__ = ["Pool", "Pools", "Threads", "each_at_once", "threads"]

T = TypeVar("T")
R = TypeVar("R")

FILES = 8
"""Packing and stores that go on at the same time beside the payload: they wait for disks and wires, not for cores."""
TALKS = 8
"""Words with the server at the same time; they never wait for a store. Harvester takes minutes for each, and takes
reports that wait together."""
PATIENCE_S = 2.0
"""How long is waited for an action whose answer nobody hears any more: a new engine does it again."""

Do = Callable[[Action], None]


class Pool(Protocol):
    """Where actions are done: a pool of threads, or simulated time."""

    def submit(self, do: Do, action: Action, /) -> object:
        """Do it soon; returns at once."""
        ...

    def close(self) -> None:
        """Begin nothing more, and wait a while for what was begun."""
        ...


Pools = tuple[Pool, Pool]
"""For files, and for words with the server."""


class Threads:
    """A pool of `n` threads; each is started when it is first needed."""

    def __init__(self, name: str, n: int) -> None:
        self._name, self._n = name, n
        self._queue: SimpleQueue[tuple[Do, Action] | None] = SimpleQueue()
        self._threads: list[Thread] = []
        self._closed = False

    def submit(self, do: Do, action: Action, /) -> None:
        """Do it soon; after `close` nothing is done."""
        if len(self._threads) < self._n:
            self._threads.append(Thread(target=self._work, name=self._name, daemon=True))
            self._threads[-1].start()
        self._queue.put((do, action))

    def close(self) -> None:
        """Begin nothing more, and wait a while for what was begun."""
        self._closed = True
        for _ in self._threads:
            self._queue.put(None)
        deadline = monotonic() + PATIENCE_S
        for thread in self._threads:
            thread.join(max(0.0, deadline - monotonic()))

    def _work(self) -> None:
        while (work := self._queue.get()) is not None:
            do, action = work
            if not self._closed:
                do(action)


def each_at_once(n: int, do: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    """What `do` makes of each, in their order, by `n` threads.

    An `EsfsmError` is raised here, in its turn; where something unforeseen is raised there, CancelledError is. Once
    nobody takes any more, nothing more is begun.
    """
    results: list[Future[R]] = [Future() for _ in items]
    waiting = deque(zip(results, items, strict=True))

    def work() -> None:
        with suppress(IndexError):
            while True:
                result, item = waiting.popleft()
                try:
                    result.set_result(do(item))
                except EsfsmError as error:
                    result.set_exception(error)
                finally:
                    result.cancel()  # unless it has one

    for _ in range(min(n, len(items))):
        Thread(target=work, name="each at once", daemon=True).start()
    try:
        for result in results:
            yield result.result()
    finally:
        waiting.clear()


def threads() -> Pools:
    """Pools of threads for one job."""
    return Threads("files", FILES), Threads("server", TALKS)
