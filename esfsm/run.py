"""The loop: inbox -> journal -> core -> perform. One thread, one page.

A fact is written down first; what it leads to is decided by the core, and done elsewhere; the answer is a fact.
"""

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from threading import Thread, current_thread, main_thread
from types import FrameType
from uuid import uuid4

from loguru import logger

from esfsm import plugins
from esfsm.core.actions import Action
from esfsm.core.engine import Engine
from esfsm.core.facts import Fact, JobResumed, Preempted
from esfsm.errors import UnreadableJob, UnusableInput
from esfsm.inbox import Clock, Inbox
from esfsm.journal import Header, Journal
from esfsm.model.job import Job
from esfsm.model.outcome import Outcome, OutputFile
from esfsm.model.queuedata import QueueData
from esfsm.model.settings import Settings
from esfsm.perform import Performer

__all__ = ["JOURNAL", "read_job", "run_workflow"]

logger.disable("esfsm")  # silent until somebody says logger.enable("esfsm")

JOURNAL = "journal.jsonl"
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

Watch = Callable[[Fact, Engine], None]


def run_workflow(
    job: Job | Mapping[str, object] | Path | str,
    *,
    workdir: Path | str | None = None,
    settings: Mapping[str, object] | Settings | None = None,
    config: Path | None = None,
    watch: Watch | None = None,
) -> Outcome:
    """Run one job to its end; run it again with the same work directory to resume it.

    `job`: a Job, PanDA's dictionary, or the path of a file with one. `workdir`: default `PanDA_Pilot-<PandaID>` here.
    `settings`: the arguments among the settings (environment, queue data and the file `config` come below them), or a
    whole `Settings`. `watch(fact, engine)` is called after each fact, for those who want to see it live.

    Raises `UnusableInput` when something that was given cannot be used, `JournalError` when the journal cannot be
    written or is not this job's. SIGTERM and SIGINT stop the job with all finished work safe.
    """
    job, found = read_job(job)
    given, said_by = _settings(job, settings, {"input_url": str(found)}, config)
    place = Path(workdir or f"PanDA_Pilot-{job.panda_id}").absolute()
    table = plugins.workflow(given.workflow or job.kind.value)
    for directory in (place, found):
        if not str(directory).isprintable():  # no UTF-8, or a line break: neither journal nor payload could say it
            raise UnusableInput(f"the name of the directory {str(directory)!r} cannot be printed")
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnusableInput(f"work directory {place}: {error.strerror}") from None
    told = given.model_dump(mode="json")
    digest = f"{table.digest}-{plugins.held()['event-range'].digest}"
    header = Header(job.panda_id, uuid4().hex, table.name, digest, dict(job.definition), told)
    with Journal.open(place / JOURNAL, header) as journal:
        engine = Engine(table, plugins.held(), Settings.model_validate(journal.header.settings))
        loop = _Loop(journal, engine, Inbox(Clock()), given.sync, watch)
        loop.remember()
        if not engine.ended or engine.resumable:
            performer = Performer(job, place, given, said_by, journal.header.run, loop.inbox)
            try:
                performer.open()
                loop.run(performer, told)
            finally:
                performer.close()
        return _outcome(job, engine, journal.path)


def read_job(job: Job | Mapping[str, object] | Path | str) -> tuple[Job, Path]:
    """The job, and the directory where its inputs are looked for. Raises `UnreadableJob`."""
    if isinstance(job, Job):
        return job, Path.cwd()
    if isinstance(job, Mapping):
        return Job.read(job), Path.cwd()
    path = Path(job)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UnreadableJob(error.strerror or str(error), str(path)) from None
    return Job.read(content, source=str(path)), path.absolute().parent


