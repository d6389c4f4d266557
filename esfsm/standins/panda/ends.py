"""What PanDA does when a job has ended: which ranges are done, who gets the others, and what becomes of the job.

    finished ───────────> done
    sent ───────────────> ready, one attempt fewer, with the jobset
    failed ── stays so; a copy of it ──> ready, one attempt fewer, with the jobset

A copy without an attempt left stays `ready` and is never handed out; if the task accepts a part of itself, it is
`fatal`. What is left goes to a new job of the jobset. This is PanDA's `ppEventServiceJob`; it makes no merge job here.
"""

import json
import sqlite3
from typing import NamedTuple

from esfsm.standins.panda.grants import close_others, count_ready
from esfsm.standins.panda.tables import Status
from esfsm.standins.panda.tasks import log_guid

__all__ = ["End", "end"]

FIRST_NEW_PANDA_ID = 10_000_001
"""Where it was recorded, the jobs that PanDA made itself were numbered from here."""
OURS = "task_id = :task_id AND panda_id = :panda_id"
OTHERS = "SELECT panda_id FROM jobs WHERE jobset_id = :jobset_id AND archived = 0 AND panda_id <> :panda_id"
LOST_HEARTBEAT = 100
"""PanDA's code of a job that was not heard of for too long."""
COPY_FAILED = f"""
    INSERT INTO event_ranges
        (task_id, panda_id, jobset_id, file_id, position, attempt, first_event, last_event, status)
    SELECT task_id, jobset_id, jobset_id, file_id, position, attempt - 1, first_event, last_event, {Status.READY}
    FROM event_ranges WHERE {OURS} AND status = {Status.FAILED}
"""
RETRY = """
    INSERT INTO jobs (panda_id, jobset_id, task_id, attempt_nr, max_attempt, kind, queue, label, definition, state)
    SELECT :new, jobset_id, task_id, attempt_nr + 1, max_attempt, kind, queue, label, :definition, 'activated'
    FROM jobs WHERE panda_id = :panda_id
"""


class End(NamedTuple):
    """What a job comes to: PanDA's state, sub-status and error code, and the job that goes on where it left off."""

    state: str
    sub_status: str | None
    error_code: int
    next_panda_id: int | None = None


# PanDA's words and codes (taskbuffer/ErrorCode.py).
RETRIED = End("merging", "es_retry", 111)
RETRIED_FOR_NOTHING = End("closed", "es_noevent", 123)
MERGING = End("merging", "es_merge", 112)
OTHERS_GO_ON = End("merging", "es_wait", 115)
DID_NOTHING = End("closed", "es_inaction", 117)
GAVE_UP = End("failed", None, 118)
ALL_FAILED = End("failed", None, 119)


def end(db: sqlite3.Connection, panda_id: int, *, is_lost: bool = False) -> End | None:
    """End a job, once: None if it has ended already, or never was. `is_lost`: it was not heard of for too long."""
    job = db.execute("SELECT * FROM jobs WHERE panda_id = ? AND archived = 0", (panda_id,)).fetchone()
    if job is None:
        return None
    done = _settle(db, job)
    what = _what_comes(db, job, done)
    diag = None
    if what in (RETRIED, RETRIED_FOR_NOTHING):
        what = what._replace(next_panda_id=_retry(db, job))
        diag = f"closed to retry unprocessed event ranges in PandaID={what.next_panda_id}"
    elif what == MERGING:
        close_others(db, job["task_id"], job["jobset_id"], panda_id, only_waiting=False)
    elif what == GAVE_UP:
        given_up = f"UPDATE event_ranges SET status = {Status.CANCELLED} WHERE {OURS} AND status = {Status.READY}"
        db.execute(given_up, {"task_id": job["task_id"], "panda_id": job["jobset_id"]})
    if is_lost and not done:
        what = what._replace(state="failed", sub_status="es_heartbeat", error_code=LOST_HEARTBEAT)
    db.execute(
        "UPDATE jobs SET archived = 1, state = ?, sub_status = ?, error_code = ?, error_diag = ? WHERE panda_id = ?",
        (what.state, what.sub_status, what.error_code, diag, panda_id),
    )
    return what


def _settle(db: sqlite3.Connection, job: sqlite3.Row) -> int:
    """Move the job's ranges; how many are done."""
    ours = {name: job[name] for name in ("task_id", "panda_id", "jobset_id")}
    move = f"UPDATE event_ranges SET status = {Status.DONE} WHERE {OURS} AND status = {Status.FINISHED}"
    done = db.execute(move, ours).rowcount
    settled = f"{Status.CANCELLED}, {Status.DISCARDED}, {Status.DONE}, {Status.FAILED}"
    db.execute(
        f"UPDATE event_ranges SET status = {Status.READY}, attempt = attempt - 1, panda_id = jobset_id "
        f"WHERE {OURS} AND status NOT IN ({settled})",
        ours,
    )
    db.execute(COPY_FAILED, ours)
    if _accepts_partial(db, job):
        hopeless = f"UPDATE event_ranges SET status = {Status.FATAL} WHERE task_id = :task_id AND panda_id = :jobset_id"
        db.execute(f"{hopeless} AND attempt = 0", ours)
    return done


def _accepts_partial(db: sqlite3.Connection, job: sqlite3.Row) -> bool:
    row = db.execute("SELECT accepts_partial FROM tasks WHERE task_id = ?", (job["task_id"],)).fetchone()
    return bool(row["accepts_partial"])


def _what_comes(db: sqlite3.Connection, job: sqlite3.Row, done: int) -> End:
    ours = {name: job[name] for name in ("task_id", "panda_id", "jobset_id")}

    def any_range(condition: str) -> bool:
        return db.execute(f"SELECT 1 FROM event_ranges WHERE {condition} LIMIT 1", ours).fetchone() is not None

    if count_ready(db, job["task_id"], job["jobset_id"]):
        if job["attempt_nr"] < job["max_attempt"]:
            return RETRIED if done else RETRIED_FOR_NOTHING
        return DID_NOTHING if db.execute(OTHERS, ours).fetchone() else GAVE_UP
    unsettled = f"{Status.SENT}, {Status.RUNNING}, {Status.FINISHED}, {Status.FAILED}"
    if any_range(f"task_id = :task_id AND status IN ({unsettled}) AND panda_id IN ({OTHERS})"):
        return OTHERS_GO_ON if done else DID_NOTHING
    if not any_range(f"task_id = :task_id AND status = {Status.DONE}"):
        return ALL_FAILED
    if any_range(f"task_id = :task_id AND status = {Status.READY} AND panda_id = :jobset_id"):
        return DID_NOTHING if db.execute(OTHERS, ours).fetchone() else GAVE_UP
    return MERGING if done else DID_NOTHING


def _retry(db: sqlite3.Connection, job: sqlite3.Row) -> int:
    """A new job of the jobset: the same definition under another PandaID, with the next attemptNr."""
    (greatest,) = db.execute("SELECT max(panda_id) FROM jobs").fetchone()
    new = max(FIRST_NEW_PANDA_ID, int(greatest) + 1)
    changes = {"PandaID": new, "attemptNr": job["attempt_nr"] + 1, "logGUID": log_guid(new)}
    definition = json.dumps(json.loads(job["definition"]) | changes)
    db.execute(RETRY, {"new": new, "panda_id": job["panda_id"], "definition": definition})
    return new
