"""`/server/panda/*` as panda-server 0.8.1 speaks it: forms, or gzipped JSON; JSON back for who accepts it.

A method is called with whatever arguments come, so a wrong one is answered as Python complains: HTTP 500 and its text.
"""

import gzip
import json
import zlib
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

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
from esfsm.wire.panda.calls import Call

__all__ = ["PREFIX", "answer"]

PREFIX = "/server/panda/"
DONE, NO_JOBS, FAILED, NO_ROLE = 0, 20, 30, 60
"""PanDA's StatusCodes."""
NO_PILOT = "no production/pilot role in VOMS FQANs or non pilot owner"
DEFAULT_RANGES, UNREADABLE_RANGES = 10, 8
"""How many ranges are given where no number was said, and where it is none."""

Said = Mapping[str, object]


class Method(NamedTuple):
    """What it does, and the names of its arguments."""

    do: Callable[[Asked], Reply]
    required: tuple[str, ...]
    optional: Collection[str]


def answer(books: Books, call: Call, who: Who, luck: Luck, now_s: float) -> Reply:
    """Do what is asked, if it is one of the methods."""
    name = urlsplit(call.path).path.removeprefix(PREFIX)
    if name not in METHODS:
        return forbidden(call.path)
    method = METHODS[name]
    try:
        said = _arguments(call)
        _bind(name, method, said)
        return method.do(Asked(books, who, said, luck, now_s, JSON in call.headers.get("Accept", "")))
    except (OSError, EOFError, zlib.error, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        return Reply(500, TEXT, str(error).encode(errors="replace"))


def _arguments(call: Call) -> Said:
    """A body of JSON must be gzipped, whatever its headers say; anything but a form is not looked at."""
    if call.headers.get("Content-Type") != JSON:
        return {name: values[0] for name, values in form(call).items()}
    return mapping(json.loads(gzip.decompress(call.body)))


def _bind(name: str, method: Method, said: Said) -> None:
    """As Python does it: first the unknown, then the missing. Raises `TypeError` in its words."""
    for unknown in said:
        if unknown not in (*method.required, *method.optional):
            raise TypeError(f"{name}() got an unexpected keyword argument {unknown!r}")
    if missing := [repr(needed) for needed in method.required if needed not in said]:
        plural = "s" if len(missing) > 1 else ""
        comma = "," if len(missing) > 2 else ""
        names = f"{', '.join(missing[:-1])}{comma} and {missing[-1]}" if plural else missing[0]
        raise TypeError(f"{name}() missing {len(missing)} required positional argument{plural}: {names}")


# --- what is said ---


def _say(code: int, accepts_json: bool, **content: object) -> Reply:
    said = {"StatusCode": code, **content}
    return Reply(200, JSON, json.dumps(said).encode()) if accepts_json else Reply(200, TEXT, urlencode(said).encode())


def _refusal(who: Who) -> Reply | None:
    """Plain text, with HTTP status 200."""
    if who.dn is None:
        return Reply(200, TEXT, b"failed to retrieve DN")
    return None if who.is_pilot else Reply(200, TEXT, b"production or pilot role is required")


def _no_role(asked: Asked) -> Reply:
    dialog = {"errorDialog": NO_PILOT} if asked.accepts_json else {}
    return _say(NO_ROLE, asked.accepts_json, **dialog)


def _number(value: object) -> int | None:
    """Where it is none, the database fails later on."""
    try:
        return int(str(value))
    except ValueError:
        return None


# --- the methods ---


def _get_job(asked: Asked) -> Reply:
    if not asked.who.is_pilot:
        return _no_role(asked)
    said = asked.said
    jobs = []
    if not asked.luck.is_down:
        wanted = _number(said.get("nJobs", 1)) or 1
        task_id = _number(said["taskID"]) if "taskID" in said else None
        label = str(said["prodSourceLabel"]) if said.get("prodSourceLabel") else None
        jobs = asked.books.acquire_jobs(str(said["siteName"]), wanted, task_id=task_id, label=label, now_s=asked.now_s)
    if not jobs:
        dialog = {"errorDialog": "no jobs in PanDA"} if asked.accepts_json else {}
        return _say(NO_JOBS, asked.accepts_json, **dialog)
    if "nJobs" not in said:
        return _say(DONE, asked.accepts_json, **jobs[0])
    listed = [{"StatusCode": DONE, **job} for job in jobs]
    return _say(DONE, asked.accepts_json, jobs=listed if asked.accepts_json else json.dumps(listed))


def _get_event_ranges(asked: Asked) -> Reply:
    if refusal := _refusal(asked.who):
        return refusal
    said = asked.said
    panda_id, jobset_id = _number(said["pandaID"]), _number(said["jobsetID"])
    n = _number(said.get("nRanges", DEFAULT_RANGES))
    ranges = None
    if not asked.luck.is_down and panda_id is not None and jobset_id is not None:
        ranges = asked.books.acquire_event_ranges(
            panda_id,
            jobset_id,
            UNREADABLE_RANGES if n is None else n,
            task_id=_number(said.get("taskID")),
            segment_id=None if said.get("segment_id") is None else int(str(said["segment_id"])),
            seen=asked.luck.seen,
        )
    if ranges is None:
        return _say(FAILED, asked.accepts_json)
    return _say(DONE, asked.accepts_json, eventRanges=ranges if asked.accepts_json else json.dumps(ranges))


def _update_event_ranges(asked: Asked) -> Reply:
    if refusal := _refusal(asked.who):
        return refusal
    version = _number(asked.said.get("version", 0)) or 0
    returns, command = book_report(asked, asked.said["eventRanges"], version)
    return _say(DONE, asked.accepts_json, Returns=returns, Command=command)


def _update_event_range(asked: Asked) -> Reply:
    """One range; always answered as a form."""
    if refusal := _refusal(asked.who):
        return refusal
    names = ("eventRangeID", "eventStatus", "objstoreID")
    element = {name: asked.said[name] for name in names if name in asked.said}
    words, commands = book(asked, [element])
    if words[0] is not True:
        return _say(FAILED, False)
    return _say(DONE, False, Command=json.dumps(commands))


def _check_events_availability(asked: Asked) -> Reply:
    """Always answered as JSON, and to anybody."""
    jobset_id, task_id = _number(asked.said["jobsetID"]), _number(asked.said["taskID"])
    if asked.luck.is_down or jobset_id is None or task_id is None:
        return _say(FAILED, True)
    return _say(DONE, True, nEventRanges=asked.books.count_ready(jobset_id, task_id))


def _update_job(asked: Asked) -> Reply:
    said = asked.said
    if not asked.who.is_pilot:
        return _no_role(asked)
    if said["jobId"] == "NULL" or said["state"] not in STATES:
        return _say(DONE, asked.accepts_json)
    panda_id = int(str(said["jobId"]))
    if asked.luck.is_down:
        return _say(FAILED, asked.accepts_json)
    command = asked.books.update_job(
        panda_id,
        str(said["state"]),
        attempt_nr=_number(said.get("attemptNr")),
        sub_status=str(said["jobSubStatus"]) if said.get("jobSubStatus") else None,
        said=said,
        now_s=asked.now_s,
    )
    return _say(DONE, asked.accepts_json, command=command)


def _update_jobs_in_bulk(asked: Asked) -> Reply:
    """A pair: whether all went well, and what was said of each job, or the complaint."""
    try:
        answers: object = [_one_of_many(asked, mapping(job)) for job in json.loads(str(asked.said["jobList"]))]
    except (KeyError, TypeError, ValueError) as error:
        complaint = f"updateJobsInBulk {asked.said.get('harvester_id')} failed with {type(error).__name__} {error}"
        return Reply(200, TEXT, json.dumps([False, complaint]).encode())
    return Reply(200, TEXT, json.dumps([True, answers]).encode())


def _one_of_many(asked: Asked, said: Said) -> object:
    _bind("updateJob", METHODS["updateJob"], said)
    content = _update_job(asked._replace(said=said)).body.decode()
    return {"type": "json", "content": content} if asked.accepts_json else content


def _get_status(asked: Asked) -> Reply:
    """Always answered as a form."""
    if asked.luck.is_down:
        return _say(FAILED, False)
    known = {str(job.panda_id): job for job in asked.books.jobs()}
    jobs = [known.get(panda_id) for panda_id in str(asked.said["ids"]).split()]
    states = "+".join(job.state if job else "notfound" for job in jobs)
    return _say(DONE, False, status=states, attemptNr="+".join(str(job.attempt_nr if job else 0) for job in jobs))


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


GET_JOB = _names("""
    prodSourceLabel cpu mem diskSpace node timeout computingElement AtlasRelease prodUserID getProxyKey countryGroup
    workingGroup allowOtherCountry taskID nJobs background resourceType harvester_id worker_id schedulerID jobType
    viaTopic remaining_time token
""")
UPDATE_JOB = _names("""
    token transExitCode pilotErrorCode pilotErrorDiag timestamp timeout xml node workdir cpuConsumptionTime
    cpuConsumptionUnit remainingSpace schedulerID pilotID siteName messageLevel pilotLog metaData cpuConversionFactor
    exeErrorCode exeErrorDiag pilotTiming computingElement startTime endTime nEvents nInputFiles batchID attemptNr
    jobMetrics stdout jobSubStatus coreCount maxRSS maxVMEM maxSWAP maxPSS avgRSS avgVMEM avgSWAP avgPSS totRCHAR
    totWCHAR totRBYTES totWBYTES rateRCHAR rateWCHAR rateRBYTES rateWBYTES corruptedFiles meanCoreCount
    cpu_architecture_level
""")
METHODS = {
    "getJob": Method(_get_job, ("siteName",), GET_JOB),
    "getEventRanges": Method(
        _get_event_ranges, ("pandaID", "jobsetID"), ("taskID", "nRanges", "timeout", "scattered", "segment_id")
    ),
    "updateEventRanges": Method(_update_event_ranges, ("eventRanges",), ("timeout", "version", "pandaID")),
    "updateEventRange": Method(
        _update_event_range,
        ("eventRangeID", "eventStatus"),
        ("coreCount", "cpuConsumptionTime", "objstoreID", "timeout", "pandaID"),
    ),
    "checkEventsAvailability": Method(_check_events_availability, ("pandaID", "jobsetID", "taskID"), ("timeout",)),
    "updateJob": Method(_update_job, ("jobId", "state"), UPDATE_JOB),
    "updateJobsInBulk": Method(_update_jobs_in_bulk, ("jobList",), ("harvester_id",)),
    "getStatus": Method(_get_status, ("ids",), ("timeout",)),
}
