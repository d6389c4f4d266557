"""A Harvester: one worker of it, turn by turn, over the directory that it shares with that worker.

It does what Harvester's SharedFileMessenger was seen to do with each file, well made or not, and around that what its
monitor, propagator and event feeder do. It has no thread: whoever holds it says when its next turn is.
"""

import json
import zlib
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, Literal, Protocol

__all__ = ["FAULTS", "Harvester", "Messenger", "Panda"]

FAULTS = {
    "no-ack": "now and then its database fails: it reads the same dump again at a later turn",
    "slow": "it does nothing in two of three turns",
    "overwrites-unread-feed": "now and then it takes a request that it has answered for a new one, and feeds once more",
    "crash-after-feed": "now and then it dies before it has deleted the request that it fed, and feeds once more",
}
"""What goes wrong where it is wanted, in one sentence each."""

OBJSTORE_ID = "117"
"""PanDA's number of the storage that it stages out to; a text, as Harvester sends it."""
SLOWNESS = 3
"""It is slow once in so many turns."""

Files = dict[int, dict[str, list[dict[str, Any]]]]
"""By PandaID and LFN, what a dump says of a file: once for each event range in it."""
Events = dict[int, list[dict[str, Any]]]
"""By PandaID, `{"eventRangeID": .., "eventStatus": ..}`."""
MapType = Literal["OneToOne", "OneToMany", "ManyToOne"]
"""Jobs to workers."""


class Panda(Protocol):
    """The server behind it; either may raise OSError."""

    def acquire(self, panda_id: int, jobset_id: int, task_id: int, n: int) -> list[dict[str, object]]:
        """At most `n` event ranges."""
        ...

    def update(self, items: list[dict[str, object]], version: int) -> list[bool | None]:
        """Report event ranges in chunks: a word for each range."""
        ...


class Messenger:
    """The files of one access point as Harvester reads and writes them: by no means all at once."""

    def __init__(self, directory: Path, panda_ids: Sequence[int] = (7000,), map_type: MapType = "OneToOne") -> None:
        self.directory, self.panda_ids, self._map_type = directory, panda_ids, map_type

    def files_to_stage_out(self) -> Files:
        """The files of the dump; the statuses of its event ranges go into a file of their own.

        Raises ValueError for a key that is no number; the dump then stays for ever.
        """
        files: Files = {}
        for panda_id in self.panda_ids:
            place = self._place(panda_id)
            dump = _begin(place / "event_status.dump.json")
            if dump is None:
                continue
            events, entries = _read_dump(_loaded(dump), files)
            if events:
                written = place / "worker_updateevents.json.new"
                written.write_text(json.dumps(events))
                written.replace(place / "worker_updateevents.json")
            if not entries:
                dump.unlink()
        return files

    def events_to_update(self) -> Events:
        """The statuses of event ranges."""
        events: Events = {}
        for panda_id in self.panda_ids:
            file = _begin(self._place(panda_id) / "worker_updateevents.json")
            if file is None:
                continue
            said = _loaded(file) or {}
            with suppress(ValueError):  # a key that is no number
                events |= {int(key): entries for key, entries in said.items()}
            if not any(said.values()):
                file.unlink()
        return events

    def acknowledge(self) -> None:
        """All of that is in its database."""
        for panda_id in self.panda_ids:
            for name in ("worker_updateevents.json.read", "event_status.dump.json.read"):
                at = datetime.now(UTC).strftime("%Y-%m-%d_%H_%M_%S.%f")
                with suppress(FileNotFoundError):
                    (self._place(panda_id) / name).rename(self._place(panda_id) / f"{name}.{at}")

    def events_requested(self) -> Any:
        """The request as it is, whatever it is; an empty one where there is none that can be read."""
        said = _loaded(self.directory / "worker_requestevents.json")
        return {} if said is None else said

    def feed_events(self, events: Mapping[str, object]) -> None:
        """Written in place; nothing at all for a worker with several jobs. Then the request goes."""
        if self._map_type != "ManyToOne":
            (self.directory / "JobsEventRanges.json").write_text(json.dumps(events))
        (self.directory / "worker_requestevents.json").unlink(missing_ok=True)

    def jobs_requested(self) -> Any:
        """How many; one where that cannot be read, False where none were asked for."""
        request = self.directory / "worker_requestjob.json"
        if not request.exists():
            return False
        said = _loaded(request)
        return said["nJobs"] if isinstance(said, dict) and "nJobs" in said else 1

    def feed_jobs(self, jobs: Sequence[Mapping[str, object]]) -> None:
        """Their definitions, and a list of them; of several jobs in one directory the last one stays."""
        for job in jobs:
            place = self.directory / str(job["PandaID"]) if self._map_type == "ManyToOne" else self.directory
            place.mkdir(exist_ok=True)
            (place / "HPCJobs.json").write_text(json.dumps({job["PandaID"]: job}))
        (self.directory / "worker_pandaids.json").write_text(json.dumps([job["PandaID"] for job in jobs]))
        (self.directory / "worker_requestjob.json").unlink(missing_ok=True)

    def attributes(self) -> dict[int, dict[str, Any]]:
        """How each job stands, with its job report."""
        said: dict[int, dict[str, Any]] = {}
        for panda_id in self.panda_ids:
            said[panda_id] = _loaded(self._place(panda_id) / "worker_attributes.json") or {}
            report = _loaded(self._place(panda_id) / "jobReport.json")
            if report is not None:
                said[panda_id]["metaData"] = report
        return said

    def kill_requested(self) -> bool:
        """Whether the worker wants to be killed."""
        return (self.directory / "kill_worker.json").exists()

    def is_alive(self, started: datetime | None, now: datetime, limit_s: float) -> bool | None:
        """Whether the worker was heard of in time; None where it never was, and should have been."""
        heartbeat = self.directory / "worker_heartbeat.json"
        if heartbeat.exists():
            return now.timestamp() - heartbeat.stat().st_mtime <= limit_s
        return True if started is None or (now - started).total_seconds() < limit_s else None

    def _place(self, panda_id: int) -> Path:
        """Where the files of a job are."""
        return self.directory / str(panda_id) if self._map_type == "ManyToOne" else self.directory


