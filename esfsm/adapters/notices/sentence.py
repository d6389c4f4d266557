"""The sentence about a machine that will be taken back: fit to be journalled and logged, whoever has written it."""

__all__ = ["LONGEST", "sentence"]

LONGEST = 200
"""Letters that are shown of what was said."""


def sentence(source: str, said: str) -> str:
    """Who says it, and the first line of what is said, if that says anything."""
    line = next(iter(said.strip().splitlines()), "")
    shown = "".join(letter if letter.isprintable() else "?" for letter in line[:LONGEST])
    return f"{source} says that this machine will be taken back" + (f": {shown}" if shown else "")
