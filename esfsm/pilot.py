"""run_pilot: jobs one after another, as the table of a pilot says. One thread; each job is run by `run_workflow`.

A job is ours as soon as the server has given it to us. So its definition is on the disk, in a work directory of its
own, before anything else is done with it; and whoever comes into the same base directory looks there first.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from math import inf
from pathlib import Path

from loguru import logger

from esfsm import plugins
from esfsm.core import pilot as p
from esfsm.core.facts import ActionBroke, AlarmRang
from esfsm.errors import EsfsmError, PilotErrorCode, UnusableInput, UnusableJournal, WireError
from esfsm.inbox import Clock, Inbox
from esfsm.model.job import Job
from esfsm.model.outcome import Outcome, PilotOutcome
from esfsm.model.report import JobReport
from esfsm.model.settings import Settings
from esfsm.ports import Jobs
from esfsm.queuedata import keep_queuedata
from esfsm.run import run_workflow
from esfsm.stops import stop_requests
from esfsm.views.outcome import pilot_outcome
from esfsm.workplaces import Workplaces

__all__ = ["run_pilot"]

LAST_S = 180.0
"""So long before its end a pilot stops its job: what runs may finish, and all is stored and reported (as pilot3)."""

IDENTIFIERS = ("PandaID", "taskID", "jobsetID", "attemptNr")
"""By which PanDA knows a job that nothing else is known of."""

Run = Callable[[Path, float], Outcome]
"""(work directory, when its job is to be stopped) -> how it ended"""


def run_pilot(
    workdir: Path | str = ".",
    *,
    jobs: int | None = None,
    lifetime_s: float = inf,
    settings: Mapping[str, object] | None = None,
    config: Path | None = None,
    run: Callable[..., Outcome] = run_workflow,
) -> PilotOutcome:
    """Fetch jobs and run them, until there is none for a while, so many are done, or the time is over.

    `workdir` holds the work directories, one for each job; what a dead pilot has left there is finished and reported
    first. `settings`: as of `run_workflow`, for the pilot and each of its jobs. `lifetime_s`: from now on; the job that
    runs by then is stopped in time. `run` is called in place of `run_workflow`, for those who want to see each job.

    Raises `UnusableInput` when something that was given cannot be used. SIGTERM and SIGINT stop the job, with all
    finished work safe, and then the pilot.
    """
    given, _ = Settings.layered(settings, None, config)
    places = Workplaces(Path(workdir).absolute())
    said = {**(settings or {}), "queuedata": keep_queuedata(given, places.directory)}
    inbox = Inbox(Clock())
    until = inbox.now() + max(0.0, lifetime_s - LAST_S)
    pilot = p.Pilot(plugins.workflow("pilot"), p.Limits(jobs, until, given.job_attempts))

    def run_job(place: Path, until: float) -> Outcome:
        return run(places.definition(place), workdir=place, settings=said, config=config, until=until)

    with closing(plugins.find("communicators.jobs", given.communicator)(given, places.directory)) as source:
        hands = _Hands(pilot, inbox, source, places, given, run_job)
        with stop_requests(inbox):
            while pilot.does is not None:
                logger.info("pilot {}", pilot.state)
                for fact in (*hands.do(pilot.does), *inbox.take_now()):
                    pilot.hear(fact)
    return pilot_outcome(pilot)


class _Hands:
    """Does what a state of the pilot asks for."""

    def __init__(
        self, pilot: p.Pilot, inbox: Inbox, source: Jobs, places: Workplaces, settings: Settings, run: Run
    ) -> None:
        self._pilot, self._inbox, self._source, self._places = pilot, inbox, source, places
        self._settings, self._run = settings, run
        self._seen: set[str] = set()
        """Work directories of dead pilots that have been looked at."""
        self._actions: dict[str, Callable[[], Iterable[p.Heard]]] = {
            "look_for_work": self._look_for_work,
            "finish_job": self._finish_job,
            "consider_next": lambda: [pilot.consider(inbox.now())],
            "fetch_job": self._fetch_job,
            "wait": self._wait,
            "run_job": lambda: self._run_job(pilot.limits.until),
            "give_up_job": lambda: self._run_job(0.0),
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
        if place is None:
            return [p.NoWorkFound()]
        self._seen.add(str(place))
        return [p.WorkFound(workdir=str(place))]

    def _finish_job(self) -> Iterable[p.Heard]:
        """One that cannot be taken up is somebody's who lives, or for a person to look at."""
        place = Path(self._pilot.workdir)
        try:
            self._run(place, self._pilot.limits.until)
        except UnusableInput as error:
            logger.warning("{} was left as it is: {}", place, error)
            return [p.JobUnusable(why=str(error))]
        return [p.JobEnded()]

    def _fetch_job(self) -> Iterable[p.Heard]:
        try:
            definition = self._source.fetch()
            job = None if definition is None else Job.read(definition)
        except WireError as error:
            logger.warning("no job could be fetched: {}", error)
            return [p.FetchFailed(why=str(error))]
        return [p.NoJobFound() if job is None else p.JobFetched(workdir=str(self._places.keep(job)))]

    def _wait(self) -> Iterable[p.Heard]:
        self._inbox.set_alarm(self._inbox.now() + self._settings.job_pause_s, 0)
        return [p.PauseOver() if isinstance(fact, AlarmRang) else fact for fact in self._inbox.take()]

    def _run_job(self, until: float) -> Iterable[p.Heard]:
        place = Path(self._pilot.workdir)
        try:
            self._run(place, until)
        except UnusableJournal:
            raise
        except UnusableInput as error:
            self._refuse(place, str(error))
            return [p.JobUnusable(why=str(error))]
        return [p.JobEnded()]

    def _refuse(self, place: Path, why: str) -> None:
        """Tell the server of a job that cannot be begun, or it waits three hours for its first heartbeat."""
        report = JobReport("failed", error_code=PilotErrorCode.INTERNALPILOTPROBLEM, error_diag=why)
        try:
            known = {name: self._places.definition(place).get(name) for name in IDENTIFIERS}
            communicator = plugins.find("communicators", self._settings.communicator)
            with closing(communicator(Job.read(known), self._settings, place, "refused")) as server:
                server.update_job(report)
        except (WireError, UnusableInput) as error:
            logger.warning("the server was not told that the job in {} cannot be run: {}", place, error)