class Harvester:
    """A worker of it, with a server behind. It takes every output for an archive, so it packs none itself."""

    def __init__(
        self,
        messenger: Messenger,
        panda: Panda,
        *,
        faults: Collection[str] = (),
        chance: Random | None = None,
        probability: float = 0.3,
    ) -> None:
        """`faults`: of `FAULTS`; what goes wrong now and then does so with this probability."""
        self.messenger, self._panda = messenger, panda
        self._faults, self._chance, self._probability = faults, chance or Random(0), probability
        self._turns = 0
        self._request: Mapping[str, Any] = {}
        self._events: dict[tuple[int, str], str] = {}
        """By PandaID and eventRangeID, the statuses that PanDA has not heard."""
        self._zip_files: dict[tuple[int, str], dict[str, Any]] = {}
        """... and where they are."""
        self.reported: dict[str, str] = {}
        """By eventRangeID, what PanDA has heard."""
        self.fed: list[tuple[str, ...]] = []
        """The event ranges in each feed."""
        self.jobs: list[Mapping[str, object]] = []
        """What it has for a worker that asks for more."""

    def turn(self) -> None:
        """Monitor, propagator, feeder."""
        self._turns += 1
        if "slow" in self._faults and self._turns % SLOWNESS:
            return
        self._monitor()
        self._propagate()
        self._feed()

    def _strikes(self, fault: str) -> bool:
        return fault in self._faults and self._chance.random() < self._probability

    def _monitor(self) -> None:
        files, events = self.messenger.files_to_stage_out(), self.messenger.events_to_update()
        request = self.messenger.events_requested()
        if self._strikes("no-ack"):
            return
        if isinstance(request, dict):
            self._request = self._request or request
        for panda_id, statuses in events.items():
            for event in statuses:
                self._events[panda_id, event["eventRangeID"]] = event["eventStatus"]
        for panda_id, by_lfn in files.items():
            for lfn, entries in by_lfn.items():
                for entry in entries:
                    said = {"objstoreID": OBJSTORE_ID, "fsize": entry["fsize"], "adler32": entry["chksum"]}
                    self._zip_files[panda_id, entry.get("eventRangeID", "")] = {"lfn": lfn, **said}
        self.messenger.acknowledge()

    def _propagate(self) -> None:
        """What PanDA says null to is told again."""
        chunks: dict[str, dict[str, Any]] = {}
        for (panda_id, name), status in self._events.items():
            zip_file = self._zip_files.get((panda_id, name))
            chunk = chunks.setdefault(f"{panda_id} {zip_file and zip_file['lfn']}", {"eventRanges": []})
            chunk["eventRanges"].append({"eventRangeID": name, "eventStatus": status})
            chunk |= {"zipFile": zip_file} if zip_file else {}
        if not chunks:
            return
        told = [event for chunk in chunks.values() for event in chunk["eventRanges"]]
        with suppress(OSError):
            words = self._panda.update(list(chunks.values()), 1)
            closed = {event["eventRangeID"] for event, word in zip(told, words, strict=False) if word is not None}
            self.reported |= {name: status for (_, name), status in self._events.items() if name in closed}
            self._events = {key: status for key, status in self._events.items() if key[1] not in closed}

    def _feed(self) -> None:
        if self.jobs and (n := self.messenger.jobs_requested()):
            self.messenger.feed_jobs(self.jobs[: int(n)])
            del self.jobs[: int(n)]
        if not self._request:
            return
        with suppress(OSError):
            events = {
                key: self._panda.acquire(said["pandaID"], said["jobsetID"], said["taskID"], said["nRanges"])
                for key, said in self._request.items()
            }
            self.fed.append(tuple(str(event["eventRangeID"]) for given in events.values() for event in given))
            self._write_feed(events)

    def _write_feed(self, events: Mapping[str, object]) -> None:
        if self._strikes("crash-after-feed"):
            (self.messenger.directory / "JobsEventRanges.json").write_text(json.dumps(events))
            return
        self.messenger.feed_events(events)
        if not self._strikes("overwrites-unread-feed"):
            self._request = {}


