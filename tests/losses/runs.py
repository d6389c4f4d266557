"""Payloads that run: real ones, and ones that say what the test says."""

from collections.abc import Callable
from pathlib import Path

from contract.heard import Heard
from whole.processes import PATIENCE_S, event_range, pipe

from esfsm.adapters.channels.memory import MemoryChannel
from esfsm.adapters.executors.generic import GenericExecutor
from esfsm.model.event_range import EventRange
from esfsm.model.settings import Settings
from esfsm.ports import OpenChannel, Payload
from esfsm.wire.athenamp import READY_FOR_EVENTS


class Run:
    """A payload that was started, and what is told about it."""

    def __init__(
        self, command: list[str], workdir: Path, open_channel: OpenChannel, heard: Heard, event_service: bool
    ) -> None:
        self.heard = heard
        given = Payload(command, workdir, {}, workdir / "out.txt", workdir / "err.txt", cores=2)
        executor = GenericExecutor(Settings(), open_channel)
        self.running = executor.start(given, heard, event_service=event_service)

    def stock(self, *numbers: int, last: bool = False) -> None:
        """As soon as ranges are wanted, these are in stock."""
        self.heard.until("ranges_wanted")
        self.running.stock([EventRange.model_validate(event_range(number)) for number in numbers], last=last)


class Spoken(Run):
    """One whose process only waits: what it says is said by the test."""

    def __init__(self, workdir: Path, channel: MemoryChannel, heard: Heard) -> None:
        self._client = channel.connect()
        self._end = pipe(workdir, "end")
        super().__init__(["cat", str(self._end)], workdir, lambda *_: channel, heard, event_service=True)

    def says(self, text: str) -> None:
        self._client.say(text)

    def announces(self, number: int) -> None:
        self.says(f"/w/HITS.{number},ID:1-2-3-{number}-10,CPU:1,WALL:2")

    def asks(self) -> None:
        self.says(READY_FOR_EVENTS)

    def hears(self) -> str:
        """The next answer."""
        answer = self._client.hear(PATIENCE_S)
        assert answer is not None
        return answer

    def has_unheard(self) -> bool:
        """Whether there is an answer to no question."""
        return self._client.hear(0) is not None

    def leaves(self) -> None:
        """It ends with exit code 0."""
        with self._end.open("w"):
            pass


Start = Callable[..., Run]
"""The fixtures `start` and `speak`: arguments -> a payload that runs."""
Speak = Callable[..., Spoken]
