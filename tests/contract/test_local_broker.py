"""The local broker: what fills its table, every move in it, and that many processes may share it."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from esfsm.adapters.communicators import database
from esfsm.adapters.communicators.local import LocalCommunicator, open_local
from esfsm.adapters.communicators.processes import lives, this_process
from esfsm.errors import UnreadableRanges, UnusableInput, WireError
from esfsm.model.job import Job
from esfsm.model.report import Answer, ArchiveRecord, JobReport, Report
from esfsm.model.settings import Settings

Open = Callable[..., LocalCommunicator]
"""(settings...; panda_id=, run=, job keys by **) -> communicator, all with one broker."""

ONE_FILE = {"inFiles": "EVNT.1.pool.root", "GUID": "G1", "scopeIn": "mc23"}
TWO_FILES = {"inFiles": "EVNT.1.pool.root,EVNT.2.pool.root", "GUID": "G1,G2", "scopeIn": "mc23,mc23"}


def job(panda_id: int = 5001, **more: object) -> Job:
    return Job.read({"PandaID": panda_id, "taskID": 1001, "jobsetID": 5000, **ONE_FILE, **more})


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    communicators: list[LocalCommunicator] = []

    def open_it(panda_id: int = 5001, run: str = "r1", more: dict[str, object] | None = None, **chosen: object):
        chosen.setdefault("broker", tmp_path / "shared.sqlite")
        communicators.append(open_local(job(panda_id, **(more or {})), Settings(**chosen), tmp_path, run))
        return communicators[-1]

    yield open_it
    for communicator in communicators:
        communicator.close()


def archive(lfn: str = "premerge.5001.1.tar", size_bytes: int = 20480, adler32: str = "0a1b2c3d") -> ArchiveRecord:
    return ArchiveRecord(lfn, size_bytes, adler32, 1318)


def take(communicator: LocalCommunicator, n: int, request: str = "1.1") -> tuple[str, ...]:
    return tuple(event_range.event_range_id for event_range in communicator.get_event_ranges(n, request).event_ranges)


def finish(communicator: LocalCommunicator, *names: str) -> Answer:
    return communicator.update_event_ranges(Report(names, archive()))


def fail(communicator: LocalCommunicator, *names: str) -> Answer:
    return communicator.update_event_ranges(Report(names, error_code=1220, error_diag="it broke"))


def in_another_process(script: str, *arguments: object) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


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
        (None, "unable to open database file"),
    ],
)
def test_a_path_that_cannot_hold_a_broker_is_refused(
    opened: Open, tmp_path: Path, content: bytes | None, sentence: str
) -> None:
    path = tmp_path / "other"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(UnusableInput, match=f"broker .*/other: {sentence}"):
        opened(events=1, broker=path)


def test_a_database_of_something_else_is_refused_and_not_touched(opened: Open, tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE event_ranges (mine)")
        with pytest.raises(UnusableInput, match="a database, but none of event ranges"):
            opened(events=1, broker=path)
        assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("event_ranges",)]


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


def test_a_list_that_is_not_there_is_refused(opened: Open, tmp_path: Path) -> None:
    with pytest.raises(UnreadableRanges, match=r"none\.json: No such file or directory$"):
        opened(ranges=tmp_path / "none.json")


# The moves


def test_a_finished_range_is_done_when_its_job_ends(opened: Open) -> None:
    communicator = opened(events=1)
    assert finish(communicator, *take(communicator, 1)) == Answer(("1001-5001-1-1-10",))
    assert communicator.counts() == {"finished": 1}
    communicator.update_job(JobReport("finished"))
    (only,) = communicator.attempts()
    assert (only.event_range_id, only.status, only.panda_id) == ("1001-5001-1-1-10", "done", 5001)
    assert only.zip_lfn == "premerge.5001.1.tar"


def test_a_failed_range_waits_for_the_end_of_its_job_and_comes_again_with_one_attempt_fewer(opened: Open) -> None:
    first, second = opened(5001, events=1), opened(5002, events=1)
    fail(first, *take(first, 1))
    assert first.get_event_ranges(1, "1.2").event_ranges == second.get_event_ranges(1, "1.1").event_ranges == ()
    first.update_job(JobReport("finished"))
    assert take(second, 1, "1.2") == ("1001-5002-1-1-9",)
    assert [attempt.status for attempt in second.attempts()] == ["failed", "sent"]


def test_a_left_over_range_comes_again_with_one_attempt_fewer(opened: Open) -> None:
    first, second = opened(5001, events=1), opened(5002, events=1)
    take(first, 1)
    first.update_job(JobReport("failed"))
    assert take(second, 1) == ("1001-5002-1-1-9",)
    assert [attempt.status for attempt in second.attempts()] == ["cancelled", "sent"]


@pytest.mark.parametrize("reported", [True, False], ids=["failed", "left over"])
def test_a_range_without_attempts_is_fatal_and_never_handed_out(opened: Open, reported: bool) -> None:
    communicator = opened(events=1, max_attempt=1)
    names = take(communicator, 1)
    if reported:
        fail(communicator, *names)
    communicator.update_job(JobReport("finished"))
    assert communicator.counts() == {"fatal": 1}
    communicator.update_job(JobReport("running"))
    grant = communicator.get_event_ranges(1, "2.1")
    assert (grant.event_ranges, grant.exhausted) == ((), True)


@pytest.mark.parametrize(
    ("first", "second", "status"), [(finish, fail, "finished"), (fail, finish, "failed"), (finish, finish, "finished")]
)
def test_the_first_final_word_about_a_range_stays(
    opened: Open,
    first: Callable[..., Answer],
    second: Callable[..., Answer],
    status: str,
) -> None:
    communicator = opened(events=1)
    names = take(communicator, 1)
    first(communicator, *names)
    before = communicator.attempts()
    assert second(communicator, *names).accepted == names
    assert communicator.attempts() == before
    assert communicator.counts() == {status: 1}


def test_a_range_of_another_run_or_of_nobody_is_refused_and_unchanged(opened: Open) -> None:
    mine, other = opened(5001, events=3), opened(5001, "r2", events=3)
    (granted,), (others,) = take(mine, 1), take(other, 1)
    answer = finish(mine, granted, others, "1001-5001-1-3-10")
    assert (answer.accepted, answer.refused) == ((granted,), (others, "1001-5001-1-3-10"))
    assert answer.why == f"{others}: never handed out to this run"
    assert mine.counts() == {"finished": 1, "sent": 1, "ready": 1}


def test_a_range_that_was_taken_back_is_refused_although_it_was_ours(opened: Open) -> None:
    communicator = opened(events=2)
    names = take(communicator, 1)
    communicator.update_job(JobReport("failed"))
    communicator.update_job(JobReport("running"))
    answer = finish(communicator, *names, "1-2-3-4-5")
    assert answer.refused == (*names, "1-2-3-4-5")
    assert answer.why == (
        f"{names[0]}: taken back, and maybe another's by now; 1-2-3-4-5: never handed out to this run"
    )
    assert communicator.counts() == {"ready": 2}


def test_a_report_after_the_end_of_the_job_changes_nothing(opened: Open) -> None:
    communicator = opened(events=1)
    names = take(communicator, 1)
    communicator.update_job(JobReport("finished"))
    assert finish(communicator, *names) == Answer((), names, "job 5001 has ended: finished")
    assert communicator.counts() == {"ready": 1}


def test_a_job_that_is_resumed_after_its_end_goes_on(opened: Open) -> None:
    communicator = opened(events=2)
    fail(communicator, *take(communicator, 1))
    communicator.update_job(JobReport("failed"))
    assert communicator.get_event_ranges(2, "1.2").exhausted
    communicator.update_job(JobReport("starting"))
    names = take(communicator, 2, "2.1")
    assert names == ("1001-5001-1-1-9", "1001-5001-1-2-10")
    finish(communicator, *names)
    communicator.update_job(JobReport("finished"))
    assert communicator.counts() == {"done": 2}


@pytest.mark.parametrize(
    ("command", "exhausted"), [("tobekilled", True), ("softkill", True), ("debug", False), (None, False)]
)
def test_a_command_is_told_with_every_job_report_and_a_kill_ends_the_supply(
    opened: Open, command: str | None, exhausted: bool
) -> None:
    communicator = opened(events=2)
    communicator.broker.set_command(5001, "tobekilled")
    communicator.broker.set_command(5001, command)
    assert [communicator.update_job(JobReport("running")) for _ in range(2)] == [command, command]
    grant = communicator.get_event_ranges(1, "1.1")
    assert (grant.exhausted, len(grant.event_ranges)) == (exhausted, 0 if exhausted else 1)


def test_the_grant_that_takes_the_last_range_says_exhausted(opened: Open) -> None:
    communicator = opened(events=6)
    assert [communicator.get_event_ranges(2, f"1.{number}").exhausted for number in (1, 2, 3)] == [False, False, True]


@pytest.mark.parametrize("n", [0, -3])
def test_a_request_for_nothing_gets_nothing(opened: Open, n: int) -> None:
    grant = opened(events=5).get_event_ranges(n, "1.1")
    assert (grant.event_ranges, grant.exhausted) == ((), False)


def test_a_request_made_again_leaves_out_what_was_reported(opened: Open) -> None:
    communicator = opened(events=5)
    names = take(communicator, 3)
    finish(communicator, names[0])
    assert take(communicator, 3) == names[1:]
    finish(communicator, *names)
    grant = communicator.get_event_ranges(3, "1.1")
    assert (grant.event_ranges, grant.exhausted) == ((), False)


def test_the_same_request_of_another_run_is_another_request(opened: Open) -> None:
    assert not set(take(opened(run="r1", events=4), 2)) & set(take(opened(run="r2", events=4), 2))


# Archives


def test_an_archive_is_found_again_and_takes_more_ranges(opened: Open) -> None:
    communicator = opened(events=2)
    one, two = take(communicator, 2)
    finish(communicator, one)
    finish(communicator, two)
    assert {attempt.zip_lfn for attempt in communicator.attempts()} == {"premerge.5001.1.tar"}


@pytest.mark.parametrize("other", [{"size_bytes": 20481}, {"adler32": "0a1b2c3e"}])
def test_an_archive_that_changed_its_bytes_is_refused(opened: Open, other: dict[str, object]) -> None:
    communicator = opened(events=2)
    one, two = take(communicator, 2)
    finish(communicator, one)
    answer = communicator.update_event_ranges(Report((two,), archive(**other)))
    assert (answer.accepted, answer.refused) == ((), (two,))
    assert answer.why.startswith("archive premerge.5001.1.tar has 20480 bytes and adler32 0a1b2c3d, not ")
    assert communicator.counts() == {"finished": 1, "sent": 1}


def test_jobs_may_have_archives_of_one_name(opened: Open) -> None:
    first, second = opened(5001, events=2), opened(5002, events=2)
    finish(first, *take(first, 1))
    names = take(second, 1)
    assert second.update_event_ranges(Report(names, archive(size_bytes=1))).accepted == names


# Processes

GONE = """
import os, sys
from pathlib import Path
from esfsm.adapters.communicators.local import open_local
from esfsm.model.job import Job
from esfsm.model.settings import Settings
job = Job.read({"PandaID": 5009, "taskID": 1001, "inFiles": "EVNT.1.pool.root", "GUID": "G1", "scopeIn": "mc23"})
communicator = open_local(job, Settings(broker=Path(sys.argv[1])), Path(), "r1")
for event_range in communicator.get_event_ranges(2, "1.1").event_ranges:
    print(event_range.event_range_id)
