"""The storm: simulated jobs in bad weather, and that it sees each guarantee that is missing."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

import pytest
from storm.switches import SWITCHES, Switch

from esfsm import plugins
from esfsm.core.engine import Engine
from esfsm.core.facts import Fact
from esfsm.simulation.world import World
from esfsm.testing import __main__ as command_line
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


def test_where_a_payload_only_goes_on_nothing_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """The core does not look then, as looking costs more than all else."""
    passed_over = []

    def goes_on(engine: Engine, fact: Fact, real=Engine._goes_on) -> bool:
        if real(engine, fact):
            passed_over.append((fact, engine._due()))
        return False

    monkeypatch.setattr(Engine, "_goes_on", goes_on)
    for world in storm(range(100), most_ranges=MOST_RANGES):
        assert world.faults == ()
    assert len(passed_over) > 1000
    assert [(fact, due) for fact, due in passed_over if due] == []


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


# --- the command line ---------------------------------------------------------------------------------------------


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "esfsm.testing", "storm", *arguments]


@pytest.mark.parametrize("arguments", [["--seeds", "3"], ["--seeds", "100000", "--minutes", "0.001"]])
def test_a_storm_from_the_command_line_says_what_it_saw(arguments: list[str]) -> None:
    done = subprocess.run(command("--ranges", "5", *arguments), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "worlds with a fault: 0" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--ranges", "-1"], "argument --ranges: 1 or more is expected, not -1"),
        (["--ranges", "0"], "argument --ranges: 1 or more is expected, not 0"),
        (["--seeds", "-3"], "argument --seeds: 1 or more is expected, not -3"),
        (["--seeds", "1.5"], "argument --seeds: invalid number value: '1.5'"),
        (["--from", "-1"], "argument --from: 0 or more is expected, not -1"),
        (["--minutes", "-1"], "argument --minutes: 0 or more is expected, not -1"),
        (["--minutes", "nan"], "argument --minutes: 0 or more is expected, not nan"),
    ],
)
def test_a_storm_that_cannot_be_is_refused_in_one_sentence(
    arguments: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["storm", "storm", *arguments])
    with pytest.raises(SystemExit) as refused:
        command_line.main()
    assert refused.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"esfsm testing storm: error: {sentence}"


@pytest.fixture
def signals() -> Iterator[None]:
    """What they do is as before afterwards."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.usefixtures("signals")
def test_a_storm_that_is_stopped_says_how_far_it_came(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs, run = [], World.run

    def stopped_in_the_third(self: World) -> None:
        if len(jobs) == 2:
            signal.raise_signal(number)
        run(self)
        jobs.append(len(self.jobs))

    monkeypatch.setattr(World, "run", stopped_in_the_third)
    monkeypatch.setattr(sys, "argv", ["storm", "storm", "--ranges", "5"])
    assert command_line.main() == 128 + number
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"stopped by {number.name}"
    assert second.startswith(f"{sum(jobs)} jobs of ")
    assert len(jobs) == 3


STOPPED_TWICE = """\
import signal, sys
from esfsm.simulation.world import World
from esfsm.testing.__main__ import main

def run(self):
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)
    print("it went on")

World.run = run
main()
"""


def test_a_second_stop_ends_a_storm_at_once() -> None:
    done = subprocess.run([sys.executable, "-c", STOPPED_TWICE, "storm"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGTERM, "", "")


def test_a_storm_whose_words_nobody_takes_ends_in_one_sentence() -> None:
    asked = command("--ranges", "5", "--seeds", "3")
    with subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        running.stdout.close()
        said = running.stderr.read()
    assert (running.returncode, said) == (1, "standard output: Broken pipe\n")


def test_a_storm_on_a_full_disk_ends_in_one_sentence() -> None:
    with Path("/dev/full").open("w") as full:
        asked = command("--ranges", "5", "--seeds", "3")
        done = subprocess.run(asked, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "standard output: No space left on device\n")


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
