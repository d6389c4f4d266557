"""The moves of event ranges in a local broker: the only place that makes one.

A row of the table is one attempt at one range. Its statuses and their numbers are those of PanDA's JEDI_EVENTS:

    ready 0 ── granted ──> sent 1 ─┬─ reported ───> finished 3 ── job ends ──> done 6
                                   ├─ reported ───> failed 7
                                   └─ taken back ─> cancelled 4

When its job ends, what is left over is taken back, and each failed or cancelled attempt is followed by a new row
with one attempt fewer: `ready`, or `fatal` 8 when none is left. The same is done for a process that died on this
host, but not before somebody would otherwise go without.

PanDA turns a left-over row itself back to ready, and says true to a report that changes nothing. Here the row stays,
so that such a report can be told the truth: refused, and why.
"""

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import orjson

from esfsm.adapters.communicators.database import Database, Status
from esfsm.adapters.communicators.supply import Supply
from esfsm.errors import UnusableInput
from esfsm.model.event_range import EventRange
from esfsm.model.report import FINAL, STOP_COMMANDS, Answer, ArchiveRecord, Grant, Report
from esfsm.ports import ProcessIdentity
from esfsm.processes import here, lives, this_process

__all__ = ["Broker", "Consumer"]


class Consumer(NamedTuple):
    """One run of one job."""

    number: int
    task_id: int
    panda_id: int


ASKED = """
    SELECT * FROM event_ranges JOIN files USING (task_id, file_id)
    WHERE consumer = ? AND request = ? ORDER BY file_id, position
"""
READY = f"""
    SELECT * FROM event_ranges JOIN files USING (task_id, file_id)
    WHERE task_id = ? AND status = {Status.READY} ORDER BY file_id, position LIMIT ?
"""
FILL = f"""
    INSERT INTO event_ranges
        (task_id, file_id, position, attempt, start_event, last_event, event_range_id, stem, extra, status)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, {Status.READY})
"""
# What was followed once (its job was ended and resumed) is not followed again.
FOLLOW = f"""
    INSERT INTO event_ranges
        (task_id, file_id, position, attempt, start_event, last_event, event_range_id, stem, extra, status)
    SELECT task_id, file_id, position, attempt - 1, start_event, last_event, stem || '-' || (attempt - 1), stem, extra,
        CASE WHEN attempt > 1 THEN {Status.READY} ELSE {Status.FATAL} END
    FROM event_ranges WHERE consumer = ? AND status IN ({Status.FAILED}, {Status.CANCELLED})
    ON CONFLICT (task_id, file_id, position, attempt) DO NOTHING
"""
JOIN = """
    INSERT INTO consumers (task_id, panda_id, run, host, pid, started, state) VALUES (?, ?, ?, ?, ?, ?, 'sent')
    ON CONFLICT (task_id, panda_id, run)
    DO UPDATE SET host = excluded.host, pid = excluded.pid, started = excluded.started, state = excluded.state
"""
COMMAND = """
    INSERT INTO commands VALUES (?, ?) ON CONFLICT (panda_id) DO UPDATE SET command = excluded.command
"""


