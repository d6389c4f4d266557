"""The books of the PanDA stand-in: who gets jobs and ranges, what a report books, what a heartbeat is answered."""

import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from standins.bookkeeping import JOB, JOBSET, OTHER, TASK, ZIP, job, say, stands, submit, take, zipped

from esfsm.errors import UnusableInput
from esfsm.standins.panda.books import Books
from esfsm.standins.panda.reports import MOST_ELEMENTS

# --- jobs ---


def test_a_job_that_waits_is_given_once(books: Books) -> None:
    submit(books, jobs=2, state="activated")
    (first,) = books.acquire_jobs("TEST_ES")
    assert (first["PandaID"], first["attemptNr"], first["eventService"]) == (JOB, 1, "True")
    assert [each["PandaID"] for each in books.acquire_jobs("TEST_ES", 5)] == [OTHER]
    assert books.acquire_jobs("TEST_ES") == []
    assert [row.state for row in books.jobs()] == ["sent", "sent"]


@pytest.mark.parametrize(
    ("queue", "asked"), [("ELSEWHERE", {}), ("TEST_ES", {"task_id": 7}), ("TEST_ES", {"label": "user"})]
)
def test_a_job_is_given_to_who_asks_for_it(books: Books, queue: str, asked: dict[str, object]) -> None:
    submit(books, state="activated")
    assert books.acquire_jobs(queue, **asked) == []
    assert len(books.acquire_jobs("TEST_ES", task_id=TASK, label="managed")) == 1


def test_a_definition_says_what_it_is_told_to_say(books: Books) -> None:
    submit(books, state="activated", definition={"transformation": "my.py", "mine": 1})
    (definition,) = books.acquire_jobs("TEST_ES")
    assert (definition["transformation"], definition["mine"]) == ("my.py", 1)
    assert list(definition)[:2] == ["PandaID", "prodSourceLabel"]


def test_a_number_is_of_one_task(books: Books) -> None:
    submit(books)
    with pytest.raises(sqlite3.IntegrityError):
        submit(books)
    assert len(books.jobs()) == 1


# --- event ranges are handed out ---


@pytest.mark.parametrize(
    ("state", "n"),
    [
        ("sent", 2),
        ("starting", 2),
        ("running", 2),
        ("activated", 0),
        ("transferring", 0),
        ("holding", 0),
        ("finished", 0),
    ],
)
def test_ranges_are_for_a_job_in_the_right_state(books: Books, state: str, n: int) -> None:
    submit(books, state=state)
    assert len(take(books, 2)) == n


@pytest.mark.parametrize("is_soft", [False, True])
def test_a_killed_job_gets_no_ranges(books: Books, is_soft: bool) -> None:
    submit(books)
    books.kill(JOB, is_soft=is_soft)
    assert take(books, 2) == []


@pytest.mark.parametrize(
    ("panda_id", "jobset_id", "task_id"), [(59999, JOBSET, TASK), (JOB, 49999, TASK), (JOB, JOBSET, 1099)]
)
def test_a_wrong_number_gets_no_ranges(books: Books, panda_id: int, jobset_id: int, task_id: int) -> None:
    submit(books)
    assert books.acquire_event_ranges(panda_id, jobset_id, 2, task_id=task_id) == []


def test_a_request_for_fewer_than_none_breaks_the_server(books: Books) -> None:
    submit(books)
    assert books.acquire_event_ranges(JOB, JOBSET, -1) is None


def test_ranges_span_the_events_of_their_files(books: Books) -> None:
    submit(books, 4, files=2, events_per_range=5, attempts=3)
    ranges = books.acquire_event_ranges(JOB, JOBSET, 10) or []
    assert [(each["startEvent"], each["lastEvent"]) for each in ranges] == [(1, 5), (6, 10), (11, 15), (16, 20)]
    assert [each["eventRangeID"] for each in ranges[1:3]] == ["1001-5001-100101-6-3", "1001-5001-100102-11-3"]
    assert ranges[2]["LFN"] == "EVNT.1001._000002.pool.root.1"


@pytest.mark.parametrize(
    ("n", "closed"), [(5, False), (6, True), (7, True), (0, True)], ids=["some left", "exact", "short", "none"]
)
def test_who_waits_is_closed_where_one_range_more_is_not_found(books: Books, n: int, closed: bool) -> None:
    submit(books, 6, jobs=3, state="activated")
    books.set_state(JOB, "running")
    books.set_state(OTHER, "running")
    take(books, n)
    assert job(books, 5003) == (("closed", "es_unused", 116) if closed else ("activated", None, 0))
    assert job(books, OTHER) == ("running", None, 0)


