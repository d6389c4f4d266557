"""What fills the local broker: numbers, or a list of ranges; and what it refuses."""

import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from contract.brokers import TWO_FILES, Open, job, only_to_be_read, take

from esfsm.adapters.communicators.local import LocalCommunicator, open_local
from esfsm.errors import UnreadableRanges, UnusableInput
from esfsm.model.report import Booked, JobReport
from esfsm.model.settings import Settings

# What fills the table


def test_ranges_are_made_from_the_inputs_and_numbered_across_them(opened: Open) -> None:
    grant = opened(more=TWO_FILES, events=5, events_per_range=2).get_event_ranges(10, "1.1")
    assert [event_range.as_panda() for event_range in grant.event_ranges[2:4]] == [
        {
            "eventRangeID": "1001-5001-1-5-10",
            "startEvent": 5,
            "lastEvent": 5,
            "LFN": "EVNT.1.pool.root",
            "GUID": "G1",
            "scope": "mc23",
        },
        {
            "eventRangeID": "1001-5001-2-1-10",
            "startEvent": 6,
            "lastEvent": 7,
            "LFN": "EVNT.2.pool.root",
            "GUID": "G2",
            "scope": "mc23",
        },
    ]
    spans = [(event_range.start_event, event_range.last_event) for event_range in grant.event_ranges]
    assert spans == [(1, 2), (3, 4), (5, 5), (6, 7), (8, 9), (10, 10)]


def test_ranges_are_numbered_within_the_file_where_the_job_asks_for_it(opened: Open) -> None:
    grant = opened(more={**TWO_FILES, "inFilePosEvtNum": "True"}, events=2).get_event_ranges(10, "1.1")
    assert [event_range.start_event for event_range in grant.event_ranges] == [1, 2, 1, 2]
    assert grant.event_ranges[2].event_range_id == "1001-5001-2-1-10"


def test_a_job_without_inputs_has_ranges_of_no_file(opened: Open) -> None:
    (only,) = opened(more={"inFiles": ""}, events=3, events_per_range=3).get_event_ranges(10, "1.1").event_ranges
    assert (only.lfn, only.guid, only.scope, only.events) == (None, None, None, 3)


def test_a_job_without_a_task_is_a_task_of_its_own(opened: Open) -> None:
    assert take(opened(5001, more={"taskID": None}, events=1), 2) == ("5001-5001-1-1-10",)
    assert take(opened(5002, more={"taskID": None}, events=1), 2) == ("5002-5002-1-1-10",)


def test_ranges_come_in_the_order_of_file_and_position(opened: Open) -> None:
    names = take(opened(more=TWO_FILES, events=12), 24)
    assert [tuple(map(int, name.split("-")[2:4])) for name in names] == [(f, p) for f in (1, 2) for p in range(1, 13)]


def test_the_broker_lies_in_the_work_directory_unless_it_is_named(tmp_path: Path) -> None:
    with closing(open_local(job(), Settings(events=1), tmp_path, "r1")):
        assert (tmp_path / "broker.sqlite").is_file()


def test_nothing_to_fill_it_with_names_the_settings_and_leaves_no_file(opened: Open, tmp_path: Path) -> None:
    with pytest.raises(UnusableInput, match=r"no event ranges of task 1001: give the setting events .* or ranges"):
        opened()
    assert not (tmp_path / "shared.sqlite").exists()


def test_nothing_to_fill_another_task_with_is_refused_too(opened: Open) -> None:
    opened(events=1)
    with pytest.raises(UnusableInput, match="no event ranges of task 1002"):
        opened(more={"taskID": 1002})


def test_events_and_a_list_contradict_each_other(opened: Open) -> None:
    with pytest.raises(UnusableInput, match="events and ranges contradict each other"):
        opened(events=1, ranges=Path("ranges.json"))


@pytest.mark.parametrize(
    ("chosen", "sentence"),
    [
        ({"events": 20_000_000}, "make more than 10000000 event ranges"),
        ({"events": 1, "max_attempt": 1000}, "max_attempt: 1000 is more than 999"),
    ],
)
def test_numbers_that_must_be_a_slip_are_refused(opened: Open, chosen: dict[str, object], sentence: str) -> None:
    with pytest.raises(UnusableInput, match=sentence):
        opened(**chosen)


@pytest.mark.parametrize("again", [{"events": 6, "events_per_range": 2}, {}], ids=["the same", "nothing"])
def test_a_filled_broker_takes_the_same_settings_again_or_none(opened: Open, again: dict[str, object]) -> None:
    opened(events=6, events_per_range=2)
    assert opened(**again).counts() == {"ready": 3}


