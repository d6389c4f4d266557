"""What PanDA hears of a pilot's jobs that do not begin: one last word about each, soon."""

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from time import time
from typing import Any

import pytest

from esfsm import run_pilot
from esfsm.core import pilot as p
from esfsm.errors import UnusableInput
from esfsm.model.outcome import Outcome, PilotOutcome
from esfsm.pilot import PilotWatch
from esfsm.standins.panda.books import Books
from esfsm.standins.panda.server import PandaServer
from esfsm.standins.panda.tasks import Task
from esfsm.testing.panda import serve_panda

NOWHERE = "http://localhost:1"
"""Nobody listens at this port."""


class Site:
    """A PanDA with two jobs, and a base directory for pilots."""

    def __init__(self, base: Path, books: Books) -> None:
        self.base, self.books = base, books
        self.url = NOWHERE
        self.meanwhile: Callable[[], object] = lambda: None
        """What happens whenever the server is asked."""
        self.run: list[Path] = []
        """The work directories in which a job was to be run."""

    @contextmanager
    def open(self, **how: Any) -> Iterator[None]:
        """PanDA answers."""
        with serve_panda(PandaServer(self.books), clock=self._clock, **how) as panda:
            self.url = panda.url
            yield
        self.url = NOWHERE

    def _clock(self) -> float:
        self.meanwhile()
        return time()

    def pilot(
        self, run: Callable[[Path], Outcome], *, jobs: int = 1, watch: PilotWatch | None = None, **said: object
    ) -> PilotOutcome:
        def noted(_: Mapping[str, object], *, workdir: Path, **__: object) -> Outcome:
            self.run.append(workdir)
            return run(workdir)

        given = {"panda_server": self.url, "communicator": "panda", "queue": "TEST_ES"}
        given |= {"job_attempts": 2, "job_pause_s": 0, **said}
        return run_pilot(self.base, jobs=jobs, settings=given, run=noted, watch=watch)

    def left(self, definition: str) -> None:
        """The first job, fetched by a pilot that has died."""
        self.books.acquire_jobs("TEST_ES")
        place = self.base / "PanDA_Pilot-5001"
        place.mkdir(parents=True)
        (place / "job.json").write_text(definition)

    @property
    def heard(self) -> list[tuple[int, str, int, str]]:
        """PandaID, status, pilot error code and its sentence, as the server was told."""
        return [
            (beat.panda_id, beat.state, int(str(beat.said["pilotErrorCode"])), str(beat.said["pilotErrorDiag"]))
            for beat in self.books.heartbeats()
        ]

    @property
    def states(self) -> list[str]:
        return [job.state for job in self.books.jobs()]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    books = Books()
    books.submit(Task(1001, 4001, 5001, 2, jobs=2))
    yield Site(tmp_path / "base", books)
    books.close()


DECLINED = (5001, "failed", 1319, "there is no transformation")


def unusable(_: Path) -> Outcome:
    raise UnusableInput("there is no transformation")


def done(workdir: Path) -> Outcome:
    return Outcome(panda_id=1, state="done", path=(), sentence="done", exit_code=0, journal=workdir / "journal.jsonl")


def test_a_job_that_cannot_be_begun_is_reported_failed_once_and_never_run_again(site: Site) -> None:
    with site.open():
        site.pilot(unusable)
        site.pilot(done)
    assert site.heard == [DECLINED]
    assert [place.name for place in site.run] == ["PanDA_Pilot-5001", "PanDA_Pilot-5002"]


def test_a_job_that_cannot_be_read_is_reported_failed_and_does_not_end_its_pilot(site: Site) -> None:
    odd = Task(1002, 4002, 6001, 2, definition={"jobPars": "'"}, queue="ODD")
    site.books.submit(odd)
    with site.open():
        assert site.pilot(done, queue="ODD").state == "done"
    assert [beat[:3] for beat in site.heard] == [(6001, "failed", 1319)]
    assert "jobPars cannot be split into arguments" in site.heard[0][3]
    assert site.run == []


def test_a_server_that_says_nothing_does_not_keep_a_pilot_that_has_to_go(site: Site) -> None:
    with site.open(reply_after_s=600.0):
        timer = Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM))
        timer.start()
        assert site.pilot(done, grace_s=0.1).state == "stopped"
    assert site.run == []


@pytest.mark.parametrize(
    "definition", ['{"PandaID": 5001}', '{"PandaID": 50', "7", ""], ids=["odd", "torn", "7", "empty"]
)
def test_a_left_job_that_cannot_be_begun_is_reported_failed(site: Site, definition: str) -> None:
    site.left(definition)
    with site.open():
        assert site.pilot(unusable, jobs=0).state == "done"
    assert [beat[:3] for beat in site.heard] == [DECLINED[:3]]


def test_what_the_server_could_not_be_told_the_next_pilot_tells(site: Site) -> None:
    site.left(json.dumps({"PandaID": 5001}))
    ended = site.pilot(unusable)
    assert ended.path[:6] == ("starting", "finishing", "unanswered", "pausing", "finishing", "unanswered")
    assert (ended.state, site.heard) == ("failed", [])
    with site.open():
        site.pilot(done, jobs=0)
    assert site.heard == [DECLINED]
    assert len(site.run) == 1


def test_a_job_is_not_asked_for_where_it_could_not_be_kept(site: Site) -> None:
    def lose_the_disk(workdir: Path) -> Outcome:
        shutil.rmtree(site.base)
        return done(workdir)

    with site.open():
        ended = site.pilot(lose_the_disk, jobs=2)
    assert (ended.state, ended.jobs, site.states) == ("failed", 1, ["sent", "activated"])


def test_a_job_that_cannot_be_kept_is_reported_failed(site: Site) -> None:
    site.meanwhile = lambda: shutil.rmtree(site.base, ignore_errors=True)
    with site.open():
        ended = site.pilot(done)
    assert (ended.state, site.run) == ("failed", [])
    ((*said, why),) = site.heard
    assert said == [5001, "failed", 1303]
    assert why.startswith("the job cannot be kept: ")


def test_a_job_that_a_stop_finds_before_its_beginning_is_reported_failed_and_never_begins(site: Site) -> None:
    def stop(fact: p.Heard, _: p.Pilot) -> None:
        if isinstance(fact, p.JobWanted):
            signal.raise_signal(signal.SIGTERM)

    with site.open(reply_after_s=0.5):  # by then the request has been heard
        ended = site.pilot(done, watch=stop)
        assert (ended.state, ended.exit_code, ended.path[-2:]) == ("stopped", 3, ("giving-up", "stopped"))
        site.pilot(done, jobs=0)
    assert (site.run, site.heard) == ([], [(5001, "failed", 1201, "a stop was asked for by SIGTERM")])
