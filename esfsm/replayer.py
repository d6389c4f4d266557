"""Replay: the story that a journal tells, as long as today's code decides what it did."""

from pathlib import Path

from esfsm import plugins
from esfsm.core.engine import Engine
from esfsm.journal.reader import read
from esfsm.retelling import retell
from esfsm.views.story import Story

__all__ = ["replay"]


def replay(journal: Path | str) -> Story:
    """The story that a journal tells.

    Raises `UnusableJournal` when it cannot be read, `ReplayDiverged` when this code decides otherwise than the one that
    wrote it, naming the fact, what the journal has and what this code decides.
    """
    header, entries = read(Path(journal))
    engine = Engine(plugins.workflow(header.workflow), plugins.held(), header.settings)
    story = Story(engine)
    for entry, decision in retell(engine, header, entries):
        story.hear(entry.fact, decision.actions)
    return story