def _begin(path: Path) -> Path | None:
    """What was begun and not acknowledged comes first; a new file is renamed, so that its writer leaves it alone."""
    begun = path.with_name(f"{path.name}.read")
    if not begun.exists():
        if not path.exists():
            return None
        path.rename(begun)
    return begun


def _loaded(path: Path) -> Any:
    """What a file holds; None where it is not there, or is no JSON."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None


def _read_dump(dump: Any, files: Files) -> tuple[Events, int]:
    """Adds to `files`; returns the statuses, and how many entries there were: none if it is no dump."""
    events: Events = {}
    read = 0
    if not isinstance(dump, dict):
        return {}, 0
    for key, entries in dump.items():
        panda_id = int(key)
        if not isinstance(entries, list):
            return {}, 0
        for entry in entries:
            read += 1
            with suppress(KeyError, TypeError, OSError):  # a line in its log, and the next one
                _read_entry(entry, panda_id, files, events)
    return events, read


def _read_entry(entry: Any, panda_id: int, files: Files, events: Events) -> None:
    """Raises where an entry lacks what is looked for; what came before that stays."""
    event_range_id = entry.get("eventRangeID")
    if "path" in entry:
        path, kind = Path(entry["path"]), entry.get("type")
        file = {"path": str(path), "fsize": entry["fsize"] if "fsize" in entry else path.stat().st_size}
        file["type"] = entry["type"]
        file["isZip"] = {"zip_output": 1, "log": 0, "output": 0, "checkpoint": 0}.get(kind, entry.get("isZip"))
        file["chksum"] = entry["chksum"] if "chksum" in entry else f"{zlib.adler32(path.read_bytes()):08x}"
        files.setdefault(panda_id, {}).setdefault(path.name, []).append(file)
        if kind not in ("es_output", "zip_output"):
            return
        file["eventRangeID"] = event_range_id
    statuses = events.setdefault(panda_id, [])
    statuses.append({"eventRangeID": event_range_id, "eventStatus": entry["eventStatus"]})
