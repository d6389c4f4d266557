"""The journal: what is written is what is read, whatever happens to its end; nothing else is ever believed."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shell.disks import room_for

from esfsm.core.actions import RequestRanges, SetAlarm
from esfsm.core.facts import (
    FACTS,
    Fact,
    JobClassified,
    JobReported,
    MergeIncomplete,
    OutputProduced,
    PayloadStarted,
    RangesExhausted,
    RangesGranted,
)
from esfsm.errors import JournalError, UnusableJournal
from esfsm.journal import Header, Journal, read
from esfsm.model.event_range import EventRange
from esfsm.model.settings import Settings

HEADER = Header(7000000123, "one", "eventservice", "1a2b-3c4d", {"PandaID": 7000000123}, Settings(cores=2))
FEW = (JobClassified(answers=1, kind="eventservice", why="eventService is set"), RangesExhausted(answers=2))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def written(path: Path, *groups: tuple[Fact, ...], header: Header = HEADER) -> list[Fact]:
    with Journal.open(path, header) as journal:
        return [entry.fact for number, group in enumerate(groups) for entry in journal.append(group, 1.5 + number)]


def told(path: Path) -> list[Fact]:
    return [entry.fact for entry in read(path)[1]]


# --- facts ------------------------------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(st.none() | st.booleans() | st.integers(-(2**63), 2**63) | TEXT, st.lists, max_leaves=3)


@st.composite
def event_ranges(draw: st.DrawFn) -> EventRange:
    start = draw(st.integers(0, 2**40))
    said = {"eventRangeID": f"1-2-3-{start}-1", "startEvent": start, "lastEvent": start + draw(st.integers(0, 9))}
    return EventRange.model_validate({**draw(st.dictionaries(st.sampled_from("abc"), JSON)), **said})


st.register_type_strategy(EventRange, event_ranges())
st.register_type_strategy(str, TEXT)
st.register_type_strategy(int, st.integers(-(2**63), 2**63 - 1))
st.register_type_strategy(float, st.floats(allow_nan=False, allow_infinity=False))


def facts(kind: type[Fact]) -> st.SearchStrategy[Fact]:
    hints = get_type_hints(kind)
    kinds = {field.name: st.from_type(hints[field.name]) for field in fields(kind) if field.name != "at"}
    if "settings" in kinds:
        kinds["settings"] = st.dictionaries(TEXT, JSON)
    return st.builds(kind, **kinds)


@pytest.mark.parametrize("kind", FACTS.values(), ids=list(FACTS))
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_every_fact_is_read_as_it_was_written(kind: type[Fact], data: st.DataObject) -> None:
    fact = data.draw(facts(kind))
    with TemporaryDirectory() as directory:
        path = Path(directory, "journal.jsonl")
        assert written(path, (fact,)) == told(path) == [replace(fact, at=1.5)]


@pytest.mark.parametrize("kind", FACTS.values(), ids=list(FACTS))
def test_no_field_of_a_fact_has_a_name_that_the_journal_needs(kind: type[Fact]) -> None:
    own = {field.name for field in fields(kind)} - {field.name for field in fields(Fact)}
    assert not own & {"nr", "fact", "crc", "decided", "then", "name"}
    assert {"at", "answers"} <= {field.name for field in fields(kind)}


def test_a_key_of_an_event_range_that_nobody_knows_survives(path: Path) -> None:
    said = {"eventRangeID": "1-2-3-4-5", "startEvent": 1, "lastEvent": 2, "LFN": "x", "GUID": None, "scope": "mc"}
    granted = RangesGranted(event_ranges=(EventRange.model_validate({**said, "objstoreID": [7, {"a": None}]}),))
    written(path, (granted,))
    (fact,) = told(path)
    assert isinstance(fact, RangesGranted)
    assert fact.event_ranges[0].as_panda() == {**said, "objstoreID": [7, {"a": None}]}


def test_bytes_of_a_name_that_are_no_utf_8_become_question_marks(path: Path) -> None:
    written(path, (MergeIncomplete(error_code=1103, why=os.fsdecode(b"member 'caf\xe9': a fifo")),))
    assert told(path) == [MergeIncomplete(at=1.5, error_code=1103, why="member 'caf?': a fifo")]


def test_a_default_is_not_written(path: Path) -> None:
    written(path, (JobReported(),))
    assert json.loads(path.read_bytes().splitlines()[1]).keys() == {"nr", "at", "fact", "crc"}


def test_facts_are_numbered_through_all_groups_and_lives(path: Path) -> None:
    written(path, FEW, FEW)
    with Journal.open(path, HEADER) as journal:
        assert [entry.number for entry in journal.take_entries()] == [1, 2, 3, 4]
        assert [entry.number for entry in journal.append(FEW, 9.0)] == [5, 6]
    assert [(entry.number, entry.fact.at) for entry in read(path)[1]][3:] == [(4, 2.5), (5, 9.0), (6, 9.0)]


def test_a_job_that_is_taken_up_again_keeps_the_name_of_its_run(path: Path) -> None:
    written(path, FEW)
    with Journal.open(path, HEADER._replace(run="two", settings=Settings(cores=8))) as journal:
        assert journal.header == HEADER


def test_a_job_of_which_no_fact_is_written_begins_anew(path: Path) -> None:
    written(path)
    header = HEADER._replace(run="two", settings=Settings(cores=8))
    written(path, header=header)
    assert read(path) == (header, [])


def test_what_was_decided_stands_behind_its_facts(path: Path) -> None:
    with Journal.open(path, HEADER) as journal:
        journal.append((*FEW, *FEW), 1.0)
        journal.decided(3, {1: [RequestRanges(number=3, n=5), SetAlarm(number=4, when=2.5)], 2: [], 3: []})
    assert [entry.then for entry in read(path)[1]] == [("request_ranges 3: 5 by 0", "set_alarm 4: 2.5"), (), (), None]


# --- the end of the file ----------------------------------------------------------------------------------------


def test_a_last_line_that_is_torn_at_any_byte_is_cut_off_and_the_rest_is_kept(path: Path) -> None:
    written(path, FEW, FEW)
    content = path.read_bytes()
    last = content.rindex(b"\n", 0, -1) + 1
    for size in range(last, len(content)):
        path.write_bytes(content[:size])
        assert len(read(path)[1]) == 3
        with Journal.open(path, HEADER) as journal:
            assert len(list(journal.take_entries())) == 3
        assert path.read_bytes() == content[:last]


def test_a_first_line_that_is_torn_at_any_byte_is_written_again(path: Path) -> None:
    written(path)
    content = path.read_bytes()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        with Journal.open(path, HEADER) as journal:
            assert not list(journal.take_entries())
        assert path.read_bytes() == content


def test_a_last_line_that_a_disk_filled_with_zeros_is_cut_off(path: Path) -> None:
    written(path, FEW)
    with path.open("ab") as file:
        file.write(bytes(300))
    assert len(told(path)) == 2


@pytest.mark.parametrize("line", [1, 2, 3, 4])
def test_damage_before_the_last_line_is_refused_with_its_line_and_what_to_do(path: Path, line: int) -> None:
    written(path, FEW, FEW)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[line - 1] = lines[line - 1].replace(b":", b";", 2).replace(b";", b":", 1)
    damaged = b"".join(lines)
    path.write_bytes(damaged)
    for use in (lambda: read(path), lambda: Journal.open(path, HEADER)):
        with pytest.raises(
            UnusableJournal, match=f"line {line} is damaged; restore it or choose another work directory"
        ):
            use()
    assert path.read_bytes() == damaged


def test_damage_is_refused_even_where_only_a_torn_line_follows(path: Path) -> None:
    written(path, FEW)
    lines = path.read_bytes().splitlines(keepends=True)
    damaged = lines[0] + lines[1].replace(b"eventService", b"eventservice") + lines[2][:-5]
    path.write_bytes(damaged)
    with pytest.raises(UnusableJournal, match="line 2 is damaged"):
        Journal.open(path, HEADER)
    assert path.read_bytes() == damaged


def test_a_line_that_is_missing_is_noticed(path: Path) -> None:
    written(path, FEW, FEW)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2] + lines[3:]))
    with pytest.raises(UnusableJournal, match="fact 3 stands where 2 should"):
        read(path)


def test_a_fact_that_is_missing_before_what_was_decided_because_of_it_is_noticed(path: Path) -> None:
    with Journal.open(path, HEADER) as journal:
        journal.append(FEW, 1.0)
        journal.decided(2, {2: [RequestRanges(number=3, n=5)]})
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2] + lines[3:]))
    with pytest.raises(UnusableJournal, match="fact 2 is missing; restore it or choose another work directory"):
        read(path)


# --- whose journal it is ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"panda_id": 7}, "it is of job 7000000123, not of 7; choose another work directory"),
        ({"tables": "ffff-3c4d"}, "written with another table .eventservice 1a2b-3c4d, now eventservice ffff-3c4d."),
        ({"workflow": "mine"}, "written with another table .eventservice 1a2b-3c4d, now mine 1a2b-3c4d."),
    ],
)
def test_the_journal_of_another_job_or_table_is_refused(path: Path, other: Mapping[str, Any], why: str) -> None:
    written(path, FEW)
    content = path.read_bytes()
    with pytest.raises(UnusableJournal, match=why):
        Journal.open(path, HEADER._replace(**other))
    assert path.read_bytes() == content


def test_another_format_is_refused_by_its_number(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("esfsm.journal.FORMAT", 2)
        written(path, FEW)
    with pytest.raises(UnusableJournal, match="format 2 is not known to this version, which reads 1"):
        read(path)


def test_a_fact_that_this_version_does_not_know_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(path, FEW)
    monkeypatch.delitem(FACTS, "ranges_exhausted")
    with pytest.raises(UnusableJournal, match="fact 2 is ranges_exhausted, which this version does not know"):
        read(path)


def test_a_fact_with_a_content_that_it_cannot_have_is_refused(path: Path) -> None:
    written(path, (PayloadStarted(pid="no number", started=1),))  # type: ignore[arg-type]
    with pytest.raises(UnusableJournal, match=r"fact 1 \(payload_started\): .*pid"):
        read(path)


@pytest.mark.parametrize("content", [b"hello", b"hello\nworld\n", b"\x89PNG\r\n\x1a\n\0\0\0\r", b'{"a": 1}\n', b"\n\n"])
def test_a_file_that_is_no_journal_is_refused_and_not_touched(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    for use in (lambda: read(path), lambda: Journal.open(path, HEADER)):
        with pytest.raises(UnusableJournal, match="this is no journal"):
            use()
    assert path.read_bytes() == content


def test_an_empty_file_is_begun_but_tells_nothing(path: Path) -> None:
    path.touch()
    with pytest.raises(UnusableJournal, match="it is empty"):
        read(path)
    written(path, FEW)
    assert len(told(path)) == 2


@pytest.mark.parametrize("use", [read, lambda path: Journal.open(path, HEADER)])
def test_a_place_that_holds_no_file_is_refused(tmp_path: Path, use: Any) -> None:
    with pytest.raises(UnusableJournal, match="directory"):
        use(tmp_path)
    with pytest.raises(UnusableJournal, match="No such file"):
        use(tmp_path / "nowhere" / "journal.jsonl")


@pytest.mark.parametrize("place", ["/dev/null", "fifo"])
def test_a_place_that_is_no_regular_file_is_refused(tmp_path: Path, place: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(UnusableJournal, match="it is no regular file"):
        Journal.open(tmp_path / place, HEADER)


def test_settings_that_this_version_does_not_take_are_refused(path: Path) -> None:
    written(path, FEW, header=HEADER._replace(settings=Settings.model_construct(cores=0)))
    with pytest.raises(UnusableJournal, match="its first line is of another version; finish it with that one"):
        read(path)


def test_what_was_there_is_told_once(path: Path) -> None:
    written(path, FEW)
    with Journal.open(path, HEADER) as journal:
        assert [len(list(journal.take_entries())) for _ in range(2)] == [2, 0]


# --- the lock ---------------------------------------------------------------------------------------------------


def test_a_second_engine_is_refused_until_the_first_lets_go(path: Path) -> None:
    with Journal.open(path, HEADER) as journal:
        journal.append(FEW, 1.0)
        with pytest.raises(UnusableJournal, match="another engine is running this job"):
            Journal.open(path, HEADER)
        assert len(told(path)) == 2, "readers need no lock"
    with Journal.open(path, HEADER) as journal:
        assert len(list(journal.take_entries())) == 2


def test_the_lock_of_an_engine_that_was_killed_is_gone(path: Path) -> None:
    holder = (
        "import sys\nfrom pathlib import Path\nfrom esfsm.journal import Header, Journal\n"
        "from esfsm.model.settings import Settings\n"
        f"header = Header(*{tuple(HEADER[:-1])!r}, Settings())\n"
        f"journal = Journal.open(Path({str(path)!r}), header)\nprint('locked', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen([sys.executable, "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        with pytest.raises(UnusableJournal, match="another engine"):
            Journal.open(path, HEADER)
        process.send_signal(signal.SIGKILL)
        process.wait()
        Journal.open(path, HEADER).close()


# --- disks ------------------------------------------------------------------------------------------------------


def test_a_full_disk_ends_the_engine_and_spares_what_was_written(path: Path) -> None:
    written(path, FEW)
    with (
        room_for(path.stat().st_size + 100),
        pytest.raises(JournalError, match=r"File too large; run the same command again to go on"),
        Journal.open(path, HEADER) as journal,
    ):
        journal.append(FEW, 5.0)
    assert told(path)[:2] == [replace(fact, at=1.5) for fact in FEW]
    assert len(written(path, FEW)) == 2


@pytest.mark.parametrize("what", ["write", "fdatasync"])
def test_a_disk_that_fails_ends_the_engine_and_lets_go_of_the_lock(
    path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError(5, "Input/output error")

    journal = Journal.open(path, HEADER)
    with monkeypatch.context() as patched:
        patched.setattr(os, what, fails)
        with pytest.raises(JournalError, match="Input/output error"), journal:
            journal.append(FEW, 1.0)
    Journal.open(path, HEADER).close()


def test_a_journal_is_synced_only_where_something_was_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    with Journal.open(path, HEADER) as journal:
        assert len(synced) == 1, "a journal that is begun lasts"
        journal.sync()
        assert len(synced) == 1
        journal.append(FEW, 1.0)
        journal.append((), 1.0)
        assert len(synced) == 1
        journal.sync()
        journal.sync()
    assert len(synced) == 2


def test_what_the_kernel_takes_only_in_pieces_is_written_whole(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, view: write(descriptor, view[:7]))
    fact = OutputProduced(event_range_id="1-2-3-4-5", paths=("a", "b"), size_bytes=10**12)
    written(path, (fact,))
    assert told(path) == [replace(fact, at=1.5)]
