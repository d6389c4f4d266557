"""What the tests of the local broker share: a job, an archive, and short words for what a communicator does."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from esfsm.adapters.communicators.local import LocalCommunicator
from esfsm.model.job import Job
from esfsm.model.report import Answer, ArchiveRecord, Report

Open = Callable[..., LocalCommunicator]
"""(settings...; panda_id=, run=, job keys by **) -> communicator, all with one broker."""

ONE_FILE = {"inFiles": "EVNT.1.pool.root", "GUID": "G1", "scopeIn": "mc23"}
TWO_FILES = {"inFiles": "EVNT.1.pool.root,EVNT.2.pool.root", "GUID": "G1,G2", "scopeIn": "mc23,mc23"}


def job(panda_id: int = 5001, **more: object) -> Job:
    return Job.read({"PandaID": panda_id, "taskID": 1001, "jobsetID": 5000, **ONE_FILE, **more})


def archive(lfn: str = "premerge.5001.1.tar", size_bytes: int = 20480, adler32: str = "0a1b2c3d") -> ArchiveRecord:
    return ArchiveRecord(lfn, size_bytes, adler32, 1318)


def take(communicator: LocalCommunicator, n: int, request: str = "1.1") -> tuple[str, ...]:
    return tuple(event_range.event_range_id for event_range in communicator.get_event_ranges(n, request).event_ranges)


def finish(communicator: LocalCommunicator, *names: str) -> Answer:
    return communicator.update_event_ranges(Report(names, archive()))


def finish_elsewhere(communicator: LocalCommunicator, *names: str) -> Answer:
    return communicator.update_event_ranges(Report(names, archive("premerge.5001.2.tar")))


def fail(communicator: LocalCommunicator, *names: str) -> Answer:
    return communicator.update_event_ranges(Report(names, error_code=1220, error_diag="it broke"))


def in_another_process(script: str, *arguments: object) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def forget_process_of(communicator: LocalCommunicator, panda_id: int) -> None:
    """As if the pid had been given to another process since."""
    with communicator.broker.database.transaction() as db:
        db.execute("UPDATE consumers SET started = started - 1 WHERE panda_id = ?", (panda_id,))


def only_to_be_read(path: Path) -> None:
    """For anybody, a superuser too: a later SQLite wrote it, says byte 18 (sqlite.org/fileformat.html, 1.3.3)."""
    content = path.read_bytes()
    path.write_bytes(content[:18] + b"\3" + content[19:])


def without_event_ranges(path: Path) -> None:
    """All tables can be read but that one."""
    with closing(sqlite3.connect(path)) as db:
        (page,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'event_ranges'").fetchone()
        (size_bytes,) = db.execute("PRAGMA page_size").fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * size_bytes)
        file.write(b"x" * size_bytes)


def contents(directory: Path) -> dict[str, bytes]:
    """Every file, but for the memory that SQLite shares among processes: whoever reads leaves a mark there."""
    files = (path for path in directory.rglob("*") if path.is_file() and not path.name.endswith("-shm"))
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}
