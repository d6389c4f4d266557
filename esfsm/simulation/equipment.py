"""What a simulated job works with: a client of the simulated server, transfers to simulated storages, an executor."""

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from random import Random

from esfsm.adapters.communicators.panda import PandaCommunicator
from esfsm.adapters.communicators.server import PandaServer
from esfsm.core import actions as a
from esfsm.core import facts as f
from esfsm.equipment import Equipment, SeenFile
from esfsm.errors import PilotErrorCode, WireError
from esfsm.model.job import Job
from esfsm.model.report import Grant
from esfsm.model.resources import Resources
from esfsm.model.settings import Settings
from esfsm.ports import Communicator, Executor, Payload, ProcessIdentity
from esfsm.simulation.disk import PLACE, Content, Disk, disk_full
from esfsm.simulation.payload import Truth
from esfsm.simulation.server import TASK_ID, Server
from esfsm.simulation.weather import Weather
from esfsm.transfers import Transfers
from esfsm.wire.panda.calls import Call, Reply
from esfsm.wire.panda.jobs import Consumer

__all__ = ["Client", "SimEquipment", "SimTransfers", "Storages"]

JOBSET_ID = 1
UPDATES = ("updateEventRanges", "update_event_ranges")
ACTIONS = {
    "getEventRanges": "request_ranges",
    "acquire_event_ranges": "request_ranges",
    "updateEventRanges": "report_ranges",
    "update_event_ranges": "report_ranges",
    "get_event_range_statuses": "report_ranges",
    "updateJob": "report_job",
    "update_job": "report_job",
}
"""What the methods of both generations are called for."""


class Client(PandaCommunicator):
    """The communicator for PanDA, at the simulated server, over a wire with troubles.

    `trouble` is asked before each call, by the name of the action that it is for; its OSError is a call that got lost.
    """

    def __init__(
        self, server: Server, panda_id: int, chance: Random, weather: Weather, trouble: Callable[[str], None]
    ) -> None:
        super().__init__(Consumer(panda_id, JOBSET_ID, TASK_ID), PandaServer(self._carry))
        self._server, self._chance, self._weather, self._trouble = server, chance, weather, trouble

    def get_event_ranges(self, n: int, request: str) -> Grant:
        """At most `n` ranges; only a broker that is asked for nothing else knows when there are no more."""
        self._server.request = request
        grant = super().get_event_ranges(n, request)
        return replace(grant, exhausted=self._server.habit == "local" and not self._server.ready)

    def _carry(self, call: Call) -> Reply:
        """One call: it may be lost, its reply may be lost, it may come twice, and the database may be down."""
        if (why := self._server.refuses(call)) is not None:
            return Reply(403, why.encode())
        method = call.path.rpartition("/")[2].partition("?")[0]
        action = ACTIONS[method]
        try:
            self._trouble(action)
        except OSError as error:
            raise WireError(str(error)) from None
        if self._happens(self._weather.request_lost):
            raise WireError("connection refused")
        if action == "request_ranges" and self._happens(self._weather.empty):
            return Reply(200, self._server.empty().encode())
        down = action != "report_job" and self._happens(self._weather.database_down)
        if down and method in UPDATES:
            return Reply(200, b'{"StatusCode": 0, "Returns": "[false]", "Command": "{}"}')
        rolled_back = method in UPDATES and self._happens(self._weather.rolled_back)
        if self._happens(self._weather.doubled):
            self._server.answer(call, rolled_back)
        status, body = self._server.answer(call, rolled_back)
        if self._happens(self._weather.answer_lost):
            raise WireError("timed out")
        if down and action == "request_ranges":
            return Reply(200, b'{"StatusCode": 30}')
        if method in UPDATES and self._happens(self._weather.null):
            body = body.replace("true", "null", 1)
        return Reply(status, body.encode())

    def _happens(self, probability: float) -> bool:
        return self._chance.random() < probability


class Storages:
    """All storages of a world: what is where. `trouble("store_archive")` raises OSError when one is out of order."""

    def __init__(self, chance: Random, trouble: Callable[[str], None]) -> None:
        self._chance, self._trouble = chance, trouble
        self.files: dict[tuple[int, str], Content] = {}
        self.digests: set[int] = set()
        """Of all that was ever stored."""

    def put(self, lfn: str, content: Content, rse: int, weather: Weather) -> f.ArchiveStored | f.StoreFailed:
        """Copy a file there. Other bytes under the same name are not touched."""
        try:
            self._trouble("store_archive")
        except OSError as error:
            return _store_failed(str(error))
        happens = self._chance.random
        if happens() < weather.store_refused:
            return _store_failed("no answer")
        held = self.files.setdefault((rse, lfn), content)
        self.digests.update(digest for _, digest in held.members)
        if held != content:
            return _store_failed("it has other bytes there")
        if happens() < weather.store_unheard:
            return _store_failed("connection reset")
        if happens() < weather.store_lies:
            return _store_failed("its checksum is another one there")
        return f.ArchiveStored(url=f"sim://{rse}/{lfn}")


