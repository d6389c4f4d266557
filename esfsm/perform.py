"""One action, one adapter call, one fact. Here are the only pools of threads, and the only `except Exception`.

Expected trouble becomes the fact that the action may be answered by; what nobody foresaw becomes `action_broke`.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

from loguru import logger

from esfsm import plugins
from esfsm.core import actions as a
from esfsm.core import facts as f
from esfsm.core.classify import classify, select_executor
from esfsm.errors import EsfsmError, PilotErrorCode, UnusableInput, WireError
from esfsm.inbox import Inbox
from esfsm.model.job import Job, JobKind
from esfsm.model.report import JobReport
from esfsm.model.settings import Settings
from esfsm.ports import Communicator, Executor, ProcessIdentity, Running
from esfsm.transfers import Transfers

__all__ = ["Performer"]

THREADS = 8
"""Packing and stores that go on at the same time beside the payload: they wait for disks and wires, not for cores."""
TALKS = 2
"""Words with the server at the same time; they never wait for a store."""
END_PATIENCE_S = 15.0
"""How long a payload may take to end when its engine ends; executors kill what SIGTERM does not end before."""


class Performer:
    """Does what the core asks for, for one job; whatever comes of it is put into the inbox."""

    def __init__(self, job: Job, workdir: Path, settings: Settings, said_by: Mapping[str, str], run: str, inbox: Inbox):
        self._job, self._workdir, self._settings, self._said_by, self._run = job, workdir, settings, said_by, run
        self._inbox = inbox
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="perform")
        self._talk = ThreadPoolExecutor(TALKS, thread_name_prefix="server")
        self._payloads: dict[int, Future[Running]] = {}
        """By the number of the action; a future, as what is said to a payload may come before it has started."""
        self._lock = Lock()
        self._transfers = transfers = Transfers(job, workdir, settings)
        self._hands: dict[type[a.Action], Callable[..., f.Fact | None]] = {
            a.ClassifyJob: lambda _: classify(job),
            a.SelectExecutor: self._select_executor,
            a.StageIn: lambda _: transfers.stage_in(),
            a.UnpackArchives: lambda _: transfers.unpack_archives(),
            a.ProveMerge: lambda _: transfers.prove_merge(),
            a.PackOutputs: transfers.pack_outputs,
            a.StoreArchive: transfers.store_archive,
            a.StageOut: lambda _: transfers.stage_out(),
            a.RunPayload: self._run_payload,
            a.RunEsPayload: self._run_payload,
            a.RequestRanges: self._request_ranges,
            a.ReportRanges: self._report_ranges,
            a.ReportJob: self._report_job,
        }

    def start(self, action: a.Action) -> None:
        """Begin an action; returns at once."""
        match action:
            case a.Note():
                self._inbox.put_now(replace(action.fact, answers=action.number))
            case a.SetAlarm():
                self._inbox.set_alarm(action.when, action.number)
            case a.StockRanges():
                self._tell_payloads(lambda running: running.stock(action.event_ranges, action.last))
            case a.Stop():
                self._tell_payloads(lambda running: running.stop(action.grace_s), action.target)
            case _:
                if isinstance(action, a.RunPayload | a.RunEsPayload):
                    self._payloads[action.number] = Future()
                talks = isinstance(action, a.RequestRanges | a.ReportRanges | a.ReportJob)
                (self._talk if talks else self._pool).submit(self._perform, action)

    def open(self) -> None:
        """Make sure that what will be needed is there. Raises `UnusableInput`, or `WireError` of the broker."""
        plugins.find("channels", self._settings.channel)
        self._transfers.check()
        if self._job.kind is JobKind.EVENTSERVICE:
            self._open_communicator()

    def end_orphans(self) -> None:
        """End the payload of an engine of this run that has died."""
        try:
            found = self._executor.end_orphan(self._run)
        except UnusableInput:
            return  # an executor that is not here has started nothing here; its state says so
        if found:
            logger.info("ended the payload of an engine that has died")

    def close(self) -> None:
        """End whatever still runs, and let go of everything. What was not told by now will not be."""
        self._inbox.close()
        self._tell_payloads(lambda running: running.stop(0.0))
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._talk.shutdown(wait=True, cancel_futures=True)
        for payload in self._payloads.values():
            if payload.done() and not payload.result().wait(END_PATIENCE_S):
                logger.warning("a payload did not end within {} s", END_PATIENCE_S)
        if "_communicator" in self.__dict__:
            self._communicator.close()

    def _tell_payloads(self, say: Callable[[Running], None], number: int | None = None) -> None:
        """Say something to all payloads or to one: now, or as soon as it has started."""
        for payload in [self._payloads[n] for n in self._payloads if number in (n, None)]:
            payload.add_done_callback(lambda started: say(started.result()))

    def _perform(self, action: a.Action) -> None:
        try:
            fact = self._hands[type(action)](action)
        except EsfsmError as error:
            fact = f.ActionBroke(error_code=error.pilot_error_code, why=str(error))
        except Exception as error:  # noqa: BLE001 - the one place, as the first lines say
            logger.exception("{} broke", a.gist(action))
            fact = f.ActionBroke(error_code=PilotErrorCode.UNKNOWNEXCEPTION, why=f"{type(error).__name__}: {error}")
        if fact is not None:
            self._inbox.put(replace(fact, answers=action.number))

    @cached_property
    def _communicator(self) -> Communicator:
        open_communicator = plugins.find("communicators", self._settings.communicator)
        communicator: Communicator = open_communicator(self._job, self._settings, self._workdir, self._run)
        return communicator

    @cached_property
    def _executor(self) -> Executor:
        """Where payloads run."""
        executor: Executor = plugins.find("executors", self._settings.executor_type)(
            self._settings, plugins.find("channels", self._settings.channel)
        )
        return executor

    def _select_executor(self, _: a.SelectExecutor) -> f.Fact:
        try:
            plugins.find("executors", self._settings.executor_type)
            plugins.find("payloads", self._job.kind.value)
        except UnusableInput as error:
            return f.ExecutorUnavailable(why=str(error))
        return select_executor(self._job, self._settings, self._said_by)

    def _open_communicator(self) -> Communicator:
        """One, whichever thread asks first."""
        with self._lock:
            return self._communicator

    def _run_payload(self, action: a.Action) -> f.Fact | None:
        """Start the payload; its hooks tell the rest."""
        prepare = plugins.find("payloads", self._job.kind.value).prepare
        try:
            payload = prepare(self._job, self._workdir, self._settings)
        except UnusableInput as error:
            return f.PayloadFailed(exit_code=-1, error_code=PilotErrorCode.PAYLOADEXECUTIONEXCEPTION, why=str(error))
        payload = payload._replace(mark=self._run)
        hooks = _Hooks(action.number, self._inbox, self._workdir)
        event_service = isinstance(action, a.RunEsPayload)
        if event_service:
            self._say_running()
        running = self._executor.start(payload, hooks, event_service=event_service)
        self._payloads[action.number].set_result(running)
        return None

    def _say_running(self) -> None:
        """A heartbeat may be lost; a command that answers it may not."""
        try:
            command = self._open_communicator().update_job(JobReport("running"))
        except WireError as error:
            logger.warning("the server was not told that the job runs: {}", error)
            return
        if command in ("tobekilled", "softkill"):
            self._inbox.put(f.Preempted(why=f"the server says {command}"))

    def _request_ranges(self, action: a.RequestRanges) -> f.Fact:
        try:
            grant = self._open_communicator().get_event_ranges(action.n, f"{self._run}.{action.request}")
        except WireError as error:
            return f.RequestUnanswered(why=str(error))
        if not grant.event_ranges and grant.exhausted:
            return f.RangesExhausted()
        return f.RangesGranted(event_ranges=tuple(grant.event_ranges), exhausted=grant.exhausted, total=grant.total)

    def _report_ranges(self, action: a.ReportRanges) -> f.Fact:
        try:
            answer = self._open_communicator().update_event_ranges(action.report)
        except WireError as error:
            return f.ReportUnanswered(why=str(error))
        return f.RangesAcknowledged(refused=answer.refused, why=answer.why)

    def _report_job(self, action: a.ReportJob) -> f.Fact:
        if self._job.kind is not JobKind.EVENTSERVICE and self._settings.communicator == "local":
            return f.JobReported()  # the local broker knows event ranges only
        try:
            return f.JobReported(command=self._open_communicator().update_job(action.report))
        except (WireError, UnusableInput) as error:
            return f.JobUnreported(why=str(error))


class _Hooks:
    """What an executor tells, as facts that answer the action that began the payload."""

    def __init__(self, number: int, inbox: Inbox, workdir: Path) -> None:
        self._number, self._inbox, self._workdir = number, inbox, workdir

    def _tell(self, fact: type[f.Fact], **content: Any) -> None:
        self._inbox.put(fact(answers=self._number, **content))

    def payload_started(self, identity: ProcessIdentity) -> None:
        self._tell(f.PayloadStarted, pid=identity.pid, started=identity.started)

    def ranges_wanted(self, n: int) -> None:
        self._tell(f.RangesWanted, n=n)

    def ranges_sent(self, event_range_ids: Sequence[str]) -> None:
        self._tell(f.RangesSent, event_range_ids=tuple(event_range_ids))

    def output_produced(self, event_range_id: str, paths: Sequence[str], cpu_s: float, wall_s: float) -> None:
        """What is announced and not there is a failed range, not an output."""
        files = [self._workdir / path for path in paths]
        try:
            seen = [file.stat() for file in files]
        except (OSError, ValueError) as error:
            why = f"the output that the payload announced is not there: {error}"
            self._tell(
                f.RangeErrored, event_range_id=event_range_id, error_code=PilotErrorCode.MISSINGOUTPUTFILE, why=why
            )
            return
        told = tuple(
            str(file.relative_to(self._workdir) if file.is_relative_to(self._workdir) else file) for file in files
        )
        content = {"event_range_id": event_range_id, "paths": told, "stamps": tuple(stat.st_mtime_ns for stat in seen)}
        size_bytes = sum(stat.st_size for stat in seen)
        self._tell(f.OutputProduced, **content, size_bytes=size_bytes, cpu_s=cpu_s, wall_s=wall_s)

    def range_errored(self, event_range_id: str, why: str) -> None:
        self._tell(f.RangeErrored, event_range_id=event_range_id, why=why)

    def message_unreadable(self, text: str, why: str) -> None:
        self._tell(f.MessageUnreadable, text=text, why=why)

    def payload_ended(self, exit_code: int, error_code: int, why: str) -> None:
        if error_code:
            self._tell(f.PayloadFailed, exit_code=exit_code, error_code=error_code, why=why)
        else:
            self._tell(f.PayloadFinished, exit_code=exit_code)
