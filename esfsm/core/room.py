"""Room on the disk: how many more event ranges may run until what they make, and its archives, would no longer fit."""

from dataclasses import dataclass
from math import inf

from esfsm.model.resources import Resources
from esfsm.model.settings import Settings

__all__ = ["Room"]

COPIES = 2
"""Of each output: itself, and in its archive."""


@dataclass(slots=True)
class Room:
    """What was free when it was measured last, in bytes, without what must stay free; what we did since is counted."""

    free_bytes: float = inf

    def measured(self, seen: Resources, settings: Settings) -> None:
        """What the limits leave, on the disk and in the work directory; where nobody measures, there is no limit."""
        free_bytes = inf if seen.free_bytes is None else seen.free_bytes - settings.free_limit_bytes
        if seen.workdir_bytes is not None and settings.workdir_limit_bytes is not None:
            free_bytes = min(free_bytes, settings.workdir_limit_bytes - seen.workdir_bytes)
        self.free_bytes = free_bytes

    def fits(self, output_bytes: float, running: int, unpacked_bytes: int) -> int | None:
        """How many ranges more, where an output has so many bytes, so many ranges run already, and so many bytes of
        outputs wait for their archives. None: as many as you like."""
        if self.free_bytes == inf or not output_bytes:
            return None
        left_bytes = self.free_bytes - unpacked_bytes - running * COPIES * output_bytes
        return max(0, int(left_bytes / (COPIES * output_bytes)))
