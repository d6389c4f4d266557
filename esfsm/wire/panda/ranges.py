"""Event ranges: what is reported about them, what is replied, and what the server's books say."""

import reprlib
from collections.abc import Mapping, Sequence
from typing import Literal

from esfsm.errors import PilotErrorCode, WireError
from esfsm.model.event_range import EventRange
from esfsm.model.report import FAILED, FINISHED, LOST, Answer, Booked, Report
from esfsm.wire.panda.replies import command_of, native, read_json, success

__all__ = [
    "range_updates",
    "read_command",
    "read_grant",
    "read_statuses",
    "read_update",
    "settle",
    "update_version",
]

LONGEST_DIAG = 500
"""Bytes of PanDA's column for errorDiag; one more, and PostgreSQL rolls the whole request back."""
GREATEST_CODE = 99_999
"""PanDA's column for errorCode: five digits on Oracle, 31 bits on PostgreSQL."""


# --- what is reported ---


def update_version(report: Report) -> Literal[0, 1]:
    """The `version` that `updateEventRanges` must be told with `range_updates`: 1 with an archive, 0 without."""
    return 1 if report.archive else 0


def range_updates(report: Report) -> list[dict[str, object]]:
    """The `eventRanges` of a report, to be sent as JSON text.

    Version 1: `[{"zipFile": {"lfn": .., "objstoreID": .., "fsize": .., "adler32": .., "numEvents": ..},
    "eventRanges": [{"eventRangeID": .., "eventStatus": "finished"}, ..]}]`. Version 0: `[{"eventRangeID": ..,
    "eventStatus": "failed", "errorCode": .., "errorDiag": ..}, ..]`, made fit for PanDA's columns, as one value that
    does not fit undoes the whole request.
    """
    if report.archive is None:
        error = {"errorCode": _error_code(report.error_code), "errorDiag": _error_diag(report.error_diag)}
        return [{"eventRangeID": name, "eventStatus": "failed", **error} for name in report.event_range_ids]
    zip_file: dict[str, object] = {
        "lfn": report.archive.lfn,
        "objstoreID": report.archive.rse_id,
        "fsize": report.archive.size_bytes,
        "adler32": report.archive.adler32,
        "numEvents": len(report.event_range_ids),  # pilots count ranges here
    }
    if report.archive.path_convention is not None:
        zip_file["pathConvention"] = report.archive.path_convention
    finished = [{"eventRangeID": name, "eventStatus": "finished"} for name in report.event_range_ids]
    return [{"zipFile": zip_file, "eventRanges": finished}]


def _error_code(code: int) -> int:
    """A number that is no error code of a pilot becomes the one that pilots report for any failed range."""
    return code if 0 <= code <= GREATEST_CODE else PilotErrorCode.UNKNOWNPAYLOADFAILURE


def _error_diag(diag: str) -> str:
    """Without NULs, which PostgreSQL refuses; cut between characters."""
    return diag.replace("\0", "").encode(errors="replace")[:LONGEST_DIAG].decode(errors="ignore")


# --- what is replied ---


def read_update(reply: bytes | str, event_range_ids: Sequence[str]) -> Answer:
    """What the reply to a report of these ranges, in this order, means: all are accepted, or some are doubted.

    `Returns` (a list, or its JSON text) has one word a range. `false` is a refusal, or the mark of an exception that
    rolled the request back: then no `true` beside it can be believed, and those ranges are in none of the lists.
    `null`, said of what the server had no room to look at, is doubted as well: alone in a report there is room for it.
    Raises `WireError` for any other reply, as for a list of another length: on PostgreSQL one more `false` follows
    although all was stored, and after a failure of the database there is nothing but a `false`.
    """
    match success(read_json(reply)):
        case {"Returns": words}:
            words = native(words)
        case _:
            raise WireError("PanDA replied to a report without Returns")
    if not isinstance(words, list):
        raise WireError("PanDA replied to a report with Returns that are no list")
    if len(words) != len(event_range_ids):
        raise WireError(f"PanDA replied to a report of {len(event_range_ids)} event ranges with {len(words)} words")
    doubted = tuple(name for name, word in zip(event_range_ids, words, strict=True) if word is not True)
    if not doubted:
        return Answer(accepted=tuple(event_range_ids))
    return Answer(doubted=doubted, why=f"PanDA did not say true to {len(doubted)} of {len(words)} event ranges")


