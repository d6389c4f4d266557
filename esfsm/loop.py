"""The loop: inbox -> journal -> core -> perform. One thread, one page.

A fact is written down first; what it leads to is decided by the core, and done elsewhere; the answer is a fact.
"""

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Thread, current_thread, main_thread
from types import FrameType

from loguru import logger

from esfsm.core.actions import Action, gist
from esfsm.core.engine import Engine
from esfsm.core.facts import Fact, JobResumed, Preempted
from esfsm.errors import ReplayDiverged, WorkflowError
from esfsm.inbox import Inbox
from esfsm.journal import Journal
from esfsm.perform import Performer

__all__ = ["STOP_SIGNALS", "Loop", "Watch"]

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

Watch = Callable[[Fact, Engine], None]
"""Called after each fact, for those who want to see a job live."""


class Loop:
    """Takes facts from the inbox through journal and core to the performer, until the job has ended."""

    def __init__(self, journal: Journal, engine: Engine, inbox: Inbox, sync: str, watch: Watch | None) -> None:
        self._journal, self._engine, self._inbox = journal, engine, inbox
        self._sync, self._watch = sync, watch
        self._log = logger.bind(panda_id=journal.header.panda_id)
        self._old = False

    def remember(self) -> None:
        """Tell the core all that the journal holds; what it decided then has been begun, or will be again.

        Raises `ReplayDiverged` when this code decides otherwise: actions are known by their numbers, so it must not
        go on with the journal of another version.
        """
        self._engine.begin()
        for entry in self._journal.take_entries():
            self._old = True
            decided = self._engine.receive(entry.fact)
            told = tuple(gist(action) for action in decided)
            if entry.then is not None and entry.then != told:
                raise ReplayDiverged(entry.number, entry.fact.name, "; ".join(entry.then), "; ".join(told))
            if decided and entry.then is None:
                self._journal.decided(entry.number, {entry.number: decided})

    def run(self, performer: Performer, settings: Mapping[str, object]) -> None:
        """Begin the job or take it up again, and go on until it has ended."""
        engine = self._engine
        with self._stop_requests():
            if self._old:
                performer.end_orphans()
                self._hear([JobResumed(settings=settings)])
            for action in engine.outstanding():
                performer.start(action)
            while not engine.ended:
                for action in self._hear(self._inbox.take()):
                    performer.start(action)

    def _hear(self, facts: Sequence[Fact]) -> list[Action]:
        """Write facts down, then decide; returns what is to be done."""
        entries = self._journal.append([fact for fact in facts if self._possible(fact)], self._inbox.clock.now())
        if not entries:
            return []
        if self._sync == "always":
            self._journal.sync()
        decisions: dict[int, tuple[Action, ...]] = {}
        for entry in entries:
            decisions[entry.number] = self._engine.receive(entry.fact)
            self._log.info("{} -> {}", entry.fact.name, self._engine.state)
            if self._watch is not None:
                self._watch(entry.fact, self._engine)
        if any(decisions.values()):
            self._journal.decided(entries[-1].number, decisions)
        actions = [action for decided in decisions.values() for action in decided]
        if self._sync != "never" and any(action.outside for action in actions):
            self._journal.sync()
        return actions

    def _possible(self, fact: Fact) -> bool:
        """Whether the core can hear a fact: an adapter that answers what nobody asked must not spoil the journal."""
        try:
            self._engine.answered(fact)
        except WorkflowError as error:
            self._log.error("left out: {}", error)
            return False
        return True

    @contextmanager
    def _stop_requests(self) -> Iterator[None]:
        """SIGTERM and SIGINT are facts while the job runs; Python hears them in its main thread only.

        A handler may interrupt `take` just before it waits, and nothing that it does there would be noticed. So it
        only tells a thread, by a queue that may be interrupted by itself.
        """
        if current_thread() is not main_thread():
            yield
            return
        requests: SimpleQueue[int] = SimpleQueue()

        def ask(number: int, _: FrameType | None) -> None:
            requests.put(number)

        def listen() -> None:
            while number := requests.get():
                self._inbox.put(Preempted(why=f"a stop was asked for by {signal.Signals(number).name}"))

        Thread(target=listen, name="stop requests", daemon=True).start()
        before = {number: signal.signal(number, ask) for number in STOP_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)
            requests.put(0)
