"""What a local broker begins with: the only place where event ranges are made, or read from a list.

They are made from the inputs of the job (so many events in each file, so many in a range), or a file holds the
list that PanDA would send. A list is read strictly: what PanDA would not send is refused with one sentence.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import orjson
from pydantic import ValidationError

from esfsm.errors import UnreadableRanges, UnusableInput
from esfsm.model.event_range import EventRange
from esfsm.model.job import Job
from esfsm.model.reading import read_file
from esfsm.model.settings import Settings

__all__ = ["Fresh", "InFile", "Supply", "supply_of"]

MOST_RANGES = 10_000_000
"""Ranges in one supply. More is a slip of the pen: filling takes minutes and the table some gigabytes."""
MOST_BYTES = 2**30
"""In a list: five million ranges as PanDA writes them, which take ten gigabytes of memory while they are read."""
MOST_ATTEMPTS = 999
"""PanDA's attemptNr has three digits."""
MOST_EVENT = 2**63 - 1
"""The largest integer of SQLite."""
LONGEST_STEM = 196
"""Characters of an id that is to get `-` and an attempt of three digits, and 200 in all (`EventRangeID`)."""

# PanDA's own form: taskID-PandaID-fileID-job_processID-attemptNr, and a range with 0 attempts is never sent.
_PANDAS_ID = re.compile(r"(\d+-\d+-\d+-\d+)-([1-9]\d{0,2})")


class InFile(NamedTuple):
    """An input file as a range names it; all None where PanDA does not know it."""

    lfn: str | None
    guid: str | None
    scope: str | None


class Fresh(NamedTuple):
    """A range that was never handed out; its names differ from attempt to attempt."""

    file_id: int
    """The place of its file in `Supply.files`, from 1."""
    position: int
    """Its job_processID: where its first event stands in the file, from 1; in a list, the place of the entry."""
    attempt: int
    """How often it may be handed out."""
    start_event: int
    last_event: int
    event_range_id: str | None = None
    """As the list gives it; None: named when it is handed out, after the PandaID that gets it."""
    stem: str | None = None
    """For a range of a list: what its later names begin with, before `-` and the attempts left."""
    extra: str | None = None
    """Whatever else the list says about it, as a JSON object."""


@dataclass(frozen=True, slots=True)
class Supply:
    """All ranges of a task. `ranges` can be read once; equal digests mean equal ranges."""

    said: str
    """What was asked for, in words."""
    digest: str
    files: tuple[InFile, ...]
    ranges: Iterable[Fresh]


def supply_of(job: Job, settings: Settings) -> Supply | None:
    """What the settings `events` or `ranges` say, None when neither is given.

    Raises `UnreadableRanges` for a list that cannot be used, `UnusableInput` for numbers that cannot.
    """
    if settings.events is not None and settings.ranges is not None:
        raise UnusableInput("settings events and ranges contradict each other: give only one of them")
    if settings.max_attempt > MOST_ATTEMPTS:
        raise UnusableInput(f"setting max_attempt: {settings.max_attempt} is more than {MOST_ATTEMPTS}")
    if settings.events is not None:
        return _made(job, settings.events, settings.events_per_range, settings.max_attempt)
    if settings.ranges is not None:
        return _listed(settings.ranges, settings.max_attempt)
    return None


