"""What a broker can say about event ranges, and what is given back to it."""

from esfsm.core.facts.fact import Count, EachOnce, Fact, fact
from esfsm.model.event_range import EventRange

__all__ = ["RangesGranted", "RangesExhausted", "RequestUnanswered", "RangesReleased", "RoomEnded"]


@fact
class RangesGranted(Fact):
    """The broker gave us event ranges; `exhausted` when it is sure that there are no more.

    `total`: how many it has in all, where it says so.
    """

    event_ranges: tuple[EventRange, ...]
    exhausted: bool = False
    total: Count | None = None


@fact
class RangesExhausted(Fact):
    """The broker is sure that there are no more."""


@fact
class RequestUnanswered(Fact):
    """A request for ranges got no answer that can be believed."""

    why: str


@fact
class RangesReleased(Fact):
    """Deliberately not run here: the broker hands them out again."""

    event_range_ids: EachOnce


@fact
class RoomEnded(Fact):
    """No more ranges are handed out: the disk has no room for what they would make, and nothing here will make any."""

    why: str
