"""Harvester: event ranges and reports as files in a directory that it shares with the worker.

A shared file system tells nobody that a file has come or gone, so this is the one place that looks again and again.

Whatever happens is a file that takes another name in one step, and which name it has is all that anybody knows of it.
So an engine that takes over from a dead one looks at the same names and goes on, at whatever step that was killed:

    worker_requestevents.json     put by us; Harvester feeds, and then deletes it
    JobsEventRanges.json          the feed. Not written in one step: not ours while the request is there
      -> ... .<PandaID>           sorted: whoever asked may have died, and other jobs of the worker have come
      -> ... .<PandaID>.<request> the answer to that request, for as long as the worker lives

    event_status.dump.json        put by us, where neither it nor the next one is there
      -> ... .read                Harvester is at it, and comes back to it until ...
      -> ... .read.<time>         ... it is in Harvester's books: only then is a report accepted

Harvester stages archives out itself, from where they lie. No command comes this way: a worker is stopped by its batch
system, and `kill_worker.json` is the worker's word to Harvester.
"""

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from threading import Event, Lock

from esfsm.adapters.communicators.access_point import AccessPoint
from esfsm.errors import UnusableInput, WireError
from esfsm.model.job import Job, JobKind
from esfsm.model.report import FINAL, Answer, ArchiveRecord, Booked, Grant, JobReport, Report
from esfsm.model.settings import Settings
from esfsm.wire.harvester import (
    ALIVE,
    Entry,
    Names,
    attributes,
    event_dump,
    event_request,
    is_whole,
    log_entry,
    marks,
    marks_in,
    output_entry,
    read_event_ranges,
    report_entries,
)
from esfsm.wire.panda.jobs import Consumer

__all__ = ["HarvesterCommunicator", "Patience", "access_point_of", "open_harvester"]


@dataclass(frozen=True, slots=True)
class Patience:
    """How often files are looked at, and for how long, in seconds.

    Harvester looks at a worker every 300 to 600 s and feeds event ranges every 60 s (its shipped configuration).
    """

    look_s: float = 5.0
    patience_s: float = 1800.0

    @property
    def looks(self) -> int:
        """How often that is, after the first look."""
        return ceil(self.patience_s / self.look_s)


def open_harvester(job: Job, settings: Settings, workdir: Path, run: str) -> "HarvesterCommunicator":
    """The communicator for a job that Harvester has given to this worker.

    Raises `UnusableInput` without an access point, without the numbers that PanDA knows the job by, for outputs that
    go where Harvester cannot take them from, and for event ranges where it can feed none.
    """
    directory = access_point_of(settings)
    if job.kind is JobKind.EVENTSERVICE and (job.task_id is None or job.jobset_id is None):
        raise UnusableInput("Harvester gives no event ranges to a job without taskID and jobsetID")
    for rse in settings.destinations(workdir):
        if _local(rse.url) is None:
            why = f"Harvester stages out from directories that it shares with the worker, not from {rse.url}"
            raise UnusableInput(why)
    names = Names()
    own = directory / str(job.panda_id)
    shared = any((own / name).is_file() for name in names.jobs)  # map type ManyToOne: a directory a job
    if shared and job.kind is JobKind.EVENTSERVICE:
        raise UnusableInput("Harvester feeds no event ranges to a worker with several jobs (map type ManyToOne)")
    cores = settings.cores or job.core_count
    numbers = (job.panda_id, job.jobset_id or 0, job.task_id or 0, job.attempt_nr)
    return HarvesterCommunicator(
        Consumer(*numbers, settings.queue or "", socket.gethostname(), cores),
        AccessPoint(directory, run),
        AccessPoint(own if shared else directory, run),
        AccessPoint(workdir, run),
        Patience(settings.harvester_look_s, settings.harvester_patience_s),
    )


def access_point_of(settings: Settings) -> Path:
    """The directory that the settings name. Raises `UnusableInput`."""
    directory = settings.access_point
    if directory is None or not directory.is_dir():
        raise UnusableInput("Harvester speaks by files: give their directory with --set access_point=DIRECTORY")
    return directory.absolute()


