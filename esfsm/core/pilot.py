"""The pilot: which job it takes next, and when it has done enough.

Its table, pilot.toml, is run by `transitions` as that of a job is. It has no journal: what is to survive a pilot lies
in the work directories of its jobs, and each of those has one.
"""

from dataclasses import dataclass
from math import inf
from typing import ClassVar, TypeVar, dataclass_transform

from esfsm.core.facts import ActionBroke, Fact, Preempted, word
from esfsm.core.workflow import Workflow, machine

__all__ = [
    "PILOT_ACTIONS",
    "PILOT_FACTS",
    "EnoughDone",
    "FetchFailed",
    "Heard",
    "JobEnded",
    "JobFetched",
    "JobUnusable",
    "JobWanted",
    "Limits",
    "NoJobFound",
    "NoWorkFound",
    "PauseOver",
    "PauseWanted",
    "Pilot",
    "ServerLost",
    "WorkFound",
]


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a pilot is to do."""

    jobs: int | None = None
    """... how many jobs; None: any number."""
    until: float = inf
    """No job is taken after this time, in seconds since 1970."""
    requests: int = 1
    """How often in a row there may be no job, or no answer."""


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
    """The last request was in vain, and another one is to follow."""


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
class JobUnusable(PilotFact):
    """A job that cannot be run at all; whoever sent it was told."""

    why: str


Heard = PilotFact | Fact
"""Whatever a pilot can be told: facts of its own, and those that jobs hear as well."""

PILOT_ACTIONS = {
    "look_for_work": {"work_found", "no_work_found"},
    "finish_job": {"job_ended", "job_unusable"},
    "consider_next": {"job_wanted", "pause_wanted", "enough_done", "server_lost"},
    "fetch_job": {"job_fetched", "no_job_found", "fetch_failed"},
    "wait": {"pause_over"},
    "run_job": {"job_ended", "job_unusable"},
    "give_up_job": {"job_ended", "job_unusable"},
}
"""What a state of a pilot can do, and the facts that may answer it."""


# --- what is decided ---


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
        """Why it came to its end."""
        self._position = machine(workflow, {}, workflow.starts)
        self._empty = self._unanswered = 0

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
        if isinstance(fact, WorkFound | JobFetched):
            self.workdir = fact.workdir
        if isinstance(fact, JobFetched):
            self.jobs += 1
        if isinstance(fact, JobFetched | NoJobFound):
            self._empty = self._empty + 1 if isinstance(fact, NoJobFound) else 0
            self._unanswered = 0
        elif isinstance(fact, FetchFailed):
            self._unanswered += 1
        self.why = getattr(fact, "why", self.why)
        self._position.trigger(fact.name)
        self.path.append(self.state)

    def consider(self, now: float) -> PilotFact:
        """Whether another job is to be taken."""
        if self.jobs == self.limits.jobs:
            return EnoughDone(f"{self.jobs} jobs were to be done")
        if now >= self.limits.until:
            return EnoughDone("its time is over")
        if self._unanswered >= self.limits.requests:
            return ServerLost(self.why)
        if self._empty >= self.limits.requests:
            return EnoughDone("there is no job")
        return PauseWanted() if self._empty or self._unanswered else JobWanted()
