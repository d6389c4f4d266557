"""What three books say about one job, compared: the journal's, the server's and the storage's.

Pure, and one pass over each book: whoever has the books as values may compare them, an auditor or a simulated world.
A job that has not ended may be further than its journal tells, by what it asked for and was not answered: that is not
yet known, and no difference.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from esfsm.core import facts as f
from esfsm.core.actions import Action, PackOutputs, StoreArchive
from esfsm.core.batch import named_after
from esfsm.core.engine import Engine
from esfsm.model.report import FAILED, FINISHED, HANDED_OUT, Booked

__all__ = [
    "Archive",
    "Audit",
    "Bookkeeper",
    "Found",
    "JournalBook",
    "StorageBook",
    "compare",
    "summary",
]

GIVEN_BACK = frozenset({"released", "refused"})
"""States of a range that a server may have with another job, or nobody, by now."""


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive as the journal has it; an output of a job without event ranges has no members."""

    lfn: str
    members: Mapping[str, str] = field(default_factory=dict)
    """The event range that each member belongs to."""
    size_bytes: int = 0
    adler32: str = ""
    """8 hex digits; empty until it is packed."""
    url: str = ""
    """Empty until it is stored."""

    @property
    def named(self) -> str:
        """What it is called in a sentence."""
        return f"{'archive' if self.members else 'output'} {self.lfn}"


@dataclass(frozen=True, slots=True)
class JournalBook:
    """What the journal says."""

    ended: bool
    """Whether the job has come to its end, and nothing is left to do."""
    ranges: Mapping[str, str] = field(default_factory=dict)
    """By eventRangeID, the state of each event range that was granted."""
    ends: Collection[str] = frozenset()
    """The states that are the end of a range."""
    archives: Mapping[str, Archive] = field(default_factory=dict)
    """By LFN, whatever was to be packed, and the outputs of a job without event ranges."""

    @property
    def stored(self) -> list[Archive]:
        """The archives that are at their destination."""
        return [archive for archive in self.archives.values() if archive.url]


@dataclass(frozen=True, slots=True)
class Found:
    """A file of a storage, read byte by byte; adler32 is 8 hex digits, empty if it could not be read."""

    size_bytes: int = 0
    adler32: str = ""
    members: Collection[str] | None = None
    """The names in an archive; None where nobody looked inside."""
    fault: str = ""
    """Why it, or what is inside it, cannot be read."""


@dataclass(frozen=True, slots=True)
class StorageBook:
    """What the storage says."""

    files: Mapping[str, Found] = field(default_factory=dict)
    """By LFN, what was found of the archives that the journal has stored."""
    names: Collection[str] = frozenset()
    """Of all files in the job's directories."""


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit found."""

    panda_id: int
    books: tuple[str, ...]
    """What each book says, in short."""
    differences: tuple[str, ...]
    """One sentence each; none when the books agree."""

    def lines(self) -> list[str]:
        """The audit for people."""
        n = len(self.differences)
        verdict = "the books agree" if n == 0 else "1 difference:" if n == 1 else f"{n} differences:"
        return [f"job {self.panda_id}: {verdict}", *(f"  {line}" for line in (*self.differences, *self.books))]


class Bookkeeper:
    """Makes the journal's book, from each fact that an engine hears and what that led to."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._granted: dict[str, None] = {}
        self._archives: dict[str, Archive] = {}
        self._asked: dict[int, Action] = {}

    def hear(self, fact: f.Fact, led_to: Iterable[Action]) -> None:
        """The next fact, and what the engine asks for because of it."""
        match fact, self._asked.pop(fact.answers, None):
            case f.RangesGranted(), _:
                self._granted.update((event_range.event_range_id, None) for event_range in fact.event_ranges)
            case f.OutputsPacked(), PackOutputs() as action:
                members = _members(action, frozenset(fact.lost))
                self._archives[action.lfn] = Archive(action.lfn, members, fact.size_bytes, fact.adler32)
            case f.ArchiveStored(), StoreArchive() as action:
                self._archives[action.lfn] = replace(self._archives[action.lfn], url=fact.url)
        for asked in led_to:
            if isinstance(asked, PackOutputs):
                self._archives[asked.lfn] = Archive(asked.lfn, _members(asked))
            if isinstance(asked, PackOutputs | StoreArchive):
                self._asked[asked.number] = asked

    def book(self, ends: Collection[str]) -> JournalBook:
        """The book so far; `ends` are those of the table of event ranges."""
        ledger, archives = self._engine.ranges.ledger, dict(self._archives)
        for copy in self._engine.final.outputs:
            archives.setdefault(copy.lfn, Archive(copy.lfn, {}, copy.size_bytes, copy.adler32, copy.url))
        ranges = {name: ledger[name] for name in self._granted if name in ledger}
        return JournalBook(self._engine.ended, ranges, ends, archives)


def _members(action: PackOutputs, lost: Collection[str] = frozenset()) -> dict[str, str]:
    """The event range that each member belongs to, without the ranges that were lost."""
    return {member.name: member.event_range_id for member in action.members if member.event_range_id not in lost}


