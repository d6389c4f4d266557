"""The communicator `local`: an embedded broker in the place of a PanDA server.

Nothing to install and nothing to log in to: the ranges of a task lie in one SQLite file, and the jobs on this
host that name the same file share them, each range with one job at a time.
"""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from esfsm.adapters.communicators.audit import Attempt, attempts, counts
from esfsm.adapters.communicators.broker import Broker, Consumer, nothing_given
from esfsm.adapters.communicators.supply import supply_of
from esfsm.model.job import Job
from esfsm.model.report import Answer, Grant, JobReport, Report
from esfsm.model.settings import Settings

__all__ = ["LocalCommunicator", "open_local"]


def open_local(job: Job, settings: Settings, workdir: Path, run: str) -> "LocalCommunicator":
    """Open the broker, fill it if nobody did, and consume from it under the name of this run.

    The settings are events, events_per_range and max_attempt, or ranges; and broker, by default `broker.sqlite` in the
    work directory. Raises `UnusableInput` when they fit neither each other nor what the broker holds, its
    `UnreadableRanges` for a bad list, and `WireError` where the file is locked for too long.
    """
    path = settings.broker or workdir / "broker.sqlite"
    task_id = job.task_id or job.panda_id  # a job without a task is a task of its own
    supply = supply_of(job, settings)
    if supply is None and not path.exists():
        raise nothing_given(path, task_id)
    with ExitStack() as undone:
        broker = Broker(path)
        undone.callback(broker.close)
        broker.fill(task_id, supply)
        communicator = LocalCommunicator(broker, broker.join(task_id, job.panda_id, run))
        undone.pop_all()
    return communicator


class LocalCommunicator:
    """The broker as one run of one job sees it; a `ports.Communicator`. It closes the broker when it is closed."""

    def __init__(self, broker: Broker, consumer: Consumer) -> None:
        self.broker, self._consumer = broker, consumer
        self._total = sum(self.counts().values())

    def get_event_ranges(self, n: int, request: str) -> Grant:
        """At most `n` ranges; the same `request` again gets the same, as far as they were not reported."""
        return replace(self.broker.grant(self._consumer, n, request), total=self._total)

    def update_event_ranges(self, report: Report) -> Answer:
        """Book a report. What was not handed out to this run, or was taken back from it, is refused."""
        return self.broker.book(self._consumer, report)

    def update_job(self, report: JobReport) -> str | None:
        """Say how the job stands; its end gives back what it still holds."""
        return self.broker.set_state(self._consumer, report.state)

    def close(self) -> None:
        """Let go of the file."""
        self.broker.close()

    def counts(self) -> dict[str, int]:
        """How many ranges of the task stand where, by PanDA's names: ready, sent, finished, ..."""
        return counts(self.broker.database, self._consumer.task_id)

    def attempts(self) -> list[Attempt]:
        """Every attempt at every range of the task."""
        return attempts(self.broker.database, self._consumer.task_id)
