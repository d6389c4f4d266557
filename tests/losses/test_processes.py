"""A payload is ended with its children, and nobody else is."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from whole.processes import ends, pipe

from esfsm.adapters.channels.memory import MemoryChannel
from esfsm.errors import PilotErrorCode
from esfsm.ports import Message

from .runs import Speak, Start

EITHER = pytest.mark.parametrize("event_service", [False, True], ids=["plain", "event service"])


@pytest.fixture
def signalled() -> Iterator[list[int]]:
    """The signals that come to us."""
    numbers: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: numbers.append(number))
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    yield numbers
    for number, handler in before.items():
        signal.signal(number, handler)


@EITHER
def test_ending_a_payload_sends_no_signal_to_the_engine(
    start: Start, signalled: list[int], event_service: bool
) -> None:
    """Pilot3: a payload was in the pilot's own process group; `kill the payload` killed the pilot."""
    run = start("stay", event_service=event_service)
    run.heard.next()
    run.running.stop(0.0)
    assert run.heard.end()[0] == -signal.SIGTERM
    assert signalled == []


@EITHER
def test_the_group_of_a_payload_is_its_own(start: Start, event_service: bool) -> None:
    """Pilot3: the process group that was written down for a payload was the pilot's."""
    _, (identity, _) = start("stay", event_service=event_service).heard.next()
    assert os.getpgid(identity.pid) == os.getsid(identity.pid) == identity.pid != os.getpgid(0)


@EITHER
@pytest.mark.parametrize("end", ["stop", "death of the shell"])
def test_what_a_shell_has_started_does_not_outlive_it(
    start: Start, tmp_path: Path, event_service: bool, end: str
) -> None:
    """Pilot3: the command `tobekilled` ended the shell only; the payload that it had started went on."""
    pids = pipe(tmp_path, "pids")
    run = start(command=["/bin/sh", "-c", f"sleep 600 & echo $$ $! > {pids}; wait"], event_service=event_service)
    shell, child = map(int, pids.read_text().split())
    if end == "stop":
        run.running.stop(0.0)
    else:
        os.kill(shell, signal.SIGKILL)
    run.heard.end()
    assert ends(child)


@EITHER
def test_a_payload_that_never_had_a_pid_can_be_stopped(start: Start, event_service: bool) -> None:
    """Pilot3: kill was called with the pid None."""
    run = start(command=["/no/such/payload"], event_service=event_service)
    run.running.stop(0.0)
    assert run.heard.end()[:2] == (None, PilotErrorCode.PAYLOADEXECUTIONEXCEPTION)
    run.running.stop(0.0)


class Patience(MemoryChannel):
    """A channel that writes down how long it is listened to."""

    def __init__(self) -> None:
        super().__init__()
        self.waits_s: list[float] = []

    def receive(self, timeout_s: float | None) -> Message | None:
        self.waits_s.append(float("inf") if timeout_s is None else timeout_s)
        return super().receive(timeout_s)


def test_nothing_is_polled_while_a_payload_is_silent(speak: Speak) -> None:
    """Pilot3: loops that waited for threads spun without a pause, and each message cost a turn of 10 ms."""
    channel = Patience()
    silent = speak(channel)
    silent.asks()
    silent.stock(1)
    silent.hears()
    silent.announces(1)
    silent.heard.until("output_produced")
    waits_s = list(channel.waits_s)
    silent.leaves()
    assert all(wait_s == 0 or wait_s > 60 for wait_s in waits_s), waits_s
    assert any(waits_s)
    assert len(waits_s) < 20
