"""What can have happened: every fact, in the past tense, as it is written into the journal.

A fact is an input of the core: what was said, answered or seen, never what was decided from it. `at` is the time
that the journal gave it (seconds since 1970), `answers` the number of the action that it answers (0: none).
Facts about many event ranges are one fact. Where the ranges follow from the answered action, they are not
repeated: `archive_stored` answers a `store_archive`, and that knows its archive.

What is `Annotated` is what the core relies on, and no more. It is made sure of by whoever reads a fact, not here; so
is that a fact holds nothing else.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Annotated, ClassVar, TypeVar, dataclass_transform

from annotated_types import Interval, Predicate

from esfsm.errors import PilotErrorCode
from esfsm.model.event_range import EventRange
from esfsm.model.resources import Resources

__all__ = ["FACTS", "Fact", "FileCopy", "word"]

FACTS: dict[str, type["Fact"]] = {}
"""Every fact by its name in the tables and in the journal."""


def _names_a_file(text: str) -> bool:
    return text not in ("", ".", "..") and not {"/", "\0"} & {*text} and len(text.encode()) <= 255  # NAME_MAX


def _names_each_once(names: Sequence[str]) -> bool:
    return len({*names}) == len(names)


Time = Annotated[float, Interval(ge=0, lt=inf)]
Count = Annotated[int, Interval(ge=0, lt=2**63)]
Pid = Annotated[int, Interval(ge=1, lt=2**31)]
FileName = Annotated[str, Predicate(_names_a_file)]
EachOnce = Annotated[tuple[str, ...], Predicate(_names_each_once)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """Something that has happened."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    name: ClassVar[str] = "fact"
    at: Time = 0.0
    answers: Count = 0


F = TypeVar("F", bound=Fact)


@dataclass_transform(frozen_default=True, kw_only_default=True)
def _fact(cls: type[F]) -> type[F]:
    """Make it frozen and known under its name: `RangesSent` is `ranges_sent` in tables and journals."""
    made = dataclass(frozen=True, slots=True, kw_only=True)(cls)
    made.name = word(cls)
    FACTS[made.name] = made
    return made


def word(cls: type) -> str:
    """The name of a class in tables and journals: `RangesSent` is `ranges_sent`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()


@dataclass(frozen=True, slots=True)
class FileCopy:
    """A file that was copied and verified: size in bytes, adler32 as 8 hex digits."""

    lfn: FileName
    size_bytes: Count
    adler32: str
    url: str


# --- the job's way ---------------------------------------------------------------------------------------------


@_fact
class JobClassified(Fact):
    """The definition says what kind of job it is."""

    kind: str
    why: str


@_fact
class JobRefused(Fact):
    """The definition lacks something that its kind cannot do without."""

    error_code: int = PilotErrorCode.INTERNALPILOTPROBLEM
    why: str


@_fact
class ExecutorSelected(Fact):
    """Payload executor (what is run) and executor type (where) are chosen."""

    payload_executor: str
    executor_type: str
    why: str


@_fact
class ExecutorUnavailable(Fact):
    """The chosen executor is not known or not installed."""

    error_code: int = PilotErrorCode.INTERNALPILOTPROBLEM
    why: str


@_fact
class InputsStaged(Fact):
    """All inputs are in the work directory, verified."""

    files: tuple[FileCopy, ...] = ()


@_fact
class StageInFailed(Fact):
    """An input could not be had; `corrupted` names the files that are there but wrong."""

    error_code: int
    why: str
    corrupted: tuple[str, ...] = ()


@_fact
class PayloadStarted(Fact):
    """The payload's process runs; pid and start time (clock ticks since boot) tell it from any other.

    `channel` is the address of its wire, by which an engine that takes the job up finds it again.
    """

    pid: Pid
    started: int
    channel: str = ""


@_fact
class PayloadFinished(Fact):
    """The payload ended well, and its channel has been read to the end. None: nobody knows its exit code any more."""

    exit_code: int | None = 0


@_fact
class PayloadFailed(Fact):
    """The payload ended badly or was ended, and its channel has been read to the end."""

    exit_code: int | None
    error_code: int
    why: str


@_fact
class SetupFailed(Fact):
    """The payload ended badly before it asked for any event range: it was still setting itself up."""

    exit_code: int | None
    error_code: int
    why: str


@_fact
class SetupRetried(Fact):
    """It is worth another try."""


@_fact
class Preempted(Fact):
    """Somebody wants this place back: a signal, a command of the server, a user, the end of a time.

    `within_s`: how soon; None: as soon as the settings say.
    """

    error_code: int = PilotErrorCode.NONE
    why: str
    within_s: Time | None = None


@_fact
class TimeLimited(Fact):
    """This place is ours until a time: seconds since 1970."""

    until: Time
    why: str


@_fact
class GraceEnded(Fact):
    """The time for stopping is over: what is not stored and reported is let go of."""

    why: str


@_fact
class LossExpected(Fact):
    """There is too little time to store all that is finished: these will hardly be, the most valuable first."""

    event_range_ids: EachOnce
    why: str


@_fact
class ResourcesMeasured(Fact):
    """What payload and machine were seen to use."""

    resources: Resources = Resources()


@_fact
class JobKilled(Fact):
    """The server wants the job to end at once: somebody killed it there, or it is another's by now."""

    error_code: int = PilotErrorCode.PANDAKILL
    why: str