class HarvesterCommunicator:
    """One job's word with Harvester. Any thread may use it; what waits for Harvester ends when it is closed."""

    def __init__(
        self,
        consumer: Consumer,
        worker: AccessPoint,
        job: AccessPoint,
        payload: AccessPoint,
        patience: Patience | None = None,
        pause: Callable[[float], object] | None = None,
        names: Names | None = None,
    ) -> None:
        """Where what concerns the worker, and the job, is put: mostly one directory; and where the payload runs.

        `pause` is called between two looks, with the seconds until the next one.
        """
        self._consumer, self._worker, self._job, self._payload = consumer, worker, job, payload
        self._patience, self._names = patience or Patience(), names or Names()
        self._closed = Event()
        self._pause = pause or self._closed.wait
        self._asking, self._dumping, self._joining = Lock(), Lock(), Lock()
        self._waiting: dict[frozenset[str], tuple[Entry, ...]] = {}
        """By their marks, what threads want to have in a dump."""
        self._heard: set[str] = set()
        """Acknowledged dumps that have been read."""
        self._acknowledged: set[str] = set()
        """The marks in them."""

    def join(self) -> None:
        """Harvester knows the jobs that it has given."""

    def get_event_ranges(self, n: int, request: str) -> Grant:
        """At most `n` ranges, or those that a dead engine asked for; the same `request` again gets the same.

        Harvester does not know whether there are no more.
        """
        taken = self._names.taken(self._consumer.panda_id, request)
        asked = 0
        with self._asking:
            for _ in self._looks("given event ranges"):
                # In this order: the feed is there before the request goes. A request beside a feed would undo it.
                pending = self._worker.holds(self._names.event_request)
                if not pending:
                    self._take_feed(taken)
                feed = self._worker.read(taken)
                if feed is not None and is_whole(feed):
                    return Grant(read_event_ranges(feed).get(self._consumer.panda_id, ()))
                if pending or feed is not None or self._worker.holds(self._names.event_ranges):
                    continue
                if asked > 1:  # one look more than needed, as some file systems show a new name late
                    raise WireError("Harvester took the request for event ranges away and gave none")
                if not asked:
                    self._worker.put(self._names.event_request, event_request(self._consumer, n))
                asked += 1
        raise AssertionError("looks end with an error")

    def update_event_ranges(self, report: Report) -> Answer:
        """Book a report: it is accepted when it is in Harvester's books; PanDA is told by Harvester, later."""
        path = "" if report.archive is None else str(_place(report.archive))
        self._deliver(report_entries(report, path))
        return Answer(accepted=report.event_range_ids)

    def update_job(self, report: JobReport) -> None:
        """Say how the job stands; before its end is told, its outputs are in Harvester's books."""
        if report.state in FINAL:
            if report.outputs:
                self._deliver(
                    tuple(_output(lfn, said, is_log=lfn == report.log) for lfn, said in report.outputs.items())
                )
            self._pass_on_job_report()
        self._job.put(self._names.attributes, attributes(self._consumer, report))
        self._worker.put(self._names.heartbeat, ALIVE)

    @property
    def waiting(self) -> int:
        """How many reports are not acknowledged yet."""
        with self._joining:
            return len(self._waiting)

    def booked(self) -> Mapping[str, Booked] | None:
        """Nobody can say."""
        return None

    def close(self) -> None:
        """Wait for nothing any more."""
        self._closed.set()

    def _looks(self, what: str) -> Iterator[None]:
        """Now, and again and again. Raises `WireError` when patience, or the communicator, has come to its end."""
        for pauses in range(self._patience.looks + 1):
            if pauses:
                self._pause(self._patience.look_s)
            if self._closed.is_set():
                raise WireError(f"closed before Harvester had {what}")
            yield
        raise WireError(f"Harvester has not {what} within {self._patience.patience_s:g} s")

    def _take_feed(self, taken: str) -> None:
        """Make what lies there for this job the answer to a request, if that has none."""
        if self._worker.holds(taken):
            return
        mine = self._consumer.panda_id
        feed = self._worker.read(self._names.event_ranges)
        if feed is not None and is_whole(feed):
            jobs = read_event_ranges(feed)
            self._worker.rename(self._names.event_ranges, self._names.fed(mine if mine in jobs else next(iter(jobs))))
        self._worker.rename(self._names.fed(mine), taken)

    def _deliver(self, entries: tuple[Entry, ...]) -> None:
        """Return when they are in Harvester's books. What several threads have for it goes into one dump."""
        mine = marks(entries)
        with self._joining:
            self._waiting[mine] = entries
        try:
            with self._dumping:
                for _ in self._looks("acknowledged a report"):
                    # In this order, in which a dump takes its names: so none that was put is missed.
                    pending = self._job.holds(self._names.event_dump) or self._job.holds(self._names.read_dump)
                    self._hear()
                    if mine <= self._acknowledged:
                        return
                    if not pending:
                        self._put_dump()
        finally:
            with self._joining:
                self._waiting.pop(mine, None)

    def _hear(self) -> None:
        """Read what Harvester has acknowledged since."""
        for name in self._job.names(f"{self._names.read_dump}.") - self._heard:
            self._acknowledged |= marks_in(self._job.read(name) or b"", self._consumer.panda_id)
            self._heard.add(name)

    def _put_dump(self) -> None:
        with self._joining:
            waiting = list(self._waiting.items())
        entries = [entry for known, said in waiting if not known <= self._acknowledged for entry in said]
        self._job.put(self._names.event_dump, event_dump(self._consumer.panda_id, entries))

    def _pass_on_job_report(self) -> None:
        """Harvester adds it to what it tells PanDA, and passes over one that it cannot read."""
        report = self._payload.read(self._names.job_report)
        if report is not None and self._payload.directory.resolve() != self._job.directory.resolve():
            self._job.put(self._names.job_report, report)


def _local(url: str) -> Path | None:
    """The path that a URL, or a path, names on this host; None for one elsewhere."""
    if "://" in url and not url.startswith("file://"):
        return None
    return Path(url.removeprefix("file://")).absolute()


def _place(archive: ArchiveRecord) -> Path:
    """Where an archive lies. Raises `WireError` where that is not it: Harvester would believe in it unseen."""
    path = _local(archive.url)
    with suppress(OSError):
        if path is not None and path.stat().st_size == archive.size_bytes:
            return path
    raise WireError(f"archive {archive.lfn} is not at {archive.url!r}, from where Harvester is to take it")


def _output(lfn: str, said: Mapping[str, object], *, is_log: bool) -> Entry:
    """One output of a job, or its log; `said`: its fsize, adler32, surl and, of a log, guid."""
    match said:
        case {"fsize": int(size_bytes), "adler32": str(adler32), "surl": str(url)} if path := _local(url):
            if is_log:
                return log_entry(str(path), size_bytes, adler32, str(said["guid"]))
            return output_entry(str(path), size_bytes, adler32)
    raise WireError(f"output {lfn} is not where Harvester could take it from")
