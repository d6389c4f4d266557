"""A recorded job, to be cut anywhere: its facts, what each answers, and how the job stood behind each."""

from collections.abc import Iterator
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import orjson

from esfsm import plugins
from esfsm.core.actions import Action
from esfsm.core.engine import Engine
from esfsm.core.facts import Fact, JobRefused, RangesGranted
from esfsm.journal.reader import read
from esfsm.model.job import Job

__all__ = ["Cut", "RecordedJob", "Step"]

OPEN = ("produced", "packed", "stored")
"""The states of a range whose result is ours to bring home."""


class Step(NamedTuple):
    """One fact, the action that it answers, if any, and how the job stands then."""

    fact: Fact | None
    answered: Action | None
    outstanding: frozenset[int]
    """The actions that have not ended, by their numbers."""
    promised: frozenset[str]
    """The ranges whose results must be booked whatever happens to the engine: nobody has given them up."""


class Cut(NamedTuple):
    """A place where the journal ends."""

    size_bytes: int
    facts: int
    """Those in whole lines."""
    unheard: bool
    """Whether what answers the actions that were under way has happened as well."""
    outlived: bool
    """Whether the payload lives on."""


class RecordedJob:
    """One journal in parts."""

    def __init__(self, path: Path) -> None:
        self.name, self.content = path.stem, path.read_bytes()
        self.header, entries = read(path)
        self.job = Job.read(self.header.job)
        self.workflow = plugins.workflow(self.header.workflow)
        self.steps = list(self._retold([entry.fact for entry in entries]))
        """The first one is the beginning, before any fact."""
        granted = [step.fact.event_ranges for step in self.steps if isinstance(step.fact, RangesGranted)]
        self.granted = list(chain.from_iterable(granted))
        """Every event range that the job ever had, each attempt by itself."""
        self.settings = self.header.settings.model_copy(update={"sync": "effects"})

    def engine(self) -> Engine:
        """One that has heard nothing."""
        return Engine(self.workflow, plugins.held(), self.header.settings)

    def _retold(self, facts: list[Fact]) -> Iterator[Step]:
        engine = self.engine()
        engine.begin()
        yield _step(None, None, engine)
        for fact in facts:
            answered = engine.outstanding.answered(fact)
            engine.decide(fact)
            yield _step(fact, answered, engine)

    @property
    def ended(self) -> float:
        """When its last fact was heard, seconds since 1970."""
        last = self.steps[-1].fact
        return 0.0 if last is None else last.at

    @property
    def best_end(self) -> str:
        """The state that it comes to when nothing else goes wrong."""
        return "failed" if any(isinstance(step.fact, JobRefused) for step in self.steps) else "done"

    @cached_property
    def cuts(self) -> list[Cut]:
        """Inside each line, as what is being written has happened, and behind it."""
        cuts, size_bytes, facts = list[Cut](), 0, 0
        for line in self.content.splitlines(keepends=True):
            cuts.append(Cut(size_bytes + len(line) // 2, facts, unheard=True, outlived=True))
            cuts.append(Cut(size_bytes + len(line) - 1, facts, unheard=True, outlived=False))
            size_bytes += len(line)
            facts += "fact" in orjson.loads(line)
            cuts.append(Cut(size_bytes, facts, unheard=False, outlived=False))
        return cuts


def _step(fact: Fact | None, answered: Action | None, engine: Engine) -> Step:
    ledger = engine.ranges.ledger
    return Step(
        fact,
        answered,
        frozenset(action.number for action in engine.outstanding),
        frozenset(i for state in OPEN for i in ledger.waiting(state)) - _given_up(engine),
    )


def _given_up(engine: Engine) -> set[str]:
    """The ranges of batches that were tried so often that the next decision about them is to give up."""
    settings = engine.settings
    limits = {"pack": settings.stage_out_rounds, "store": settings.stage_out_rounds, "report": settings.report_attempts}
    batches = engine.ranges.stageout.batches.values()
    return {i for batch in batches if batch.tries >= limits[batch.todo] for i in batch.event_range_ids}
