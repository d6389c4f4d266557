"""Where facts wait for the one thread that reads them. An alarm is a fact that waits for its time.

Everybody may put, one thread takes. The inbox is bounded, so whoever is faster than the journal waits here.
"""

from collections import deque
from heapq import heappop, heappush
from threading import Condition
from time import monotonic, time

from esfsm.core.facts import AlarmRang, Fact

__all__ = ["Clock", "Inbox"]

LIMIT = 4096
"""Facts that may wait."""
GROUP = 512
"""Facts that are taken, and so written, at a time."""


class Clock:
    """Seconds since 1970 that never go back while this process lives, whatever is done to the machine's clock."""

    def __init__(self) -> None:
        self._offset = time() - monotonic()

    def now(self) -> float:
        """The time, rounded to microseconds: what the journal can hold."""
        return round(self._offset + monotonic(), 6)


class Inbox:
    """Facts on their way to the journal."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._changed = Condition()
        self._facts: deque[Fact] = deque()
        self._alarms: list[tuple[float, int]] = []
        self._closed = False

    def now(self) -> float:
        """The time, seconds since 1970."""
        return self.clock.now()

    def put(self, fact: Fact) -> None:
        """Any other thread may say what happened; waits while the inbox is full. After `close` nobody listens."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._facts) < LIMIT or self._closed)
            if not self._closed:
                self._facts.append(fact)
                self._changed.notify_all()

    def put_now(self, fact: Fact) -> None:
        """The same for the thread that takes, which must not wait for itself."""
        with self._changed:
            self._facts.append(fact)
            self._changed.notify_all()

    def set_alarm(self, when: float, number: int) -> None:
        """At the time `when` the fact `alarm_rang` answers action `number`. Only for the thread that takes."""
        heappush(self._alarms, (when, number))

    def take(self) -> list[Fact]:
        """Wait for the next facts, or an alarm, and take all that are there, up to a limit, in their order."""
        with self._changed:
            self._changed.wait_for(lambda: self._facts, self._patience())
            facts = [self._facts.popleft() for _ in range(min(len(self._facts), GROUP))]
            self._changed.notify_all()
        while self._alarms and self._alarms[0][0] <= self.clock.now():
            facts.append(AlarmRang(answers=heappop(self._alarms)[1]))
        return facts

    def take_now(self) -> list[Fact]:
        """The facts that are there already, without waiting; alarms wait for `take`."""
        with self._changed:
            facts, self._facts = [*self._facts], deque()
            self._changed.notify_all()
        return facts

    def close(self) -> None:
        """Nobody takes any more, and nobody waits any more."""
        with self._changed:
            self._closed = True
            self._facts.clear()
            self._changed.notify_all()

    def _patience(self) -> float | None:
        return max(0.0, self._alarms[0][0] - self.clock.now()) if self._alarms else None
