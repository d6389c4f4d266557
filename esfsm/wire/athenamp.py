"""The language that AthenaMP and its pilot speak, read and written from both ends.

    payload                                             pilot
    Ready for events                                 ->
                                                     <- [{"eventRangeID": "1-2-3-4-10", "startEvent": 4, ...}]
    /w/a.root,/w/b.root,ID:1-2-3-4-10,CPU:5,WALL:6   ->
    ERR_ATHENAMP_PROCESS 1-2-3-4-10: Seek failed     ->
                                                     <- No more events

One message is one text in UTF-8. There is no quoting, so `parse` reads from the end, where the form is fixed, and
a path may hold commas, blanks or `ID:`. Payloads import this module: it needs the standard library only.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from esfsm.errors import UnreadableMessage, WireError

__all__ = [
    "NO_MORE_EVENTS",
    "READY_FOR_EVENTS",
    "RangeError",
    "ReadyForEvents",
    "Result",
    "decode",
    "error_message",
    "parse",
    "parse_answer",
    "range_message",
    "result_message",
]

READY_FOR_EVENTS = "Ready for events"
"""What a payload says when it wants one event range."""
NO_MORE_EVENTS = "No more events"
"""The answer that ends a payload."""

LONGEST_S = 31_536_000.0
"""A year: no event range takes longer."""
_ID = re.compile(r"[0-9A-Za-z._-]+")
_ERROR = re.compile(r"(ERR_[A-Z_]+)\b\s*(.*)", re.DOTALL)
_OF_ONE_RANGE = re.compile(r"(?!eventRangeID\b)([0-9A-Za-z._-]+)\s*:(.*)", re.DOTALL)
# A parse error quotes the range as AthenaMP got it: as JSON, as Python's repr, or with no quotes at all.
_NAMED_ID = re.compile(r"""eventRangeID["']?\s*:\s*(?:u?["'])?([0-9A-Za-z._-]+)""")
_FIVE_NUMBERS = re.compile(r"(?<![\w-])([0-9]+(?:-[0-9]+){4})(?![\w-])")


@dataclass(frozen=True, slots=True)
class ReadyForEvents:
    """The payload wants one event range."""


@dataclass(frozen=True, slots=True)
class Result:
    """The payload has processed an event range: its outputs, CPU and wall time in seconds."""

    event_range_id: str
    paths: tuple[str, ...]
    cpu_s: float
    wall_s: float


@dataclass(frozen=True, slots=True)
class RangeError:
    """The payload gave an event range up; the id is None where the message names none."""

    event_range_id: str | None
    code: str
    """`ERR_ATHENAMP_PROCESS`, `ERR_ATHENAMP_PARSE`, `ERR_TE_RANGE` or `ERR_TE_FATAL`."""
    why: str
    """May be empty."""


def decode(body: bytes) -> str:
    """The text of a message: trailing NULs (C strings) are stripped, bytes that are no UTF-8 replaced."""
    return body.rstrip(b"\0").decode(errors="replace")


def parse(text: str) -> ReadyForEvents | Result | RangeError:
    """What a payload said. Raises `UnreadableMessage`, which is no reason to end a job: it may be a line of a log."""
    said = text.strip()
    answer = _range_error(said) or _result(said)
    if answer:
        return answer
    if READY_FOR_EVENTS in said:
        return ReadyForEvents()
    raise UnreadableMessage(text, f"{READY_FOR_EVENTS!r}, 'PATH,ID:..,CPU:..,WALL:..' or 'ERR_..'")


def _range_error(said: str) -> RangeError | None:
    error = _ERROR.fullmatch(said)
    if not error:
        return None
    code, rest = error.groups()
    if one := _OF_ONE_RANGE.fullmatch(rest):
        return RangeError(one[1], code, one[2].strip())
    quoted, closed, why = rest.rpartition('":')
    about = quoted if closed else rest
    event_range_id = _NAMED_ID.search(about) or _FIVE_NUMBERS.search(about)
    return RangeError(event_range_id and event_range_id[1], code, why.strip())


def _result(said: str) -> Result | None:
    """Fields are taken from the end, each name once, so that what looks like one inside a path stays there."""
    paths, fields = said, dict[str, str]()
    while True:
        rest, _, last = paths.rpartition(",")
        name, _, value = last.partition(":")
        name = name.strip().upper()
        if name not in ("ID", "CPU", "WALL") or name in fields:
            break
        paths, fields[name] = rest, value.strip()
    event_range_id = fields.get("ID", "")
    # An absolute path may hold a comma, as the next one can only begin with a slash.
    outputs = re.split(",(?=/)" if paths.startswith("/") else ",", paths)
    if not _ID.fullmatch(event_range_id) or not all(outputs):
        return None
    return Result(event_range_id, tuple(outputs), _seconds(fields.get("CPU")), _seconds(fields.get("WALL")))


def _seconds(number: str | None) -> float:
    """0.0 for what is no time of a job: a broken clock is no reason to lose an output."""
    try:
        seconds = float(number or 0)
    except ValueError:
        return 0.0
    return seconds if 0 < seconds <= LONGEST_S else 0.0


def result_message(result: Result) -> str:
    """Announce the outputs of a range. Raises `WireError` for what `parse` would not read back as the same."""
    paths = ",".join(result.paths)
    text = f"{paths},ID:{result.event_range_id},CPU:{result.cpu_s},WALL:{result.wall_s}"
    return _checked(text, result)


def error_message(error: RangeError) -> str:
    """Give a range up. Raises `WireError` for what `parse` would not read back as the same."""
    return _checked(f"{error.code} {error.event_range_id}: {error.why}", error)


def _checked(text: str, meant: Result | RangeError) -> str:
    if parse(text) != meant:
        raise WireError(f"AthenaMP's language has no words for {meant}")
    return text


def range_message(event_range: Mapping[str, object]) -> str:
    """Hand out one range, its keys as PanDA writes them: `[{"eventRangeID": "..", "startEvent": 4, ...}]`.

    AthenaMP takes the list apart at commas and colons, without reading JSON. So None is left out, except for the
    GUID, without which AthenaMP refuses a range even if it does not use it. Raises `WireError` where a key is
    missing or a value is not an integer or a plain text, as AthenaMP would read something else.
    """
    for key in ("eventRangeID", "startEvent", "lastEvent"):
        if event_range.get(key) is None:
            raise WireError(f"an event range without {key}")
    known = {key: value for key, value in event_range.items() if value is not None}
    for key, value in known.items():
        if not _is_plain(key) or ":" in key or not (isinstance(value, int) or _is_plain(value)):
            raise WireError(f"AthenaMP cannot read {key!r}: {value!r}")
    return json.dumps([{**known, "GUID": known.get("GUID")}], ensure_ascii=False)


def _is_plain(value: object) -> bool:
    """Whether AthenaMP, which trims blanks and quotes and splits at commas, reads a text as it is written."""
    return isinstance(value, str) and value.isprintable() and value == value.strip() and not set(value) & set(",\"'\\")


def parse_answer(text: str) -> dict[str, object] | None:
    """What a pilot answers: one event range, or None for `No more events`. Raises `UnreadableMessage`."""
    if text.strip() == NO_MORE_EVENTS:
        return None
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        answer = None
    match answer:
        case [dict(event_range)]:
            return event_range
    raise UnreadableMessage(text, f"{NO_MORE_EVENTS!r} or a list of one event range")
