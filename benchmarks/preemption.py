#!/usr/bin/env python3
"""How long a stop takes, and what it costs: `python benchmarks/preemption.py`.

A job whose payload has 8 workers gets SIGTERM when 1,000 results of 100 kB lie there unsaved. The server is the
stand-in for PanDA behind HTTP, and answers after 50 ms. Measured is the time from the signal to the end of the process:
all is packed, stored, read back and reported by then, and the last heartbeat is sent. A result that the payload had
announced and that PanDA does not have as finished is lost.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import NamedTuple

from esfsm.durable import adler32_of
from esfsm.standins.panda.books import Books
from esfsm.standins.panda.server import PandaServer
from esfsm.standins.panda.tasks import Task
from esfsm.testing.panda import serve_panda

__all__ = ["main"]

INPUT, PAYLOAD = "EVNT.pool.root", Path(__file__).with_name("preemption_payload.py")
PANDA_ID, REPLY_AFTER_S = 5001, 0.05
SETTINGS = {"zip_time_gap_s": 7200, "zip_max_ranges": 10_000, "stage_out_by": "gap", "job_attempts": 1}
"""Nothing is packed before the stop."""


class Run(NamedTuple):
    """What one stop took."""

    seconds: float
    announced: int
    """Results that were announced before the process ended."""
    finished: int
    """Event ranges that PanDA has as finished."""


def run(place: Path, ranges: int, workers: int, size_bytes: int, grace_s: float) -> Run:
    """One job, stopped when the payload says that all but the last of its workers' ranges are announced."""
    (place / INPUT).write_text("events")
    ready = place / "ready"
    os.mkfifo(ready)
    definition = {
        "transformation": str(PAYLOAD),
        "jobPars": f"{workers} {ranges} {size_bytes} {ready}",
        "inFiles": INPUT,
        "fsize": "6",
        "checksum": f"ad:{adler32_of(place / INPUT)}",
        "coreCount": workers,
    }
    books = Books()
    books.submit(Task(1001, 4001, PANDA_ID, 2 * ranges, definition=definition))
    with serve_panda(PandaServer(books, generations=("v1",)), reply_after_s=REPLY_AFTER_S) as served:
        settings = {**SETTINGS, "panda_server": served.url, "input_url": place, "grace_s": grace_s}
        options = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
        command = [sys.executable, "-m", "esfsm", "pilot", "--queue", "TEST_ES", "--communicator", "panda", "--quiet"]
        environment = {name: value for name, value in os.environ.items() if name != "X509_USER_PROXY"}
        pilot = subprocess.Popen(
            [*command, "--jobs", "1", "--workdir", str(place / "pilot"), *options],
            stdout=subprocess.DEVNULL,
            env=environment,
        )
        ready.read_text()
        began = monotonic()
        pilot.send_signal(signal.SIGTERM)
        pilot.wait()
        seconds = monotonic() - began
    finished = books.counts()["finished"]
    books.close()
    journal = place / "pilot" / f"PanDA_Pilot-{PANDA_ID}" / "journal.jsonl"
    return Run(seconds, journal.read_text().count('"fact":"output_produced"'), finished)


def main() -> None:
    """Print each run, and the figures of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--ranges", type=int, default=1000, help="finished and unsaved when the signal comes")
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--size", type=int, default=100_000, help="bytes of a result")
    parser.add_argument("--grace", type=float, default=60.0)
    given = parser.parse_args()
    runs = []
    for _ in range(given.runs):
        with TemporaryDirectory() as place:
            runs.append(run(Path(place), given.ranges, given.workers, given.size, given.grace))
            print(f"{runs[-1].seconds:.2f} s, {runs[-1].announced} announced, {runs[-1].finished} finished", flush=True)
    seconds = sorted(each.seconds for each in runs)
    p99 = seconds[min(len(seconds) - 1, round(0.99 * len(seconds)))]
    lost = sum(each.announced - each.finished for each in runs)
    median_s = statistics.median(seconds)
    print(f"{len(runs)} stops: median {median_s:.2f} s, p99 {p99:.2f} s, most {seconds[-1]:.2f} s, {lost} lost")


if __name__ == "__main__":
    main()
