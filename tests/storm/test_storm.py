"""The storm: simulated jobs in bad weather, and that it sees each guarantee that is missing."""

import subprocess
import sys
from hashlib import blake2b

import pytest
from storm.switches import SWITCHES, switched_off

from esfsm import plugins
from esfsm.errors import EsfsmError
from esfsm.simulation.world import World
from esfsm.testing.storm import storm, weather

SEEDS, PART = 1000, 50
MOST_RANGES = 60
"""Small worlds see as much as great ones, and sooner."""


@pytest.mark.parametrize("first", range(0, SEEDS, PART))
def test_whatever_goes_wrong_each_event_range_is_accounted_once(first: int) -> None:
    for seen in storm(range(first, first + PART), most_ranges=MOST_RANGES):
        assert seen.faults == (), f"seed {seen.seed}"


@pytest.mark.parametrize("missing", SWITCHES)
def test_the_storm_sees_that_a_guarantee_is_missing(missing: str) -> None:
    with switched_off(missing):
        for seed in range(SEEDS):
            try:
                if weather(seed, MOST_RANGES).faults:
                    return
            except (EsfsmError, AssertionError, KeyError, ValueError):
                return  # the house itself noticed, and stopped
    pytest.fail(f"{SEEDS} worlds without a fault")


def test_the_same_seed_makes_the_same_world_in_any_process() -> None:
    program = "import sys; from storm.test_storm import journals; print(journals(int(sys.argv[1])))"
    for seed in (3, 8):
        told = {
            subprocess.run(
                [sys.executable, "-c", program, str(seed)],
                env={"PYTHONHASHSEED": salt, "PYTHONPATH": ":".join(sys.path)},
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            for salt in ("1", "2")
        }
        assert told == {f"{journals(seed)}\n"}


def journals(seed: int) -> str:
    """A digest of all journals of a world."""
    world = World(seed, plugins.workflow("eventservice"), plugins.held(), most_ranges=MOST_RANGES)
    world.run()
    return blake2b(b"".join(job.disk.journal for job in world.jobs)).hexdigest()


@pytest.mark.parametrize("command", [["--seeds", "3"], ["--seeds", "100000", "--minutes", "0.001"]])
def test_a_storm_from_the_command_line_says_what_it_saw(command: list[str]) -> None:
    asked = [sys.executable, "-m", "esfsm.testing", "storm", "--ranges", "5", *command]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "worlds with a fault: 0" in done.stdout
