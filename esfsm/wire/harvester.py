"""Harvester's shared files: how each is called, what is written into it, and what it says.

A worker and Harvester speak by files in one directory, the worker's access point. Harvester reads with little care: a
key that is no whole number breaks the cycle that watches the whole queue, a dump that cannot be read is deleted, and an
entry without `type` or `eventStatus` is passed over in silence, as is one of a missing file whose size is not told
(seen with its SharedFileMessenger). So no such thing can be written here.
"""

import json
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import orjson

from esfsm.errors import WireError
from esfsm.model.event_range import EventRange
from esfsm.model.report import JobReport, Report
from esfsm.wire.panda.calls import LEGACY_NAMES
from esfsm.wire.panda.jobs import Consumer, heartbeat

__all__ = [
    "ALIVE",
    "Entry",
    "Names",
    "attributes",
    "event_dump",
    "event_request",
    "is_whole",
    "job_request",
    "marks",
    "marks_in",
    "log_entry",
    "output_entry",
    "read_event_ranges",
    "read_panda_ids",
    "report_entries",
]

LONGEST_NUMBER = 19
"""Digits of a PandaID: it has 64 bits."""

Entry = Mapping[str, str | int]
"""What a dump says of one event range, or of one file."""

ALIVE = b"{}"
"""What the heartbeat and the wish to be killed hold: only that they are there counts, and since when."""

ATTRIBUTES = {
    **{name: LEGACY_NAMES[name] for name in LEGACY_NAMES if name not in ("job_id", "job_status", "site_name")},
    "job_status": "jobStatus",
    "node": "node",
}
"""What Harvester passes on to PanDA of a heartbeat, mostly by the names of the older generation."""


@dataclass(frozen=True, slots=True)
class Names:
    """How the files are called: Harvester's defaults; a site may call each otherwise (`payload_interaction`)."""

    jobs: tuple[str, ...] = ("HPCJobs.json", "pandaJobData.out")
    """The job definition, by either of its usual names."""
    panda_ids: str = "worker_pandaids.json"
    job_request: str = "worker_requestjob.json"
    event_request: str = "worker_requestevents.json"
    event_ranges: str = "JobsEventRanges.json"
    event_dump: str = "event_status.dump.json"
    attributes: str = "worker_attributes.json"
    job_report: str = "jobReport.json"
    heartbeat: str = "worker_heartbeat.json"
    kill: str = "kill_worker.json"

    @property
    def read_dump(self) -> str:
        """The dump while Harvester is at it; with a dot and a time behind it, once it is in Harvester's books."""
        return f"{self.event_dump}.read"

    def fed(self, panda_id: int) -> str:
        """Our name for event ranges that Harvester fed to a job, until that takes them."""
        return f"{self.event_ranges}.{panda_id}"

    def taken(self, panda_id: int, request: str) -> str:
        """Our name for those that became the answer to a request of the job."""
        return f"{self.event_ranges}.{panda_id}.{request}"


# --- what a worker writes ---


def event_request(consumer: Consumer, n: int) -> bytes:
    """`{"7000": {"pandaID": 7000, "jobsetID": .., "taskID": .., "nRanges": n}}`; PanDA takes no other key."""
    numbers = {"pandaID": consumer.panda_id, "jobsetID": consumer.jobset_id, "taskID": consumer.task_id}
    return _text({str(consumer.panda_id): {**numbers, "nRanges": n}})


def report_entries(report: Report, path: str = "") -> tuple[Entry, ...]:
    """An entry for each event range: of those finished, with the archive, which lies at `path`; else without a file.

    What PanDA's `zipFile` says more, and why ranges failed, Harvester does not ask.
    """
    if report.archive is None:
        return tuple({"eventRangeID": name, "eventStatus": "failed"} for name in report.event_range_ids)
    archive = _file("zip_output", path, report.archive.size_bytes, report.archive.adler32)
    return tuple({**archive, "eventRangeID": name, "eventStatus": "finished"} for name in report.event_range_ids)


def output_entry(path: str, size_bytes: int, adler32: str) -> Entry:
    """Of an output that has nothing to do with event ranges."""
    return _file("output", path, size_bytes, adler32)


