"""`esfsm testing`, or `python -m esfsm.testing`: servers for tests, and hostile simulated worlds."""

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from types import FrameType

from esfsm.testing.serve import add_serve
from esfsm.testing.storm import MOST_RANGES, Seen, storm

__all__ = ["main"]

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve, or run a storm: exit code 1 if a fault was found, 128 and the number of the signal if one stopped it."""
    parser = argparse.ArgumentParser(prog="esfsm testing", description=__doc__)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("storm", help="simulate jobs in bad weather")
    command.add_argument("--seeds", type=_number(int, 1), default=1000, help="how many worlds (default: 1000)")
    command.add_argument("--minutes", type=_number(float, 0), default=60.0, help="stop after so long (default: 60)")
    command.add_argument("--from", type=_number(int, 0), default=0, dest="first", help="the first seed (default: 0)")
    command.add_argument(
        "--ranges", type=_number(int, 1), default=MOST_RANGES, help="the most event ranges (default: 1000)"
    )
    command.set_defaults(run=_storm)
    add_serve(commands)
    given = parser.parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = given.run
    return run(given)


def _number(read: type[int] | type[float], least: int) -> Callable[[str], float]:
    """Reads an argument that is at least so much."""

    def number(text: str) -> float:
        value = read(text)
        if not value >= least:  # neither is nan
            raise argparse.ArgumentTypeError(f"{least} or more is expected, not {text}")
        return value

    return number


def _storm(given: argparse.Namespace) -> int:
    """Print each fault, how to see it again, and the sum of all worlds, however many there were before a stop."""
    began, stops, worlds = monotonic(), _stops(), []
    try:
        for world in storm(range(given.first, given.first + given.seeds), given.minutes, given.ranges):
            worlds.append(world)
            if world.faults:
                _say("\n  ".join([f"again, at commit {_commit()}: {world.again}", *world.faults]))
            if stops:
                break
    except BaseException as error:
        error.add_note(f"at commit {_commit()}")
        raise
    if stops:
        _say(f"stopped by {signal.Signals(stops[0]).name}")
    _say(_sum(worlds, monotonic() - began))
    return 128 + stops[0] if stops else int(any(world.faults for world in worlds))


def _stops() -> list[int]:
    """Where the first SIGTERM or SIGINT will be found. A second one ends the process at once.

    An exception would not do: what simulated engines call turns some into others.
    """
    numbers: list[int] = []

    def hear(number: int, _: FrameType | None) -> None:
        numbers.append(number)
        for each in STOP_SIGNALS:
            signal.signal(each, signal.SIG_DFL)

    for each in STOP_SIGNALS:
        signal.signal(each, hear)
    return numbers


def _sum(worlds: Sequence[Seen], took_s: float) -> str:
    """What all of them come to."""
    jobs, resumes = sum(world.jobs for world in worlds), sum(world.resumes for world in worlds)
    return (
        f"{jobs} jobs of {sum(world.ranges for world in worlds)} event ranges, {resumes} resumes, "
        f"in {took_s:.0f} s on one core: {3600 * jobs / took_s:,.0f} jobs an hour; "
        f"worlds with a fault: {sum(bool(world.faults) for world in worlds)}"
    )


def _say(text: str) -> None:
    """Print it at once; exit code 1 where nobody takes it."""
    try:
        print(text, flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python writes the rest when it ends
        sys.exit(f"standard output: {error.strerror}")


def _commit() -> str:
    """Of the checkout that this is, if it is one."""
    asked = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    found = subprocess.run(asked, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
