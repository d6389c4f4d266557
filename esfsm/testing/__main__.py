"""`python -m esfsm.testing storm`: hostile simulated worlds, until a promise is broken or the time is over."""

import argparse
import subprocess
import sys
from pathlib import Path
from time import monotonic

from esfsm.testing.storm import MOST_RANGES, storm

__all__ = ["main"]


def main() -> int:
    """Run a storm; exit code 1 if a fault was found."""
    parser = argparse.ArgumentParser(prog="python -m esfsm.testing", description=__doc__)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("storm", help="simulate jobs in bad weather")
    command.add_argument("--seeds", type=int, default=1000, help="how many worlds (default: 1000)")
    command.add_argument("--minutes", type=float, default=60.0, help="stop after so long (default: 60)")
    command.add_argument("--from", type=int, default=0, dest="first", help="the first seed (default: 0)")
    command.add_argument("--ranges", type=int, default=MOST_RANGES, help="the most event ranges (default: 1000)")
    given = parser.parse_args()
    try:
        return _storm(given)
    except BaseException as error:
        error.add_note(f"at commit {_commit()}")
        raise


def _storm(given: argparse.Namespace) -> int:
    """Print each fault, how to see it again, and the sum of all worlds."""
    began = monotonic()
    jobs = resumes = ranges = faulty = 0
    for world in storm(range(given.first, given.first + given.seeds), given.minutes, given.ranges):
        jobs, resumes, ranges = jobs + world.jobs, resumes + world.resumes, ranges + world.ranges
        if world.faults:
            faulty += 1
            print(f"again, at commit {_commit()}: {world.again}", *world.faults, sep="\n  ")
    took_s = monotonic() - began
    print(
        f"{jobs} jobs of {ranges} event ranges, {resumes} resumes, in {took_s:.0f} s on one core: "
        f"{3600 * jobs / took_s:,.0f} jobs an hour; worlds with a fault: {faulty}"
    )
    return 1 if faulty else 0


def _commit() -> str:
    """Of the checkout that this is, if it is one."""
    asked = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    found = subprocess.run(asked, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