def test_who_sees_no_range_closes_who_waits_although_there_are_some(books: Books) -> None:
    submit(books, 6, jobs=2, state="activated")
    books.set_state(JOB, "running")
    assert books.acquire_event_ranges(JOB, JOBSET, 2, seen=0.0) == []
    assert books.count_ready(JOBSET, TASK) == 6
    assert job(books, OTHER) == ("closed", "es_unused", 116)


def test_who_sees_only_a_segment_closes_nobody(books: Books) -> None:
    submit(books, 6, jobs=2, state="activated")
    books.set_state(JOB, "running")
    assert len(books.acquire_event_ranges(JOB, JOBSET, 7, segment_id=10011) or []) == 6
    assert job(books, OTHER) == ("activated", None, 0)


def test_several_threads_get_each_range_once(books: Books) -> None:
    submit(books, 200, jobs=4)
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda n: take(books, 3, JOB + n % 4), range(80)))
    positions = [name.split("-")[3] for names in answers for name in names]
    assert len(positions) == 200
    assert len(set(positions)) == 200


# --- reports ---


@pytest.mark.parametrize("first", ["finished", "failed", "fatal"])
@pytest.mark.parametrize("then", ["finished", "failed"])
def test_the_first_final_word_stays(books: Books, first: str, then: str) -> None:
    submit(books)
    (name,) = take(books, 1)
    assert say(books, first, name) == [True]
    before = stands(books)
    assert say(books, then, name) == [True]
    assert stands(books) == before


@pytest.mark.parametrize(
    ("element", "word"),
    [
        ({"eventRangeID": "1001-5001-100101-1-10", "eventStatus": "finished"}, True),
        ({"eventRangeID": "1001-5001-100101-1-10", "eventStatus": "running"}, None),
        ({"eventRangeID": "1001-5001-100101-1-10", "eventStatus": "transferring"}, None),
        ({"eventRangeID": "1001-5001-100101-1-10", "eventStatus": "done"}, False),
        ({"eventRangeID": "1001-5001-100101-1-10"}, False),
        ({"eventStatus": "finished"}, False),
        ({"eventRangeID": "1001-5001-100101-6-10", "eventStatus": "finished"}, True),
        ({"eventRangeID": "1001-5001-100101-1-9", "eventStatus": "finished"}, True),
        ({"eventRangeID": "1001-5001-100101-999-10", "eventStatus": "finished"}, True),
        ({"eventRangeID": "1001-59999-100101-1-10", "eventStatus": "finished"}, False),
        ({"eventRangeID": "a-b-c-d-e", "eventStatus": "finished"}, False),
        ([], False),
        ("eventRangeID", False),
    ],
)
def test_each_element_of_a_report_gets_its_word(books: Books, element: object, word: bool | None) -> None:
    submit(books)
    name, _ = take(books, 2)
    assert books.update_event_ranges([element])[0] == [word]
    is_booked = element == {"eventRangeID": name, "eventStatus": "finished"}
    assert stands(books)[name] == ("finished" if is_booked else "sent")
    assert books.counts()["finished"] == is_booked


@pytest.mark.parametrize(
    ("state", "word"),
    [("sent", True), ("starting", True), ("running", True), ("transferring", True), ("holding", False)],
)
def test_reports_are_booked_as_long_as_the_job_goes_on(books: Books, state: str, word: bool) -> None:
    submit(books)
    (name,) = take(books, 1)
    books.set_state(JOB, state)
    assert say(books, "failed", name) == [word]
    assert books.counts()["failed"] == word


@pytest.mark.parametrize(
    "bad",
    [
        {"errorDiag": "x" * 501},
        {"errorDiag": "a\0b"},
        {"errorDiag": "\ud800"},
        {"errorDiag": ["x"]},
        {"errorCode": "abc"},
        {"errorCode": 2**31},
        {"errorCode": 2**70},
        {"objstoreID": "117/1000"},
        {"pathConvention": 1000},
    ],
    ids=str,
)
def test_one_bad_value_undoes_the_whole_report(books: Books, bad: dict[str, object]) -> None:
    submit(books)
    first, second = take(books, 2)
    report = [
        {"eventRangeID": first, "eventStatus": "finished"},
        {"eventRangeID": second, "eventStatus": "failed", **bad},
    ]
    assert books.update_event_ranges(report)[0] == [True, True, False]
    assert books.counts() == {"ready": 4, "sent": 2}


