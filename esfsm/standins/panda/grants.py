"""How event ranges are handed out, and what happens to those who wait when they run short."""

import sqlite3

from esfsm.standins.panda.tables import Kind, Status

__all__ = ["close_others", "count_ready", "grant"]

HUNGRY = ("sent", "running", "starting")
"""The states of a job that is given ranges."""
READY = f"""
    SELECT event_ranges.rowid AS row, * FROM event_ranges LEFT JOIN files USING (task_id, file_id)
    WHERE task_id = :task_id AND status = {Status.READY} AND attempt > 0
"""
CLOSE_OTHERS = """
    UPDATE jobs SET state = 'closed', sub_status = 'es_unused', archived = 1, error_code = 116, error_diag =
        'killed since all event ranges were processed by other consumers while waiting in the queue'
    WHERE task_id = :task_id AND jobset_id = :jobset_id AND panda_id <> :panda_id AND archived = 0
        AND (state = 'activated' OR NOT :only_waiting)
"""
"""116 is PanDA's EC_EventServiceUnused."""


def grant(
    db: sqlite3.Connection,
    panda_id: int,
    jobset_id: int,
    task_id: int | None,
    n: int,
    segment_id: int | None,
    seen: float,
) -> list[dict[str, object]]:
    """At most `n` ranges; none for a job that is in no state to get any, is killed, or is unknown.

    One more than asked for is looked at. Where that is not there, or nothing was given, PanDA takes it that all is
    handed out, and closes the jobs of the jobset that still wait, right or not. `seen` is the share of the ready ranges
    that are not locked by others just now; 1 for all.
    """
    job = db.execute(
        "SELECT * FROM jobs LEFT JOIN commands USING (panda_id) WHERE panda_id = ? AND archived = 0", (panda_id,)
    ).fetchone()
    if job is None or job["state"] not in HUNGRY or job["command"] == "tobekilled":
        return []
    task_id = job["task_id"] if task_id is None else task_id
    which = ""
    if job["kind"] != Kind.JUMBO:
        which = "AND panda_id = :jobset_id" + (" AND dataset_id = :segment_id" if segment_id is not None else "")
    asked = {
        "task_id": task_id,
        "jobset_id": jobset_id,
        "segment_id": segment_id,
        "limit": n + 1 if seen == 1 else int(seen * n),
    }
    ready = db.execute(f"{READY} {which} ORDER BY file_id, position LIMIT :limit", asked).fetchall()
    given = ready[:n]
    db.executemany(
        f"UPDATE event_ranges SET panda_id = ?, status = {Status.SENT} WHERE rowid = ?",
        [(panda_id, row["row"]) for row in given],
    )
    if job["kind"] != Kind.JUMBO and segment_id is None and (not given or len(ready) <= n):
        close_others(db, task_id, jobset_id, panda_id, only_waiting=True)
    return [_event_range(row, panda_id) for row in given]


def _event_range(row: sqlite3.Row, panda_id: int) -> dict[str, object]:
    return {
        "eventRangeID": f"{row['task_id']}-{panda_id}-{row['file_id']}-{row['position']}-{row['attempt']}",
        "startEvent": row["first_event"],
        "lastEvent": row["last_event"],
        "LFN": row["lfn"],
        "GUID": row["guid"],
        "scope": row["scope"],
    }


def close_others(db: sqlite3.Connection, task_id: int, jobset_id: int, panda_id: int, *, only_waiting: bool) -> None:
    """Close the other jobs of a jobset; `only_waiting`: those that nobody has taken yet."""
    which = {"task_id": task_id, "jobset_id": jobset_id, "panda_id": panda_id, "only_waiting": only_waiting}
    db.execute(CLOSE_OTHERS, which)


def count_ready(db: sqlite3.Connection, task_id: int, jobset_id: int) -> int:
    """How many ranges of a jobset may still be handed out."""
    question = f"SELECT count(*) FROM event_ranges WHERE task_id = ? AND panda_id = ? AND status = {Status.READY}"
    (n,) = db.execute(f"{question} AND attempt > 0", (task_id, jobset_id)).fetchone()
    return int(n)
