"""The story of a job: which states it entered when, and when what happened to each event range.

Times of a story are seconds since its first fact.
"""

from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from math import isnan, nan

from esfsm.core import facts as f
from esfsm.core.actions import Action, PackOutputs, ReportRanges, StoreArchive
from esfsm.core.engine import Engine
from esfsm.views.elapsed import Elapsed

__all__ = ["RangeStory", "Story"]


@dataclass(slots=True)
class RangeStory:
    """When what happened to one event range; None for what never did."""

    event_range_id: str
    granted_s: float | None = None
    sent_s: float | None = None
    produced_s: float | None = None
    packed_s: float | None = None
    stored_s: float | None = None
    acknowledged_s: float | None = None


STEPS = tuple(field.name for field in fields(RangeStory))[1:]


class RangeStories(Mapping[str, RangeStory]):
    """The story of each range by its eventRangeID; kept as columns of numbers, as there may be a million."""

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}
        self._columns = {step: array("d") for step in STEPS}

    def __getitem__(self, event_range_id: str) -> RangeStory:
        row = self._rows[event_range_id]
        times = [column[row] for column in self._columns.values()]
        return RangeStory(event_range_id, *(None if isnan(time) else time for time in times))

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def begin(self, event_range_id: str, at_s: float) -> None:
        """A range was granted, for the first time or once more."""
        if event_range_id not in self._rows:
            self._rows[event_range_id] = len(self._rows)
            for step, column in self._columns.items():
                column.append(at_s if step == "granted_s" else nan)

    def stamp(self, event_range_ids: Iterable[str], step: str, at_s: float) -> None:
        """The first time stands; but a range that was sent twice ran where it was produced."""
        column, produced = self._columns[step], self._columns["produced_s"]
        for event_range_id in event_range_ids:
            row = self._rows.get(event_range_id)
            if row is not None and (isnan(column[row]) or (step == "sent_s" and isnan(produced[row]))):
                column[row] = at_s


class Story:
    """What a journal tells: the engine as it stands at the end, and each range's way."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.resumed = 0
        """How often an engine took the job up again."""
        self.ranges = RangeStories()
        self._time = Elapsed()
        self._entered_s: list[float] = []
        self._asked: dict[int, Action] = {}
        self._archives: dict[str, tuple[str, ...]] = {}

    @property
    def began(self) -> float:
        """When the first fact was, seconds since 1970."""
        return self._time.began

    @property
    def ended_s(self) -> float:
        """When the last fact was, seconds after the first."""
        return self._time.seconds

    def hear(self, fact: f.Fact, led_to: Iterable[Action]) -> None:
        """The next fact, and what the engine asks for because of it."""
        self._time.hear(fact.at)
        at_s = self.ended_s
        self._entered_s += [at_s] * (len(self.engine.way) - len(self._entered_s))
        self.resumed += isinstance(fact, f.JobResumed)
        action = self._asked.get(fact.answers)
        if action is not None and fact.name in action.ended_by:
            del self._asked[fact.answers]
        self._note(fact, action, at_s)
        for asked in led_to:
            if isinstance(asked, PackOutputs | StoreArchive | ReportRanges):
                self._asked[asked.number] = asked

    def _note(self, fact: f.Fact, action: Action | None, at_s: float) -> None:
        """Write the time of a fact to the ranges that it concerns."""
        match fact, action:
            case f.RangesGranted(), _:
                for event_range in fact.event_ranges:
                    self.ranges.begin(event_range.event_range_id, at_s)
            case f.RangesSent(), _:
                self.ranges.stamp(fact.event_range_ids, "sent_s", at_s)
            case f.OutputProduced(), _:
                self.ranges.stamp((fact.event_range_id,), "produced_s", at_s)
            case f.OutputsPacked(), PackOutputs():
                lost = set(fact.lost)
                ids = tuple(dict.fromkeys(m.event_range_id for m in action.members if m.event_range_id not in lost))
                self._archives[action.lfn] = ids
                self.ranges.stamp(ids, "packed_s", at_s)
            case f.ArchiveStored(), StoreArchive():
                self.ranges.stamp(self._archives.pop(action.lfn), "stored_s", at_s)
            case f.RangesAcknowledged(), ReportRanges():
                open_still = {*fact.refused, *fact.doubted, *fact.unheard}
                booked = [i for i in action.report.event_range_ids if i not in open_still]
                self.ranges.stamp(booked, "acknowledged_s", at_s)

    def lines(self) -> list[str]:
        """The story for people: each state with the time it was entered, the hooks' counts, the end."""
        told = [f"{0.0:10.3f} s  {self.engine.workflow.starts}"]
        way = zip(self._entered_s, self.engine.way, strict=True)
        told += [f"{at_s:10.3f} s  {step.fact} -> {step.target}" for at_s, step in way]
        held = [(arrow, n) for arrow, n in self.engine.arrows.items() if arrow.source == arrow.target]
        told += [f"{'':14}{n} x {arrow.fact} in {arrow.source}" for arrow, n in held]
        if self.resumed:
            told.append(f"taken up again: {self.resumed} x")
        counts = self.engine.ranges.ledger.counts()
        if counts:
            told.append("event ranges: " + ", ".join(f"{n} {state}" for state, n in counts.items()))
        if not self.engine.ended:
            told.append("the journal ends here, and the job had not ended")
        error_code, why = self.engine.final.trouble
        if why:
            told.append(f"why: {why} (pilot error code {error_code})" if error_code else f"why: {why}")
        return told
