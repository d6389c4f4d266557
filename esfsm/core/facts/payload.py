"""What can be seen of a payload: its process, its words, what it uses."""

from esfsm.core.facts.fact import Count, Fact, Pid, fact
from esfsm.errors import PilotErrorCode
from esfsm.model.resources import Resources

__all__ = [
    "PayloadStarted",
    "PayloadFinished",
    "PayloadFailed",
    "SetupFailed",
    "SetupRetried",
    "PayloadGone",
    "ResourcesMeasured",
    "LimitExceeded",
    "RangesWanted",
    "RangesSent",
    "OutputProduced",
    "RangeErrored",
    "MessageUnreadable",
]


@fact
class PayloadStarted(Fact):
    """The payload's process runs; pid and start time (clock ticks since boot) tell it from any other.

    `channel` is the address of its wire, by which an engine that takes the job up finds it again.
    """

    pid: Pid
    started: int
    channel: str = ""


@fact
class PayloadFinished(Fact):
    """The payload ended well, and its channel has been read to the end. None: nobody knows its exit code any more."""

    exit_code: int | None = 0


@fact
class PayloadFailed(Fact):
    """The payload ended badly or was ended, and its channel has been read to the end. None: or it was never there."""

    exit_code: int | None
    error_code: int
    why: str


@fact
class SetupFailed(Fact):
    """The payload ended badly before it asked for any event range: it was still setting itself up."""

    exit_code: int | None
    error_code: int
    why: str


@fact
class SetupRetried(Fact):
    """It is worth another try."""


@fact
class PayloadGone(Fact):
    """The payload can announce nothing more: what ran inside it may run again.

    In a journal: an adopted payload ended too early, or never spoke, so another one is to be started.
    """


@fact
class ResourcesMeasured(Fact):
    """What payload and machine were seen to use."""

    resources: Resources = Resources()


@fact
class LimitExceeded(Fact):
    """Something took more than it may; `at_once`: not even what runs may finish."""

    error_code: int
    why: str
    at_once: bool = False


@fact
class RangesWanted(Fact):
    """The payload will soon need `n` more event ranges."""

    n: Count


@fact
class RangesSent(Fact):
    """The payload has them."""

    event_range_ids: tuple[str, ...]


@fact
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


@fact
class RangeErrored(Fact):
    """The payload gave a range up, or what it announced is not there."""

    event_range_id: str
    error_code: int = PilotErrorCode.UNKNOWNPAYLOADFAILURE
    why: str


@fact
class MessageUnreadable(Fact):
    """The payload said what nobody understands; only the beginning of the text is kept."""

    text: str
    why: str
