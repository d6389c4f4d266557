"""The loop: inbox -> journal -> core -> perform. One thread, one page.

A fact is written down first; what it leads to is decided by the core, and done elsewhere; the answer is a fact.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from loguru import logger

from esfsm.core.actions import Action
from esfsm.core.engine import Engine
from esfsm.core.facts import Fact, JobResumed, PayloadStarted
from esfsm.core.ledger import Ledger
from esfsm.errors import WorkflowError
from esfsm.journal.writer import Journal
from esfsm.model.settings import Settings
from esfsm.retelling import retell

__all__ = ["Hands", "Incoming", "Loop", "Watch"]

logger.disable("esfsm")  # silent until somebody says logger.enable("esfsm")

Watch = Callable[[Fact, Engine], None]
"""Called after each fact, for those who want to see a job live."""


class Incoming(Protocol):
    """Where facts come from: an `Inbox`, or a simulated one."""

    def take(self) -> list[Fact]:
        """The next facts; waits for them."""
        ...

    def now(self) -> float:
        """The time, seconds since 1970."""
        ...


class Hands(Protocol):
    """Who does what is asked for: a `Performer`, or a simulated one."""

    def start(self, action: Action) -> None:
        """Begin an action; returns at once."""
        ...

    def adopt(self, started: PayloadStarted, ledger: Ledger) -> bool:
        """Take over this payload, which outlived its engine, with its event ranges; False if that cannot be."""
        ...

    def end_orphans(self, started: PayloadStarted | None) -> None:
        """End the payload of an engine that has died in this work directory; `started`: as the journal has it."""
        ...


class Loop:
    """Takes facts from the inbox through journal and core to the hands, until the job has ended."""

    def __init__(self, journal: Journal, engine: Engine, inbox: Incoming, watch: Watch | None = None) -> None:
        self._journal, self._engine, self._inbox = journal, engine, inbox
        self.watches = [] if watch is None else [watch]
        self._log = logger.bind(panda_id=journal.header.panda_id)
        self._old = False

    def remember(self) -> None:
        """Tell the core all that the journal holds; what it decided then has been begun, or will be again.

        Raises `ReplayDiverged` when this code decides otherwise: actions are known by their numbers, so it must not
        go on with the journal of another version.
        """
        unsaid = {}
        for entry, decision in retell(self._engine, self._journal.header, self._journal.take_entries()):
            self._old = True
            if entry.then is None:
                unsaid[entry.number] = decision.told()
        if unsaid:
            self._journal.decided(unsaid)

    def run(self, hands: Hands, settings: Settings) -> None:
        """Begin the job or take it up again with these settings, and go on until it has ended."""
        engine, sync = self._engine, settings.sync
        started = engine.adoptable
        adopted = started is not None and hands.adopt(started, engine.ranges.ledger)
        if not adopted:  # a payload may be there without a journal that tells of it
            hands.end_orphans(engine.started)
        if self._old:
            self._hear([JobResumed(settings=settings.model_dump(mode="json"), adopted=adopted)], sync)
            if sync != "never":  # what is begun again may have an effect outside
                self._journal.sync()
        self._start(engine.outstanding, hands)
        while not engine.ended:
            self._start(self._hear(self._inbox.take(), sync), hands)

    @staticmethod
    def _start(actions: Iterable[Action], hands: Hands) -> None:
        for action in actions:
            hands.start(action)

    def _hear(self, facts: Sequence[Fact], sync: str) -> list[Action]:
        """Write facts down, then decide; returns what is to be done."""
        if sync != "never" and self._journal.has_much_unsynced:
            self._journal.sync()
        entries = self._journal.append([fact for fact in facts if self._possible(fact)], self._inbox.now())
        if not entries:
            return []
        if sync == "always":
            self._journal.sync()
        actions: list[Action] = []
        decisions = {}
        for entry in entries:
            decision = self._engine.decide(entry.fact)
            decisions[entry.number] = decision.told()
            actions += decision.actions
            self._log.info("{} -> {}", entry.fact.name, self._engine.state)
            for watch in self.watches:
                watch(entry.fact, self._engine)
        self._journal.decided(decisions)
        if sync != "never" and any(action.outside for action in actions):
            self._journal.sync()
        return actions

    def _possible(self, fact: Fact) -> bool:
        """Whether the core can hear a fact: an adapter that answers what nobody asked must not spoil the journal."""
        try:
            self._engine.outstanding.answered(fact)
        except WorkflowError as error:
            self._log.error("left out: {}", error)
            return False
        return True
