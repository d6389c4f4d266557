"""A storm: simulated worlds, one for each seed, and every promise that was not kept in one of them.

The same seed and the same most ranges make the same world, so a fault can be looked at again: `Seen.again` says how.
"""

from collections.abc import Iterable, Iterator
from time import monotonic
from typing import NamedTuple

from esfsm import plugins
from esfsm.errors import EsfsmError
from esfsm.simulation.agenda import Stuck
from esfsm.simulation.verdict import faults
from esfsm.simulation.weather import Weather
from esfsm.simulation.world import World

__all__ = ["MOST_RANGES", "Seen", "seen", "storm"]

MOST_RANGES = 1000
"""Event ranges of the greatest task; each order of magnitude is as likely as any other."""


class Seen(NamedTuple):
    """What came of one seed."""

    again: str
    """The command that makes this world once more, where its weather was drawn."""
    jobs: int
    resumes: int
    ranges: int
    faults: tuple[str, ...]


def seen(seed: int, most_ranges: int = MOST_RANGES, weather: Weather | None = None) -> Seen:
    """The world of one seed, from its beginning to its end; `weather`: instead of one that is drawn."""
    again = f"python -m esfsm.testing storm --from {seed} --seeds 1 --ranges {most_ranges}"
    workflow, held = plugins.workflow("eventservice"), plugins.held()
    world = World(seed, workflow, held, most_ranges=most_ranges, weather=weather)
    try:
        world.run()
        found = tuple(faults(world))
    except (EsfsmError, Stuck) as error:
        found = (f"{type(error).__name__}: {error}",)
    except BaseException as error:
        error.add_note(f"again: {again}")
        raise
    resumes = sum(job.lives - 1 for job in world.jobs)
    return Seen(again, len(world.jobs), resumes, world.ranges, found)


def storm(seeds: Iterable[int], minutes: float = 60.0, most_ranges: int = MOST_RANGES) -> Iterator[Seen]:
    """One world after another, until the seeds or the minutes are over."""
    until = monotonic() + 60.0 * minutes
    for seed in seeds:
        yield seen(seed, most_ranges)
        if monotonic() > until:
            return
