"""What the processes of a payload use: memory, CPU time, and how many they are."""

from collections.abc import Collection
from pathlib import Path

import psutil

from esfsm.model.resources import Resources
from esfsm.model.settings import Settings
from esfsm.ports import ProcessIdentity
from esfsm.processes import started

__all__ = ["ProcessMonitor", "open_monitor"]


class ProcessMonitor:
    """Measures the process that leads a payload, with all its descendants."""

    def __init__(self) -> None:
        self._payload: ProcessIdentity | None = None
        self._cpu_s = 0.0

    def measure(self, payload: ProcessIdentity) -> Resources:
        """Memory, CPU time and number of its processes; nothing when it has gone."""
        family = _family(payload)
        # Parents before children: who ends while we look, and is waited for, has been counted, but not in its parent.
        cpu_s = [said for process in family if (said := _cpu_s(process)) is not None]
        memory_bytes = [said for process in family if (said := _memory_bytes(process)) is not None]
        return Resources(
            memory_bytes=sum(memory_bytes) if memory_bytes else None,
            cpu_s=self._never_less(payload, sum(cpu_s)) if cpu_s else None,
            processes=len(cpu_s) or None,
        )

    def _never_less(self, payload: ProcessIdentity, cpu_s: float) -> float:
        """The most that was seen: the time of those whom nobody waits for goes with them."""
        self._cpu_s = max(cpu_s, self._cpu_s) if payload == self._payload else cpu_s
        self._payload = payload
        return self._cpu_s


def open_monitor(settings: Settings, workdir: Path, ours: Collection[str]) -> ProcessMonitor:
    """For any payload."""
    return ProcessMonitor()


def _family(payload: ProcessIdentity) -> list[psutil.Process]:
    """The leader and its descendants, each parent before its children; none when the leader has gone."""
    try:
        leader = psutil.Process(payload.pid)
        family = [leader, *leader.children(recursive=True)]
        # psutil knows the start only as a time of day, which changes when the clock is set.
        return family if started(payload.pid) == payload.started else []
    except (psutil.Error, OSError):
        return []


def _cpu_s(process: psutil.Process) -> float | None:
    """User and system time of a process and of the children that it has waited for; None when it has gone.

    A child that was not waited for tells its own, so nothing is counted twice.
    """
    try:
        times = process.cpu_times()
    except psutil.Error:
        return None
    return times.user + times.system + times.children_user + times.children_system


def _memory_bytes(process: psutil.Process) -> int | None:
    """PSS, which shares out what several processes share; RSS where it is refused; None when the process has gone."""
    try:
        try:
            return int(process.memory_full_info().pss)
        except psutil.AccessDenied:
            return int(process.memory_info().rss)
    except psutil.Error:
        return None