class SimTransfers(Transfers):
    """Packs and stores on a simulated disk; there are no inputs."""

    def __init__(
        self, job: Job, settings: Settings, disk: Disk, storages: Storages, truth: Truth, weather: Weather
    ) -> None:
        super().__init__(job, PLACE, settings)
        self._weather = weather
        self._disk, self._storages, self._truth = disk, storages, truth

    def stage_in(self) -> f.Fact:
        """There are no inputs."""
        return f.InputsStaged()

    def pack_outputs(self, action: a.PackOutputs) -> f.Fact:
        """One archive of all members that are as they were announced."""
        packed = self._truth.archives[action.lfn]
        packed.jobs.add(self._job.panda_id)
        packed.event_range_ids.update(member.event_range_id for member in action.members)
        try:
            self._disk.trouble("write")
            if self._disk.chance.random() < self._weather.pack_fails:
                raise disk_full()
        except OSError as error:
            self._failed(action.lfn, len(self._rses))
            return f.PackFailed(error_code=PilotErrorCode.NOLOCALSPACE, why=str(error))
        stamps = self._disk.stamps
        lost = {m.event_range_id: None for m in action.members if stamps.get(m.path) != m.stamp}
        self._truth.spoiled.update(lost)
        kept = [m for m in action.members if m.event_range_id not in lost]
        if not kept:
            return f.OutputsPacked(size_bytes=0, adler32="00000001", lost=tuple(lost))
        members = tuple((m.name, self._disk.files[m.path].members[0][1]) for m in kept)
        content = Content(members, sum(self._disk.files[m.path].size_bytes for m in kept))
        self._disk.write(action.lfn, content, synced=True)
        return f.OutputsPacked(size_bytes=content.size_bytes, adler32=content.adler32, lost=tuple(lost))

    def pack_log(self, action: a.PackLog) -> f.Fact:
        """There is nothing to be told."""
        return f.LogPacked(file=f.FileCopy(action.lfn, 1, "00010001", f"sim://{action.lfn}"), guid="simulated")

    def store_archive(self, action: a.StoreArchive) -> f.Fact:
        """One archive to one storage."""
        content = self._disk.files.get(action.lfn)
        if content is not None and self._disk.chance.random() < self._weather.archive_rots:
            content = self._disk.files[action.lfn] = Content(content.members[1:], 10)
        if content is None or (content.size_bytes, content.adler32) != (action.size_bytes, action.adler32):
            self._failed(action.lfn, len(self._rses))
            return f.ArchiveLost(why=f"{action.lfn} is not what was packed")
        fact = self._storages.put(action.lfn, content, action.rse, self._weather)
        if isinstance(fact, f.StoreFailed):
            self._failed(action.lfn, 1)
        return fact

    def remove_files(self, action: a.RemoveFiles) -> f.Fact:
        """Files that are still what they were; whether they may go is looked up with the storages."""
        for file in action.files:
            if file.stamp in (0, self._disk.stamps.get(file.path)):
                content = self._disk.remove(file.path)
                if content and not self._storages.digests.issuperset(digest for _, digest in content.members):
                    self._truth.removed_early.append(file.path)
        return f.FilesRemoved()

    def _failed(self, lfn: str, storages: int) -> None:
        """Something failed at so many storages; when each failed as often as it may, the ranges may be failed.

        No engine counts more failures than happened, though one that was killed forgets some.
        """
        packed = self._truth.archives[lfn]
        packed.failures += storages
        if packed.failures >= self._settings.stage_out_rounds * len(self._rses):
            self._truth.spoiled |= packed.event_range_ids


class SimEquipment(Equipment):
    """The tools of one simulated job, for one life of its engine."""

    def __init__(
        self,
        job: Job,
        settings: Settings,
        run: str,
        communicator: Communicator,
        transfers: SimTransfers,
        executor: Executor,
        disk: Disk,
        cores: int,
    ) -> None:
        super().__init__(job, PLACE, settings, {}, run)
        self._communicator, self._transfers, self._executor = communicator, transfers, executor
        self._disk, self._cores = disk, cores

    @cached_property
    def mark(self) -> str:
        """One run, one place."""
        return self.run

    @cached_property
    def transfers(self) -> Transfers:
        """To simulated storages."""
        return self._transfers

    @property
    def communicator(self) -> Communicator:
        """A client of the simulated server."""
        return self._communicator

    @cached_property
    def executor(self) -> Executor:
        """Of simulated payloads."""
        return self._executor

    def check(self, *, granted: str | None = None) -> None:
        """All of it is there."""

    def select_executor(self) -> f.Fact:
        """There is one."""
        return f.ExecutorSelected(payload_executor="eventservice", executor_type="simulated", why="a simulated world")

    def prepare_payload(self) -> Payload:
        """What is to be run."""
        return Payload((), PLACE, {}, Path(), Path(), self._cores, self.mark)

    def measure(self, payload: ProcessIdentity) -> Resources:
        """Nobody measures here."""
        return Resources()

    def find(self, path: str) -> SeenFile:
        """A file that the payload names. Raises OSError."""
        if path not in self._disk.files:
            raise FileNotFoundError(f"there is no file {path}")
        return SeenFile(path, self._disk.files[path].size_bytes, self._disk.stamps[path])


def _store_failed(why: str) -> f.StoreFailed:
    return f.StoreFailed(error_code=PilotErrorCode.STAGEOUTFAILED, why=why)