@pytest.mark.parametrize(
    "other",
    [
        {"events": 7, "events_per_range": 2},
        {"events": 6},
        {"events": 6, "events_per_range": 2, "max_attempt": 3},
        {"events": 6, "events_per_range": 2, "more": TWO_FILES},
    ],
)
def test_a_filled_broker_refuses_other_settings_and_says_what_it_has(opened: Open, other: dict[str, object]) -> None:
    opened(events=6, events_per_range=2)
    held = r"task 1001 has 6 events in each of 1 inputs \(EVNT.1.pool.root\), 2 a range, 10 attempts, not "
    with pytest.raises(UnusableInput, match=held):
        opened(**other)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"this is no database, whatever its name is" * 20, "file is not a database"),
        (None, "not a regular file"),
    ],
)
def test_a_path_that_cannot_hold_a_broker_is_refused(
    opened: Open, tmp_path: Path, content: bytes | None, sentence: str
) -> None:
    path = tmp_path / "other"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(UnusableInput, match=f"broker .*/other: {sentence}"):
        opened(events=1, broker=path)


@pytest.mark.parametrize("chosen", [{"events": 1}, {}], ids=["something to fill it with", "nothing"])
@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("pipe", "not a regular file"),
        ("/dev/zero", "not a regular file"),
        ("file/other", "Not a directory"),
        ("x" * 300, "File name too long"),
    ],
)
def test_what_can_be_no_file_of_a_broker_is_refused(
    opened: Open, tmp_path: Path, chosen: dict[str, object], path: str, sentence: str
) -> None:
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnusableInput, match=f"broker .*{path}: {sentence}$"):
        opened(broker=tmp_path / path, **chosen)


def test_a_directory_that_is_not_there_is_not_made_for_a_broker(opened: Open, tmp_path: Path) -> None:
    with pytest.raises(UnusableInput, match=r"none/other: unable to open database file$"):
        opened(events=1, broker=tmp_path / "none" / "other")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("use", ["to fill it", "to join"])
def test_a_broker_that_may_only_be_read_can_be_asked_but_not_used(opened: Open, tmp_path: Path, use: str) -> None:
    path = tmp_path / "shared.sqlite"
    with closing(opened(events=1)) as communicator:
        (name,) = take(communicator, 1)
    only_to_be_read(path)
    asking = opened()
    assert asking.booked() == {name: Booked("sent")}
    with pytest.raises(UnusableInput, match="attempt to write a readonly database"):
        opened(more={"taskID": 1002}, events=1) if use == "to fill it" else asking.join()


def test_a_database_of_something_else_is_refused_and_not_touched(opened: Open, tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE event_ranges (mine)")
        with pytest.raises(UnusableInput, match="a database, but none of event ranges"):
            opened(events=1, broker=path)
        assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("event_ranges",)]


def test_a_broker_with_a_text_that_nobody_can_read_is_refused(opened: Open) -> None:
    with opened(events=1).broker.database.transaction() as db:
        db.execute("UPDATE tasks SET supply = CAST(x'ff' AS TEXT)")
    with pytest.raises(UnusableInput, match="Could not decode to UTF-8"):
        opened(events=2)


# A list of ranges in place of numbers


def entry(name: str = "1001-77-100101-1-10", start: object = 1, last: object = 1, **more: object) -> dict[str, object]:
    file = {"LFN": "EVNT.1.pool.root", "GUID": "G1", "scope": "mc23"}
    return {"eventRangeID": name, "startEvent": start, "lastEvent": last, **file, **more}


@pytest.fixture
def listed(opened: Open, tmp_path: Path) -> Callable[..., LocalCommunicator]:
    def open_with(content: object, **more: object) -> LocalCommunicator:
        text = content if isinstance(content, bytes) else json.dumps(content).encode()
        (tmp_path / "ranges.json").write_bytes(text)
        return opened(ranges=tmp_path / "ranges.json", **more)

    return open_with


def test_a_listed_range_is_handed_out_word_for_word(listed: Open) -> None:
    said = [entry(hp_point=[1, 2]), entry("1001-77-100102-4-9", 104, 106, LFN=None, GUID=None, scope=None)]
    assert [given.as_panda() for given in listed(said).get_event_ranges(9, "1.1").event_ranges] == said


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("1001-77-100101-1-2", ["1001-77-100101-1-2", "1001-77-100101-1-1"]),
        ("Range-00007", ["Range-00007", "Range-00007-2", "Range-00007-1"]),
        ("1-2-3-4-0", ["1-2-3-4-0", "1-2-3-4-0-2", "1-2-3-4-0-1"]),
    ],
)
def test_a_listed_range_that_comes_again_has_another_name(listed: Open, name: str, names: list[str]) -> None:
    communicator = listed([entry(name)], max_attempt=3)
    granted = []
    for round_ in range(4):
        communicator.update_job(JobReport("running"))
        granted += take(communicator, 1, f"{round_}.1")
        communicator.update_job(JobReport("failed"))
    assert granted == names
    assert communicator.counts() == {"fatal": 1}


def test_an_empty_list_is_exhausted_at_once(listed: Open) -> None:
    grant = listed([]).get_event_ranges(1, "1.1")
    assert (grant.event_ranges, grant.exhausted) == ((), True)


