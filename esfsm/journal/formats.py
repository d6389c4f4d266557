"""What a journal says in each of its formats: header and entries, written in the newest, read from all.

Format 1 said neither which state was entered nor what was surely on the disk, and numbered each fact. Up to format 2
nothing was measured, a stop bounded only what ran, and outputs waited for their gap. Up to format 3 no storage said
that it would never take an archive, pauses were not cut short by chance, and nothing was removed.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, Field, StrictInt, TypeAdapter, ValidationError

from esfsm.core.facts import FACTS, Fact, JobResumed, OutputProduced, RangesGranted
from esfsm.errors import UnusableJournal
from esfsm.model.settings import Settings

__all__ = ["FORMAT", "Entry", "Header", "entries_of", "first_fault", "header_of", "told_entry", "told_header", "unsaid"]

FORMAT = 4
"""Raised when older readers could not read what is written."""

RENAMED = {1: {"ranges_refused": "report_given_up"}}
"""By format, facts that had another name."""

UNSAID: dict[int, dict[str, object]] = {
    3: {"monitor_s": 0.0, "grace_for": "workers", "stage_out_by": "gap"},
    4: {"retry_jitter": 0.0, "keep_outputs": True},
}
"""By format, settings that no journal before it tells, as things were then."""

OWN = ("eventRangeID", "startEvent", "lastEvent")
"""What each event range has for itself."""

SHORT = {"event_range_id": "id", "event_range_ids": "ids", "size_bytes": "size"}
LONG = {short: name for name, short in SHORT.items()}
"""Names that stand in nearly every line of a long journal."""

Word = Annotated[str, Field(pattern="^[0-9A-Za-z_-]{1,64}$")]
"""What can be a part of a file name, an address and an environment."""


class Header(NamedTuple):
    """Whose journal it is: what the first line says."""

    panda_id: Annotated[StrictInt, Field(ge=1, lt=10**18)]
    run: Word
    """Names this life of the job; requests to the broker bear it, and so do the payload's processes and its channel."""
    workflow: Annotated[str, Field(pattern=r"^[^\x00-\x1f]+$", max_length=4096)]
    """A name, or the path of a table."""
    tables: Word
    """Digest of the tables that decide."""
    job: dict[str, Any]
    settings: Settings
    format: int = FORMAT


class Entry(NamedTuple):
    """One fact, and what it led to, as the journal has it (None: not written down before the end)."""

    number: int
    fact: Fact
    then: tuple[str, ...] | None


class _Decided(NamedTuple):
    """What a line that tells decisions says."""

    decided: Annotated[StrictInt, Field(ge=1)]
    then: dict[int, tuple[str, ...]]
    synced: Annotated[StrictInt, Field(ge=0)] = 0


_HEADER, _DECIDED = TypeAdapter(Header), TypeAdapter(_Decided)


def told_header(header: Header) -> dict[str, Any]:
    """The object of the first line."""
    told = {**header._asdict(), "settings": header.settings.model_dump(mode="json")}
    return {"esfsm_journal": told.pop("format"), **told}


def told_entry(entry: Entry) -> dict[str, Any]:
    """The object of a fact's line: defaults are left out, and what a range has in common with the one before."""
    fact = entry.fact
    told: dict[str, Any] = {"at": fact.at, "fact": fact.name}
    for field in fields(fact):
        value = getattr(fact, field.name)
        if field.name != "at" and value != field.default:
            told[SHORT.get(field.name, field.name)] = value
    if isinstance(fact, RangesGranted):
        told["event_ranges"] = list(_shortened(event_range.as_panda() for event_range in fact.event_ranges))
    return told


def _shortened(event_ranges: Iterable[dict[str, object]]) -> Iterator[object]:
    """Only what is the range's own, where its input file and all else is that of the range before."""
    before: dict[str, object] | None = None
    for event_range in event_ranges:
        shared = {key: value for key, value in event_range.items() if key not in OWN}
        yield [event_range[key] for key in OWN] if shared == before else event_range
        before = shared


def _completed(event_ranges: Iterable[object]) -> Iterator[object]:
    """As they were before they were shortened; what cannot be one that was is left as it is."""
    whole: dict[str, object] = {}
    for event_range in event_ranges:
        if whole and isinstance(event_range, list) and len(event_range) == len(OWN):
            whole = {**whole, **dict(zip(OWN, event_range, strict=True))}
            yield whole
        else:
            whole = event_range if isinstance(event_range, dict) else {}
            yield event_range


