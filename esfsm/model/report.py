"""What is told to PanDA about event ranges, and what its answer means.

One `Report` is one call of `updateEventRanges`: either an archive with the ranges inside it (version 1) or
ranges that failed (version 0). An answer is read strictly: only `accepted` ends a range.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from esfsm.model.event_range import EventRange

__all__ = [
    "FAILED",
    "FINAL",
    "FINISHED",
    "HANDED_OUT",
    "KILL",
    "LOST",
    "SOFT_KILL",
    "STOP_COMMANDS",
    "Answer",
    "ArchiveRecord",
    "Booked",
    "Grant",
    "JobReport",
    "Report",
]

FINISHED = frozenset({"finished", "done", "merged"})
"""PanDA's words for an event range: reported finished; the job has ended; the merge job has finished."""
FAILED = frozenset({"failed", "fatal"})
"""... reported failed; no attempts are left."""
LOST = frozenset({"cancelled", "discarded", "corrupted"})
"""... no longer wanted; finished but not used; finished but unreadable for the merge job."""
HANDED_OUT = frozenset({"sent", "running"})
"""... with a job."""
FINAL = frozenset({"finished", "failed"})
"""... of a job: its final states."""
KILL, SOFT_KILL = "tobekilled", "softkill"
STOP_COMMANDS = (KILL, SOFT_KILL)
"""PanDA's commands after which a job gets no more event ranges: it is to end at once; what runs may finish."""


@dataclass(frozen=True, slots=True)
class ArchiveRecord:
    """A stored archive as PanDA books it (`zipFile`): size in bytes, adler32 as 8 hex digits."""

    lfn: str
    size_bytes: int
    adler32: str
    rse_id: int
    """PanDA's `objstoreID`: the number of the storage."""
    path_convention: int | None = None
    """PanDA's `pathConvention`: how a merge job finds the file there."""
    url: str = ""
    """Where it was stored."""


@dataclass(frozen=True, slots=True)
class Report:
    """The final word about some event ranges: all finished and inside `archive`, or all failed."""

    event_range_ids: tuple[str, ...]
    archive: ArchiveRecord | None = None
    error_code: int = 0
    error_diag: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said to a `Report`.

    `accepted`, `refused` and `doubted` are disjoint. A doubted range got a word that may mean "no" and may mean "I was
    disturbed": it is reported again alone; ranges in none of the three are reported again together. An answer that
    cannot be believed at all raises `WireError` instead, and the report is made again.
    """

    accepted: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    doubted: tuple[str, ...] = ()
    why: str = ""
    command: str | None = None
    """What the server wants of the job: `tobekilled`, `softkill`."""


@dataclass(frozen=True, slots=True)
class Booked:
    """How the server has one event range."""

    status: str
    """PanDA's word: sent, finished, done, failed, fatal, cancelled, ..."""
    archive: str | None = None
    """LFN of the archive that it was reported in, where the server says so."""


@dataclass(frozen=True, slots=True)
class Grant:
    """The ranges that a request got; `exhausted` when the server is sure that there are no more."""

    event_ranges: Sequence[EventRange] = ()
    exhausted: bool = False
    total: int | None = None
    """How many ranges there are in all, where the server says so."""


@dataclass(frozen=True, slots=True)
class JobReport:
    """One heartbeat or the final report of a job (`updateJob`)."""

    state: str
    """PanDA's job status: starting, running, transferring, finished or failed."""
    events: int = 0
    """Events reported finished (PanDA's nEvents)."""
    error_code: int = 0
    error_diag: str = ""
    exit_code: int | None = None
    """Of the payload (`transExitCode`)."""
    outputs: dict[str, dict[str, object]] = field(default_factory=dict)
    """By LFN: size, adler32 and url, of the log its GUID, too (`xml`, the job output report)."""
    log: str = ""
    """The LFN of the one among them that is the job's log."""
    cpu_s: float = 0.0
    """CPU time that the payload spent on the event ranges it announced, in seconds (`cpuConsumptionTime`)."""
