"""Stops, limits and failures: what is made before is salvaged, and the server is told why."""

import pytest

from esfsm.core import facts as f
from esfsm.core.workflow import Workflow

from .worlds import JOBS, TABLES, Teller, names, produced

PREEMPTED = f.Preempted(why="a stop was asked for by SIGTERM")
KILLED = f.JobKilled(why="the server says tobekilled")
FAILED = f.PayloadFailed(exit_code=65, error_code=1305, why="exit code 65")


@pytest.mark.parametrize("workflow", JOBS)
def test_a_stop_is_heard_in_every_state(workflow):
    table = TABLES[workflow]
    on_the_way_out = {"stopping", "staging-out", "salvaging"} if workflow == "eventservice" else set()
    for state in set(table.states) - set(table.ends):
        assert table.targets[state, "preempted"] in {"stopped", *on_the_way_out}


@pytest.mark.parametrize("state", ["es-running", "stopping", "staging-out"])
def test_a_job_that_the_server_kills_ends_its_payload_at_once_saves_what_is_made_and_fails(state):
    job = Teller().running("r1", "r2")
    job.says(produced("r1"))
    if state == "stopping":
        job.tell(PREEMPTED)
    elif state == "staging-out":
        job.says(f.PayloadFinished())
    assert job.state == state
    asked = job.tell(KILLED)
    assert job.state == "salvaging"
    stops = [action for action in asked if action.name == "stop"]
    assert [stop.grace_s for stop in stops] == ([] if state == "staging-out" else [0.0])
    job.drained()
    assert (job.state, job.engine.final.trouble) == ("failed", (1144, KILLED.why))
    assert job.ledger.counts() == {"finished": 1, "released": 1}


@pytest.mark.parametrize("before", [[], ["classify_job"], ["classify_job", "select_executor"]], ids=len)
def test_a_stop_before_the_payload_ends_what_goes_on_and_the_job(before):
    job = Teller().goes_well(*before)
    target = next(iter(job.engine.outstanding)).number
    stop, report = job.tell(PREEMPTED)
    assert (stop.target, stop.grace_s, report.name) == (target, 60.0, "report_job")
    assert (job.state, job.engine.final.trouble) == ("stopped", (0, PREEMPTED.why))
    job.answer("report_job", f.JobReported())
    assert job.engine.ended
    assert job.engine.resumable


def test_a_stop_gives_the_payload_grace_and_packs_what_there_is():
    job = Teller(grace_s=7.0).produced("r1")
    stop, pack = job.tell(PREEMPTED)
    assert (stop.target, stop.grace_s, pack.name) == (job.asked("run_es_payload").number, 7.0, "pack_outputs")
    assert job.state == "stopping"
    assert not job.engine.ended


def test_a_second_stop_gives_no_more_grace():
    job = Teller().running("r1")
    job.tell(PREEMPTED)
    (stop,) = job.tell(PREEMPTED)
    assert (stop.name, stop.target, stop.grace_s) == ("stop", job.asked("run_es_payload").number, 0.0)
    assert job.state == "stopping"


@pytest.mark.parametrize("state", ["staging-out", "salvaging", "stopping"])
def test_a_stop_of_a_job_on_its_way_out_changes_nothing_when_no_payload_is_left(state):
    job = Teller().produced("r1")
    if state == "stopping":
        job.tell(PREEMPTED)
    job.says(FAILED if state == "salvaging" else f.PayloadFinished())
    assert job.state == state
    assert job.tell(PREEMPTED) == ()
    assert job.state == state


def test_a_stop_is_no_failure_of_an_event_service_job():
    job = Teller().produced("r1")
    job.tell(PREEMPTED)
    job.drained()
    assert (job.state, job.ledger.counts()) == ("stopped", {"finished": 1})
    report = job.report
    assert (report.state, report.error_code, report.error_diag, report.events) == ("finished", 0, "", 10)


def test_a_stop_of_a_plain_job_is_a_failure_for_the_server():
    job = Teller("generic").tell(PREEMPTED)
    assert (job[-1].report.state, job[-1].report.error_diag) == ("failed", PREEMPTED.why)


def test_a_job_without_ranges_that_is_stopped_waits_for_its_payload():
    job = Teller("generic")
    job.goes_well("classify_job", "select_executor", "stage_in")
    assert names(job.tell(PREEMPTED)) == ["stop", "report_job"]
    job.answer("report_job", f.JobReported())
    assert not job.engine.ended
    job.answer("run_payload", FAILED)
    assert (job.state, job.engine.ended, job.engine.final.exit_code) == ("stopped", True, 65)


def test_a_second_stop_gives_no_more_grace_to_a_plain_job_either():
    job = Teller("generic")
    job.goes_well("classify_job", "select_executor", "stage_in")
    job.tell(PREEMPTED)
    assert names(job.tell(PREEMPTED)) == ["stop"]


