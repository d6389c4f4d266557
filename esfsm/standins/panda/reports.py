"""How a report about event ranges is read and booked: one word for each element, in PanDA's order of tests.

Nothing is checked beforehand. What cannot be read or does not fit its column raises wherever it is met, the whole
report is rolled back, and only the words said so far tell of it, with one more `false`.
"""

import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

from esfsm.standins.panda.tables import Status

__all__ = ["MOST_ELEMENTS", "ROLLS_BACK", "Booking"]

MOST_ELEMENTS = 100_000
"""PanDA looks at no more of one report; the others get `null`."""
ROLLS_BACK = (KeyError, TypeError, ValueError, OverflowError, sqlite3.Error)
"""What undoes a report."""
PREEMPTION = 122
"""PanDA's EC_EventServicePreemption: a job with a command for this reason is told `softkill`."""
FINAL = {"finished": Status.FINISHED, "failed": Status.FAILED, "fatal": Status.FAILED}
PASSING = ("running", "transferring")
"""Words that are known, and not booked."""
BOOKABLE = ("sent", "running", "starting", "transferring")
"""The states of a job whose reports are booked; with version 2 also `activated`."""

JOB = "SELECT * FROM jobs LEFT JOIN commands USING (panda_id) WHERE archived = 0 AND "
NEW_ZIP_FILE = """
    INSERT INTO zip_files (panda_id, zip_lfn, size_bytes, checksum, place, num_events) VALUES (?, ?, ?, ?, ?, ?)
"""
KEY = "task_id = ? AND panda_id = ? AND file_id = ? AND position = ? AND attempt = ?"


class Key(NamedTuple):
    """The five numbers of an eventRangeID."""

    task_id: int
    panda_id: int
    file_id: int
    position: int
    attempt: int


class Booking:
    """One report of one version; what is known of it so far."""

    def __init__(self, version: int) -> None:
        self.version = version
        self.words: list[bool | None] = []
        self.commands: dict[int, str | None] = {}
        self.finished: set[int] = set()
        """The PandaIDs of the ranges that were reported finished."""
        self._updates: list[tuple[object, ...]] = []
        self._fatal: list[Key] = []
        self._jobs: dict[int, sqlite3.Row | None] = {}
        self._new_zip_files: dict[object, int] = {}

    def book(self, db: sqlite3.Connection, report: object) -> None:
        """Raises one of `ROLLS_BACK` where the whole report is to be undone."""
        for number, (element, zip_file) in enumerate(list(_flat(report, self.version))):
            self.words.append(self._word(db, element, zip_file) if number < MOST_ELEMENTS else None)
        statuses = (Status.SENT, Status.RUNNING, *([Status.READY] if self.version == 2 else []))
        zip_file_too = ", zip_file = ?" if self.version else ""
        db.executemany(
            f"UPDATE event_ranges SET status = ?, objstore_id = ?, error_code = ?, path_convention = ?, error_diag = ?"
            f"{zip_file_too} WHERE {KEY} AND status IN ({', '.join(map(str, statuses))})",
            self._updates,
        )
        db.executemany(f"UPDATE event_ranges SET attempt = 1 WHERE {KEY} AND status = {Status.FAILED}", self._fatal)

    def _word(self, db: sqlite3.Connection, element: object, zip_file: object) -> bool | None:
        if isinstance(element, list | str):
            return False
        if not isinstance(element, dict):
            raise TypeError("an element is an object")
        key = _key(element.get("eventRangeID"))
        status = element.get("eventStatus")
        if key is None or not isinstance(status, str) or status not in (*FINAL, *PASSING):
            return False
        if status in PASSING:
            return None
        job = self._job(db, key.panda_id)
        if job is None:
            self.commands.setdefault(key.panda_id, "tobekilled")
            return False
        is_bookable = job["state"] in BOOKABLE or (self.version == 2 and job["state"] == "activated")
        if is_bookable:
            zip_row = None if zip_file is None else self._zip_row(db, key.panda_id, zip_file)
            self._keep(key, status, element, zip_row)
        is_soft = job["command"] and job["code"] == PREEMPTION
        self.commands.setdefault(key.panda_id, "softkill" if is_soft else job["command"])
        return is_bookable

    def _job(self, db: sqlite3.Connection, panda_id: int) -> sqlite3.Row | None:
        """With version 2 a jobset stands for its jobs."""
        if panda_id not in self._jobs:
            which = "(panda_id = :it OR jobset_id = :it)" if self.version == 2 else "panda_id = :it"
            self._jobs[panda_id] = db.execute(f"{JOB} {which}", {"it": panda_id}).fetchone()
        return self._jobs[panda_id]

    def _keep(self, key: Key, status: str, element: dict[str, object], zip_row: int | None) -> None:
        columns = [element.get(name) for name in ("objstoreID", "errorCode", "pathConvention", "errorDiag")]
        self._updates.append((FINAL[status], *columns, *([zip_row] if self.version else []), *key))
        if status == "fatal":
            self._fatal.append(key)
        if status == "finished":
            self.finished.add(key.panda_id)

    def _zip_row(self, db: sqlite3.Connection, panda_id: int, zip_file: object) -> int:
        """Found again by PandaID and LFN, and then not changed."""
        if not isinstance(zip_file, dict):
            raise TypeError("a zipFile is an object")
        lfn = zip_file["lfn"]
        if lfn in self._new_zip_files:
            return self._new_zip_files[lfn]
        known = "SELECT zip_file FROM zip_files WHERE panda_id = ? AND zip_lfn = ?"
        if found := db.execute(known, (panda_id, lfn)).fetchone():
            return int(found["zip_file"])
        place = str(zip_file["objstoreID"])
        if "pathConvention" in zip_file:
            place += f"/{zip_file['pathConvention']}"
        checksum = f"ad:{zip_file['adler32']}" if "adler32" in zip_file else None
        row = (panda_id, lfn, int(zip_file.get("fsize", 0)), checksum, place, zip_file.get("numEvents"))
        new = db.execute(NEW_ZIP_FILE, row).lastrowid
        assert new is not None
        self._new_zip_files[lfn] = new
        return new


def _flat(report: object, version: int) -> Iterator[tuple[object, object]]:
    """Each element, and the zip file of the chunk that it is in. A text is taken for its letters."""
    if not isinstance(report, list | dict | str):
        raise TypeError("a report is a list")
    for chunk in report:
        if version and isinstance(chunk, dict) and "eventRanges" in chunk:
            yield from ((element, chunk.get("zipFile")) for element in chunk["eventRanges"])
        else:
            yield chunk, chunk.get("zipFile") if isinstance(chunk, dict) else None


def _key(event_range_id: object) -> Key | None:
    """None where it is no name of a range; blanks around its numbers do no harm."""
    try:
        numbers = [int(part) for part in str(event_range_id).split("-")]
    except ValueError:
        return None
    return Key(*numbers) if isinstance(event_range_id, str) and len(numbers) == len(Key._fields) else None
