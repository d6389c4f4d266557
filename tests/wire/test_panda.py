"""What is reported of event ranges, and what the replies of real servers to a report mean."""

import json

import pytest
from wire.data.said import SAID, v1

from esfsm.errors import PilotErrorCode, WireError
from esfsm.model.report import Answer, ArchiveRecord, Report
from esfsm.wire.panda.ranges import range_updates, read_command, read_update, update_version

ARCHIVE = ArchiveRecord("EventService_premerge_5001.tar", 20480, "0a1b2c3d", 1318)


def names(n: int) -> list[str]:
    return [f"1001-5001-100101-{number}-10" for number in range(1, n + 1)]


# --- what is reported ---


def test_a_report_of_an_archive_names_it_and_its_ranges() -> None:
    report = Report(("1-2-3-4-10", "1-2-3-5-10"), ARCHIVE)
    assert update_version(report) == 1
    assert range_updates(report) == [
        {
            "zipFile": {
                "lfn": "EventService_premerge_5001.tar",
                "objstoreID": 1318,
                "fsize": 20480,
                "adler32": "0a1b2c3d",
                "numEvents": 2,
            },
            "eventRanges": [
                {"eventRangeID": "1-2-3-4-10", "eventStatus": "finished"},
                {"eventRangeID": "1-2-3-5-10", "eventStatus": "finished"},
            ],
        }
    ]


def test_a_report_of_failed_ranges_tells_why_of_each() -> None:
    report = Report(("1-2-3-4-10", "1-2-3-5-10"), error_code=1305, error_diag="payload failed")
    assert update_version(report) == 0
    assert range_updates(report) == [
        {"eventRangeID": name, "eventStatus": "failed", "errorCode": 1305, "errorDiag": "payload failed"}
        for name in report.event_range_ids
    ]


@pytest.mark.parametrize(
    ("diag", "told"),
    [
        ("x" * 500, "x" * 500),
        ("x" * 501, "x" * 500),
        ("ä" * 251, "ä" * 250),
        ("x" + "ä" * 250, "x" + "ä" * 249),
        ("a\0b\0", "ab"),
        ("\0" * 10 + "x" * 500, "x" * 500),
        ("half of a \ud83d", "half of a ?"),
        ("", ""),
    ],
)
def test_a_diagnosis_fits_into_the_column_of_the_server(diag: str, told: str) -> None:
    (update,) = range_updates(Report(("1-2-3-4-10",), error_code=1305, error_diag=diag))
    assert update["errorDiag"] == told


@pytest.mark.parametrize(("code", "told"), [(0, 0), (1305, 1305), (99_999, 99_999)])
def test_an_error_code_of_five_digits_is_told_as_it_is(code: int, told: int) -> None:
    (update,) = range_updates(Report(("1-2-3-4-10",), error_code=code))
    assert update["errorCode"] == told


@pytest.mark.parametrize("code", [-1, 100_000, 2**31, 10**400])
def test_what_is_no_error_code_becomes_that_of_a_failed_payload(code: int) -> None:
    (update,) = range_updates(Report(("1-2-3-4-10",), error_code=code))
    assert update["errorCode"] == PilotErrorCode.UNKNOWNPAYLOADFAILURE


# --- the reply to a report ---


@pytest.mark.parametrize(
    ("occasion", "n"),
    [
        ("version_0_one_failed", 1),
        ("version_0_failed_and_fatal", 2),
        ("version_0_nothing_sent", 0),
        ("version_0_job_is_killed", 1),
        ("version_0_job_is_preempted", 1),
        ("version_1_flat_list", 1),
        ("version_1_no_list", 0),
    ],
)
def test_a_report_is_accepted_when_each_of_its_ranges_gets_a_true(occasion: str, n: int) -> None:
    assert read_update(SAID["update"][occasion], names(n)) == Answer(accepted=tuple(names(n)))


@pytest.mark.parametrize(
    "body",
    [
        {"StatusCode": 0, "Returns": [True, True], "Commands": {"5001": None}},
        {"StatusCode": 0, "Returns": [True, True], "Command": {"5001": None}},
        {"StatusCode": 0, "Returns": "[true, true]", "Commands": '{"5001": null}'},
        {"StatusCode": "0", "Returns": [True, True]},
    ],
)
@pytest.mark.parametrize("envelope", [json.dumps, v1], ids=["legacy", "v1"])
def test_a_report_is_accepted_in_every_form_that_a_mended_server_may_use(body: object, envelope) -> None:
    accepted = Answer(accepted=tuple(names(2)))
    assert read_update(envelope(body), names(2)) == accepted
    assert read_update(envelope(body).encode(), names(2)) == accepted


def test_the_envelope_of_the_newer_servers_needs_no_status_code() -> None:
    assert read_update(v1({"Returns": [True]}), names(1)) == Answer(accepted=tuple(names(1)))


