"""A journal for readers: nothing is locked, and nothing is changed. A work directory stands for the journal in it."""

from collections.abc import Generator, Iterator
from pathlib import Path

from esfsm.durable import BUFFER_BYTES
from esfsm.errors import UnusableJournal
from esfsm.journal.file import JOURNAL
from esfsm.journal.formats import Entry, Header, entries_of, header_of
from esfsm.journal.lines import Lines

__all__ = ["read", "read_header"]


def read(path: Path) -> tuple[Header, Iterator[Entry]]:
    """Whose journal it is, and its entries as they are read; what is torn at its end is left out.

    Raises `UnusableJournal`, for damage further on when it is come to.
    """
    path = _in(path)
    lines = iter(Lines(_raw(path), path))
    first = next(lines, None)
    if first is None:
        raise UnusableJournal(path, "it is empty")
    header = header_of(first, path)
    return header, entries_of(lines, header.format, path)


def read_header(path: Path) -> Header:
    """Whose journal it is. Raises `UnusableJournal`."""
    path = _in(path)
    raw = _raw(path)
    try:
        told = next(iter(Lines(raw, path)), None)
    finally:
        raw.close()
    if told is None:
        raise UnusableJournal(path, "it is empty")
    return header_of(told, path)


def _in(place: Path) -> Path:
    try:
        return place / JOURNAL if place.is_dir() else place
    except OSError as error:
        raise UnusableJournal(place, f"{error.strerror}") from None


def _raw(path: Path) -> Generator[bytes]:
    try:
        if path.exists() and not path.is_file():  # a fifo that nobody writes to, an endless device
            raise UnusableJournal(path, "it is no regular file")
        with path.open("rb", buffering=BUFFER_BYTES) as file:
            yield from file
    except OSError as error:
        raise UnusableJournal(path, f"{error.strerror}") from None
