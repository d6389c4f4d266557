"""A storm: simulated worlds, one for each seed, and every promise that was not kept in one of them.

The same seed makes the same world, so a fault can be looked at again: `python -m esfsm.testing storm --from SEED`.
"""

from collections.abc import Iterable, Iterator
from time import monotonic
from typing import NamedTuple

from esfsm import plugins
from esfsm.errors import EsfsmError
from esfsm.simulation.agenda import Stuck
from esfsm.simulation.verdict import faults
from esfsm.simulation.world import World

__all__ = ["MOST_RANGES", "Seen", "storm", "weather"]

MOST_RANGES = 1000
"""Event ranges of the greatest task; each order of magnitude is as likely as any other."""


class Seen(NamedTuple):
    """What came of one seed."""

    seed: int
    jobs: int
    lives: int
    """Of engines: each but a job's first began with a resume."""
    ranges: int
    faults: tuple[str, ...]


def weather(seed: int, most_ranges: int = MOST_RANGES) -> Seen:
    """The world of one seed, from its beginning to its end."""
    world = World(seed, plugins.workflow("eventservice"), plugins.held(), most_ranges=most_ranges)
    try:
        world.run()
        found = tuple(faults(world))
    except (EsfsmError, Stuck) as error:
        found = (f"{type(error).__name__}: {error}",)
    except BaseException as error:
        error.add_note(f"in the world of seed {seed}")
        raise
    return Seen(seed, len(world.jobs), sum(job.lives for job in world.jobs), world.ranges, found)


def storm(seeds: Iterable[int], minutes: float = 60.0, most_ranges: int = MOST_RANGES) -> Iterator[Seen]:
    """One world after another, until the seeds or the minutes are over."""
    until = monotonic() + 60.0 * minutes
    for seed in seeds:
        yield weather(seed, most_ranges)
        if monotonic() > until:
            return
