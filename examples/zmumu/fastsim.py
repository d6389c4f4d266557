#!/usr/bin/env python3
"""Fast simulation of a detector: the Event Service payload of this example.

It asks for event ranges on the channel, smears the particles of each with the resolution of `detector.py`, and writes
one HITS file a range, `<output LFN>.<eventRangeID>`, the name under which PanDA's merge job looks for it.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import awkward as ak
import uproot

from detector import smear
from esfsm.payload import AssignedRange, run_workers
from events import TREE, dimuon_mass, read_events, write_events

__all__ = ["FastSimulation", "simulate"]


def simulate(events: ak.Array, seed: int) -> ak.Array:
    """HITS of EVNT: the particles that the detector sees, and the dimuon mass before and after.

    Each event has random numbers of its own, so a range that runs twice gives the same physics.
    """
    seen = smear(events.particle, [[seed, number] for number in events.eventNumber])
    masses = {"mass": dimuon_mass(seen), "truth_mass": dimuon_mass(events.particle)}
    return ak.zip({"eventNumber": events.eventNumber, "particle": seen, **masses}, depth_limit=1)


class FastSimulation:
    """One input file and one output name; call it with an event range to get the path of its HITS file."""

    def __init__(self, evnt: Path, hits: Path, seed: int) -> None:
        self.hits, self.seed = hits, seed
        # Opened by the first range, after the workers were forked: they must not share a file position.
        self.tree = cache(lambda: uproot.open(evnt)[TREE])

    def __call__(self, event_range: AssignedRange) -> Path:
        """Raises `ValueError` when the input file does not hold the range."""
        first, last = event_range.start_event, event_range.last_event
        if not 1 <= first <= last <= self.tree().num_entries:
            raise ValueError("Not found in the input file")
        path = self.hits.with_name(f"{self.hits.name}.{event_range.event_range_id}")
        write_events(path, [simulate(read_events(self.tree(), first - 1, last), self.seed)])
        return path


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate until there are no more ranges.

    A range that fails was reported as such and PanDA hands it out again: the payload itself did not fail.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputEVNTFile", type=Path, required=True, dest="evnt")
    parser.add_argument("--outputHITSFile", type=Path, required=True, dest="hits")
    parser.add_argument("--randomSeed", type=int, default=1, dest="seed")
    asked = parser.parse_args(arguments)
    run_workers(FastSimulation(asked.evnt.absolute(), asked.hits.absolute(), asked.seed))
    return 0


if __name__ == "__main__":
    sys.exit(main())
