"""Many processes at one broker, processes that die, and trouble with its file."""

import os
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from contract.brokers import Open, fail, finish, forget_process_of, in_another_process, job, take

from esfsm.adapters.communicators import database
from esfsm.adapters.communicators.local import open_local
from esfsm.errors import UnusableInput, WireError
from esfsm.model.report import Report
from esfsm.model.settings import Settings
from esfsm.processes import lives, this_process

# Processes

GONE = """
import os, sys
from pathlib import Path
from esfsm.adapters.communicators.local import open_local
from esfsm.model.job import Job
from esfsm.model.settings import Settings
job = Job.read({"PandaID": 5009, "taskID": 1001, "inFiles": "EVNT.1.pool.root", "GUID": "G1", "scopeIn": "mc23"})
communicator = open_local(job, Settings(broker=Path(sys.argv[1])), Path(), "r1")
for event_range in communicator.get_event_ranges(2, "1.1").event_ranges:
    print(event_range.event_range_id)
sys.stdout.flush()
sys.stdin.read()
"""


@pytest.fixture
def other_process(opened: Open, tmp_path: Path) -> Iterator[tuple["subprocess.Popen[str]", tuple[str, ...]]]:
    """A process that holds the first two of three ranges as job 5009, and waits; and what it holds."""
    opened(events=3)
    with in_another_process(GONE, tmp_path / "shared.sqlite") as process:
        assert process.stdout is not None
        yield process, tuple(process.stdout.readline().strip() for _ in range(2))
        process.kill()


def test_the_ranges_of_a_killed_process_come_back_before_anybody_is_told_exhausted(
    opened: Open, other_process: tuple["subprocess.Popen[str]", tuple[str, ...]]
) -> None:
    process, held = other_process
    assert held == ("1001-5009-1-1-10", "1001-5009-1-2-10")
    communicator = opened()
    assert take(communicator, 3) == ("1001-5001-1-3-10",)
    assert communicator.get_event_ranges(3, "1.2").exhausted  # it lives
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert take(communicator, 3, "1.3") == ("1001-5001-1-1-9", "1001-5001-1-2-9")


def test_a_run_that_another_process_resumes_has_what_it_had(
    opened: Open, other_process: tuple["subprocess.Popen[str]", tuple[str, ...]]
) -> None:
    process, _ = other_process
    process.kill()
    process.wait()
    communicator = opened(5009)
    assert take(communicator, 2) == ("1001-5009-1-1-10", "1001-5009-1-2-10")
    assert take(communicator, 3, "1.2") == ("1001-5009-1-3-10",)
    assert take(opened(), 3) == ()


def test_a_process_that_died_without_an_end_of_its_job_leaves_its_failed_ranges_to_others(opened: Open) -> None:
    first, second = opened(5001, events=2), opened(5002, events=2)
    fail(first, *take(first, 1))
    forget_process_of(first, 5001)
    assert take(second, 2) == ("1001-5002-1-1-9", "1001-5002-1-2-10")


def test_ranges_of_another_host_are_not_taken_back(opened: Open) -> None:
    first, second = opened(5001, events=1), opened(5002, events=1)
    take(first, 1)
    forget_process_of(first, 5001)
    with first.broker.database.transaction() as db:
        db.execute("UPDATE consumers SET host = 'another' WHERE panda_id = 5001")
    grant = second.get_event_ranges(1, "1.1")
    assert (grant.event_ranges, grant.exhausted) == ((), True)


def test_a_process_lives_until_it_ends_or_its_pid_is_anothers() -> None:
    assert lives(this_process())
    assert not lives(this_process()._replace(started=this_process().started - 1))
    with in_another_process("") as process:
        ended = this_process()._replace(pid=process.pid)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # a zombie now
        started = int(Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19])
        assert not lives(ended._replace(started=started))
    assert not lives(ended._replace(started=started))


