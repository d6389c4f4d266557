#!/usr/bin/env python3
"""What the word with a PanDA server costs: `python benchmarks/panda.py`.

A job of so many event ranges is run against the stand-in for PanDA, over HTTP on this machine: calls, bytes and seconds
for each thousand ranges. Then its answers take two seconds, its payload has eight workers and a range takes one second:
how long they stand idle.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from esfsm.durable import adler32_of
from esfsm.standins.panda.books import Books
from esfsm.standins.panda.server import PandaServer
from esfsm.standins.panda.tasks import Task
from esfsm.testing.panda import serve_panda

__all__ = ["main"]

HERE = Path(__file__).parent
INPUT, PAYLOAD, TIMES = "EVNT.pool.root", "panda_payload.py", "times.jsonl"
PANDA_ID = 5001


class Run(NamedTuple):
    """What one job took."""

    calls: int
    bytes_in: int
    bytes_out: int
    seconds: float
    """From the first range to the last."""
    idle: float
    """The share of the workers' time in it in which they had none."""


def run(place: Path, api: str, ranges: int, workers: int, takes_s: float, reply_after_s: float) -> Run:
    """One job, in a directory."""
    (place / INPUT).write_text("events")
    definition = {
        "transformation": str(HERE / PAYLOAD),
        "jobPars": f"{workers} {takes_s} {TIMES}",
        "inFiles": INPUT,
        "fsize": "6",
        "checksum": f"ad:{adler32_of(place / INPUT)}",
        "coreCount": workers,
    }
    books = Books()
    books.submit(Task(1001, 4001, PANDA_ID, ranges, definition=definition))
    generations = ("legacy", "v1") if api == "legacy" else ("v1",)
    with serve_panda(PandaServer(books, generations=generations), reply_after_s=reply_after_s) as served:
        settings = {"panda_server": served.url, "panda_api": api, "input_url": place, "job_attempts": 1}
        options = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
        command = [sys.executable, "-m", "esfsm", "pilot", "--queue", "TEST_ES", "--communicator", "panda", "--quiet"]
        subprocess.run(
            [*command, "--jobs", "1", "--workdir", str(place / "pilot"), *options],
            check=True,
            stdout=subprocess.DEVNULL,
            env={name: value for name, value in os.environ.items() if name != "X509_USER_PROXY"},
        )
        calls = sum(served.calls.values())
    assert books.counts()["finished"] == ranges
    books.close()
    lines = (place / "pilot" / f"PanDA_Pilot-{PANDA_ID}" / TIMES).read_text().splitlines()
    times = [json.loads(line) for line in lines]
    span = max(end for _, end in times) - min(begin for begin, _ in times)
    idle = 1 - sum(end - begin for begin, end in times) / (workers * span)
    return Run(calls, served.bytes_in, served.bytes_out, span, idle)


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranges", type=int, default=1000, help="of the jobs whose calls are counted")
    parser.add_argument("--slow-ranges", type=int, default=2400, help="of the job whose server takes its time")
    given = parser.parse_args()
    for api in ("legacy", "v1"):
        with TemporaryDirectory() as place:
            told = run(Path(place), api, given.ranges, 2, 0.0, 0.0)
        each = given.ranges / 1000
        print(
            f"{api}: per 1,000 event ranges {told.calls / each:.0f} calls, {told.bytes_in / each / 1000:.0f} kB sent, "
            f"{told.bytes_out / each / 1000:.0f} kB received, {told.seconds / each:.1f} s"
        )
    with TemporaryDirectory() as place:
        told = run(Path(place), "legacy", given.slow_ranges, 8, 1.0, 2.0)
    print(f"8 workers, 1 s a range, answers after 2 s: idle {told.idle:.2%} of {told.seconds:.0f} s")


if __name__ == "__main__":
    main()
