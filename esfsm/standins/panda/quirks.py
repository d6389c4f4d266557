"""The bad habits of PanDA and of what lies before it: which there are, how often they strike, and on which call."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from random import Random
from threading import Lock

from esfsm.errors import UnknownName, UnusableInput

__all__ = ["QUIRKS", "USUAL", "Luck", "Quirks"]

QUIRKS = {
    "v1-update-500": "/api/v1 books a report of event ranges and answers HTTP 500.",
    "trailing-false": "A report with a finished range gets one more false, though booked; nEvents is not (PostgreSQL).",
    "spurious-empty": "No event ranges, though there are; jobs of the jobset that wait are closed.",
    "short-grant": "Fewer event ranges than asked for and there are; jobs of the jobset that wait are closed.",
    "rollback": "A report is undone, and answered with a true for each element and one false.",
    "database-down": "For some calls in a row nothing is booked, and each method says so in its own way.",
    "lost-reply": "It is done, and the connection is closed without an answer.",
    "stalled": "It is done, and no answer comes for longer than a client waits.",
    "html-proxy": "It is not done, and a proxy answers 502 with a page for people.",
    "empty-body": "It is done, and the answer is 200 with nothing in it.",
    "cut-json": "It is done, and the answer breaks off.",
}
"""Each by its name. All but the last five were seen at panda-server 0.8.1 or 1.0.4."""
USUAL = {
    "v1-update-500": 1.0,
    "trailing-false": 1.0,
    "spurious-empty": 0.2,
    "short-grant": 0.2,
    "rollback": 0.2,
    "database-down": 0.05,
    "lost-reply": 0.1,
    "stalled": 0.02,
    "html-proxy": 0.1,
    "empty-body": 0.1,
    "cut-json": 0.1,
}
"""How likely each strikes a call, unless told otherwise: so often that it is seen, so seldom that a job ends."""
LONGEST_OUTAGE = 5
"""Calls in a row that meet no database."""


@dataclass(frozen=True, slots=True)
class Luck:
    """What strikes one call inside the server."""

    is_down: bool = False
    """There is no database."""
    is_rolled_back: bool = False
    """A report is undone at its end."""
    is_uncounted: bool = False
    """The events of a booked report are not counted."""
    breaks_update: bool = False
    """/api/v1 cannot say what it has booked."""
    seen: float = 1.0
    """The share of the ready ranges that is not locked by others."""


class Quirks:
    """Those that were wanted, with their probabilities: all of them drawn from one source, in the order of calls."""

    def __init__(self, wanted: Mapping[str, float] | Iterable[str], chance: Random) -> None:
        """Names, with the usual probability, or names with theirs. Raises `UnusableInput` for what is none."""
        self._chance, self._down_for, self._lock = chance, 0, Lock()
        self._odds = dict(wanted) if isinstance(wanted, Mapping) else {name: USUAL.get(name, 0.0) for name in wanted}
        for name, odds in self._odds.items():
            if name not in QUIRKS:
                raise UnknownName("quirk", name, list(QUIRKS))
            if not 0 <= odds <= 1:
                raise UnusableInput(f"quirk {name!r}: a probability is between 0 and 1, not {odds}")

    def strike(self) -> frozenset[str]:
        """The names of those that strike the next call."""
        with self._lock:
            struck = {name for name, odds in self._odds.items() if self._chance.random() < odds}
            if "database-down" in struck:
                self._down_for = self._chance.randint(1, LONGEST_OUTAGE)
            if self._down_for:
                self._down_for -= 1
                struck.add("database-down")
        return frozenset(struck)

    def luck(self, struck: frozenset[str]) -> Luck:
        """What they mean inside the server."""
        seen = self._chance.random() if "short-grant" in struck else 1.0
        return Luck(
            is_down="database-down" in struck,
            is_rolled_back="rollback" in struck,
            is_uncounted="trailing-false" in struck,
            breaks_update="v1-update-500" in struck,
            seen=0.0 if "spurious-empty" in struck else seen,
        )

    def cut(self, body: bytes) -> bytes:
        """The beginning of a body."""
        return body[: self._chance.randrange(len(body))] if body else body
