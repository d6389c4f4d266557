"""What real servers replied to a request for jobs."""

import json

import pytest
from wire.data.said import v1
from wire.exchanges import EXCHANGES, Exchange

from esfsm.errors import WireError
from esfsm.wire.panda.jobs import read_jobs

ASKED = [each for each in EXCHANGES if each.path.endswith(("getJob", "acquire_jobs"))]
JOB = {"PandaID": 5001, "eventService": "True"}


def test_there_are_recorded_requests_for_jobs() -> None:
    assert len(ASKED) == 7


@pytest.mark.parametrize(
    "asked", [each for each in ASKED if "PandaID" in each.reply and each.is_whole], ids=lambda each: each.place
)
def test_a_recorded_job_is_read(asked: Exchange) -> None:
    (job,) = read_jobs(asked.reply)
    assert job["eventService"] == "True"
    assert "StatusCode" not in job, "that is of the reply"


@pytest.mark.parametrize(
    "reply",
    [
        '{"StatusCode": 20, "errorDialog": "no jobs in PanDA"}',
        '{"success": false, "message": "No jobs in PanDA", "data": null}',
    ],
)
def test_no_job_is_no_fault(reply: str) -> None:
    assert read_jobs(reply) == ()
    assert any(each.reply == reply for each in ASKED)


@pytest.mark.parametrize(
    "reply",
    [
        json.dumps({"StatusCode": 0, **JOB}),
        json.dumps({"StatusCode": 0, "jobs": [JOB]}),
        v1({"StatusCode": 0, "jobs": [JOB]}),
    ],
)
def test_a_job_may_come_by_itself_or_in_a_list(reply: str) -> None:
    assert read_jobs(reply) == (JOB,)


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ("StatusCode=20", "not JSON"),
        ('{"StatusCode": 60, "errorDialog": "no role"}', "StatusCode 60"),
        ('{"success": false, "message": "Timed out", "data": null}', "Timed out"),
        (v1({"StatusCode": 0}), "without any"),
        (v1({"StatusCode": 0, "jobs": {}}), "without any"),
        (v1({"StatusCode": 0, "jobs": [7]}), "what is none"),
        (v1({"StatusCode": 0, "jobs": [{"taskID": 7}]}), "what is none"),
        ("[]", "neither a StatusCode nor success"),
    ],
)
def test_any_other_reply_is_no_answer(reply: str, why: str) -> None:
    with pytest.raises(WireError, match=why):
        read_jobs(reply)
