"""`/api/v1` as panda-server 1.0.4 speaks it: typed JSON in, an envelope of success, message and data back.

What goes wrong in a method is said in the envelope, with HTTP status 200; 403 is for methods that it does not have,
and 500 for what it did not foresee.
"""

import gzip
import json
import zlib
from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from esfsm.standins.panda.books import Books
from esfsm.standins.panda.envelope import (
    JSON,
    STATES,
    TEXT,
    Asked,
    Reply,
    Who,
    book,
    book_report,
    forbidden,
    form,
    mapping,
)
from esfsm.standins.panda.quirks import Luck
from esfsm.standins.panda.typed import Argument, check, maybe, maybe_text, maybe_whole, needed, text, whole
from esfsm.wire.panda.calls import Call

__all__ = ["PREFIX", "answer"]

PREFIX = "/api/v1/"
NO_SSL = "SSL secure connection is required"
NO_ROLE = "production or pilot role required"
NO_PILOT = "no production/pilot role in VOMS FQANs or non pilot owner"
NO_DATABASE = "database error in the PanDA server"
DONE, FAILED, INVALID = 0, 30, 50
"""PanDA's StatusCodes."""


class Envelope(NamedTuple):
    """What every method says."""

    success: bool
    message: str = ""
    data: object = None


class Method(NamedTuple):
    """What it does and how it is to be called."""

    do: Callable[[Asked], Envelope]
    verb: str
    arguments: Mapping[str, Argument]
    needs_role: bool = True


class Slip(tuple[object, ...]):
    """A set in the place of a dictionary, as it stands in the real server; here in order."""

    def __repr__(self) -> str:
        return f"{{{', '.join(map(repr, self))}}}"


def answer(books: Books, call: Call, who: Who, luck: Luck, now_s: float) -> Reply:
    """Do what is asked, if it is one of the methods."""
    name = urlsplit(call.path).path.removeprefix(PREFIX)
    if name not in METHODS:
        return forbidden(call.path)
    is_json = call.headers.get("Content-Type") == JSON
    try:
        said = _json(call) if is_json and call.verb == "POST" else _form(call)
        envelope = _call(METHODS[name], Asked(books, who, said, luck, now_s, is_json), call.verb)
        if not is_json and call.headers.get("Accept") != JSON:
            return Reply(200, TEXT, repr(envelope._asdict()).encode())
        return Reply(200, TEXT, json.dumps(_serializable(envelope)).encode())
    except (OSError, EOFError, zlib.error, TypeError, ValueError, OverflowError, RecursionError) as error:
        return Reply(500, TEXT, str(error).encode(errors="replace"))


def _json(call: Call) -> Mapping[str, object]:
    packed = call.headers.get("Content-Encoding") == "gzip"
    body = (gzip.decompress(call.body) if packed else call.body).decode()
    try:
        return mapping(json.loads(body))
    except ValueError as error:
        raise ValueError(f"ERROR : received invalid JSON : {error}") from None


def _form(call: Call) -> Mapping[str, object]:
    """One value of a name is a text, several are a list."""
    return {name: values[0] if len(values) == 1 else values for name, values in form(call).items()}


def _serializable(envelope: Envelope) -> dict[str, object]:
    if isinstance(envelope.data, Slip):
        raise TypeError(f"Type not serializable for {envelope.data!r} (<class 'set'>)")
    return envelope._asdict()


def _call(method: Method, asked: Asked, verb: str) -> Envelope:
    """Everything is checked in the order of the real one."""
    if not asked.who.is_known:
        return Envelope(False, NO_SSL)
    if method.needs_role and not asked.who.is_pilot:
        return Envelope(False, NO_ROLE)
    if verb != method.verb:
        return Envelope(False, f"expecting {method.verb}, received {verb}")
    said = check(asked.said, method.arguments, verb)
    return Envelope(False, said) if isinstance(said, str) else method.do(asked._replace(said=said))


# --- the methods; their arguments have been checked ---


