"""The journal: the list of facts, append-only, one JSON object a line, a checksum in each.

    {"esfsm_journal":1,"run":"...","workflow":"eventservice","tables":"1a2b3c4d","job":{...},"settings":{...},"crc":"..."}
    {"nr":1,"at":1700000000.1,"fact":"job_classified","answers":1,"kind":"eventservice","why":"...","crc":"..."}
    {"decided":1,"then":{"1":["select_executor 2"]},"crc":"..."}

The first line says whose it is. Then come facts, numbered from 1, and after a group of facts what was decided because
of them, up to the fact `decided`: this can be made again from the facts, so it only serves replay and readers. `crc`
is the CRC-32 of the bytes of the line before `,"crc"`. A last line that is torn led to nothing outside and is cut off;
any other damage is refused. One writer: the file is locked while it is open.
"""

import fcntl
import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, NamedTuple, Self
from zlib import crc32

import orjson
from pydantic import TypeAdapter, ValidationError

from esfsm.core.actions import Action, gist
from esfsm.core.facts import FACTS, Fact, FileCopy
from esfsm.durable import sync_directory
from esfsm.errors import JournalError, UnusableJournal
from esfsm.model.event_range import EventRange
from esfsm.model.settings import Settings

__all__ = ["FORMAT", "Entry", "Header", "Journal", "read"]

FORMAT = 1
"""Raised when older readers could not read what is written."""

BEGINNING = b'{"esfsm_journal":'

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


class Entry(NamedTuple):
    """One fact, and what was decided because of it (None: not written down before the end)."""

    number: int
    fact: Fact
    then: tuple[str, ...] | None


