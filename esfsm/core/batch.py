"""A batch: ranges that go the same way together, and how far they are; their archive's name and members.

Into one archive, to one storage, into one report; or, when they failed, into one report only.
"""

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from itertools import count
from math import inf
from posixpath import basename
from zlib import crc32

from esfsm.core.actions import Member
from esfsm.core.facts import FileCopy
from esfsm.model.report import ArchiveRecord, Report
from esfsm.model.rse import Rse

__all__ = ["DIAG_LENGTH", "NEVER", "Batch", "Output", "archive_name", "chance", "members_of", "named_after", "pause_s"]

DIAG_LENGTH = 500
"""PanDA rolls a whole report back when one errorDiag is longer (seen on panda-server 0.8.1 and 1.0.4)."""
PREFIX = "EventService_premerge_"
NEVER = inf
"""A time that does not come."""


def archive_name(first: str, form: str = "tar") -> str:
    """The LFN of the archive whose first member is this range: the field's name for it.

    An eventRangeID holds its attempt number, so no other archive, of whatever run, can bear the same name. That is
    load-bearing: PanDA finds an archive by (PandaID, LFN), so one name must always denote the same bytes.
    """
    return f"{PREFIX}{first}.{form}"


def named_after(lfn: str) -> str:
    """The event range after which an archive of this name is named; empty for what is no archive of ours."""
    before, _, first = lfn.rpartition(".")[0].partition(PREFIX)
    return "" if before else first


def pause_s(first_s: float, tries: int) -> float:
    """The pause after so many tries: doubled each time, 64 times the first at most."""
    return first_s * float(2 ** min(tries - 1, 6))


def chance(key: str, tries: int) -> float:
    """From 0 to 1, as good as random from one batch or try to another, and the same whenever it is replayed."""
    return crc32(f"{key} {tries}".encode()) / 2**32


@dataclass(frozen=True, slots=True)
class Output:
    """What a payload announced for one range, and when."""

    paths: tuple[str, ...]
    size_bytes: int
    at: float
    stamps: tuple[int, ...] = ()
    value_s: float = 1.0
    """The work in it."""

    @property
    def density(self) -> float:
        """Work by size."""
        return self.value_s / (self.size_bytes + 1)


def members_of(outputs: Mapping[str, Output]) -> tuple[Member, ...]:
    """The members of an archive; a merge job looks for the names `<output LFN>.<eventRangeID>`.

    Files of one name in several directories are told apart by a number in front: none may be lost.
    """
    members: dict[str, Member] = {}
    for event_range_id, output in outputs.items():
        for path, stamp in zip(output.paths, output.stamps or (0,) * len(output.paths), strict=True):
            name = plain = _member_name(path, event_range_id)
            if name in members:
                name = next(other for other in (f"{number}.{plain}" for number in count(2)) if other not in members)
            members[name] = Member(event_range_id, name, path, stamp)
    return tuple(members.values())


def _member_name(path: str, event_range_id: str) -> str:
    name = basename(path)
    return name if name.endswith(f".{event_range_id}") else f"{name}.{event_range_id}"


@dataclass(slots=True)
class Batch:
    """Ranges that go the same way together, and how far they are."""

    key: str
    event_range_ids: tuple[str, ...]
    todo: str
    members: tuple[Member, ...] = ()
    archive: FileCopy | None = None
    rse: int = 0
    """The storage to try, as an index of `Settings.destinations`."""
    closed: frozenset[int] = frozenset()
    """Storages that will not take it, however often they are asked."""
    stored_at: Rse | None = None
    """Where it is; the settings of a later engine may name others."""
    error_code: int = 0
    why: str = ""
    met: str = ""
    """What the step that failed last met with."""
    tries: int = 0
    not_before: float = 0.0
    """`NEVER` while it is under way, or given up."""
    losses: int = 0
    """How often its archive was found to be lost."""
    packed_why: str = ""
    """Why it was packed when it was."""
    began: float = 0.0
    size_bytes: int = 0
    value_s: float = 0.0
    was_disturbed: bool = False
    """Whether a step of it had to be tried again."""
    parked: bool = False
    """No storage takes it; it is offered once more when nothing else is left to do."""
    given_up: bool = False
    """Reported often enough without an answer; it waits for an engine that takes the job up again."""

    def report(self) -> Report:
        """What is said to the server about these ranges."""
        if self.archive is None:
            return Report(self.event_range_ids, error_code=self.error_code, error_diag=self.why[:DIAG_LENGTH])
        assert self.stored_at is not None, "reported before it was stored"
        lfn, size_bytes, adler32, url = astuple(self.archive)
        record = ArchiveRecord(lfn, size_bytes, adler32, self.stored_at.rse_id, self.stored_at.path_convention, url)
        return Report(self.event_range_ids, archive=record)
