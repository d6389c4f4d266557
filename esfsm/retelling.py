"""Retelling: a journal's facts told to today's code; the first decision that differs ends it."""

from collections.abc import Iterable, Iterator

from esfsm.core.engine import Decision, Engine
from esfsm.errors import ReplayDiverged, WorkflowError
from esfsm.journal.formats import Entry, Header

__all__ = ["retell"]


def retell(engine: Engine, header: Header, entries: Iterable[Entry]) -> Iterator[tuple[Entry, Decision]]:
    """Tell the entries to a new engine, one at a time; yields each with what it led to today.

    Raises `ReplayDiverged` when this code decides otherwise than the one that wrote them, naming the fact, what the
    journal has and what this code decides.
    """
    engine.begin()
    for entry in entries:
        try:
            decision = engine.decide(entry.fact)
        except WorkflowError as error:
            expected = "a fact that it could hear"
            raise ReplayDiverged(entry.number, entry.fact.name, expected, str(error)) from None
        if entry.then is not None:
            got = decision.told() if header.format > 1 else decision._replace(entered=None).told()
            if got != entry.then:
                raise ReplayDiverged(entry.number, entry.fact.name, _shown(entry.then), _shown(got))
        yield entry, decision


def _shown(told: tuple[str, ...]) -> str:
    return "; ".join(told) or "nothing"
