"""Which outputs go into which archive, when, to which storage, and what is reported: the stage-out decisions.

Ranges that go the same way together are a batch: into one archive, to one storage, into one report; or, when they
failed, into one report only. A batch goes pack -> store -> report and waits between two tries. The caller says what
time it is.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from esfsm.core.actions import Action, Note, PackOutputs, RemoveFiles, ReportRanges, StoreArchive
from esfsm.core.batch import NEVER, Batch, Output, archive_name, chance, members_of, pause_s
from esfsm.core.facts import ArchiveRefused, FileCopy, OutputsPacked, ReportGivenUp
from esfsm.core.leftovers import Leftovers
from esfsm.core.pace import Pace
from esfsm.core.risk import Exposure
from esfsm.errors import PilotErrorCode
from esfsm.model.settings import Settings

__all__ = ["StageOut"]

REPORT_SIZE = 10_000
"""Failed ranges in one report; PanDA passes over all but the first 100,000."""

STORES_IN_HASTE = 2
"""Archives that are stored at a time when there is no time for all: eight that are half there are worth nothing."""


@dataclass(slots=True)
class StageOut:
    """All batches of a job, and the outputs that wait for one."""

    settings: Settings
    batches: dict[str, Batch] = field(default_factory=dict)
    staged: dict[str, FileCopy] = field(default_factory=dict)
    """By LFN, the archives with ranges that the server has booked."""
    pace: Pace = field(default_factory=Pace)
    exposure: Exposure = field(default_factory=Exposure)
    leftovers: Leftovers = field(default_factory=Leftovers)
    in_haste: bool = False
    """Whether there is no time for all that waits."""
    removing: bool = False
    """Whether files are being removed."""
    tight: bool = False
    """Whether there was no room for an archive: then there is one at a time, and it goes when it is stored."""
    _outputs: dict[str, Output] = field(default_factory=dict)
    _size_bytes: int = 0
    _archive_bytes: int = 0
    """What an archive may hold in haste."""
    _wire_free_at: float = 0.0
    """When the next archive may be stored, where the bytes a second are bounded."""
    _failures: dict[tuple[int, str], list[str]] = field(default_factory=dict)
    _failure_reports: int = 0

    def add(self, event_range_id: str, output: Output) -> None:
        """An output waits for its archive."""
        self._outputs[event_range_id] = output
        self._size_bytes += output.size_bytes
        self.leftovers.need(output.paths)
        self.exposure.add(output.value_s, output.at, self.settings.node_lifetime_s)

    def renew(self, event_range_id: str, output: Output) -> None:
        """A result was announced once more: as long as it waits, its files are what they are now."""
        waiting = self._outputs.get(event_range_id)
        if waiting is not None:
            self._size_bytes += output.size_bytes - waiting.size_bytes
            self.leftovers.replace(waiting.paths, output.paths)
            self._outputs[event_range_id] = replace(output, at=waiting.at, value_s=waiting.value_s)

    def add_failures(self, event_range_ids: Iterable[str], error_code: int, why: str) -> None:
        """Ranges wait to be reported failed."""
        self._failures.setdefault((error_code, why), []).extend(event_range_ids)

    def resume(self, now: float) -> None:
        """A new engine tries at once what the old one was to try later; its clock may have been another one."""
        for batch in self.batches.values():
            batch.closed = frozenset()  # the storages may be others
            self._offer(batch, tries=0)
            if batch.given_up:
                batch.given_up, batch.tries, batch.not_before = False, 0, 0.0
            elif batch.not_before < NEVER:
                batch.not_before = 0.0
        self.in_haste = self.tight = self.removing = False
        self._wire_free_at = 0.0
        for event_range_id, output in self._outputs.items():
            self._outputs[event_range_id] = replace(output, at=min(output.at, now))

    def unsaved_s(self) -> float:
        """How long it will take to store all that waits."""
        waiting = [batch.size_bytes for batch in self.batches.values() if batch.todo in ("pack", "store")]
        size_bytes = self._size_bytes + sum(waiting)
        if not waiting and not self._outputs:
            return 0.0
        rate = self.settings.store_bytes_per_s
        return max(self.pace.takes_s(size_bytes), size_bytes / rate if rate and not self.in_haste else 0.0)

    @property
    def unpacked_bytes(self) -> int:
        """Of the outputs that are in no archive."""
        return self._size_bytes + sum(batch.size_bytes for batch in self.batches.values() if batch.todo == "pack")

    @property
    def goes_on(self) -> bool:
        """Whether anything goes on, or waits, by which there will be more room."""
        active = (batch for batch in self.batches.values() if not batch.parked and not batch.given_up)
        return self.removing or bool(self._outputs) or any(active)

    def hurry(self, now: float, until: float) -> tuple[str, ...]:
        """There is time until then only; the ranges for which it will not be enough, the most valuable first.

        If there are any, what waits is put into the order of its value for its size, and into small archives.
        """
        self.in_haste = now + self.unsaved_s() > until
        if not self.in_haste:
            return ()
        by_value = sorted(self._outputs.items(), key=lambda item: item[1].density, reverse=True)
        self._outputs = dict(by_value)
        left_s, takes_s = max(0.0, until - now), self.unsaved_s()
        self._archive_bytes = max(1, int(self._size_bytes * (left_s / takes_s if takes_s else 1.0) / 4))
        waiting = [(b.event_range_ids, b.size_bytes) for b in self.batches.values() if b.todo in ("pack", "store")]
        waiting += [((event_range_id,), output.size_bytes) for event_range_id, output in by_value]
        size_bytes = 0
        lost: list[str] = []
        for event_range_ids, more_bytes in waiting:
            size_bytes += more_bytes
            if self.pace.takes_s(size_bytes) > left_s:
                lost += event_range_ids
        return tuple(lost)

    def let_go(self) -> None:
        """There is no time left: only what is stored is still known, and waits for an engine that reports it."""
        self.batches = {key: batch for key, batch in self.batches.items() if batch.archive and batch.archive.url}
        for batch in self.batches.values():
            batch.given_up, batch.not_before = True, NEVER
        self._outputs, self._size_bytes, self.removing = {}, 0, False
        self._failures.clear()
        self.exposure = Exposure()

    def due(self, now: float, *, flush: bool, ends: bool) -> list[Action]:
        """What is to be done now; `flush`: pack whatever waits; `ends`: nothing more will come."""
        if self._failures or (self._outputs and (flush or self._enough() or self._late_at() <= now)):
            self._collect(now, flush)
        if ends:
            for batch in self.batches.values():
                self._offer(batch, tries=self.settings.stage_out_rounds - 1)
        due: list[Action] = []
        busy = self._under_way()
        steps = sorted(self.batches.values(), key=lambda batch: batch.todo == "pack") if self.tight else None
        for batch in steps or self.batches.values():
            if self._when(batch, busy) <= now:
                batch.not_before = NEVER
                if self._is_hopeless(batch) and not ends:
                    batch.parked = True
                    continue
                busy[batch.todo] += 1
                due.append(self._next(batch, now))
        return [*due, *self._removal()]

    def _removal(self) -> Iterator[RemoveFiles]:
        """Of what is needed no more, one at a time."""
        if not self.removing:
            files, size_bytes = self.leftovers.take()
            self.removing = bool(files) and not self.settings.keep_outputs
            if self.removing:
                yield RemoveFiles(files=files, size_bytes=size_bytes)

    def _under_way(self) -> Counter[str]:
        """How many batches are at each step."""
        return Counter(batch.todo for batch in self.batches.values() if batch.not_before == NEVER and not batch.parked)

    def _when(self, batch: Batch, busy: Counter[str]) -> float:
        """When its step may begin; never, as long as it has to wait until others have ended: for room where that is
        tight, or for wires."""
        if batch.todo == "report":
            return batch.not_before
        if self.tight:
            return NEVER if busy["pack"] + busy["store"] else batch.not_before
        if batch.todo == "pack":
            return batch.not_before
        most = min(self.settings.transfers_at_once, STORES_IN_HASTE if self.in_haste else NEVER)
        if busy["store"] >= most:
            return NEVER
        return batch.not_before if self.in_haste else max(batch.not_before, self._wire_free_at)

    def _is_hopeless(self, batch: Batch) -> bool:
        """Whether every storage has said no often enough."""
        return batch.todo == "store" and batch.tries >= self.settings.stage_out_rounds

    @staticmethod
    def _offer(batch: Batch, tries: int) -> None:
        """Once more, to all storages, if it was given up on."""
        if batch.parked:
            batch.parked, batch.tries, batch.rse, batch.closed, batch.not_before = False, tries, 0, frozenset(), 0.0

    @property
    def last_output_counts(self) -> bool:
        """Whether the last output could change what is due: it is the first of its archive, or there are enough."""
        return len(self._outputs) == 1 or self._enough()

    def is_earlier(self, than: float, now: float) -> bool:
        """Whether outputs are due so much earlier than an alarm rings that another one is worth its while."""
        return self._late_at() < than - max(1.0, 0.1 * (than - now))

    def alarm(self) -> float:
        """When something will be due by time alone."""
        first = self._late_at()
        busy = self._under_way()
        return min([first, *(self._when(batch, busy) for batch in self.batches.values())])

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

    def stored(self, key: str, url: str, rse: int) -> None:
        """An archive is at its destination."""
        batch = self.batches[key]
        assert batch.archive is not None, "stored before it was packed"
        batch.archive = FileCopy(key, batch.archive.size_bytes, batch.archive.adler32, url)
        batch.stored_at = self.settings.destinations()[rse]
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

    def booked(self, key: str, at: float, event_range_ids: Collection[str]) -> None:
        """The server has booked these ranges of a batch: its archive, if it has one, is staged."""
        batch = self.batches[key]
        if batch.archive is not None:
            self.staged[batch.archive.lfn] = batch.archive
            share = len(event_range_ids) / len(batch.event_range_ids)
            members = [member for member in batch.members if member.event_range_id in event_range_ids]
            self.leftovers.booked(members, int(batch.size_bytes * share))
            if batch.began and not batch.was_disturbed:
                self.pace.measured(batch.archive.size_bytes, at - batch.began)

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
        if batch.archive is not None and batch.archive.lfn in self.staged and not self._holds(batch.archive):
            self.leftovers.archive_booked(batch.archive.lfn, batch.archive.size_bytes)

    def _holds(self, archive: FileCopy) -> bool:
        """Whether there are ranges in it that are yet to be reported."""
        return any(batch.archive == archive for batch in self.batches.values())

    def failed(self, key: str, at: float, error_code: int, why: str) -> None:
        """A step did not succeed, and is tried again after a pause; an archive without room at once, in halves."""
        batch = self._met(key, error_code, why)
        if batch.todo == "pack" and error_code == PilotErrorCode.NOLOCALSPACE:
            self.tight = True
            if len(batch.event_range_ids) > 1:
                self._halve(batch)
                return
        batch.tries += 1
        pause = pause_s(self.settings.retry_pause_s, batch.tries)
        batch.not_before = at + pause * (1 - self.settings.retry_jitter * chance(key, batch.tries))

    def _halve(self, batch: Batch) -> None:
        """Two archives in place of one that could not be made; its name may have been that of a range that was lost."""
        del self.batches[batch.key]
        half = len(batch.event_range_ids) // 2
        share = half / len(batch.event_range_ids)
        for ids, part in ((batch.event_range_ids[:half], share), (batch.event_range_ids[half:], 1 - share)):
            key, members = (
                archive_name(ids[0], self.settings.archive_format),
                tuple(m for m in batch.members if m.event_range_id in ids),
            )
            size_bytes, value_s = int(batch.size_bytes * part), batch.value_s * part
            part_of_it = replace(batch, key=key, event_range_ids=ids, members=members, size_bytes=size_bytes)
            self.batches[key] = replace(part_of_it, value_s=value_s)

    def store_failed(self, key: str, at: float, error_code: int, why: str, *, final: bool) -> None:
        """Another storage is tried at once; after the last one all again that may yet take it, after a pause."""
        batch = self._met(key, error_code, why)
        if final:
            batch.closed |= {batch.rse}
        open_ones = [rse for rse in range(self._rses) if rse not in batch.closed]
        later = [rse for rse in open_ones if rse > batch.rse]
        if later:
            batch.rse = later[0]
        elif open_ones:
            batch.rse = open_ones[0]
            self.failed(key, at, error_code, why)
        else:
            batch.tries = self.settings.stage_out_rounds  # nobody is left to ask

    def _met(self, key: str, error_code: int, why: str) -> Batch:
        batch = self.batches[key]
        batch.not_before, batch.met, batch.was_disturbed = 0.0, why, True
        if batch.members:  # failed ranges are reported with what they failed of
            batch.error_code, batch.why = error_code, why
        return batch

    @property
    def _rses(self) -> int:
        return len(self.settings.destinations())

    @staticmethod
    def _go_on(batch: Batch, todo: str) -> None:
        batch.todo, batch.tries, batch.not_before = todo, 0, 0.0

    def _collect(self, now: float, flush: bool) -> None:
        """Put what waits into batches, when it is enough, or time, or the end."""
        while self._outputs and (flush or self._enough() or self._late_at() <= now):
            why = "" if flush or self._enough() else self._why_now()
            taken = self._take_outputs(now)
            key = archive_name(next(iter(taken)), self.settings.archive_format)
            self.batches[key] = batch = Batch(key, tuple(taken), "pack", members_of(taken), packed_why=why)
            batch.size_bytes = sum(output.size_bytes for output in taken.values())
            batch.value_s = sum(output.value_s for output in taken.values())
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
        """When the oldest output has waited long enough, or all together are worth an archive."""
        if not self._outputs:
            return NEVER
        late_at = next(iter(self._outputs.values())).at + self.settings.zip_time_gap_s
        if self.settings.stage_out_by == "gap":
            return late_at
        return min(late_at, self.exposure.due_at(self._price_s, self.settings.node_lifetime_s))

    @property
    def _price_s(self) -> float:
        return self.pace.archive_s + self.settings.archive_price_s

    def _why_now(self) -> str:
        """The reasoning, for the journal."""
        settings = self.settings
        if settings.stage_out_by == "gap":
            return ""
        waits = f"{self.exposure.value_s:.0f} s of work wait, an archive costs {self._price_s:.1f} s"
        return f"{waits}, a node lives {settings.node_lifetime_s:.0f} s, the gap is {settings.zip_time_gap_s:.0f} s"

    def _take_outputs(self, now: float) -> Mapping[str, Output]:
        """The first outputs, as many as one archive may hold: the oldest ones, or in haste the most valuable ones."""
        taken: dict[str, Output] = {}
        size_bytes = 0
        most_bytes = self._archive_bytes if self.in_haste else self.settings.zip_max_bytes
        for event_range_id, output in self._outputs.items():
            if len(taken) >= self.settings.zip_max_ranges or (taken and size_bytes >= most_bytes):
                break
            taken[event_range_id] = output
            size_bytes += output.size_bytes
        for event_range_id in taken:
            del self._outputs[event_range_id]
        self._size_bytes -= size_bytes
        lifetime_s = self.settings.node_lifetime_s
        self.exposure.add(-sum(output.value_s for output in taken.values()), now, lifetime_s)
        self.exposure.forget(now, lifetime_s)
        return taken

    def _next(self, batch: Batch, now: float) -> Action:
        """The step that a batch waits for, or the word that it is given up."""
        if batch.todo == "report":
            if batch.tries >= self.settings.report_attempts:
                why = f"no answer to {batch.tries} reports: {batch.met}"
                return Note(fact=ReportGivenUp(key=batch.key, why=why))
            return ReportRanges(key=batch.key, report=batch.report())
        no_room = batch.todo == "pack" and batch.error_code == PilotErrorCode.NOLOCALSPACE  # no storage said no
        if batch.tries >= (self.settings.report_attempts if no_room else self.settings.stage_out_rounds):
            code = batch.error_code or PilotErrorCode.STAGEOUTFAILED
            return Note(fact=ArchiveRefused(lfn=batch.key, error_code=code, why=batch.why))
        if batch.todo == "pack":
            batch.began = batch.began or now
            return PackOutputs(lfn=batch.key, members=batch.members, why=batch.packed_why)
        assert batch.archive is not None, "to be stored before it was packed"
        batch.rse = min(batch.rse, self._rses - 1)  # a job may be taken up again with fewer storages
        size_bytes, adler32 = batch.archive.size_bytes, batch.archive.adler32
        if self.settings.store_bytes_per_s:
            self._wire_free_at = max(now, self._wire_free_at) + size_bytes / self.settings.store_bytes_per_s
        return StoreArchive(lfn=batch.key, rse=batch.rse, size_bytes=size_bytes, adler32=adler32, goes=self.tight)