class _Loop:
    """Facts from the inbox through journal and core to the performer, until the job has ended."""

    def __init__(self, journal: Journal, engine: Engine, inbox: Inbox, sync: str, watch: Watch | None) -> None:
        self._journal, self._engine, self.inbox = journal, engine, inbox
        self._sync, self._watch = sync, watch
        self._log = logger.bind(panda_id=journal.header.panda_id)

    def remember(self) -> None:
        """Tell the core all that the journal holds; what it decided then has been begun, or will be again."""
        self._engine.begin()
        for entry in self._journal.entries:
            decided = self._engine.receive(entry.fact)
            if decided and entry.then is None:
                self._journal.decided(entry.number, {entry.number: decided})

    def run(self, performer: Performer, settings: Mapping[str, object]) -> None:
        """Begin the job or take it up again, and go on until it has ended."""
        engine = self._engine
        if self._journal.entries:
            performer.end_orphans()
            self._hear([JobResumed(settings=settings)])
        with self._stop_requests():
            for action in engine.outstanding():
                performer.start(action)
            while not engine.ended:
                for action in self._hear(self.inbox.take()):
                    performer.start(action)

    def _hear(self, facts: Sequence[Fact]) -> list[Action]:
        """Write facts down, then decide; returns what is to be done."""
        entries = self._journal.append(facts, self.inbox.clock.now())
        if not entries:
            return []
        if self._sync == "always":
            self._journal.sync()
        decisions: dict[int, tuple[Action, ...]] = {}
        for entry in entries:
            decisions[entry.number] = self._engine.receive(entry.fact)
            self._log.info("{} -> {}", entry.fact.name, self._engine.state)
            if self._watch is not None:
                self._watch(entry.fact, self._engine)
        if any(decisions.values()):
            self._journal.decided(entries[-1].number, decisions)
        actions = [action for decided in decisions.values() for action in decided]
        if self._sync != "never" and any(action.outside for action in actions):
            self._journal.sync()
        return actions

    @contextmanager
    def _stop_requests(self) -> Iterator[None]:
        """SIGTERM and SIGINT are facts while the job runs; Python hears them in its main thread only.

        A handler may interrupt `take` just before it waits, and nothing that it does there would be noticed. So it
        only tells a thread, by a queue that may be interrupted by itself.
        """
        if current_thread() is not main_thread():
            yield
            return
        requests: SimpleQueue[int] = SimpleQueue()

        def ask(number: int, _: FrameType | None) -> None:
            requests.put(number)

        def listen() -> None:
            while number := requests.get():
                self.inbox.put(Preempted(why=f"a stop was asked for by {signal.Signals(number).name}"))

        Thread(target=listen, name="stop requests", daemon=True).start()
        before = {number: signal.signal(number, ask) for number in STOP_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            requests.put(0)


def _settings(
    job: Job, settings: Mapping[str, object] | Settings | None, defaults: Mapping[str, str], config: Path | None
) -> tuple[Settings, dict[str, str]]:
    """All layers on each other; `defaults` are known only here and give way to anything that was said."""
    if isinstance(settings, Settings):
        return settings, dict.fromkeys(settings.model_fields_set, "argument")
    queuedata = QueueData.read({}, job.overwrite_queuedata) if job.overwrite_queuedata else None
    given, said_by = Settings.layered(settings, queuedata, config)
    update = {key: value for key, value in defaults.items() if key not in said_by}
    for place in ("input_url", "output_url", "failover_url"):
        url = update.get(place, getattr(given, place))
        if url is not None and "://" not in url:
            update[place] = str(Path(url).absolute())  # a job may be resumed from elsewhere
    return given.model_copy(update=update), said_by


def _outcome(job: Job, engine: Engine, journal: Path) -> Outcome:
    """What there is to say at the end."""
    error_code, why = engine.trouble
    counts = engine.ranges.ledger.counts()
    sentence = f"{engine.state}: {why}" if why else engine.state
    if counts:
        sentence += "; event ranges: " + ", ".join(f"{n} {state}" for state, n in counts.items())
    if engine.ranges.strange:
        sentence += f"; {engine.ranges.strange} results were for ranges that the payload did not have"
    return Outcome(
        panda_id=job.panda_id,
        state=engine.state,
        path=engine.path,
        sentence=sentence,
        exit_code={"done": 0, "stopped": 3}.get(engine.state, 1),
        pilot_error_code=error_code,
        payload_exit_code=engine.exit_code,
        ranges=counts,
        events=engine.ranges.ledger.events_finished,
        outputs=tuple(
            OutputFile(lfn=o.lfn, size_bytes=o.size_bytes, adler32=o.adler32, url=o.url) for o in engine.outputs
        ),
        journal=journal,
    )
