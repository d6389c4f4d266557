"""One action, one adapter call, one fact. What nobody foresaw ends here.

Expected trouble becomes the fact that the action may be answered by, any other exception becomes `action_broke`.
"""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from threading import Lock

from loguru import logger

from esfsm.core import actions as a
from esfsm.core import facts as f
from esfsm.core.ledger import Ledger
from esfsm.equipment import Equipment
from esfsm.errors import EsfsmError, PilotErrorCode, UnusableInput, WireError
from esfsm.hooks import FactHooks
from esfsm.inbox import Inbox
from esfsm.model.report import KILL, SOFT_KILL, JobReport
from esfsm.pools import Pools, threads
from esfsm.ports import Orphan, ProcessIdentity, Running

__all__ = ["Performer"]

END_PATIENCE_S = 15.0
"""How long a payload may take to end when its engine ends; executors kill what SIGTERM does not end before."""
STOPS = {KILL: f.JobKilled, SOFT_KILL: f.Preempted}
"""What a command of the server is to the job."""


class Performer:
    """Does what the core asks for, for one job; whatever comes of it is put into the inbox."""

    def __init__(self, equipment: Equipment, inbox: Inbox, pools: Pools | None = None) -> None:
        self._tools, self._inbox = equipment, inbox
        self._pool, self._talk = pools or threads()
        self._payloads: dict[int, Future[Running]] = {}
        """By the number of the action; a future, as what is said to a payload may come before it has started."""
        self._adopted: set[int] = set()
        self._telling = Lock()
        self._obeyed: dict[str, object] = {}
        """Commands of the server that were made facts."""
        transfers = equipment.transfers
        self._hands: dict[type[a.Action], Callable[..., f.Fact | None]] = {
            a.ClassifyJob: lambda _: equipment.classify(),
            a.SelectExecutor: lambda _: equipment.select_executor(),
            a.StageIn: lambda _: transfers.stage_in(),
            a.UnpackArchives: lambda _: transfers.unpack_archives(),
            a.ProveMerge: lambda _: transfers.prove_merge(),
            a.MeasureResources: self._measure_resources,
            a.PackOutputs: transfers.pack_outputs,
            a.StoreArchive: transfers.store_archive,
            a.RemoveFiles: transfers.remove_files,
            a.PackLog: transfers.pack_log,
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
            case a.RunPayload() | a.RunEsPayload() if action.number in self._adopted:
                self._adopted.remove(action.number)  # it runs; if it is lost, the action is begun once more
            case _:
                if isinstance(action, a.RunPayload | a.RunEsPayload):
                    self._tell_payloads(lambda running: running.stop(0.0), action.number)  # one that is lost
                    self._payloads[action.number] = Future()
                talks = isinstance(action, a.RequestRanges | a.ReportRanges | a.ReportJob)
                (self._talk if talks else self._pool).submit(self._perform, action)

    def adopt(self, started: f.PayloadStarted, ledger: Ledger) -> bool:
        """Take over a payload that outlived its engine, with the ranges that it has; False if that cannot be."""
        identity = ProcessIdentity(started.pid, started.started)
        orphan = Orphan(identity, started.channel, ledger.waiting("running"), ledger.queue())
        try:
            payload = self._tools.prepare_payload()
            running = self._tools.executor.adopt(orphan, payload, self._hooks(started.answers))
        except UnusableInput:
            return False
        if running is None:
            return False
        logger.info("adopted the payload of an engine that has died")
        self._payloads[started.answers] = Future()
        self._payloads[started.answers].set_result(running)
        self._adopted.add(started.answers)
        return True

    def end_orphans(self, started: f.PayloadStarted | None) -> None:
        """End the payload of an engine that has died in this work directory; `started`: as the journal has it."""
        identity = ProcessIdentity(started.pid, started.started) if started else None
        try:
            found = self._tools.executor.end_orphan(self._tools.mark, self._tools.workdir, identity)
        except UnusableInput:
            return  # an executor that is not here has started nothing here; its state says so
        if found:
            logger.info("ended the payload of an engine that has died")

    def close(self) -> None:
        """End whatever still runs. What was not told by now will not be."""
        self._inbox.close()
        self._tell_payloads(lambda running: running.stop(0.0))
        self._pool.close()
        self._tools.close()  # whoever waits for an answer need not wait any more
        self._talk.close()
        for payload in self._payloads.values():
            if payload.done() and not payload.result().wait(END_PATIENCE_S):
                logger.warning("a payload did not end within {} s", END_PATIENCE_S)

    def _hooks(self, number: int) -> FactHooks:
        return FactHooks(number, self._inbox.put, self._tools.find)

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

    def _run_payload(self, action: a.Action) -> f.Fact | None:
        """Start the payload; its hooks tell the rest."""
        try:
            payload = self._tools.prepare_payload()
        except UnusableInput as error:
            return f.PayloadFailed(exit_code=None, error_code=PilotErrorCode.PAYLOADEXECUTIONEXCEPTION, why=str(error))
        hooks = self._hooks(action.number)
        running = self._tools.executor.start(payload, hooks, event_service=isinstance(action, a.RunEsPayload))
        self._payloads[action.number].set_result(running)
        return None

    def say(self, report: JobReport) -> str | None:
        """A heartbeat: it may be lost; a command that answers it may not. Returns that."""
        try:
            with self._telling:
                command = self._tools.communicator.update_job(report)
        except (WireError, UnusableInput) as error:
            logger.warning("the server was not told that the job is {}: {}", report.state, error)
            return None
        self._obey(command)
        return command

    def _obey(self, command: str | None) -> None:
        """A command that ends the job is one fact, however many replies carry it."""
        new = object()
        if command in STOPS and self._obeyed.setdefault(command, new) is new:
            self._inbox.put(STOPS[command](why=f"the server says {command}"))

    def _measure_resources(self, action: a.MeasureResources) -> f.Fact:
        measured = self._tools.measure(ProcessIdentity(action.pid, action.started))
        self._tools.executor.put_logs_aside(self._tools.workdir)
        return f.ResourcesMeasured(resources=measured)

    def _request_ranges(self, action: a.RequestRanges) -> f.Fact:
        try:
            grant = self._tools.communicator.get_event_ranges(action.n, f"{self._tools.run}.{action.request}")
        except WireError as error:
            return f.RequestUnanswered(why=str(error))
        if not grant.event_ranges and grant.exhausted:
            return f.RangesExhausted()
        return f.RangesGranted(event_ranges=tuple(grant.event_ranges), exhausted=grant.exhausted, total=grant.total)

    def _report_ranges(self, action: a.ReportRanges) -> f.Fact:
        try:
            answer = self._tools.communicator.update_event_ranges(action.report)
        except WireError as error:
            return f.ReportUnanswered(why=str(error))
        self._obey(answer.command)
        heard = {*answer.accepted, *answer.refused, *answer.doubted}
        unheard = tuple(i for i in action.report.event_range_ids if i not in heard)
        return f.RangesAcknowledged(refused=answer.refused, doubted=answer.doubted, unheard=unheard, why=answer.why)

    def _report_job(self, action: a.ReportJob) -> f.Fact:
        if not self._tools.books_jobs:
            return f.JobReported()
        try:
            with self._telling:  # a heartbeat that came later would contradict it
                return f.JobReported(command=self._tools.communicator.update_job(action.report))
        except (WireError, UnusableInput) as error:
            return f.JobUnreported(why=str(error))
