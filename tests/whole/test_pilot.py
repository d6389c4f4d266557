"""`esfsm pilot` as a site runs it: real jobs one after another, stopped and killed."""

import json
from pathlib import Path

import pytest
from whole.commands import DONE, SOON, STOPPED, Command, MakeJob, booked, facts, said
from whole.processes import pipe

RANGES = 12


@pytest.fixture
def arguments(tmp_path: Path) -> list[object]:
    """Of a pilot whose jobs share a broker."""
    settings = [f"jobs={tmp_path}", f"input_url={tmp_path}", f"broker={tmp_path / 'broker.sqlite'}", "job_attempts=1"]
    options = [word for setting in [*settings, f"events={RANGES}"] for word in ("--set", setting)]
    return ["pilot", "--communicator", "local", "--workdir", tmp_path / "base", "--json", *options, *SOON]


def outcomes(out: str) -> list[tuple[object, str]]:
    return [(told.get("panda_id"), told["state"]) for told in map(json.loads, out.splitlines())]


def test_jobs_are_done_one_after_another(esfsm: Command, make_job: MakeJob, arguments: list[object]) -> None:
    make_job()
    make_job(PandaID=5002, taskID=1002)
    told = esfsm(*arguments)
    assert (told.exit_code, outcomes(told.out)) == (DONE, [(5001, "done"), (5002, "done"), (None, "done")])


def test_a_pilot_that_is_stopped_stops_its_job_with_all_finished_work_safe(
    launch: Command, make_job: MakeJob, arguments: list[object], tmp_path: Path
) -> None:
    go = pipe(tmp_path, "go")
    make_job(f"simulate {go} 5")
    make_job(PandaID=5002, taskID=1002)
    running = launch(*arguments)
    with go.open("w"):
        running.process.terminate()
        stopped = running.end()
    assert (stopped.exit_code, outcomes(stopped.out)) == (STOPPED, [(5001, "stopped"), (None, "stopped")])
    assert booked(tmp_path / "broker.sqlite") == {"done": 5, "ready": 7}


def test_the_job_of_a_killed_pilot_is_finished_by_the_next_one_before_anything_new(
    esfsm: Command, launch: Command, make_job: MakeJob, arguments: list[object], tmp_path: Path
) -> None:
    go = pipe(tmp_path, "go")
    make_job(f"simulate {go} 5")
    make_job(PandaID=5002, taskID=1002)
    running = launch(*arguments, "--jobs", 1)
    with go.open("w"):
        running.process.kill()
        running.end()
    told = esfsm(*arguments)
    assert (told.exit_code, outcomes(told.out)) == (DONE, [(5001, "done"), (5002, "done"), (None, "done")])
    assert booked(tmp_path / "broker.sqlite") == {"done": RANGES}
    assert len(facts(tmp_path / "base" / "PanDA_Pilot-5001", "job_resumed")) == 1


def test_a_job_that_a_killed_pilot_had_only_fetched_is_run_by_the_next_one(
    esfsm: Command, make_job: MakeJob, arguments: list[object], tmp_path: Path
) -> None:
    place = tmp_path / "base" / "PanDA_Pilot-5001"
    place.mkdir(parents=True)
    make_job().rename(place / "job.json")
    told = esfsm(*arguments)
    assert outcomes(told.out) == [(5001, "done"), (None, "done")]


def test_two_pilots_of_one_base_directory_leave_each_others_job_alone(
    esfsm: Command, launch: Command, make_job: MakeJob, arguments: list[object], tmp_path: Path
) -> None:
    go = pipe(tmp_path, "go")
    make_job(f"simulate {go} 5")
    running = launch(*arguments)
    with go.open("w"):
        told = esfsm(*arguments)
        assert outcomes(told.out) == [(None, "done")]
    assert outcomes(running.end().out) == [(5001, "done"), (None, "done")]


def test_a_base_directory_that_cannot_be_made_is_told(
    esfsm: Command, make_job: MakeJob, arguments: list[object]
) -> None:
    assert "/dev/null" in said(esfsm(*arguments, "--workdir", "/dev/null/base"))


def test_a_queue_must_be_named_for_jobs_of_panda(esfsm: Command, tmp_path: Path) -> None:
    assert "--queue" in said(esfsm("pilot", "--communicator", "panda", "--workdir", tmp_path / "base"))