def _acquire_jobs(asked: Asked) -> Envelope:
    if not asked.who.is_pilot:
        return Envelope(False, NO_PILOT)
    jobs = []
    if not asked.luck.is_down:
        jobs = asked.books.acquire_jobs(
            text(asked.said, "site_name"),
            whole(asked.said, "n_jobs"),
            task_id=maybe_whole(asked.said, "task_id"),
            label=maybe_text(asked.said, "prod_source_label"),
            now_s=asked.now_s,
        )
    if not jobs:
        return Envelope(False, "No jobs in PanDA")
    return Envelope(True, data={"StatusCode": DONE, "jobs": [{"StatusCode": DONE, **job} for job in jobs]})


def _acquire_event_ranges(asked: Asked) -> Envelope:
    ranges = None
    if not asked.luck.is_down:
        ranges = asked.books.acquire_event_ranges(
            whole(asked.said, "job_id"),
            whole(asked.said, "jobset_id"),
            whole(asked.said, "n_ranges"),
            task_id=maybe_whole(asked.said, "task_id"),
            segment_id=maybe_whole(asked.said, "segment_id"),
            seen=asked.luck.seen,
        )
    return Envelope(False, NO_DATABASE) if ranges is None else Envelope(True, data=ranges)


def _update_event_ranges(asked: Asked) -> Envelope:
    """Where its slip is in place, it has no words for what it has booked."""
    returns, commands = book_report(asked, text(asked.said, "event_ranges"), whole(asked.said, "version"))
    if not asked.luck.breaks_update:
        return Envelope(True, data={"Returns": returns, "Commands": commands})
    if isinstance(returns, list):
        raise TypeError("unhashable type: 'list'")
    return Envelope(True, data=Slip(("Returns", returns, "Commands", commands)))


def _update_single_event_range(asked: Asked) -> Envelope:
    element = {"eventRangeID": asked.said["event_range_id"], "eventStatus": asked.said["event_range_status"]}
    words, commands = book(asked, [element])
    if words[0] is not True:
        return Envelope(False, NO_DATABASE)
    return Envelope(True, data={"Command": json.dumps(commands)})


def _count_available(asked: Asked) -> Envelope:
    if asked.luck.is_down:
        return Envelope(False, NO_DATABASE)
    n = asked.books.count_ready(whole(asked.said, "jobset_id"), whole(asked.said, "task_id"))
    return Envelope(True, data=n)


def _event_range_statuses(asked: Asked) -> Envelope:
    """The documented key `job_id` fails."""
    try:
        jobs = json.loads(text(asked.said, "job_task_ids"))
        wanted = [(int(job["task_id"]), int(job["panda_id"])) for job in jobs]
    except (KeyError, TypeError, ValueError):
        wanted = None
    if wanted is None or asked.luck.is_down:
        return Envelope(False, NO_DATABASE)
    return Envelope(True, data=asked.books.statuses(wanted))


def _update_job(asked: Asked) -> Envelope:
    state = text(asked.said, "job_status")
    if state not in STATES:
        return Envelope(False, f"Invalid job status: {state}", {"StatusCode": INVALID})
    if asked.luck.is_down:
        return Envelope(True, "Database error", {"StatusCode": FAILED})
    command = asked.books.update_job(
        whole(asked.said, "job_id"),
        state,
        attempt_nr=maybe_whole(asked.said, "attempt_nr"),
        sub_status=maybe_text(asked.said, "job_sub_status"),
        said={name: value for name, value in asked.said.items() if value is not None},
        now_s=asked.now_s,
    )
    return Envelope(True, data={"StatusCode": DONE, "command": command})


def _update_jobs_bulk(asked: Asked) -> Envelope:
    jobs = asked.said["job_list"]
    assert isinstance(jobs, list)
    each = [_call(METHODS["pilot/update_job"], asked._replace(said=mapping(job)), "POST") for job in jobs]
    return Envelope(True, data=[envelope._asdict() for envelope in each])


