"""One line of a journal: an object, and the checksum that tells whether it is whole."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any
from zlib import crc32

import orjson

from esfsm.core.facts import FileCopy
from esfsm.errors import UnusableJournal
from esfsm.model.event_range import EventRange

__all__ = ["Lines", "line"]

BEGINNING = b'{"esfsm_journal":'
CHECKSUM = b',"crc":"%08x"}\n'
CHECKSUM_BYTES = len(CHECKSUM % 0)


def line(told: dict[str, Any]) -> bytes:
    """An object as a line, its end of line included."""
    try:
        body = orjson.dumps(told, default=_as_json)[:-1]
    except orjson.JSONEncodeError:  # a file name that is no UTF-8: what cannot be said becomes "?"
        text = json.dumps(told, default=_as_json, ensure_ascii=False, separators=(",", ":"))
        body = text.encode(errors="replace")[:-1]
    return body + CHECKSUM % crc32(body)


def _as_json(value: object) -> object:
    """What orjson, or json, does not know by itself."""
    if isinstance(value, EventRange):
        return value.as_panda()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, FileCopy):
        return asdict(value)
    raise TypeError(type(value).__name__)


class Lines:
    """The objects of a journal's lines, in order, as long as they are whole; each is read when it is asked for.

    Raises `UnusableJournal` for what is no journal, for damage before something that was surely on the disk, and for a
    line that is whole and no JSON.
    """

    def __init__(self, raw: Iterable[bytes], path: Path) -> None:
        self._raw, self._path = iter(raw), path
        self._says_synced = False
        self.good_bytes = 0
        """The size of all lines read so far; what is behind the last one is to be cut off."""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        facts = 0
        for number, raw in enumerate(self._raw, 1):
            if number == 1 and raw[: len(BEGINNING)] != BEGINNING[: len(raw)] and raw[:1] != b"\0":
                raise UnusableJournal(self._path, "this is no journal; choose another work directory")
            told = self._told(raw, number)
            if told is None:
                self._must_be_the_end(number, facts)
                return
            if number == 1:
                self._says_synced = told["esfsm_journal"] != 1
            facts += "fact" in told
            self.good_bytes += len(raw)
            yield told

    def _must_be_the_end(self, number: int, facts: int) -> None:
        """Refuse damage in line `number` if a later one says that something after so many facts was on the disk.

        Format 1 does not say so, nor can a damaged first line: there anything behind it counts. So does what says
        something else than a number of facts.
        """
        for later, raw in enumerate(self._raw, number + 1):
            said = self._told(raw, later) if self._says_synced else {"synced": facts + bool(raw.strip(b"\0\n"))}
            if said is not None and said.get("synced", 0) not in range(facts + 1):
                sentence = f"line {number} is damaged; restore it or choose another work directory"
                raise UnusableJournal(self._path, sentence)

    def _told(self, raw: bytes, number: int) -> dict[str, Any] | None:
        """The object of a line, as JSON that ends in a checksum is one; None if it is not whole."""
        if raw[-CHECKSUM_BYTES:] != CHECKSUM % crc32(raw[:-CHECKSUM_BYTES]):
            return None
        try:
            told: dict[str, Any] = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            raise UnusableJournal(self._path, f"line {number} is whole, but it is no JSON: {error.msg}") from None
        return told
