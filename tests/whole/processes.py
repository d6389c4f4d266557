"""What tests with real processes share: our payloads, patience, and what is left when all has ended."""

import os
import select
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from esfsm.ports import ProcessIdentity

PAYLOADS = Path(__file__).with_name("payloads.py")
INPUT = "EVNT.41.pool.root"
PATIENCE_S = 20.0
"""What a test waits for takes some hundredths of it."""


def payload(*arguments: object) -> list[str]:
    """The command line of one of our payloads."""
    return [sys.executable, str(PAYLOADS), *map(str, arguments)]


def event_range(number: int) -> dict[str, object]:
    """As PanDA sends it."""
    names = {"LFN": INPUT, "GUID": "8D6A2F0C-7F11-4C7C-9B3A-0123456789AB", "scope": "mc23"}
    return {"eventRangeID": f"1-2-3-{number}-10", "startEvent": number, "lastEvent": number, **names}


def pipe(directory: Path, name: str) -> Path:
    """A named pipe: who opens it waits for the other side."""
    path = directory / name
    os.mkfifo(path)
    return path


def ends(pid: int, patience_s: float = PATIENCE_S) -> bool:
    """Whether a process has ended, or does so soon; it may be a zombie, whose parent is not ours."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], patience_s)[0])
    finally:
        os.close(descriptor)


def identity_of(pid: int) -> ProcessIdentity:
    """As the kernel tells it."""
    return ProcessIdentity(pid, int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]))


@contextmanager
def no_thread_left() -> Iterator[None]:
    """Every thread that is started inside ends soon after."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(PATIENCE_S)
        assert not thread.is_alive(), thread.name
