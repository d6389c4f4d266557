"""What an access point must be for a job, and the jobs that a pilot finds there."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from esfsm.adapters.communicators.access_point import AccessPoint
from esfsm.adapters.communicators.harvester import open_harvester
from esfsm.adapters.communicators.jobs.harvester import HarvesterJobs, open_jobs
from esfsm.errors import UnusableInput, WireError
from esfsm.model import settings as model
from esfsm.model.job import Job
from esfsm.model.report import JobReport
from esfsm.standins.harvester import Harvester, Messenger

EVENT_SERVICE = {"PandaID": 7000, "taskID": 9000, "jobsetID": 6000, "eventService": "True"}


class Settings(model.Settings):
    """With those of Harvester."""

    access_point: Path | None = None
    harvester_look_s: float = 5.0
    harvester_patience_s: float = 1800.0


@pytest.fixture
def worker(tmp_path: Path) -> Path:
    directory = tmp_path / "worker"
    directory.mkdir()
    return directory


def job(**more: object) -> Job:
    return Job.read({**EVENT_SERVICE, **more})


# --- the communicator ---


def test_a_job_is_told_of_at_the_access_point(worker: Path, tmp_path: Path) -> None:
    settings = Settings(access_point=worker, cores=8)
    with closing(open_harvester(job(attemptNr=3), settings, tmp_path, "r1")) as communicator:
        communicator.update_job(JobReport("running"))
    said = json.loads((worker / "worker_attributes.json").read_text())
    assert (said["jobStatus"], said["attemptNr"], said["coreCount"]) == ("running", 3, 8)


@pytest.mark.parametrize("place", [None, Path("nowhere")])
def test_without_an_access_point_there_is_nobody_to_speak_to(tmp_path: Path, place: Path | None) -> None:
    settings = Settings(access_point=place and tmp_path / place)
    with pytest.raises(UnusableInput, match="--set access_point=DIRECTORY"):
        open_harvester(job(), settings, tmp_path, "r1")
    with pytest.raises(UnusableInput, match="--set access_point=DIRECTORY"):
        open_jobs(settings, tmp_path)


@pytest.mark.parametrize("number", ["taskID", "jobsetID"])
def test_an_event_service_job_needs_the_numbers_that_panda_knows_it_by(
    worker: Path, tmp_path: Path, number: str
) -> None:
    with pytest.raises(UnusableInput, match="without taskID and jobsetID"):
        open_harvester(job(**{number: "NULL"}), Settings(access_point=worker), tmp_path, "r1")


@pytest.mark.parametrize("setting", ["output_url", "failover_url"])
def test_outputs_must_lie_where_harvester_can_take_them_from(worker: Path, tmp_path: Path, setting: str) -> None:
    settings = Settings(access_point=worker, **{setting: "root://storage/outputs"})
    with pytest.raises(UnusableInput, match="not from root://storage/outputs"):
        open_harvester(job(), settings, tmp_path, "r1")


@pytest.mark.parametrize("url", ["file:///shared/outputs", "/shared/outputs", "outputs"])
def test_a_directory_is_such_a_place(worker: Path, tmp_path: Path, url: str) -> None:
    open_harvester(job(), Settings(access_point=worker, output_url=url), tmp_path, "r1").close()


@pytest.mark.parametrize("file", ["HPCJobs.json", "pandaJobData.out"])
def test_a_worker_with_several_jobs_is_fed_no_event_ranges(worker: Path, tmp_path: Path, file: str) -> None:
    (worker / "7000").mkdir()
    (worker / "7000" / file).write_text("{}")
    with pytest.raises(UnusableInput, match="map type ManyToOne"):
        open_harvester(job(), Settings(access_point=worker), tmp_path, "r1")


def test_in_such_a_worker_each_other_job_speaks_in_its_own_directory(worker: Path, tmp_path: Path) -> None:
    messenger = Messenger(worker, [7000], "ManyToOne")
    messenger.feed_jobs([{"PandaID": 7000}])
    plain = job(eventService="False")
    with closing(open_harvester(plain, Settings(access_point=worker), tmp_path, "r1")) as communicator:
        communicator.update_job(JobReport("running"))
    assert messenger.attributes()[7000]["jobStatus"] == "running"
    assert (worker / "worker_heartbeat.json").exists()


def test_the_settings_say_how_long_harvester_is_waited_for(worker: Path, tmp_path: Path) -> None:
    settings = Settings(access_point=worker, harvester_look_s=0.001, harvester_patience_s=0.002)
    with (
        closing(open_harvester(job(), settings, tmp_path, "r1")) as communicator,
        pytest.raises(WireError, match=r"within 0\.002 s"),
    ):
        communicator.get_event_ranges(1, "r1.0")


# --- jobs for a pilot ---


@pytest.fixture
def jobs(worker: Path, tmp_path: Path) -> Iterator[HarvesterJobs]:
    with closing(open_jobs(Settings(access_point=worker), tmp_path)) as jobs:
        yield jobs


def fetched(jobs: HarvesterJobs) -> object:
    definition = jobs.fetch()
    return definition and definition["PandaID"]


@pytest.mark.parametrize("file", ["HPCJobs.json", "pandaJobData.out"])
def test_the_job_that_a_worker_begins_with_is_found_by_either_name(
    jobs: HarvesterJobs, worker: Path, file: str
) -> None:
    (worker / file).write_text(json.dumps({"7000": EVENT_SERVICE}))
    assert fetched(jobs) == 7000
    assert not (worker / "worker_requestjob.json").exists()


def test_a_job_is_found_until_it_has_a_work_directory_and_then_another_is_asked_for(
    jobs: HarvesterJobs, worker: Path, tmp_path: Path
) -> None:
    harvester = Harvester(Messenger(worker), None)
    harvester.messenger.feed_jobs([EVENT_SERVICE])
    harvester.jobs.append({**EVENT_SERVICE, "PandaID": 7001})
    assert fetched(jobs) == fetched(jobs) == 7000
    (tmp_path / "PanDA_Pilot-7000").mkdir()
    assert fetched(jobs) is None
    assert fetched(jobs) is None
    harvester.turn()
    assert fetched(jobs) == 7001


def test_what_is_fed_is_not_read_before_the_request_has_gone(jobs: HarvesterJobs, worker: Path) -> None:
    assert fetched(jobs) is None
    (worker / "HPCJobs.json").write_text('{"7000": {')
    assert fetched(jobs) is None


def test_several_jobs_of_a_worker_are_found_one_after_the_other(
    jobs: HarvesterJobs, worker: Path, tmp_path: Path
) -> None:
    both = [{**EVENT_SERVICE, "PandaID": panda_id} for panda_id in (7000, 7001)]
    Messenger(worker, map_type="ManyToOne").feed_jobs(both)
    assert fetched(jobs) == 7000
    (tmp_path / "PanDA_Pilot-7000").mkdir()
    assert fetched(jobs) == 7001


def test_a_file_without_a_job_is_an_unknown_answer(jobs: HarvesterJobs, worker: Path) -> None:
    (worker / "HPCJobs.json").write_text('{"7000": {')
    with pytest.raises(WireError, match=r"HPCJobs\.json"):
        jobs.fetch()


def torn(file: Path) -> None:
    file.write_text('{"7000": {')


def piped(file: Path) -> None:
    os.mkfifo(file)


@pytest.mark.parametrize("spoil", [torn, piped])
def test_a_file_without_a_job_is_passed_over_as_long_as_others_hold_one(
    jobs: HarvesterJobs, worker: Path, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    Messenger(worker, map_type="ManyToOne").feed_jobs([{**EVENT_SERVICE, "PandaID": 7001}])
    spoil(worker / "HPCJobs.json")
    (worker / "pandaJobData.out").write_text(json.dumps({"7000": EVENT_SERVICE}))
    for panda_id in (7000, 7001):
        assert fetched(jobs) == panda_id
        (tmp_path / f"PanDA_Pilot-{panda_id}").mkdir()
    with pytest.raises(WireError, match=r"HPCJobs\.json"):
        jobs.fetch()
    assert not (worker / "worker_requestjob.json").exists()


def test_an_end_that_harvester_cannot_be_told_hides_no_fault_before_it(worker: Path, tmp_path: Path) -> None:
    gone = AccessPoint(worker / "gone", "jobs")
    with pytest.raises(WireError, match=r"worker_requestjob\.json"), closing(HarvesterJobs(gone, tmp_path)) as jobs:
        jobs.fetch()


def test_nobody_asks_for_a_job_when_the_pilot_has_ended(jobs: HarvesterJobs, worker: Path) -> None:
    jobs.fetch()
    assert (worker / "worker_requestjob.json").exists()
    jobs.close()
    assert not (worker / "worker_requestjob.json").exists()


def test_a_worker_whose_pilot_has_ended_may_be_ended(worker: Path, tmp_path: Path) -> None:
    messenger = Messenger(worker)
    assert not messenger.kill_requested()
    HarvesterJobs(AccessPoint(worker, "jobs"), tmp_path).close()
    assert messenger.kill_requested()