def _job_status(asked: Asked) -> Envelope:
    if asked.luck.is_down:
        return Envelope(False, "Database error")
    wanted = asked.said["job_ids"]
    assert isinstance(wanted, list)
    known = {job.panda_id: (job.state, job.attempt_nr) for job in asked.books.jobs()}
    stand = [(panda_id, *known.get(panda_id, ("not found", 0))) for panda_id in wanted]
    names = ("job_id", "status", "attempt_number")
    return Envelope(True, data=[dict(zip(names, each, strict=True)) for each in stand])


def _is_alive(_: Asked) -> Envelope:
    return Envelope(True)


TIMEOUT = maybe(int, "timeout", 60)
ACQUIRE_JOBS = (
    needed(str, "site_name")
    | maybe(str, "prod_source_label node computing_element prod_user_id get_proxy_key resource_type harvester_id")
    | maybe(str, "scheduler_id job_type")
    | maybe(int, "memory disk_space task_id worker_id remaining_time")
    | maybe(bool, "background via_topic")
    | maybe(int, "n_jobs", 1)
    | TIMEOUT
)
UPDATE_JOB = (
    needed(int, "job_id")
    | needed(str, "job_status")
    | maybe(str, "job_output_report pilot_log meta_data stdout", "")
    | maybe(str, "node cpu_consumption_unit scheduler_id pilot_id site_name pilot_error_diag exe_error_diag")
    | maybe(str, "pilot_timing start_time end_time batch_id job_metrics job_sub_status corrupted_files grid")
    | maybe(str, "cpu_architecture_level source_site destination_site")
    | maybe(int, "cpu_consumption_time trans_exit_code pilot_error_code exe_error_code n_events n_input_files")
    | maybe(int, "attempt_nr core_count mean_core_count")
    | maybe((int, float), "cpu_conversion_factor max_rss max_vmem max_swap max_pss avg_rss avg_vmem avg_swap avg_pss")
    | maybe((int, float), "tot_rchar tot_wchar tot_rbytes tot_wbytes rate_rchar rate_wchar rate_rbytes rate_wbytes")
    | TIMEOUT
)
ACQUIRE_RANGES = (
    needed(int, "job_id jobset_id")
    | maybe(int, "task_id segment_id")
    | maybe(int, "n_ranges", 10)
    | maybe(bool, "scattered", False)
    | TIMEOUT
)
UPDATE_RANGES = needed(str, "event_ranges") | maybe(int, "version", 0) | maybe(int, "timeout", 120)
UPDATE_RANGE = (
    needed(str, "event_range_id event_range_status")
    | maybe(int, "core_count")
    | maybe(float, "cpu_consumption_time")
    | maybe(None, "object_store_id")
    | TIMEOUT
)
COUNT = needed(int, "job_id jobset_id task_id") | TIMEOUT
METHODS = {
    "pilot/acquire_jobs": Method(_acquire_jobs, "POST", ACQUIRE_JOBS, needs_role=False),
    "pilot/update_job": Method(_update_job, "POST", UPDATE_JOB),
    "pilot/update_jobs_bulk": Method(_update_jobs_bulk, "POST", needed(list, "job_list") | maybe(str, "harvester_id")),
    "pilot/get_job_status": Method(_job_status, "GET", needed(list, "job_ids") | TIMEOUT, needs_role=False),
    "event/acquire_event_ranges": Method(_acquire_event_ranges, "POST", ACQUIRE_RANGES),
    "event/update_event_ranges": Method(_update_event_ranges, "POST", UPDATE_RANGES),
    "event/update_single_event_range": Method(_update_single_event_range, "POST", UPDATE_RANGE),
    "event/get_available_event_range_count": Method(_count_available, "GET", COUNT),
    "event/get_event_range_statuses": Method(
        _event_range_statuses, "GET", needed(str, "job_task_ids"), needs_role=False
    ),
    "system/is_alive": Method(_is_alive, "GET", {}, needs_role=False),
}
