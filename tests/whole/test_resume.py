"""An engine that dies at any point, and the next one that finishes its job: each event range is booked exactly once."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from shell.jobs import (
    ES_PAYLOAD,
    assert_each_range_is_booked_once,
    es_job,
    es_settings,
    installed,
    write_inputs,
)
from whole.commands import Command, said
from whole.processes import ends

import esfsm
from esfsm.core.engine import Engine
from esfsm.core.facts import Fact, JobResumed, PayloadStarted
from esfsm.journal.file import JOURNAL
from esfsm.journal.reader import read

RANGES = 40
QUICK_RANGES = 6

DYING_ENGINE = """\
import json, os, signal, sys
import esfsm

job, workdir, settings, name, number = sys.argv[1:]
left = int(number)

def watch(fact, engine):
    global left
    left -= fact.name == name
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)

esfsm.run_workflow(job, workdir=workdir, settings=json.loads(settings), watch=watch)
"""

ENGINE_THAT_DIES_BEFORE_IT_KNOWS_ITS_PAYLOAD = """\
import json, os, signal, sys
import esfsm
from esfsm.journal.writer import Journal

def append(self, facts, at, appended=Journal.append):
    if any(fact.name == "payload_started" for fact in facts):
        os.kill(os.getpid(), signal.SIGKILL)
    return appended(self, facts, at)

Journal.append = append
job, workdir, settings = sys.argv[1:]
esfsm.run_workflow(job, workdir=workdir, settings=json.loads(settings))
"""


SIGNING_PAYLOAD = f"import os\nwith open('pids', 'a') as file:\n    file.write(f'{{os.getpid()}}\\n')\n{ES_PAYLOAD}"
"""It writes its pid down."""


class Crash(BaseException):
    """The engine's end at a point that the test has chosen."""


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    return write_inputs(tmp_path / "inputs")


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[None]:
    with installed(tmp_path / "site", {"esfsm.executors:quick": "shell.jobs:QuickExecutor"}):
        yield


@pytest.fixture
def interrupted(tmp_path: Path, inputs: Path, quick: None) -> Path:
    """The work directory of a job whose engine ended with the first result; `workflow` and `queuedata` were given."""

    def watch(fact: Fact, _: Engine) -> None:
        if fact.name == "output_produced":
            raise Crash

    (tmp_path / "queue.json").write_text("{}")
    given = {"executor_type": "quick", "workflow": "eventservice", "queuedata": tmp_path / "queue.json"}
    with pytest.raises(Crash):
        esfsm.run_workflow(
            es_job(), workdir=tmp_path / "work", settings=es_settings(inputs, QUICK_RANGES, **given), watch=watch
        )
    return tmp_path / "work"


def is_alive(fact: PayloadStarted) -> bool:
    try:
        stat = Path(f"/proc/{fact.pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return int(stat[19]) == fact.started and stat[0] != "Z"


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("job_classified", 1),
        ("inputs_staged", 1),
        ("payload_started", 1),
        ("ranges_wanted", 1),
        ("ranges_granted", 1),
        ("ranges_sent", 1),
        ("output_produced", 1),
        ("output_produced", 23),
        ("outputs_packed", 1),
        ("archive_stored", 2),
        ("ranges_acknowledged", 3),
        ("payload_finished", 1),
        ("outputs_staged", 1),
        ("job_reported", 1),
    ],
)
def test_a_job_whose_engine_was_killed_is_finished_by_the_next_one(
    name: str, number: int, tmp_path: Path, inputs: Path
) -> None:
    job, workdir, settings = tmp_path / "job.json", tmp_path / "work", es_settings(inputs, RANGES)
    job.write_text(json.dumps(es_job()))
    arguments = [str(job), str(workdir), json.dumps(settings), name, str(number)]
    killed = subprocess.run([sys.executable, "-c", DYING_ENGINE, *arguments], check=False)
    assert killed.returncode == -signal.SIGKILL
    first = [entry.fact for entry in read(workdir / JOURNAL)[1]]

    outcome = esfsm.run_workflow(job, workdir=workdir, settings=settings)

    assert (outcome.state, outcome.exit_code) == ("done", 0)
    assert outcome.ranges["finished"] >= RANGES - 1, "one worker has at most one range in hand"
    assert outcome.events == 2 * outcome.ranges["finished"]
    assert dict(outcome.ranges) == {"finished": RANGES}
    assert_each_range_is_booked_once(workdir, RANGES)
    assert not [fact for fact in first if isinstance(fact, PayloadStarted) and is_alive(fact)]
    assert esfsm.replay(workdir / JOURNAL).engine.state == "done"


