"""Payloads that are ended with their test, and what threads and jobs of a test need."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from contract.heard import Heard
from shell.jobs import installed, write_inputs
from whole.processes import PATIENCE_S, no_thread_left, payload

from esfsm.adapters.channels.memory import MemoryChannel
from esfsm.adapters.channels.zmq import ZmqChannel
from esfsm.ports import OpenChannel

from .runs import Run, Speak, Spoken, Start


@pytest.fixture
def runs() -> Iterator[list[Run]]:
    """Whatever is put here is ended."""
    runs: list[Run] = []
    with no_thread_left():
        yield runs
        for run in runs:
            run.running.stop(0.0)
            assert run.running.wait(PATIENCE_S)


@pytest.fixture
def start(runs: list[Run], tmp_path: Path) -> Start:
    """Start one of our payloads, or any other `command`."""

    def start(
        *arguments: object,
        command: list[str] | None = None,
        open_channel: OpenChannel = ZmqChannel,
        event_service: bool = True,
    ) -> Run:
        runs.append(Run(command or payload(*arguments), tmp_path, open_channel, Heard(), event_service))
        return runs[-1]

    return start


@pytest.fixture
def speak(runs: list[Run], tmp_path: Path) -> Speak:
    """Start a payload that the test speaks for."""

    def speak(channel: MemoryChannel | None = None, heard: Heard | None = None) -> Spoken:
        runs.append(spoken := Spoken(tmp_path, channel or MemoryChannel(), heard or Heard()))
        return spoken

    return speak


@pytest.fixture
def inputs(tmp_path: Path) -> Iterator[Path]:
    """An input file and a transformation; the executor type `quick` runs event ranges without a process."""
    with installed(tmp_path / "site", {"esfsm.executors:quick": "shell.jobs:QuickExecutor"}):
        yield write_inputs(tmp_path / "inputs")
