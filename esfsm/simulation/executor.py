"""A simulated executor: serves payloads as ESProcess does, without threads."""

from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from esfsm.adapters.executors.process import meaning
from esfsm.adapters.executors.sent import sent_of
from esfsm.errors import PilotErrorCode, UnreadableMessage
from esfsm.model.event_range import EventRange
from esfsm.model.settings import Settings
from esfsm.ports import Hooks, Message, Orphan, Payload, ProcessIdentity
from esfsm.simulation.agenda import Agenda, Life
from esfsm.simulation.payload import Ear, SimPayload
from esfsm.wire import athenamp

__all__ = ["SimExecutor"]

QUIET_S = 0.1
"""As in ESProcess: a channel is read to its end when nothing has come for so long."""
KILL_PATIENCE_S = 5.0
AHEAD = 2
"""Ranges in stock for each worker."""


class SimExecutor:
    """Starts payloads in a simulated world; `begin` makes one."""

    def __init__(
        self,
        agenda: Agenda,
        life: Life,
        settings: Settings,
        begin: Callable[[], SimPayload],
        alive: Callable[[], list[SimPayload]],
    ) -> None:
        self._agenda, self._life, self._settings, self._begin, self._alive = agenda, life, settings, begin, alive

    def start(self, payload: Payload, hooks: Hooks, *, event_service: bool) -> "_Serving":
        """Start it and return at once."""
        process = self._begin()
        serving = _Serving(self._agenda, self._life, self._settings, process, hooks, payload.cores)
        hooks.payload_started(process.identity, f"channel {process.identity.pid}")
        process.start(serving)
        serving.expect(self._settings.looping_limit_s)
        return serving

    def adopt(self, orphan: Orphan, payload: Payload, hooks: Hooks) -> "_Serving | None":
        """Go on with a payload that lives."""
        for process in self._alive():
            if process.identity == orphan.identity and process.exit_code is None:
                serving = _Serving(
                    self._agenda, self._life, self._settings, process, hooks, payload.cores, adopted=True
                )
                if sent := sent_of(orphan.queue, process.last_sent):
                    hooks.ranges_sent(sent)
                serving.in_hand.update(orphan.in_hand, sent)
                process.adopted(serving)
                serving.expect(self._settings.adopt_patience_s)
                return serving
        return None

    def put_logs_aside(self, workdir: Path) -> None:
        """There are none here."""

    def end_orphan(self, mark: str, workdir: Path, identity: ProcessIdentity | None = None) -> bool:
        """End what is left."""
        orphans = [process for process in self._alive() if process.exit_code is None]
        for process in orphans:
            process.ear = None
            process.end(-9)
        return bool(orphans)


