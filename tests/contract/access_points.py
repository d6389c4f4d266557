"""What the tests of Harvester's communicator share: a worker's directory, with Harvester and PanDA behind it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from esfsm.adapters.communicators.access_point import AccessPoint
from esfsm.adapters.communicators.harvester import HarvesterCommunicator, Patience
from esfsm.model.report import ArchiveRecord, Report
from esfsm.standins.harvester import Harvester, Messenger
from esfsm.wire.panda.jobs import Consumer

JOB = Consumer(5001, 5000, 1001)
LOOKS = Patience(1.0, 40.0)


def name(n: int) -> str:
    return f"1001-5001-100101-{n}-10"


def event_range(n: int) -> dict[str, object]:
    return {"eventRangeID": name(n), "startEvent": n, "lastEvent": n, "LFN": "EVNT.root", "GUID": "G", "scope": "s"}


class Panda:
    """Has so many ranges; keeps the first word about each."""

    def __init__(self, ranges: int = 20) -> None:
        self.ready = [event_range(n) for n in range(1, ranges + 1)]
        self.booked: dict[str, tuple[str, str | None]] = {}
        """By eventRangeID: status and archive."""
        self.heard: list[str] = []
        """Each word about a range."""

    def acquire(self, panda_id: int, jobset_id: int, task_id: int, n: int) -> list[dict[str, object]]:
        assert (panda_id, jobset_id, task_id) == (JOB.panda_id, JOB.jobset_id, JOB.task_id)
        granted, self.ready = self.ready[:n], self.ready[n:]
        return granted

    def update(self, items: list[dict[str, Any]], version: int) -> list[bool | None]:
        for item in items:
            for event in item["eventRanges"]:
                self.heard.append(event["eventRangeID"])
                word = (event["eventStatus"], item.get("zipFile", {}).get("lfn"))
                self.booked.setdefault(event["eventRangeID"], word)
        return [True for item in items for _ in item["eventRanges"]]


class Site:
    """An access point; Harvester has its turn whenever a communicator waits."""

    def __init__(self, directory: Path, ranges: int = 20, **faults: Any) -> None:
        self.directory = directory / "worker"
        self.directory.mkdir()
        self.panda = Panda(ranges)
        self.harvester = Harvester(Messenger(self.directory, [JOB.panda_id]), self.panda, **faults)

    def open(
        self, run: str = "r1", pause: Callable[[], object] | None = None, patience: Patience = LOOKS
    ) -> HarvesterCommunicator:
        point = AccessPoint(self.directory, run)
        turn = pause or self.harvester.turn
        payload = AccessPoint(self.directory.parent, run)
        return HarvesterCommunicator(JOB, point, point, payload, patience, lambda _: turn())

    def put(self, file: str, said: object) -> None:
        text = said if isinstance(said, str) else json.dumps(said)
        (self.directory / file).write_text(text)

    def read(self, file: str) -> Any:
        return json.loads((self.directory / file).read_text())

    def holds(self, file: str) -> bool:
        return (self.directory / file).exists()

    def dumps(self) -> list[Any]:
        """Those that Harvester has acknowledged, in their order."""
        return [json.loads(path.read_text()) for path in sorted(self.directory.glob("event_status.dump.json.read.*"))]

    def archive(self, lfn: str = "a.tar") -> ArchiveRecord:
        (self.directory / lfn).write_bytes(b"x" * 10)
        return ArchiveRecord(lfn, 10, "0a1b2c3d", 117, None, str(self.directory / lfn))

    def finished(self, *names: str, lfn: str = "a.tar") -> Report:
        return Report(names, self.archive(lfn))


def failed(*names: str) -> Report:
    return Report(names, error_code=1220, error_diag="it broke")


def take(communicator: HarvesterCommunicator, n: int, request: str = "r1.0") -> tuple[str, ...]:
    return tuple(granted.event_range_id for granted in communicator.get_event_ranges(n, request).event_ranges)