DRAIN = """
import sys
from pathlib import Path
from esfsm.adapters.communicators.local import open_local
from esfsm.model.job import Job
from esfsm.model.report import ArchiveRecord, Report
from esfsm.model.settings import Settings
job = Job.read({"PandaID": int(sys.argv[2]), "taskID": 1001, "inFiles": "EVNT.1.pool.root"})
print("here", flush=True)
sys.stdin.readline()
communicator = open_local(job, Settings(broker=Path(sys.argv[1]), events=1000), Path(), "r1")
number, exhausted = 0, False
while not exhausted:
    number += 1
    grant = communicator.get_event_ranges(7, f"1.{number}")
    exhausted = grant.exhausted
    names = tuple(event_range.event_range_id for event_range in grant.event_ranges)
    communicator.update_event_ranges(Report(names, ArchiveRecord(f"{number}.tar", 1, "00000001", 1)))
    print(*names, sep="\\n")
communicator.close()
"""


def test_four_processes_open_at_once_fill_once_and_share_every_range(tmp_path: Path) -> None:
    path = tmp_path / "shared.sqlite"
    processes = [in_another_process(DRAIN, path, 5001 + number) for number in range(4)]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    granted = [name for process in processes for name in process.communicate()[0].split()]
    assert [process.returncode for process in processes] == [0] * 4
    positions = [int(name.split("-")[3]) for name in granted]
    assert sorted(positions) == list(range(1, 1001))
    own = {"inFiles": "EVNT.1.pool.root", "GUID": "", "scopeIn": ""}
    with closing(open_local(job(**own), Settings(broker=path), tmp_path, "r9")) as communicator:
        assert communicator.counts() == {"finished": 1000}


# Trouble with the file


def test_a_locked_file_is_an_unknown_answer(opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "PATIENCE_S", 0.01)
    communicator = opened(events=1)
    with closing(sqlite3.connect(tmp_path / "shared.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(WireError, match="database is locked"):
            communicator.get_event_ranges(1, "1.1")
        with pytest.raises(WireError, match="database is locked"):
            opened(events=1)
        other.execute("ROLLBACK")
    assert len(take(communicator, 1)) == 1


def test_a_full_disk_changes_nothing_and_the_report_may_be_made_again(opened: Open) -> None:
    communicator = opened(events=2)
    names = take(communicator, 2)
    before = communicator.attempts()
    report = Report(names, error_code=1220, error_diag="x" * 100_000)
    with communicator.broker.database.transaction() as db:
        db.execute("PRAGMA max_page_count = 1")  # the least that SQLite takes is what is there
    with pytest.raises(WireError, match="full"):
        communicator.update_event_ranges(report)
    assert communicator.attempts() == before
    with communicator.broker.database.transaction() as db:
        db.execute("PRAGMA max_page_count = 1000000")
    assert communicator.update_event_ranges(report).accepted == names


@pytest.mark.parametrize("successor", [None, b"", "copy"], ids=["deleted", "empty", "copy"])
def test_a_file_that_is_deleted_or_replaced_in_use_is_a_trouble_of_the_wire(
    opened: Open, tmp_path: Path, successor: bytes | str | None
) -> None:
    communicator, path = opened(events=2), tmp_path / "shared.sqlite"
    names = take(communicator, 1)
    content = path.read_bytes() if successor == "copy" else successor
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WireError, match="the file is not there any more, or is another one"):
        finish(communicator, *names)


@pytest.mark.parametrize("joined", [True, False], ids=["in use", "at the start"])
def test_a_damaged_file_is_a_trouble_of_the_wire_once_the_job_runs(opened: Open, tmp_path: Path, joined: bool) -> None:
    communicator = opened(events=2)
    if joined:
        communicator.join()
    for path in tmp_path.glob("shared.sqlite*"):
        with path.open("r+b") as file:
            file.write(b"x" * path.stat().st_size)
    with pytest.raises(WireError if joined else UnusableInput, match=r"not a database|malformed"):
        take(communicator, 1)
