"""Journals on disks that are full, slow or broken: what was written stays, and the engine ends with a sentence."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from shell.disks import FileInMemory, room_for
from shell.journals import FEW, HEADER, gone_on, told, written

from esfsm.core.facts import MessageUnreadable, OutputProduced
from esfsm.errors import JournalError, UnusableJournal
from esfsm.journal.file import UNSYNCED_LIMIT_BYTES, JournalFile
from esfsm.journal.writer import Journal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


# --- disks that fail ----------------------------------------------------------------------------------------------


def begun() -> tuple[FileInMemory, Journal]:
    file = FileInMemory()
    return file, gone_on(file)[0]


@pytest.mark.parametrize(
    ("what", "use"),
    [
        ("write", lambda journal: journal.append(FEW, 1.0)),
        ("write", lambda journal: journal.decided({1: ("-> classified",)})),
        ("sync", lambda journal: (journal.append(FEW, 1.0), journal.sync())),
        ("sync", lambda journal: (journal.append(FEW, 1.0), journal.close())),
    ],
)
def test_a_disk_that_fails_ends_the_engine_with_what_to_do(what: str, use: Callable[[Journal], object]) -> None:
    file, journal = begun()
    file.broken = (what,)
    with pytest.raises(JournalError, match=r"Input/output error; run the same command again to go on"):
        use(journal)


@pytest.mark.parametrize("what", ["cut", "write", "sync"])
def test_a_journal_that_cannot_be_begun_is_refused(what: str) -> None:
    with pytest.raises(JournalError, match="Input/output error"):
        Journal(FileInMemory(broken=(what,)), HEADER)


@pytest.mark.parametrize("what", ["cut", "sync"])
def test_a_journal_whose_end_cannot_be_cut_off_is_not_gone_on_with(what: str) -> None:
    file, journal = begun()
    journal.append(FEW, 1.0)
    torn = FileInMemory(file.content + b"{", broken=(what,))
    with pytest.raises(JournalError, match="Input/output error"):
        gone_on(torn)


@pytest.mark.parametrize("content", [b"", begun()[0].content], ids=["at once", "later"])
def test_a_journal_that_cannot_be_read_is_refused(content: bytes) -> None:
    with pytest.raises(UnusableJournal, match="it cannot be read: Input/output error"):
        gone_on(FileInMemory(content, broken=("lines",)))


def test_a_file_is_let_go_of_though_it_cannot_be_synced() -> None:
    file, journal = begun()
    file.broken = ("sync",)
    with pytest.raises(JournalError), journal:
        journal.append(FEW, 1.0)
    assert file.closed


def test_a_file_of_the_system_is_unlocked_though_it_cannot_be_synced(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: int) -> None:
        raise OSError(5, "Input/output error")

    journal = Journal.open(path, HEADER)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", fails)
        with pytest.raises(JournalError, match="Input/output error"), journal:
            journal.append(FEW, 1.0)
    Journal.open(path, HEADER).close()


def test_a_full_disk_ends_the_engine_and_spares_what_was_written(path: Path) -> None:
    written(path, FEW)
    with (
        room_for(path.stat().st_size + 100),
        pytest.raises(JournalError, match=r"File too large; run the same command again to go on"),
    ):
        written(path, FEW)
    assert told(path)[:2] == [replace(fact, at=1.5) for fact in FEW]
    assert len(written(path, FEW)) == 2


def test_what_the_kernel_takes_only_in_pieces_is_written_whole(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, view: write(descriptor, view[:7]))
    fact = OutputProduced(event_range_id="1-2-3-4-5", paths=("a", "b"), size_bytes=10**12)
    written(path, (fact,))
    assert told(path) == [replace(fact, at=1.5)]


def test_what_is_kept_of_a_journal_is_written_once_more_and_stays_as_it_is(path: Path) -> None:
    content = os.urandom(UNSYNCED_LIMIT_BYTES + 5000) + b"\n"
    path.write_bytes(content + b"torn")
    file = JournalFile.open(path)
    try:
        file.cut(len(content))
        file.write(b"next")
    finally:
        file.close()
    assert path.read_bytes() == content + b"next"


# --- what is synced -----------------------------------------------------------------------------------------------


def test_a_journal_that_is_begun_lasts() -> None:
    file, _ = begun()
    assert file.content
    assert file.unsynced_bytes == 0


def test_a_journal_is_synced_only_where_something_was_written() -> None:
    file, journal = begun()
    before = file.syncs
    journal.sync()
    journal.append((), 1.0)
    journal.sync()
    assert file.syncs == before
    journal.append(FEW, 1.0)
    assert file.syncs == before
    journal.sync()
    journal.close()
    assert (file.syncs, file.unsynced_bytes) == (before + 1, 0)


def test_a_journal_knows_when_much_of_it_is_unsynced() -> None:
    file, journal = begun()
    while file.unsynced_bytes < UNSYNCED_LIMIT_BYTES // 2:
        assert not journal.has_much_unsynced
        journal.append([MessageUnreadable(text="x" * 100_000, why="it is long")], 1.0)
    assert journal.has_much_unsynced
    journal.sync()
    assert not journal.has_much_unsynced