sys.stdout.flush()
sys.stdin.read()
"""


@pytest.fixture
def other_process(opened: Open, tmp_path: Path) -> Iterator[tuple["subprocess.Popen[str]", tuple[str, ...]]]:
    """A process that holds the first two of three ranges as job 5009, and waits; and what it holds."""
    opened(events=3)
    with in_another_process(GONE, tmp_path / "shared.sqlite") as process:
        assert process.stdout is not None
        yield process, tuple(process.stdout.readline().strip() for _ in range(2))
        process.kill()


def test_the_ranges_of_a_killed_process_come_back_before_anybody_is_told_exhausted(
    opened: Open, other_process: tuple["subprocess.Popen[str]", tuple[str, ...]]
) -> None:
    process, held = other_process
    assert held == ("1001-5009-1-1-10", "1001-5009-1-2-10")
    communicator = opened()
    assert take(communicator, 3) == ("1001-5001-1-3-10",)
    assert communicator.get_event_ranges(3, "1.2").exhausted  # it lives
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert take(communicator, 3, "1.3") == ("1001-5001-1-1-9", "1001-5001-1-2-9")


def test_a_run_that_another_process_resumes_has_what_it_had(
    opened: Open, other_process: tuple["subprocess.Popen[str]", tuple[str, ...]]
) -> None:
    process, _ = other_process
    process.kill()
    process.wait()
    communicator = opened(5009)
    assert take(communicator, 2) == ("1001-5009-1-1-10", "1001-5009-1-2-10")
    assert take(communicator, 3, "1.2") == ("1001-5009-1-3-10",)
    assert take(opened(), 3) == ()


def test_a_process_that_died_without_an_end_of_its_job_leaves_its_failed_ranges_to_others(opened: Open) -> None:
    first, second = opened(5001, events=2), opened(5002, events=2)
    fail(first, *take(first, 1))
    forget_process_of(first, 5001)
    assert take(second, 2) == ("1001-5002-1-1-9", "1001-5002-1-2-10")


def test_ranges_of_another_host_are_not_taken_back(opened: Open) -> None:
    first, second = opened(5001, events=1), opened(5002, events=1)
    take(first, 1)
    forget_process_of(first, 5001)
    with first.broker.database.transaction() as db:
        db.execute("UPDATE consumers SET host = 'another' WHERE panda_id = 5001")
    grant = second.get_event_ranges(1, "1.1")
    assert (grant.event_ranges, grant.exhausted) == ((), True)


def forget_process_of(communicator: LocalCommunicator, panda_id: int) -> None:
    """As if the pid had been given to another process since."""
    with communicator.broker.database.transaction() as db:
        db.execute("UPDATE consumers SET started = started - 1 WHERE panda_id = ?", (panda_id,))


def test_a_process_lives_until_it_ends_or_its_pid_is_anothers() -> None:
    assert lives(this_process())
    assert not lives(this_process()._replace(started=this_process().started - 1))
    with in_another_process("") as process:
        ended = this_process()._replace(pid=process.pid)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # a zombie now
        started = int(Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19])
        assert not lives(ended._replace(started=started))
    assert not lives(ended._replace(started=started))


DRAIN = """
import sys
from pathlib import Path
from esfsm.adapters.communicators.local import open_local
from esfsm.model.job import Job
from esfsm.model.report import ArchiveRecord, Report
from esfsm.model.settings import Settings
job = Job.read({"PandaID": int(sys.argv[2]), "taskID": 1001, "inFiles": "EVNT.1.pool.root"})
print("here", flush=True)
sys.stdin.readline()
communicator = open_local(job, Settings(broker=Path(sys.argv[1]), events=1000), Path(), "r1")
number, exhausted = 0, False
while not exhausted:
    number += 1
    grant = communicator.get_event_ranges(7, f"1.{number}")
    exhausted = grant.exhausted
    names = tuple(event_range.event_range_id for event_range in grant.event_ranges)
    communicator.update_event_ranges(Report(names, ArchiveRecord(f"{number}.tar", 1, "00000001", 1)))
    print(*names, sep="\\n")
