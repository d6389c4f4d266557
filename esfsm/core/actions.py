"""What can be asked for, and which facts may answer it.

An action is begun at the latest when the facts before it are written down. Begun and never answered, it is done
again after a crash, under the same number: every action may be done twice without harm, its docstring says why.
`answered_by` names the facts that may come while it goes on, `ended_by` those after which none comes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, TypeVar, dataclass_transform
from zlib import crc32

from esfsm.core.facts import Fact, word
from esfsm.model.event_range import EventRange
from esfsm.model.report import JobReport, Report

__all__ = ["ACTIONS", "Action", "Member", "gist"]

ACTIONS: dict[str, type["Action"]] = {}
"""Every action by its name in the tables."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """Something that is to be done; `number` is unique within the job."""

    name: ClassVar[str] = "action"
    answered_by: ClassVar[frozenset[str]] = frozenset()
    ended_by: ClassVar[frozenset[str]] = frozenset()
    outside: ClassVar[bool] = False
    """Whether others can see it, so that the facts behind it must be on disk first."""
    for_state: ClassVar[bool] = False
    """Whether a state can name it as what it `does`."""
    number: int = 0

    def about(self) -> str:
        """What tells this action from another of its name, in short: the same for the same decision."""
        return ""


A = TypeVar("A", bound=Action)


@dataclass_transform(frozen_default=True, kw_only_default=True)
def _action(cls: type[A]) -> type[A]:
    """Make it frozen and known under its name: `StageIn` is `stage_in` in the tables."""
    made = dataclass(frozen=True, slots=True, kw_only=True)(cls)
    made.name = word(cls)
    ACTIONS[made.name] = made
    return made


# --- what a state does -----------------------------------------------------------------------------------------


@_action
class ClassifyJob(Action):
    """Say what kind of job it is. Reads only the definition."""

    for_state = True
    ended_by = frozenset({"job_classified", "job_refused"})


@_action
class SelectExecutor(Action):
    """Choose payload executor and executor type. Reads only settings."""

    for_state = True
    ended_by = frozenset({"executor_selected", "executor_unavailable"})


@_action
class StageIn(Action):
    """Bring all inputs into the work directory. A file that is there and right is not copied again."""

    for_state = True
    ended_by = frozenset({"inputs_staged", "stage_in_failed"})


@_action
class RunPayload(Action):
    """Run the transformation to its end. Twice is harmless: its outputs are not stored before it has ended."""

    for_state = True
    answered_by = frozenset({"payload_started"})
    ended_by = frozenset({"payload_finished", "payload_failed"})


@_action
class RunEsPayload(Action):
    """Run an Event Service payload and speak with it. Ranges that ran and were not announced run again.

    A payload that outlived its engine is adopted; `payload_gone` says that it is lost, and another one is started.
    """

    for_state = True
    answered_by = frozenset(
        {
            "payload_started",
            "payload_gone",
            "ranges_wanted",
            "ranges_sent",
            "output_produced",
            "range_errored",
            "message_unreadable",
        }
    )
    ended_by = frozenset({"payload_finished", "payload_failed", "setup_failed"})


@_action
class RetrySetup(Action):
    """Decide whether a payload that could not set itself up is started again; the engine notes that itself."""

    for_state = True
    ended_by = frozenset({"setup_retried", "payload_failed"})


@_action
class DrainRanges(Action):
    """Bring every range to its end. The ledger does it by actions of its own and notes when it is done."""

    for_state = True
    ended_by = frozenset({"outputs_staged", "stage_out_failed"})


@_action
class UnpackArchives(Action):
    """Unpack the inputs of a merge job. A member that is there already with the same bytes is left alone."""

    for_state = True
    ended_by = frozenset({"archives_unpacked", "merge_incomplete"})


@_action
class ProveMerge(Action):
    """Compare the set of event ranges that went in with the set that came out. Only reads."""

    for_state = True
    ended_by = frozenset({"merge_proven", "merge_incomplete"})


@_action
class StageOut(Action):
    """Store the outputs of the job. A file that is there already with the same bytes is a success."""

    for_state = True
    outside = True
    ended_by = frozenset({"outputs_staged", "stage_out_failed"})


@_action
class ReportJob(Action):
    """The final word about the job. A second one is answered `alreadydone`."""

    for_state = True
    outside = True
    ended_by = frozenset({"job_reported", "job_unreported"})
    report: JobReport = JobReport("finished")

    def about(self) -> str:
        """State and events."""
        return f"{self.report.state}, {self.report.events} events"


# --- what the ledger asks for ----------------------------------------------------------------------------------


@_action
class RequestRanges(Action):
    """Ask the broker for `n` ranges. The same request again gets the same ranges, or others and these go back.

    `request` counts the requests of a job; one without an answer is made again under the same number.
    """

    outside = True
    ended_by = frozenset({"ranges_granted", "ranges_exhausted", "request_unanswered"})
    n: int
    request: int = 0

    def about(self) -> str:
        """How many, by which request."""
        return f"{self.n} by {self.request}"


@_action
class StockRanges(Action):
    """Give ranges to the running payload's stock; `last` when no more will come."""

    event_ranges: tuple[EventRange, ...] = ()
    last: bool = False

    def about(self) -> str:
        """Which ranges."""
        return _ids([r.event_range_id for r in self.event_ranges]) + (", last" if self.last else "")


