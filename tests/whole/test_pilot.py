"""`esfsm pilot` as a site runs it: real jobs one after another, stopped and killed."""

import json
from contextlib import closing
from pathlib import Path

import pytest
from whole.commands import DONE, FAILED, SOON, STOPPED, Command, MakeJob, booked, facts, said
from whole.processes import INPUT, ends, pipe

from esfsm.adapters.communicators.jobs.panda import open_jobs
from esfsm.model.settings import Settings
from esfsm.standins.panda.books import Books
from esfsm.standins.panda.server import PandaServer
from esfsm.standins.panda.tasks import Task
from esfsm.testing.panda import serve_panda

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


def test_a_payload_whose_pilot_died_does_not_outlive_the_hope_of_an_answer(
    esfsm: Command, launch: Command, make_job: MakeJob, tmp_path: Path
) -> None:
    go = pipe(tmp_path, "go")
    definition = {**json.loads(make_job(f"simulate {go} 5").read_text()), "fsize": "", "checksum": ""}
    settings = [f"input_url={tmp_path}", "job_attempts=2", "job_pause_s=0"]
    options = [word for setting in settings for word in ("--set", setting)]
    arguments = ["pilot", "--queue", "TEST_ES", "--communicator", "panda", "--workdir", tmp_path / "base", *options]
    with closing(Books()) as books:
        books.submit(Task(1001, 5000, 5001, RANGES, definition=definition))
        with serve_panda(PandaServer(books)) as panda:
            arguments += ["--set", f"panda_server={panda.url}", *SOON]
            running = launch(*arguments)
            with go.open("w"):
                running.process.kill()
                running.end()
    (started,) = facts(tmp_path / "base" / "PanDA_Pilot-5001", "payload_started")
    told = esfsm(*arguments)
    assert ends(started.pid)
    assert told.exit_code == FAILED
    assert "PanDA_Pilot-5001: the server gave no answer: " in told.err
    assert "PanDA_Pilot-5001 was left as it is: " in told.err
    assert "no job could be fetched: " in told.err


def test_the_jobs_of_a_server_for_tests_have_numbers_of_their_own_and_any_inputs(
    launch: Command, make_job: MakeJob, tmp_path: Path
) -> None:
    server = launch("testing", "serve", "--jobs", 2, "--definition", make_job())
    settings = Settings(panda_server=server.process.stdout.readline().strip(), queue="TEST_ES")
    with closing(open_jobs(settings, tmp_path)) as source:
        jobs = [source.fetch(), source.fetch()]
    server.process.terminate()
    assert server.end().exit_code == DONE
    assert [(job["PandaID"], job["inFiles"], job["fsize"]) for job in jobs] == [(5001, INPUT, ""), (5002, INPUT, "")]


def test_a_pilot_says_why_jobs_come_to_nothing(esfsm: Command, make_job: MakeJob, arguments: list[object]) -> None:
    for number in (5001, 5002, 5003):
        make_job(PandaID=number)
    told = esfsm(*arguments, "--set", "channel=nonsense", "--set", "job_attempts=2", "--set", "job_pause_s=0")
    assert (told.exit_code, outcomes(told.out)) == (FAILED, [(None, "failed")])
    assert "2 jobs in a row came to nothing" in told.out
    lines = told.err.splitlines()
    assert [line.partition(": there is no channel 'nonsense'")[0] for line in lines] == [
        f"esfsm: {arguments[4]}/PanDA_Pilot-{number} was not begun" for number in (5001, 5002)
    ]
    assert esfsm(*arguments, "--set", "channel=nonsense", "--quiet").err == ""


def test_the_help_tells_when_a_lifetime_ends_for_jobs(esfsm: Command) -> None:
    assert "180 s before its end" in " ".join(esfsm("pilot", "--help").out.split())


def test_a_base_directory_that_cannot_be_made_is_told(
    esfsm: Command, make_job: MakeJob, arguments: list[object]
) -> None:
    assert "/dev/null" in said(esfsm(*arguments, "--workdir", "/dev/null/base"))


def test_a_queue_must_be_named_for_jobs_of_panda(esfsm: Command, tmp_path: Path) -> None:
    assert "--queue" in said(esfsm("pilot", "--communicator", "panda", "--workdir", tmp_path / "base"))
