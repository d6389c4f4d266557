"""The world around a journal that was cut: a server, a storage, a disk and payloads that do as they are asked.

What is left of the journal has happened. What answers, behind the cut, an action that was asked for before it, may have
happened as well, and nobody was there to hear it. The payload may have outlived its engine.
"""

from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from crash.broker import Broker
from crash.recorded_job import Cut, RecordedJob

from esfsm.core import actions as a
from esfsm.core import facts as f
from esfsm.core.engine import Engine
from esfsm.equipment import Equipment, SeenFile
from esfsm.errors import PilotErrorCode
from esfsm.model.event_range import EventRange
from esfsm.ports import Hooks, Orphan, Payload, ProcessIdentity

__all__ = ["Archive", "Tools", "World"]

PLACE = Path("/simulated")
WANTED = 2
"""Ranges that a payload asks for at a time."""


class File(NamedTuple):
    """A file of the work directory: what tells its bytes from others, and when it was changed last."""

    content: str
    stamp: int


class Archive(NamedTuple):
    """What is stored under a name: of each range, or output, the content."""

    contents: tuple[tuple[str, str], ...]
    size_bytes: int
    adler32: str

    @classmethod
    def of(cls, contents: Sequence[tuple[str, str]]) -> "Archive":
        return cls(tuple(contents), 1000 * len(contents), f"{crc32(repr(contents).encode()):08x}")


class World:
    """Everything but the engine and its journal: what is where, and who moves it, runs it and books it."""

    def __init__(self, recorded: RecordedJob, cut: Cut) -> None:
        self.job, self.run = recorded.job, recorded.header.run
        self.faults: list[str] = []
        past, future = recorded.steps[1 : cut.facts + 1], recorded.steps[cut.facts + 1 :]
        self.broker = Broker(recorded.granted)
        self.files: dict[str, File] = {}
        self.archives: dict[str, Archive] = {}
        self.storage: dict[tuple[int, str], Archive] = {}
        self.outlived = cut.outlived
        """Whether the payload, if there is one, lives without an engine."""
        self.sent: list[str] = []
        """The ranges that it was sent, or has even processed, and nobody heard of it."""
        self.has_run = False
        """Whether a payload ran since this was set last."""
        self.given_back: set[str] = set()
        """The ranges that were released up to now."""
        self._stamps, self._pids = count(1), count(1)
        for step in past:
            self._happened(step.fact, step.answered)
        now = recorded.steps[cut.facts]
        self.promised = set(now.promised)
        """As in `Step`, without those whose outputs have vanished."""
        if cut.unheard:
            granted = frozenset(self.broker.rows)
            for step in future:
                if step.fact is not None and step.fact.answers in now.outstanding:
                    self._unheard(step.fact, step.answered, granted)

    # --- before the engine --------------------------------------------------------------------------------------

    def _happened(self, fact: f.Fact | None, answered: a.Action | None) -> None:
        """What a fact says is so out here, too."""
        match fact, answered:
            case f.RangesGranted(), a.RequestRanges():
                self.broker.hand_out(f"{self.run}.{answered.request}", fact.event_ranges)
            case f.OutputProduced(), _:
                for path, stamp in zip(fact.paths, fact.stamps, strict=True):
                    self.files[path] = File(f"{path} as recorded", stamp)
            case f.PayloadFinished(), a.RunPayload():
                self._write_outputs("as recorded")
            case f.OutputsPacked(), a.PackOutputs():
                kept = [member for member in answered.members if member.event_range_id not in fact.lost]
                contents = tuple((m.event_range_id, self.files[m.path].content) for m in kept)
                self.archives[answered.lfn] = Archive(contents, fact.size_bytes, fact.adler32)
            case f.ArchiveStored(), a.StoreArchive():
                self.storage[answered.rse, answered.lfn] = self.archives[answered.lfn]
            case f.OutputsStaged(), a.StageOut():
                self.stage_out()
            case f.RangesAcknowledged(), a.ReportRanges():
                self.broker.book(answered.report, {*fact.refused, *fact.doubted, *fact.unheard})
            case f.JobReported(), a.ReportJob():
                self.broker.update_job(answered.report)
            case f.RangesReleased(), _:
                self.given_back.update(fact.event_range_ids)
            case f.PayloadStarted(), _:
                self.broker.is_over = False

    def _unheard(self, fact: f.Fact, answered: a.Action | None, granted: frozenset[str]) -> None:
        """The same, where nobody heard of it. What vanished is gone; what was `granted` may have been handed out."""
        match fact, answered:
            case f.OutputProduced(), _:
                if not self.files.keys() & {*fact.paths}:
                    self._happened(fact, answered)
            case f.RangesSent(), _:
                self.sent += [i for i in fact.event_range_ids if i in granted]
            case f.ReportUnanswered(), a.ReportRanges():
                self.broker.book(answered.report)
            case f.OutputsPacked(), a.PackOutputs():
                for member in answered.members:
                    if member.event_range_id in fact.lost:
                        self.files.pop(member.path, None)
                self.promised.difference_update(fact.lost)
                self._happened(fact, answered)
            case _:
                self._happened(fact, answered)

    # --- transfers ----------------------------------------------------------------------------------------------

    def stage_in(self) -> f.Fact:
        return f.InputsStaged()

    def unpack_archives(self) -> f.Fact:
        return f.ArchivesUnpacked(files=len(self.job.listed_files))

    def prove_merge(self) -> f.Fact:
        return f.MergeProven(event_ranges=len(self.job.listed_files), by="a simulated world")

    def pack_outputs(self, action: a.PackOutputs) -> f.Fact:
        lost = {m.event_range_id for m in action.members if self._is_lost(m)}
        kept = [(m.event_range_id, self.files[m.path].content) for m in action.members if m.event_range_id not in lost]
        archive = self.archives[action.lfn] = Archive.of(kept)
        return f.OutputsPacked(size_bytes=archive.size_bytes, adler32=archive.adler32, lost=tuple(sorted(lost)))

    def store_archive(self, action: a.StoreArchive) -> f.Fact:
        archive = self.archives.get(action.lfn)
        if archive is None or (archive.size_bytes, archive.adler32) != (action.size_bytes, action.adler32):
            return f.ArchiveLost(why="it is not what was packed")
        self._put(action.rse, action.lfn, archive)
        return f.ArchiveStored(url=f"sim://{action.rse}/{action.lfn}")

    def remove_files(self, action: a.RemoveFiles) -> f.Fact:
        stored = {content for archive in self.storage.values() for _, content in archive.contents}
        for name, stamp in action.files:
            if not stamp:
                self.archives.pop(name, None)
            elif not self._is_lost(a.Member("", "", name, stamp)) and self.files.pop(name).content not in stored:
                self.faults.append(f"{name} was removed, and no storage has it")
        return f.FilesRemoved()

    def pack_log(self, action: a.PackLog) -> f.Fact:
        return f.LogPacked(file=f.FileCopy(action.lfn, 1, "00010001", f"sim://{action.lfn}"), guid="1B2C")

    def stage_out(self) -> f.Fact:
        for spec in self.job.out_files:
            self._put(0, spec.lfn, Archive.of([(spec.lfn, self.files[spec.lfn].content)]))
        return f.OutputsStaged()

    def _is_lost(self, member: a.Member) -> bool:
        return member.path not in self.files or self.files[member.path].stamp != member.stamp

    def _put(self, rse: int, lfn: str, archive: Archive) -> None:
        """What is stored stays, under one name."""
        if self.storage.setdefault((rse, lfn), archive) != archive:
            self.faults.append(f"{lfn} was to be stored with other bytes")
        ids = {event_range_id for event_range_id, _ in archive.contents}
        for (_, other), held in self.storage.items():
            if other != lfn and ids & dict(held.contents).keys():
                self.faults.append(f"{lfn} has what {other} has already")

    # --- payloads -----------------------------------------------------------------------------------------------

    def start(self, payload: Payload, hooks: Hooks, *, event_service: bool) -> "Running":
        self.has_run = True
        running = Running(self, hooks)
        hooks.payload_started(ProcessIdentity(next(self._pids), 1))
        if event_service:
            hooks.ranges_wanted(WANTED)
        else:
            self._write_outputs("once more")
            running.end()
        return running

    def adopt(self, orphan: Orphan, payload: Payload, hooks: Hooks) -> "Running | None":
        if not self.outlived:
            return None
        self.outlived, self.has_run = False, True
        hooks.ranges_wanted(WANTED)
        return Running(self, hooks, tuple(dict.fromkeys([*orphan.in_hand, *self.sent])))

    def end_orphan(self, mark: str, workdir: Path, identity: ProcessIdentity | None = None) -> bool:
        was_alive, self.outlived = self.outlived, False
        return was_alive

    def write(self, path: str, content: str) -> None:
        self.files[path] = File(content, next(self._stamps))

    def _write_outputs(self, how: str) -> None:
        for spec in self.job.out_files:
            self.write(spec.lfn, f"{spec.lfn} {how}")