class _Serving(Ear):
    """A payload as its executor has it."""

    def __init__(
        self,
        agenda: Agenda,
        life: Life,
        settings: Settings,
        process: SimPayload,
        hooks: Hooks,
        cores: int,
        adopted: bool = False,
    ) -> None:
        self._agenda, self._life, self._settings = agenda, life, settings
        self._process, self._hooks, self._cores, self._adopted = process, hooks, cores, adopted
        self.in_hand: set[str] = set()
        self._stock: deque[EventRange] = deque()
        self._asking: deque[bytes] = deque()
        self._fetching = self._exhausted = self._stopping = self._asked = self._dismissed = self._over = False
        self._verdict: tuple[int, str] | None = None
        self._speaks_by = 0.0
        self._watched = False

    @property
    def deaf(self) -> bool:
        """Its engine is not there any more."""
        return self._life.over

    @property
    def killed(self) -> bool:
        """Its engine did not end by itself."""
        return self._life.killed

    # --- the core's side ---

    def stock(self, event_ranges: Sequence[EventRange], last: bool) -> None:
        """More ranges to hand out; none: there are no more."""
        self._fetching = False
        self._stock.extend(event_ranges)
        self._exhausted = last or not event_ranges
        self._answer()

    def stop(self, grace_s: float) -> None:
        """Hand out nothing more; end it after a while."""
        self._stopping = True
        self._answer()
        self._later(grace_s, self._end_by_force)

    def wait(self, timeout_s: float) -> bool:
        """Simulated payloads end by themselves."""
        return True

    # --- the payload's side ---

    def hear(self, message: Message) -> None:
        """One message of the payload."""
        if self._life.over or self._over:
            return
        self._life.step()
        self.expect(self._settings.looping_limit_s)
        try:
            said = athenamp.parse(message.text)
        except UnreadableMessage as error:
            self._hooks.message_unreadable(message.text, str(error))
            return
        if isinstance(said, athenamp.ReadyForEvents):
            self._asked = True
            self._asking.append(message.peer)
            self._answer()
        elif isinstance(said, athenamp.Result):
            self.in_hand.discard(said.event_range_id)
            self._hooks.output_produced(said.event_range_id, said.paths, said.cpu_s, said.wall_s)
        elif said.event_range_id is not None:
            self.in_hand.discard(said.event_range_id)
            self._hooks.range_errored(said.event_range_id, said.why)
        else:
            self._hooks.message_unreadable(message.text, "an error that names no event range")

    def process_ended(self, exit_code: int) -> None:
        """Its last words may still be on their way."""
        self._later(QUIET_S, lambda: self._tell_end(exit_code))

    def expect(self, patience_s: float) -> None:
        """Something must be heard within this time."""
        self._speaks_by = self._agenda.now + patience_s
        if not self._watched:
            self._watched = True
            self._later(patience_s, self._watch)

    def _watch(self) -> None:
        """The time has come that was to be watched; if something was heard since, there is a later one."""
        self._watched = False
        if self._process.exit_code is not None:
            return
        if self._speaks_by > self._agenda.now:
            self.expect(self._speaks_by - self._agenda.now)
        else:
            self._verdict = (PilotErrorCode.LOOPINGJOB, "the payload said nothing")
            self._end_by_force()

    def _answer(self) -> None:
        """Answer who waits, and see to the stock."""
        sent = []
        while self._asking and self._stock and not self._stopping:
            event_range = self._stock.popleft()
            self._process.last_sent = event_range.event_range_id
            self._tell(self._asking.popleft(), athenamp.range_message(event_range.as_panda()))
            sent.append(event_range.event_range_id)
        if self._stopping or (self._exhausted and not self._stock):
            while self._asking:
                self._tell(self._asking.popleft(), athenamp.NO_MORE_EVENTS)
                self._dismiss()
        elif self._asked and not self._fetching and not self._exhausted and len(self._stock) <= self._cores:
            self._fetching = True
            self._hooks.ranges_wanted(AHEAD * self._cores + len(self._asking) - len(self._stock))
        self.in_hand.update(sent)
        if sent:
            self._hooks.ranges_sent(sent)

    def _dismiss(self) -> None:
        if not self._dismissed:
            self._dismissed = True

            def lingers() -> None:
                self._verdict = (PilotErrorCode.LOOPINGJOB, "the payload did not end")
                self._end_by_force()

            self._later(self._settings.end_patience_s, lingers)

    def _tell(self, peer: bytes, text: str) -> None:
        self._agenda.after(0.0002, lambda: self._process.answered(peer, text))

    def _end_by_force(self) -> None:
        self._process.signal(kill=False)
        self._later(KILL_PATIENCE_S, lambda: self._process.signal(kill=True))

    def _tell_end(self, exit_code: int) -> None:
        self._over = True
        if self._adopted and not self._stopping and (self.in_hand or not self._dismissed):
            self._hooks.payload_gone()
        elif self._verdict is not None:
            self._hooks.payload_ended(exit_code, *self._verdict)
        elif exit_code == 0 and not self._asked and not self._stopping:
            self._hooks.payload_ended(0, PilotErrorCode.PAYLOADEXECUTIONFAILURE, "it never asked for a range")
        else:
            self._hooks.payload_ended(None if self._adopted else exit_code, *meaning(exit_code))

    def _later(self, delay_s: float, do: Callable[[], None]) -> None:
        self._agenda.after(delay_s, do, self._life)
