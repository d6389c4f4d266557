"""What is said at the end of a job."""

from pathlib import Path

import pytest
from core.worlds import Teller

from esfsm.core import facts as f
from esfsm.model.outcome import Outcome, OutputFile
from esfsm.views.outcome import EXIT_CODES, outcome

JOURNAL = Path("/w/journal.jsonl")
PREEMPTED = f.Preempted(why="SIGTERM")


def outcome_of(job: Teller) -> Outcome:
    return outcome(7, job.engine, JOURNAL)


def failed() -> Teller:
    job = Teller()
    job.answer("classify_job", f.JobRefused(why="no transformation"))
    return job


def stopped() -> Teller:
    job = Teller()
    job.tell(PREEMPTED)
    return job


def without_ranges() -> Teller:
    """The payload asked, and the broker had none."""
    job = Teller().running()
    job.says(f.RangesWanted(n=2))
    job.goes_well("request_ranges")
    job.says(f.PayloadFinished())
    return job.drained()


def plain() -> Teller:
    return Teller("generic").drained()


def test_an_outcome_says_where_the_job_came_to_and_by_which_way():
    told = outcome_of(Teller().produced("r1").drained())
    assert (told.panda_id, told.state, told.journal) == (7, "done", JOURNAL)
    assert told.path == ("received", "classified", "executor-selected", "es-running", "staging-out", "done")
    assert (told.ranges, told.events, told.payload_exit_code) == ({"finished": 1}, 10, 0)
    assert told.outputs == (
        OutputFile(
            lfn="EventService_premerge_r1.tar", size_bytes=1000, adler32="0badcafe", url="file:///out/archive.tar"
        ),
    )


@pytest.mark.parametrize(
    ("job", "sentence", "exit_code", "pilot_error_code"),
    [
        (Teller().produced("r1").drained(), "done; event ranges: 1 finished", 0, 0),
        (plain(), "done", 0, 0),
        (without_ranges(), "done: the broker had no event ranges left", 0, 0),
        (failed(), "failed: no transformation", 1, 1319),
        (stopped(), "stopped: SIGTERM", 3, 0),
    ],
    ids=["ranges", "plain", "no ranges left", "failed", "stopped"],
)
def test_an_outcome_is_one_sentence_and_an_exit_code(job, sentence, exit_code, pilot_error_code):
    told = outcome_of(job)
    assert (told.sentence, told.exit_code, told.pilot_error_code) == (sentence, exit_code, pilot_error_code)


def test_an_outcome_says_when_the_server_never_heard_of_it():
    job = Teller("generic", report_attempts=1)
    job.goes_well("classify_job", "select_executor", "stage_in", "run_payload", "stage_out")
    job.answer("report_job", f.JobUnreported(why="timeout"))
    told = outcome_of(job)
    assert told.sentence == (
        "done; the server did not answer the final report: run the same command again to repeat it"
    )
    assert told.exit_code == 0


def test_an_outcome_says_what_there_was_no_time_to_store():
    job = Teller(grace_s=0.0, grace_for="all").produced("r1", "r2")
    job.tell(f.Preempted(why="SIGTERM"))
    job.says(f.PayloadFinished())
    job.note()
    told = outcome_of(job.goes_well("report_job"))
    assert told.sentence == (
        "stopped: SIGTERM; event ranges: 2 released; the time was too short to store 2 finished event ranges"
    )


def test_an_outcome_counts_results_that_were_nobodys():
    job = Teller().produced("r1")
    job.says(f.OutputProduced(event_range_id="r9", paths=("HITS",)))
    assert outcome_of(job.drained()).sentence.endswith("; 1 results were for ranges that the payload did not have")


def test_each_end_has_an_exit_code_of_its_own_and_none_is_that_of_unusable_input():
    assert sorted([*EXIT_CODES.values(), 2]) == [0, 1, 2, 3]