def header_of(told: Mapping[str, Any], path: Path) -> Header:
    """What the first line says. Raises `UnusableJournal`."""
    said = {**told}
    version = said.pop("esfsm_journal")
    if type(version) is not int or version not in range(1, FORMAT + 1):
        sentence = f"format {_shown(version)} is not known to this version, which reads 1 to {FORMAT}"
        raise UnusableJournal(path, sentence)
    del said["crc"]
    if isinstance(said.get("settings"), dict):
        said["settings"] = {**unsaid(version), **said["settings"]}
    try:
        return _HEADER.validate_python({**said, "format": version})
    except ValidationError as error:
        sentence = "its first line is of another version; finish it with that one"
        raise UnusableJournal(path, f"{sentence} ({first_fault(error)})") from None


def unsaid(version: int) -> dict[str, object]:
    """Settings that a journal of this format does not tell."""
    return {name: value for since, unsaid in UNSAID.items() if since > version for name, value in unsaid.items()}


def entries_of(lines: Iterator[dict[str, Any]], version: int, path: Path) -> Iterator[Entry]:
    """The facts in their order, each with what it led to. Raises `UnusableJournal`."""
    waiting: list[tuple[int, Fact]] = []
    number = 0
    for told in lines:
        if "fact" in told:
            number += 1
            waiting.append((number, _fact(told, number, version, path)))
            continue
        if "decided" not in told:
            raise UnusableJournal(path, "it holds the lines of another journal")
        then = _then(told, number, version, path)
        decided = [Entry(at, fact, then.pop(at, ())) for at, fact in waiting]
        if then:
            raise UnusableJournal(path, f"what fact {next(iter(then))} led to is told behind fact {number}")
        yield from decided
        waiting.clear()
    for at, fact in waiting:
        yield Entry(at, fact, None)


def _then(told: dict[str, Any], number: int, version: int, path: Path) -> dict[int, tuple[str, ...]]:
    """What facts led to, by their numbers, as a line behind the fact `number` tells."""
    del told["crc"]
    try:
        said = _DECIDED.validate_python(told)
    except ValidationError as error:
        raise UnusableJournal(path, f"what is decided behind fact {number}: {first_fault(error)}") from None
    if said.decided != number:
        sentence = f"{said.decided} facts should stand here, and {number} do"
        raise UnusableJournal(path, f"{sentence}; restore it or choose another work directory")
    if said.synced > number:
        raise UnusableJournal(path, f"{said.synced} facts are said to be on the disk behind fact {number}")
    if version not in RENAMED:
        return said.then
    return {at: tuple(_today(each, version) for each in then) for at, then in said.then.items()}


def _today(told: str, version: int) -> str:
    """The name of a fact, or an action of which it is the last word, as it is called now."""
    renamed = RENAMED.get(version)
    if renamed is None:
        return told
    before, space, name = told.rpartition(" ")
    return before + space + renamed.get(name, name)


def _fact(told: dict[str, Any], number: int, version: int, path: Path) -> Fact:
    """The fact that a line tells of."""
    name = told.pop("fact")
    adapter = _adapter(_today(name, version)) if isinstance(name, str) else None
    if adapter is None:
        raise UnusableJournal(path, f"fact {number} is {_shown(name)}, which this version does not know")
    nr = told.pop("nr", number)
    if type(nr) is not int or nr != number:
        raise UnusableJournal(path, f"fact {_shown(nr)} stands where {number} should")
    del told["crc"]
    for short, name_of_field in LONG.items():
        if short in told:
            told[name_of_field] = told.pop(short)
    if name == JobResumed.name and isinstance(told.get("settings"), dict):
        told["settings"] = {**unsaid(version), **told["settings"]}
    if isinstance(event_ranges := told.get("event_ranges"), list):
        told["event_ranges"] = list(_completed(event_ranges))
    try:
        fact: Fact = adapter.validate_python(told)
    except ValidationError as error:
        raise UnusableJournal(path, f"fact {number} ({_today(name, version)}): {first_fault(error)}") from None
    return fact


@cache
def _adapter(name: str) -> TypeAdapter[Any] | None:
    """What makes a fact of this name from what a line tells; None where there is no such fact."""
    if name == OutputProduced.name:
        return TypeAdapter(Annotated[OutputProduced, AfterValidator(_stamped)])
    return TypeAdapter(FACTS[name]) if name in FACTS else None


def _stamped(fact: OutputProduced) -> OutputProduced:
    if len(fact.stamps) not in (0, len(fact.paths)):
        raise ValueError(f"{len(fact.stamps)} stamps of {len(fact.paths)} files")
    return fact


def first_fault(error: ValidationError) -> str:
    """The first thing that cannot be used, and why, in a sentence."""
    first = error.errors()[0]
    place, why = ".".join(map(_shown, first["loc"])), first["msg"].removeprefix("Value error, ")
    return f"{place}: {why}" if place else why


def _shown(value: object) -> str:
    """A value in a sentence: a word or a number as it is, of anything else only its kind."""
    text = str(value) if isinstance(value, str | int | float) else ""
    return text if 0 < len(text) <= 80 and text.isprintable() else f"a {type(value).__name__}"
