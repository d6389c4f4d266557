"""A payload that makes so many results at once, says so, and then takes a while for each of the ranges that follow."""

import os
import sys
import time
from pathlib import Path

from esfsm.payload import AssignedRange, run_workers

WORKERS, RANGES, SIZE_BYTES, READY = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
DONE = Path("done")
RANGE_S = 1.0


def simulate(event_range: AssignedRange) -> str:
    """A file of random bytes; whoever finds that all of the first are there tells it."""
    with DONE.open("ab") as done:
        done.write(b".")
        number = done.tell()
    output = f"HITS.{event_range.event_range_id}"
    Path(output).write_bytes(os.urandom(SIZE_BYTES))
    if number == RANGES + WORKERS:  # each worker's last result is announced with its next request
        READY.write_text("")
    if number > RANGES + WORKERS:
        time.sleep(RANGE_S)
    return output


run_workers(simulate, workers=WORKERS)
