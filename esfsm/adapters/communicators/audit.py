"""What a local broker holds: the only place that reads its table for people, tests and reports."""

from typing import NamedTuple

from esfsm.adapters.communicators.database import Database, Status

__all__ = ["Attempt", "attempts", "counts"]


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


def counts(database: Database, task_id: int) -> dict[str, int]:
    """How many ranges of a task stand where, each counted once, by its newest attempt: `{"done": 998, "fatal": 2}`."""
    with database.transaction() as db:
        return {Status(status).name.lower(): n for status, n in db.execute(COUNTS, (task_id,))}


def attempts(database: Database, task_id: int) -> list[Attempt]:
    """Every attempt at every range of a task, by file and position, the newest last."""
    with database.transaction() as db:
        rows = db.execute(ATTEMPTS, (task_id,)).fetchall()
    return [Attempt(name, Status(status).name.lower(), *rest) for name, status, *rest in rows]
