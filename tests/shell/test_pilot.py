"""A pilot's doings: jobs from a directory, work directories, and what a dead pilot has left in them."""

import json
import signal
from collections.abc import Callable
from contextlib import closing
from math import inf
from pathlib import Path
from threading import Timer, main_thread
from typing import Any

import pytest

from esfsm import run_pilot
from esfsm.core import pilot as p
from esfsm.core.facts import JobClassified
from esfsm.errors import JournalError, ReplayDiverged, UnusableInput, UnusableJournal, WireError
from esfsm.journal.formats import Header
from esfsm.journal.writer import Journal
from esfsm.model.job import Job
from esfsm.model.outcome import Outcome, PilotOutcome
from esfsm.model.report import JobReport
from esfsm.model.settings import Settings
from esfsm.workplaces import Workplace, Workplaces


def outcome(state: str) -> Outcome:
    sentence = f"{state}: as it was told to"
    return Outcome(panda_id=1, state=state, path=(), sentence=sentence, exit_code=0, journal=Path("journal.jsonl"))


class Runs:
    """In place of `run_workflow`: remembers what it was given, and does what it is told to; then the job is done."""

    def __init__(self, *does: Callable[[Path], object]) -> None:
        self.given: list[tuple[int, Path, float]] = []
        self._does = list(does)

    def __call__(self, job: Any, *, workdir: Path, until: float, **_: object) -> Outcome:
        self.given.append((int(job["PandaID"]), workdir, until))
        ended = self._does.pop(0)(workdir) if self._does else None
        return ended if isinstance(ended, Outcome) else outcome("done")

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


def left(base: Path, panda_id: int = 3) -> Path:
    """The work directory of a job that a pilot had fetched before it died."""
    base.mkdir(exist_ok=True)
    with closing(Workplaces(base)) as places:
        return places.keep(Job.read({"PandaID": panda_id, "transformation": "t"})).path


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


@pytest.mark.parametrize(("maxtime", "jobs"), [(100, []), (10_000, [1]), (0, [1])], ids=["over", "time", "unsaid"])
def test_a_queue_may_say_how_long_a_pilot_lives(pilot, tmp_path: Path, maxtime: float, jobs: list[int]) -> None:
    (queue := tmp_path / "queue.json").write_text(json.dumps({"maxtime": maxtime}))
    pilot(run := Runs(), jobs=1, lifetime_s=20_000, settings={"queuedata": queue})
    assert run.jobs == jobs
    assert all(until - (place / "job.json").stat().st_mtime < (maxtime or 20_000) for _, place, until in run.given)


def test_a_job_is_told_when_the_pilots_time_is_over(pilot) -> None:
    pilot(run := Runs(), jobs=1, lifetime_s=10_000)
    pilot(Runs(), jobs=1)
    ((_, place, until),) = run.given
    assert 9_000 < until - (place / "job.json").stat().st_mtime < 9_900


def test_what_a_dead_pilot_has_left_is_run_first(pilot, tmp_path: Path) -> None:
    left(tmp_path / "base")
    pilot(run := Runs())
    assert run.jobs == [3, 1, 2]


def test_a_work_directory_without_a_definition_is_nobodys(pilot, tmp_path: Path) -> None:
    (tmp_path / "base" / "PanDA_Pilot-7").mkdir(parents=True)
    pilot(run := Runs())
    assert run.jobs == [1, 2, 3]


@pytest.mark.parametrize(
    "error",
    [
        UnusableJournal(Path("journal.jsonl"), "another engine is running this job"),
        ReplayDiverged(3, "job_classified", "this", "that"),
        UnusableInput("there is no input"),
    ],
    ids=["another engine", "another version", "no input"],
)
def test_a_job_that_has_begun_and_cannot_go_on_is_left_to_others(pilot, tmp_path: Path, error: Exception) -> None:
    begin(left(tmp_path / "base"))
    ended = pilot(run := Runs(raises(error)))
    assert (run.jobs, ended.exit_code) == ([3, 1, 2], 0)
    pilot(run := Runs())
    assert 3 in run.jobs