def _made(job: Job, events: int, per_range: int, max_attempt: int) -> Supply:
    """Ranges of `per_range` events, the last of a file shorter where it must be."""
    # A job that generates events has no input; its ranges have none either, as with PanDA's pseudo inputs.
    files = tuple(InFile(file.lfn, file.guid, file.scope) for file in job.in_files)
    files = files or (InFile(None, None, None),)
    if len(files) * -(-events // per_range) > MOST_RANGES:
        raise UnusableInput(f"settings events and events_per_range make more than {MOST_RANGES} event ranges")

    def ranges() -> Iterator[Fresh]:
        for file_id in range(1, len(files) + 1):
            before = 0 if job.in_file_pos_evt_num else (file_id - 1) * events
            for first in range(1, events + 1, per_range):
                last = min(first + per_range - 1, events)
                yield Fresh(file_id, first, max_attempt, before + first, before + last)

    numbers = (events, per_range, max_attempt, job.in_file_pos_evt_num)
    named = ", ".join(file.lfn or "no file" for file in files[:3]) + (", ..." if len(files) > 3 else "")
    said = f"{events} events in each of {len(files)} inputs ({named}), {per_range} a range, {max_attempt} attempts"
    return Supply(said, _digest((files, numbers)), files, ranges())


def _listed(path: Path, max_attempt: int) -> Supply:
    """The ranges of a JSON file."""
    source = str(path)
    try:
        content = orjson.loads(read_file(path, MOST_BYTES))
    except OSError as error:
        raise UnreadableRanges(str(error.strerror), source) from None
    except orjson.JSONDecodeError as error:
        raise UnreadableRanges(f"not JSON at line {error.lineno}, column {error.colno}: {error.msg}", source) from None
    if not isinstance(content, list):
        raise UnreadableRanges(f"a JSON list is expected, not {_kind(content)}", source)
    if len(content) > MOST_RANGES:
        raise UnreadableRanges(f"{len(content)} event ranges are more than {MOST_RANGES}", source)
    event_ranges = [_entry(index, entry, source) for index, entry in enumerate(content)]
    stems = _stems(event_ranges, source)

    files: dict[InFile, int] = {}
    fresh: list[Fresh] = []
    for position, ((stem, attempt), said) in enumerate(zip(stems, event_ranges, strict=True), start=1):
        file_id = files.setdefault(InFile(said.lfn, said.guid, said.scope), len(files) + 1)
        extra = orjson.dumps(said.model_extra).decode() if said.model_extra else None
        numbers = (attempt or max_attempt, said.start_event, said.last_event)
        fresh.append(Fresh(file_id, position, *numbers, said.event_range_id, stem, extra))
    return Supply(f"the {len(fresh)} event ranges of {path.name}", _digest((tuple(files), fresh)), tuple(files), fresh)


def _entry(index: int, entry: object, source: str) -> EventRange:
    """One entry of a list; `index` counts from 0, as in JSON."""
    if not isinstance(entry, Mapping):
        raise UnreadableRanges(f"[{index}]: a JSON object is expected, not {_kind(entry)}", source)
    where = f"[{index}] ({_json(entry.get('eventRangeID'))})"
    try:
        event_range = EventRange.model_validate(entry)
    except ValidationError as error:
        raise UnreadableRanges(f"{where}: {_sentence(error)}", source) from None
    if event_range.last_event > MOST_EVENT:
        raise UnreadableRanges(f"{where}: lastEvent is more than {MOST_EVENT}", source)
    return event_range


def _sentence(error: ValidationError) -> str:
    """The first thing that is wrong with an entry, in words."""
    first = error.errors(include_url=False)[0]
    key, given = ".".join(map(str, first["loc"])), _json(first["input"])
    match first["type"]:
        case "missing":
            return f"{key} is missing"
        case "int_type":
            return f"{key} is {given}, not a whole number"
        case "string_type":
            return f"{key} is {given}, not a text"
        case "greater_than_equal":
            return f"{key} is {given}, which is no place of an event"
        case "string_pattern_mismatch":
            return f"{key} may hold letters, digits and . _ - only, and 200 of them at most"
        case _:
            return first["msg"].removeprefix("Value error, ")


def _stems(event_ranges: list[EventRange], source: str) -> list[tuple[str, int | None]]:
    """What the later names of each range begin with, and the attempts that its id tells.

    An id of PanDA's form ends with the attempts left, so that number is lowered. An id of another form is handed
    out as it is the first time; later names are the id, `-` and the attempts left. No two ranges may ever
    bear one name, so a list in which they could is refused.
    """
    stems: list[tuple[str, int | None]] = []
    seen: dict[str, int] = {}
    for index, event_range in enumerate(event_ranges):
        pandas = _PANDAS_ID.fullmatch(event_range.event_range_id)
        stem, attempt = (pandas[1], int(pandas[2])) if pandas else (event_range.event_range_id, None)
        other = seen.setdefault(stem, index)
        if other != index:
            why = f"eventRangeID of the same range as [{other}] ({_json(event_ranges[other].event_range_id)})"
            raise UnreadableRanges(f"[{index}] ({_json(event_range.event_range_id)}): {why}", source)
        if attempt is None and len(stem) > LONGEST_STEM:
            raise UnreadableRanges(f"[{index}] ({_json(stem)}): eventRangeID is longer than {LONGEST_STEM}", source)
        stems.append((stem, attempt))
    for stem, index in seen.items():
        before, _, number = stem.rpartition("-")
        if stems[index][1] is None and number.isdecimal() and before in seen:
            why = f"eventRangeID that [{seen[before]}] ({_json(before)}) may get when it is handed out again"
            raise UnreadableRanges(f"[{index}] ({_json(stem)}): {why}", source)
    return stems


def _kind(content: object) -> str:
    """What JSON calls it."""
    if isinstance(content, Mapping):
        return "an object"
    return "a list" if isinstance(content, list) else _json(content)


def _json(content: object) -> str:
    """As it stands in the file, shortened."""
    text = orjson.dumps(content).decode()
    return text if len(text) <= 60 else f"{text[:57]}..."


def _digest(content: object) -> str:
    return hashlib.sha256(orjson.dumps(content, default=list)).hexdigest()  # it asks about named tuples
