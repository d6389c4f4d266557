"""Payloads that outlive their engine: `survivors.py NAME ARGUMENT...` runs the function of that name, here or there."""

import os
import signal
import sys
from pathlib import Path

from whole import payloads
from whole.payloads import Channel, for_ever, simulate, tell, wait

from esfsm.payload import AssignedRange, connect, run_workers


def speak_unheard() -> None:
    """Wait for the test in the first range, and tell it when the result has been said."""
    channel = Channel()
    for number, event_range_id in enumerate(channel):
        if number == 0:
            wait("go")
        channel.finish(event_range_id)
        if number == 0:
            tell("said", event_range_id)


def speak_and_stay() -> None:
    """Finish one range when the test says so, and say nothing from then on."""
    channel = Channel()
    event_range_id = channel.ask()
    wait("go")
    channel.finish(str(event_range_id))
    for_ever()


def simulate_and_stay() -> None:
    """Wait for the test in the first range; finish all ranges, and do not end."""
    simulate("go")
    for_ever()


def simulate_and_end(exit_code: str) -> None:
    """Finish all ranges, and end with an exit code; without an answer, ask again."""
    with connect() as channel:
        for event_range in channel:
            channel.finished(event_range, make(event_range))
    sys.exit(int(exit_code))


def deaf() -> None:
    """Ignore SIGTERM, and wait for the test in the first range."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    simulate("go")


def simulate_until(number: str, end: str) -> None:
    """Wait for the test in the first range; when so many are finished, `die` or `leave` with one more in hand."""
    channel = Channel()
    for done, event_range_id in enumerate(channel):
        if done == 0:
            wait("go")
        if done == int(number):
            if end == "leave":
                sys.exit(0)
            os.kill(os.getpid(), signal.SIGKILL)
        channel.finish(event_range_id)


def make(event_range: AssignedRange) -> Path:
    output = Path(f"HITS.{event_range.event_range_id}")
    output.write_text(event_range.event_range_id)
    return output


def one_by_one() -> None:
    with connect() as channel:
        for event_range in channel:
            channel.finished(event_range, make(event_range))


def in_workers() -> None:
    sys.exit(run_workers(make, workers=2))


if __name__ == "__main__":
    {**vars(payloads), **globals()}[sys.argv[1]](*sys.argv[2:])
