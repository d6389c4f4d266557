"""Payloads for tests, good ones and bad ones: `payloads.py NAME ARGUMENT...` runs the function of that name.

They speak on the channel by hand, so nothing of ours stands between what they say and what is heard. They meet the
test at named pipes, where both wait for each other.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import zmq

PAUSE_MS = 20
"""How long one listens for an answer that should not come."""


class Channel:
    """The payload's end."""

    def __init__(self) -> None:
        self._socket = zmq.Context.instance().socket(zmq.DEALER)
        self._socket.connect(f"ipc:///tmp/zmq_{os.environ['PILOT_EVENTRANGECHANNEL']}")

    def say(self, text: str) -> None:
        self._socket.send(text.encode())

    def hears(self, timeout_ms: int | None = None) -> bool:
        return bool(self._socket.poll(timeout_ms))

    def ask(self) -> str | None:
        """The id of the next range."""
        self.say("Ready for events")
        answer = self._socket.recv().decode()
        return None if answer == "No more events" else json.loads(answer)[0]["eventRangeID"]

    def __iter__(self) -> Iterator[str]:
        while event_range_id := self.ask():
            yield event_range_id

    def announce(self, event_range_id: str, *outputs: object) -> None:
        self.say(f"{','.join(map(str, outputs))},ID:{event_range_id},CPU:1,WALL:2")

    def finish(self, event_range_id: str) -> None:
        """Make an output and announce it."""
        output = Path(f"HITS.{event_range_id}").absolute()
        output.write_text(event_range_id)
        self.announce(event_range_id, output)


def tell(name: str, text: object) -> None:
    """Into a file, or a named pipe where the test waits."""
    Path(name).write_text(str(text))


def wait(name: str) -> None:
    """Until the test has opened and closed the named pipe."""
    Path(name).read_text()


def for_ever() -> None:
    signal.pause()


# --- good ones ----------------------------------------------------------------------------------------------------


def simulate(name: str = "", after: str = "0") -> None:
    """Finish all ranges; with a name: wait there in the range that comes after so many."""
    channel = Channel()
    for number, event_range_id in enumerate(channel):
        if name and number == int(after):
            wait(name)
        channel.finish(event_range_id)


def last_words() -> None:
    """As AthenaMP: results are announced directly before the end."""
    channel = Channel()
    for event_range_id in list(channel):
        channel.finish(event_range_id)


def large(size_bytes: str) -> None:
    """Outputs of a size."""
    channel = Channel()
    for event_range_id in channel:
        output = Path(f"HITS.{event_range_id}").absolute()
        output.write_bytes(bytes(int(size_bytes)))
        channel.announce(event_range_id, output)


def several_files() -> None:
    channel = Channel()
    for event_range_id in channel:
        paths = [Path(f"{kind}.{event_range_id}").absolute() for kind in ("HITS,1", "AOD")]
        for path in paths:
            path.write_text(path.name)
        channel.announce(event_range_id, *paths)


def listen() -> None:
    """Count the answers that come without a question."""
    channel, unasked = Channel(), 0
    for event_range_id in channel:
        unasked += channel.hears(PAUSE_MS)
        channel.finish(event_range_id)
    unasked += channel.hears(PAUSE_MS)
    tell("unasked", unasked)


def environment() -> None:
    """Write down what it was given, and end as a good one."""
    tell("environment", json.dumps(dict(os.environ)))
    tell("ids", json.dumps([os.getpid(), os.getpgid(0), os.getsid(0)]))
    simulate()


def family(then: str, *arguments: str) -> None:
    """Start a child and a grandchild, then go on as another payload."""
    command = ["/bin/sh", "-c", "trap '' TERM; sleep 600 & echo $$ $!; wait"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    tell("pids", child.stdout.readline())
    globals()[then](*arguments)


def runaway(then: str, *arguments: str) -> None:
    """Start a child that leaves our session and group, then go on as another payload."""
    child = subprocess.Popen(["sleep", "600"], start_new_session=True)
    tell("pids", f"{child.pid}\n")
    globals()[then](*arguments)


def echo(*words: str) -> None:
    """One without a channel: what it is told becomes its output."""
    print(*words)
    Path("OUT.root").write_text(" ".join(words))


# --- bad ones -----------------------------------------------------------------------------------------------------


def end(exit_code: str) -> None:
    sys.exit(int(exit_code))


def stay() -> None:
    """Say nothing at all, and do not end."""
    for_ever()


def ask_and_stay() -> None:
    """Finish all ranges, and do not end."""
    simulate()
    for_ever()


def ask_for_ever() -> None:
    channel = Channel()
    while True:
        if event_range_id := channel.ask():
            channel.finish(event_range_id)


def deaf() -> None:
    """Ignore SIGTERM, in the middle of a range."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Channel().ask()
    tell("pids", os.getpid())
    while True:
        for_ever()


def fail(after: str) -> None:
    """Finish so many ranges, then end with exit code 1, one more in hand."""
    channel = Channel()
    for number, event_range_id in enumerate(channel):
        if number == int(after):
            sys.exit(1)
        channel.finish(event_range_id)


def die(after: str) -> None:
    """Finish so many ranges, then be killed, one more in hand: the answer says that all before was sent."""
    channel = Channel()
    for number, event_range_id in enumerate(channel):
        if number == int(after):
            os.kill(os.getpid(), signal.SIGKILL)
        channel.finish(event_range_id)


def say(*texts: str) -> None:
    """Say something strange before each range that is finished."""
    channel = Channel()
    for event_range_id in channel:
        for text in texts:
            channel.say(text)
        channel.finish(event_range_id)


def garbage(size_bytes: str) -> None:
    channel = Channel()
    channel.say("\ufffd" * (int(size_bytes) // 3))
    for event_range_id in channel:
        channel.finish(event_range_id)


def give_up() -> None:
    channel = Channel()
    for event_range_id in channel:
        channel.say(f"ERR_ATHENAMP_PROCESS {event_range_id}: Seek failed")


def repeat() -> None:
    """Announce each result twice, and one that nobody asked for."""
    channel = Channel()
    channel.announce("1-2-3-4-5", "/nowhere")
    for event_range_id in channel:
        channel.finish(event_range_id)
        channel.finish(event_range_id)


def lie(ranges: str) -> None:
    """Announce so many outputs that are not there."""
    channel = Channel()
    for number, event_range_id in enumerate(channel):
        if number < int(ranges):
            channel.announce(event_range_id, Path(f"nowhere.{event_range_id}").absolute())
        else:
            channel.finish(event_range_id)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