def read_command(reply: bytes | str, panda_id: int) -> str | None:
    """The command for a job in the reply to a report: `tobekilled`, `softkill`, or None.

    It may be read where `Returns` cannot. Raises `WireError` for a reply without commands that can be read.
    """
    match success(read_json(reply)):
        case {"Commands": commands} | {"Command": commands}:  # as documented, and as the older generation says
            commands = native(commands)
        case _:
            raise WireError("PanDA replied to a report without Command")
    if not isinstance(commands, dict):
        raise WireError("PanDA replied to a report with a Command that is no map of PandaIDs")
    return command_of(commands.get(str(panda_id)))


def read_grant(reply: bytes | str) -> tuple[EventRange, ...]:
    """The ranges that a request got, in the server's order. None at all is no proof that there are no more.

    Raises `WireError` where a single range cannot be read or comes twice: one that was passed over in silence would
    stay with this job until its end, and nobody would know.
    """
    match success(read_json(reply)):
        case list(entries) | {"eventRanges": list(entries)}:
            event_ranges = tuple(_event_range(entry) for entry in entries)
        case _:
            raise WireError("PanDA replied to a request for event ranges without a list of them")
    if len({event_range.event_range_id for event_range in event_ranges}) < len(event_ranges):
        raise WireError("PanDA granted the same event range twice in one reply")
    return event_ranges


def _event_range(entry: object) -> EventRange:
    try:
        return EventRange.model_validate(entry)
    except ValueError:
        raise WireError(f"PanDA granted what is no event range: {reprlib.repr(entry)}") from None


# --- what the server's books say ---


def read_statuses(reply: bytes | str, panda_id: int) -> dict[str, Booked]:
    """By eventRangeID, how the server has each range of a job; it does not tell the archives.

    The newer generation puts the map `{PandaID: {eventRangeID: {"status": .., ..}}}` into its envelope, the older one
    into none. Raises `WireError` for any other reply, as for one without the job: a job that has no range is in it.
    """
    match read_json(reply):
        case {"success": _} as answer:
            jobs = success(answer)
        case jobs:
            pass
    rows = jobs.get(str(panda_id)) if isinstance(jobs, dict) else None
    if not isinstance(rows, dict):
        raise WireError(f"PanDA's statuses of event ranges say nothing about PandaID {panda_id}")
    return {name: _booked(name, row) for name, row in rows.items()}


def _booked(name: str, row: object) -> Booked:
    match row:
        case {"status": str(status)}:
            return Booked(status)
    raise WireError(f"PanDA's statuses of event ranges have none for {name[:200]!r}")


def settle(report: Report, booked: Mapping[str, Booked]) -> Answer:
    """What the server's books, by eventRangeID, say about a report whose reply could not be believed.

    Accepted is what is booked as reported. Refused is what has another final word, which stays, and what this job
    does not hold any more. What is `sent`, or on its way, is in none of the lists: it was not booked, so report it
    again. A word that nobody knows settles nothing either.
    """
    reported = FINISHED if report.archive else FAILED
    names = report.event_range_ids
    refusals = {name: why for name in names if (why := _refusal(report, booked.get(name)))}
    accepted = tuple(name for name in names if name not in refusals and booked[name].status in reported)
    examples = {why: name for name, why in refusals.items()}
    return Answer(accepted, tuple(refusals), why="; ".join(f"{name}: {why}" for why, name in examples.items()))


def _refusal(report: Report, row: Booked | None) -> str:
    """Why a range can never be booked as reported; empty where it can, or is."""
    if row is None:
        return "PanDA does not have it with this job"
    if row.status in LOST | (FAILED if report.archive else FINISHED):
        return f"PanDA has it as {row.status}"
    if report.archive and row.status in FINISHED and row.archive not in (None, report.archive.lfn):
        return f"PanDA has it in archive {row.archive}"
    return ""