@pytest.mark.parametrize(
    "bad", [{"objstoreID": 117}, {"lfn": "a.zip"}, ZIP | {"fsize": "many"}, ZIP | {"lfn": "a\0"}, "a.zip", 5], ids=str
)
def test_a_bad_zip_file_undoes_the_whole_report(books: Books, bad: object) -> None:
    submit(books)
    first, second = take(books, 2)
    ranges = [{"eventRangeID": second, "eventStatus": "finished"}]
    report = [{"eventRangeID": first, "eventStatus": "failed"}, {"zipFile": bad, "eventRanges": ranges}]
    assert books.update_event_ranges(report, version=1) == ([True, False], {JOB: None})
    assert books.counts() == {"ready": 4, "sent": 2}
    assert books.zip_files() == []


@pytest.mark.parametrize("report", [5, None, [5], [{"eventRanges": 5}], [{"eventRanges": [5]}]], ids=str)
def test_what_is_no_report_is_refused_whole(books: Books, report: object) -> None:
    submit(books)
    assert books.update_event_ranges(report, version=1) == ([False], {})


def test_only_so_many_elements_are_looked_at(books: Books) -> None:
    submit(books)
    (name,) = take(books, 1)
    report = [{}] * MOST_ELEMENTS + [{"eventRangeID": name, "eventStatus": "finished"}]
    words, _ = books.update_event_ranges(report)
    assert words == [False] * MOST_ELEMENTS + [None]
    assert books.counts()["finished"] == 0


def test_a_zip_file_is_found_again_by_its_name_and_not_changed(books: Books) -> None:
    submit(books, jobs=2)
    first, second = take(books, 2)
    assert books.update_event_ranges(zipped(first, numEvents=1), version=1)[0] == [True]
    assert books.update_event_ranges(zipped(second, objstoreID=9), version=1)[0] == [True]
    assert books.zip_files() == ["a.zip"]
    assert {row.zip_lfn for row in books.ranges() if row.status == "finished"} == {"a.zip"}
    assert (books.double_zip_files(), books.orphaned_zip_files()) == ([], [])


def test_a_zip_file_of_another_job_is_another_one(books: Books) -> None:
    submit(books, jobs=2)
    books.update_event_ranges(zipped(*take(books, 1)), version=1)
    books.update_event_ranges(zipped(*take(books, 1, OTHER)), version=1)
    assert books.double_zip_files() == ["a.zip"]


def test_a_new_zip_file_in_a_report_of_two_jobs_is_of_the_first(books: Books) -> None:
    submit(books, jobs=2)
    books.update_event_ranges(zipped(*take(books, 1), *take(books, 1, OTHER)), version=1)
    assert books.zip_files() == ["a.zip"]
    assert [row.zip_lfn for row in books.ranges() if row.status == "finished"] == ["a.zip", "a.zip"]


def test_a_zip_file_that_no_range_is_in_is_an_orphan(books: Books) -> None:
    submit(books)
    (name,) = take(books, 1)
    say(books, "failed", name)
    books.update_event_ranges(zipped(name), version=1)
    assert books.orphaned_zip_files() == ["a.zip"]


def test_a_report_that_is_rolled_back_books_nothing(books: Books) -> None:
    submit(books)
    names = take(books, 2)
    words, commands = books.update_event_ranges(zipped(*names), version=1, is_rolled_back=True)
    assert (words, commands) == ([True, True, False], {JOB: None})
    assert books.counts() == {"ready": 4, "sent": 2}
    assert books.zip_files() == []


@pytest.mark.parametrize("is_uncounted", [False, True])
def test_finished_events_are_counted_unless_that_fails(books: Books, is_uncounted: bool) -> None:
    submit(books, events_per_range=5)
    finished, failed = take(books, 2)
    say(books, "failed", failed)
    report = [{"eventRangeID": finished, "eventStatus": "finished"}]
    words, _ = books.update_event_ranges(report, is_uncounted=is_uncounted)
    assert words == ([True, False] if is_uncounted else [True])
    assert books.counts()["finished"] == 1
    assert books.jobs()[0].n_events == (None if is_uncounted else 5)


