"""An outcome is what a job has come to; it can be kept as JSON."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from esfsm.model.outcome import Outcome, OutputFile

ENDED = Outcome(
    panda_id=5001,
    state="done",
    path=("received", "classified", "done"),
    sentence="done; event ranges: 3 finished",
    exit_code=0,
    ranges={"finished": 3},
    events=30,
    outputs=(OutputFile(lfn="a.tar", size_bytes=10240, adler32="0a1b2c3d", url="file:///out/a.tar"),),
    journal=Path("/work/journal.jsonl"),
)


def test_an_outcome_is_read_again_from_its_json() -> None:
    assert Outcome.model_validate_json(ENDED.model_dump_json()) == ENDED


def test_a_job_that_ended_before_its_payload_has_no_exit_code_of_one() -> None:
    early = Outcome(panda_id=1, state="failed", path=("received",), sentence="failed", exit_code=1, journal=Path("j"))
    assert early.payload_exit_code is None
    assert (early.pilot_error_code, early.ranges, early.events, early.outputs) == (0, {}, 0, ())


@pytest.mark.parametrize(("of", "name"), [(ENDED, "state"), (ENDED.outputs[0], "url")], ids=["outcome", "output file"])
def test_an_outcome_cannot_be_changed(of: Outcome | OutputFile, name: str) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        setattr(of, name, "other")
