"""Stop requests, and several jobs at one broker: what the user sees, and that nothing finished is lost."""

import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from whole.commands import DONE, SOON, STOPPED, Command, MakeJob, booked
from whole.kills import marked
from whole.processes import PATIENCE_S, pipe

from esfsm import cli
from esfsm.adapters.executors.marks import end_marked
from esfsm.equipment import mark_of

INSTANTS = 20
"""In the first second of a job: while Python begins, before, with and after the payload."""

BREAKING_ENGINE = """\
import sys
import esfsm

def watch(fact, engine):
    if fact.name == "ranges_sent":
        sys.exit("broken")

esfsm.run_workflow(sys.argv[1], workdir="work", settings={"events": 12}, watch=watch)
"""

PAYLOAD_THAT_TAKES_ITS_TIME_TO_END = """\
import signal
import sys
from pathlib import Path
from esfsm.payload import connect

def end(number, frame):
    asked, go = map(Path, sys.argv[1:])
    asked.write_text("")
    go.read_text()
    sys.exit()

signal.signal(signal.SIGTERM, end)
with connect() as channel:
    for _ in channel:
        signal.pause()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_leaves_all_finished_work_safe_and_the_same_command_does_the_rest(
    esfsm: Command, launch: Command, make_job: MakeJob, tmp_path: Path, number: signal.Signals
) -> None:
    go, workdir = pipe(tmp_path, "go"), tmp_path / "work"
    arguments = ["--workdir", workdir, "--events", 12, "--set", "zip_max_ranges=4", "--json", *SOON]
    running = launch("run", make_job(f"simulate {go} 5"), *arguments)
    with go.open("w"):  # five are finished, the sixth runs
        running.process.send_signal(number)
        stopped = running.end()
    assert stopped.exit_code == STOPPED
    told = f"stopped: a stop was asked for by {number.name}; event ranges: 5 finished, 7 released"
    assert stopped.outcome["sentence"] == told
    assert booked(workdir / "broker.sqlite") == {"done": 5, "ready": 7}
    assert all(Path(output["url"]).is_file() for output in stopped.outcome["outputs"])

    again = esfsm("run", make_job(), *arguments)
    assert (again.exit_code, again.outcome["events"]) == (DONE, 12)
    assert booked(workdir / "broker.sqlite") == {"done": 12}


def test_what_runs_is_finished_within_the_grace_of_a_stop(launch: Command, make_job: MakeJob, tmp_path: Path) -> None:
    go = pipe(tmp_path, "go")
    arguments = ["--workdir", "work", "--events", 12, "--set", f"grace_s={PATIENCE_S}"]
    running = launch("run", make_job(f"simulate {go} 5"), *arguments)
    with go.open("w"):
        running.process.terminate()
        while not running.process.stderr.readline().startswith("stopping"):
            pass
    stopped = running.end()
    assert stopped.exit_code == STOPPED
    # The payload may have been handed one more just before it was to get none.
    assert stopped.sentence.endswith(
        ("; event ranges: 6 finished, 6 released", "; event ranges: 7 finished, 5 released")
    )


def test_a_second_stop_ends_the_grace(launch: Command, make_job: MakeJob, tmp_path: Path) -> None:
    go = pipe(tmp_path, "go")
    arguments = ["--workdir", "work", "--events", 12, "--set", f"grace_s={10 * PATIENCE_S}"]
    running = launch("run", make_job(f"simulate {go} 5"), *arguments)
    with go.open("w"):
        running.process.terminate()
        while not running.process.stderr.readline().startswith("stopping"):
            pass
        running.process.terminate()
        stopped = running.end()
    assert stopped.exit_code == STOPPED
    assert stopped.sentence.endswith("; event ranges: 5 finished, 7 released")


def test_several_jobs_of_one_task_share_a_broker_and_no_range_is_done_twice(
    launch: Command, make_job: MakeJob, tmp_path: Path
) -> None:
    broker = tmp_path / "broker.sqlite"
    settings = ["--events", 60, "--set", f"broker={broker}", "--json", "--quiet"]
    jobs = [launch("run", make_job(PandaID=number), *settings) for number in (5001, 5002, 5003)]
    told = [job.end() for job in jobs]
    assert [each.exit_code for each in told] == [DONE] * 3, told
    assert sum(each.outcome["events"] for each in told) == 60
    assert booked(broker) == {"done": 60}


def test_what_a_job_that_was_killed_held_is_done_by_another(launch: Command, make_job: MakeJob, tmp_path: Path) -> None:
    go, broker = pipe(tmp_path, "go"), tmp_path / "broker.sqlite"
    settings = ["--events", 12, "--set", f"broker={broker}", "--json", "--quiet"]
    killed = launch("run", make_job(f"simulate {go} 5"), *settings)
    with go.open("w"):
        killed.process.kill()
        killed.end()
        told = launch("run", make_job(PandaID=5002), *settings).end()
    assert end_marked(mark_of(tmp_path / "PanDA_Pilot-5001")), "nobody takes the first job up"
    assert (told.exit_code, told.outcome["events"]) == (DONE, 12)
    assert booked(broker) == {"done": 12}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_before_the_job_begins_is_one_sentence(
    number: signal.Signals, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "run_workflow", lambda *_, **__: signal.raise_signal(number))
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as ended:
        cli.main(["run", str(make_job())])
    assert (ended.value.code, signal.getsignal(number)) == (STOPPED, before)
    assert capfd.readouterr() == ("", "esfsm: stopped before the job began or after it ended\n")


@pytest.mark.parametrize("instant", range(INSTANTS))
def test_whenever_a_stop_comes_nothing_runs_on_and_the_job_can_be_resumed(
    esfsm: Command, launch: Command, make_job: MakeJob, workdir: Path, instant: int
) -> None:
    running = launch("run", make_job(), "--workdir", workdir, "--events", 12, "--quiet", *SOON)
    with suppress(subprocess.TimeoutExpired):
        running.process.wait(instant / INSTANTS)
    running.process.terminate()
    stopped = running.end()
    journal = workdir / "journal.jsonl"
    if not journal.exists() or not journal.stat().st_size:
        assert stopped.exit_code in (STOPPED, -signal.SIGTERM)
        return
    assert stopped.exit_code in (STOPPED, DONE), stopped
    assert marked(mark_of(workdir)) == []
    assert esfsm("resume", workdir, "--quiet").exit_code == DONE
    assert booked(workdir / "broker.sqlite")["done"] == 12
    assert esfsm("audit", workdir).exit_code == DONE


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_engine_that_breaks_is_not_stopped_before_its_payload_has_ended(
    make_job: MakeJob, tmp_path: Path, number: signal.Signals
) -> None:
    asked, go = pipe(tmp_path, "asked"), pipe(tmp_path, "go")
    (tmp_path / "payload.py").write_text(PAYLOAD_THAT_TAKES_ITS_TIME_TO_END)
    command = [sys.executable, "-c", BREAKING_ENGINE, str(make_job(f"{asked} {go}", transformation="payload.py"))]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as engine:
        asked.read_text()
        engine.send_signal(number)
        go.write_text("")
        _, said = engine.communicate(timeout=PATIENCE_S)
    assert (engine.returncode, said) == (1, "broken\n")
    assert marked(mark_of(tmp_path / "work")) == []
