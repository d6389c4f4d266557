"""The journal: what is written is what is read; it belongs to one job, and to one engine at a time."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shell.disks import FileInMemory
from shell.journals import FEW, FORMAT_1, HEADER, changed, entries, gone_on, told, written

from esfsm.core.facts import FACTS, Fact, JobReported, MergeIncomplete, PayloadStarted, RangesGranted
from esfsm.errors import UnusableJournal
from esfsm.journal.formats import FORMAT
from esfsm.journal.reader import read, read_header
from esfsm.journal.writer import Journal
from esfsm.model.event_range import EventRange
from esfsm.model.settings import Settings


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


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
    hints = get_type_hints(kind, include_extras=True)
    kinds = {field.name: st.from_type(hints[field.name]) for field in fields(kind) if field.name != "at"}
    if "settings" in kinds:
        kinds["settings"] = st.dictionaries(TEXT, JSON)
    if "stamps" in kinds:  # one of each file, or none
        kinds["paths"], two = st.tuples(TEXT, TEXT), st.tuples(*[st.from_type(int)] * 2)
        kinds["stamps"] = st.just(()) | two
    return st.builds(kind, **kinds)


@pytest.mark.parametrize("kind", FACTS.values(), ids=list(FACTS))
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_every_fact_is_read_as_it_was_written(kind: type[Fact], data: st.DataObject) -> None:
    file, fact = FileInMemory(), data.draw(facts(kind))
    (entry,) = gone_on(file)[0].append([fact], 1.5)
    assert gone_on(FileInMemory(file.content))[1] == [entry]
    assert entry.fact == replace(fact, at=1.5)


@pytest.mark.parametrize("kind", FACTS.values(), ids=list(FACTS))
def test_no_field_of_a_fact_has_a_name_that_the_journal_needs(kind: type[Fact]) -> None:
    own = {field.name for field in fields(kind)} - {field.name for field in fields(Fact)}
    assert not own & {"nr", "fact", "crc", "decided", "synced", "then", "name"}
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
    assert json.loads(path.read_bytes().splitlines()[1]).keys() == {"at", "fact", "crc"}


def test_what_a_range_has_in_common_with_the_one_before_is_written_once(path: Path) -> None:
    files = [{"LFN": "one", "GUID": None, "scope": "x"}, {"LFN": "two", "GUID": "g", "scope": "x", "more": [1]}]
    spans = [{"eventRangeID": f"1-2-3-{n}-1", "startEvent": n, "lastEvent": n} for n in range(6)]
    which = (0, 0, 1, 1, 0, 1)
    ranges = tuple(EventRange.model_validate({**span, **files[n]}) for span, n in zip(spans, which, strict=True))
    written(path, (RangesGranted(event_ranges=ranges),))
    lines = json.loads(path.read_bytes().splitlines()[1])["event_ranges"]
    assert [isinstance(line, list) for line in lines] == [False, True, False, True, False, False]
    assert lines[1] == ["1-2-3-1-1", 1, 1]
    assert told(path) == [RangesGranted(at=1.5, event_ranges=ranges)]


def test_facts_are_numbered_through_all_groups_and_lives(path: Path) -> None:
    written(path, FEW, FEW)
    with Journal.open(path, HEADER) as journal:
        assert [entry.number for entry in journal.take_entries()] == [1, 2, 3, 4]
        assert [entry.number for entry in journal.append(FEW, 9.0)] == [5, 6]
    assert [(entry.number, entry.fact.at) for entry in entries(path)][3:] == [(4, 2.5), (5, 9.0), (6, 9.0)]


def test_a_job_that_is_taken_up_again_keeps_the_name_of_its_run(path: Path) -> None:
    written(path, FEW)
    with Journal.open(path, HEADER._replace(run="two", settings=Settings(cores=8))) as journal:
        assert journal.header == HEADER


def test_a_job_of_which_no_fact_is_written_begins_anew(path: Path) -> None:
    written(path)
    header = HEADER._replace(run="two", settings=Settings(cores=8))
    written(path, header=header)
    assert (read_header(path), entries(path)) == (header, [])


# --- what facts led to ------------------------------------------------------------------------------------------


def test_what_facts_led_to_stands_behind_them_and_what_led_to_nothing_is_left_out(path: Path) -> None:
    with Journal.open(path, HEADER) as journal:
        journal.append((*FEW, FEW[0]), 1.0)
        journal.decided({1: ("-> classified", "select_executor 2"), 2: (), 3: ()})
        journal.append(FEW, 2.0)
    assert [entry.then for entry in entries(path)] == [("-> classified", "select_executor 2"), (), (), None, None]
    assert json.loads(path.read_bytes().splitlines()[4])["then"] == {"1": ["-> classified", "select_executor 2"]}


def test_a_decision_says_what_was_surely_on_the_disk_before_it() -> None:
    file = FileInMemory()
    journal, _ = gone_on(file)
    for sync in (False, True, False):
        journal.append(FEW, 1.0)
        journal.decided({1: ["report_job 1"]})
        if sync:
            journal.sync()
    decided = [json.loads(line) for line in file.content.splitlines() if b'"decided"' in line]
    assert [(line["decided"], line["synced"]) for line in decided] == [(2, 0), (4, 0), (6, 4)]


def test_a_journal_that_is_closed_says_that_all_of_it_is_on_the_disk() -> None:
    file = FileInMemory()
    journal, _ = gone_on(file)
    journal.append(FEW, 1.0)
    journal.decided({})
    assert b"decided" not in file.content, "it led to nothing"
    journal.close()
    said = json.loads(file.content.splitlines()[-1])
    assert (said["decided"], said["synced"], said["then"]) == (2, 2, {})
    content = bytes(file.content)
    gone_on(file)[0].close()
    assert file.content == content, "there is nothing more to say"


def test_a_journal_that_is_closed_before_it_was_decided_what_its_facts_led_to_says_nothing_of_them() -> None:
    file = FileInMemory()
    journal, _ = gone_on(file)
    journal.append(FEW, 1.0)
    journal.close()
    assert [entry.then for entry in gone_on(file)[1]] == [None, None]


def test_nothing_is_written_before_what_was_there_is_taken() -> None:
    file = FileInMemory()
    gone_on(file)[0].append(FEW, 1.0)
    with pytest.raises(AssertionError, match="what was there is taken first"):
        Journal(file, HEADER).append(FEW, 2.0)


def test_what_was_there_when_it_was_opened_is_surely_on_the_disk_once_it_is_taken() -> None:
    file = FileInMemory()
    gone_on(file)[0].append(FEW, 1.0)
    journal, past = gone_on(file)
    assert (len(past), file.unsynced_bytes) == (2, 0)
    journal.append(FEW, 2.0)
    journal.decided({3: ["report_job 1"]})
    assert json.loads(file.content.splitlines()[-1])["synced"] == 2


# --- older formats ----------------------------------------------------------------------------------------------


def test_an_older_format_is_read_in_the_words_of_today() -> None:
    header, past = read(FORMAT_1)
    assert (header.format, header.panda_id, header.settings.report_attempts) == (1, 7000000123, 2)
    told = {entry.number: entry for entry in past}
    assert (len(told), told[1].then) == (21, ("select_executor 2",))
    assert told[18].then == ("note 15: report_given_up",)
    assert told[19].fact.name == "report_given_up"


def test_an_older_format_is_not_gone_on_with(path: Path) -> None:
    path.write_bytes(FORMAT_1.read_bytes())
    for header in (read_header(path), None):
        with pytest.raises(UnusableJournal, match="it has format 1: finish it with the version that began it"):
            Journal.open(path, header)
    assert path.read_bytes() == FORMAT_1.read_bytes()


@pytest.mark.parametrize("version", [0, FORMAT + 1])
def test_a_format_that_nobody_knows_is_refused_by_its_number(path: Path, version: int) -> None:
    written(path, FEW)
    changed(path, b'"esfsm_journal":%d' % FORMAT, b'"esfsm_journal":%d' % version)
    for use in (read, Journal.open):
        with pytest.raises(
            UnusableJournal, match=f"format {version} is not known to this version, which reads 1 to {FORMAT}"
        ):
            use(path)


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


def test_a_journal_is_gone_on_with_as_whose_it_is_where_nobody_says_whose(path: Path) -> None:
    written(path, FEW)
    with Journal.open(path) as journal:
        assert journal.header == HEADER
        assert len(list(journal.take_entries())) == 2
        journal.append(FEW, 9.0)
    assert len(told(path)) == 4


def test_a_journal_that_was_begun_and_holds_no_fact_can_be_gone_on_with(path: Path) -> None:
    written(path)
    with Journal.open(path) as journal:
        assert list(journal.take_entries()) == []
        journal.append(FEW, 9.0)
    assert len(told(path)) == 2


@pytest.mark.parametrize("there", [False, True])
def test_where_there_is_no_journal_none_can_be_gone_on_with(path: Path, there: bool) -> None:
    if there:
        path.touch()
    with pytest.raises(UnusableJournal, match="there is no journal to go on with"):
        Journal.open(path)
    assert path.exists() is there


def test_a_fact_that_this_version_does_not_know_is_refused(path: Path) -> None:
    written(path, FEW)
    changed(path, b"ranges_exhausted", b"ranges_moved")
    with pytest.raises(UnusableJournal, match="fact 2 is ranges_moved, which this version does not know"):
        entries(path)


def test_a_fact_with_a_content_that_it_cannot_have_is_refused(path: Path) -> None:
    written(path, (PayloadStarted(pid="no number", started=1),))  # type: ignore[arg-type]
    with pytest.raises(UnusableJournal, match=r"fact 1 \(payload_started\): .*pid"):
        entries(path)


@pytest.mark.parametrize("content", [b"hello", b"hello\nworld\n", b"\x89PNG\r\n\x1a\n\0\0\0\r", b'{"a": 1}\n', b"\n\n"])
def test_a_file_that_is_no_journal_is_refused_and_not_touched(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    for use in (lambda: entries(path), lambda: Journal.open(path, HEADER)):
        with pytest.raises(UnusableJournal, match="this is no journal"):
            use()
    assert path.read_bytes() == content


def test_an_empty_file_is_begun_but_tells_nothing(path: Path) -> None:
    path.touch()
    for use in (read, read_header):
        with pytest.raises(UnusableJournal, match="it is empty"):
            use(path)
    written(path, FEW)
    assert len(told(path)) == 2


@pytest.mark.parametrize("use", [read, read_header, lambda path: Journal.open(path, HEADER)])
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


def test_a_fifo_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(UnusableJournal, match="it is no regular file"):
        read(tmp_path / "fifo")


def test_settings_that_this_version_does_not_take_are_refused(path: Path) -> None:
    written(path, FEW, header=HEADER._replace(settings=Settings.model_construct(cores=0)))
    with pytest.raises(UnusableJournal, match="its first line is of another version; finish it with that one"):
        entries(path)


def test_what_was_there_is_told_once(path: Path) -> None:
    written(path, FEW)
    with Journal.open(path, HEADER) as journal:
        assert [len(list(journal.take_entries())) for _ in range(2)] == [2, 0]


# --- the lock ---------------------------------------------------------------------------------------------------


def test_a_second_engine_is_refused_until_the_first_lets_go(path: Path) -> None:
    with Journal.open(path, HEADER) as journal:
        assert list(journal.take_entries()) == []
        journal.append(FEW, 1.0)
        with pytest.raises(UnusableJournal, match="another engine is running this job"):
            Journal.open(path, HEADER)
        assert len(told(path)) == 2, "readers need no lock"
    with Journal.open(path, HEADER) as journal:
        assert len(list(journal.take_entries())) == 2


def test_a_journal_that_is_refused_is_let_go_of(path: Path) -> None:
    written(path, FEW)
    with pytest.raises(UnusableJournal, match="it is of job"):
        Journal.open(path, HEADER._replace(panda_id=7))
    Journal.open(path, HEADER).close()


def test_the_lock_of_an_engine_that_was_killed_is_gone(path: Path) -> None:
    holder = (
        "import sys\nfrom pathlib import Path\nfrom esfsm.journal.formats import Header\n"
        "from esfsm.journal.writer import Journal\nfrom esfsm.model.settings import Settings\n"
        f"header = Header(*{tuple(HEADER[:5])!r}, Settings())\n"
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