@pytest.mark.parametrize(
    ("trouble", "code"),
    [
        (FAILED, 1305),
        (f.ActionBroke(why="nobody foresaw it"), 1301),
        (f.LimitExceeded(error_code=1150, why="loops"), 1150),
    ],
)
def test_what_was_made_before_the_payload_failed_is_salvaged(trouble, code):
    job = Teller().running("r1", "r2", "r3")
    job.says(produced("r1"))
    if isinstance(trouble, f.LimitExceeded):
        assert names(job.tell(trouble))[0] == "stop"
    else:
        job.says(trouble)
    assert job.state == "salvaging"
    job.drained()
    assert (job.state, job.engine.final.trouble[0]) == ("failed", code)
    assert job.ledger.counts() == {"finished": 1, "released": 2}
    report = job.report
    assert (report.state, report.error_code, report.events) == ("failed", code, 10)


@pytest.mark.parametrize(
    ("name", "fact"),
    [
        ("classify_job", f.JobRefused(why="no transformation")),
        ("classify_job", f.ActionBroke(error_code=1319, why="nobody foresaw it")),
    ],
)
def test_a_job_that_fails_is_reported_with_the_reason(name, fact):
    job = Teller()
    (report,) = job.answer(name, fact)
    assert (report.report.state, report.report.error_code, report.report.error_diag) == ("failed", 1319, fact.why)


def test_a_reason_is_cut_to_what_the_server_takes():
    (report,) = Teller().answer("classify_job", f.JobRefused(why="x" * 1000))
    assert len(report.report.error_diag) == 500


def test_a_stop_whose_stage_out_fails_is_reported_with_an_error_code():
    job = Teller(stage_out_rounds=1).produced("r1")
    job.tell(PREEMPTED)
    job.answer("pack_outputs", f.PackFailed(error_code=1303, why="no such directory"))
    job.ring_until("note")
    job.drained()
    assert (job.state, job.engine.final.trouble[0]) == ("failed", 1303)


VAIN = pytest.mark.parametrize("vain", [f.JobUnreported(why="timeout"), f.ActionBroke(why="nobody foresaw it")])


def refused(**settings: object) -> Teller:
    """A job that has failed, and is about to say so."""
    job = Teller("generic", **settings)
    job.answer("classify_job", f.JobRefused(why="no transformation"))
    return job


@VAIN
def test_a_final_report_in_vain_is_said_again_with_growing_pauses_and_not_for_ever(vain):
    job = refused(report_attempts=4)
    pauses = []
    for _ in range(3):
        (alarm,) = job.answer("report_job", vain)
        pauses.append(alarm.when - job.now)
        assert (job.state, job.engine.ended) == ("failed", False)
        assert names(job.ring()) == ["report_job"]
    assert pauses == [1, 2, 4]
    assert job.answer("report_job", vain) == ()
    assert (job.state, job.engine.ended) == ("failed", True)


@VAIN
def test_a_final_report_that_is_heard_at_last_ends_the_job(vain):
    job = refused()
    said = job.report
    job.answer("report_job", vain)
    job.ring()
    assert job.report == said
    assert job.answer("report_job", f.JobReported()) == ()
    assert job.engine.ended


def test_a_fact_before_its_time_does_not_hurry_the_final_report():
    job = refused(retry_pause_s=10)
    job.answer("report_job", f.JobUnreported(why="timeout"))
    assert job.tell(PREEMPTED, after_s=9) == ()
    assert names(job.tell(PREEMPTED, after_s=1)) == ["report_job"]


def test_a_final_report_in_vain_is_not_said_again_in_a_state_that_the_job_went_on_to():
    table = Workflow.parse(
        'title = "t"\nstarts = "telling"\nends = ["over"]\n[telling]\ndoes = "report_job"\n'
        'on.job_unreported = "working"\n[working]\ndoes = "run_payload"\non.payload_finished = "over"\n',
        "t",
    )
    job = Teller(table)
    assert names(job.answer("report_job", f.JobUnreported(why="timeout"))) == ["run_payload"]
    job.answer("run_payload", f.PayloadFinished(), after_s=10)
    assert (job.state, job.engine.ended) == ("over", True)


def test_a_state_that_does_nothing_waits_for_a_fact_of_somebody_else():
    table = Workflow.parse(
        'title = "t"\nstarts = "idle"\nends = ["over"]\n[idle]\non.preempted = "over"\non.limit_exceeded = "idle"\n',
        "t",
    )
    job = Teller(table)
    assert job.begun == ()
    assert job.tell(f.LimitExceeded(error_code=1, why="")) == ()
    assert job.tell(PREEMPTED) == ()
    assert (job.state, job.engine.ended, job.engine.resumable) == ("over", True, False)