def test_a_payload_is_ended_even_if_its_engine_was_killed_before_it_wrote_down_that_there_is_one(
    tmp_path: Path,
) -> None:
    inputs = write_inputs(tmp_path / "inputs", payload=SIGNING_PAYLOAD)
    job, workdir, settings = tmp_path / "job.json", tmp_path / "work", es_settings(inputs, QUICK_RANGES)
    job.write_text(json.dumps(es_job()))
    arguments = [str(job), str(workdir), json.dumps(settings)]
    subprocess.run([sys.executable, "-c", ENGINE_THAT_DIES_BEFORE_IT_KNOWS_ITS_PAYLOAD, *arguments], check=False)
    assert esfsm.run_workflow(job, workdir=workdir, settings=settings).state == "done"
    pids = [int(pid) for pid in (workdir / "pids").read_text().split()]
    assert len(pids) == 2
    orphans = [pid for pid in pids if not ends(pid)]
    for pid in orphans:
        os.kill(pid, signal.SIGKILL)
    assert not orphans


def test_a_payload_that_outlives_its_engine_is_adopted_and_all_of_its_results_are_there(tmp_path: Path) -> None:
    inputs = write_inputs(tmp_path / "inputs", payload=SIGNING_PAYLOAD)
    job, workdir, settings = tmp_path / "job.json", tmp_path / "work", es_settings(inputs, RANGES)
    job.write_text(json.dumps(es_job()))
    arguments = [str(job), str(workdir), json.dumps(settings), "output_produced", "7"]
    subprocess.run([sys.executable, "-c", DYING_ENGINE, *arguments], check=False)
    outcome = esfsm.resume(workdir)
    (resumed,) = (entry.fact for entry in read(workdir / JOURNAL)[1] if isinstance(entry.fact, JobResumed))
    assert resumed.adopted
    begun = len((workdir / "pids").read_text().split())
    assert begun <= 2, "a second one runs what the first may have said to the engine that died"
    assert outcome.state == "done"
    if begun == 1:
        assert outcome.payload_exit_code == 0
    assert dict(outcome.ranges) == {"finished": RANGES}
    assert_each_range_is_booked_once(workdir, RANGES)


def test_a_job_whose_payload_died_with_its_engine_begins_another_one(tmp_path: Path) -> None:
    inputs = write_inputs(tmp_path / "inputs", payload=SIGNING_PAYLOAD)
    job, workdir, settings = tmp_path / "job.json", tmp_path / "work", es_settings(inputs, RANGES)
    job.write_text(json.dumps(es_job()))
    arguments = [str(job), str(workdir), json.dumps(settings), "output_produced", "7"]
    subprocess.run([sys.executable, "-c", DYING_ENGINE, *arguments], check=False)
    os.kill(pid := int((workdir / "pids").read_text()), signal.SIGKILL)
    assert ends(pid)
    outcome = esfsm.resume(workdir)
    assert len((workdir / "pids").read_text().split()) == 2
    assert (outcome.state, dict(outcome.ranges)) == ("done", {"finished": RANGES})
    assert_each_range_is_booked_once(workdir, RANGES)


def test_a_job_can_be_killed_again_and_again(tmp_path: Path, inputs: Path) -> None:
    job, workdir, settings = tmp_path / "job.json", tmp_path / "work", es_settings(inputs, RANGES)
    job.write_text(json.dumps(es_job()))
    arguments = [str(job), str(workdir), json.dumps(settings), "output_produced", "7"]
    lives = 0
    while subprocess.run([sys.executable, "-c", DYING_ENGINE, *arguments], check=False).returncode:
        lives += 1
    assert lives >= 2
    assert esfsm.replay(workdir / JOURNAL).engine.state == "done"
    outcome = esfsm.run_workflow(job, workdir=workdir, settings=settings)
    assert dict(outcome.ranges) == {"finished": RANGES}
    assert_each_range_is_booked_once(workdir, RANGES)


def test_a_job_is_finished_whatever_fact_was_the_last_one_that_its_engine_heard(
    tmp_path: Path, inputs: Path, quick: None
) -> None:
    settings = es_settings(inputs, QUICK_RANGES, executor_type="quick", zip_max_ranges=2)
    crashes = 0
    while True:
        workdir, left = tmp_path / f"after {crashes + 1}", crashes + 1

        def watch(_: Fact, __: Engine) -> None:
            nonlocal left
            left -= 1
            if not left:
                raise Crash

        try:
            esfsm.run_workflow(es_job(), workdir=workdir, settings=settings, watch=watch)
            break
        except Crash:
            crashes += 1
        outcome = esfsm.run_workflow(es_job(), workdir=workdir, settings=settings)
        assert (outcome.state, dict(outcome.ranges)) == ("done", {"finished": QUICK_RANGES})
        assert_each_range_is_booked_once(workdir, QUICK_RANGES)
        assert esfsm.replay(workdir / JOURNAL).engine.state == "done"
    assert crashes > 3 * QUICK_RANGES


