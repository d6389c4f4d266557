"""Jobs for tests: their definitions, their payloads, and an executor that runs event ranges without a process."""

import os
import sys
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

from esfsm import plugins
from esfsm.adapters.communicators.audit import Attempt, attempts
from esfsm.adapters.communicators.database import Database
from esfsm.durable import adler32_of
from esfsm.model.event_range import EventRange
from esfsm.model.settings import Settings
from esfsm.ports import Hooks, OpenChannel, Orphan, Payload, ProcessIdentity

TASK_ID, PANDA_ID = 41000456, 7000000123
OUTPUT = "HITS.pool.root.1"

ES_PAYLOAD = """\
import sys
from pathlib import Path
from time import sleep
from esfsm.payload import connect

with connect() as channel:
    for event_range in channel:
        sleep(float(sys.argv[1]))
        path = Path(f"HITS.pool.root.1.{event_range.event_range_id}")
        path.write_text(event_range.event_range_id * 3)
        channel.finished(event_range, path)
"""


def es_job(**said: object) -> dict[str, object]:
    """An Event Service job in PanDA's form; its payload takes 5 ms for a range."""
    return {
        "PandaID": PANDA_ID,
        "taskID": TASK_ID,
        "jobsetID": 7000000100,
        "eventService": "True",
        "transformation": "simulate.py",
        "jobPars": "0.005",
        "inFiles": "EVNT.pool.root",
        "outFiles": OUTPUT,
        **said,
    }


def plain_job(**said: object) -> dict[str, object]:
    """A job without event ranges."""
    content = {"PandaID": PANDA_ID, "transformation": "transform.py", "jobPars": "", "outFiles": "out.txt"}
    return {**content, **said}


def write_inputs(directory: Path, transformation: str = "simulate.py", payload: str = ES_PAYLOAD) -> Path:
    """A directory with an input file and the payload's script."""
    directory.mkdir(exist_ok=True)
    (directory / "EVNT.pool.root").write_bytes(b"generated events")
    (directory / transformation).write_text(payload)
    return directory


def es_settings(inputs: Path, ranges: int, **said: object) -> dict[str, object]:
    """Settings for `ranges` event ranges of two events, five of them in an archive."""
    content = {"input_url": str(inputs), "events": 2 * ranges, "events_per_range": 2, "zip_max_ranges": 5}
    return {**content, "retry_pause_s": 0.01, **said}


def booked(broker: Path) -> list[Attempt]:
    """Every attempt at every range of the task."""
    database = Database(broker)
    try:
        return attempts(database, TASK_ID)
    finally:
        database.close()


def assert_each_range_is_booked_once(workdir: Path, ranges: int) -> None:
    """The broker has each range done once; every archive is as it is recorded, and has each range's output once.

    An attempt that was given back counts for nothing.
    """
    rows = [row for row in booked(workdir / "broker.sqlite") if row.status != "cancelled"]
    assert Counter(row.status for row in rows) == {"done": ranges}
    assert len({row.start_event for row in rows}) == ranges
    in_archives: dict[str, list[str]] = {}
    for lfn, adler32 in recorded(workdir / "broker.sqlite").items():
        archive = workdir / "outputs" / lfn
        assert adler32_of(archive) == adler32
        with tarfile.open(archive) as tar:
            in_archives[lfn] = sorted(tar.getnames())
    expected: dict[str, list[str]] = {}
    for row in rows:
        expected.setdefault(str(row.zip_lfn), []).append(f"{OUTPUT}.{row.event_range_id}")
    assert in_archives == {lfn: sorted(names) for lfn, names in expected.items()}


def recorded(broker: Path) -> dict[str, str]:
    """The adler32 of each archive by its LFN, as the broker has it."""
    database = Database(broker)
    try:
        with database.transaction() as db:
            return {row["zip_lfn"]: row["adler32"] for row in db.execute("SELECT zip_lfn, adler32 FROM zip_files")}
    finally:
        database.close()


@contextmanager
def installed(
    site: Path, entry_points: Mapping[str, str], files: Mapping[str, str] | None = None, name: str = "addition"
) -> Iterator[None]:
    """An installed distribution: `entry_points` by `group:name`, and its files."""
    info = site / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [f"[{group}]\n{name} = {value}\n" for (group, name), value in _split(entry_points)]
    (info / "entry_points.txt").write_text("".join(lines))
    for place, text in (files or {}).items():
        path = site / place
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    sys.path.insert(0, str(site))
    plugins._added.cache_clear()
    try:
        yield
    finally:
        sys.path.remove(str(site))
        for place in files or {}:
            sys.modules.pop(place.partition("/")[0].removesuffix(".py"), None)
        plugins._added.cache_clear()


def _split(entry_points: Mapping[str, str]) -> Iterator[tuple[tuple[str, str], str]]:
    for key, value in entry_points.items():
        group, _, name = key.partition(":")
        yield (group, name), value


class QuickExecutor:
    """Runs event ranges in a thread: one after the other, three asked for at a time."""

    def __init__(self, settings: Settings, open_channel: OpenChannel) -> None:
        """It needs neither."""

    def start(self, payload: Payload, hooks: Hooks, *, event_service: bool) -> "QuickPayload":
        return QuickPayload(payload, hooks)

    def adopt(self, orphan: Orphan, payload: Payload, hooks: Hooks) -> None:
        """It ends with its engine."""

    def end_orphan(self, mark: str, workdir: Path, identity: ProcessIdentity | None = None) -> bool:
        return False


class QuickPayload:
    """A payload that takes no time."""

    def __init__(self, payload: Payload, hooks: Hooks) -> None:
        self._workdir, self._hooks = payload.workdir, hooks
        self._stock: SimpleQueue[Sequence[EventRange]] = SimpleQueue()
        self._thread = Thread(target=self._run)
        self._thread.start()

    def stock(self, event_ranges: Sequence[EventRange], last: bool) -> None:
        self._stock.put(event_ranges)
        if last and event_ranges:
            self._stock.put(())

    def stop(self, grace_s: float) -> None:
        self._stock.put(())

    def wait(self, timeout_s: float) -> bool:
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        self._hooks.payload_started(ProcessIdentity(os.getpid(), 0))
        self._hooks.ranges_wanted(3)
        while event_ranges := self._stock.get():
            for event_range in event_ranges:
                name = f"{OUTPUT}.{event_range.event_range_id}"
                self._hooks.ranges_sent([event_range.event_range_id])
                (self._workdir / name).write_text(event_range.event_range_id * 3)
                self._hooks.output_produced(event_range.event_range_id, [name], 0.1, 0.1)
            self._hooks.ranges_wanted(3)
        self._hooks.payload_ended(0, 0, "")
