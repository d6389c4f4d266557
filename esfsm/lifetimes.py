"""How long nodes live: what past jobs of a place have left in a file, and what follows from it.

Each life of an engine leaves a line when it ends; one that was killed gets its line from the next that takes it up.
A machine that never comes back leaves none, so the mean that follows is rather too long than too short.
"""

import os
from pathlib import Path

import orjson

from esfsm.errors import UnusableInput
from esfsm.model.reading import read_file

__all__ = ["learned_s", "remember"]

MOST_BYTES = 1 << 20
"""Of the file; then enough is known."""


def learned_s(history: Path, guess_s: float) -> float:
    """The mean lifetime in seconds: what was lived by the sudden ends, the guess counting as one life and its end.

    A line that cannot be read counts for nothing. Raises `UnusableInput` for a file that cannot be.
    """
    lived_s, ends = guess_s, 1
    try:
        lines = read_file(history, 2 * MOST_BYTES).splitlines()
    except FileNotFoundError:
        return guess_s
    except OSError as error:
        raise UnusableInput(f"history of nodes {history}: {error.strerror or error}") from None
    for line in lines:
        try:
            said = orjson.loads(line)
            lived_s, ends = lived_s + max(0.0, float(said["lived_s"])), ends + bool(said["suddenly"])
        except (ValueError, TypeError, KeyError):
            continue
    return lived_s / ends


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
