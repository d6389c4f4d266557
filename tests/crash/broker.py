"""A server that books exactly what it is told, and knows the requests and reports that it was made before."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from esfsm.model.event_range import EventRange
from esfsm.model.report import Answer, ArchiveRecord, Grant, JobReport, Report

__all__ = ["Broker", "Row"]

Word = tuple[ArchiveRecord | None, int]
"""The archive, or the error code."""
Place = tuple[str | None, int]
"""What stays of a range through all attempts: its file and where it begins there."""


@dataclass(slots=True)
class Row:
    """One attempt at one range."""

    event_range: EventRange
    status: str = "sent"
    words: set[Word] = field(default_factory=set)
    """Whatever was reported about it, each word once."""

    @property
    def place(self) -> Place:
        return place(self.event_range)


class Broker:
    """The ranges of a task, and one job that gets them; a `ports.Communicator`."""

    def __init__(self, event_ranges: Iterable[EventRange]) -> None:
        """`event_ranges`: any attempts at the ranges of the task, the first one of each to be handed out."""
        self.ready: dict[Place, EventRange] = {}
        for event_range in event_ranges:
            self.ready.setdefault(place(event_range), event_range)
        self.places = frozenset(self.ready)
        self.rows: dict[str, Row] = {}
        self.requests: dict[str, list[str]] = {}
        self.is_over = False
        """Whether the job has said its final word."""

    def hand_out(self, request: str, event_ranges: Sequence[EventRange]) -> None:
        """A request got these."""
        self.requests[request] = [event_range.event_range_id for event_range in event_ranges]
        for event_range in event_ranges:
            self.ready.pop(place(event_range), None)
            self.rows[event_range.event_range_id] = Row(event_range)

    def join(self) -> None:
        """There is one job only."""

    def get_event_ranges(self, n: int, request: str) -> Grant:
        if request not in self.requests:
            self.hand_out(request, [] if self.is_over else list(self.ready.values())[:n])
        rows = [self.rows[event_range_id] for event_range_id in self.requests[request]]
        return Grant([row.event_range for row in rows if row.status == "sent"], exhausted=not self.ready)

    def update_event_ranges(self, report: Report) -> Answer:
        refused = tuple(i for i in report.event_range_ids if self.is_over or not self._may_say(i))
        self.book(report, refused)
        return Answer(tuple(i for i in report.event_range_ids if i not in refused), refused)

    def book(self, report: Report, unheard: Collection[str] = ()) -> None:
        """The first word about a range stays."""
        for event_range_id in {*report.event_range_ids}.difference(unheard):
            row = self.rows[event_range_id]
            row.words.add((report.archive, report.error_code))
            if row.status == "sent":
                row.status = "finished" if report.archive else "failed"

    def update_job(self, report: JobReport) -> str | None:
        """A final word gives back what is left over, and what failed."""
        self.is_over = report.state in ("finished", "failed")
        if self.is_over:
            for row in self.rows.values():
                if row.status in ("sent", "failed"):
                    self._give_back(row)
        return None

    def booked(self) -> None:
        """Nobody can say."""

    def close(self) -> None:
        """Nothing to let go of."""

    def _may_say(self, event_range_id: str) -> bool:
        return event_range_id in self.rows and self.rows[event_range_id].status in ("sent", "finished", "failed")

    def _give_back(self, row: Row) -> None:
        row.status = "cancelled" if row.status == "sent" else "failed for good"
        stem, _, attempt = row.event_range.event_range_id.rpartition("-")
        following = row.event_range.model_copy(update={"event_range_id": f"{stem}-{int(attempt) - 1}"})
        self.ready[place(following)] = following


def place(event_range: EventRange) -> Place:
    return event_range.lfn, event_range.start_event
