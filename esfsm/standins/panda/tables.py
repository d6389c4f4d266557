"""The tables of PanDA that the Event Service needs: the only place that opens them and says what is in them."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path

from esfsm.errors import UnusableInput

__all__ = ["Kind", "Status", "Tables"]


class Status(IntEnum):
    """Where an event range stands: numbers and names of PanDA's JEDI_EVENTS."""

    READY = 0
    """May be handed out, if an attempt is left; its PandaID is that of the jobset."""
    SENT = 1
    """With a job."""
    RUNNING = 2
    """Not set by servers of today."""
    FINISHED = 3
    """Reported finished."""
    CANCELLED = 4
    """No longer wanted."""
    DISCARDED = 5
    """Finished, and not used."""
    DONE = 6
    """Finished, and its job has ended."""
    FAILED = 7
    """Reported failed, or fatal."""
    FATAL = 8
    """No attempt is left."""
    MERGED = 9
    """Its merge job has finished."""
    CORRUPTED = 10
    """Its output could not be merged."""


class Kind(IntEnum):
    """Kinds of jobs that consume event ranges: PanDA's numbers."""

    EVENT_SERVICE = 1
    """Gets the ranges of its jobset."""
    JUMBO = 4
    """Gets those of all jobsets of the task."""
    FINE_GRAINED = 6
    """Is handed none: it knows them, and reports them (version 2) under the PandaID of its jobset."""


APPLICATION_ID = 0x70616E01
"""SQLite's mark for the files of one application: `pan` and the version of the tables below."""

# What does not fit a column undoes the whole transaction, as PostgreSQL was seen to do; the limits are its.
TABLES = (
    """
    CREATE TABLE tasks (
        task_id INTEGER PRIMARY KEY,
        events_per_range INTEGER NOT NULL,      -- `ES=` of the task's split rule
        accepts_partial INTEGER NOT NULL        -- whether a range without attempts fails only itself
    )
    """,
    """
    CREATE TABLE files (
        task_id INTEGER NOT NULL, file_id INTEGER NOT NULL, dataset_id INTEGER NOT NULL,
        lfn TEXT NOT NULL, guid TEXT NOT NULL, scope TEXT NOT NULL,
        PRIMARY KEY (task_id, file_id)
    )
    """,
    """
    CREATE TABLE jobs (
        panda_id INTEGER PRIMARY KEY, jobset_id INTEGER NOT NULL, task_id INTEGER NOT NULL,
        attempt_nr INTEGER NOT NULL, max_attempt INTEGER NOT NULL,
        kind INTEGER NOT NULL,                  -- a Kind
        queue TEXT NOT NULL, label TEXT NOT NULL,
        definition TEXT NOT NULL,               -- JSON
        state TEXT NOT NULL, sub_status TEXT,
        last_word TEXT,                         -- finished or failed, once the pilot has said it
        archived INTEGER NOT NULL DEFAULT 0,
        n_events INTEGER,
        heard_s REAL NOT NULL DEFAULT 0,        -- when the pilot was heard of
        error_code INTEGER NOT NULL DEFAULT 0, error_diag TEXT
    )
    """,
    """
    CREATE TABLE event_ranges (
        task_id INTEGER NOT NULL, panda_id INTEGER NOT NULL, file_id INTEGER NOT NULL, position INTEGER NOT NULL,
        jobset_id INTEGER NOT NULL,
        attempt INTEGER NOT NULL,               -- how many are left, this one included
        first_event INTEGER NOT NULL, last_event INTEGER NOT NULL,
        status INTEGER NOT NULL,                -- a Status
        zip_file INTEGER REFERENCES zip_files,
        objstore_id INTEGER CHECK (typeof(objstore_id) IN ('integer', 'null')),
        path_convention INTEGER CHECK (typeof(path_convention) IN ('integer', 'null') AND abs(path_convention) < 100),
        error_code INTEGER CHECK (
            typeof(error_code) IN ('integer', 'null') AND error_code BETWEEN -2147483648 AND 2147483647
        ),
        error_diag TEXT CHECK (length(error_diag) <= 500 AND instr(error_diag, char(0)) = 0),
        PRIMARY KEY (task_id, panda_id, file_id, position)
    )
    """,
    "CREATE INDEX owned ON event_ranges (panda_id, status)",
    """
    CREATE TABLE zip_files (
        zip_file INTEGER PRIMARY KEY,
        panda_id INTEGER NOT NULL,
        zip_lfn TEXT NOT NULL CHECK (length(zip_lfn) <= 256 AND instr(zip_lfn, char(0)) = 0),
        size_bytes INTEGER NOT NULL, checksum TEXT,
        place TEXT NOT NULL,                    -- objstoreID, or objstoreID/pathConvention
        num_events INTEGER
    )
    """,
    "CREATE INDEX by_name ON zip_files (panda_id, zip_lfn)",
    """
    CREATE TABLE commands (
        panda_id INTEGER PRIMARY KEY,
        command TEXT NOT NULL,
        code INTEGER NOT NULL                   -- PanDA's supErrorCode: why
    )
    """,
    """
    CREATE TABLE heartbeats (
        heartbeat INTEGER PRIMARY KEY,
        panda_id INTEGER NOT NULL, at_s REAL NOT NULL, state TEXT NOT NULL,
        said TEXT NOT NULL                      -- JSON: all of it, as it was said
    )
    """,
)


class Tables:
    """One file, or `:memory:`. Any thread may use it; each transaction has it alone."""

    def __init__(self, path: Path | str) -> None:
        """Open it, or make it. Raises `UnusableInput` for a path that cannot hold it."""
        self._lock = threading.Lock()
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise UnusableInput(f"books {path}: {error}") from None
        try:
            self._prepare()
        except (sqlite3.Error, UnusableInput) as error:
            self._db.close()
            raise UnusableInput(f"books {path}: {error}") from None

    def _prepare(self) -> None:
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")  # survives a killed server; nobody tests a power cut here
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            (mark,) = self._db.execute("PRAGMA application_id").fetchone()
            (tables,) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if tables == 0:
                self._db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                for statement in TABLES:
                    self._db.execute(statement)
            elif mark != APPLICATION_ID:
                raise UnusableInput("a database, but not one of a PanDA stand-in")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing: an exception undoes it."""
        with self._lock, self._db:
            self._db.execute("BEGIN IMMEDIATE")
            yield self._db

    def close(self) -> None:
        """Let go of the file; a second call does nothing."""
        with self._lock:
            self._db.close()
