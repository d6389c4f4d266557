"""The SQLite file of a local broker: the only place that opens it and says what its tables are.

Many processes may share one file, all on one host: SQLite's write-ahead log lives in memory that they share.
"""

import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import IntEnum
from pathlib import Path

from esfsm.errors import UnusableInput, WireError

__all__ = ["APPLICATION_ID", "PATIENCE_S", "Database", "Status", "size_bytes", "troubles"]


class Status(IntEnum):
    """Where an attempt stands; PanDA's numbers and names."""

    READY = 0
    """May be handed out."""
    SENT = 1
    """With a consumer."""
    FINISHED = 3
    """Reported finished; its output is in an archive."""
    CANCELLED = 4
    """Taken back from its consumer."""
    DONE = 6
    """Finished, and its job has ended."""
    FAILED = 7
    """Reported failed."""
    FATAL = 8
    """No attempt was left, so it was never handed out."""


PATIENCE_S = 30.0
"""How long to wait for another's transaction; most take milliseconds, filling a table of 10^6 rows some seconds."""
APPLICATION_ID = 0x65736601
"""SQLite's mark for the files of one application: `esf` and the version of the tables below."""
PASSING = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}
"""Troubles that may be over when it is tried again; the others are of the file."""

TABLES = (
    """
    CREATE TABLE tasks (
        task_id INTEGER PRIMARY KEY,
        supply  TEXT NOT NULL,              -- what it was filled with, in words
        digest  TEXT NOT NULL               -- ... and exactly
    )
    """,
    """
    CREATE TABLE files (
        task_id INTEGER NOT NULL, file_id INTEGER NOT NULL,
        lfn TEXT, guid TEXT, scope TEXT,
        PRIMARY KEY (task_id, file_id)
    )
    """,
    """
    CREATE TABLE consumers (
        consumer INTEGER PRIMARY KEY,
        task_id  INTEGER NOT NULL,
        panda_id INTEGER NOT NULL, run TEXT NOT NULL,
        host TEXT NOT NULL, pid INTEGER NOT NULL, started INTEGER NOT NULL,
        state    TEXT NOT NULL,             -- PanDA's job status
        UNIQUE (task_id, panda_id, run)
    )
    """,
    """
    CREATE TABLE commands (
        panda_id INTEGER PRIMARY KEY,
        command  TEXT
    )
    """,
    """
    CREATE TABLE zip_files (
        zip_file INTEGER PRIMARY KEY,
        panda_id INTEGER NOT NULL, zip_lfn TEXT NOT NULL,
        size_bytes INTEGER NOT NULL, adler32 TEXT NOT NULL, rse_id INTEGER NOT NULL,
        UNIQUE (panda_id, zip_lfn)
    )
    """,
    """
    CREATE TABLE event_ranges (
        number   INTEGER PRIMARY KEY,
        task_id  INTEGER NOT NULL, file_id INTEGER NOT NULL, position INTEGER NOT NULL, attempt INTEGER NOT NULL,
        start_event INTEGER NOT NULL, last_event INTEGER NOT NULL,
        event_range_id TEXT,                -- NULL until it is handed out, unless a list gave it
        stem     TEXT,                      -- what its later names begin with, for a range of a list
        extra    TEXT,                      -- JSON, for a range of a list
        status   INTEGER NOT NULL,          -- a Status
        consumer INTEGER REFERENCES consumers,
        request  TEXT,                      -- of that consumer
        zip_file INTEGER REFERENCES zip_files,
        error_code INTEGER, error_diag TEXT,
        UNIQUE (task_id, file_id, position, attempt),
        UNIQUE (task_id, event_range_id)
    )
    """,
    "CREATE INDEX in_order ON event_ranges (task_id, status, file_id, position)",
    "CREATE INDEX held ON event_ranges (consumer, request)",
)


def size_bytes(path: Path) -> int:
    """How large the file is, 0 where there is none. Raises `UnusableInput` for what can be no broker's file."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise UnusableInput(f"broker {path}: {error.strerror}") from None
    if not stat.S_ISREG(found.st_mode):  # SQLite takes a device or a pipe for a disk that fails
        raise UnusableInput(f"broker {path}: not a regular file")
    return found.st_size


@contextmanager
def troubles(path: Path, *, at_start: bool) -> Iterator[None]:
    """Whatever SQLite complains about is a `WireError`; at the start of a job, what will not pass is `UnusableInput`.

    Once a job runs, its results wait for the broker: somebody may yet put the file right.
    """
    try:
        yield
    except sqlite3.DatabaseError as error:
        # Complaints of Python itself, as about a text that is no UTF-8, have no code.
        passes = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF in PASSING
        fault = UnusableInput if at_start and not passes else WireError
        raise fault(f"broker {path}: {error}") from error
    except OSError as error:  # of a look at the file
        raise WireError(f"broker {path}: {error.strerror}") from error


class Database:
    """One open file. Any thread may use it; each transaction has it alone, among all threads and processes."""

    def __init__(self, path: Path) -> None:
        """Open it, or make it.

        Raises `UnusableInput` for a path that cannot hold a broker, `WireError` for a trouble that may pass.
        """
        self.path = path
        self._lock = threading.Lock()
        size_bytes(path)  # which may refuse it
        with troubles(path, at_start=True):
            self._db = sqlite3.connect(path, timeout=PATIENCE_S, isolation_level=None, check_same_thread=False)
            try:
                self._prepare()
                opened = path.stat()
                self._identity = (opened.st_dev, opened.st_ino)
            except BaseException:
                self._db.close()
                raise

    def _prepare(self) -> None:
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("PRAGMA foreign_keys = ON")
        # A file system without shared memory keeps the rollback journal, which is slower and as safe. Of two
        # processes that change the mode at the same moment one is told at once that the file is locked; it may
        # go on, as the mode is the file's.
        with suppress(sqlite3.OperationalError):
            self._db.execute("PRAGMA journal_mode = WAL")
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            (mark,) = self._db.execute("PRAGMA application_id").fetchone()
            (tables,) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if tables == 0:
                self._db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                for statement in TABLES:
                    self._db.execute(statement)
            elif mark != APPLICATION_ID:
                raise UnusableInput(f"broker {self.path}: a database, but none of event ranges")

    @contextmanager
    def transaction(self, *, at_start: bool = False) -> Iterator[sqlite3.Connection]:
        """All or nothing, on stable storage when it is left without an exception.

        Raises `WireError` where the file is locked for too long, full or unreadable: it may be tried again. `at_start`
        of a job, where it is damaged or read-only, `UnusableInput`.
        """
        with troubles(self.path, at_start=at_start), self._lock, self._db:
            if not self._same_file():
                raise WireError(f"broker {self.path}: the file is not there any more, or is another one")
            self._db.execute("BEGIN IMMEDIATE")
            yield self._db

    def _same_file(self) -> bool:
        """What is booked in a file that was deleted is booked nowhere."""
        try:
            found = self.path.stat()
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self._identity

    def close(self) -> None:
        """Let go of the file; a second call does nothing."""
        with self._lock:
            self._db.close()
