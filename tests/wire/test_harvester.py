"""Harvester's shared files: what is written into them, and what is believed of what they say."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esfsm.errors import WireError
from esfsm.model.event_range import EventRange
from esfsm.model.report import ArchiveRecord, JobReport, Report
from esfsm.wire.harvester import (
    Names,
    attributes,
    event_dump,
    event_request,
    is_whole,
    job_request,
    marks,
    marks_in,
    output_entry,
    read_event_ranges,
    read_panda_ids,
    report_entries,
)
from esfsm.wire.panda.jobs import Consumer

JOB = Consumer(7000, 6000, 9000, 1, "QUEUE", "node1", 8)
ONE, TWO = "9000-7000-900001-1-10", "9000-7000-900001-2-10"
ARCHIVE = ArchiveRecord("a.tar", 20480, "0a1b2c3d", 117, 1000, "/shared/a.tar")
RANGE = {"eventRangeID": ONE, "startEvent": 1, "lastEvent": 1, "LFN": "EVNT.root", "GUID": "G", "scope": "test"}


# --- what a worker writes ---


def test_a_request_has_the_four_numbers_that_panda_takes_and_no_other_key() -> None:
    said = {"7000": {"pandaID": 7000, "jobsetID": 6000, "taskID": 9000, "nRanges": 10}}
    assert json.loads(event_request(JOB, 10)) == said


def test_each_finished_range_names_the_archive_that_it_is_in() -> None:
    file = {"path": "/shared/a.tar", "type": "zip_output", "fsize": 20480, "chksum": "0a1b2c3d"}
    finished = [{"eventRangeID": name, "eventStatus": "finished", **file} for name in (ONE, TWO)]
    assert list(report_entries(Report((ONE, TWO), ARCHIVE), "/shared/a.tar")) == finished


def test_a_failed_range_has_no_file() -> None:
    assert list(report_entries(Report((ONE,), error_code=1220))) == [{"eventRangeID": ONE, "eventStatus": "failed"}]


def test_an_output_has_no_event_range() -> None:
    said = {"path": "/shared/o.root", "type": "output", "fsize": 6, "chksum": "0a1b2c3d"}
    assert output_entry("/shared/o.root", 6, "0a1b2c3d") == said


def test_the_key_of_a_dump_is_the_number_of_the_job() -> None:
    assert json.loads(event_dump(7000, report_entries(Report((ONE,))))) == {
        "7000": [{"eventRangeID": ONE, "eventStatus": "failed"}]
    }


def test_names_in_any_script_are_written_in_ascii() -> None:
    text = event_dump(7000, [output_entry("/partagé/ö.root", 6, "0a1b2c3d")])
    assert text.isascii()
    assert json.loads(text)["7000"][0]["path"] == "/partagé/ö.root"


def test_a_job_that_goes_on_says_how_far_it_is() -> None:
    assert json.loads(attributes(JOB, JobReport("running", events=12, cpu_s=3.7))) == {
        "jobStatus": "running",
        "attemptNr": 1,
        "node": "node1",
        "nEvents": 12,
        "coreCount": 8,
        "cpuConsumptionTime": 3,
        "jobMetrics": "coreCount=8 nEvents=12",
    }


def test_a_job_that_failed_says_why() -> None:
    said = json.loads(attributes(JOB, JobReport("failed", error_code=1305, error_diag="it broke", exit_code=65)))
    assert (said["jobStatus"], said["pilotErrorCode"], said["pilotErrorDiag"]) == ("failed", 1305, "it broke")
    assert said["transExitCode"] == 65


def test_a_number_of_jobs_is_asked_for() -> None:
    assert json.loads(job_request(2)) == {"nJobs": 2}


# --- what becomes of a dump ---


@pytest.mark.parametrize("report", [Report((ONE, TWO), ARCHIVE), Report((ONE, TWO))], ids=["finished", "failed"])
def test_what_was_dumped_is_known_again(report: Report) -> None:
    entries = report_entries(report, "/shared/a.tar")
    others = report_entries(Report(("9000-7000-900001-3-10",)))
    assert marks(entries)
    assert marks(entries) <= marks_in(event_dump(7000, (*others, *entries)), 7000)
    assert not marks(entries) & marks_in(event_dump(7000, others), 7000)
    assert not marks_in(event_dump(7000, entries), 7001)


def test_a_finished_range_is_not_taken_for_a_failed_one() -> None:
    assert not marks(report_entries(Report((ONE,), ARCHIVE), "/shared/a.tar")) & marks(report_entries(Report((ONE,))))


def test_an_archive_of_other_bytes_is_another_one() -> None:
    before, after = (marks([output_entry("/shared/a.tar", 6, adler32)]) for adler32 in ("0a1b2c3d", "00000001"))
    assert before != after


STRANGE_DUMPS = [
    b"",
    b'{"7000": [{"eventRangeID"',
    b"[]",
    b"7",
    b'{"7000": 7}',
    b'{"7000": [7]}',
    b'{"7000": ["text"]}',
    b'{"7000": [{"path": "/shared/a.tar"}]}',
]


@pytest.mark.parametrize("text", STRANGE_DUMPS)
def test_a_dump_that_is_not_ours_says_nothing_about_us(text: bytes) -> None:
    assert marks_in(text, 7000) == frozenset()


# --- what Harvester writes ---


def test_event_ranges_are_read_by_job() -> None:
    other = {**RANGE, "eventRangeID": TWO}
    feed = json.dumps({"7000": [RANGE], "7001": [other], "7002": []}).encode()
    one, two = EventRange.model_validate(RANGE), EventRange.model_validate(other)
    assert read_event_ranges(feed) == {7000: (one,), 7001: (two,), 7002: ()}


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("[1", "not JSON at character 2"),
        ([], "to no job"),
        ({}, "to no job"),
        ({"job7000": []}, "'job7000', which is no PandaID"),
        ({"7" * 5000: []}, "7777'$|7', which is no PandaID"),
        ({"-1": []}, "'-1', which is no PandaID"),
        ({"٣": []}, "which is no PandaID"),
        ({"7000": {"eventRanges": []}}, "no list of event ranges"),
        ({"7000": None}, "no list of event ranges: None"),
        ({"7000": [RANGE, 7]}, "what is no event range: 7"),
        ({"7000": [{**RANGE, "startEvent": "1"}]}, "what is no event range"),
        ({"7000": [RANGE, RANGE]}, "the same event range twice"),
        ({"7000": [RANGE], "7001": [RANGE]}, "the same event range twice"),
    ],
)
def test_a_feed_of_any_other_shape_is_refused_in_one_sentence(said: object, why: str) -> None:
    text = said if isinstance(said, str) else json.dumps(said)
    with pytest.raises(WireError, match=why):
        read_event_ranges(text.encode())


@given(st.integers(0, len(json.dumps({"7000": [RANGE]})) - 1))
def test_no_part_of_a_feed_is_a_whole_one(length: int) -> None:
    text = json.dumps({"7000": [RANGE]}).encode()
    assert is_whole(text)
    assert not is_whole(text[:length])


def test_the_jobs_of_a_worker_are_read() -> None:
    assert read_panda_ids(b"[7000, 7001]") == (7000, 7001)


@pytest.mark.parametrize("text", [b"", b"{}", b'["7000"]', b"[true]", b"7000"])
def test_a_list_of_jobs_of_any_other_shape_is_refused(text: bytes) -> None:
    with pytest.raises(WireError, match="Harvester"):
        read_panda_ids(text)


def test_our_names_are_told_from_harvesters_by_the_job_and_the_request() -> None:
    names = Names(event_ranges="events.json", event_dump="dump.json")
    assert names.fed(7000) == "events.json.7000"
    assert names.taken(7000, "r1.3") == "events.json.7000.r1.3"
    assert names.read_dump == "dump.json.read"
