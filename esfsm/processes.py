"""Which process is meant, and whether it still lives: the only place that asks the kernel for that.

A pid alone may be another process's by now, so it is always told with the time of its start.
"""

import os
import socket
from pathlib import Path

from esfsm.ports import ProcessIdentity

__all__ = ["here", "lives", "started", "this_process"]


def here() -> str:
    """Where a pid means something: this host and, on it, the namespace of pids (a container may have its own)."""
    return f"{socket.gethostname()} {Path('/proc/self/ns/pid').readlink()}"


def this_process() -> ProcessIdentity:
    """Ourselves."""
    pid = os.getpid()
    return ProcessIdentity(pid, started(pid))


def started(pid: int) -> int:
    """Clock ticks from boot to the start of a process (field 22 of its stat file). Raises OSError if it has gone."""
    return int(_stat(pid)[19])


def lives(process: ProcessIdentity) -> bool:
    """Whether it runs. A zombie does not: it has ended, only nobody has asked how."""
    try:
        stat = _stat(process.pid)
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat[0] not in {"Z", "X"} and int(stat[19]) == process.started


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third (the state) on; the second, a name, may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
