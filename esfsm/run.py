"""run_workflow and resume: one job from what the user gave, or from its work directory, to its outcome."""

from collections.abc import Callable, Mapping
from contextlib import closing
from math import inf
from pathlib import Path
from uuid import uuid4

from esfsm import plugins
from esfsm.core.engine import Engine
from esfsm.core.facts import TimeLimited
from esfsm.core.workflow import Workflow
from esfsm.equipment import Equipment
from esfsm.errors import UnusableInput, UnusableJournal
from esfsm.given import change_settings, read_job, read_settings
from esfsm.heartbeats import Heartbeats
from esfsm.inbox import Clock, Inbox
from esfsm.journal.file import JOURNAL
from esfsm.journal.formats import Header
from esfsm.journal.writer import Journal
from esfsm.lifetimes import remember
from esfsm.loop import Loop, Watch
from esfsm.model.job import Job, JobKind
from esfsm.model.outcome import Outcome
from esfsm.model.settings import Settings
from esfsm.perform import Performer
from esfsm.stops import notices, stop_requests
from esfsm.views.outcome import outcome

__all__ = ["Equip", "resume", "run_with", "run_workflow"]

Equip = Callable[[str], Equipment]
"""name of this run -> the tools of its job"""


def run_workflow(
    job: Job | Mapping[str, object] | Path | str,
    *,
    workdir: Path | str | None = None,
    settings: Mapping[str, object] | Settings | None = None,
    config: Path | None = None,
    watch: Watch | None = None,
    until: float = inf,
) -> Outcome:
    """Run one job to its end; run it again with the same work directory to resume it.

    `job`: a Job, PanDA's dictionary, or the path of a file with one. `workdir`: default `PanDA_Pilot-<PandaID>` here.
    `settings`: the arguments among the settings (environment, queue data and the file `config` come below them), or a
    whole `Settings`. `watch(fact, engine)` is called after each fact, for those who want to see it live. `until`: when
    all must have ended (seconds since 1970); the job is stopped before, so that what is finished can be stored.

    Raises `UnusableInput` when something that was given cannot be used, `JournalError` when the journal cannot be
    written any more, `ReplayDiverged` when another version of the code began the job. SIGTERM, SIGINT, SIGUSR1, SIGUSR2
    and SIGXCPU stop the job: what is finished is stored and reported within `grace_s`; a second one gives it half the
    time that is left, a third one none.
    """
    job, found = read_job(job)
    given, said_by = read_settings(job, settings, config, found)
    table = plugins.workflow(given.workflow or job.kind.value)
    if table.drives != "job" or table.feeds != (job.kind is JobKind.EVENTSERVICE):
        raise UnusableInput(f"the workflow {table.name} is not for a job of kind {job.kind.value}")
    place = _work_directory(Path(workdir or job.place).absolute(), found)
    inbox = Inbox(Clock())

    def equip(run: str) -> Equipment:
        return Equipment(job, place, given, said_by, run)

    with stop_requests(inbox):
        return run_with(equip, job, place, given, table, inbox, watch, until)


def run_with(
    equip: Equip,
    job: Job,
    place: Path,
    given: Settings,
    table: Workflow,
    inbox: Inbox,
    watch: Watch | None = None,
    until: float = inf,
) -> Outcome:
    """`run_workflow` for those who have read job and settings, have tools of their own, and speak to the inbox.

    Raises as that does.
    """
    header = Header(job.panda_id, uuid4().hex, table.name, _digest(table), dict(job.definition), given)
    with Journal.open(place / JOURNAL, header) as journal:
        engine = Engine(table, plugins.held(), journal.header.settings)
        loop = Loop(journal, engine, inbox, watch)
        loop.remember()
        if engine.ended and not engine.resumable and journal.header.job != job.definition:
            raise UnusableInput(f"work directory {place}: another definition of this job is done there; choose another")
        begun = Job.read(journal.header.job, source=str(journal.path))
        if engine.ranges.ledger and (begun.task_id, begun.jobset_id) != (job.task_id, job.jobset_id):
            raise UnusableInput(
                f"work directory {place}: its event ranges are of another task or jobset; choose another"
            )
        return _go_on(loop, journal, engine, inbox, equip(journal.header.run), given, until)


def resume(
    workdir: Path | str,
    *,
    settings: Mapping[str, object] | None = None,
    watch: Watch | None = None,
    until: float = inf,
) -> Outcome:
    """Take up the job of a work directory again: all that it needs is in its journal.

    `settings`: those that are to be other than before, by name. Otherwise as `run_workflow`.
    """
    place = Path(workdir).absolute()
    inbox = Inbox(Clock())
    with stop_requests(inbox), Journal.open(place / JOURNAL) as journal:
        header = journal.header
        table = plugins.workflow(header.workflow)
        if _digest(table) != header.tables:
            raise UnusableJournal(
                journal.path, f"{table.name} is another table now; finish it with the version that began it"
            )
        job = Job.read(header.job, source=str(journal.path))
        engine = Engine(table, plugins.held(), header.settings)
        loop = Loop(journal, engine, inbox, watch)
        loop.remember()
        given, said_by = change_settings(engine.settings, settings or {})
        equipment = Equipment(job, place, given, said_by, header.run)
        return _go_on(loop, journal, engine, inbox, equipment, given, until)


def _go_on(
    loop: Loop, journal: Journal, engine: Engine, inbox: Inbox, equipment: Equipment, settings: Settings, until: float
) -> Outcome:
    """To the end of the job, if it has not come there for good."""
    history = settings.node_history
    if not engine.ended or engine.resumable:
        if history is not None and engine.lived_s and not engine.ended:
            remember(history, engine.lived_s, suddenly=True)
        with closing(equipment):
            equipment.check(granted=next(iter(engine.ranges.ledger), None))
            with (
                notices(inbox, equipment.notice, settings.notice_look_s),
                closing(Performer(equipment, inbox)) as performer,
                closing(Heartbeats(performer.say, settings.heartbeat_s)) as heartbeats,
            ):
                if until < inf:
                    inbox.put(TimeLimited(until=max(0.0, until), why="the time that it was given"))
                if equipment.books_jobs:
                    loop.watches.append(heartbeats.heard)
                loop.run(performer, settings)
        if history is not None:
            remember(history, engine.lived_s, suddenly=False)
    return outcome(journal.header.panda_id, engine, journal.path)


def _digest(table: Workflow) -> str:
    """Of all tables that decide."""
    return f"{table.digest}-{plugins.held()['event-range'].digest}"


def _work_directory(place: Path, inputs: Path) -> Path:
    """Make it. Raises `UnusableInput`, also for names that neither journal nor payload could say."""
    for directory in (place, inputs):
        if not str(directory).isprintable():  # no UTF-8, or a line break
            raise UnusableInput(f"the name of the directory {str(directory)!r} cannot be printed")
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnusableInput(f"work directory {place}: {error.strerror}") from None
    return place
