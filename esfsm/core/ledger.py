"""Every event range of the job and where it stands.

A range is a word (its state in event-range.toml) in a dictionary, so a million of them fit; only those that are on
their way also have their definition here. Illegal steps raise and change nothing.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from esfsm.core.workflow import Workflow
from esfsm.errors import WorkflowError
from esfsm.model.event_range import EventRange

__all__ = ["Ledger"]


class Ledger:
    """The ranges of one job; `table` is the life of each."""

    def __init__(self, table: Workflow) -> None:
        self._table, self._targets = table, table.targets
        self._state: dict[str, str] = {}
        self._waiting: dict[str, dict[str, None]] = {
            name: {} for name, state in table.states.items() if state.on or name not in table.ends
        }
        self._definition: dict[str, EventRange] = {}
        self._ended: Counter[str] = Counter()
        self._free: dict[str, None] = {}
        self._stocked: dict[str, None] = {}
        self.events_finished = 0

    def __getitem__(self, event_range_id: str) -> str:
        """The state of a range; raises KeyError for one that was never granted."""
        return self._state[event_range_id]

    def __contains__(self, event_range_id: object) -> bool:
        return event_range_id in self._state

    def __iter__(self) -> Iterator[str]:
        return iter(self._state)

    def __len__(self) -> int:
        return len(self._state)

    def counts(self) -> Mapping[str, int]:
        """How many ranges are in each state that has any, ends included."""
        counts = {name: len(self._waiting.get(name, ())) or self._ended[name] for name in self._table.states}
        return {name: n for name, n in counts.items() if n}

    def waiting(self, state: str) -> tuple[str, ...]:
        """The ranges in a state with a way out, in the order in which they came there."""
        return tuple(self._waiting[state])

    def granted(self, event_range_ids: Iterable[str]) -> Iterable[str]:
        """Those of them that are granted, each once."""
        granted = self._waiting[self._table.starts]
        return {name: None for name in event_range_ids if name in granted}

    @property
    def open(self) -> int:
        """How many ranges have not reached an end."""
        return sum(len(ids) for state, ids in self._waiting.items() if state not in self._table.ends)

    def grant(self, event_ranges: Iterable[EventRange]) -> tuple[str, ...]:
        """Book new ranges; one that is known already is passed over. Returns the ids of the new ones."""
        new = {r.event_range_id: r for r in event_ranges if r.event_range_id not in self._state}
        for event_range_id, event_range in new.items():
            self._definition[event_range_id] = event_range
            self._put(event_range_id, self._table.starts)
            self._free[event_range_id] = None
        return tuple(new)

    def step(self, fact: str, event_range_ids: Iterable[str]) -> None:
        """Take ranges, each named once, one arrow further; raises `WorkflowError` when one cannot hear the fact."""
        state, targets, named = self._state, self._targets, tuple(event_range_ids)
        for event_range_id in named:
            before = state.get(event_range_id, "never granted")
            if (before, fact) not in targets:
                raise WorkflowError(f"event range {event_range_id}", before, fact)
        for event_range_id in named:
            before = state[event_range_id]
            del self._waiting[before][event_range_id]
            if before == self._table.starts:
                self._free.pop(event_range_id, None)
                self._stocked.pop(event_range_id, None)
            self._put(event_range_id, targets[before, fact])

    def step_all(self, fact: str) -> None:
        """Take every range that can hear the fact one arrow further."""
        for state in self._table.states:
            if (state, fact) in self._targets:
                self.step(fact, self.waiting(state))

    def hand_over(self, n: int) -> tuple[EventRange, ...]:
        """At most `n` granted ranges that no payload has in its stock; from now on it has."""
        ids = tuple(islice(self._free, n))
        for event_range_id in ids:
            del self._free[event_range_id]
            self._stocked[event_range_id] = None
        return tuple(self._definition[event_range_id] for event_range_id in ids)

    def payload_gone(self) -> None:
        """What was with the payload, in its stock or inside it, may run again."""
        self.step("payload_gone", self.waiting("running"))
        self._free, self._stocked = dict(self._waiting["granted"]), {}

    @property
    def in_hand(self) -> int:
        """How many ranges a payload has, in its stock or inside it."""
        return len(self._stocked) + len(self._waiting["running"])

    def queue(self) -> tuple[str, ...]:
        """The granted ranges in the order in which they are handed out: those in a payload's stock, then the others."""
        return (*self._stocked, *self._free)

    def adopted(self) -> None:
        """A payload outlived its engine, and its stock died with that."""
        self._free, self._stocked = {**self._stocked, **self._free}, {}

    def _put(self, event_range_id: str, state: str) -> None:
        self._state[event_range_id] = state
        if state in self._waiting:
            self._waiting[state][event_range_id] = None
            return
        self._ended[state] += 1
        event_range = self._definition.pop(event_range_id)
        if state == "finished":
            self.events_finished += event_range.events
