"""Replay: the story that a journal tells, as long as today's code decides what it did."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from esfsm import plugins
from esfsm.core.engine import Decision, Engine
from esfsm.journal.formats import Entry, Header
from esfsm.journal.reader import read
from esfsm.model.settings import Settings
from esfsm.retelling import retell
from esfsm.views.story import Story

__all__ = ["Retold", "new_engine", "replay", "retold"]


class Retold(NamedTuple):
    """A journal, and the engine that hears it while `entries` are taken."""

    header: Header
    engine: Engine
    entries: Iterator[tuple[Entry, Decision]]


def replay(journal: Path | str) -> Story:
    """The story that a journal tells.

    Raises `UnusableJournal` when it cannot be read, `ReplayDiverged` when this code decides otherwise than the one that
    wrote it, naming the fact, what the journal has and what this code decides.
    """
    _, engine, entries = retold(Path(journal))
    story = Story(engine)
    for entry, decision in entries:
        story.hear(entry.fact, decision.actions)
    return story


def retold(journal: Path) -> Retold:
    """A journal told to a new engine, entry by entry as they are taken. Raises as `replay`."""
    header, entries = read(journal)
    engine = new_engine(header, header.settings)
    return Retold(header, engine, retell(engine, header, entries))


def new_engine(header: Header, settings: Settings) -> Engine:
    """An engine for the job of a journal, which has heard nothing yet. Raises `UnknownName` or `UnsoundWorkflow`."""
    return Engine(plugins.workflow(header.workflow), plugins.held(), settings)
