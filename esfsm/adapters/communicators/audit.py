"""What a local broker holds, for people, tests and audits: the only place that looks without taking part."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

from esfsm.adapters.communicators.database import (
    APPLICATION_ID,
    PATIENCE_S,
    Database,
    Status,
    size_bytes,
    troubles,
)
from esfsm.errors import UnusableInput
from esfsm.model.report import Booked

__all__ = ["Attempt", "attempts", "booked", "counts", "holds"]


class Attempt(NamedTuple):
    """One row, for those who check."""

    event_range_id: str | None
    """None where it has no name yet, as nobody got it."""
    status: str
    panda_id: int | None
    """Whose it is, or was."""
    zip_lfn: str | None
    """The archive that holds its output."""
    lfn: str | None
    start_event: int
    last_event: int
    attempt: int
    """How many attempts were left, this one included."""


# SQLite takes the status from the row that has the minimum: the newest attempt at each range.
COUNTS = """
    SELECT status, count(*) FROM
        (SELECT status, min(attempt) FROM event_ranges WHERE task_id = ? GROUP BY file_id, position)
    GROUP BY status
"""
ATTEMPTS = """
    SELECT event_range_id, status, consumers.panda_id, zip_lfn, lfn, start_event, last_event, attempt
    FROM event_ranges JOIN files USING (task_id, file_id)
    LEFT JOIN consumers USING (consumer) LEFT JOIN zip_files USING (zip_file)
    WHERE event_ranges.task_id = ? ORDER BY file_id, position, attempt DESC
"""
BOOKED = """
    SELECT event_range_id, status, zip_lfn
    FROM consumers JOIN event_ranges USING (consumer) LEFT JOIN zip_files USING (zip_file)
    WHERE consumers.task_id = ? AND consumers.panda_id = ?
"""


def counts(database: Database, task_id: int) -> dict[str, int]:
    """How many ranges of a task stand where, each counted once, by its newest attempt: `{"done": 998, "fatal": 2}`."""
    with database.transaction() as db:
        return {Status(status).name.lower(): n for status, n in db.execute(COUNTS, (task_id,))}


def attempts(database: Database, task_id: int) -> list[Attempt]:
    """Every attempt at every range of a task, by file and position, the newest last."""
    with database.transaction() as db:
        rows = db.execute(ATTEMPTS, (task_id,)).fetchall()
    return [Attempt(name, Status(status).name.lower(), *rest) for name, status, *rest in rows]


def holds(path: Path, task_id: int) -> bool:
    """Whether there is a broker with the event ranges of a task.

    Raises `UnusableInput` for a path that cannot hold a broker, `WireError` for a trouble that may pass.
    """
    if not size_bytes(path):
        return False
    with _looking(path, at_start=True) as db:
        (mark,) = db.execute("PRAGMA application_id").fetchone()
        if mark != APPLICATION_ID:
            raise UnusableInput(f"broker {path}: a database, but none of event ranges")
        return db.execute("SELECT 1 FROM tasks WHERE task_id = ?", (task_id,)).fetchone() is not None


def booked(path: Path, task_id: int, panda_id: int, *, at_start: bool) -> dict[str, Booked]:
    """By eventRangeID, how each attempt stands that any run of a job was ever handed out.

    Raises `WireError`; `at_start` of a job, `UnusableInput` for a trouble that will not pass.
    """
    word = cache(lambda status, zip_lfn: Booked(Status(status).name.lower(), zip_lfn))  # few differ, of 10^6
    with _looking(path, at_start=at_start) as db:
        return {name: word(*rest) for name, *rest in db.execute(BOOKED, (task_id, panda_id))}


@contextmanager
def _looking(path: Path, *, at_start: bool) -> Iterator[sqlite3.Connection]:
    """A connection that writes nothing, holds nobody up, and leaves all files as they are."""
    # Who may write and is the last to close copies the write-ahead log into the file, so the log that a killed job
    # left must be opened read-only. Where there is none, who may only read would leave an empty one behind.
    with troubles(path, at_start=at_start):
        mode = "ro" if path.with_name(f"{path.name}-wal").exists() else "rw"
        uri = f"{path.absolute().as_uri()}?mode={mode}"
        with closing(sqlite3.connect(uri, uri=True, timeout=PATIENCE_S, isolation_level=None)) as db:
            yield db