@pytest.mark.parametrize(("is_soft", "command"), [(False, "tobekilled"), (True, "softkill")])
def test_a_killed_job_is_told_so_and_its_report_is_booked(books: Books, is_soft: bool, command: str) -> None:
    submit(books)
    (name,) = take(books, 1)
    books.kill(JOB, is_soft=is_soft)
    report = [{"eventRangeID": name, "eventStatus": "finished"}]
    assert books.update_event_ranges(report) == ([True], {JOB: command})
    assert books.counts()["finished"] == 1
    assert books.update_job(JOB, "running") == "tobekilled"


def test_statuses_tell_what_a_job_holds(books: Books) -> None:
    submit(books)
    first, second, third = take(books, 3)
    say(books, "failed", first, errorCode=1305, errorDiag="boom")
    say(books, "fatal", second)
    assert books.statuses([(TASK, JOB), (TASK, 59999)]) == {
        JOB: {
            first: {"status": "failed", "error": 1305, "dialog": "boom"},
            second.removesuffix("10") + "1": {"status": "failed", "error": None, "dialog": None},
            third: {"status": "sent", "error": None, "dialog": None},
        },
        59999: {},
    }


# --- heartbeats ---


def test_a_heartbeat_is_kept_as_it_was_said(books: Books) -> None:
    submit(books)
    assert books.update_job(JOB, "running", said={"n_events": 7}, now_s=12.5) == "NULL"
    assert books.heartbeats() == books.heartbeats(JOB) == [(12.5, JOB, "running", {"n_events": 7})]
    assert books.heartbeats(OTHER) == []


def test_after_its_last_word_a_job_is_holding_whatever_its_pilot_says(books: Books) -> None:
    submit(books)
    assert books.update_job(JOB, "finished", sub_status="es_toend") == "NULL"
    assert books.update_job(JOB, "failed") == "alreadydone"
    assert books.update_job(JOB, "running") == "NULL"
    assert job(books) == ("holding", "es_toend", 0)


def test_a_job_that_is_moved_on_takes_another_last_word(books: Books) -> None:
    submit(books)
    books.update_job(JOB, "finished")
    books.set_state(JOB, "running")
    assert books.update_job(JOB, "failed") == "NULL"
    assert job(books) == ("holding", None, 0)


@pytest.mark.parametrize(("panda_id", "attempt_nr"), [(59999, 1), (JOB, 9)])
def test_a_pilot_of_no_job_is_to_be_killed(books: Books, panda_id: int, attempt_nr: int) -> None:
    submit(books)
    assert books.update_job(panda_id, "finished", attempt_nr=attempt_nr) == "tobekilled"
    assert job(books) == ("running", None, 0)


def test_a_command_is_told_to_its_job(books: Books) -> None:
    submit(books, jobs=2)
    books.set_command(JOB, "debug")
    assert [books.update_job(panda_id, "running", attempt_nr=1) for panda_id in (JOB, OTHER)] == ["debug", "NULL"]


# --- the file ---


def test_books_outlive_their_server(tmp_path: Path) -> None:
    with closing(Books(tmp_path / "panda.db")) as books:
        submit(books)
        say(books, "finished", *take(books, 2))
        before = books.ranges(), books.jobs()
    with closing(Books(tmp_path / "panda.db")) as books:
        assert (books.ranges(), books.jobs()) == before


@pytest.mark.parametrize("what", ["a directory", "no database", "another database"])
def test_what_cannot_hold_books_is_refused(tmp_path: Path, what: str) -> None:
    path = tmp_path / "panda.db"
    if what == "a directory":
        path.mkdir()
    elif what == "no database":
        path.write_text("this is no database, and long enough to be seen as none" * 20)
    else:
        with closing(sqlite3.connect(path)) as other:
            other.execute("CREATE TABLE mine (x)")
    with pytest.raises(UnusableInput, match=f"books {path}: "):
        Books(path)


def test_a_definition_is_json_whatever_stands_in_it(books: Books) -> None:
    submit(books, state="activated", definition={"jobPars": 'a "b" \\ {c} \u00e4'})
    (definition,) = books.acquire_jobs("TEST_ES")
    assert json.loads(json.dumps(definition))["jobPars"] == 'a "b" \\ {c} \u00e4'
