"""The books of PanDA: what its server reads and writes, what happens by itself, and what a test asks. No HTTP here."""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from esfsm.standins.panda import ends, grants, tasks
from esfsm.standins.panda.reports import PREEMPTION, ROLLS_BACK, Booking
from esfsm.standins.panda.tables import Status, Tables

__all__ = ["FINAL", "SILENCE_S", "Books", "Heartbeat", "JobRow", "RangeRow"]

FINAL = ("finished", "failed")
"""The last words of a pilot about its job, which then is `holding` until PanDA ends it."""
SILENCE_S = 10_800.0
"""A job of which nothing was heard for so long is lost."""


class JobRow(NamedTuple):
    """How a job stands."""

    panda_id: int
    jobset_id: int
    task_id: int
    attempt_nr: int
    state: str
    sub_status: str | None
    is_archived: bool
    n_events: int | None
    error_code: int
    error_diag: str | None


class RangeRow(NamedTuple):
    """How an event range stands."""

    event_range_id: str
    panda_id: int
    status: str
    attempt: int
    """How many are left, this one included."""
    zip_lfn: str | None
    error_code: int | None
    error_diag: str | None


class Heartbeat(NamedTuple):
    """What a pilot said of its job, and when."""

    at_s: float
    panda_id: int
    state: str
    said: Mapping[str, object]


JOBS = """
    SELECT panda_id, jobset_id, task_id, attempt_nr, state, sub_status, archived, n_events, error_code, error_diag
    FROM jobs ORDER BY panda_id
"""
WAITING = """
    SELECT panda_id, definition FROM jobs WHERE state = 'activated' AND archived = 0 AND queue = :queue
        AND (:task_id IS NULL OR task_id = :task_id) AND (:label IS NULL OR label = :label)
    ORDER BY panda_id LIMIT :n
"""
MOVE = """
    UPDATE jobs SET state = ?, last_word = ?, heard_s = ?, sub_status = coalesce(?, sub_status) WHERE panda_id = ?
"""
RANGES = """
    SELECT task_id || '-' || e.panda_id || '-' || file_id || '-' || position || '-' || attempt AS event_range_id,
        e.panda_id, status, attempt, zip_lfn, error_code, error_diag
    FROM event_ranges AS e LEFT JOIN zip_files USING (zip_file)
    WHERE (:task_id IS NULL OR task_id = :task_id) AND (:panda_id IS NULL OR e.panda_id = :panda_id)
    ORDER BY task_id, file_id, position, attempt DESC, e.panda_id
"""
ORPHANS = f"""
    SELECT zip_lfn FROM zip_files WHERE NOT EXISTS (
        SELECT 1 FROM event_ranges WHERE event_ranges.zip_file = zip_files.zip_file
            AND status IN ({Status.FINISHED}, {Status.DONE}, {Status.MERGED})
    ) ORDER BY zip_lfn
"""
DOUBLES = "SELECT zip_lfn FROM zip_files GROUP BY zip_lfn HAVING count(*) > 1 ORDER BY zip_lfn"
# All the finished ranges of the job (or of the jobset that stands for it), times `ES=` of its task.
COUNT_EVENTS = f"""
    UPDATE jobs SET n_events = (
        SELECT count(*) FROM event_ranges
        WHERE event_ranges.panda_id = :it AND status IN ({Status.FINISHED}, {Status.DONE}, {Status.MERGED})
    ) * (SELECT events_per_range FROM tasks WHERE tasks.task_id = jobs.task_id)
    WHERE panda_id = :it OR jobset_id = :it
"""


