"""Disks and databases that fail at a chosen call, below everything that runs in this process.

Files: each call of the system that `os` makes, and, as long as a disk is bad, `open` makes its calls by `os`, too.
Databases: each statement of SQLite, whose own calls are made where Python cannot come between.
"""

import _pyio
import builtins
import errno
import io
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import pytest

from esfsm.adapters.archives import flat

__all__ = ["NEED_ROOM", "Trouble", "bad_database", "bad_disk", "small_bites"]

CALLS = (
    *("open", "close", "read", "readinto", "pread", "write", "pwrite", "fsync", "fdatasync", "ftruncate"),
    *("access", "stat", "lstat", "scandir", "mkdir", "link", "rename", "replace", "remove", "unlink"),
)
"""By their names in `os`; an `open` that may make a file is told as `create`."""
NEED_ROOM = frozenset({"create", "write", "pwrite", "fsync", "fdatasync", "mkdir", "link", "rename", "replace"})


@dataclass
class Trouble:
    """Of the calls that are `meant`, by name and path, the n-th fails; if `lasting`, each after it, too."""

    n: int
    meant: Callable[[str, Path], bool]
    error: int = errno.EIO
    lasting: bool = False
    met: Counter[str] = field(default_factory=Counter)
    """How many there were of each name."""
    what: str = "nothing failed"
    _lock: Lock = field(default_factory=Lock)

    def strikes(self, call: str, path: Path) -> bool:
        """Whether this one fails."""
        if not self.meant(call, path):
            return False
        with self._lock:
            self.met[call] += 1
            met = self.met.total()
            if met == self.n:
                self.what = f"{call} {self.n} failed: {path}"
            return met == self.n or (self.lasting and met > self.n)


@contextmanager
def bad_disk(trouble: Trouble) -> Iterator[None]:
    """Calls about files fail. Of a write that fails, half is written; a file whose close fails is closed."""
    with pytest.MonkeyPatch.context() as patched:
        for call in filter(partial(hasattr, os), CALLS):  # `readinto` is there since Python 3.14
            patched.setattr(os, call, partial(_call, trouble, call, getattr(os, call)))
        _put_os_below_files(patched)
        yield


@contextmanager
def small_bites() -> Iterator[None]:
    """Each write takes half of what it is given, and says so."""
    write = os.write
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "write", lambda descriptor, content: write(descriptor, content[: (len(content) + 1) // 2]))
        _put_os_below_files(patched)
        yield


def _put_os_below_files(patched: pytest.MonkeyPatch) -> None:
    """Python has its `io` in Python, too, and there each call of the system is one of `os`."""
    for module in (builtins, io):
        patched.setattr(module, "open", _pyio.open)
    patched.setattr(flat, "FileIO", _pyio.FileIO)


def _call(trouble: Trouble, call: str, real: Callable[..., Any], where: Any, *rest: Any, **named: Any) -> Any:
    """Make one call, unless it fails; `where` is a descriptor or a path."""
    path = Path(f"/proc/self/fd/{where}").readlink() if isinstance(where, int) else Path(where)
    may_create = call == "open" and rest[0] & os.O_CREAT
    if not trouble.strikes("create" if may_create else call, path):
        return real(where, *rest, **named)
    if call == "close":
        real(where)
    if call in ("write", "pwrite"):
        content, *at = rest
        real(where, content[: len(content) // 2], *at)
    raise OSError(trouble.error, os.strerror(trouble.error), str(path))


@contextmanager
def bad_database(trouble: Trouble) -> Iterator[None]:
    """Statements fail, told by their first word. `COMMIT`: nothing of it is done; `COMMITTED`: all of it is."""

    class Connection(sqlite3.Connection):
        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
            strike(sql.split()[0])
            return super().execute(sql, *values)

        def executemany(self, sql: str, rows: Any) -> sqlite3.Cursor:
            strike(sql.split()[0])
            return super().executemany(sql, rows)

        def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
            if kind is not None:
                super().__exit__(kind, error, traceback)
                return
            try:
                strike("COMMIT")
            except sqlite3.OperationalError:
                self.rollback()
                raise
            super().__exit__(None, None, None)
            strike("COMMITTED")

    def strike(statement: str) -> None:
        if trouble.strikes(statement, Path("the broker")):
            failure = sqlite3.OperationalError("disk I/O error")
            failure.sqlite_errorcode = sqlite3.SQLITE_IOERR
            raise failure

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Connection))
        yield
