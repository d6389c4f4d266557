"""Journals for tests: whose they are, what is written, and what is read."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from zlib import crc32

from esfsm.core.facts import Fact, JobClassified, RangesExhausted
from esfsm.journal.file import AppendOnly
from esfsm.journal.formats import Entry, Header
from esfsm.journal.reader import read
from esfsm.journal.writer import Journal
from esfsm.model.settings import Settings

FORMAT_1 = Path(__file__).parent / "data" / "format-1.jsonl"
"""Of a job whose reports nobody answered, as it was written before there were states and syncs in a journal."""

HEADER = Header(7000000123, "one", "eventservice", "1a2b-3c4d", {"PandaID": 7000000123}, Settings(cores=2))
FEW = (JobClassified(answers=1, kind="eventservice", why="eventService is set"), RangesExhausted(answers=2))


def gone_on(file: AppendOnly, header: Header | None = HEADER) -> tuple[Journal, list[Entry]]:
    """A journal that is open for writing, and what was there."""
    journal = Journal(file, header)
    return journal, list(journal.take_entries())


def written(path: Path, *groups: Sequence[Fact], header: Header = HEADER) -> list[Fact]:
    """Write groups of facts behind what is there; the first one 1.5 s after 1970, each other one a second later."""
    with Journal.open(path, header) as journal:
        list(journal.take_entries())
        return [entry.fact for number, group in enumerate(groups) for entry in journal.append(group, 1.5 + number)]


def entries(path: Path) -> list[Entry]:
    return list(read(path)[1])


def told(path: Path) -> list[Fact]:
    return [entry.fact for entry in entries(path)]


def changed(journal: Path, before: bytes, after: bytes) -> None:
    """Change the first line that has `before`, as an honest writer would have written it."""
    lines = journal.read_bytes().splitlines()
    at = next(number for number, line in enumerate(lines) if before in line)
    lines[at] = honest(lines[at].replace(before, after))
    journal.write_bytes(b"\n".join([*lines, b""]))


def honest(line: bytes) -> bytes:
    """A line with the checksum that its content has."""
    body = line.rpartition(b',"crc":')[0]
    return body + b',"crc":"%08x"}' % crc32(body)


def sealed(told: Mapping[str, object] | bytes) -> bytes:
    """A line that says anything at all, or an object, with the checksum that it has."""
    body = told if isinstance(told, bytes) else json.dumps(told, separators=(",", ":")).encode()[:-1]
    return honest(body + b',"crc":"') + b"\n"