@pytest.mark.parametrize(
    ("occasion", "n", "places"),
    [
        ("version_0_every_fault", 10, [0, 1, 2, 3, 4, 5, 7]),
        ("version_0_unknown_status", 1, [0]),
        ("version_0_one_bad_value", 3, [2]),
        ("version_0_bad_ids", 4, [1, 2, 3]),
        ("version_0_job_in_holding", 1, [0]),
        ("version_0_job_is_gone", 1, [0]),
        ("version_0_database_down", 1, [0]),
        ("version_1_no_objstore_id", 1, [0]),
        ("version_1_of_another_job", 1, [0]),
    ],
)
def test_a_range_that_got_no_true_is_doubted_and_no_other_is_accepted(occasion: str, n: int, places: list[int]) -> None:
    answer = read_update(SAID["update"][occasion], names(n))
    assert answer.doubted == tuple(names(n)[place] for place in places)
    assert (answer.accepted, answer.refused) == ((), ())
    assert answer.why == f"PanDA did not say true to {len(places)} of {n} event ranges"


@pytest.mark.parametrize("word", [None, False, 1, "true", 1.0, [True], {"true": True}])
def test_only_the_word_true_accepts_a_range(word: object) -> None:
    answer = read_update(v1({"Returns": [True, word]}), names(2))
    assert (answer.accepted, answer.doubted) == ((), (names(2)[1],))


@pytest.mark.parametrize(
    ("occasion", "n"),
    [
        ("version_0_one_finished", 1),
        ("version_0_duplicates", 2),
        ("version_0_two_jobs", 6),
        ("version_0_database_is_back", 2),
        ("version_1_archive_and_failed", 3),
        ("version_1_eight_finished", 8),
    ],
)
def test_the_additional_false_of_postgresql_leaves_the_outcome_unknown(occasion: str, n: int) -> None:
    with pytest.raises(WireError, match=f"of {n} event ranges with {n + 1} words"):
        read_update(SAID["update"][occasion], names(n))


def test_a_single_false_for_two_ranges_leaves_the_outcome_unknown_as_the_database_was_down() -> None:
    with pytest.raises(WireError, match="of 2 event ranges with 1 words"):
        read_update(SAID["update"]["version_0_database_down"], names(2))


@pytest.mark.parametrize(
    ("occasion", "why"),
    [
        ("version_0_broken_request", "not JSON"),
        ("version_0_no_accept_header", "not JSON"),
        ("v1_version_0", "not JSON"),
        ("v1_version_1", "unhashable type"),
        ("v1_database_down", "not JSON"),
        ("v1_no_accept_header", "not JSON"),
        ("v1_a_list_in_place_of_text", "'event_ranges' must be of type str"),
        ("single_event_range", "without Returns"),
    ],
)
def test_any_other_reply_to_a_report_leaves_the_outcome_unknown(occasion: str, why: str) -> None:
    with pytest.raises(WireError, match=why):
        read_update(SAID["update"][occasion], names(1))


# --- the command in the reply to a report ---


@pytest.mark.parametrize(
    ("occasion", "panda_id", "command"),
    [
        ("version_0_one_finished", 5001, None),
        ("version_0_every_fault", 5001, None),
        ("version_0_every_fault", 59999, "tobekilled"),
        ("version_0_job_is_killed", 5100, "tobekilled"),
        ("version_0_job_is_preempted", 5100, "softkill"),
        ("version_0_job_is_gone", 5800, "tobekilled"),
        ("version_0_database_down", 6300, None),
        ("version_1_archive_and_failed", 5001, None),
        ("version_1_of_another_job", 4500, "tobekilled"),
        ("version_1_of_another_job", 5500, None),
        ("single_event_range", 5001, None),
    ],
)
def test_the_command_for_a_job_comes_with_the_reply_to_its_report(
    occasion: str, panda_id: int, command: str | None
) -> None:
    assert read_command(SAID["update"][occasion], panda_id) == command


@pytest.mark.parametrize("key", ["Command", "Commands"])
@pytest.mark.parametrize("commands", [{"5001": "softkill"}, '{"5001": "softkill"}'])
def test_the_command_is_read_in_every_form_that_a_mended_server_may_use(key: str, commands: object) -> None:
    assert read_command(v1({"Returns": [True], key: commands}), 5001) == "softkill"


@pytest.mark.parametrize("commands", ["E", "null", [], None, {"5001": 1}, {"5001": ["tobekilled"]}])
def test_a_command_that_cannot_be_read_is_no_command(commands: object) -> None:
    with pytest.raises(WireError):
        read_command(v1({"Returns": [True], "Command": commands}), 5001)


def test_an_update_that_the_server_could_not_read_has_no_command_that_can_be_read() -> None:
    with pytest.raises(WireError):
        read_command(SAID["update"]["version_0_broken_request"], 5001)
