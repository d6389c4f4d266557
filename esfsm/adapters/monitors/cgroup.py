"""What the control group of this process holds of memory, and when the kernel begins to kill in it (cgroup v2)."""

from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from esfsm.model.resources import Resources
from esfsm.model.settings import Settings
from esfsm.ports import ProcessIdentity

__all__ = ["CgroupMonitor", "open_monitor"]


class _Level(NamedTuple):
    """A control group, in bytes."""

    used_bytes: int
    limit_bytes: int | None


class CgroupMonitor:
    """Measures the group of this process, which its payloads are in, and the groups above it.

    A limit counts for all that is below it, so of the groups that have one the nearest to its limit is told, with what
    that group holds. Where none has a limit, it is the lowest that can be read.
    """

    def __init__(self, root: Path = Path("/sys/fs/cgroup"), member: Path = Path("/proc/self/cgroup")) -> None:
        """`root`: where control groups are mounted; `member`: the file that tells which one we are in."""
        self._root, self._member = root, member

    def measure(self, payload: ProcessIdentity) -> Resources:
        """What is held and its limit, whether the payload lives or not; nothing under cgroup v1."""
        levels = [level for group in self._groups() if (level := _level(group)) is not None]
        if not levels:
            return Resources()
        used_bytes, limit_bytes = min(levels, key=_room)
        return Resources(cgroup_bytes=used_bytes, cgroup_limit_bytes=limit_bytes)

    def _groups(self) -> list[Path]:
        """The directories of our group and of those above it, from below; some may not be there.

        In a container the path may be the host's, while the group of the container is mounted as the root.
        """
        try:
            lines = self._member.read_text(errors="surrogateescape").splitlines()
        except OSError:
            return []
        path = next((PurePosixPath(line.removeprefix("0::")) for line in lines if line.startswith("0::/")), None)
        if path is None or ".." in path.parts:  # outside of what we are shown
            return []
        parts = path.parts[1:]
        return [self._root.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1)]


def open_monitor(settings: Settings, workdir: Path, ours: Collection[str]) -> CgroupMonitor:
    """For any payload."""
    return CgroupMonitor()


def _level(group: Path) -> _Level | None:
    """One group; None where it cannot be read. The highest of all has no such files."""
    try:
        limit = (group / "memory.max").read_text().strip()
        held_bytes = int((group / "memory.current").read_text())
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        # Page cache that nobody has used lately: the kernel drops it before it kills.
        return _Level(max(0, held_bytes - int(stat["inactive_file"])), None if limit == "max" else int(limit))
    except (OSError, ValueError, KeyError):
        return None


def _room(level: _Level) -> float:
    return float("inf") if level.limit_bytes is None else level.limit_bytes - level.used_bytes
