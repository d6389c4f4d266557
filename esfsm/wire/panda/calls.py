"""How each call is made: verb, path, headers and body, for both generations of servers.

The newer one takes only `Accept` and `Content-Type` that are exactly `application/json`, and numbers that are whole
numbers of JSON; the older one takes a form, and answers one unless JSON is accepted (panda-server 0.8.1 and 1.0.4).
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple, Protocol
from urllib.parse import quote, urlencode

import orjson

from esfsm.model.report import FINAL, JobReport, Report
from esfsm.wire.panda.jobs import Consumer, heartbeat
from esfsm.wire.panda.ranges import range_updates, update_version

__all__ = ["GENERATIONS", "LEGACY_NAMES", "V1", "Call", "Generation", "Legacy", "Reply"]

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"

LEGACY_NAMES = {
    "job_id": "jobId",
    "job_status": "state",
    "attempt_nr": "attemptNr",
    "site_name": "siteName",
    "n_events": "nEvents",
    "core_count": "coreCount",
    "cpu_consumption_time": "cpuConsumptionTime",
    "job_metrics": "jobMetrics",
    "pilot_error_code": "pilotErrorCode",
    "pilot_error_diag": "pilotErrorDiag",
    "trans_exit_code": "transExitCode",
}
"""What the older generation calls the parts of a heartbeat, where it is not the same."""
LEGACY_QUERY = {
    "site_name": "siteName",
    "prod_source_label": "prodSourceLabel",
    "computing_element": "computingElement",
    "disk_space": "diskSpace",
    "memory": "mem",
    "resource_type": "resourceType",
    "task_id": "taskID",
    "n_jobs": "nJobs",
}
"""... and of a request for jobs."""


class Call(NamedTuple):
    """One request, whatever carries it. The path has its query."""

    verb: Literal["GET", "POST"]
    path: str
    headers: Mapping[str, str]
    body: bytes = b""


class Reply(NamedTuple):
    """What came back: the HTTP status, and the body."""

    status: int
    body: bytes


class Generation(Protocol):
    """One generation of servers: how it is asked."""

    name: str

    def acquire_jobs(self, query: Mapping[str, str | int]) -> Call:
        """Ask for jobs; `query` by the names of `/api/v1`: site_name, prod_source_label, n_jobs, memory (MB), .."""
        ...

    def acquire_event_ranges(self, consumer: Consumer, n: int) -> Call:
        """Ask for at most `n` event ranges."""
        ...

    def update_event_ranges(self, report: Report) -> Call:
        """Report event ranges."""
        ...

    def event_range_statuses(self, consumer: Consumer) -> Call | None:
        """Ask for the server's books about the job; None where they are closed."""
        ...

    def update_job(self, consumer: Consumer, report: JobReport) -> Call:
        """A heartbeat, or the final report."""
        ...


class Legacy:
    """`/server/panda/*`: servers up to 0.8.1."""

    name = "legacy"

    def acquire_jobs(self, query: Mapping[str, str | int]) -> Call:
        """getJob."""
        return self._form("getJob", {LEGACY_QUERY.get(key, key): value for key, value in query.items()})

    def acquire_event_ranges(self, consumer: Consumer, n: int) -> Call:
        """getEventRanges."""
        numbers = {"pandaID": consumer.panda_id, "jobsetID": consumer.jobset_id, "taskID": consumer.task_id}
        return self._form("getEventRanges", {**numbers, "nRanges": n})

    def update_event_ranges(self, report: Report) -> Call:
        """updateEventRanges."""
        said = {"eventRanges": _text(range_updates(report)), "version": update_version(report)}
        return self._form("updateEventRanges", said)

    def event_range_statuses(self, consumer: Consumer) -> Call | None:
        """Nobody has seen an old server open its books."""
        return None

    def update_job(self, consumer: Consumer, report: JobReport) -> Call:
        """updateJob."""
        said = {LEGACY_NAMES.get(name, name): value for name, value in heartbeat(consumer, report).items()}
        if report.state in FINAL:
            said["xml"] = _text(report.outputs)
        return self._form("updateJob", said)

    @staticmethod
    def _form(method: str, arguments: Mapping[str, object]) -> Call:
        headers = {"Accept": JSON, "Content-Type": FORM}
        return Call("POST", f"/server/panda/{method}", headers, urlencode(arguments).encode())


class V1:
    """`/api/v1`: servers from 0.8 on; the only way from 1.0 on."""

    name = "v1"

    def acquire_jobs(self, query: Mapping[str, str | int]) -> Call:
        """pilot/acquire_jobs."""
        return self._post("pilot/acquire_jobs", query)

    def acquire_event_ranges(self, consumer: Consumer, n: int) -> Call:
        """event/acquire_event_ranges."""
        numbers = {"job_id": consumer.panda_id, "jobset_id": consumer.jobset_id, "task_id": consumer.task_id}
        return self._post("event/acquire_event_ranges", {**numbers, "n_ranges": n})

    def update_event_ranges(self, report: Report) -> Call:
        """event/update_event_ranges. Its reply was only ever seen to be 500, with all stored."""
        said = {"event_ranges": _text(range_updates(report)), "version": update_version(report)}
        return self._post("event/update_event_ranges", said)

    def event_range_statuses(self, consumer: Consumer) -> Call | None:
        """event/get_event_range_statuses; the key is panda_id, though job_id is documented."""
        jobs = quote(_text([{"task_id": consumer.task_id, "panda_id": consumer.panda_id}]), safe="")
        return Call("GET", f"/api/v1/event/get_event_range_statuses?job_task_ids={jobs}", {"Accept": JSON})

    def update_job(self, consumer: Consumer, report: JobReport) -> Call:
        """pilot/update_job."""
        said = heartbeat(consumer, report)
        if report.state in FINAL:
            said["job_output_report"] = _text(report.outputs)
        return self._post("pilot/update_job", said)

    @staticmethod
    def _post(method: str, arguments: Mapping[str, object]) -> Call:
        return Call("POST", f"/api/v1/{method}", {"Accept": JSON, "Content-Type": JSON}, orjson.dumps(arguments))


GENERATIONS: tuple[Generation, ...] = (Legacy(), V1())
"""In the order in which they are tried: where both are, the older one says what became of a report."""


def _text(value: object) -> str:
    return orjson.dumps(value).decode()