def log_entry(path: str, size_bytes: int, adler32: str, guid: str) -> Entry:
    """Of a job's log."""
    return {**_file("log", path, size_bytes, adler32), "guid": guid}


def _file(kind: str, path: str, size_bytes: int, adler32: str) -> Entry:
    return {"path": path, "type": kind, "fsize": size_bytes, "chksum": adler32}


def event_dump(panda_id: int, entries: Sequence[Entry]) -> bytes:
    """`{"7000": [entry, ..]}`."""
    return _text({str(panda_id): entries})


def attributes(consumer: Consumer, report: JobReport) -> bytes:
    """How a job stands: `{"jobStatus": "running", "nEvents": 12, ..}`."""
    said = heartbeat(consumer, report)
    return _text({name: said[key] for key, name in ATTRIBUTES.items() if key in said})


def job_request(n: int) -> bytes:
    """Ask for so many more jobs."""
    return _text({"nJobs": n})


def _text(value: object) -> bytes:
    """ASCII, as Harvester reads in whatever encoding its locale has."""
    return json.dumps(value).encode()


# --- what becomes of a dump ---


def marks(entries: Iterable[Entry]) -> frozenset[str]:
    """What entries are known by: files by path and checksum, as they never hold anything else; the rest by its range.

    An archive goes into one report, so its mark stands for all ranges of that.
    """
    return frozenset(_mark(entry) for entry in entries)


def marks_in(text: bytes, panda_id: int) -> frozenset[str]:
    """The marks of all that a dump says of a job; none where it says nothing that this house could have written."""
    try:
        dump = orjson.loads(text)
        return marks(dump[str(panda_id)])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return frozenset()


def _mark(entry: Entry) -> str:
    return f"{entry['path']} {entry['chksum']}" if "path" in entry else str(entry["eventRangeID"])


# --- what Harvester writes ---


def is_whole(text: bytes) -> bool:
    """Whether it is JSON. Harvester writes in place, and no part of a JSON object or list is one."""
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def read_event_ranges(text: bytes) -> dict[int, tuple[EventRange, ...]]:
    """By PandaID, what Harvester feeds: `{"7000": [{"eventRangeID": .., "startEvent": .., ..}, ..]}`.

    None at all for a job is no proof that there are no more. Raises `WireError` for anything else, as for a range that
    cannot be read or comes twice: passed over in silence it would stay with the job, and nobody would know.
    """
    feed = _json(text)
    if not isinstance(feed, dict) or not feed:
        raise WireError("Harvester fed event ranges to no job")
    ranges = {_number(key): _event_ranges(entries) for key, entries in feed.items()}
    names = [event_range.event_range_id for fed in ranges.values() for event_range in fed]
    if len(set(names)) < len(names):
        raise WireError("Harvester fed the same event range twice")
    return ranges


def read_panda_ids(text: bytes) -> tuple[int, ...]:
    """The jobs of the worker: `[7000, ..]`. Raises `WireError`."""
    match _json(text):
        case list(numbers) if all(type(number) is int for number in numbers):
            return tuple(numbers)
    raise WireError("Harvester's list of PandaIDs is none")


def _event_ranges(entries: object) -> tuple[EventRange, ...]:
    if not isinstance(entries, list):
        raise WireError(f"Harvester fed no list of event ranges: {reprlib.repr(entries)}")
    return tuple(_event_range(entry) for entry in entries)


def _event_range(entry: object) -> EventRange:
    try:
        return EventRange.model_validate(entry)
    except ValueError:
        raise WireError(f"Harvester fed what is no event range: {reprlib.repr(entry)}") from None


def _number(key: str) -> int:
    if not (key.isascii() and key.isdecimal() and len(key) <= LONGEST_NUMBER):
        raise WireError(f"Harvester fed event ranges to {reprlib.repr(key)}, which is no PandaID")
    return int(key)


def _json(text: bytes) -> object:
    try:
        said: object = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise WireError(f"Harvester's file is not JSON at character {error.pos}") from None
    return said
