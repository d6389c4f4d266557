"""What can happen to the job itself: on its way, to its files, by an end."""

from collections.abc import Mapping

from esfsm.core.facts.fact import Fact, FileCopy, fact
from esfsm.errors import PilotErrorCode

__all__ = [
    "JobClassified",
    "JobRefused",
    "ExecutorSelected",
    "ExecutorUnavailable",
    "InputsStaged",
    "StageInFailed",
    "ActionBroke",
    "OutputsStaged",
    "StageOutFailed",
    "JobReported",
    "JobUnreported",
    "JobResumed",
    "AlarmRang",
]


@fact
class JobClassified(Fact):
    """The definition says what kind of job it is; `log`: the LFN of the log that the server wants, if it wants one."""

    kind: str
    why: str
    log: str = ""


@fact
class JobRefused(Fact):
    """The definition lacks something that its kind cannot do without."""

    error_code: int = PilotErrorCode.INTERNALPILOTPROBLEM
    why: str


@fact
class ExecutorSelected(Fact):
    """Payload executor (what is run) and executor type (where) are chosen."""

    payload_executor: str
    executor_type: str
    why: str


@fact
class ExecutorUnavailable(Fact):
    """The chosen executor is not known or not installed."""

    error_code: int = PilotErrorCode.INTERNALPILOTPROBLEM
    why: str


@fact
class InputsStaged(Fact):
    """All inputs are in the work directory, verified."""

    files: tuple[FileCopy, ...] = ()


@fact
class StageInFailed(Fact):
    """An input could not be had; `corrupted` names the files that are there but wrong."""

    error_code: int
    why: str
    corrupted: tuple[str, ...] = ()


@fact
class ActionBroke(Fact):
    """An action ended in a way that nobody foresaw."""

    error_code: int = PilotErrorCode.UNKNOWNEXCEPTION
    why: str


@fact
class OutputsStaged(Fact):
    """Everything that was made is stored and reported."""

    files: tuple[FileCopy, ...] = ()


@fact
class StageOutFailed(Fact):
    """Something that was made could not be stored or reported."""

    error_code: int
    why: str


@fact
class JobReported(Fact):
    """The server knows how the job stands."""

    command: str | None = None


@fact
class JobUnreported(Fact):
    """The server did not answer; it finds out by itself."""

    why: str


@fact
class JobResumed(Fact):
    """An engine took the job up again, with these settings; `adopted`: and the payload that outlived the one before.

    No other payload is alive.
    """

    settings: Mapping[str, object]
    adopted: bool = False


@fact
class AlarmRang(Fact):
    """The time that was waited for has come."""