class Broker:
    """One file of event ranges, of any number of tasks and jobs. Any thread and any process of this host may use it.

    Each method is one transaction and raises `WireError` where that did not succeed; then nothing has changed. With
    `fill` and `join` a job starts: they raise `UnusableInput` where the file is to blame and no other try would help.
    """

    def __init__(self, path: Path) -> None:
        """Open it, or make it. Raises `UnusableInput` for a path that cannot hold one."""
        self.database = Database(path)

    def close(self) -> None:
        """Let go of the file; a second call does nothing."""
        self.database.close()

    def fill(self, task_id: int, supply: Supply) -> None:
        """See that a task has its ranges. The first call fills; later ones give the same again, or `UnusableInput`."""
        with self.database.transaction(at_start=True) as db:
            held = db.execute("SELECT supply, digest FROM tasks WHERE task_id = ?", (task_id,)).fetchone()
            if held and supply.digest == held["digest"]:
                return
            if held:
                raise UnusableInput(
                    f"broker {self.database.path}: task {task_id} has {held['supply']}, not {supply.said}; "
                    "give the same again, nothing, or another broker"
                )
            db.execute("INSERT INTO tasks VALUES (?, ?, ?)", (task_id, supply.said, supply.digest))
            files = ((task_id, number, *file) for number, file in enumerate(supply.files, start=1))
            db.executemany("INSERT INTO files VALUES (?, ?, ?, ?, ?)", files)
            db.executemany(FILL, ((task_id, *fresh) for fresh in supply.ranges))

    def join(self, task_id: int, panda_id: int, run: str) -> Consumer:
        """Let this process consume for a run of a job; a run that comes again has what it had, and is open again."""
        with self.database.transaction(at_start=True) as db:
            db.execute(JOIN, (task_id, panda_id, run, here(), *this_process()))
            named = "SELECT consumer FROM consumers WHERE task_id = ? AND panda_id = ? AND run = ?"
            row = db.execute(named, (task_id, panda_id, run)).fetchone()
            return Consumer(row["consumer"], task_id, panda_id)

    def grant(self, consumer: Consumer, n: int, request: str) -> Grant:
        """At most `n` ranges, by file and position; for a request made before, those of its ranges still `sent`.

        Exhausted means that nothing is ready, as with PanDA. Another consumer may still give some back, but
        this one need not keep its cores idle for that: who comes after it will find them.
        """
        with self.database.transaction() as db:
            if _state(db, consumer) in FINAL or _command(db, consumer) in STOP_COMMANDS:
                return Grant(exhausted=True)
            before = db.execute(ASKED, (consumer.number, request)).fetchall()
            n = 0 if before else max(n, 0)
            ready = _ready(db, consumer, n + 1)  # one more tells whether any is left
            sent = [(row, _name(row, consumer)) for row in ready[:n]]
            db.executemany(
                f"UPDATE event_ranges SET status = {Status.SENT}, consumer = ?, request = ?, event_range_id = ? "
                "WHERE number = ?",
                [(consumer.number, request, name, row["number"]) for row, name in sent],
            )
            sent += [(row, row["event_range_id"]) for row in before if row["status"] == Status.SENT]
            return Grant(tuple(_event_range(row, name) for row, name in sent), exhausted=len(ready) <= n)

    def book(self, consumer: Consumer, report: Report) -> Answer:
        """Finished with an archive, failed without. The first word about a range stays, and a repeat is accepted.

        Another word is refused, or who says it would take for booked what is not: finished or failed, and in which
        archive, as that is where the events are. An error code only explains, and may differ. An archive is found again
        by PandaID and LFN and then not changed, as in PanDA; but a report that says it has other bytes is refused,
        since one LFN denotes one content.
        """
        with self.database.transaction() as db:
            why = _refusal(db, consumer, report.archive)
            if why:
                return Answer(refused=report.event_range_ids, why=why)
            held = {name: _held(db, consumer, name) for name in report.event_range_ids}
            new = [name for name, row in held.items() if row and row["status"] == Status.SENT]
            status = Status.FINISHED if report.archive else Status.FAILED
            zip_file = _zip_file(db, consumer, report.archive) if report.archive and new else None
            word = (status, zip_file, report.error_code, report.error_diag)
            db.executemany(
                "UPDATE event_ranges SET status = ?, zip_file = ?, error_code = ?, error_diag = ? "
                "WHERE task_id = ? AND event_range_id = ?",
                [(*word, consumer.task_id, name) for name in new],
            )
        return _answer(report, held)

    def set_state(self, consumer: Consumer, state: str) -> str | None:
        """Say how the job stands: `finished` and `failed` end it, any other state opens it again.

        The answer is the command for this job, if any; `alreadydone` to a second end.
        """
        with self.database.transaction() as db:
            if state in FINAL:
                if _state(db, consumer) in FINAL:
                    return "alreadydone"
                move = "UPDATE event_ranges SET status = ? WHERE consumer = ? AND status = ?"
                db.execute(move, (Status.DONE, consumer.number, Status.FINISHED))
                _take_back(db, consumer.number)
            db.execute("UPDATE consumers SET state = ? WHERE consumer = ?", (state, consumer.number))
            return _command(db, consumer)

    def set_command(self, panda_id: int, command: str | None) -> None:
        """What the job will be told from now on; `tobekilled` and `softkill` also end its supply."""
        with self.database.transaction() as db:
            db.execute(COMMAND, (panda_id, command))


def _state(db: sqlite3.Connection, consumer: Consumer) -> str:
    row = db.execute("SELECT state FROM consumers WHERE consumer = ?", (consumer.number,)).fetchone()
    return str(row["state"])


def _command(db: sqlite3.Connection, consumer: Consumer) -> str | None:
    row = db.execute("SELECT command FROM commands WHERE panda_id = ?", (consumer.panda_id,)).fetchone()
    return row["command"] if row else None


def _ready(db: sqlite3.Connection, consumer: Consumer, limit: int) -> list[sqlite3.Row]:
    """The next ranges that are ready; when they are too few, with those that dead processes held."""
    ready = db.execute(READY, (consumer.task_id, limit)).fetchall()
    if len(ready) == limit:
        return ready
    others = "SELECT * FROM consumers WHERE task_id = ? AND consumer <> ? AND host = ? AND state NOT IN (?, ?)"
    for other in db.execute(others, (consumer.task_id, consumer.number, here(), *FINAL)).fetchall():
        if not lives(ProcessIdentity(other["pid"], other["started"])):
            _take_back(db, other["consumer"])
    return db.execute(READY, (consumer.task_id, limit)).fetchall()


