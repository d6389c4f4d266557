"""A simulated payload that speaks AthenaMP, with the bad habits that payloads have."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from zlib import crc32

from esfsm.ports import Message, ProcessIdentity
from esfsm.simulation.agenda import Agenda
from esfsm.simulation.disk import Content, Disk
from esfsm.simulation.weather import Weather
from esfsm.wire import athenamp

__all__ = ["OUTPUT", "Ear", "Habits", "Packed", "SimPayload", "Truth"]

WIRE_S = 0.0002
"""From one end of a channel to the other."""
LATE_S = 0.05
"""How much later than the end of its process a payload's last words may be heard."""
OUTPUT = "HITS.pool.root.1"
"""The LFN of the output of a simulated job."""
BABBLE = (
    "",
    "\0",
    "ready for events",
    "ID:1",
    "ERR_ATHENAMP_PROCESS",
    "ERR_TE_FATAL nobody: knows",
    "out,ID:9-9-9-9-9,CPU:1",
)


@dataclass(slots=True)
class Packed:
    """The archives of one name."""

    jobs: set[int] = field(default_factory=set)
    """PandaIDs of those who packed it."""
    event_range_ids: set[str] = field(default_factory=set)
    failures: int = 0
    """Of its stores; one that could not be packed, or was lost, counts as if every storage had refused it."""


@dataclass(slots=True)
class Truth:
    """What really happened, for those who check afterwards."""

    spoiled: set[str] = field(default_factory=set)
    """Ranges that may be reported failed: the payload gave them up, their output is not to be had, or their archive
    failed as often as the settings allow."""
    archives: defaultdict[str, Packed] = field(default_factory=lambda: defaultdict(Packed))
    """By LFN."""
    given_twice: list[str] = field(default_factory=list)
    """Event ranges that one and the same payload was sent again."""
    removed_early: list[str] = field(default_factory=list)
    """Files that were removed though no storage had what is in them."""
    announced: dict[str, list["Ear"]] = field(default_factory=dict)
    """Results whose file was there, and who was listening when they were announced."""


@dataclass(frozen=True, slots=True)
class Habits:
    """How long a payload takes for what, in seconds, and what comes out."""

    workers: int
    begins_s: Callable[[], float]
    """From its start to its first request."""
    ends_s: Callable[[], float]
    """From `No more events` to its end."""
    takes_s: Callable[[str], float]
    """For one event range."""
    dies: Callable[[], tuple[float, int] | None] = lambda: None
    """When it ends before it should, if it does, and with which exit code."""
    gives_up: Callable[[str], bool] = lambda _: False
    """Whether an event range ends in an error."""
    size: Callable[[str], int] = lambda _: 1000
    """Of the output of an event range, in bytes."""


class Ear:
    """Who listens to a payload: an executor that has it."""

    @property
    def deaf(self) -> bool:
        """Its engine is not there any more."""
        return False

    @property
    def killed(self) -> bool:
        """... and did not end by itself."""
        return False

    def hear(self, message: Message) -> None:
        """A message has come."""

    def process_ended(self, exit_code: int) -> None:
        """The process has ended."""