communicator.close()
"""


def test_four_processes_open_at_once_fill_once_and_share_every_range(tmp_path: Path) -> None:
    path = tmp_path / "shared.sqlite"
    processes = [in_another_process(DRAIN, path, 5001 + number) for number in range(4)]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    granted = [name for process in processes for name in process.communicate()[0].split()]
    assert [process.returncode for process in processes] == [0] * 4
    positions = [int(name.split("-")[3]) for name in granted]
    assert sorted(positions) == list(range(1, 1001))
    own = {"inFiles": "EVNT.1.pool.root", "GUID": "", "scopeIn": ""}
    with closing(open_local(job(**own), Settings(broker=path), tmp_path, "r9")) as communicator:
        assert communicator.counts() == {"finished": 1000}


# Trouble with the file


def test_a_locked_file_is_an_unknown_answer(opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "PATIENCE_S", 0.01)
    communicator = opened(events=1)
    with closing(sqlite3.connect(tmp_path / "shared.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(WireError, match="database is locked"):
            communicator.get_event_ranges(1, "1.1")
        with pytest.raises(WireError, match="database is locked"):
            opened(events=1)
        other.execute("ROLLBACK")
    assert len(take(communicator, 1)) == 1


def test_a_full_disk_changes_nothing_and_the_report_may_be_made_again(opened: Open) -> None:
    communicator = opened(events=2)
    names = take(communicator, 2)
    before = communicator.attempts()
    report = Report(names, error_code=1220, error_diag="x" * 100_000)
    with communicator.broker.database.transaction() as db:
        db.execute("PRAGMA max_page_count = 1")  # the least that SQLite takes is what is there
    with pytest.raises(WireError, match="full"):
        communicator.update_event_ranges(report)
    assert communicator.attempts() == before
    with communicator.broker.database.transaction() as db:
        db.execute("PRAGMA max_page_count = 1000000")
    assert communicator.update_event_ranges(report).accepted == names


# Any order of moves


class AnyOrder(RuleBasedStateMachine):
    """Three jobs that share a broker, and whatever they may do; every range is accounted for at any time."""

    EVENTS, ATTEMPTS, JOBS = 6, 3, (5001, 5002, 5003)

    def __init__(self) -> None:
        super().__init__()
        self.directory = TemporaryDirectory()
        self.runs = {panda_id: self.open_run(panda_id) for panda_id in self.JOBS}
        self.granted: dict[str, int] = {}
        self.said: dict[str, str] = {}
        self.requests = 0

    def open_run(self, panda_id: int) -> LocalCommunicator:
        path = Path(self.directory.name)
        return open_local(job(panda_id), Settings(events=self.EVENTS, max_attempt=self.ATTEMPTS), path, "r1")

    def teardown(self) -> None:
        for run in self.runs.values():
            run.close()
        self.directory.cleanup()

    @rule(panda_id=st.sampled_from(JOBS), n=st.integers(1, 4))
    def ask(self, panda_id: int, n: int) -> None:
        self.requests += 1
        names = take(self.runs[panda_id], n, f"1.{self.requests}")
        assert not set(names) & set(self.granted), "handed out twice"
        self.granted |= dict.fromkeys(names, panda_id)
        assert take(self.runs[panda_id], n, f"1.{self.requests}") == names

    @rule(panda_id=st.sampled_from(JOBS), which=st.randoms(use_true_random=False), word=st.sampled_from([finish, fail]))
    def report(self, panda_id: int, which: Random, word: Callable[..., Answer]) -> None:
        names = which.sample(sorted(self.granted), min(3, len(self.granted)))
        answer = word(self.runs[panda_id], *names)
        assert Counter(answer.accepted + answer.refused) == Counter(names)
        for name in answer.accepted:
            assert self.granted[name] == panda_id, "accepted from a job that never had it"
            self.said.setdefault(name, word.__name__)

    @rule(panda_id=st.sampled_from(JOBS), state=st.sampled_from(["running", "finished", "failed"]))
    def tell(self, panda_id: int, state: str) -> None:
        self.runs[panda_id].update_job(JobReport(state))

    @rule(panda_id=st.sampled_from(JOBS))
    def die(self, panda_id: int) -> None:
        forget_process_of(self.runs[panda_id], panda_id)

    @rule(panda_id=st.sampled_from(JOBS))
    def resume(self, panda_id: int) -> None:
        self.runs[panda_id].close()
        self.runs[panda_id] = self.open_run(panda_id)

    @invariant()
    def every_range_is_accounted_for(self) -> None:
        attempts = self.runs[self.JOBS[0]].attempts()
        held = {attempt.event_range_id: attempt.status for attempt in attempts if attempt.event_range_id}
        assert held.keys() == self.granted.keys()
        words = {"finished": "finish", "done": "finish", "failed": "fail", "sent": None, "cancelled": None}
        assert {name: words[status] for name, status in held.items()} == {n: self.said.get(n) for n in held}
        assert sum(self.runs[self.JOBS[0]].counts().values()) == self.EVENTS
        open_ends = [attempt.start_event for attempt in attempts if attempt.status not in {"failed", "cancelled"}]
        assert len(open_ends) == len(set(open_ends)), "two may work on one range"


AnyOrder.TestCase.settings = hypothesis_settings(max_examples=40, stateful_step_count=30, deadline=None)
test_any_order_of_moves_accounts_for_every_range = AnyOrder.TestCase