def _take_back(db: sqlite3.Connection, number: int) -> None:
    """What a consumer holds, and what it failed, is another's to try, if attempts remain."""
    left_over = f"UPDATE event_ranges SET status = {Status.CANCELLED} WHERE consumer = ? AND status = {Status.SENT}"
    db.execute(left_over, (number,))
    db.execute(FOLLOW, (number,))


def _name(row: sqlite3.Row, consumer: Consumer) -> str:
    """taskID-PandaID-fileID-job_processID-attemptNr, unless a list gave it a name."""
    parts = (row["task_id"], consumer.panda_id, row["file_id"], row["position"], row["attempt"])
    return row["event_range_id"] or "-".join(map(str, parts))


def _event_range(row: sqlite3.Row, name: str) -> EventRange:
    said = {"eventRangeID": name, "startEvent": row["start_event"], "lastEvent": row["last_event"]}
    file = {"LFN": row["lfn"], "GUID": row["guid"], "scope": row["scope"]}
    return EventRange.model_validate(orjson.loads(row["extra"] or "{}") | said | file)


def _refusal(db: sqlite3.Connection, consumer: Consumer, archive: ArchiveRecord | None) -> str:
    """Why a whole report cannot be booked; empty when it can."""
    state = _state(db, consumer)
    if state in FINAL:
        return f"job {consumer.panda_id} has ended: {state}"
    if archive is None:
        return ""
    named = (consumer.panda_id, archive.lfn)
    held = db.execute("SELECT * FROM zip_files WHERE panda_id = ? AND zip_lfn = ?", named).fetchone()
    if held is None or (held["size_bytes"], held["adler32"]) == (archive.size_bytes, archive.adler32):
        return ""
    return (
        f"archive {archive.lfn} has {held['size_bytes']} bytes and adler32 {held['adler32']}, "
        f"not {archive.size_bytes} and {archive.adler32}: one LFN denotes one content"
    )


def _held(db: sqlite3.Connection, consumer: Consumer, name: str) -> sqlite3.Row | None:
    """Status and archive of an attempt; None where it was never handed out to this run."""
    of_this_run = """
        SELECT status, zip_lfn FROM event_ranges LEFT JOIN zip_files USING (zip_file)
        WHERE task_id = ? AND event_range_id = ? AND consumer = ?
    """
    row: sqlite3.Row | None = db.execute(of_this_run, (consumer.task_id, name, consumer.number)).fetchone()
    return row


def _zip_file(db: sqlite3.Connection, consumer: Consumer, archive: ArchiveRecord) -> int:
    """The number of the archive, which is booked if it is new."""
    new = "INSERT INTO zip_files (panda_id, zip_lfn, size_bytes, adler32, rse_id) VALUES (?, ?, ?, ?, ?)"
    record = (consumer.panda_id, archive.lfn, archive.size_bytes, archive.adler32, archive.rse_id)
    db.execute(f"{new} ON CONFLICT (panda_id, zip_lfn) DO NOTHING", record)
    row = db.execute("SELECT zip_file FROM zip_files WHERE panda_id = ? AND zip_lfn = ?", record[:2]).fetchone()
    return int(row["zip_file"])


def _answer(report: Report, held: Mapping[str, sqlite3.Row | None]) -> Answer:
    """What becomes of each range, by how it was held before; of each reason to refuse, one example."""
    refusals = {name: why for name, row in held.items() if (why := _objection(report.archive, row))}
    examples: dict[str, str] = {}
    for name, why in refusals.items():
        examples.setdefault(why, name)
    names = report.event_range_ids
    accepted = tuple(name for name in names if name not in refusals)
    refused = tuple(name for name in names if name in refusals)
    return Answer(accepted, refused, why="; ".join(f"{name}: {why}" for why, name in examples.items()))


def _objection(archive: ArchiveRecord | None, row: sqlite3.Row | None) -> str:
    """Why an attempt cannot be booked so, nor was before; empty where it can, or was."""
    if row is None:
        return "never handed out to this run"
    match Status(row["status"]), row["zip_lfn"]:
        case Status.SENT, _:
            return ""
        case Status.CANCELLED, _:
            return "taken back, and maybe another's by now"
        case Status.FAILED, _:
            return "booked as failed" if archive else ""
        case _, lfn:
            return "" if archive and archive.lfn == lfn else f"booked as finished, in archive {lfn}"