class SimPayload:
    """One process with some workers. It lives in its world, whatever becomes of its engine."""

    def __init__(
        self,
        agenda: Agenda,
        chance: Random,
        weather: Weather,
        disk: Disk,
        truth: Truth,
        habits: Habits,
        pid: int,
    ) -> None:
        self._agenda, self._chance, self._weather, self._disk, self._truth = agenda, chance, weather, disk, truth
        self._habits, self._workers = habits, habits.workers
        self.identity = ProcessIdentity(pid, int(agenda.now))
        self.ear: Ear | None = None
        self.exit_code: int | None = None
        self.last_sent = ""
        """What a file on its disk says."""
        self._given: set[str] = set()
        self._unheard: list[Message] = []
        self._waiting: set[bytes] = set()
        self._dismissed = 0
        self._stubborn = chance.random() < max(weather.payload_hangs, weather.payload_lingers)
        self._asks_again = chance.random() < 0.5
        self._kept: list[Message] | None = [] if chance.random() < weather.late_words else None

    def start(self, ear: Ear) -> None:
        """The process runs, and asks after a while."""
        self.ear = ear
        begins_s = self._habits.begins_s()
        for worker in range(self._workers):
            self._agenda.after(begins_s, lambda peer=b"%d" % worker: self._ask(peer))  # type: ignore[misc]
        if (death := self._habits.dies()) is not None:
            after_s, exit_code = death
            self._agenda.after(after_s, lambda: self.end(exit_code))

    def adopted(self, ear: Ear) -> None:
        """Somebody listens again: what was said meanwhile is heard; some payloads ask again what nobody answered."""
        self.ear = ear
        for message in self._unheard:
            self._send(message)
        self._unheard.clear()
        if self._asks_again:
            for peer in sorted(self._waiting):
                self._say(peer, athenamp.READY_FOR_EVENTS)

    def answered(self, peer: bytes, text: str) -> None:
        """The pilot's answer has come."""
        if self.exit_code is not None:
            return
        self._waiting.discard(peer)
        event_range = athenamp.parse_answer(text)
        if event_range is None:
            self._dismissed += 1
            if self._dismissed < self._workers:
                return
            if self._kept:
                self._last_words(self._kept)
            elif not (self._stubborn and self._weather.payload_lingers):
                self._agenda.after(self._habits.ends_s(), lambda: self.end(0))
            return
        event_range_id = str(event_range["eventRangeID"])
        if event_range_id in self._given:
            self._truth.given_twice.append(event_range_id)
        self._given.add(event_range_id)
        if self._chance.random() < self._weather.payload_hangs:
            return
        self._agenda.after(self._habits.takes_s(event_range_id), lambda: self._processed(peer, event_range_id))

    def signal(self, kill: bool) -> None:
        """SIGTERM or SIGKILL; some do not hear the first."""
        if kill or not self._stubborn:
            self._agenda.after(WIRE_S, lambda: self.end(-9 if kill else -15))

    def end(self, exit_code: int) -> None:
        """The process ends."""
        if self.exit_code is None:
            self.exit_code = exit_code
            if self.ear is not None:
                self.ear.process_ended(exit_code)

    def _ask(self, peer: bytes) -> None:
        if self.exit_code is None:
            self._waiting.add(peer)
            self._say(peer, athenamp.READY_FOR_EVENTS)

    def _processed(self, peer: bytes, event_range_id: str) -> None:
        """A worker is through with a range: it says so, and asks for the next."""
        if self.exit_code is not None:
            return
        weather, happens = self._weather, self._chance.random
        if self._habits.gives_up(event_range_id):
            self._truth.spoiled.add(event_range_id)
            text = athenamp.error_message(athenamp.RangeError(event_range_id, "ERR_ATHENAMP_PROCESS", "Seek failed"))
        else:
            path = f"{OUTPUT}.{event_range_id}"
            if happens() < weather.no_output:
                self._truth.spoiled.add(event_range_id)
            else:
                self._write(path, event_range_id)
            text = athenamp.result_message(athenamp.Result(event_range_id, (path,), 1.0, 2.0))
        asks_first = happens() < weather.reorders
        if asks_first:
            self._ask(peer)
        if self._kept is not None:
            self._kept.append(Message(peer, text))
        else:
            self._say(peer, text)
        if happens() < weather.repeats:
            self._say(peer, text)
        if happens() < weather.babbles:
            self._say(peer, self._chance.choice(BABBLE))
        if not asks_first:
            self._ask(peer)

    def _write(self, path: str, event_range_id: str) -> None:
        content = Content(
            ((path, crc32(f"{event_range_id} {self.identity.pid}".encode())),), self._habits.size(event_range_id)
        )
        self._disk.write(path, content, synced=False)

    def _last_words(self, messages: list[Message]) -> None:
        """All results at once, and the end of the process overtakes them."""
        for message in messages:
            self._send(message, LATE_S * self._chance.random())
        self._agenda.after(WIRE_S / 2, lambda: self.end(0))

    def _say(self, peer: bytes, text: str) -> None:
        self._send(Message(peer, text))

    def _send(self, message: Message, late_s: float = 0.0) -> None:
        ear = self.ear
        if ear is None or ear.deaf:
            self._unheard.append(message)
            return
        said = message.text.partition("ID:")[2].partition(",")[0]
        if said and f"{OUTPUT}.{said}" in self._disk.files:
            self._truth.announced.setdefault(said, []).append(ear)
        self._agenda.after(WIRE_S + late_s, lambda: ear.hear(message))
