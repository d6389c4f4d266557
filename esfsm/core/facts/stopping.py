"""How an end can be asked for, and what there is time for then."""

from esfsm.core.facts.fact import EachOnce, Fact, Time, fact
from esfsm.errors import PilotErrorCode

__all__ = ["Preempted", "TimeLimited", "GraceEnded", "LossExpected", "JobKilled"]


@fact
class Preempted(Fact):
    """Somebody wants this place back: a signal, a command of the server, a user, the end of a time.

    `within_s`: how soon; None: as soon as the settings say.
    """

    error_code: int = PilotErrorCode.NONE
    why: str
    within_s: Time | None = None


@fact
class TimeLimited(Fact):
    """This place is ours until a time: seconds since 1970."""

    until: Time
    why: str


@fact
class GraceEnded(Fact):
    """The time for stopping is over: what is not stored and reported is let go of."""

    why: str


@fact
class LossExpected(Fact):
    """There is too little time to store all that is finished: these will hardly be, the most valuable first."""

    event_range_ids: EachOnce
    why: str


@fact
class JobKilled(Fact):
    """The server wants the job to end at once: somebody killed it there, or it is another's by now."""

    error_code: int = PilotErrorCode.PANDAKILL
    why: str
