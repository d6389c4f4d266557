"""A pilot's doings: jobs from a directory, work directories, and what a dead pilot has left in them."""

import json
import signal
from collections.abc import Callable
from math import inf
from pathlib import Path
from threading import Timer, main_thread
from typing import Any

import pytest

from esfsm import run_pilot
from esfsm.errors import JournalError, UnusableInput, UnusableJournal
from esfsm.model.job import Job
from esfsm.model.outcome import PilotOutcome
from esfsm.workplaces import Workplaces

NOW = ["starting", "ready", "fetching"]


class Runs:
    """In place of `run_workflow`: remembers what it was given, and does what it is told to."""

    def __init__(self, *does: Callable[[Path], object]) -> None:
        self.given: list[tuple[int, Path, float]] = []
        self._does = list(does)

    def __call__(self, job: Any, *, workdir: Path, until: float, **_: object) -> None:
        self.given.append((int(job["PandaID"]), workdir, until))
        if self._does:
            self._does.pop(0)(workdir)

    @property
    def jobs(self) -> list[int]:
        return [panda_id for panda_id, _, _ in self.given]


def raises(error: Exception) -> Callable[[Path], object]:
    def do(_: Path) -> None:
        raise error

    return do


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Three jobs."""
    directory = tmp_path / "jobs"
    directory.mkdir()
    for panda_id in (1, 2, 3):
        (directory / f"{panda_id}.json").write_text(json.dumps({"PandaID": panda_id, "transformation": "t"}))
    return directory


@pytest.fixture
def pilot(tmp_path: Path, directory: Path) -> Callable[..., PilotOutcome]:
    def pilot(run: Runs, **how: Any) -> PilotOutcome:
        settings = {"communicator": "local", "jobs": directory, "job_attempts": 1, "job_pause_s": 0}
        return run_pilot(tmp_path / "base", settings={**settings, **how.pop("settings", {})}, run=run, **how)

    return pilot


def test_each_job_has_a_work_directory_of_its_own_with_its_definition(pilot, tmp_path: Path) -> None:
    ended = pilot(run := Runs())
    assert run.jobs == [1, 2, 3]
    for panda_id, place, _ in run.given:
        assert place == tmp_path / "base" / f"PanDA_Pilot-{panda_id}"
        assert json.loads((place / "job.json").read_bytes())["PandaID"] == panda_id
    assert (ended.state, ended.exit_code, ended.jobs) == ("done", 0, 3)
    assert ended.sentence == "done: there is no job; jobs fetched: 3"


def test_it_ends_after_as_many_jobs_as_were_asked_for(pilot) -> None:
    assert pilot(run := Runs(), jobs=2).exit_code == 0
    assert run.jobs == [1, 2]


def test_it_takes_no_job_when_its_time_is_over(pilot) -> None:
    ended = pilot(run := Runs(), lifetime_s=100)
    assert (run.jobs, ended.sentence) == ([], "done: its time is over; jobs fetched: 0")


def test_a_job_is_told_when_the_pilots_time_is_over(pilot) -> None:
    pilot(run := Runs(), jobs=1, lifetime_s=10_000)
    pilot(Runs(), jobs=1)
    ((_, place, until),) = run.given
    assert 9_000 < until - (place / "job.json").stat().st_mtime < 9_900


def test_what_a_dead_pilot_has_left_is_run_first(pilot, tmp_path: Path) -> None:
    Workplaces(tmp_path / "base").keep(Job.read({"PandaID": 3, "transformation": "t"}))
    pilot(run := Runs())
    assert run.jobs == [3, 1, 2]


def test_a_work_directory_without_a_definition_is_nobodys(pilot, tmp_path: Path) -> None:
    (tmp_path / "base" / "PanDA_Pilot-7").mkdir(parents=True)
    pilot(run := Runs())
    assert run.jobs == [1, 2, 3]


def test_a_job_of_a_pilot_that_lives_is_left_to_it(pilot, tmp_path: Path) -> None:
    Workplaces(tmp_path / "base").keep(Job.read({"PandaID": 3, "transformation": "t"}))
    busy = UnusableJournal(Path("journal.jsonl"), "another engine is running this job")
    ended = pilot(run := Runs(raises(busy)))
    assert (run.jobs, ended.exit_code) == ([3, 1, 2], 0)


def test_a_job_that_cannot_be_run_is_followed_by_the_next(pilot) -> None:
    ended = pilot(run := Runs(raises(UnusableInput("there is no transformation"))))
    assert (run.jobs, ended.exit_code) == ([1, 2, 3], 0)


@pytest.mark.parametrize(
    "error", [JournalError(Path("journal.jsonl"), "No space left on device"), OSError(28, "No space left on device")]
)
def test_a_disk_that_is_full_ends_the_pilot_and_the_job_is_left_to_the_next(pilot, error: Exception) -> None:
    ended = pilot(Runs(raises(error)))
    assert (ended.state, ended.exit_code) == ("failed", 1)
    assert "No space left on device" in ended.sentence
    pilot(run := Runs())
    assert run.jobs == [1, 2, 3]


def test_a_stop_during_a_job_ends_the_pilot_after_it_and_what_is_fetched_by_then_is_given_up(pilot) -> None:
    ended = pilot(run := Runs(lambda _: signal.raise_signal(signal.SIGTERM)))
    assert (ended.state, ended.exit_code) == ("stopped", 3)
    assert ended.sentence.startswith("stopped: a stop was asked for by SIGTERM")
    assert [until for _, _, until in run.given] in ([inf], [inf, 0.0])


def test_a_stop_ends_a_pause(pilot, directory: Path) -> None:
    for file in directory.iterdir():
        file.unlink()
    stop = Timer(0.1, lambda: signal.pthread_kill(main_thread().ident or 0, signal.SIGTERM))
    stop.start()
    ended = pilot(Runs(), settings={"job_attempts": 2, "job_pause_s": 3600})
    stop.join()
    assert (ended.state, ended.path[-2:]) == ("stopped", ("waiting", "stopped"))


def test_a_file_that_is_no_job_is_passed_over(pilot, directory: Path) -> None:
    (directory / "1.json").write_text("[")
    ended = pilot(run := Runs(), settings={"job_attempts": 2})
    assert (run.jobs, ended.exit_code) == ([2, 3], 0)


def test_files_that_are_no_jobs_only_are_no_source_of_any(pilot, directory: Path) -> None:
    for file in directory.iterdir():
        file.write_text("{}")
    ended = pilot(Runs())
    assert (ended.state, ended.exit_code) == ("failed", 1)
    assert "PandaID is missing" in ended.sentence


def test_local_jobs_need_a_directory(pilot, tmp_path: Path) -> None:
    with pytest.raises(UnusableInput, match="give one with --set jobs=DIRECTORY"):
        pilot(Runs(), settings={"jobs": tmp_path / "gone"})


def test_a_base_directory_that_is_a_file_is_refused(pilot, tmp_path: Path) -> None:
    (tmp_path / "base").write_text("")
    with pytest.raises(UnusableInput, match="File exists"):
        pilot(Runs())


def test_a_job_that_comes_again_gets_a_clean_work_directory(tmp_path: Path) -> None:
    job = Job.read({"PandaID": 3, "transformation": "t"})
    places = Workplaces(tmp_path)
    assert [places.keep(job).name for _ in range(3)] == ["PanDA_Pilot-3", "PanDA_Pilot-3.2", "PanDA_Pilot-3.3"]


@pytest.mark.parametrize("content", [None, "", "[", "7"])
def test_a_definition_that_cannot_be_read_is_told_or_is_empty(tmp_path: Path, content: str | None) -> None:
    places = Workplaces(tmp_path)
    if content is not None:
        (tmp_path / "job.json").write_text(content)
    if content == "7":
        assert places.definition(tmp_path) == {}
        return
    with pytest.raises(UnusableInput, match=r"job\.json"):
        places.definition(tmp_path)