class Books:
    """One file, or `:memory:`. Each method is one transaction; any thread may call it."""

    def __init__(self, path: Path | str = ":memory:") -> None:
        """Open them, or begin them. Raises `UnusableInput` for a path that cannot hold them."""
        self._tables = Tables(path)

    def close(self) -> None:
        """Let go of the file; a second call does nothing."""
        self._tables.close()

    def submit(self, task: tasks.Task) -> None:
        """A new task, with its jobs and event ranges. Raises `sqlite3.IntegrityError` where a number is taken."""
        with self._tables.transaction() as db:
            tasks.submit(db, task)

    # --- what a pilot asks ---

    def acquire_jobs(
        self, queue: str, n: int = 1, *, task_id: int | None = None, label: str | None = None, now_s: float = 0.0
    ) -> list[dict[str, object]]:
        """The definitions of at most `n` jobs that wait at a queue; they are `sent` from now on."""
        with self._tables.transaction() as db:
            asked = {"queue": queue, "task_id": task_id, "label": label, "n": max(n, 0)}
            waiting = db.execute(WAITING, asked).fetchall()
            sent = "UPDATE jobs SET state = 'sent', heard_s = ? WHERE panda_id = ?"
            db.executemany(sent, [(now_s, job["panda_id"]) for job in waiting])
        return [json.loads(job["definition"]) for job in waiting]

    def acquire_event_ranges(
        self,
        panda_id: int,
        jobset_id: int,
        n: int,
        *,
        task_id: int | None = None,
        segment_id: int | None = None,
        seen: float = 1.0,
    ) -> list[dict[str, object]] | None:
        """At most `n` ranges, as a pilot is told them; see `grants.grant`. None for fewer than none: that breaks it."""
        if n < 0:
            return None
        with self._tables.transaction() as db:
            return grants.grant(db, panda_id, jobset_id, task_id, n, segment_id, seen)

    def count_ready(self, jobset_id: int, task_id: int) -> int:
        """How many ranges may still be handed out."""
        with self._tables.transaction() as db:
            return grants.count_ready(db, task_id, jobset_id)

    def update_event_ranges(
        self, report: object, version: int = 0, *, is_rolled_back: bool = False, is_uncounted: bool = False
    ) -> tuple[list[bool | None], dict[int, str | None]]:
        """Book a report; a word for each element, and the commands by PandaID.

        A report that is rolled back has one more `false` at the end of what words there were. So has one with a
        finished range after which the events of the job could not be counted; that one is booked.
        """
        booking = Booking(version)
        try:
            with self._tables.transaction() as db:
                booking.book(db, report)
                if is_rolled_back:
                    raise sqlite3.OperationalError("deadlock detected")
        except ROLLS_BACK:
            return [*booking.words, False], booking.commands
        if booking.finished and is_uncounted:
            return [*booking.words, False], booking.commands
        with self._tables.transaction() as db:
            db.executemany(COUNT_EVENTS, [{"it": panda_id} for panda_id in booking.finished])
        return booking.words, booking.commands

    def statuses(self, jobs: Iterable[tuple[int, int]]) -> dict[int, dict[str, dict[str, object]]]:
        """By PandaID and eventRangeID, how the ranges stand that these jobs hold; a job is (task, PandaID)."""
        return {
            panda_id: {
                row.event_range_id: {"status": row.status, "error": row.error_code, "dialog": row.error_diag}
                for row in self.ranges(task_id, panda_id)
            }
            for task_id, panda_id in jobs
        }

    def update_job(
        self,
        panda_id: int,
        state: str,
        *,
        attempt_nr: int | None = None,
        sub_status: str | None = None,
        said: Mapping[str, object] | None = None,
        now_s: float = 0.0,
    ) -> str:
        """Book a heartbeat; the command that answers it, or `NULL`. After a last word only another one is noticed."""
        with self._tables.transaction() as db:
            beat = "INSERT INTO heartbeats (panda_id, at_s, state, said) VALUES (?, ?, ?, ?)"
            db.execute(beat, (panda_id, now_s, state, json.dumps(said or {})))
            job = db.execute(
                "SELECT * FROM jobs LEFT JOIN commands USING (panda_id) WHERE panda_id = ? AND archived = 0",
                (panda_id,),
            ).fetchone()
            if job is None or (attempt_nr and attempt_nr != job["attempt_nr"]):
                return "tobekilled"
            if job["last_word"] and state in FINAL:
                return "alreadydone"
            if not job["last_word"]:
                last_word = state if state in FINAL else None
                moved = ("holding" if last_word else state, last_word, now_s, sub_status, panda_id)
                db.execute(MOVE, moved)
            return str(job["command"] or "NULL")

    # --- what happens by itself ---

    def set_state(self, panda_id: int, state: str) -> None:
        """Move a job to another state, whatever its pilot has said."""
        with self._tables.transaction() as db:
            db.execute("UPDATE jobs SET state = ?, last_word = NULL WHERE panda_id = ?", (state, panda_id))

    def kill(self, panda_id: int, *, is_soft: bool = False) -> None:
        """Command a job to end; softly: for PanDA's reason 122, of which only the answer to a report tells."""
        self.set_command(panda_id, "tobekilled", PREEMPTION if is_soft else 0)

    def set_command(self, panda_id: int, command: str, code: int = 0) -> None:
        """What the job is told from now on, and PanDA's code for why."""
        with self._tables.transaction() as db:
            db.execute("INSERT OR REPLACE INTO commands VALUES (?, ?, ?)", (panda_id, command, code))

    def end_job(self, panda_id: int) -> ends.End | None:
        """What PanDA does after the last word of a job; see `ends`. None if it has been done."""
        with self._tables.transaction() as db:
            return ends.end(db, panda_id)

    def lose_heartbeat(self, panda_id: int) -> ends.End | None:
        """What it does with a job that was not heard of for too long."""
        with self._tables.transaction() as db:
            return ends.end(db, panda_id, is_lost=True)

    def sweep(self, now_s: float, silence_s: float = SILENCE_S) -> list[int]:
        """End whatever is to be ended by now: jobs after their last word, and lost ones. Their PandaIDs."""
        with self._tables.transaction() as db:
            over = db.execute("SELECT panda_id FROM jobs WHERE last_word IS NOT NULL AND archived = 0").fetchall()
            lost = db.execute(
                "SELECT panda_id FROM jobs WHERE last_word IS NULL AND archived = 0 AND state <> 'activated' "
                "AND heard_s < ?",
                (now_s - silence_s,),
            ).fetchall()
            for job in over:
                ends.end(db, job["panda_id"])
            for job in lost:
                ends.end(db, job["panda_id"], is_lost=True)
        return [job["panda_id"] for job in (*over, *lost)]

    # --- what a test asks ---

    def jobs(self) -> list[JobRow]:
        """All of them, by PandaID."""
        with self._tables.transaction() as db:
            rows = [JobRow(*row) for row in db.execute(JOBS)]
        return [row._replace(is_archived=bool(row.is_archived)) for row in rows]

    def ranges(self, task_id: int | None = None, panda_id: int | None = None) -> list[RangeRow]:
        """Those of a task and a job or jobset, or all; a range that failed has one row for each attempt."""
        with self._tables.transaction() as db:
            rows = [RangeRow(*row) for row in db.execute(RANGES, {"task_id": task_id, "panda_id": panda_id})]
        return [row._replace(status=Status(int(row.status)).name.lower()) for row in rows]

    def counts(self, task_id: int | None = None) -> Counter[str]:
        """How many rows there are of each status."""
        return Counter(row.status for row in self.ranges(task_id))

    def orphaned_zip_files(self) -> list[str]:
        """LFNs of zip files to which no finished range points."""
        return self._names(ORPHANS)

    def double_zip_files(self) -> list[str]:
        """LFNs that are booked more than once."""
        return self._names(DOUBLES)

    def zip_files(self) -> list[str]:
        """LFNs, each as often as it is booked."""
        return self._names("SELECT zip_lfn FROM zip_files ORDER BY zip_lfn")

    def heartbeats(self, panda_id: int | None = None) -> list[Heartbeat]:
        """All that was heard, of one job or of all, in order."""
        wanted = "SELECT * FROM heartbeats WHERE :it IS NULL OR panda_id = :it ORDER BY heartbeat"
        with self._tables.transaction() as db:
            rows = db.execute(wanted, {"it": panda_id}).fetchall()
        return [Heartbeat(row["at_s"], row["panda_id"], row["state"], json.loads(row["said"])) for row in rows]

    def _names(self, question: str) -> list[str]:
        with self._tables.transaction() as db:
            return [str(row[0]) for row in db.execute(question)]
