"""The storm: simulated jobs in bad weather, and that it sees each guarantee that is missing."""

import re
import subprocess
import sys
from hashlib import blake2b

import pytest
from storm.switches import SWITCHES, Switch

from esfsm import plugins
from esfsm.simulation.world import World
from esfsm.testing.storm import seen, storm

SEEDS, PART = 1000, 50
MOST_RANGES = 60
"""Small worlds see as much as great ones, and sooner."""
SWITCH_SEEDS = 400
"""Most switches are seen in the first ten worlds; a lost sync is seldom missed, one world in sixty."""


@pytest.mark.parametrize("first", range(0, SEEDS, PART))
def test_whatever_goes_wrong_each_event_range_is_accounted_once(first: int) -> None:
    for world in storm(range(first, first + PART), most_ranges=MOST_RANGES):
        assert world.faults == (), f"again: {world.again}"


@pytest.mark.parametrize("switch", SWITCHES.values(), ids=SWITCHES)
def test_the_storm_sees_that_a_guarantee_is_missing(switch: Switch) -> None:
    with switch.off():
        for seed in range(SWITCH_SEEDS):
            if any(re.search(switch.sees, fault) for fault in seen(seed, switch.most_ranges, switch.weather).faults):
                return
    pytest.fail(f"{SWITCH_SEEDS} worlds without it")


@pytest.mark.parametrize("switch", SWITCHES.values(), ids=SWITCHES)
def test_in_the_same_weather_nothing_is_missed_while_the_guarantee_is_given(switch: Switch) -> None:
    assert [seen(seed, switch.most_ranges, switch.weather).faults for seed in range(10)] == [()] * 10


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


def test_what_is_seen_says_how_to_see_it_again() -> None:
    asked = [sys.executable, *seen(7, 5).again.split()[1:]]
    done = subprocess.run(asked, capture_output=True, text=True, check=True)
    assert f" of {seen(7, 5).ranges} event ranges, {seen(7, 5).resumes} resumes" in done.stdout


def test_a_storm_that_breaks_down_says_how_to_see_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(self: World) -> None:
        raise KeyError("broken")

    monkeypatch.setattr(World, "run", breaks)
    with pytest.raises(KeyError) as raised:
        seen(7, 5)
    assert raised.value.__notes__ == ["again: python -m esfsm.testing storm --from 7 --seeds 1 --ranges 5"]
