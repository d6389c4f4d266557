"""Damage to a journal: what was not surely on the disk is cut off, any other is refused, nothing false is believed."""

from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shell.disks import FileInMemory
from shell.journals import FEW, FORMAT_1, entries, gone_on, honest, told, written

from esfsm.core.facts import RangesWanted
from esfsm.errors import UnusableJournal
from esfsm.journal.formats import Entry

Step = int | str
"""So many facts are written; or `decided`, or `sync`."""

STEPS: list[Step] = [2, "decided", "sync", 2, "decided", 1, "decided"]
"""Line 1 is the header, 2 and 3 are facts that the decision in line 7 calls synced."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def file_with(steps: list[Step]) -> tuple[FileInMemory, list[Entry], int]:
    """A journal that went through these steps, its entries, and how many of them were synced."""
    file = FileInMemory()
    journal, facts = gone_on(file)
    synced = decided = 0
    for step in steps:
        if step == "sync":
            journal.sync()
            synced = len(facts)
        elif step == "decided":
            journal.decided({entry.number: ("-> somewhere",) for entry in facts[decided:][-1:]})
            decided = len(facts)
        else:
            assert isinstance(step, int)
            facts += journal.append([RangesWanted(n=len(facts) + i) for i in range(step)], 1.0)
    return file, facts, synced


def read_back(content: bytes) -> list[Entry]:
    """The entries of a journal that an engine goes on with."""
    return gone_on(FileInMemory(content))[1]


def without_decisions(told: list[Entry]) -> list[Entry]:
    return [entry._replace(then=None) for entry in told]


DAMAGES = {
    "another byte": lambda line: line[:15] + bytes([line[15] ^ 1]) + line[16:],
    "zeros": lambda line: bytes(len(line)),
    "a line break": lambda line: line[:15] + b"\n" + line[15:],
    "half a line": lambda line: line[: len(line) // 2],
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize(("line", "kept"), [(4, 2), (5, 2), (6, 3), (7, 4), (8, 4), (9, 5)])
def test_damage_behind_which_nothing_was_surely_on_the_disk_is_the_end(line: int, kept: int, damage) -> None:
    file, facts, _ = file_with(STEPS)
    lines = file.content.splitlines(keepends=True)
    good = b"".join(lines[: line - 1])
    lines[line - 1] = damage(lines[line - 1])
    damaged = FileInMemory(b"".join(lines))
    journal, past = gone_on(damaged)
    assert without_decisions(past) == without_decisions(facts[:kept])
    assert damaged.content == good
    assert journal.append(FEW, 2.0)[0].number == kept + 1
    assert len(read_back(damaged.content)) == kept + 2


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("line", [2, 3])
def test_damage_before_what_was_surely_on_the_disk_is_refused_with_its_line_and_what_to_do(
    path: Path, line: int, damage
) -> None:
    lines = file_with(STEPS)[0].content.splitlines(keepends=True)
    lines[line - 1] = damage(lines[line - 1])
    path.write_bytes(damaged := b"".join(lines))
    sentence = f"line {line} is damaged; restore it or choose another work directory"
    for use in (entries, written):
        with pytest.raises(UnusableJournal, match=sentence):
            use(path)
    assert path.read_bytes() == damaged


def test_a_damaged_first_line_is_refused_where_anything_follows(path: Path) -> None:
    written(path, FEW)
    path.write_bytes(damaged := path.read_bytes().replace(b"eventservice", b"EventService", 1))
    for use in (entries, written):
        with pytest.raises(UnusableJournal, match="line 1 is damaged"):
            use(path)
    assert path.read_bytes() == damaged


def test_a_first_line_that_is_torn_at_any_byte_is_written_again() -> None:
    content = file_with([])[0].content
    for size in range(len(content)):
        file = FileInMemory(content[:size])
        assert gone_on(file)[1] == []
        assert file.content == content


def test_a_last_line_that_is_torn_at_any_byte_is_cut_off_and_the_rest_is_kept() -> None:
    file, facts, _ = file_with([2, 2])
    last = file.content.rindex(b"\n", 0, -1) + 1
    for size in range(last, len(file.content)):
        torn = FileInMemory(file.content[:size])
        assert gone_on(torn)[1] == facts[:3]
        assert torn.content == file.content[:last]


def test_a_torn_line_is_cut_off_and_more_than_that_is_kept_aside(path: Path) -> None:
    aside = path.with_name("journal.jsonl.cut")
    written(path, FEW)
    content = path.read_bytes()
    path.write_bytes(content + b'{"nr":3,')
    assert len(written(path)) == 0
    assert (path.read_bytes(), aside.exists()) == (content, False)
    path.write_bytes(content + b'{"nr":3,\n{"nr":4,')
    assert len(written(path)) == 0
    assert (path.read_bytes(), aside.read_bytes()) == (content, b'{"nr":3,\n{"nr":4,')


def test_a_reader_passes_over_what_is_damaged_at_the_end_and_changes_nothing(path: Path) -> None:
    written(path, FEW)
    with path.open("ab") as file:
        file.write(bytes(300))
    content = path.read_bytes()
    assert len(told(path)) == 2
    assert path.read_bytes() == content


@pytest.mark.parametrize("line", [2, 7, 20])
def test_damage_in_an_older_format_is_refused_wherever_anything_follows(path: Path, line: int) -> None:
    lines = FORMAT_1.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[: line - 1], DAMAGES["another byte"](lines[line - 1]), *lines[line:]]))
    with pytest.raises(UnusableJournal, match=f"line {line} is damaged"):
        entries(path)


def test_zeros_behind_an_older_format_are_passed_over(path: Path) -> None:
    path.write_bytes(FORMAT_1.read_bytes() + bytes(300))
    assert len(entries(path)) == 21


@pytest.mark.parametrize("missing", [1, 2])
def test_a_fact_that_is_missing_before_what_was_decided_because_of_it_is_noticed(missing: int) -> None:
    lines = file_with([2, "decided"])[0].content.splitlines(keepends=True)
    with pytest.raises(UnusableJournal, match="2 facts should stand here, and 1 do; restore it or choose another work"):
        read_back(b"".join(line for number, line in enumerate(lines) if number != missing))


def test_two_journals_in_one_file_are_noticed() -> None:
    content = bytes(file_with([2, "decided"])[0].content)
    with pytest.raises(UnusableJournal, match="it holds the lines of another journal"):
        read_back(content + content)


def test_a_fact_that_stands_there_twice_is_noticed() -> None:
    lines = file_with([2, "decided"])[0].content.splitlines(keepends=True)
    with pytest.raises(UnusableJournal, match="2 facts should stand here, and 3 do"):
        read_back(b"".join([*lines[:2], *lines[1:]]))


def test_a_fact_of_format_1_that_is_missing_is_noticed() -> None:
    lines = FORMAT_1.read_bytes().splitlines(keepends=True)
    numbers = [number for number, line in enumerate(lines) if b'"nr":2,' in line]
    with pytest.raises(UnusableJournal, match="fact 3 stands where 2 should"):
        read_back(
            b"".join(line for number, line in enumerate(lines) if number not in numbers and b"decided" not in line)
        )


def test_a_line_of_another_journal_is_noticed() -> None:
    content = file_with([2])[0].content
    stranger = honest(b'{"nr":7,"at":1.0,"fact":"job_reported","crc":""}') + b"\n"
    with pytest.raises(UnusableJournal, match="fact 7 stands where 3 should"):
        read_back(content + stranger)


# --- any journal, any damage --------------------------------------------------------------------------------------

ANY_STEPS = st.lists(st.integers(1, 3) | st.sampled_from(["decided", "sync"]), max_size=12)


@given(steps=ANY_STEPS, left=st.integers(0, 2000), at=st.integers(0, 2000), noise=st.binary(max_size=200))
def test_a_power_failure_costs_nothing_that_was_synced(steps: list[Step], left: int, at: int, noise: bytes) -> None:
    """Behind what was synced anything may be there, or missing."""
    file, facts, synced = file_with(steps)
    safe, rest = file.content[: file.synced_bytes], file.content[file.synced_bytes :]
    rest = (rest[:at] + noise + rest[at + len(noise) :])[:left]
    kept = read_back(safe + rest)
    assert len(kept) >= synced
    assert without_decisions(kept) == without_decisions(facts[: len(kept)])


@given(steps=ANY_STEPS, at=st.integers(0, 2000), noise=st.binary(min_size=1, max_size=20))
def test_nothing_that_was_not_written_is_ever_believed(steps: list[Step], at: int, noise: bytes) -> None:
    file, facts, _ = file_with(steps)
    content = file.content[:at] + noise + file.content[at + len(noise) :]
    try:
        kept = read_back(content)
    except UnusableJournal:
        return
    assert without_decisions(kept) == without_decisions(facts[: len(kept)])


@given(steps=ANY_STEPS)
def test_a_journal_can_be_cut_off_behind_each_line(steps: list[Step]) -> None:
    file, facts, _ = file_with(steps)
    for size in accumulate(map(len, file.content.splitlines(keepends=True))):
        kept = read_back(file.content[:size])
        assert without_decisions(kept) == without_decisions(facts[: len(kept)])
