#!/usr/bin/env python3
"""A payload that does nothing: it touches one small output for each event range, and writes down how long it waited.

Usage: noop_payload.py --output STEM --times FILE. FILE gets one JSON object: when it asked first and announced last
(seconds of the monotonic clock), and the seconds from each request to its range.
"""

import argparse
import json
from pathlib import Path
from time import monotonic, perf_counter

from esfsm.payload import connect

__all__ = ["main"]


def main() -> None:
    """Work until there are no more ranges."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--times", type=Path, required=True)
    asked = parser.parse_args()
    waits_s = []
    with connect() as channel:
        began = monotonic()
        ranges = iter(channel)
        while True:
            before = perf_counter()
            event_range = next(ranges, None)
            if event_range is None:
                break
            waits_s.append(perf_counter() - before)
            output = asked.output.with_name(f"{asked.output.name}.{event_range.event_range_id}")
            output.write_text("nothing\n")
            channel.finished(event_range, output)
            ended = monotonic()
    asked.times.write_text(json.dumps({"began": began, "ended": ended, "waits_s": waits_s}))


if __name__ == "__main__":
    main()
