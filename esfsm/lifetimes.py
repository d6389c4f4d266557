"""How long nodes live: what past jobs of a place have left in a file, and what follows from it.

Each life of an engine leaves a line when it ends; one that was killed gets its line from the next that takes it up.
A machine that never comes back leaves none, so the mean that follows is rather too long than too short.
"""

import os
from pathlib import Path

import orjson

from esfsm.model.queuedata import YEAR_S
from esfsm.model.reading import read_file

__all__ = ["learned_s", "remember"]

MOST_BYTES = 1 << 20
"""Of the file; then enough is known."""
LONGEST_S = 100 * YEAR_S
"""What the setting can be."""


def learned_s(history: Path, guess_s: float) -> float:
    """The mean lifetime in seconds: what was lived by the sudden ends, the guess counting as one life and its end.

    A line that cannot be meant counts for nothing, and so does a file that cannot be read: nobody is harmed.
    """
    lived_s, ends = guess_s, 1
    try:
        lines = read_file(history, 2 * MOST_BYTES).splitlines()
    except OSError:
        return guess_s
    for line in lines:
        try:
            said = orjson.loads(line)
            if 0 <= said["lived_s"] <= YEAR_S:
                lived_s, ends = lived_s + said["lived_s"], ends + bool(said["suddenly"])
        except (ValueError, TypeError, KeyError):
            continue
    return min(lived_s / ends, LONGEST_S)


def remember(history: Path, lived_s: float, *, suddenly: bool) -> None:
    """Leave a line, in one write. Where that cannot be, nothing is learned and nobody is harmed."""
    line = orjson.dumps(
        {"lived_s": round(max(0.0, lived_s), 3), "suddenly": suddenly}, option=orjson.OPT_APPEND_NEWLINE
    )
    try:
        descriptor = os.open(history, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            if os.fstat(descriptor).st_size < MOST_BYTES:
                os.write(descriptor, line)
        finally:
            os.close(descriptor)
    except OSError:
        return
