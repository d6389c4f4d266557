"""The communicator `local`: an embedded broker in the place of a PanDA server.

Nothing to install and nothing to log in to: the ranges of a task lie in one SQLite file, and the jobs on this
host that name the same file share them, each range with one job at a time.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from threading import Lock

from esfsm.adapters.communicators import audit
from esfsm.adapters.communicators.broker import Broker, Consumer
from esfsm.adapters.communicators.supply import supply_of
from esfsm.errors import UnusableInput
from esfsm.model.job import Job
from esfsm.model.report import Answer, Booked, Grant, JobReport, Report
from esfsm.model.settings import Settings

__all__ = ["LocalCommunicator", "open_local"]


def open_local(job: Job, settings: Settings, workdir: Path, run: str) -> "LocalCommunicator":
    """Find the broker, and fill it if something is given and nobody did.

    The settings are events, events_per_range and max_attempt, or ranges; and broker, by default `broker.sqlite` in the
    work directory. Raises `UnusableInput` when they fit neither each other nor what the broker holds or its file cannot
    be used, its `UnreadableRanges` for a bad list, and `WireError` where the file is locked for too long.
    """
    path = settings.broker or workdir / "broker.sqlite"
    task_id = job.task_id or job.panda_id  # a job without a task is a task of its own
    supply = supply_of(job, settings)
    if supply is None and not audit.holds(path, task_id):
        raise _nothing_given(path, task_id)
    communicator = LocalCommunicator(path, task_id, job.panda_id, run)
    if supply is not None:
        with ExitStack() as undone:
            undone.callback(communicator.close)
            communicator.broker.fill(task_id, supply)
            undone.pop_all()
    return communicator


class LocalCommunicator:
    """The broker as one run of one job sees it; a `ports.Communicator`. It closes the broker when it is closed.

    The run begins to consume, under its name, with the first call that needs that: whoever only asks what is booked
    changes nothing.
    """

    def __init__(self, path: Path, task_id: int, panda_id: int, run: str) -> None:
        self._path, self._task_id, self._panda_id, self._run = path, task_id, panda_id, run
        self._lock = Lock()
        self._broker: Broker | None = None
        self._consumer: Consumer | None = None

    @property
    def broker(self) -> Broker:
        """The broker, open; whichever thread needs it first."""
        with self._lock:
            self._broker = self._broker or Broker(self._path)
            return self._broker

    def join(self) -> None:
        """This process consumes for the run from now on. Raises `UnusableInput` for a file that cannot be used."""
        self._joined()

    def get_event_ranges(self, n: int, request: str) -> Grant:
        """At most `n` ranges; the same `request` again gets the same, as far as they were not reported."""
        return replace(self.broker.grant(self._joined(), n, request), total=self._total)

    def update_event_ranges(self, report: Report) -> Answer:
        """Book a report. What is not this run's, or is booked with another final word, is refused."""
        return self.broker.book(self._joined(), report)

    def update_job(self, report: JobReport) -> str | None:
        """Say how the job stands; its end gives back what it still holds."""
        return self.broker.set_state(self._joined(), report.state)

    def booked(self) -> Mapping[str, Booked]:
        """How each attempt stands that any run of this job was ever handed out.

        Before this run has joined, a file that cannot be used is `UnusableInput`, and no `WireError`.
        """
        return audit.booked(self._path, self._task_id, self._panda_id, at_start=self._consumer is None)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if self._broker is not None:
                self._broker.close()

    def counts(self) -> dict[str, int]:
        """How many ranges of the task stand where, by PanDA's names: ready, sent, finished, ..."""
        return audit.counts(self.broker.database, self._task_id)

    def attempts(self) -> list[audit.Attempt]:
        """Every attempt at every range of the task."""
        return audit.attempts(self.broker.database, self._task_id)

    def _joined(self) -> Consumer:
        """This run; two threads may join at once, which is harmless."""
        if self._consumer is None:
            self._consumer = self.broker.join(self._task_id, self._panda_id, self._run)
        return self._consumer

    @cached_property
    def _total(self) -> int:
        """How many ranges the task has."""
        return sum(self.counts().values())


def _nothing_given(path: Path, task_id: int) -> UnusableInput:
    """The fault of a task that is not in the broker, and of settings that do not say what to fill it with."""
    return UnusableInput(
        f"broker {path} has no event ranges of task {task_id}: give the setting events (in each input file; "
        "see also events_per_range) or ranges (a JSON file with the list of them)"
    )