def compare(journal: JournalBook, server: Mapping[str, Booked] | None, storage: StorageBook) -> Iterator[str]:
    """Every difference, as a sentence; `server`: how it has each event range of the job, None if nobody can say."""
    homes: dict[str, str] = {}
    for archive in journal.stored:
        for event_range_id in dict.fromkeys(archive.members.values()):
            home = homes.setdefault(event_range_id, archive.lfn)
            if home != archive.lfn:
                yield f"event range {event_range_id}: its outputs are in two archives, {home} and {archive.lfn}"
    for event_range_id, state in journal.ranges.items():
        if journal.ended and state not in journal.ends:
            yield f"event range {event_range_id}: the job has ended, and it is {state}"
        if state == "finished" and event_range_id not in homes:
            yield f"event range {event_range_id}: finished in the journal, and in no archive that is stored"
    if server is not None:
        yield from _known(journal, server, homes)
        yield from _unknown(journal, server)
    for archive in journal.stored:
        yield from _archive(archive, storage.files.get(archive.lfn), journal.ranges)
    yield from _orphans(journal, storage.names)


def _known(journal: JournalBook, server: Mapping[str, Booked], homes: Mapping[str, str]) -> Iterator[str]:
    """What the server says otherwise of the ranges that the journal has."""
    for event_range_id, state in journal.ranges.items():
        said = server.get(event_range_id)
        if said is None:
            if state not in GIVEN_BACK:
                yield f"event range {event_range_id}: {state} in the journal, unknown to the server"
        elif not _agree(state, said.status, journal.ended):
            yield f"event range {event_range_id}: {state} in the journal, {said.status} at the server"
        elif state == "finished" and said.archive not in (None, homes.get(event_range_id, said.archive)):
            home = homes[event_range_id]
            yield f"event range {event_range_id}: in {home} in the journal, in {said.archive} at the server"


def _agree(state: str, status: str, ended: bool) -> bool:
    """Whether a range can be in this state of ours while the server has it so."""
    if state == "unanswered":
        return True  # it was reported, and nobody knows what became of that
    if status in FINISHED:
        return state == "finished" or (state == "stored" and not ended)  # its report is on the way
    if status in FAILED:
        return state in ("failed", "released") or (state == "errored" and not ended)  # released: nobody answered
    return state not in ("finished", "failed")


def _unknown(journal: JournalBook, server: Mapping[str, Booked]) -> Iterator[str]:
    """What the server has with this job, and the journal never heard of."""
    for event_range_id, said in server.items():
        status = said.status
        if event_range_id in journal.ranges:
            continue
        if status in FINISHED or status in FAILED:
            yield f"event range {event_range_id}: unknown in the journal, {status} at the server"
        elif status in HANDED_OUT and journal.ended:
            yield f"event range {event_range_id}: unknown in the journal, and the job has ended; {status} at the server"


def _archive(archive: Archive, found: Found | None, ranges: Mapping[str, str]) -> Iterator[str]:
    """What a storage has otherwise of an archive."""
    if found is None:
        yield f"{archive.named}: missing at {archive.url}"
        return
    if found.fault:
        yield f"{archive.named}: {found.fault}"
    if found.adler32 and (found.size_bytes, found.adler32) != (archive.size_bytes, archive.adler32):
        yield (
            f"{archive.named}: {archive.size_bytes} bytes of adler32 {archive.adler32} in the journal, "
            f"{found.size_bytes} of {found.adler32} in the storage"
        )
    if found.members is None:
        return
    members = frozenset(found.members)
    for name, event_range_id in archive.members.items():
        if name not in members and ranges.get(event_range_id) == "finished":
            yield f"{archive.named}: lacks {name} of event range {event_range_id}, which is finished"
    for name in found.members:
        if name not in archive.members:
            yield f"{archive.named}: has {name}, which is of none of its event ranges"


def _orphans(journal: JournalBook, names: Iterable[str]) -> Iterator[str]:
    """The archives that bear the name of one of our ranges, and that the journal never heard of."""
    for name in names:
        if named_after(name) in journal.ranges and name not in journal.archives:
            yield f"archive {name}: in the storage, unknown in the journal"


def summary(journal: JournalBook, server: Mapping[str, Booked] | None, storage: StorageBook) -> tuple[str, ...]:
    """What each book says, in a line."""
    going_on = "" if journal.ended else "; the job has not ended"
    at_server = "cannot say" if server is None else _counted(booked.status for booked in server.values())
    total = sum(found.size_bytes for found in storage.files.values())
    return (
        f"journal: {_counted(journal.ranges.values())}; files stored: {len(journal.stored)}{going_on}",
        f"server: {at_server}",
        f"storage: files: {len(storage.files)}, {total} bytes",
    )


def _counted(words: Iterable[str]) -> str:
    counts = ", ".join(f"{n} {word}" for word, n in Counter(words).items())
    return f"event ranges: {counts}" if counts else "no event ranges"
