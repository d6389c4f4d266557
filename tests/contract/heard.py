"""What an executor tells, kept for tests."""

from collections.abc import Sequence
from queue import SimpleQueue
from typing import Any

from whole.processes import PATIENCE_S

from esfsm.ports import ProcessIdentity

Told = tuple[str, tuple[Any, ...]]


class Heard:
    """All that an executor tells, in its order; the hooks of `ports.Hooks`."""

    def __init__(self) -> None:
        self._told: SimpleQueue[Told] = SimpleQueue()

    def payload_started(self, identity: ProcessIdentity, channel: str = "") -> None:
        self._told.put(("payload_started", (identity, channel)))

    def ranges_wanted(self, n: int) -> None:
        self._told.put(("ranges_wanted", (n,)))

    def ranges_sent(self, event_range_ids: Sequence[str]) -> None:
        self._told.put(("ranges_sent", tuple(event_range_ids)))

    def output_produced(self, event_range_id: str, paths: Sequence[str], cpu_s: float, wall_s: float) -> None:
        self._told.put(("output_produced", (event_range_id, tuple(paths), cpu_s, wall_s)))

    def range_errored(self, event_range_id: str, why: str) -> None:
        self._told.put(("range_errored", (event_range_id, why)))

    def message_unreadable(self, text: str, why: str) -> None:
        self._told.put(("message_unreadable", (text, why)))

    def payload_ended(self, exit_code: int | None, error_code: int, why: str) -> None:
        self._told.put(("payload_ended", (exit_code, error_code, why)))

    def setup_failed(self, exit_code: int, error_code: int, why: str) -> None:
        self._told.put(("setup_failed", (exit_code, error_code, why)))

    def payload_gone(self) -> None:
        self._told.put(("payload_gone", ()))

    def next(self) -> Told:
        return self._told.get(timeout=PATIENCE_S)

    def until(self, *names: str) -> list[Told]:
        """What is told until, and with, one of these."""
        told = [self.next()]
        while told[-1][0] not in names:
            told.append(self.next())
        return told

    def end(self) -> tuple[Any, ...]:
        """How the payload ended."""
        return self.until("payload_ended", "setup_failed")[-1][1]

    def is_silent(self) -> bool:
        return self._told.empty()


def named(told: list[Told], name: str) -> list[tuple[Any, ...]]:
    return [content for what, content in told if what == name]
