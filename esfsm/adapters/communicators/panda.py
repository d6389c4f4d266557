"""PanDA: asks a server of either generation; where a reply leaves a doubt, it looks into the books."""

import socket
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from esfsm.adapters.communicators.server import PandaServer, body_of, is_of_the_other_generation
from esfsm.errors import UnusableInput, WireError
from esfsm.model.job import Job, JobKind
from esfsm.model.report import FINAL, KILL, Answer, Booked, Grant, JobReport, Report
from esfsm.model.settings import Settings
from esfsm.wire.panda.calls import V1
from esfsm.wire.panda.jobs import Consumer, read_job_answer
from esfsm.wire.panda.ranges import read_command, read_grant, read_statuses, read_update, settle

__all__ = ["PandaCommunicator", "open_panda"]


def open_panda(job: Job, settings: Settings, workdir: Path, run: str) -> "PandaCommunicator":
    """The communicator for a job that PanDA has sent, at the server that the settings name.

    Raises `UnusableInput` for a job without the numbers that PanDA knows it by, for what is no server, and where we are
    nobody.
    """
    if job.kind is JobKind.EVENTSERVICE and (job.task_id is None or job.jobset_id is None):
        raise UnusableInput("PanDA gives no event ranges to a job without taskID and jobsetID")
    consumer = Consumer(
        job.panda_id,
        job.jobset_id or 0,
        job.task_id or 0,
        job.attempt_nr,
        settings.queue or "",
        socket.gethostname(),
        settings.cores or job.core_count,
    )
    return PandaCommunicator(consumer, PandaServer.open(settings))


class PandaCommunicator:
    """One job's word with the server. Any thread may use it."""

    def __init__(self, consumer: Consumer, server: PandaServer) -> None:
        self._consumer = consumer
        self._call, self._ask, self.close = server.call, server.ask, server.close
        self._books_are_open = True
        self._last: Report | None = None
        """A report that the server has taken."""

    def join(self) -> None:
        """The server knows a job that it has sent."""

    def get_event_ranges(self, n: int, request: str) -> Grant:
        """At most `n` ranges. The server does not know requests, and never whether there are no more."""
        return Grant(self._call(lambda generation: generation.acquire_event_ranges(self._consumer, n), read_grant))

    def update_event_ranges(self, report: Report) -> Answer:
        """Book a report; what the reply leaves open is looked up in the books, where they are open."""
        command = None

        def read(reply: bytes) -> Answer:
            nonlocal command
            command = self._command_in(reply)
            return read_update(reply, report.event_range_ids)

        try:
            answer = self._call(lambda generation: generation.update_event_ranges(report), read)
        except WireError:
            booked = self.booked()
            if booked is None:
                raise
            answer = settle(report, booked)
        else:
            booked = self.booked() if answer.doubted else None
            answer = answer if booked is None else settle(report, booked)
        self._last = report if answer.accepted else self._last
        return replace(answer, command=command)

    def update_job(self, report: JobReport) -> str | None:
        """A heartbeat, or the final report."""
        command = self._call(lambda generation: generation.update_job(self._consumer, report), read_job_answer)
        return self._which_kill() if command == KILL and report.state not in FINAL else command

    def _which_kill(self) -> str:
        """A heartbeat is told `tobekilled` of either kill; only the reply to a report tells a soft one.

        So a report that was taken is made once more, which changes nothing (seen at panda-server 0.8.1).
        """
        report = self._last
        command = None
        if report is not None:
            with suppress(WireError):
                command = self._call(
                    lambda generation: generation.update_event_ranges(report),
                    lambda reply: read_command(reply, self._consumer.panda_id),
                )
        return command or KILL

    def booked(self) -> dict[str, Booked] | None:
        """What the server has of this job; None where its books are closed: the older servers have none to show."""
        call = V1().event_range_statuses(self._consumer)
        if not self._books_are_open or call is None:
            return None
        reply = self._ask(call)
        if is_of_the_other_generation(reply):
            self._books_are_open = False
            return None
        return read_statuses(body_of(reply), self._consumer.panda_id)

    def _command_in(self, reply: bytes) -> str | None:
        """What the server wants of the job; a reply from which that cannot be read says nothing about it."""
        try:
            return read_command(reply, self._consumer.panda_id)
        except WireError:
            return None
