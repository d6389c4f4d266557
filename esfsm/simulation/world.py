"""One simulated world: a task, its server, and pilots one after another until every event range has come to an end."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random

from esfsm.core import actions as a
from esfsm.core.engine import Engine
from esfsm.core.facts import JobKilled, Preempted
from esfsm.core.workflow import Workflow
from esfsm.errors import JournalError
from esfsm.journal.formats import Header
from esfsm.journal.writer import Journal
from esfsm.loop import Loop
from esfsm.model.job import Job
from esfsm.model.settings import Settings
from esfsm.perform import Performer
from esfsm.simulation.agenda import Agenda, Killed, Life, SimInbox, SimPool
from esfsm.simulation.disk import Disk, SimFile, disk_broken, disk_full
from esfsm.simulation.equipment import Client, SimEquipment, SimTransfers, Storages
from esfsm.simulation.executor import SimExecutor
from esfsm.simulation.payload import OUTPUT, Habits, SimPayload, Truth
from esfsm.simulation.server import HABITS, TASK_ID, Server
from esfsm.simulation.weather import CALM, Weather, pick

__all__ = ["JobRun", "World"]

FIRST_PANDA_ID = 7_000_000_001
MOST_JOBS = 8
MOST_LIVES = 12


@dataclass
class JobRun:
    """One job of the world, through all the lives of its engine."""

    panda_id: int
    disk: Disk
    job: Job
    settings: Settings
    payloads: list[SimPayload] = field(default_factory=list)
    lives: int = 0
    engine: Engine | None = None
    """As the last life left it."""
    goes_well: bool = False
    """This life is not to be its engine's end, nor its disk's."""
    abandoned: bool = False
    ended: bool = False


class World:
    """Everything that one seed makes."""

    def __init__(
        self,
        seed: int,
        workflow: Workflow,
        held: Mapping[str, Workflow],
        *,
        most_ranges: int,
        fewest_ranges: int = 1,
        weather: Weather | None = None,
        trouble: Callable[[str], None] | None = None,
    ) -> None:
        """`weather` and `trouble`, where they are given, stand in for what is drawn.

        `trouble` is called before each write and sync of a disk ("write", "sync"), each store and each call of the
        server (by the name of the action), and raises OSError for those that are to fail.
        """
        self.chance = chance = Random(seed)
        self.workflow, self.held = workflow, held
        self.weather = weather or Weather.drawn(chance)
        self.agenda = Agenda()
        self.ranges = round(pick(chance, fewest_ranges, most_ranges))
        self.server = Server(chance, self.ranges, chance.choice(HABITS))
        self._trouble = trouble or self._disk_fails
        self.storages = Storages(chance, self._trouble)
        self.truth = Truth()
        self.jobs: list[JobRun] = []
        self._range_s = pick(chance, 0.01, 1000.0)
        self._cores = chance.choice((1, 1, 2, 8))

    def run(self) -> None:
        """One job after another, until nothing is left to be handed out."""
        while (self.server.ready or not self.jobs) and len(self.jobs) < MOST_JOBS:
            if len(self.jobs) >= MOST_JOBS // 2:
                self.weather = CALM
            self._run_job(FIRST_PANDA_ID + len(self.jobs))

    def _run_job(self, panda_id: int) -> None:
        """One job, through kills and resumes, to its end; or to its being abandoned."""
        chance, weather = self.chance, self.weather
        job = JobRun(panda_id, Disk(chance, self._trouble), _definition(panda_id), self._settings())
        self.jobs.append(job)
        self.server.jobs[panda_id] = "starting"
        while not job.ended and not job.abandoned:
            job.goes_well = job.lives >= MOST_LIVES
            self._live(job, None if job.goes_well else self._steps())
            if not job.ended and not job.goes_well and chance.random() < weather.abandoned:
                self._abandon(job)
        if job.engine is not None and job.engine.final.unreported:
            self._forget(job)

    def _steps(self) -> int | None:
        """After how many steps an engine is killed, if it is."""
        if self.chance.random() >= self.weather.engine_killed:
            return None
        return 1 + int(pick(self.chance, 1, 20 * self.ranges + 100))

    def _live(self, job: JobRun, steps: int | None) -> None:
        """One life of an engine, until it ends, is killed, or cannot write its journal."""
        life = Life(steps)
        job.lives += 1
        try:
            engine = self._begin(job, life)
            job.ended = True
            job.engine = engine
        except (Killed, JournalError):
            life.killed = True
        life.over = True
        self._after(job)

    def _begin(self, job: JobRun, life: Life) -> Engine:
        chance, agenda = self.chance, self.agenda
        offset_s = pick(chance, 1, 1e6) - 5e5 if job.lives > 1 and chance.random() < self.weather.clock_jumps else 0.0
        inbox = SimInbox(agenda, life, offset_s)
        header = Header(job.panda_id, f"run{job.panda_id}", self.workflow.name, "simulated", {}, job.settings)
        journal = Journal(SimFile(job.disk, life), header)
        engine = Engine(self.workflow, self.held, journal.header.settings)
        loop = Loop(journal, engine, inbox)
        loop.remember()
        if engine.ended and not engine.resumable:
            return engine
        equipment = self._equipment(job, life)
        pool = SimPool(agenda, life, self._lasts)
        performer = Performer(equipment, inbox, (pool, pool))
        if chance.random() < self.weather.stop_request and not job.payloads:
            stop = Preempted(why="a stop was asked for")
            agenda.after(pick(chance, 1, 10 * self._range_s * self.ranges), lambda: inbox.put(stop), life)
        if chance.random() < self.weather.killed_by_server:
            agenda.after(pick(chance, 1, 10 * self._range_s * self.ranges), lambda: self._kill_job(job, inbox), life)
        loop.run(performer, job.settings)
        journal.close()
        return engine

    def _equipment(self, job: JobRun, life: Life) -> SimEquipment:
        client = Client(self.server, job.panda_id, self.chance, self.weather, self._trouble)
        transfers = SimTransfers(job.job, job.settings, job.disk, self.storages, self.truth, self.weather)

        def begin() -> SimPayload:
            tools = (self.agenda, self.chance, self.weather, job.disk, self.truth)
            job.payloads.append(SimPayload(*tools, self._habits(), pid=1000 + len(job.payloads)))
            return job.payloads[-1]

        executor = SimExecutor(self.agenda, life, job.settings, begin, lambda: job.payloads)
        run = f"run{job.panda_id}"
        return SimEquipment(job.job, job.settings, run, client, transfers, executor, job.disk, self._cores)

    def _habits(self) -> Habits:
        chance, gives_up, dies = self.chance, self.weather.gives_up, self.weather.payload_dies
        return Habits(
            self._cores,
            begins_s=lambda: pick(chance, 0.1, 60.0),
            ends_s=lambda: pick(chance, 1e-4, 10.0),
            takes_s=lambda _: pick(chance, 0.5, 2.0) * self._range_s,
            dies=lambda: (pick(chance, 0.1, 3600.0), chance.choice((1, -9, 0))) if chance.random() < dies else None,
            gives_up=lambda _: chance.random() < gives_up,
        )

    def _after(self, job: JobRun) -> None:
        """What is left when an engine has gone."""
        chance, weather = self.chance, self.weather
        power = not job.ended and chance.random() < weather.power_fails
        if power:
            job.disk.power_fails()
        for payload in job.payloads:
            if payload.exit_code is None and not job.ended and (power or chance.random() >= weather.payload_survives):
                payload.ear = None
                payload.end(-9)
        if not job.ended:
            self._wait(pick(chance, 0.1, 10000.0))

    def _abandon(self, job: JobRun) -> None:
        """The machine is gone; after hours the server gives its ranges to others."""
        job.abandoned = True
        for payload in job.payloads:
            payload.ear = None
            payload.end(-9)
        self._forget(job)

    def _forget(self, job: JobRun) -> None:
        """Nobody says anything about it any more."""
        self._wait(7200.0)
        self.server.lost_heartbeat(job.panda_id)

    def _wait(self, seconds: float) -> None:
        """Time goes on without an engine."""
        until = self.agenda.now + seconds
        while self.agenda.next_in(until - self.agenda.now):
            pass
        self.agenda.now = until

    def _kill_job(self, job: JobRun, inbox: SimInbox) -> None:
        self.server.commands[job.panda_id] = "tobekilled"
        inbox.put(JobKilled(why="the server says tobekilled"))

    def _disk_fails(self, what: str) -> None:
        """The trouble of a world to which none was given; calls and stores have theirs from the weather."""
        if what not in ("write", "sync") or self.jobs[-1].goes_well:
            return
        if self.chance.random() < self.weather.disk_full / 10 and what == "write":
            raise disk_full()
        if self.chance.random() < self.weather.disk_broken / 10:
            raise disk_broken()

    def _lasts(self, action: a.Action) -> float:
        """How long an action takes, in seconds."""
        return pick(self.chance, 0.001, 10.0)

    def _settings(self) -> Settings:
        chance = self.chance
        return Settings(
            zip_max_ranges=chance.choice((1, 3, 10, 100)),
            zip_time_gap_s=pick(chance, 1, 10000),
            failover_url=chance.choice((None, "sim://1")),
            output_url="sim://0",
            stage_out_rounds=chance.choice((1, 3, 10)),
            report_attempts=20,
            grace_s=pick(chance, 1, 1000),
            sync=chance.choice(("effects", "effects", "always")),
        )


def _definition(panda_id: int) -> Job:
    return Job.read(
        {
            "PandaID": panda_id,
            "taskID": TASK_ID,
            "jobsetID": 1,
            "eventService": "True",
            "transformation": "simulated.py",
            "outFiles": OUTPUT,
        }
    )
