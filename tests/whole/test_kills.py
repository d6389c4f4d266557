"""Engines that are killed at any instant: nothing is lost, nothing is done twice, nothing is left behind."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from whole import kills
from whole.kills import PAYLOADS, Job, storms

from esfsm.adapters.communicators.database import Status
from esfsm.equipment import mark_of

KILLS = 17
"""With each payload; a thousand take some minutes: `python tests/whole/kills.py --kills 1000`."""


@pytest.mark.parametrize("payload", PAYLOADS)
def test_whenever_engines_are_killed_each_event_range_is_done_exactly_once(tmp_path: Path, payload: str) -> None:
    tally = storms(tmp_path, payload, KILLS, [payload])
    assert tally.faults == []
    assert tally.kills == KILLS


def test_the_figures_are_printed() -> None:
    told = subprocess.run([sys.executable, kills.__file__, "--kills", "2"], capture_output=True, text=True, check=True)
    assert "kills 2, jobs " in told.stdout
    assert "lost 0, double 0, orphan 0, wrong 0" in told.stdout


# --- what would be found ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A job of which nobody has killed an engine."""
    job = Job(tmp_path_factory.mktemp("job") / "home", "one process", Random("whatever"))
    assert job.go_on().faults == []
    return job


@pytest.fixture
def job(ended: Job, tmp_path: Path) -> Iterator[Job]:
    """The same, to be damaged."""
    shutil.copytree(ended.home, tmp_path / "copy")
    yield ended
    shutil.rmtree(ended.home)
    shutil.copytree(tmp_path / "copy", ended.home)


def change(job: Job, statement: str) -> None:
    with closing(sqlite3.connect(job.workdir / "broker.sqlite", isolation_level=None)) as db:
        assert db.execute(statement).rowcount == 1


def twice(file: Path) -> None:
    file.write_text(file.read_text() * 2)


def archive(job: Job) -> Path:
    return min((job.workdir / "outputs").iterdir())


def copy_of_the_first_row(changed: str) -> str:
    columns = "task_id, file_id, position, start_event, last_event, status, zip_file"
    return (
        f"INSERT INTO event_ranges ({columns}, attempt, event_range_id) "
        f"SELECT {columns}, {changed} FROM event_ranges WHERE position = 1"
    )


DAMAGES: dict[str, tuple[str, Callable[[Job], object]]] = {
    "a range that is still with the job": (
        "lost: position 1 is",
        lambda job: change(job, f"UPDATE event_ranges SET status = {Status.SENT:d} WHERE position = 1"),
    ),
    "an archive that is not there": ("lost: EventService", lambda job: archive(job).unlink()),
    "a range that was done in two attempts": (
        "double: position 1 is done 2 times",
        lambda job: change(job, copy_of_the_first_row("9, '1001-5001-1-1-9'")),
    ),
    "a range that one payload was sent twice": (
        "double: payload and event range",
        lambda job: twice(job.workdir / "processed"),
    ),
    "an archive that nobody has booked": (
        "orphan: stray.tar",
        lambda job: archive(job).with_name("stray.tar").touch(),
    ),
    "half a copy": ("orphan: /", lambda job: archive(job).with_name(".0123.part").touch()),
    "an archive with the outputs of others": (
        "wrong: EventService_premerge_1001-5001-1-1-10.tar does not hold",
        lambda job: change(job, "UPDATE event_ranges SET zip_file = zip_file + 1 WHERE position = 1"),
    ),
    "a range that has failed": (
        "wrong: 1001-5001-1-1-10 has status 7",
        lambda job: change(job, f"UPDATE event_ranges SET status = {Status.FAILED:d} WHERE position = 1"),
    ),
    "a journal that is too short": (
        "wrong: the journal ends in",
        lambda job: os.truncate(job.journal, job.journal.stat().st_size * 3 // 4),
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found(job: Job, damage: str) -> None:
    sentence, do = DAMAGES[damage]
    do(job)
    assert [fault for fault in job.faults() if fault.startswith(sentence)]


def test_a_payload_that_is_left_is_found(job: Job) -> None:
    marked = {**os.environ, "PILOT_ESFSM_PAYLOAD": mark_of(job.workdir)}
    with subprocess.Popen(["sleep", "600"], env=marked) as payload:
        try:
            assert list(job.faults()) == [f"orphan: process {payload.pid} of the payload"]
        finally:
            payload.send_signal(signal.SIGKILL)


def test_a_socket_file_that_is_left_is_found(job: Job) -> None:
    [socket_file] = job.channels
    socket_file.touch()
    try:
        assert list(job.faults()) == [f"orphan: {socket_file}"]
    finally:
        socket_file.unlink()