def world_at(workdir: Path, journal: bytes, copy: Path) -> None:
    """A copy of a work directory as it is now, but with this journal; it may be taken while others write."""

    def copied(source: str, target: str) -> None:
        with suppress(FileNotFoundError):  # half a copy, which has got its name meanwhile
            shutil.copy2(source, target)

    shutil.copytree(workdir, copy, copy_function=copied, ignore=shutil.ignore_patterns("broker.sqlite*", JOURNAL))
    (copy / JOURNAL).write_bytes(journal)
    with (
        closing(sqlite3.connect(workdir / "broker.sqlite")) as live,
        closing(sqlite3.connect(copy / "broker.sqlite")) as db,
    ):
        live.backup(db)


@pytest.mark.parametrize("sync", ["effects", "always"])
def test_a_power_failure_that_takes_all_that_was_not_synced_costs_no_range(
    sync: str, tmp_path: Path, inputs: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = es_settings(inputs, QUICK_RANGES, executor_type="quick", zip_max_ranges=2, sync=sync)
    workdir, synced, copies = tmp_path / "work", 0, 0

    def fdatasync(descriptor: int) -> None:
        nonlocal synced
        synced = os.fstat(descriptor).st_size

    def watch(_: Fact, __: Engine) -> None:
        nonlocal copies
        copies += 1
        world_at(workdir, (workdir / JOURNAL).read_bytes()[:synced], tmp_path / f"copy {copies}")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", fdatasync)
        esfsm.run_workflow(es_job(), workdir=workdir, settings=settings, watch=watch)
    assert copies > 3 * QUICK_RANGES
    for copy in range(1, copies + 1):
        outcome = esfsm.run_workflow(es_job(), workdir=tmp_path / f"copy {copy}", settings=settings)
        assert outcome.state == "done", outcome.sentence
        assert_each_range_is_booked_once(tmp_path / f"copy {copy}", QUICK_RANGES)


def test_a_torn_last_line_is_no_obstacle(interrupted: Path) -> None:
    journal = interrupted / JOURNAL
    os.truncate(journal, journal.stat().st_size - 3)
    assert esfsm.resume(interrupted).state == "done"
    assert_each_range_is_booked_once(interrupted, QUICK_RANGES)


def test_a_job_that_is_done_is_not_run_again(tmp_path: Path, inputs: Path, quick: None) -> None:
    settings = es_settings(inputs, QUICK_RANGES, executor_type="quick")
    first = esfsm.run_workflow(es_job(), workdir=tmp_path / "work", settings=settings)
    content = first.journal.read_bytes()
    assert esfsm.run_workflow(es_job(), workdir=tmp_path / "work", settings=settings) == first
    assert first.journal.read_bytes() == content


# --- settings that are to be other --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ("workflow=generic", "a job keeps the table that it was begun with"),
        (
            "queuedata=other.json",
            "a job keeps what its queue said when it was begun; give the settings that are to be other",
        ),
    ],
)
def test_what_only_the_beginning_of_a_job_looks_at_cannot_be_changed(
    esfsm: Command, interrupted: Path, setting: str, why: str
) -> None:
    _, before = read(interrupted / JOURNAL)
    told = esfsm("resume", interrupted, "--set", setting)
    assert said(told) == f"setting {setting.partition('=')[0]} (argument): {why}"
    _, after = read(interrupted / JOURNAL)
    assert [entry.fact for entry in after] == [entry.fact for entry in before]


@pytest.mark.parametrize("setting", [{"workflow": "eventservice"}, {"queuedata": "queue.json"}])
def test_what_cannot_be_changed_may_be_given_as_it_was(
    interrupted: Path, setting: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(interrupted.parent)
    assert esfsm.resume(interrupted, settings=setting).state == "done"


def test_a_place_that_is_changed_is_meant_from_where_we_are_now(
    interrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(interrupted.parent)
    outcome = esfsm.resume(interrupted, settings={"output_url": "there"})
    monkeypatch.chdir("/")
    assert {Path(copy.url).parent for copy in outcome.outputs} == {interrupted.parent / "there"}
    assert esfsm.audit(interrupted).differences == ()


def test_the_environment_changes_nothing_of_a_job_that_was_begun(
    interrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ESFSM_CORES", "7")
    assert esfsm.resume(interrupted).state == "done"
    (resumed,) = (entry.fact for entry in read(interrupted / JOURNAL)[1] if isinstance(entry.fact, JobResumed))
    assert resumed.settings["cores"] is None
