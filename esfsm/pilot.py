"""run_pilot: jobs one after another, as the table of a pilot says. One thread; each job is run by `run_workflow`.

A job is ours as soon as the server has given it to us. So its definition is on the disk, in a work directory of its
own, before anything else is done with it; and whoever comes into the same base directory looks there first.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import closing, suppress
from math import inf
from pathlib import Path
from threading import Timer

from loguru import logger

from esfsm import plugins
from esfsm.core import pilot as p
from esfsm.core.facts import ActionBroke, AlarmRang
from esfsm.errors import (
    EsfsmError,
    PilotErrorCode,
    ReplayDiverged,
    UnreadableJob,
    UnusableInput,
    UnusableJournal,
    WireError,
)
from esfsm.inbox import Clock, Inbox
from esfsm.model.job import Job
from esfsm.model.outcome import Outcome, PilotOutcome
from esfsm.model.queuedata import QueueData
from esfsm.model.report import JobReport
from esfsm.model.settings import Settings
from esfsm.ports import Jobs
from esfsm.queuedata import keep_queuedata, read_queuedata
from esfsm.run import run_workflow
from esfsm.stops import stop_requests
from esfsm.views.outcome import pilot_outcome
from esfsm.workplaces import IDENTIFIERS, Workplace, Workplaces

__all__ = ["LAST_S", "PilotWatch", "run_pilot"]

HISTORY = "lifetimes.jsonl"
"""Where the jobs of a base directory leave how they ended, if no setting names another file."""
LAST_S = 180.0
"""So long before its end a pilot stops its job: what runs may finish, and all is stored and reported (as pilot3)."""

PilotWatch = Callable[[p.Heard, p.Pilot], None]
"""Called after each fact, for those who want to see a pilot live."""

Run = Callable[[Workplace], Outcome]
"""How a job is run to its end; raises as `run_workflow`"""


def run_pilot(
    workdir: Path | str = ".",
    *,
    jobs: int | None = None,
    lifetime_s: float = inf,
    settings: Mapping[str, object] | None = None,
    config: Path | None = None,
    run: Callable[..., Outcome] = run_workflow,
    watch: PilotWatch | None = None,
) -> PilotOutcome:
    """Fetch jobs and run them, until there is none for a while, so many are done, or the time is over.

    `workdir` holds the work directories, one for each job; what a dead pilot has left there is finished and reported
    first. `settings`: as of `run_workflow`, for the pilot and each of its jobs. `lifetime_s`: from now on, or less if
    the queue says so (`maxtime`); the job that runs `LAST_S` before its end is stopped then, and none is begun after
    that. `run` is called in place of `run_workflow`, for those who want to see each job. `watch(fact, pilot)` is called
    after each fact of the pilot.

    Raises `UnusableInput` when something that was given cannot be used. SIGTERM and SIGINT stop the job, as
    they stop `run_workflow`, and then the pilot; a job that has not begun is reported failed.
    """
    given, _ = Settings.layered(settings, None, config)
    base = Path(workdir).absolute()
    with closing(Workplaces(base)) as places:
        history = given.node_history or base / HISTORY
        queuedata = keep_queuedata(given, base)
        said = {**(settings or {}), "queuedata": queuedata, "node_history": history}
        inbox = Inbox(Clock())
        queue = read_queuedata(queuedata) or QueueData()
        until = inbox.now() + max(0.0, min(lifetime_s, queue.maxtime or inf) - LAST_S)
        pilot = p.Pilot(plugins.workflow("pilot"), p.Limits(jobs, until, given.job_attempts))

        def run_job(place: Workplace) -> Outcome:
            return run(place.definition(), workdir=place.path, settings=said, config=config, until=until)

        with (
            closing(plugins.find("communicators.jobs", given.communicator)(given, base)) as source,
            stop_requests(inbox, lambda: _soon(given.grace_s / 4, source.close)),
        ):
            hands = _Hands(pilot, inbox, source, places, given, run_job)
            while pilot.does is not None:
                for fact in (*hands.do(pilot.does), *inbox.take_now()):
                    pilot.hear(fact)
                    logger.info("{} -> {}", fact, pilot.state)
                    if watch is not None:
                        watch(fact, pilot)
    return pilot_outcome(pilot)


def _soon(seconds: float, do: Callable[[], None]) -> None:
    """A server that says nothing does not keep a pilot that has to go; one that answers by then gets its job back."""
    timer = Timer(seconds, do)
    timer.daemon = True
    timer.start()


class _Hands:
    """Does what a state of the pilot asks for."""

    def __init__(
        self, pilot: p.Pilot, inbox: Inbox, source: Jobs, places: Workplaces, settings: Settings, run: Run
    ) -> None:
        self._pilot, self._inbox, self._source, self._places = pilot, inbox, source, places
        self._settings, self._run = settings, run
        self._seen: set[str] = set()
        """Work directories that this pilot has had a hand in."""
        self._actions: dict[str, Callable[[], Iterable[p.Heard]]] = {
            "look_for_work": self._look_for_work,
            "finish_job": self._run_job,
            "consider_again": lambda: [pilot.consider_again(inbox.now())],
            "leave_job": self._leave_job,
            "consider_next": lambda: [pilot.consider(inbox.now())],
            "fetch_job": self._fetch_job,
            "wait": self._wait,
            "run_job": self._run_job,
            "give_up_job": self._give_up_job,
        }

    def do(self, action: str) -> Iterable[p.Heard]:
        """Do it, and say what came of it."""
        try:
            return self._actions[action]()
        except EsfsmError as error:
            return [ActionBroke(error_code=error.pilot_error_code, why=str(error))]
        except OSError as error:
            return [ActionBroke(error_code=PilotErrorCode.FILEHANDLINGFAILURE, why=str(error))]

    def _look_for_work(self) -> Iterable[p.Heard]:
        place = self._places.left(self._seen)
        return [p.NoWorkFound()] if place is None else [p.WorkFound(workdir=str(place))]

    def _fetch_job(self) -> Iterable[p.Heard]:
        self._places.make_sure()
        try:
            definition = self._source.fetch()
        except WireError as error:
            return [p.FetchFailed(why=str(error))]
        if definition is None:
            return [p.NoJobFound()]
        try:
            job = Job.read(definition)
        except UnreadableJob as error:
            return [p.FetchFailed(why=self._refuse(definition, str(error)))]
        return [p.JobFetched(workdir=str(self._keep(job).path))]

    def _refuse(self, definition: Mapping[str, object], why: str) -> str:
        """Tell the server of a job that cannot be read, as far as it says which one it is; how that went."""
        known = {name: definition.get(name) for name in IDENTIFIERS}
        try:
            self._tell(known, self._places.directory, _failed(PilotErrorCode.INTERNALPILOTPROBLEM, why))
        except (WireError, UnusableInput) as error:
            return f"{why}; the server was not told: {error}"
        return why

    def _keep(self, job: Job) -> Workplace:
        """What cannot be kept is told to the server at once, for there is nothing that another pilot could find."""
        try:
            return self._places.keep(job)
        except OSError as error:
            report = _failed(PilotErrorCode.FILEHANDLINGFAILURE, f"the job cannot be kept: {error}")
            with suppress(WireError, UnusableInput):
                known = {name: job.definition.get(name) for name in IDENTIFIERS}
                self._tell(known, self._places.directory, report)
            raise

    def _wait(self) -> Iterable[p.Heard]:
        """A stop request ends it, and then it does not matter that it is over."""
        self._inbox.set_alarm(self._inbox.now() + self._settings.job_pause_s, 0)
        return [fact for fact in self._inbox.take() if not isinstance(fact, AlarmRang)] or [p.PauseOver()]

    def _run_job(self) -> Iterable[p.Heard]:
        self._seen.add(self._pilot.workdir)
        try:
            place = self._places.take(Path(self._pilot.workdir))
        except UnusableInput as error:
            return [p.JobLeft(why=str(error))]
        try:
            return [self._end(place)]
        except WireError as error:
            return [p.JobUnanswered(why=str(error))]

    def _end(self, place: Workplace) -> p.PilotFact:
        """Bring a job to its end, or decline it. Raises `WireError` where the server must be heard before."""
        declined = place.declined
        if declined is not None:
            return self._decline(place, declined)
        try:
            return p.end_of(self._run(place))
        except (UnusableInput, ReplayDiverged) as error:
            if not place.is_begun and not isinstance(error, UnusableJournal):
                return self._decline(place, _failed(PilotErrorCode.INTERNALPILOTPROBLEM, str(error)))
            place.end_payload(self._settings)
            return p.JobLeft(why=str(error))

    def _leave_job(self) -> Iterable[p.Heard]:
        Workplace(Path(self._pilot.workdir)).end_payload(self._settings)
        return [p.JobLeft(why=self._pilot.why)]

    def _give_up_job(self) -> Iterable[p.Heard]:
        """What has begun, another pilot may go on with; the rest can be given out again at once."""
        place = Workplace(Path(self._pilot.workdir))
        if place.is_begun:
            return self._leave_job()
        try:
            return [self._decline(place, place.declined or _failed(self._pilot.stop_code, self._pilot.why))]
        except WireError as error:
            return [p.JobLeft(why=str(error))]

    def _decline(self, place: Workplace, report: JobReport) -> p.PilotFact:
        """Tell the server of a job that is not begun, or it waits three hours for its first heartbeat.

        Raises `WireError`, and then whoever looks at that job next says the same again.
        """
        place.decline(report)
        why = report.error_diag
        try:
            self._tell(place.identifiers(), place.path, report)
        except WireError as error:
            raise WireError(f"{why}; the server was not told: {error}") from None
        except UnusableInput as error:
            why = f"{why}; nobody can be told: {error}"
        place.declined_told()
        return p.JobDeclined(why=why)

    def _tell(self, known: Mapping[str, object], place: Path, report: JobReport) -> None:
        """Say the one word about a job of which the server knows so much. Raises `WireError` or `UnusableInput`."""
        communicator = plugins.find("communicators", self._settings.communicator)
        with closing(communicator(Job.read(known), self._settings, place, "declined")) as server:
            server.update_job(report)


def _failed(error_code: int, why: str) -> JobReport:
    return JobReport("failed", error_code=error_code, error_diag=why)
