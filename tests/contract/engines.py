"""Engines that are killed, each a process of its own: `engines.py NAME JSON` runs the function of that name."""

import json
import os
import sys
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from esfsm.adapters.channels.zmq import ZmqChannel
from esfsm.adapters.executors.generic import GenericExecutor
from esfsm.model.event_range import EventRange
from esfsm.model.settings import Settings
from esfsm.ports import Orphan, Payload, ProcessIdentity


class Hooks:
    """Whatever it is told it writes on its output, one JSON line each."""

    def __init__(self) -> None:
        self.wanted: SimpleQueue[int] = SimpleQueue()

    def __getattr__(self, name: str) -> Any:
        return lambda *content: self._tell(name, content)

    def _tell(self, name: str, content: tuple[Any, ...]) -> None:
        os.write(1, json.dumps([name, content]).encode() + b"\n")
        if name == "ranges_wanted":
            self.wanted.put(content[0])


def start(arguments: list[str], workdir: str, environment: dict[str, str], mark: str, ranges: list[Any]) -> None:
    """Start a payload, give it these ranges when it wants some, and stay."""
    directory, hooks = Path(workdir), Hooks()
    payload = Payload(arguments, directory, environment, directory / "out.txt", directory / "err.txt", mark=mark)
    running = GenericExecutor(Settings(), ZmqChannel).start(payload, hooks, event_service=True)
    hooks.wanted.get()
    if ranges:
        running.stock([EventRange.model_validate(each) for each in ranges], last=False)
    running.wait(3600.0)


def adopt(identity: list[int], channel: str, workdir: str, mark: str) -> None:
    """Adopt a payload, and die at once."""
    payload, executor = (
        Payload([], Path(workdir), {}, Path(), Path(), mark=mark),
        GenericExecutor(Settings(), ZmqChannel),
    )
    process = ProcessIdentity(*identity)
    os._exit(0 if executor.adopt(Orphan(process, channel), payload, Hooks()) else 1)


if __name__ == "__main__":
    globals()[sys.argv[1]](*json.loads(sys.argv[2]))
