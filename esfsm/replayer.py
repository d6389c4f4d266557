"""Replay: a journal's facts through today's code; the first decision that differs ends it."""

from collections.abc import Iterator
from pathlib import Path

from esfsm import plugins
from esfsm.core.actions import Action, gist
from esfsm.core.engine import Engine
from esfsm.core.facts import Fact
from esfsm.errors import ReplayDiverged, WorkflowError
from esfsm.journal import read
from esfsm.views.story import Story, tell

__all__ = ["replay"]


def replay(journal: Path | str) -> Story:
    """The story that a journal tells.

    Raises `UnusableJournal` when it cannot be read, `ReplayDiverged` when this code decides otherwise than the one that
    wrote it, naming the fact, what the journal has and what this code decides.
    """
    header, entries = read(Path(journal))
    engine = Engine(plugins.workflow(header.workflow), plugins.held(), header.settings)
    heard = 0

    def facts() -> Iterator[Fact]:
        nonlocal heard
        for entry in entries:
            heard = entry.number
            yield entry.fact

    def compare(number: int, actions: tuple[Action, ...]) -> None:
        expected, got = entries[number - 1].then, tuple(gist(action) for action in actions)
        if expected is not None and expected != got:
            raise ReplayDiverged(number, entries[number - 1].fact.name, _shown(expected), _shown(got))

    try:
        return tell(engine, facts(), compare)
    except WorkflowError as error:
        raise ReplayDiverged(heard, error.fact, "a fact that it could hear", str(error)) from None


def _shown(decided: tuple[str, ...]) -> str:
    return "; ".join(decided) or "nothing"