def test_a_job_is_its_pilots_from_the_moment_that_it_is_fetched(pilot, tmp_path: Path) -> None:
    with closing(Workplaces(tmp_path / "base")) as places:
        places.keep(Job.read({"PandaID": 3, "transformation": "t"}))
        news = []
        pilot(run := Runs(), watch=lambda fact, _: news.append(getattr(fact, "why", "")))
    assert run.jobs == [1, 2]
    assert news.count("another pilot has this job") == 1


def test_a_job_is_its_pilots_while_it_runs_and_no_longer(pilot, tmp_path: Path) -> None:
    def taken_by_another(place: Path) -> None:
        with closing(Workplaces(tmp_path / "base")) as others, pytest.raises(UnusableInput, match="another pilot"):
            others.take(place)

    pilot(run := Runs(taken_by_another), jobs=1)
    with closing(Workplaces(tmp_path / "base")) as others:
        others.take(run.given[0][1])


def test_a_job_that_another_pilot_has_declined_meanwhile_is_not_taken(tmp_path: Path) -> None:
    place = Workplace(left(tmp_path / "base"))
    with closing(Workplaces(tmp_path / "base")) as places:
        assert places.left([]) == place.path
        place.decline(JobReport("failed", error_code=1319, error_diag="no transformation"))
        place.declined_told()
        with pytest.raises(UnusableInput, match="another pilot has declined this job"):
            places.take(place.path)
        assert places.left([]) is None


def test_who_fetches_a_job_and_finds_another_engine_at_it_goes_on_with_the_next(pilot) -> None:
    busy = UnusableJournal(Path("journal.jsonl"), "another engine is running this job")
    ended = pilot(run := Runs(raises(busy)), settings={"job_attempts": 2})
    assert (run.jobs, ended.state) == ([1, 2, 3], "done")


def test_a_job_that_cannot_be_run_is_followed_by_the_next_and_never_run_again(pilot) -> None:
    ended = pilot(run := Runs(raises(UnusableInput("there is no transformation"))), settings={"job_attempts": 2})
    assert (run.jobs, ended.exit_code) == ([1, 2, 3], 0)
    pilot(run := Runs())
    assert run.jobs == [2, 3]


@pytest.mark.parametrize(
    "does", [raises(UnusableInput("as it was told to")), lambda _: outcome("failed")], ids=["declined", "failed"]
)
def test_a_node_where_jobs_come_to_nothing_is_no_black_hole(pilot, does: Callable[[Path], object]) -> None:
    ended = pilot(run := Runs(does, does, does), settings={"job_attempts": 2})
    assert (run.jobs, ended.state, ended.exit_code) == ([1, 2], "failed", 1)
    assert "2 jobs in a row came to nothing" in ended.sentence
    assert "as it was told to" in ended.sentence
    assert ended.path.count("waiting") == 1


def test_a_left_job_whose_server_is_silent_is_tried_again_and_then_the_pilot_goes_on(pilot, tmp_path: Path) -> None:
    left(tmp_path / "base")
    silent = raises(WireError("Connection refused"))
    ended = pilot(run := Runs(silent, silent, silent), settings={"job_attempts": 3})
    assert (run.jobs, ended.state) == ([3, 3, 3, 1, 2], "done")
    assert ended.path.count("pausing") == 2
    pilot(run := Runs())
    assert 3 in run.jobs


def test_a_job_whose_server_speaks_again_is_finished(pilot, tmp_path: Path) -> None:
    left(tmp_path / "base")
    ended = pilot(run := Runs(raises(WireError("Connection refused"))), settings={"job_attempts": 2})
    assert (run.jobs, ended.state) == ([3, 3, 1, 2], "done")


def test_what_happens_can_be_watched(pilot) -> None:
    seen = []
    ended = pilot(Runs(), jobs=1, watch=lambda fact, of: seen.append((fact.name, of.state)))
    assert [state for _, state in seen] == list(ended.path[1:])
    assert seen[2] == ("job_fetched", "running")


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
    assert [until for _, _, until in run.given] == [inf]


