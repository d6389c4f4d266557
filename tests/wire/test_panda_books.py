"""What PanDA's books say of event ranges, and how that settles a report whose reply could not be believed."""

import json

import pytest
from wire.data.said import SAID

from esfsm.errors import WireError
from esfsm.model.report import Answer, ArchiveRecord, Booked, Report
from esfsm.wire.panda.ranges import read_statuses, read_update, settle

R1, R2, R3 = "2400-6400-240001-1-10", "2400-6400-240001-2-10", "2400-6400-240001-3-10"
FINISHED = Report((R1,), ArchiveRecord("a.tar", 20480, "0a1b2c3d", 117))
FAILED = Report((R1,), error_code=1305, error_diag="payload failed")

ON_ITS_WAY = ["ready", "sent", "running", "transferring", "reserved_get", "reserved_fail", "a word of the future", ""]
LOST = ["cancelled", "discarded", "corrupted"]


# --- reading the books ---


def test_the_books_tell_how_each_range_of_a_job_stands() -> None:
    assert read_statuses(SAID["statuses"]["v1"], 6400) == {
        "2400-6400-240001-1-10": Booked("sent"),
        "2400-6400-240001-2-10": Booked("finished"),
        "2400-6400-240001-3-10": Booked("finished"),
        "2400-6400-240001-4-10": Booked("failed"),
        "2400-6400-240001-5-10": Booked("sent"),
    }


def test_the_books_of_the_older_servers_come_without_an_envelope() -> None:
    books = json.loads(SAID["statuses"]["v1"])["data"]
    assert read_statuses(json.dumps(books), 6400) == read_statuses(SAID["statuses"]["v1"], 6400)


def test_a_job_without_ranges_has_empty_books() -> None:
    assert read_statuses('{"6400": {}}', 6400) == {}


@pytest.mark.parametrize(
    "reply",
    [
        SAID["statuses"]["v1_wrong_key"],
        SAID["statuses"]["v1_cut"],
        '{"success": false, "message": "", "data": {"6400": {}}}',
        '{"success": true, "message": "", "data": {"6401": {}}}',
        '{"success": true, "message": "", "data": null}',
        '{"6400": null}',
        '{"6400": []}',
        '{"StatusCode": 30}',
        "null",
        "failed to retrieve DN",
    ],
)
def test_books_that_do_not_know_the_job_are_not_taken_for_empty_ones(reply: str) -> None:
    with pytest.raises(WireError):
        read_statuses(reply, 6400)


@pytest.mark.parametrize("row", [None, "finished", [], {}, {"status": None}, {"status": 3}, {"status": ["finished"]}])
def test_books_with_a_row_that_cannot_be_read_are_not_read(row: object) -> None:
    books = {"6400": {R1: {"status": "finished"}, R2: row}}
    with pytest.raises(WireError, match=R2):
        read_statuses(json.dumps(books), 6400)


def test_a_row_that_cannot_be_read_is_named_in_one_short_line() -> None:
    with pytest.raises(WireError) as raised:
        read_statuses(json.dumps({"6400": {"r\n" * 1000: None}}), 6400)
    assert len(str(raised.value).splitlines()) == 1
    assert len(str(raised.value)) < 400


# --- settling a report ---


@pytest.mark.parametrize("status", ["finished", "done", "merged"])
@pytest.mark.parametrize("archive", [None, "a.tar"])
def test_what_is_booked_finished_was_accepted(status: str, archive: str | None) -> None:
    assert settle(FINISHED, {R1: Booked(status, archive)}) == Answer(accepted=(R1,))


@pytest.mark.parametrize("status", ["failed", "fatal"])
def test_what_is_booked_failed_was_accepted(status: str) -> None:
    assert settle(FAILED, {R1: Booked(status)}) == Answer(accepted=(R1,))


@pytest.mark.parametrize(
    ("report", "status"),
    [(FINISHED, status) for status in ["failed", "fatal", *LOST]]
    + [(FAILED, status) for status in ["finished", "done", "merged", *LOST]],
)
def test_what_has_another_final_word_is_refused(report: Report, status: str) -> None:
    assert settle(report, {R1: Booked(status)}) == Answer(refused=(R1,), why=f"{R1}: PanDA has it as {status}")


@pytest.mark.parametrize("report", [FINISHED, FAILED])
def test_what_the_job_does_not_hold_any_more_is_refused(report: Report) -> None:
    answer = settle(report, {R2: Booked("finished")})
    assert answer == Answer(refused=(R1,), why=f"{R1}: PanDA does not have it with this job")


def test_what_is_booked_in_another_archive_is_refused() -> None:
    answer = settle(FINISHED, {R1: Booked("finished", "b.tar")})
    assert answer == Answer(refused=(R1,), why=f"{R1}: PanDA has it in archive b.tar")


@pytest.mark.parametrize("report", [FINISHED, FAILED])
@pytest.mark.parametrize("status", ON_ITS_WAY)
def test_what_was_not_booked_is_reported_again(report: Report, status: str) -> None:
    assert settle(report, {R1: Booked(status)}) == Answer()


def test_each_range_of_a_report_is_settled_by_itself_and_each_refusal_has_an_example() -> None:
    report = Report((R1, R2, R3, "r4", "r5"), FINISHED.archive)
    books = {R1: Booked("done"), R2: Booked("cancelled"), R3: Booked("sent"), "r4": Booked("cancelled")}
    answer = settle(report, books)
    assert (answer.accepted, answer.refused, answer.doubted) == ((R1,), (R2, "r4", "r5"), ())
    assert answer.why == "r4: PanDA has it as cancelled; r5: PanDA does not have it with this job"


def test_the_books_settle_what_the_additional_false_of_postgresql_left_open() -> None:
    report = Report((R2, R3), FINISHED.archive)
    with pytest.raises(WireError):
        read_update(
            '{"StatusCode": 0, "Returns": [true, true, false], "Command": {"6400": null}}', report.event_range_ids
        )
    assert settle(report, read_statuses(SAID["statuses"]["v1"], 6400)) == Answer(accepted=(R2, R3))