def test_a_filled_broker_refuses_another_list(listed: Open) -> None:
    listed([entry()])
    with pytest.raises(UnusableInput, match=r"has the 1 event ranges of ranges\.json, not the 2 event ranges of"):
        listed([entry(), entry("1001-77-100101-2-10")])


def test_two_tasks_may_use_one_list(listed: Open) -> None:
    assert take(listed([entry()]), 1) == take(listed([entry()], more={"taskID": 1002}), 1)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b'[{"eventRangeID":\n 1-2}]', r"not JSON at line 2, column \d+: "),
        (b"[\xff]", r"not JSON at line 1, column 1: "),
        (b"[" * 5000, r"not JSON at line 1, column \d+: "),
        ({"eventRanges": []}, "a JSON list is expected, not an object$"),
        (12, "a JSON list is expected, not 12$"),
        ([entry(), []], r"\[1\]: a JSON object is expected, not a list$"),
        ([entry(), None], r"\[1\]: a JSON object is expected, not null$"),
        ([{"eventRangeID": "1-2-3-4-5", "lastEvent": 1}], r'\[0\] \("1-2-3-4-5"\): startEvent is missing$'),
        ([{"startEvent": 1, "lastEvent": 1}], r"\[0\] \(null\): eventRangeID is missing$"),
        (
            [entry(), entry("a"), entry()],
            r'\[2\] \("1001-77-100101-1-10"\): eventRangeID of the same range as \[0\] \("1001-77-100101-1-10"\)$',
        ),
        (
            [entry("1-2-3-4-5"), entry("1-2-3-4-4")],
            r'\[1\] \("1-2-3-4-4"\): eventRangeID of the same range as \[0\] \("1-2-3-4-5"\)$',
        ),
        (
            [entry("a-7"), entry("a")],
            r'\[0\] \("a-7"\): eventRangeID that \[1\] \("a"\) may get when it is handed out again$',
        ),
        ([entry("a", 5, 4)], r'\[0\] \("a"\): lastEvent 4 is before startEvent 5$'),
        ([entry("a", "5", 6)], r'\[0\] \("a"\): startEvent is "5", not a whole number$'),
        ([entry("a", 5, "6")], r'\[0\] \("a"\): lastEvent is "6", not a whole number$'),
        ([entry("a", 5, 6.5)], r'\[0\] \("a"\): lastEvent is 6.5, not a whole number$'),
        ([entry("a", True, 6)], r'\[0\] \("a"\): startEvent is true, not a whole number$'),
        ([entry("a", -1, 6)], r'\[0\] \("a"\): startEvent is -1, which is no place of an event$'),
        ([entry("a", 1, 2**63)], r'\[0\] \("a"\): lastEvent is more than 9223372036854775807$'),
        ([entry("a", 1, 10**30)], r'\[0\] \("a"\): lastEvent is 1e\+?30, not a whole number$'),
        ([entry("a", LFN=3)], r'\[0\] \("a"\): LFN is 3, not a text$'),
        ([entry(12)], r"\[0\] \(12\): eventRangeID is 12, not a text$"),
        ([entry("a,b")], r'\[0\] \("a,b"\): eventRangeID may hold letters, digits and \. _ - only'),
        ([entry("a\n")], r"\[0\] .*: eventRangeID may hold letters, digits and \. _ - only"),
        ([entry("../a")], r"\[0\] .*: eventRangeID may hold letters, digits and \. _ - only"),
        ([entry("")], r"\[0\] .*: eventRangeID may hold letters, digits and \. _ - only"),
        ([entry("a" * 201)], r'\[0\] \("a{56}\.\.\.\): eventRangeID may hold .* 200 of them at most$'),
        ([entry("a" * 197)], r"\[0\] .*: eventRangeID is longer than 196$"),
    ],
)
def test_a_list_that_panda_would_not_send_is_refused_in_one_sentence(
    listed: Open, tmp_path: Path, content: object, sentence: str
) -> None:
    with pytest.raises(UnreadableRanges, match=rf"ranges\.json: {sentence}"):
        listed(content)
    assert not (tmp_path / "shared.sqlite").exists()


@pytest.mark.parametrize("path", ["pipe", "/dev/zero", "."])
def test_what_is_no_file_is_no_list_and_is_not_read(opened: Open, tmp_path: Path, path: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnreadableRanges, match=r"not a regular file$"):
        opened(ranges=tmp_path / path)


def test_a_file_too_long_for_a_list_is_not_read(opened: Open, tmp_path: Path) -> None:
    with (tmp_path / "ranges.json").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(UnreadableRanges, match=r"ranges\.json: 1099511627776 bytes are more than 1073741824$"):
        opened(ranges=tmp_path / "ranges.json")


def test_a_list_that_is_not_there_is_refused(opened: Open, tmp_path: Path) -> None:
    with pytest.raises(UnreadableRanges, match=r"none\.json: No such file or directory$"):
        opened(ranges=tmp_path / "none.json")
