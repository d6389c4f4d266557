"""The mark that a payload's processes bear in their environment, by which they are found and ended.

It finds them when their keeper is dead, or was never there. Who empties its environment cannot be found so.
"""

import os
import select
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic

__all__ = ["KILL_PATIENCE_S", "MARK", "bears", "end_marked"]

MARK = "PILOT_ESFSM_PAYLOAD"
"""The variable that holds it."""
KILL_PATIENCE_S = 5.0
"""How long a process may take to end after SIGTERM before SIGKILL (pilot3 waits 3 s), and after SIGKILL."""
PASSES = 10
"""How often we look again for what a process has started while it was being ended."""


def bears(pid: int, mark: str) -> bool:
    """Whether the mark is in the environment of a process."""
    try:
        return f"{MARK}={mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def end_marked(mark: str) -> int:
    """End every process that bears this mark; how many there were.

    A payload that was started by an engine that died right afterwards has it too, so nobody else can be meant. A
    process is held by its pidfd before it is looked at, as its pid may become another's.
    """
    ended = 0
    for _ in range(PASSES):
        descriptors = [found for entry in os.scandir("/proc") if (found := _marked(entry.name, mark)) is not None]
        if not descriptors:
            break
        for descriptor in descriptors:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        ended += _wait_for(descriptors)
    return ended


def _marked(name: str, mark: str) -> int | None:
    """A pidfd of the process, if it is another one than this, is ours to end, and bears the mark."""
    if not name.isdecimal() or int(name) == os.getpid():
        return None
    try:
        descriptor = os.pidfd_open(int(name))
    except OSError:
        return None
    if bears(int(name), mark):
        return descriptor
    os.close(descriptor)
    return None


def _wait_for(descriptors: Sequence[int]) -> int:
    """How many of these pidfds say within `KILL_PATIENCE_S` seconds that their process has ended; closes them."""
    poll, open_ones, ended = select.poll(), set(descriptors), 0
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    deadline = monotonic() + KILL_PATIENCE_S
    while open_ones and (patience_s := deadline - monotonic()) > 0:
        for descriptor, _ in poll.poll(1000 * patience_s):
            poll.unregister(descriptor)
            os.close(descriptor)
            open_ones.remove(descriptor)
            ended += 1
    for descriptor in open_ones:
        os.close(descriptor)
    return ended
