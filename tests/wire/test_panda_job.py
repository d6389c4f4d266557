"""What real servers reply to a request for event ranges, and to a heartbeat of the job."""

import json

import pytest
from wire.data.said import SAID, v1

from esfsm.errors import WireError
from esfsm.wire.panda.jobs import read_job_answer
from esfsm.wire.panda.ranges import read_grant

# --- the reply to a request for ranges ---


@pytest.mark.parametrize(
    ("occasion", "ids"),
    [
        ("legacy_two", ["1001-5001-100101-16-10", "1001-5001-100101-17-10"]),
        ("legacy_none", []),
        ("v1_three", ["1300-5300-130001-1-10", "1300-5300-130001-2-10", "1300-5300-130001-3-10"]),
        ("v1_none", []),
    ],
)
def test_ranges_are_granted_in_the_order_of_the_reply(occasion: str, ids: list[str]) -> None:
    assert [event_range.event_range_id for event_range in read_grant(SAID["grant"][occasion])] == ids


def test_a_granted_range_says_where_its_events_are() -> None:
    first, _ = read_grant(SAID["grant"]["legacy_two"])
    assert first.as_panda() == {
        "eventRangeID": "1001-5001-100101-16-10",
        "startEvent": 16,
        "lastEvent": 16,
        "LFN": "EVNT.1001._000001.pool.root.1",
        "GUID": "000003E9-0000-0000-0000-000000000001",
        "scope": "test",
    }


@pytest.mark.parametrize("data", [{"eventRanges": []}, {"StatusCode": 0, "eventRanges": []}])
def test_the_newer_servers_may_grant_in_the_form_that_harvester_expects(data: object) -> None:
    assert read_grant(v1(data)) == ()


@pytest.mark.parametrize(
    ("occasion", "why"),
    [
        ("legacy_no_accept_header", "not JSON"),
        ("legacy_no_identity", "failed to retrieve DN"),
        ("legacy_no_argument", "missing 1 required positional argument"),
        ("legacy_not_gzipped", "not JSON"),
        ("legacy_database_down", "StatusCode 30"),
        ("v1_cut", "not JSON"),
        ("v1_a_count", "without a list"),
        ("v1_get", "expecting POST, received GET"),
        ("v1_text_for_a_number", "must be of type int"),
        ("v1_no_argument", "missing a required argument"),
        ("v1_no_identity", "SSL secure connection is required"),
        ("v1_no_role", "production or pilot role required"),
        ("v1_broken_request", "received invalid JSON"),
        ("v1_unknown_method", "no_such_method is forbidden"),
        ("v1_database_down", "database error in the PanDA server"),
        ("v1_no_accept_header", "not JSON"),
    ],
)
def test_a_reply_without_ranges_says_why(occasion: str, why: str) -> None:
    with pytest.raises(WireError, match=why):
        read_grant(SAID["grant"][occasion])


RANGE = {"eventRangeID": "1-2-3-4-10", "startEvent": 4, "lastEvent": 4}


@pytest.mark.parametrize(
    "entry",
    [
        None,
        "1-2-3-4-10",
        [RANGE],
        {},
        {**RANGE, "eventRangeID": "1,2"},
        {**RANGE, "startEvent": "4"},
        {**RANGE, "lastEvent": 4.0},
        {**RANGE, "lastEvent": 3},
        {"x": json.loads("[" * 900 + "]" * 900)},
    ],
)
def test_a_range_that_cannot_be_read_spoils_the_grant(entry: object) -> None:
    with pytest.raises(WireError, match="no event range") as raised:
        read_grant(v1([{**RANGE, "eventRangeID": "1-2-3-3-10"}, entry]))
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize("again", [RANGE, {**RANGE, "lastEvent": 5}])
def test_a_range_that_is_granted_twice_in_one_reply_spoils_the_grant(again: object) -> None:
    with pytest.raises(WireError, match="twice"):
        read_grant(v1([RANGE, again]))


# --- the reply about the job ---


@pytest.mark.parametrize(
    ("occasion", "command"),
    [
        ("legacy", None),
        ("legacy_unknown_job", "tobekilled"),
        ("v1", None),
        ("v1_wrong_attempt", "tobekilled"),
        ("v1_second_end", "alreadydone"),
    ],
)
def test_the_command_for_a_job_comes_with_the_reply_to_its_heartbeat(occasion: str, command: str | None) -> None:
    assert read_job_answer(SAID["job"][occasion]) == command


@pytest.mark.parametrize(
    ("word", "command"), [(None, None), ("", None), ("NULL", None), ("softkill", "softkill"), ("tail log", "tail log")]
)
def test_no_command_is_said_in_three_ways(word: object, command: str | None) -> None:
    assert read_job_answer(json.dumps({"StatusCode": "0", "command": word})) == command


@pytest.mark.parametrize(
    ("occasion", "why"),
    [
        ("legacy_unknown_state", "without a command"),
        ("legacy_no_accept_header", "not JSON"),
        ("legacy_database_down", "StatusCode 30"),
        ("v1_unknown_state", "Invalid job status"),
        ("v1_no_whole_number", "must be of type int"),
        ("v1_database_down", "StatusCode 30"),
    ],
)
def test_a_heartbeat_that_was_not_booked_says_why(occasion: str, why: str) -> None:
    with pytest.raises(WireError, match=why):
        read_job_answer(SAID["job"][occasion])


@pytest.mark.parametrize(
    "word", [0, False, ["tobekilled"], {"command": "tobekilled"}, json.loads("[" * 900 + "]" * 900)]
)
def test_a_command_that_is_no_text_is_not_followed(word: object) -> None:
    with pytest.raises(WireError, match="no text") as raised:
        read_job_answer(v1({"StatusCode": 0, "command": word}))
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize(
    "reply",
    [
        '{"StatusCode": 0, "command": "NULL", "pilotSecrets": {"key": "hush"}',
        "StatusCode=0&command=NULL&pilotSecrets=hush",
        '{"StatusCode": 30, "pilotSecrets": {"key": "hush"}}',
        '{"StatusCode": 0, "pilotSecrets": {"key": "hush"}}',
        '{"success": true, "message": "", "data": {"StatusCode": 30, "pilotSecrets": "hush"}}',
    ],
)
def test_the_secrets_in_a_reply_are_not_repeated(reply: str) -> None:
    with pytest.raises(WireError) as raised:
        read_job_answer(reply)
    assert "hush" not in str(raised.value)
