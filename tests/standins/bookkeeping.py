"""What tests do with the books of the PanDA stand-in: one task, its jobs, and their ranges by name."""

from esfsm.standins.panda.books import Books
from esfsm.standins.panda.tasks import Task

__all__ = ["JOB", "JOBSET", "OTHER", "TASK", "ZIP", "job", "say", "stands", "submit", "take", "zipped"]

TASK, JOBSET, JOB, OTHER = 1001, 4001, 5001, 5002
ZIP = {"lfn": "a.zip", "objstoreID": 117}


def submit(books: Books, ranges: int = 6, **said: object) -> None:
    books.submit(Task(TASK, JOBSET, JOB, ranges, **({"state": "running"} | said)))


def take(books: Books, n: int, panda_id: int = JOB) -> list[str]:
    return [str(each["eventRangeID"]) for each in books.acquire_event_ranges(panda_id, JOBSET, n) or ()]


def say(books: Books, status: str, *names: str, **said: object) -> list[bool | None]:
    return books.update_event_ranges([{"eventRangeID": name, "eventStatus": status, **said} for name in names])[0]


def zipped(*names: str, **zip_file: object) -> list[dict[str, object]]:
    ranges = [{"eventRangeID": name, "eventStatus": "finished"} for name in names]
    return [{"zipFile": ZIP | zip_file, "eventRanges": ranges}]


def stands(books: Books) -> dict[str, str]:
    return {row.event_range_id: row.status for row in books.ranges()}


def job(books: Books, panda_id: int = JOB) -> tuple[str, str | None, int]:
    (row,) = (row for row in books.jobs() if row.panda_id == panda_id)
    return row.state, row.sub_status, row.error_code