class Journal:
    """The journal of one job, open for writing."""

    def __init__(self, path: Path, header: Header, entries: Sequence[Entry], descriptor: int) -> None:
        self.path, self.header, self._entries = path, header, entries
        self._descriptor = descriptor
        self._number = entries[-1].number if entries else 0
        self._unsynced = False

    @classmethod
    def open(cls, path: Path, header: Header) -> Self:
        """Open a journal, or begin it with `header`. Raises `UnusableJournal` if it is another job's, or in use."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise UnusableJournal(path, f"{error.strerror}") from None
        try:
            return cls._opened(path, header, descriptor)
        except BaseException:
            os.close(descriptor)
            raise

    @classmethod
    def _opened(cls, path: Path, header: Header, descriptor: int) -> Self:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise UnusableJournal(path, "it is no regular file")
            content = path.read_bytes()
        except BlockingIOError:
            raise UnusableJournal(path, "another engine is running this job") from None
        except OSError as error:  # some shared file systems know no locks: two engines could not be told apart
            raise UnusableJournal(path, f"it cannot be locked or read here: {error.strerror}") from None
        lines, good_bytes = _lines(content, path)
        found, entries = _parse(lines, path) if lines else (header, [])
        _compare(found, header, path)
        if entries:
            os.ftruncate(descriptor, good_bytes)
            os.lseek(descriptor, 0, os.SEEK_END)
            return cls(path, found, entries, descriptor)
        os.ftruncate(descriptor, 0)
        journal = cls(path, header, (), descriptor)
        told = {"esfsm_journal": FORMAT, **header._asdict(), "settings": header.settings.model_dump(mode="json")}
        journal._write(_line(told))
        journal.sync()
        sync_directory(path.parent)
        return journal

    def take_entries(self) -> Iterator[Entry]:
        """What was there when it was opened, once: it is let go of as it is taken."""
        entries, self._entries = self._entries, ()
        yield from entries

    def append(self, facts: Iterable[Fact], at: float) -> list[Entry]:
        """Write facts in one go, heard at the time `at`; returns them with their numbers. `sync` makes them last."""
        entries = []
        for fact in facts:
            self._number += 1
            entries.append(Entry(self._number, replace(fact, at=at), None))
        self._write(b"".join(_line(_told(entry)) for entry in entries))
        return entries

    def decided(self, upto: int, decisions: Mapping[int, Sequence[Action]]) -> None:
        """Write down what was decided because of the facts up to number `upto`; those left out led to nothing."""
        then = {str(number): [gist(action) for action in actions] for number, actions in decisions.items() if actions}
        self._write(_line({"decided": upto, "then": then}))

    def sync(self) -> None:
        """Return when all that was written survives a power failure."""
        if self._unsynced:
            try:
                os.fdatasync(self._descriptor)
            except OSError as error:
                raise JournalError(self.path, f"{error.strerror}") from None
            self._unsynced = False

    def close(self) -> None:
        """Sync and let go of the file, which is unlocked in any case."""
        try:
            self.sync()
        finally:
            os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, content: bytes) -> None:
        """Write all of it; a disk that is full is the end of this engine, not of what is written already."""
        view = memoryview(content)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as error:
            raise JournalError(self.path, f"{error.strerror}") from None
        self._unsynced = self._unsynced or bool(content)


def read(path: Path) -> tuple[Header, list[Entry]]:
    """A journal for readers; a torn last line is left out. Raises `UnusableJournal`."""
    if path.is_fifo():  # nobody may ever write to it
        raise UnusableJournal(path, "it is no regular file")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UnusableJournal(path, f"{error.strerror}") from None
    lines, _ = _lines(content, path)
    if not lines:
        raise UnusableJournal(path, "it is empty")
    return _parse(lines, path)


def _line(told: dict[str, Any]) -> bytes:
    try:
        body = orjson.dumps(told, default=_as_json)[:-1]
    except orjson.JSONEncodeError:  # a file name that is no UTF-8: what cannot be said becomes "?"
        text = json.dumps(told, default=_as_json, ensure_ascii=False, separators=(",", ":"))
        body = text.encode(errors="replace")[:-1]
    return body + b',"crc":"%08x"}\n' % crc32(body)


def _as_json(value: object) -> object:
    """What orjson, or json, does not know by itself."""
    if isinstance(value, EventRange):
        return value.as_panda()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, FileCopy):
        return asdict(value)
    raise TypeError(type(value).__name__)


def _told(entry: Entry) -> dict[str, Any]:
    """A fact as it is written: defaults are left out."""
    fact = entry.fact
    told: dict[str, Any] = {"nr": entry.number, "at": fact.at, "fact": fact.name}
    for field in fields(fact):
        value = getattr(fact, field.name)
        if field.name != "at" and value != field.default:
            told[field.name] = value
    return told


def _lines(content: bytes, path: Path) -> tuple[list[dict[str, Any]], int]:
    """The lines whose checksum is right, and how many bytes they are. Only the last line may be torn."""
    if content[: len(BEGINNING)] != BEGINNING[: len(content)]:
        raise UnusableJournal(path, "this is no journal; choose another work directory")
    lines: list[dict[str, Any]] = []
    good_bytes = 0
    raw = content.split(b"\n")
    for number, line in enumerate(raw, 1):
        body, _, crc = line.rpartition(b',"crc":"')
        whole = number < len(raw) and crc.endswith(b'"}') and crc[:-2] == b"%08x" % crc32(body)
        if not whole:
            if any(raw[number:]):
                raise UnusableJournal(path, f"line {number} is damaged; restore it or choose another work directory")
            break
        lines.append(orjson.loads(line))
        good_bytes += len(line) + 1
    return lines, good_bytes


def _parse(lines: list[dict[str, Any]], path: Path) -> tuple[Header, list[Entry]]:
    first, *rest = lines
    version = first.get("esfsm_journal")
    if version != FORMAT:
        raise UnusableJournal(path, f"format {version} is not known to this version, which reads {FORMAT}")
    try:
        told = (first["panda_id"], first["run"], first["workflow"], first["tables"], first["job"])
        header = Header(*told, Settings.model_validate(first["settings"]))
    except (KeyError, ValidationError):
        raise UnusableJournal(path, "its first line is of another version; finish it with that one") from None
    return header, _entries(rest, path)


def _entries(lines: list[dict[str, Any]], path: Path) -> list[Entry]:
    """Facts in their order, each with what was decided because of it."""
    entries: list[Entry] = []
    decided = 0
    for told in lines:
        if "fact" in told:
            if told["nr"] != len(entries) + 1:
                raise UnusableJournal(path, f"fact {told['nr']} stands where {len(entries) + 1} should")
            entries.append(Entry(told["nr"], _fact(told, path), None))
            continue
        if told["decided"] > len(entries):
            raise UnusableJournal(
                path, f"fact {len(entries) + 1} is missing; restore it or choose another work directory"
            )
        for number in range(decided + 1, told["decided"] + 1):
            then = tuple(told["then"].get(str(number), ()))
            entries[number - 1] = entries[number - 1]._replace(then=then)
        decided = told["decided"]
    return entries


def _fact(told: dict[str, Any], path: Path) -> Fact:
    """The fact that a line tells of."""
    name = told["fact"]
    if name not in FACTS:
        raise UnusableJournal(path, f"fact {told['nr']} is {name}, which this version does not know")
    if name not in _ADAPTERS:
        _ADAPTERS[name] = TypeAdapter(FACTS[name])
    content = {key: value for key, value in told.items() if key not in ("nr", "fact", "crc")}
    try:
        fact: Fact = _ADAPTERS[name].validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        raise UnusableJournal(path, f"fact {told['nr']} ({name}): {first['loc']}: {first['msg']}") from None
    return fact


def _compare(found: Header, given: Header, path: Path) -> None:
    """Refuse the journal of another job, or one that was decided by other tables."""
    if found.panda_id != given.panda_id:
        raise UnusableJournal(
            path, f"it is of job {found.panda_id}, not of {given.panda_id}; choose another work directory"
        )
    if (found.workflow, found.tables) != (given.workflow, given.tables):
        raise UnusableJournal(
            path,
            f"it was written with another table ({found.workflow} {found.tables}, now {given.workflow} "
            f"{given.tables}); finish it with the version that began it, or choose another work directory",
        )
