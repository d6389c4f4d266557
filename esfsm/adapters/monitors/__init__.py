"""Monitors: whoever measures what a payload and its machine use. One file each, behind `ports.Monitor`.

Each fills its own part of `Resources`; what it could not measure is None, never a guess.
"""

__all__ = ["KNOWN"]

KNOWN = {
    "cgroup": "cgroup:open_monitor",
    "disk": "disk:open_monitor",
    "process": "process:open_monitor",
    "proxy": "proxy:open_monitor",
}
"""Name -> module:attribute in this drawer."""