@_fact
class LimitExceeded(Fact):
    """Something took more than it may; `at_once`: not even what runs may finish."""

    error_code: int
    why: str
    at_once: bool = False


@_fact
class ActionBroke(Fact):
    """An action ended in a way that nobody foresaw."""

    error_code: int = PilotErrorCode.UNKNOWNEXCEPTION
    why: str


@_fact
class OutputsStaged(Fact):
    """Everything that was made is stored and reported."""

    files: tuple[FileCopy, ...] = ()


@_fact
class StageOutFailed(Fact):
    """Something that was made could not be stored or reported."""

    error_code: int
    why: str


@_fact
class JobReported(Fact):
    """The server knows how the job stands."""

    command: str | None = None


@_fact
class JobUnreported(Fact):
    """The server did not answer; it finds out by itself."""

    why: str


@_fact
class JobResumed(Fact):
    """An engine took the job up again, with these settings; `adopted`: and the payload that outlived the one before.

    No other payload is alive.
    """

    settings: Mapping[str, object]
    adopted: bool = False


# --- event ranges ----------------------------------------------------------------------------------------------


@_fact
class RangesWanted(Fact):
    """The payload will soon need `n` more event ranges."""

    n: Count


@_fact
class RangesGranted(Fact):
    """The broker gave us event ranges; `exhausted` when it is sure that there are no more.

    `total`: how many it has in all, where it says so.
    """

    event_ranges: tuple[EventRange, ...]
    exhausted: bool = False
    total: Count | None = None


@_fact
class RangesExhausted(Fact):
    """The broker is sure that there are no more."""


@_fact
class RequestUnanswered(Fact):
    """A request for ranges got no answer that can be believed."""

    why: str


@_fact
class RangesSent(Fact):
    """The payload has them."""

    event_range_ids: tuple[str, ...]


@_fact
class OutputProduced(Fact):
    """The payload announced a result and its files are there; sizes in bytes, times in seconds.

    `stamps`: when each file was changed last, in nanoseconds since 1970; one that is changed later is not what was
    announced.
    """

    event_range_id: str
    paths: tuple[str, ...]
    stamps: tuple[int, ...] = ()
    size_bytes: Count = 0
    cpu_s: float = 0.0
    wall_s: float = 0.0


@_fact
class RangeErrored(Fact):
    """The payload gave a range up, or what it announced is not there."""

    event_range_id: str
    error_code: int = PilotErrorCode.UNKNOWNPAYLOADFAILURE
    why: str


@_fact
class MessageUnreadable(Fact):
    """The payload said what nobody understands; only the beginning of the text is kept."""

    text: str
    why: str


@_fact
class PayloadGone(Fact):
    """The payload can announce nothing more: what ran inside it may run again.

    In a journal: an adopted payload ended too early, or never spoke, so another one is to be started.
    """


@_fact
class RangesReleased(Fact):
    """Deliberately not run here: the broker hands them out again."""

    event_range_ids: EachOnce


# --- archives and reports --------------------------------------------------------------------------------------


@_fact
class OutputsPacked(Fact):
    """The archive lies in the work directory; `lost` are the ranges whose outputs are no longer there."""

    size_bytes: Count
    adler32: str
    lost: tuple[str, ...] = ()


@_fact
class OutputLost(Fact):
    """An output vanished after it was announced."""

    event_range_ids: tuple[str, ...]


@_fact
class PackFailed(Fact):
    """No archive was made: no space, for instance."""

    error_code: int
    why: str


@_fact
class ArchiveStored(Fact):
    """The archive is at its destination, size and adler32 verified there."""

    url: str


@_fact
class ArchiveLost(Fact):
    """The archive in the work directory is not, or no more, what was packed: it can be packed again."""

    why: str


@_fact
class StoreFailed(Fact):
    """This storage did not take the archive; the next one is tried."""

    error_code: int
    why: str


@_fact
class ArchiveRefused(Fact):
    """An archive could not be made, or every storage said no, often enough."""

    lfn: str
    error_code: int
    why: str


@_fact
class RangesAcknowledged(Fact):
    """The server answered a report: all its ranges are booked but for those that are named here.

    `refused`: it never will; `doubted`: its word may mean "no" or "I was disturbed"; `unheard`: there is no word.
    """

    refused: tuple[str, ...] = ()
    doubted: tuple[str, ...] = ()
    unheard: tuple[str, ...] = ()
    why: str = ""


@_fact
class RangesRefused(Fact):
    """The server does not take our word about these: job or attempt are no longer ours."""

    event_range_ids: tuple[str, ...]


@_fact
class ReportGivenUp(Fact):
    """A report was made often enough without an answer to be believed; `key` names its batch."""

    key: str
    why: str = ""


@_fact
class ReportUnanswered(Fact):
    """A report got no answer that can be believed."""

    why: str


@_fact
class AlarmRang(Fact):
    """The time that was waited for has come."""


# --- merging ---------------------------------------------------------------------------------------------------


@_fact
class ArchivesUnpacked(Fact):
    """All members of all archives lie in the work directory, and none that is needed is missing."""

    files: Count


@_fact
class MergeIncomplete(Fact):
    """Event ranges that should be merged are missing; `corrupted` names the archives to blame, where known."""

    error_code: int
    why: str
    missing: tuple[str, ...] = ()
    corrupted: tuple[str, ...] = ()


@_fact
class MergeProven(Fact):
    """The set of event ranges that went in is the set that came out; `by` says how that is known."""

    event_ranges: Count
    by: str
