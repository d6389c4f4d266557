"""What a journal says in each of its formats: header and entries, written in the newest, read from all.

Format 1 said neither which state was entered nor what was surely on the disk, and numbered each fact.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from esfsm.core.facts import FACTS, Fact, RangesGranted
from esfsm.errors import UnusableJournal
from esfsm.model.settings import Settings

__all__ = ["FORMAT", "Entry", "Header", "entries_of", "header_of", "told_entry", "told_header"]

FORMAT = 2
"""Raised when older readers could not read what is written."""

RENAMED = {1: {"ranges_refused": "report_given_up"}}
"""By format, facts that had another name."""

OWN = ("eventRangeID", "startEvent", "lastEvent")
"""What each event range has for itself."""

SHORT = {"event_range_id": "id", "event_range_ids": "ids"}
LONG = {short: name for name, short in SHORT.items()}
"""Names that stand in nearly every line of a long journal."""

_ADAPTERS: dict[str, TypeAdapter[Any]] = {}


class Header(NamedTuple):
    """Whose journal it is: what the first line says."""

    panda_id: int
    run: str
    """Names this life of the job; requests to the broker bear it."""
    workflow: str
    tables: str
    """Digest of the tables that decide."""
    job: dict[str, Any]
    settings: Settings
    format: int = FORMAT


class Entry(NamedTuple):
    """One fact, and what it led to, as the journal has it (None: not written down before the end)."""

    number: int
    fact: Fact
    then: tuple[str, ...] | None


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


def _completed(event_ranges: Iterable[dict[str, Any] | list[Any]]) -> Iterator[dict[str, Any]]:
    """As they were before they were shortened."""
    whole: dict[str, Any] = {}
    for event_range in event_ranges:
        whole = {**whole, **dict(zip(OWN, event_range, strict=True))} if isinstance(event_range, list) else event_range
        yield whole


def header_of(told: Mapping[str, Any], path: Path) -> Header:
    """What the first line says. Raises `UnusableJournal`."""
    version: int = told.get("esfsm_journal", 0)
    if version not in range(1, FORMAT + 1):
        raise UnusableJournal(path, f"format {version} is not known to this version, which reads 1 to {FORMAT}")
    try:
        said = (told["panda_id"], told["run"], told["workflow"], told["tables"], told["job"])
        return Header(*said, Settings.model_validate(told["settings"]), version)
    except (KeyError, ValidationError):
        raise UnusableJournal(path, "its first line is of another version; finish it with that one") from None


def entries_of(lines: Iterator[dict[str, Any]], version: int, path: Path) -> Iterator[Entry]:
    """The facts in their order, each with what it led to. Raises `UnusableJournal`."""
    waiting: list[tuple[int, Fact]] = []
    number = 0
    for told in lines:
        if "fact" in told:
            number += 1
            if told.get("nr", number) != number:
                raise UnusableJournal(path, f"fact {told['nr']} stands where {number} should")
            waiting.append((number, _fact(told, number, version, path)))
            continue
        if "decided" not in told:
            raise UnusableJournal(path, "it holds the lines of another journal")
        if told["decided"] != number:
            sentence = f"{told['decided']} facts should stand here, and {number} do"
            raise UnusableJournal(path, f"{sentence}; restore it or choose another work directory")
        then = told["then"]
        for at, fact in waiting:
            yield Entry(at, fact, tuple(_today(each, version) for each in then.get(str(at), ())))
        waiting.clear()
    for at, fact in waiting:
        yield Entry(at, fact, None)


def _today(told: str, version: int) -> str:
    """The name of a fact, or an action of which it is the last word, as it is called now."""
    renamed = RENAMED.get(version)
    if renamed is None:
        return told
    before, space, name = told.rpartition(" ")
    return before + space + renamed.get(name, name)


def _fact(told: dict[str, Any], number: int, version: int, path: Path) -> Fact:
    """The fact that a line tells of."""
    name = _today(told["fact"], version)
    adapter = _ADAPTERS.get(name)
    if adapter is None:
        if name not in FACTS:
            raise UnusableJournal(path, f"fact {number} is {name}, which this version does not know")
        adapter = _ADAPTERS[name] = TypeAdapter(FACTS[name])
    del told["fact"], told["crc"]
    told.pop("nr", None)
    for short, name_of_field in LONG.items():
        if short in told:
            told[name_of_field] = told.pop(short)
    if name == RangesGranted.name:
        told["event_ranges"] = list(_completed(told["event_ranges"]))
    try:
        fact: Fact = adapter.validate_python(told)
    except ValidationError as error:
        first = error.errors()[0]
        raise UnusableJournal(path, f"fact {number} ({name}): {first['loc']}: {first['msg']}") from None
    return fact
