"""What can become of outputs: packed, stored, reported."""

from esfsm.core.facts.fact import Count, Fact, FileCopy, fact

__all__ = [
    "OutputsPacked",
    "OutputLost",
    "PackFailed",
    "ArchiveStored",
    "ArchiveLost",
    "StoreFailed",
    "ArchiveRefused",
    "RangesAcknowledged",
    "FilesRemoved",
    "RangesRefused",
    "ReportGivenUp",
    "ReportUnanswered",
    "LogPacked",
    "LogFailed",
]


@fact
class OutputsPacked(Fact):
    """The archive lies in the work directory; `lost` are the ranges whose outputs are no longer there."""

    size_bytes: Count
    adler32: str
    lost: tuple[str, ...] = ()


@fact
class OutputLost(Fact):
    """An output vanished after it was announced."""

    event_range_ids: tuple[str, ...]


@fact
class PackFailed(Fact):
    """No archive was made: no space, for instance."""

    error_code: int
    why: str


@fact
class ArchiveStored(Fact):
    """The archive is at its destination, size and adler32 verified there."""

    url: str


@fact
class ArchiveLost(Fact):
    """The archive in the work directory is not, or no more, what was packed: it can be packed again."""

    why: str


@fact
class StoreFailed(Fact):
    """This storage did not take the archive; the next one is tried. `final`: nor will this one take it later."""

    error_code: int
    why: str
    final: bool = False


@fact
class ArchiveRefused(Fact):
    """An archive could not be made, or every storage said no, often enough."""

    lfn: str
    error_code: int
    why: str


@fact
class RangesAcknowledged(Fact):
    """The server answered a report: all its ranges are booked but for those that are named here.

    `refused`: it never will; `doubted`: its word may mean "no" or "I was disturbed"; `unheard`: there is no word.
    """

    refused: tuple[str, ...] = ()
    doubted: tuple[str, ...] = ()
    unheard: tuple[str, ...] = ()
    why: str = ""


@fact
class FilesRemoved(Fact):
    """What nobody needed any more is removed from the work directory, but for `left`, which could not be."""

    left: tuple[str, ...] = ()


@fact
class RangesRefused(Fact):
    """The server does not take our word about these: job or attempt are no longer ours."""

    event_range_ids: tuple[str, ...]


@fact
class ReportGivenUp(Fact):
    """A report was made often enough without an answer to be believed; `key` names its batch."""

    key: str
    why: str = ""


@fact
class ReportUnanswered(Fact):
    """A report got no answer that can be believed."""

    why: str


@fact
class LogPacked(Fact):
    """The log that the server wants lies in the work directory."""

    file: FileCopy
    guid: str


@fact
class LogFailed(Fact):
    """There is none."""

    error_code: int
    why: str
