"""Which outputs go into which archive, when, to which storage, and what is reported: the stage-out decisions.

Ranges that go the same way together are a batch: into one archive, to one storage, into one report; or, when they
failed, into one report only. A batch goes pack -> store -> report and waits between two tries. The caller says what
time it is.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from itertools import count
from math import inf
from posixpath import basename

from esfsm.core.actions import Action, Member, Note, PackOutputs, ReportRanges, StoreArchive
from esfsm.core.facts import ArchiveRefused, FileCopy, OutputsPacked, ReportGivenUp
from esfsm.errors import PilotErrorCode
from esfsm.model.report import ArchiveRecord, Report
from esfsm.model.settings import Settings

__all__ = ["Batch", "Output", "StageOut", "archive_name", "members_of", "pause_s"]

DIAG_LENGTH = 500
"""PanDA rolls a whole report back when one errorDiag is longer (seen on panda-server 0.8.1 and 1.0.4)."""
REPORT_SIZE = 10_000
"""Failed ranges in one report; PanDA passes over all but the first 100,000."""

NEVER = inf
"""A time that does not come."""


def archive_name(first: str) -> str:
    """The LFN of the archive whose first member is this range: the field's name for it.

    An eventRangeID holds its attempt number, so no other archive, of whatever run, can bear the same name. That is
    load-bearing: PanDA finds an archive by (PandaID, LFN), so one name must always denote the same bytes.
    """
    return f"EventService_premerge_{first}.tar"


def pause_s(first_s: float, tries: int) -> float:
    """The pause after so many tries: doubled each time, 64 times the first at most."""
    return first_s * float(2 ** min(tries - 1, 6))


@dataclass(frozen=True, slots=True)
class Output:
    """What a payload announced for one range, and when."""

    paths: tuple[str, ...]
    size_bytes: int
    at: float
    stamps: tuple[int, ...] = ()


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
    error_code: int = 0
    why: str = ""
    met: str = ""
    """What the step that failed last met with."""
    tries: int = 0
    not_before: float = 0.0
    """`NEVER` while it is under way, or given up."""
    losses: int = 0
    """How often its archive was found to be lost."""
    given_up: bool = False
    """Reported often enough without an answer; it waits for an engine that takes the job up again."""

    def report(self, settings: Settings) -> Report:
        """What is said to the server about these ranges."""
        if self.archive is None:
            return Report(self.event_range_ids, error_code=self.error_code, error_diag=self.why[:DIAG_LENGTH])
        lfn, size_bytes, adler32, url = astuple(self.archive)
        rse_id = settings.failover_rse_id if self.rse else settings.output_rse_id
        record = ArchiveRecord(lfn, size_bytes, adler32, rse_id, settings.path_convention, url)
        return Report(self.event_range_ids, archive=record)


@dataclass(slots=True)
class StageOut:
    """All batches of a job, and the outputs that wait for one."""

    settings: Settings
    batches: dict[str, Batch] = field(default_factory=dict)
    staged: dict[str, FileCopy] = field(default_factory=dict)
    """By LFN, the archives with ranges that the server has booked."""
    _outputs: dict[str, Output] = field(default_factory=dict)
    _size_bytes: int = 0
    _failures: dict[tuple[int, str], list[str]] = field(default_factory=dict)
    _failure_reports: int = 0

    def add(self, event_range_id: str, output: Output) -> None:
        """An output waits for its archive."""
        self._outputs[event_range_id] = output
        self._size_bytes += output.size_bytes

    def renew(self, event_range_id: str, output: Output) -> None:
        """A result was announced once more: as long as it waits, its files are what they are now."""
        waiting = self._outputs.get(event_range_id)
        if waiting is not None:
            self._size_bytes += output.size_bytes - waiting.size_bytes
            self._outputs[event_range_id] = replace(output, at=waiting.at)

    def add_failures(self, event_range_ids: Iterable[str], error_code: int, why: str) -> None:
        """Ranges wait to be reported failed."""
        self._failures.setdefault((error_code, why), []).extend(event_range_ids)

    def resume(self, now: float) -> None:
        """A new engine tries at once what the old one was to try later; its clock may have been another one."""
        for batch in self.batches.values():
            if batch.given_up:
                batch.given_up, batch.tries, batch.not_before = False, 0, 0.0
            elif batch.not_before < NEVER:
                batch.not_before = 0.0
        for event_range_id, output in self._outputs.items():
            self._outputs[event_range_id] = replace(output, at=min(output.at, now))

    def due(self, now: float, flush: bool) -> list[Action]:
        """What is to be done now; `flush`: pack whatever waits."""
        if self._failures or (self._outputs and (flush or self._enough() or self._late_at() <= now)):
            self._collect(now, flush)
        due: list[Action] = []
        for batch in self.batches.values():
            if batch.not_before <= now:
                batch.not_before = NEVER
                due.append(self._next(batch))
        return due

    @property
    def last_output_counts(self) -> bool:
        """Whether the last output could change what is due: it is the first of its archive, or there are enough."""
        return len(self._outputs) == 1 or self._enough()

    def alarm(self) -> float:
        """When something will be due by time alone."""
        first = self._late_at()
        for batch in self.batches.values():
            if batch.not_before < first:
                first = batch.not_before
        return first

    def packed(self, key: str, fact: OutputsPacked) -> None:
        """An archive was made, without the ranges whose outputs were lost."""
        batch = self.batches[key]
        lost = set(fact.lost)
        batch.event_range_ids = tuple(i for i in batch.event_range_ids if i not in lost)
        batch.archive = FileCopy(key, fact.size_bytes, fact.adler32, "")
        if batch.event_range_ids:
            self._go_on(batch, "store")
        else:
            del self.batches[key]

    def stored(self, key: str, url: str) -> None:
        """An archive is at its destination."""
        batch = self.batches[key]
        assert batch.archive is not None, "stored before it was packed"
        batch.archive = FileCopy(key, batch.archive.size_bytes, batch.archive.adler32, url)
        self._go_on(batch, "report")

    def lost(self, key: str, why: str) -> None:
        """The archive has to be packed once more, though not for ever."""
        batch = self.batches[key]
        batch.losses += 1
        batch.error_code, batch.why = 0, why
        batch.todo, batch.tries, batch.archive, batch.not_before = "pack", batch.losses, None, 0.0

    def refused(self, key: str) -> Batch:
        """No storage takes the archive, or it could not be made."""
        return self.batches.pop(key)

    def given_up(self, key: str) -> Batch:
        """Nobody answers: failed ranges are let go of, stored ones wait for an engine that takes the job up again."""
        batch = self.batches[key]
        batch.given_up = True
        return batch if batch.archive is not None else self.batches.pop(key)

    def booked(self, key: str) -> None:
        """The server has booked ranges of this batch: its archive, if it has one, is staged."""
        archive = self.batches[key].archive
        if archive is not None:
            self.staged[archive.lfn] = archive

    def answered(self, key: str, at: float, doubted: Sequence[str], unheard: Sequence[str], why: str) -> None:
        """The server has booked, or refused, all ranges but these; they are reported again, the doubted by themselves.

        So a doubt about one range cannot keep the others from being booked.
        """
        batch = self.batches.pop(key)
        if rest := unheard or doubted:
            self.batches[key] = replace(batch, event_range_ids=tuple(rest), not_before=0.0)
        if unheard and doubted:
            apart = f"{key} doubted {doubted[0]}"
            self.batches[apart] = replace(batch, key=apart, event_range_ids=tuple(doubted), not_before=0.0)
        elif rest:
            self.failed(key, at, 0, why)

    def failed(self, key: str, at: float, error_code: int, why: str) -> None:
        """A step did not succeed: another storage at once, or the same again after a pause."""
        batch = self.batches[key]
        batch.not_before, batch.met = 0.0, why
        if batch.members:  # failed ranges are reported with what they failed of
            batch.error_code, batch.why = error_code, why
        if batch.todo == "store" and batch.rse < self._rses - 1:
            batch.rse += 1
            return
        batch.rse = 0 if batch.todo == "store" else batch.rse
        batch.tries += 1
        batch.not_before = at + pause_s(self.settings.retry_pause_s, batch.tries)

    @property
    def _rses(self) -> int:
        return 1 if self.settings.failover_url is None else 2

    @staticmethod
    def _go_on(batch: Batch, todo: str) -> None:
        batch.todo, batch.tries, batch.not_before = todo, 0, 0.0

    def _collect(self, now: float, flush: bool) -> None:
        """Put what waits into batches, when it is enough, or time, or the end."""
        while self._outputs and (flush or self._enough() or self._late_at() <= now):
            taken = self._take_outputs()
            key = archive_name(next(iter(taken)))
            self.batches[key] = Batch(key, tuple(taken), "pack", members_of(taken))
        if self._failures and not any(
            batch.archive is None and batch.todo == "report" for batch in self.batches.values()
        ):
            self._collect_failures()

    def _collect_failures(self) -> None:
        """Put the failed ranges into reports; those that fail while one is under way go together into the next."""
        for (error_code, why), ids in self._failures.items():
            for start in range(0, len(ids), REPORT_SIZE):
                self._failure_reports += 1
                key = f"failures {self._failure_reports}"
                part = tuple(ids[start : start + REPORT_SIZE])
                self.batches[key] = Batch(key, part, "report", error_code=error_code, why=why)
        self._failures.clear()

    def _enough(self) -> bool:
        return len(self._outputs) >= self.settings.zip_max_ranges or self._size_bytes >= self.settings.zip_max_bytes

    def _late_at(self) -> float:
        """When the oldest output has waited long enough."""
        return next(iter(self._outputs.values())).at + self.settings.zip_time_gap_s if self._outputs else NEVER

    def _take_outputs(self) -> Mapping[str, Output]:
        """The oldest outputs, as many as one archive may hold."""
        taken: dict[str, Output] = {}
        size_bytes = 0
        for event_range_id, output in self._outputs.items():
            if len(taken) >= self.settings.zip_max_ranges or (taken and size_bytes >= self.settings.zip_max_bytes):
                break
            taken[event_range_id] = output
            size_bytes += output.size_bytes
        for event_range_id in taken:
            del self._outputs[event_range_id]
        self._size_bytes -= size_bytes
        return taken

    def _next(self, batch: Batch) -> Action:
        """The step that a batch waits for, or the word that it is given up."""
        if batch.todo == "report":
            if batch.tries >= self.settings.report_attempts:
                why = f"no answer to {batch.tries} reports: {batch.met}"
                return Note(fact=ReportGivenUp(key=batch.key, why=why))
            return ReportRanges(key=batch.key, report=batch.report(self.settings))
        if batch.tries >= self.settings.stage_out_rounds:
            code = batch.error_code or PilotErrorCode.STAGEOUTFAILED
            return Note(fact=ArchiveRefused(lfn=batch.key, error_code=code, why=batch.why))
        if batch.todo == "pack":
            return PackOutputs(lfn=batch.key, members=batch.members)
        assert batch.archive is not None, "to be stored before it was packed"
        batch.rse = min(batch.rse, self._rses - 1)  # a job may be taken up again with fewer storages
        size_bytes, adler32 = batch.archive.size_bytes, batch.archive.adler32
        return StoreArchive(lfn=batch.key, rse=batch.rse, size_bytes=size_bytes, adler32=adler32)
