"""The payload of the recorded jobs: `payload.py NAME ARGUMENT...` runs the function of that name, here or there."""

import sys
from pathlib import Path

from whole import payloads
from whole.payloads import Channel

from esfsm.payload import AssignedRange, run_workers


def answer(*answers: str) -> None:
    """Answer each range with the next of these, `{id}` being its id, and `finish` what finishes it, as what is left."""
    channel = Channel()
    left = list(answers)
    for event_range_id in channel:
        text = left.pop(0) if left else "finish"
        if text == "finish":
            channel.finish(event_range_id)
        else:
            channel.say(text.replace("{id}", event_range_id))


def say_again() -> None:
    """Announce each result twice, and one that nobody asked for."""
    channel = Channel()
    channel.announce("1-2-3-4-5", "nowhere")
    for event_range_id in channel:
        channel.finish(event_range_id)
        channel.announce(event_range_id, f"HITS.{event_range_id}")


def fatal(after: str) -> None:
    """Finish so many ranges; give up the next one, and all."""
    channel = Channel()
    for number, event_range_id in enumerate(channel):
        if number == int(after):
            channel.say(f"ERR_TE_FATAL {event_range_id}: no tokens left")
            sys.exit(1)
        channel.finish(event_range_id)


def in_workers() -> None:
    """As many processes as there are cores."""
    sys.exit(run_workers(_make))


def _make(event_range: AssignedRange) -> Path:
    output = Path(f"HITS.{event_range.event_range_id}")
    output.write_text(event_range.event_range_id)
    return output


def transform(exit_code: str, *outputs: str) -> None:
    """A plain one: write its outputs, and end."""
    for name in outputs:
        Path(name).write_text(name)
    sys.exit(int(exit_code))


def wait_once(pipe: str, *outputs: str) -> None:
    """The same, but the first time wait at a named pipe before it ends."""
    if not Path("waited").exists():
        Path("waited").touch()
        payloads.wait(pipe)
    transform("0", *outputs)


def merge(listed: str, output: str) -> None:
    """Put the files of a list into one."""
    _, *names = Path(listed.removeprefix("@")).read_text().split()
    Path(output).write_bytes(b"".join(Path(name).read_bytes() for name in names))


if __name__ == "__main__":
    {**vars(payloads), **globals()}[sys.argv[1]](*sys.argv[2:])