class Member(NamedTuple):
    """One file of an archive: the range it belongs to, its name inside, where it lies, when it was changed last."""

    event_range_id: str
    name: str
    path: str
    stamp: int = 0


@_action
class PackOutputs(Action):
    """Write one archive. Its name and bytes follow from its members, so a second time makes the same file."""

    ended_by = frozenset({"outputs_packed", "pack_failed"})
    lfn: str
    members: tuple[Member, ...]
    why: str = ""
    """Why now."""

    def about(self) -> str:
        """Which archive, which members, and why now."""
        return f"{self.lfn}, {_ids([member.name for member in self.members])}" + (f", {self.why}" if self.why else "")


@_action
class StoreArchive(Action):
    """Copy an archive to the storage `rse` (0: the first). What is there already is compared, not overwritten.

    `goes`: it is removed here as soon as it is there. Lost again, it is packed again: its members stay.
    """

    outside = True
    ended_by = frozenset({"archive_stored", "archive_lost", "store_failed"})
    lfn: str
    rse: int = 0
    size_bytes: int
    adler32: str
    goes: bool = False

    def about(self) -> str:
        """What goes where."""
        return f"{self.lfn} {self.adler32} to {self.rse}"


class LocalFile(NamedTuple):
    """A file of the work directory, and when it was changed last (0: whenever)."""

    path: str
    stamp: int = 0


@_action
class RemoveFiles(Action):
    """Remove files that nobody needs any more. One that is not there, or has been changed, is left alone."""

    ended_by = frozenset({"files_removed"})
    files: tuple[LocalFile, ...]
    size_bytes: int = 0

    def about(self) -> str:
        """Which files."""
        return _ids([file.path for file in self.files])


@_action
class ReportRanges(Action):
    """Tell the server the final word about ranges. It keeps the first word, so a repeat changes nothing.

    `key` names the batch within the job.
    """

    outside = True
    ended_by = frozenset({"ranges_acknowledged", "report_unanswered"})
    key: str
    report: Report

    def about(self) -> str:
        """Which ranges ended how."""
        how = self.report.archive.lfn if self.report.archive else f"failed {self.report.error_code}"
        return f"{_ids(self.report.event_range_ids)}, {how}"


@_action
class MeasureResources(Action):
    """Measure what payload and machine use, and put long logs aside. Twice is harmless.

    `pid` and `started` are those of `payload_started`.
    """

    ended_by = frozenset({"resources_measured"})
    pid: int
    started: int


@_action
class PackLog(Action):
    """Make the log that the server wants of what tells how the job went. Made again, it tells more."""

    ended_by = frozenset({"log_packed", "log_failed"})
    lfn: str

    def about(self) -> str:
        """Its name."""
        return self.lfn


@_action
class SetAlarm(Action):
    """Say when the time `when` (seconds since 1970) has come."""

    ended_by = frozenset({"alarm_rang"})
    when: float

    def about(self) -> str:
        """When."""
        return repr(self.when)


@_action
class Stop(Action):
    """End the payload that the action `target` began: within `grace_s` seconds what runs may finish.

    Any other action is short, or safe to finish, and goes on to its end.
    """

    target: int
    grace_s: float = 0.0

    def about(self) -> str:
        """Which action, how fast."""
        return f"{self.target} within {self.grace_s}"


@_action
class Note(Action):
    """Write a decision down: a decision is a fact, too."""

    fact: Fact

    def about(self) -> str:
        """Which fact."""
        return self.fact.name


def gist(action: Action) -> str:
    """An action in one short line, the same for the same decision: for the journal, replay and people."""
    about = action.about()
    return f"{action.name} {action.number}" + (f": {about}" if about else "")


def _ids(names: Sequence[str]) -> str:
    """Many names as their number and a checksum."""
    return f"{len(names)} of {crc32(' '.join(names).encode()):08x}"
