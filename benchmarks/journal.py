#!/usr/bin/env python3
"""What a long journal costs: `python benchmarks/journal.py --ranges 1000000`.

A simulated job of so many event ranges writes the journal. Then it is taken up, as `esfsm resume` does before the first
new fact, and replayed, each in a process of its own, so that its memory is its own. The time to read the lines as JSON
and no more stands beside it, measured in between, as a machine is not equally fast all the time.
"""

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import orjson

import esfsm
from esfsm import plugins
from esfsm.core.engine import Engine
from esfsm.inbox import Clock, Inbox
from esfsm.journal.writer import Journal
from esfsm.loop import Loop
from esfsm.model.settings import Settings
from esfsm.simulation.payload import Habits
from esfsm.simulation.weather import CALM
from esfsm.simulation.world import World

__all__ = ["main"]

WORKERS = 64


class CalmWorld(World):
    """One job of so many ranges, in calm weather."""

    def __init__(self, ranges: int) -> None:
        workflow, held = plugins.workflow("eventservice"), plugins.held()
        super().__init__(0, workflow, held, most_ranges=ranges, fewest_ranges=ranges, weather=CALM)

    def _settings(self) -> Settings:
        return Settings(output_url="sim://0")

    def _habits(self) -> Habits:
        chance = self.chance
        takes_s = lambda _: 20.0 + 20.0 * chance.random()  # noqa: E731
        return Habits(WORKERS, begins_s=lambda: 1.0, ends_s=lambda: 1.0, takes_s=takes_s)


def parse(journal: Path) -> None:
    """Read the lines as JSON and no more."""
    with journal.open("rb") as lines:
        for line in lines:
            orjson.loads(line)


def take_up(journal: Path) -> None:
    """What an engine does with the journal of one that has died."""
    with Journal.open(journal) as opened:
        engine = Engine(plugins.workflow(opened.header.workflow), plugins.held(), opened.header.settings)
        Loop(opened, engine, Inbox(Clock())).remember()


DEEDS: dict[str, Callable[[Path], object]] = {"parse": parse, "take_up": take_up, "replay": esfsm.replay}


def measured(deed: str, journal: Path) -> tuple[float, float]:
    """Seconds and peak memory (MB) of a process that does this."""
    command = [sys.executable, __file__, "--do", deed, "--journal", str(journal)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return float(told[0]), float(told[1])


def peak_memory_mb() -> float:
    """Of this process alone: what getrusage says counts what the process that started it had then."""
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(peak) / 1000


def main() -> None:
    """Print what the journal costs, or do one deed and say what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranges", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--do", choices=DEEDS, help=argparse.SUPPRESS)
    parser.add_argument("--journal", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.do:
        began = time.monotonic()
        DEEDS[given.do](given.journal)
        print(time.monotonic() - began, peak_memory_mb())
        return
    with TemporaryDirectory() as directory:
        report(Path(directory, "journal.jsonl"), given.ranges, given.repeats)


def report(journal: Path, ranges: int, repeats: int) -> None:
    """Make the journal, and print each figure with its spread."""
    world = CalmWorld(ranges)
    world.run()
    journal.write_bytes(world.jobs[0].disk.journal)
    runs = [{deed: measured(deed, journal) for deed in DEEDS} for _ in range(repeats)]
    print(f"{ranges:,} event ranges: {journal.stat().st_size / ranges:.0f} bytes of journal each")
    for deed in DEEDS:
        seconds = sorted(run[deed][0] for run in runs)
        ratio = median(run[deed][0] / run["parse"][0] for run in runs)
        memory_mb = max(run[deed][1] for run in runs)
        spread = f"{median(seconds):.1f} s ({seconds[0]:.1f} - {seconds[-1]:.1f})"
        print(f"{deed:8} {spread:24} {ratio:5.1f} x parse, {memory_mb:.0f} MB")


if __name__ == "__main__":
    main()
