"""Simulated time: what will happen when, an inbox and pools of threads that live by it."""

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count

from esfsm.core.actions import Action
from esfsm.core.facts import AlarmRang, Fact
from esfsm.inbox import Clock, Inbox

__all__ = ["Agenda", "Killed", "Life", "SimInbox", "SimPool", "Stuck"]

GROUP_S = 0.002
"""What happens within such a time of the first fact is taken in one group: about a sync of a disk."""


class Killed(BaseException):
    """The engine was killed at this point; nothing may catch it."""


class Stuck(Exception):
    """The engine waits, and nothing will ever happen any more."""


class Life:
    """One life of an engine, until it is killed or ends; what it began dies with it. It may be killed at each step."""

    def __init__(self, steps: int | None = None) -> None:
        self.over = self.killed = False
        self.steps = 0
        self._last = steps

    def step(self) -> None:
        """The engine could be killed just here; raises `Killed` if it is."""
        self.steps += 1
        if self.steps == self._last:
            raise Killed


class Agenda:
    """What will happen, in the order of its time; then time skips to the next."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0
        self._entries: list[tuple[float, int, Life | None, Callable[[], object]]] = []
        self._numbers = count()

    def after(self, delay_s: float, do: Callable[[], object], life: Life | None = None) -> None:
        """Do something later, unless the life that it belongs to is over by then."""
        heappush(self._entries, (self.now + delay_s, next(self._numbers), life, do))

    def next_in(self, limit_s: float) -> bool:
        """Let the next thing happen if its time comes within the limit; False if none does."""
        while self._entries and self._entries[0][0] <= self.now + limit_s:
            when, _, life, do = heappop(self._entries)
            if life is None or not life.over:
                self.now = max(self.now, when)
                do()
                return True
        return False


class SimInbox(Inbox):
    """The inbox of one life: to take is to let time pass until there are facts."""

    def __init__(self, agenda: Agenda, life: Life, offset_s: float = 0.0) -> None:
        super().__init__(Clock())
        self._agenda, self._life, self._offset_s = agenda, life, offset_s

    def now(self) -> float:
        """This machine's clock: it may have been set while no engine was alive."""
        return round(self._agenda.now + self._offset_s, 6)

    def put(self, fact: Fact) -> None:
        """A fact comes in; after the end of this life nobody listens."""
        if not self._life.over:
            self._facts.append(fact)

    put_now = put

    def set_alarm(self, when: float, number: int) -> None:
        """The fact `alarm_rang` comes when it is time."""
        delay_s = max(0.0, when - self.now())
        self._agenda.after(delay_s, lambda: self.put(AlarmRang(answers=number)), self._life)

    def take(self) -> list[Fact]:
        """The next facts, those of one moment together. Raises `Stuck` if none can ever come."""
        self._life.step()
        while not self._facts:
            if not self._agenda.next_in(float("inf")):
                raise Stuck
        until = self._agenda.now + GROUP_S
        while self._agenda.next_in(until - self._agenda.now):
            pass
        self._life.step()
        facts = list(self._facts)
        self._facts.clear()
        return facts


class SimPool:
    """Threads: each action is done after a time that `lasts` says, together with its answer."""

    def __init__(self, agenda: Agenda, life: Life, lasts: Callable[[Action], float]) -> None:
        self._agenda, self._life, self._lasts = agenda, life, lasts

    def submit(self, do: Callable[[Action], None], action: Action, /) -> None:
        """Do it when its time is over, unless the engine is dead by then."""
        self._life.step()
        self._agenda.after(self._lasts(action), lambda: do(action), self._life)

    def close(self) -> None:
        """Threads end with their engine."""
