"""A payload of workers that take so many seconds for each event range, and note how long all of them took."""

import json
import sys
import time
from pathlib import Path

from esfsm.payload import AssignedRange, run_workers

WORKERS, TAKES_S, TIMES = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]


def simulate(event_range: AssignedRange) -> str:
    """Begin and end, noted in a file of this worker's; the output is one line."""
    began = time.time()
    time.sleep(TAKES_S)
    output = f"HITS.{event_range.event_range_id}"
    Path(output).write_text(event_range.event_range_id)
    with Path(TIMES).open("a") as times:
        times.write(json.dumps([began, time.time()]) + "\n")
    return output


run_workers(simulate, workers=WORKERS)
