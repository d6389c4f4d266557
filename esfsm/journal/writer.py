"""A journal open for writing: one engine's, begun or taken up again."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Self

from esfsm.core.facts import Fact
from esfsm.errors import JournalError, UnusableJournal
from esfsm.journal.file import UNSYNCED_LIMIT_BYTES, AppendOnly, JournalFile
from esfsm.journal.formats import FORMAT, Entry, Header, entries_of, header_of, told_entry, told_header
from esfsm.journal.lines import Lines, line

__all__ = ["Journal"]

NOTHING_HERE = "there is no journal to go on with"


class Journal:
    """The journal of one job; what was there when it was opened is taken before anything is written."""

    def __init__(self, file: AppendOnly, header: Header | None) -> None:
        """Go on with the journal in this file, or begin it with `header`.

        Raises `UnusableJournal` if it is another job's, or if there is none to go on with, `JournalError` where it
        cannot be written.
        """
        self._file, self.path = file, file.path
        self._number = self._decided = self._synced = self._told_synced = self._unsynced_bytes = 0
        self._is_open = False
        lines = Lines(_raw(file), file.path)
        told = iter(lines)
        first = next(told, None)
        found = None if first is None else header_of(first, file.path)
        past = entries_of(told, 0 if found is None else found.format, file.path)
        entry = next(past, None)
        if found is not None:
            _must_be_ours(found, header or found, file.path)
        if found is not None and (entry is not None or header is None):
            self.header = found
            self._past = self._taken(chain([] if entry is None else [entry], past), lines)
            return
        if header is None:
            raise UnusableJournal(file.path, NOTHING_HERE)
        self.header, self._past = header, iter(())
        self._begin(header)

    @classmethod
    def open(cls, path: Path, header: Header | None = None) -> Self:
        """The journal at a path; raises also where the file cannot be opened, or is open elsewhere."""
        with suppress(OSError):  # which will be met again when it is opened
            if header is None and not path.is_file():
                raise UnusableJournal(path, NOTHING_HERE)
        try:
            file = JournalFile.open(path)
        except BlockingIOError:
            raise UnusableJournal(path, "another engine is running this job") from None
        except OSError as error:  # some shared file systems know no locks: two engines could not be told apart
            raise UnusableJournal(path, f"it cannot be opened and locked: {error.strerror}") from None
        try:
            return cls(file, header)
        except BaseException:
            file.close()
            raise

    def take_entries(self) -> Iterator[Entry]:
        """What was there when it was opened, once, as it is read; then what is torn is cut off."""
        past, self._past = self._past, iter(())
        yield from past

    def append(self, facts: Iterable[Fact], at: float) -> list[Entry]:
        """Write facts in one go, heard at the time `at`; returns them with their numbers. `sync` makes them last."""
        entries = []
        for fact in facts:
            self._number += 1
            entries.append(Entry(self._number, replace(fact, at=at), None))
        self._write(b"".join(line(told_entry(entry)) for entry in entries))
        return entries

    def decided(self, decisions: Mapping[int, Sequence[str]]) -> None:
        """Write down what the facts led to, by their numbers, up to the last; those left out led to nothing."""
        then = {str(number): told for number, told in decisions.items() if told}
        self._decided = self._number
        if then:
            self._say_decided(then)

    @property
    def has_much_unsynced(self) -> bool:
        """Whether it is time for a sync in any case; what is written before the next look has room, too."""
        return self._unsynced_bytes >= UNSYNCED_LIMIT_BYTES // 2

    def sync(self) -> None:
        """Return when all that was written survives a power failure."""
        if self._unsynced_bytes:
            with _as_journal_error(self.path):
                self._file.sync()
            self._unsynced_bytes, self._synced = 0, self._number

    def close(self) -> None:
        """Sync, say so, and let go of the file, which is unlocked in any case."""
        try:
            self.sync()
            if self._told_synced < self._number == self._decided:
                self._say_decided({})
        finally:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _say_decided(self, then: Mapping[str, Sequence[str]]) -> None:
        self._told_synced = self._synced
        self._write(line({"decided": self._number, "synced": self._synced, "then": then}))

    def _begin(self, header: Header) -> None:
        with _as_journal_error(self.path):
            self._file.cut(0)
        self._is_open = True
        self._write(line(told_header(header)))
        self.sync()

    def _taken(self, past: Iterator[Entry], lines: Lines) -> Iterator[Entry]:
        """The past as it is read, and what follows from having read all of it."""
        for entry in past:
            self._number = entry.number
            yield entry
        with _as_journal_error(self.path):
            self._file.cut(lines.good_bytes)
        self._decided = self._synced = self._told_synced = self._number
        self._is_open = True

    def _write(self, content: bytes) -> None:
        """A disk that is full is the end of this engine, not of what is written already."""
        assert self._is_open, "what was there is taken first"
        with _as_journal_error(self.path):
            self._file.write(content)
        self._unsynced_bytes += len(content)


def _raw(file: AppendOnly) -> Iterator[bytes]:
    try:
        yield from file.lines()
    except OSError as error:
        raise UnusableJournal(file.path, f"it cannot be read: {error.strerror}") from None


@contextmanager
def _as_journal_error(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise JournalError(path, f"{error.strerror}") from None


def _must_be_ours(found: Header, given: Header, path: Path) -> None:
    """Refuse the journal of another job, of an older format, or one that was decided by other tables."""
    if found.format != FORMAT:
        raise UnusableJournal(path, f"it has format {found.format}: finish it with the version that began it")
    if found.panda_id != given.panda_id:
        raise UnusableJournal(
            path, f"it is of job {found.panda_id}, not of {given.panda_id}; choose another work directory"
        )
    if (found.workflow, found.tables) != (given.workflow, given.tables):
        raise UnusableJournal(
            path,
            f"it was written with another table ({found.workflow} {found.tables}, now {given.workflow} "
            f"{given.tables}); finish it with the version that began it, or choose another work directory",
        )
