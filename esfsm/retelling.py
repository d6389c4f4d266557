"""Retelling: a journal's facts told to today's code; the first decision that differs ends it."""

from collections.abc import Iterable, Iterator

from pydantic import ValidationError

from esfsm.core.engine import Decision, Engine
from esfsm.errors import ReplayDiverged, WorkflowError
from esfsm.journal.formats import Entry, Header, first_fault

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
        except ValidationError as error:  # of a `JobResumed`
            expected = "settings that it could take"
            raise ReplayDiverged(entry.number, entry.fact.name, expected, first_fault(error)) from None
        if entry.then is not None:
            got = decision.told() if header.format > 1 else decision._replace(entered=None).told()
            if got != entry.then:
                raise ReplayDiverged(entry.number, entry.fact.name, _shown(entry.then), _shown(got))
        yield entry, decision


def _shown(told: tuple[str, ...]) -> str:
    text = "; ".join(told) or "nothing"
    return text if text.isprintable() else repr(text)
