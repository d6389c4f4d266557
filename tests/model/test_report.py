"""What is told about ranges and jobs is a value: equal when it says the same, and never changed."""

from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
from pydantic import ValidationError

from esfsm.model.outcome import Outcome, OutputFile
from esfsm.model.report import Answer, ArchiveRecord, Grant, JobReport, Report

ARCHIVE = ArchiveRecord("a.tar", 10240, "0a1b2c3d", 1318)
VALUES = {
    "event_range_ids": Report(("1-2-3-4-5",), ARCHIVE),
    "lfn": ARCHIVE,
    "accepted": Answer(("1-2-3-4-5",)),
    "exhausted": Grant(exhausted=True),
    "state": JobReport("running"),
}


@pytest.mark.parametrize(("name", "value"), VALUES.items())
def test_a_report_cannot_be_changed(name: str, value: object) -> None:
    with pytest.raises(FrozenInstanceError):
        setattr(value, name, None)


def test_reports_that_say_the_same_are_equal() -> None:
    assert Report(("1",), ArchiveRecord("a.tar", 10240, "0a1b2c3d", 1318)) == Report(("1",), ARCHIVE)
    assert Report(("1",), ARCHIVE) != Report(("1",), error_code=1220)


def test_an_empty_grant_is_no_end() -> None:
    assert Grant() == Grant((), exhausted=False)


def test_two_job_reports_do_not_share_their_outputs() -> None:
    first = JobReport("finished")
    first.outputs["A"] = {"fsize": 1}
    assert JobReport("finished").outputs == {}


def test_an_outcome_is_the_same_after_json() -> None:
    outcome = Outcome(
        panda_id=1,
        state="done",
        path=("received", "done"),
        sentence="All is well.",
        exit_code=0,
        ranges={"finished": 2},
        events=10,
        outputs=(OutputFile(lfn="A", size_bytes=1, adler32="00000001", url="file:///A"),),
        journal=Path("/w/journal.jsonl"),
    )
    assert Outcome.model_validate_json(outcome.model_dump_json()) == outcome
    with pytest.raises(ValidationError, match="frozen"):
        outcome.state = "failed"  # type: ignore[misc]