class Running:
    """A payload that processes a range as soon as it gets it; what it has in hand comes first, and late."""

    def __init__(self, world: World, hooks: Hooks, in_hand: tuple[str, ...] = ()) -> None:
        self._world, self._hooks, self._in_hand, self._over = world, hooks, in_hand, False

    def stock(self, event_ranges: Sequence[EventRange], last: bool) -> None:
        if self._over:
            return
        for event_range_id in self._in_hand:
            self._process(event_range_id)
        self._in_hand = ()
        for event_range in event_ranges:
            self._hooks.ranges_sent([event_range.event_range_id])
            self._process(event_range.event_range_id)
        if last:
            self.end()
        else:
            self._hooks.ranges_wanted(WANTED)

    def _process(self, event_range_id: str) -> None:
        path = f"HITS.{event_range_id}"
        self._world.write(path, f"{path} once more")
        self._hooks.output_produced(event_range_id, [path], 1.0, 1.0)

    def stop(self, grace_s: float) -> None:
        if not self._over:
            self._over = True
            self._hooks.payload_ended(-15, PilotErrorCode.SIGTERM, "the payload was ended by SIGTERM")

    def wait(self, timeout_s: float) -> bool:
        return True

    def end(self) -> None:
        self._over = True
        self._hooks.payload_ended(0, 0, "")


class Tools(Equipment):
    """The tools of one job in such a world."""

    def __init__(self, world: World, engine: Engine) -> None:
        super().__init__(world.job, PLACE, engine.settings, {}, world.run)
        self.__dict__.update(transfers=world, executor=world, mark=world.run)
        self._opened, self._world = world.broker, world

    def select_executor(self) -> f.Fact:
        return f.ExecutorSelected(payload_executor=self.job.kind.value, executor_type="simulated", why="a test")

    def prepare_payload(self) -> Payload:
        return Payload((), PLACE, {}, PLACE, PLACE, mark=self.mark)

    def find(self, path: str) -> SeenFile:
        return SeenFile(path, 1000, self._world.files[path].stamp)
