"""The pilot: which job it takes next, and when it has done enough.

Its table, pilot.toml, is run by `transitions` as that of a job is. It has no journal: what is to survive a pilot lies
in the work directories of its jobs, and each of those has one.
"""

from dataclasses import dataclass
from math import inf
from typing import ClassVar, TypeVar, dataclass_transform

from esfsm.core.facts import ActionBroke, Fact, Preempted, word
from esfsm.core.workflow import Workflow, machine
from esfsm.errors import PilotErrorCode
from esfsm.model.outcome import Outcome

__all__ = [
    "PILOT_ACTIONS",
    "PILOT_FACTS",
    "EnoughDone",
    "FetchFailed",
    "Heard",
    "JobEnded",
    "JobFailed",
    "JobFetched",
    "JobLeft",
    "JobDeclined",
    "JobUnanswered",
    "JobWanted",
    "JobsWasted",
    "Limits",
    "NoJobFound",
    "NoWorkFound",
    "PatienceEnded",
    "PauseOver",
    "PauseWanted",
    "Pilot",
    "ServerLost",
    "WorkFound",
    "end_of",
]


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a pilot is to do."""

    jobs: int | None = None
    """... how many jobs; None: any number."""
    until: float = inf
    """No job is taken after this time, in seconds since 1970."""
    requests: int = 1
    """How often in a row there may be no job, no answer, or a job that comes to nothing."""


# --- what can have happened ---


PILOT_FACTS: dict[str, type] = {kind.name: kind for kind in (Preempted, ActionBroke)}
"""Every fact of a pilot by its name in the table."""


@dataclass(frozen=True, slots=True)
class PilotFact:
    """Something that has happened to a pilot."""

    name: ClassVar[str] = "pilot_fact"


F = TypeVar("F", bound=PilotFact)


@dataclass_transform(frozen_default=True)
def _fact(cls: type[F]) -> type[F]:
    """Make it frozen and known under its name: `JobFetched` is `job_fetched` in the table."""
    made = dataclass(frozen=True, slots=True)(cls)
    made.name = word(cls)
    PILOT_FACTS[made.name] = made
    return made


@_fact
class WorkFound(PilotFact):
    """A dead predecessor has left this work directory."""

    workdir: str


@_fact
class NoWorkFound(PilotFact):
    """Nothing is left over."""


@_fact
class JobWanted(PilotFact):
    """There is time for another job."""


@_fact
class PauseWanted(PilotFact):
    """The last request, or the last job, was in vain, and another one is to follow."""


@_fact
class EnoughDone(PilotFact):
    """No other job is to be taken."""

    why: str


@_fact
class ServerLost(PilotFact):
    """Nobody answers."""

    why: str


@_fact
class JobFetched(PilotFact):
    """A job lies in a work directory of its own."""

    workdir: str


@_fact
class NoJobFound(PilotFact):
    """There is none now."""


@_fact
class FetchFailed(PilotFact):
    """Whether there is a job could not be found out."""

    why: str


@_fact
class PauseOver(PilotFact):
    """It is time to ask again."""


@_fact
class JobEnded(PilotFact):
    """A job has come to its end, whatever that is, and it was reported if somebody listened."""


@_fact
class JobFailed(PilotFact):
    """... and nothing has come of it."""

    why: str


@_fact
class JobDeclined(PilotFact):
    """A job is not begun and never will be; the server was told, if there is one that could be."""

    why: str


@_fact
class JobLeft(PilotFact):
    """A job is left as it is, for another pilot or for a person to look at; no payload of it runs."""

    why: str


@_fact
class JobUnanswered(PilotFact):
    """The server must say something about a job before that can go on, and did not."""

    why: str


@_fact
class PatienceEnded(PilotFact):
    """The server is not asked about this job any more."""


@_fact
class JobsWasted(PilotFact):
    """Job after job comes to nothing: whatever is wrong here, others are better off without this pilot."""

    why: str


Heard = PilotFact | Fact
"""Whatever a pilot can be told: facts of its own, and those that jobs hear as well."""

PILOT_ACTIONS = {
    "look_for_work": {"work_found", "no_work_found"},
    "finish_job": {"job_ended", "job_failed", "job_declined", "job_left", "job_unanswered"},
    "consider_again": {"pause_wanted", "patience_ended"},
    "leave_job": {"job_left"},
    "consider_next": {"job_wanted", "pause_wanted", "enough_done", "server_lost", "jobs_wasted"},
    "fetch_job": {"job_fetched", "no_job_found", "fetch_failed"},
    "wait": {"pause_over"},
    "run_job": {"job_ended", "job_failed", "job_declined", "job_left", "job_unanswered"},
    "give_up_job": {"job_declined", "job_left"},
}
"""What a state of a pilot can do, and the facts that may answer it."""


# --- what is decided ---


def end_of(outcome: Outcome) -> PilotFact:
    """What the end of a job is to its pilot."""
    in_vain = outcome.state == "failed" and not outcome.events and not outcome.outputs
    return JobFailed(outcome.sentence) if in_vain else JobEnded()


class Pilot:
    """One pilot on its way through its table."""

    def __init__(self, workflow: Workflow, limits: Limits) -> None:
        self.workflow, self.limits = workflow, limits
        self.path = [workflow.starts]
        """The states entered, in order."""
        self.jobs = 0
        """How many were fetched."""
        self.workdir = ""
        """Of the job that was found or fetched last."""
        self.why = ""
        """What was said last of why something happened; at the end, why that has come."""
        self.stop_code: int = PilotErrorCode.KILLSIGNAL
        """PanDA's code for the stop request that was heard last."""
        self._position = machine(workflow, {}, workflow.starts)
        self._empty = self._unanswered = self._wasted = self._in_doubt = 0
        self._pause_due = False

    @property
    def state(self) -> str:
        """The state that the pilot is in."""
        return self._position.state

    @property
    def does(self) -> str | None:
        """The action of this state; None at an end."""
        return self.workflow.states[self.state].does

    def hear(self, fact: Heard) -> None:
        """Book one fact and go where it leads; at an end nothing is heard any more."""
        if self.state in self.workflow.ends:
            return
        self._count(fact)
        self.why = getattr(fact, "why", self.why)
        self._position.trigger(fact.name)
        self.path.append(self.state)

    def _count(self, fact: Heard) -> None:
        match fact:
            case WorkFound():
                self.workdir, self._in_doubt = fact.workdir, 0
            case NoWorkFound():  # what others have left says nothing about new jobs
                self._wasted, self._pause_due = 0, False
            case JobFetched():
                self.workdir, self._in_doubt = fact.workdir, 0
                self.jobs += 1
                self._empty = self._unanswered = 0
            case NoJobFound():
                self._empty, self._unanswered, self._pause_due = self._empty + 1, 0, True
            case FetchFailed():
                self._unanswered, self._pause_due = self._unanswered + 1, True
            case PauseOver():
                self._pause_due = False
            case JobEnded():
                self._wasted = 0
            case JobFailed() | JobDeclined() | JobLeft():
                self._wasted, self._pause_due = self._wasted + 1, True
            case JobUnanswered():
                self._in_doubt += 1
            case Preempted():
                self.stop_code = fact.error_code or PilotErrorCode.KILLSIGNAL

    def consider(self, now: float) -> PilotFact:
        """Whether another job is to be taken."""
        most = self.limits.requests
        if self._wasted >= most:
            return JobsWasted(f"{self._wasted} jobs in a row came to nothing, the last one so: {self.why}")
        if self.jobs == self.limits.jobs:
            return EnoughDone(f"{self.jobs} jobs were to be done")
        if now >= self.limits.until:
            return EnoughDone("its time is over")
        if self._unanswered >= most:
            return ServerLost(self.why)
        if self._empty >= most:
            return EnoughDone("there is no job")
        return PauseWanted() if self._pause_due else JobWanted()

    def consider_again(self, now: float) -> PilotFact:
        """Whether the server is to be asked once more about the job that it did not answer for."""
        enough = self._in_doubt >= self.limits.requests or now >= self.limits.until
        return PatienceEnded() if enough else PauseWanted()
