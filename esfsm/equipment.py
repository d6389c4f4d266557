"""What one job works with: its communicator, executor, payload and transfers, found by the names in its settings."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from esfsm import plugins
from esfsm.core import facts as f
from esfsm.core.classify import classify, select_executor
from esfsm.errors import UnusableInput
from esfsm.model.job import Job, JobKind
from esfsm.model.resources import Resources
from esfsm.model.settings import Settings
from esfsm.ports import Communicator, Executor, Monitor, Notice, Payload, ProcessIdentity
from esfsm.transfers import OURS, Transfers

__all__ = ["Equipment", "SeenFile", "mark_of"]


class SeenFile(NamedTuple):
    """A file that is there: its name as the journal has it, size in bytes, when it was changed last (ns since 1970)."""

    name: str
    size_bytes: int
    stamp: int


def mark_of(workdir: Path) -> str:
    """By which the payloads of a work directory are known, wherever it is moved to; a copy of it has none of them.

    Raises OSError.
    """
    place = workdir.stat()
    return f"{place.st_dev:x}-{place.st_ino:x}"


class Equipment:
    """The tools of one job on this machine; each is made when it is first asked for."""

    def __init__(self, job: Job, workdir: Path, settings: Settings, said_by: Mapping[str, str], run: str) -> None:
        self.job, self.workdir, self.run = job, workdir, run
        self._settings, self._said_by = settings, said_by
        self._lock = Lock()
        self._opened: Communicator | None = None

    @cached_property
    def mark(self) -> str:
        """What the payloads of this work directory bear. Raises `UnusableInput`."""
        try:
            return mark_of(self.workdir)
        except OSError as error:
            raise UnusableInput(f"work directory {self.workdir}: {error.strerror}") from None

    @property
    def books_jobs(self) -> bool:
        """Whether the communicator is to hear how the job stands; the local broker knows event ranges only."""
        return self.job.kind is JobKind.EVENTSERVICE or self._settings.communicator != "local"

    @cached_property
    def transfers(self) -> Transfers:
        """Who moves files."""
        return Transfers(self.job, self.workdir, self._settings)

    @property
    def communicator(self) -> Communicator:
        """Whoever hands out event ranges: one, whichever thread asks first. Raises as its door says."""
        with self._lock:
            if self._opened is None:
                find = plugins.find("communicators", self._settings.communicator)
                self._opened = find(self.job, self._settings, self.workdir, self.run)
            return self._opened

    @cached_property
    def executor(self) -> Executor:
        """Where payloads run. Raises `UnusableInput`."""
        executor: Executor = plugins.find("executors", self._settings.executor_type)(
            self._settings, plugins.find("channels", self._settings.channel)
        )
        return executor

    def check(self, *, granted: str | None = None) -> None:
        """Make sure that what will be needed is there. Raises `UnusableInput`, or `WireError` of the broker.

        `granted`: an event range that the job has, if it has any; a server that does not know it is another one.
        """
        _ = self.mark  # it can be had now, or nothing is begun
        if granted is not None:
            plugins.find("executors", self._settings.executor_type)
            booked = self.communicator.booked()
            if booked is not None and granted not in booked:
                raise UnusableInput(f"the server does not know event range {granted} of this job: it is another one")
        plugins.find("channels", self._settings.channel)
        self.transfers.check()
        if self.job.kind is JobKind.EVENTSERVICE:
            self.communicator.join()

    def classify(self) -> f.Fact:
        """The kind of the job, or why it is none."""
        return classify(self.job)

    def select_executor(self) -> f.Fact:
        """Payload executor and executor type, or why there is none."""
        try:
            plugins.find("executors", self._settings.executor_type)
            plugins.find("payloads", self.job.kind.value)
        except UnusableInput as error:
            return f.ExecutorUnavailable(why=str(error))
        return select_executor(self.job, self._settings, self._said_by)

    def prepare_payload(self) -> Payload:
        """What is to be run, with the mark of this place. Raises `UnusableInput`."""
        prepare = plugins.find("payloads", self.job.kind.value).prepare
        try:
            payload: Payload = prepare(self.job, self.workdir, self._settings, self.mark)
        except OSError as error:
            raise UnusableInput(f"the payload cannot be prepared: {error.filename}: {error.strerror}") from None
        return payload

    @cached_property
    def notice(self) -> Notice | None:
        """Where it is told that this place will be taken away, if somebody said where. Raises `UnusableInput`."""
        said = self._settings.notice
        if said is None:
            return None
        scheme, separator, _ = said.partition("://")
        notice: Notice = plugins.find("notices", scheme if separator else "file")(said)
        return notice

    @cached_property
    def _monitors(self) -> list[Monitor]:
        names = plugins.names("monitors")
        return [plugins.find("monitors", name)(self._settings, self.workdir, OURS) for name in names]

    def measure(self, payload: ProcessIdentity) -> Resources:
        """What a payload and this machine use, as far as somebody can measure it."""
        measured = Resources()
        for monitor in self._monitors:
            measured |= monitor.measure(payload)
        return measured

    def find(self, path: str) -> SeenFile:
        """A file that the payload names. Raises OSError or ValueError where there is none."""
        file = self.workdir / path
        seen = file.stat()
        name = file.relative_to(self.workdir) if file.is_relative_to(self.workdir) else file
        return SeenFile(str(name), seen.st_size, seen.st_mtime_ns)

    def close(self) -> None:
        """Let go of connections."""
        with self._lock:
            if self._opened is not None:
                self._opened.close()
