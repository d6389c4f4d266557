#!/usr/bin/env python3
"""Jobs that are struck at any instant, in any part, and go on: `python tests/whole/strikes.py --strikes 200`.

A strike is a stop request to the engine, the end of a process of the payload (its keeper, the payload itself, a
worker), the loss of the channel's socket file, or SIGSTOP to any of them and SIGCONT after a while. Who runs the same
command again brings the job to its end; then nothing may be lost, booked twice, or left behind.
"""

import argparse
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from random import Random
from select import select
from tempfile import mkdtemp

from kills import PATIENCE_S, PAYLOADS, Job, Tally, channels, wrong_books

import esfsm
from esfsm.adapters.communicators.database import Status

STRIKES = ("SIGTERM", "SIGINT", "payload", "channel", "STOP engine", "STOP payload")
GOES_ON = (1, 3)
"""Exit codes after which the same command goes on with the job: its payload was lost, or it was stopped."""
STOPPED_S = 0.5
SETTINGS = ("grace_s=20", "monitor_s=1", "looping_limit_s=20", "adopt_patience_s=2")


class Struck(Job):
    """A job that is struck so often."""

    def strike(self, strikes: int, longest_s: float) -> Tally:
        """To its end."""
        command = [*self._begin, *(word for setting in SETTINGS for word in ("--set", setting))]
        exit_code = 1
        while exit_code:
            hits = self.tally.kills < strikes
            exit_code = self._struck(command, self._chance.uniform(0, longest_s) if hits else None)
            if exit_code not in (0, *GOES_ON):
                self.tally.faults.append(f"wrong: ended with exit code {exit_code}: {self._said}")
                break
        self.tally.faults += self.faults()
        return self.tally

    def _struck(self, command: list[str], after_s: float | None) -> int:
        """One engine, and one strike if it lives so long."""
        with subprocess.Popen(
            [sys.executable, "-m", "esfsm", *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as engine:
            try:
                if after_s is not None:
                    select([engine.stderr], [], [], PATIENCE_S)
                    with suppress(subprocess.TimeoutExpired):
                        _, self._said = engine.communicate(timeout=after_s)
                    if engine.returncode is None:
                        self._hit(self._chance.choice(STRIKES), engine.pid)
                _, self._said = engine.communicate(timeout=PATIENCE_S)
            finally:
                engine.kill()
        return engine.returncode

    def _hit(self, strike: str, engine: int) -> None:
        self.tally.kills += 1
        self.tally.hit[strike] += 1
        payloads = self.payloads or [engine]
        with suppress(ProcessLookupError, FileNotFoundError):
            match strike:
                case "SIGTERM" | "SIGINT":
                    os.kill(engine, signal.Signals[strike])
                case "payload":
                    if self.payloads:
                        os.kill(self._chance.choice(payloads), self._chance.choice([signal.SIGKILL, signal.SIGTERM]))
                case "channel":
                    for path in channels(engine):
                        path.unlink()
                case _:
                    whom = engine if strike == "STOP engine" else self._chance.choice(payloads)
                    os.kill(whom, signal.SIGSTOP)
                    time.sleep(STOPPED_S)
                    os.kill(whom, signal.SIGCONT)

    def faults(self) -> Iterator[str]:
        """All that is not as it must be when it has ended; an attempt that was given back is none.

        A payload whose worker was killed says that its range failed: the broker has that for another job.
        """
        yield from (f"wrong: audit: {difference}" for difference in esfsm.audit(self.workdir).differences)
        with closing(sqlite3.connect(self.workdir / "broker.sqlite")) as db:
            rows = db.execute("SELECT position FROM event_ranges WHERE status = ?", (Status.READY,)).fetchall()
        ready = {f"lost: position {position} is not done" for (position,) in rows}
        yield from (fault for fault in wrong_books(self.workdir) if "has status" not in fault and fault not in ready)
        processed = Counter((self.workdir / "processed").read_text().splitlines())
        yield from (f"double: {both} came together again" for both in processed if processed[both] > 1)
        yield from (f"orphan: process {pid} of the payload" for pid in self.payloads)


def main() -> None:
    """Strike, compare, and print the figures; exit code 1 if there is a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strikes", type=int, default=200)
    parser.add_argument("--seed", default="1")
    asked = parser.parse_args()
    home, tally, began = Path(mkdtemp(prefix="esfsm-strikes-")), Tally(), time.monotonic()
    longest_s = 1.0
    while tally.kills < asked.strikes:
        chance = Random(f"{asked.seed} {tally.jobs}")
        job = Struck(home / str(tally.jobs), chance.choice(tuple(PAYLOADS)), chance)
        tally += job.strike(chance.randint(1, 8), longest_s)
        if not job.tally.faults:
            shutil.rmtree(job.home)
    print(f"seed {asked.seed}, {time.monotonic() - began:.0f} s", *tally.lines(), sep="\n")
    if tally.faults:
        sys.exit(f"the jobs with faults are in {home}")
    shutil.rmtree(home)


if __name__ == "__main__":
    main()
