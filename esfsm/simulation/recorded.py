"""The outside world of a recorded job, so that the same job can be run in it with other settings.

Taken from the journal: when the payload asked first, how long each event range took and how it ended, how large its
output was, how long each answer of server and storage took, when they were out of order, and who asked the job to stop
when. Kills of the engine are left out: a job is run here in one go.
"""

from bisect import bisect, insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from statistics import median

from esfsm.core import actions as a
from esfsm.core import facts as f
from esfsm.core.engine import Engine
from esfsm.journal.formats import Header
from esfsm.journal.writer import Journal
from esfsm.loop import Loop, Watch
from esfsm.model.job import Job
from esfsm.model.settings import Settings
from esfsm.perform import Performer
from esfsm.simulation.agenda import Agenda, Life, SimInbox, SimPool
from esfsm.simulation.disk import Disk, SimFile
from esfsm.simulation.equipment import Client, SimEquipment, SimTransfers, Storages
from esfsm.simulation.executor import SimExecutor
from esfsm.simulation.payload import Habits, SimPayload, Truth
from esfsm.simulation.server import Server
from esfsm.simulation.weather import CALM
from esfsm.views.elapsed import Elapsed

__all__ = ["Recorded"]

NEVER_S = 1e9
TROUBLE = {
    "store_archive": "store_failed",
    "report_ranges": "report_unanswered",
    "request_ranges": "request_unanswered",
}
"""By action, the answer that says that the other side was out of order."""


@dataclass(slots=True)
class _Range:
    """One event range as it went."""

    sent: float | None = None
    took_s: float | None = None
    failed: bool = False
    size_bytes: int = 1000


@dataclass
class Recorded:
    """What was outside, heard from a journal."""

    had_payload: bool = False
    ranges: dict[str, _Range] = field(default_factory=dict)
    stops: list[tuple[float, f.Preempted | f.JobKilled]] = field(default_factory=list)
    _time: Elapsed = field(default_factory=Elapsed)
    _asked: dict[int, tuple[float, a.Action]] = field(default_factory=dict)
    _took_s: dict[str, list[float]] = field(default_factory=dict)
    _changes: dict[str, list[tuple[float, bool]]] = field(default_factory=dict)
    """By action: from when on it was, or was not, in order; seconds since the beginning."""
    _begins_s: float = 1.0
    _dismissed: float | None = None
    _ends_s: float = 0.1
    _started: float = 0.0
    _starts_s: float = 0.001
    _death: tuple[float, int] | None = None

    def run(self, engine: Engine, header: Header, settings: Settings, watch: Watch) -> None:
        """Run the job of the journal in this world with these settings; `watch` hears each fact."""
        agenda, life, chance = Agenda(), Life(), Random(0)
        inbox = SimInbox(agenda, life)
        began = agenda.now

        def trouble(what: str) -> None:
            if not self._in_order(what, agenda.now - began):
                raise OSError("as it was recorded")

        disk = Disk(chance, trouble)
        server = Server(chance, len(self.ranges), "local")
        job = Job.read(header.job)
        server.jobs[job.panda_id] = "starting"
        truth = Truth()
        storages = Storages(chance, trouble)
        client = Client(server, job.panda_id, chance, CALM, trouble)
        transfers = SimTransfers(job, settings, disk, storages, truth, CALM)
        cores = settings.cores or job.core_count
        alive: list[SimPayload] = []

        def begin() -> SimPayload:
            alive.append(SimPayload(agenda, chance, CALM, disk, truth, self._habits(server, cores), pid=len(alive) + 1))
            return alive[-1]

        executor = SimExecutor(agenda, life, settings, begin, lambda: alive)
        pool = SimPool(agenda, life, self._lasts)
        equipment = SimEquipment(job, settings, header.run, client, transfers, executor, disk, cores)
        for after_s, stop in self.stops:
            agenda.after(after_s, lambda stop=stop: inbox.put(stop), life)  # type: ignore[misc]
        journal = Journal(SimFile(disk, life), header._replace(settings=settings))
        loop = Loop(journal, engine, inbox, watch)
        loop.remember()
        loop.run(Performer(equipment, inbox, (pool, pool)), settings.model_copy(update={"sync": "never"}))

    def hear(self, fact: f.Fact, led_to: Sequence[a.Action]) -> None:
        """The next fact, and what it led to."""
        self._time.hear(fact.at)
        at_s = self._time.seconds
        asked, action = self._asked.pop(fact.answers, (at_s, None))
        if action is not None and fact.name in action.ended_by:
            self._took_s.setdefault(action.name, []).append(at_s - asked)
            if action.name in TROUBLE:
                insort(self._changes.setdefault(action.name, []), (asked, fact.name != TROUBLE[action.name]))
        elif action is not None:
            self._asked[fact.answers] = (asked, action)
        self._asked.update((new.number, (at_s, new)) for new in led_to)
        self._note(fact, at_s, asked)
        if any(isinstance(new, a.StockRanges) and new.last for new in led_to):
            self._dismissed = at_s

    def _note(self, fact: f.Fact, at_s: float, asked: float) -> None:
        match fact:
            case f.PayloadStarted():
                self.had_payload, self._started, self._starts_s = True, at_s, at_s - asked
            case f.RangesWanted() if not self.ranges:
                self._begins_s = at_s - self._started
            case f.RangesGranted():
                for event_range in fact.event_ranges:
                    self.ranges.setdefault(event_range.event_range_id, _Range())
            case f.RangesSent():
                for event_range_id in fact.event_range_ids:
                    if event_range_id in self.ranges:
                        self.ranges[event_range_id].sent = at_s
            case f.OutputProduced() | f.RangeErrored():
                went = self.ranges.get(fact.event_range_id)
                if went is not None and went.sent is not None and went.took_s is None:
                    went.took_s = at_s - went.sent
                    went.failed = isinstance(fact, f.RangeErrored)
                    went.size_bytes = getattr(fact, "size_bytes", 0)
            case f.PayloadFailed():
                self._death = (at_s - self._started, fact.exit_code or 0)
            case f.PayloadFinished():
                self._ends_s = at_s - (self._dismissed or at_s)
            case f.Preempted() | f.JobKilled():
                self.stops.append((at_s, fact))

    def _habits(self, server: Server, cores: int) -> Habits:
        """The nth range that is handed out goes as the nth went that was granted."""
        went = list(self.ranges.values())
        usual_s = median([one.took_s for one in went if one.took_s is not None] or [1.0])
        if self._death is not None:  # what it had not finished by then, it does not finish before
            usual_s = NEVER_S

        def of(event_range_id: str) -> _Range:
            return went[server.rows[event_range_id].position - 1]

        def takes_s(event_range_id: str) -> float:
            took_s = of(event_range_id).took_s
            return usual_s if took_s is None else took_s

        return Habits(
            cores,
            begins_s=lambda: self._begins_s,
            ends_s=lambda: max(self._ends_s, 0.001),
            takes_s=takes_s,
            dies=lambda: self._death,
            gives_up=lambda name: of(name).failed,
            size=lambda name: of(name).size_bytes,
        )

    def _lasts(self, action: a.Action) -> float:
        """What such an action usually took; a payload, until it ran."""
        if isinstance(action, a.RunEsPayload):
            return self._starts_s
        return median(self._took_s.get(action.name) or [0.001])

    def _in_order(self, name: str, at_s: float) -> bool:
        """Whether the other side of an action was in order at a time."""
        changes = self._changes.get(name, [])
        before = bisect(changes, (at_s, True))
        return changes[max(before - 1, 0)][1] if changes else True
