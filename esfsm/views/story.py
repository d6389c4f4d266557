"""The story of a job: its facts told to the core once more, and what came of them, with times.

Times of a story are seconds since its first fact.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from esfsm.core import facts as f
from esfsm.core.actions import Action, PackOutputs, ReportRanges, StoreArchive
from esfsm.core.engine import Engine

__all__ = ["RangeStory", "Story", "tell"]


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


@dataclass(slots=True)
class Story:
    """What a journal tells: the engine as it stands at the end, and each range's way."""

    engine: Engine
    began: float = 0.0
    """Seconds since 1970."""
    ended_s: float = 0.0
    resumed: int = 0
    """How often an engine took the job up again."""
    ranges: dict[str, RangeStory] = field(default_factory=dict)
    _archives: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """The story for people: each state with the time it was entered, the hooks' counts, the end."""
        told = [f"{0.0:10.3f} s  {self.engine.workflow.starts}"]
        told += [f"{step.at - self.began:10.3f} s  {step.fact} -> {step.target}" for step in self.engine.way]
        held = [(arrow, n) for arrow, n in self.engine.arrows.items() if arrow.source == arrow.target]
        told += [f"{'':14}{n} x {arrow.fact} in {arrow.source}" for arrow, n in held]
        if self.resumed:
            told.append(f"taken up again: {self.resumed} x")
        counts = self.engine.ranges.ledger.counts()
        if counts:
            told.append("event ranges: " + ", ".join(f"{n} {state}" for state, n in counts.items()))
        if not self.engine.ended:
            told.append("the journal ends here, and the job had not ended")
        error_code, why = self.engine.trouble
        if why:
            told.append(f"why: {why} (pilot error code {error_code})" if error_code else f"why: {why}")
        return told


def tell(engine: Engine, facts: Iterable[f.Fact], decided: Callable[[int, tuple[Action, ...]], None]) -> Story:
    """Tell the facts to a new engine; `decided(number, actions)` hears what each led to."""
    story = Story(engine)
    actions = {action.number: action for action in engine.begin()}
    for number, fact in enumerate(facts, 1):
        story.began = story.began or fact.at
        story.ended_s = fact.at - story.began
        story.resumed += isinstance(fact, f.JobResumed)
        _note(story, fact, actions.get(fact.answers), fact.at - story.began)
        led_to = engine.receive(fact)
        actions.update((action.number, action) for action in led_to)
        decided(number, led_to)
    return story


def _note(story: Story, fact: f.Fact, action: Action | None, at_s: float) -> None:
    """Write the time of a fact to the ranges that it concerns."""
    match fact, action:
        case f.RangesGranted(), _:
            for event_range in fact.event_ranges:
                event_range_id = event_range.event_range_id
                story.ranges.setdefault(event_range_id, RangeStory(event_range_id, granted_s=at_s))
        case f.RangesSent(), _:
            _stamp(story, fact.event_range_ids, "sent_s", at_s)
        case f.OutputProduced(), _:
            _stamp(story, (fact.event_range_id,), "produced_s", at_s)
        case f.OutputsPacked(), PackOutputs():
            lost = set(fact.lost)
            ids = tuple(dict.fromkeys(m.event_range_id for m in action.members if m.event_range_id not in lost))
            story._archives[action.lfn] = ids
            _stamp(story, ids, "packed_s", at_s)
        case f.ArchiveStored(), StoreArchive():
            _stamp(story, story._archives[action.lfn], "stored_s", at_s)
        case f.RangesAcknowledged(), ReportRanges():
            refused = set(fact.refused)
            _stamp(story, [i for i in action.report.event_range_ids if i not in refused], "acknowledged_s", at_s)


def _stamp(story: Story, event_range_ids: Iterable[str], what: str, at_s: float) -> None:
    """The first time stands; but a range that was sent twice ran where it was produced."""
    for event_range_id in event_range_ids:
        told = story.ranges.get(event_range_id)
        if told is not None and (getattr(told, what) is None or (what == "sent_s" and told.produced_s is None)):
            setattr(told, what, at_s)