def test_a_stop_ends_a_pause(pilot, directory: Path) -> None:
    for file in directory.iterdir():
        file.unlink()
    stop = Timer(0.1, lambda: signal.pthread_kill(main_thread().ident or 0, signal.SIGTERM))
    stop.start()
    ended = pilot(Runs(), settings={"job_attempts": 2, "job_pause_s": 3600})
    stop.join()
    assert (ended.state, ended.path[-2:]) == ("stopped", ("waiting", "stopped"))


def test_a_stop_while_a_server_is_silent_gives_the_job_up(pilot, tmp_path: Path) -> None:
    def stop(fact: p.Heard, of: p.Pilot) -> None:
        if of.state == "pausing":
            signal.raise_signal(signal.SIGTERM)

    left(tmp_path / "base")
    silent = raises(WireError("Connection refused"))
    ended = pilot(Runs(silent), settings={"job_attempts": 2, "job_pause_s": 3600}, watch=stop)
    assert ended.path == ("starting", "finishing", "unanswered", "pausing", "giving-up", "stopped")


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
    with closing(Workplaces(tmp_path)) as places:
        names = [places.keep(job).path.name for _ in range(3)]
    assert names == ["PanDA_Pilot-3", "PanDA_Pilot-3.2", "PanDA_Pilot-3.3"]


@pytest.mark.parametrize("target", ["PanDA_Pilot-3", "nowhere"], ids=["to itself", "to nothing"])
def test_a_link_where_the_work_directory_should_be_is_passed_over(tmp_path: Path, target: str) -> None:
    (tmp_path / "PanDA_Pilot-3").symlink_to(target)
    assert left(tmp_path).name == "PanDA_Pilot-3.2"


@pytest.mark.parametrize("content", [None, "", "[", "7"])
def test_a_definition_that_cannot_be_read_is_told_or_is_empty(tmp_path: Path, content: str | None) -> None:
    place = Workplace(tmp_path)
    if content is not None:
        (tmp_path / "job.json").write_text(content)
    if content == "7":
        assert place.definition() == {}
        return
    with pytest.raises(UnusableInput, match=r"job\.json"):
        place.definition()


@pytest.mark.parametrize(
    ("name", "content", "panda_id"),
    [
        ("PanDA_Pilot-7", "[", "7"),
        ("PanDA_Pilot-7.2", "{}", "7"),
        ("elsewhere", '{"PandaID": 8}', 8),
        ("elsewhere", "", None),
    ],
)
def test_the_server_knows_a_job_by_what_is_left_of_it(
    tmp_path: Path, name: str, content: str, panda_id: object
) -> None:
    place = Workplace(tmp_path / name)
    place.path.mkdir()
    (place.path / "job.json").write_text(content)
    assert place.identifiers()["PandaID"] == panda_id


def begin(place: Path) -> Path:
    """The journal of a job that has begun; only its first fact can be read."""
    header = Header(3, "run", "generic", "digest", {"PandaID": 3}, Settings())
    with Journal.open(place / "journal.jsonl", header) as journal:
        journal.append([JobClassified(kind="generic", why="it is")], 1.0)
    return place / "journal.jsonl"


@pytest.mark.parametrize("what", ["nothing", "an empty journal", "a journal without a fact", "a fact", "damage"])
def test_a_job_has_begun_when_a_fact_of_it_may_have_been_written(tmp_path: Path, what: str) -> None:
    place = Workplace(tmp_path)
    journal = tmp_path / "journal.jsonl"
    match what:
        case "an empty journal":
            journal.touch()
        case "a journal without a fact":
            first = begin(tmp_path).read_bytes().splitlines(keepends=True)[0]
            journal.write_bytes(first)
        case "a fact":
            begin(tmp_path)
        case "damage":
            journal.write_bytes(b"one\ntwo\nthree\n")
    assert place.is_begun == (what in ("a fact", "damage"))
