"""A job that is taken up again, after a crash or from an end: it goes on, and nothing is forgotten or done twice."""

import pytest

from esfsm.core import facts as f

from .worlds import TABLES, Teller, produced

PREEMPTED = f.Preempted(why="a stop was asked for by SIGTERM")
FAILED = f.PayloadFailed(exit_code=65, error_code=1305, why="exit code 65")


def to(state: str) -> Teller:
    """An Event Service job in this state, with a result that was announced where it has a payload."""
    job = Teller(stage_out_rounds=1)
    if state in ("received", "classified", "executor-selected"):
        before = ["received", "classified", "executor-selected"].index(state)
        job.goes_well(*["classify_job", "select_executor"][:before])
    else:
        job.running("r1", "r2")
        job.says(produced("r1"))
        if state == "stopping":
            job.tell(PREEMPTED)
        elif state != "es-running":
            job.says(f.PayloadFinished() if state == "staging-out" else FAILED)
    assert job.state == state
    return job


ELSEWHERE = (*TABLES["eventservice"].ends, "setup-failed")
ON_THE_WAY = [state for state in TABLES["eventservice"].states if state not in ELSEWHERE]


@pytest.mark.parametrize("state", ON_THE_WAY)
def test_after_a_crash_the_job_goes_on_where_it_was_and_does_again_what_was_not_answered(state):
    before = to(state)
    job = before.resumed()
    assert job.state == state
    asked = [a for a in before.engine.outstanding if a.name != "set_alarm"]
    again = [a for a in asked if not (a.name == "run_es_payload" and state == "stopping")]
    assert [*job.engine.outstanding][: len(again)] == [*again]
    if state in ("received", "classified", "executor-selected"):
        return
    assert "r2" in job.ledger.waiting("granted")
    assert job.drained().state == {"es-running": "done", "staging-out": "done", "stopping": "stopped"}.get(
        state, "failed"
    )
    assert job.ledger.counts() == {"finished": 1, "released": 1}


@pytest.mark.parametrize(("state", "code"), [("stopping", 0), ("salvaging", 1305)])
def test_a_crash_does_not_make_a_job_forget_why_it_ends(state, code):
    job = to(state).resumed().drained()
    assert job.engine.final.trouble[0] == code
    assert job.engine.final.trouble[1]


def test_a_crash_does_not_make_a_job_forget_that_its_stage_out_failed():
    job = to("staging-out")
    job.answer("pack_outputs", f.PackFailed(error_code=1303, why="no such directory"))
    job.ring_until("note")
    while job.waits_for()[0] == "note":
        job.note()
    assert job.resumed().drained().state == "failed"


def test_what_ran_inside_a_payload_that_did_not_survive_runs_again():
    job = to("es-running").resumed()
    assert job.says(f.PayloadStarted(pid=18, started=43)) == ()
    (stock,) = (action for action in job.says(f.RangesWanted(n=3)) if action.name == "stock_ranges")
    assert [r.event_range_id for r in stock.event_ranges] == ["r2"]


@pytest.mark.parametrize("end", ["stopped", "failed"])
def test_a_job_that_was_stopped_or_failed_begins_again_and_keeps_what_is_finished(end):
    job = to({"stopped": "stopping", "failed": "salvaging"}[end]).drained().resumed()
    assert (job.state, job.engine.final.trouble) == ("received", (0, ""))
    assert job.waits_for() == ["classify_job"]
    job.running("r3")
    job.says(produced("r3"), f.PayloadFinished())
    job.drained()
    assert (job.state, job.ledger.counts()) == ("done", {"finished": 2, "released": 1})
    assert len(job.engine.final.outputs) == 2


def test_what_the_life_before_stopped_is_not_begun_again():
    job = to("executor-selected")
    job.tell(PREEMPTED)
    job.answer("report_job", f.JobReported())
    assert job.waits_for() == ["stage_in"]
    assert job.resumed().waits_for() == ["classify_job"]


def test_an_end_that_was_not_reported_is_not_reported_once_the_job_is_taken_up_again():
    job = Teller()
    job.answer("classify_job", f.JobRefused(why="no transformation"))
    assert job.resumed().waits_for() == ["classify_job"]


def test_a_plain_job_that_is_resumed_while_its_payload_was_ending_begins_again_without_it():
    job = Teller("generic")
    job.goes_well("classify_job", "select_executor", "stage_in")
    job.tell(PREEMPTED)
    job.answer("report_job", f.JobReported())
    resumed = job.resumed()
    assert (resumed.state, resumed.waits_for()) == ("received", ["classify_job"])


def test_a_job_that_is_resumed_goes_by_the_new_settings():
    job = to("executor-selected").resumed(grace_s=3.0, zip_max_ranges=1)
    assert job.tell(PREEMPTED)[0].grace_s == 3.0
    assert job.engine.ranges.stageout.settings.zip_max_ranges == 1


def test_the_same_facts_lead_to_the_same_actions():
    job = to("salvaging").drained()
    twin = Teller(stage_out_rounds=1)
    for fact, decided in zip(job.facts, job.decisions, strict=True):
        assert twin.engine.decide(fact).told() == decided
    assert twin.engine.way == job.engine.way


def test_the_time_of_the_job_is_that_of_its_facts_though_a_clock_was_set_back():
    job = Teller(zip_time_gap_s=50).running("r1")
    job.says(f.MessageUnreadable(text="?", why="no AthenaMP"))
    job.now -= 100
    (alarm,) = job.says(produced("r1"))
    assert (alarm.name, alarm.when) == ("set_alarm", job.now + 50)


def test_a_job_that_is_resumed_sets_its_alarms_by_its_own_clock():
    before = Teller(zip_time_gap_s=1000).produced("r1")
    old = before.asked("set_alarm")
    job = before.resumed()
    new = job.asked("set_alarm")
    assert (new.when, new.number > old.number) == (old.when, True)
    assert job.tell(f.AlarmRang(answers=old.number)) == (), "an alarm of the life before concerns nobody"


def test_a_job_that_is_resumed_makes_its_batches_due_at_once():
    before = Teller(zip_max_ranges=1, retry_pause_s=1000).produced("r1")
    before.answer("pack_outputs", f.PackFailed(error_code=1303, why="no such directory"))
    assert "pack_outputs" not in before.waits_for()
    assert "pack_outputs" in before.resumed().waits_for()


# --- what the server said nothing about ------------------------------------------------------------------------


def given_up(job: Teller) -> Teller:
    """The report that waits is made in vain until it is given up."""
    job.answer("report_ranges", f.ReportUnanswered(why="timeout"))
    while "note" not in job.waits_for():
        job.ring()
        if "report_ranges" in job.waits_for():
            job.answer("report_ranges", f.ReportUnanswered(why="timeout"))
    job.note()
    return job


def test_ranges_without_an_answer_are_reported_again_by_whoever_takes_the_job_up():
    before = given_up(Teller(report_attempts=2).stored("r1", "r2")).drained()
    assert (before.state, before.ledger.counts(), before.engine.final.outputs) == ("failed", {"unanswered": 2}, ())
    job = before.resumed().running()
    assert job.asked("report_ranges").report.event_range_ids == ("r1", "r2")
    job.answer("report_ranges", f.RangesAcknowledged())
    job.says(f.PayloadFinished())
    job.drained()
    assert (job.state, job.ledger.counts(), job.report.events) == ("done", {"finished": 2}, 20)
    assert [copy.lfn for copy in job.engine.final.outputs] == ["EventService_premerge_r1.tar"]


def test_what_was_given_up_while_the_payload_runs_is_reported_at_once_by_the_next_engine():
    job = Teller(report_attempts=2, zip_max_ranges=1).produced("r1").goes_well("pack_outputs", "store_archive")
    before = given_up(job)
    assert (before.state, before.ledger.counts()) == ("es-running", {"unanswered": 1})
    job = before.resumed()
    assert job.ledger.counts() == {"stored": 1}
    job.answer("report_ranges", f.RangesAcknowledged())
    job.says(f.PayloadFinished())
    assert (job.drained().state, job.engine.final.trouble) == ("done", (0, ""))


def test_an_end_that_was_about_to_be_noted_waits_for_what_can_be_reported_again():
    before = given_up(Teller(report_attempts=2).stored("r1"))
    assert before.asked("note").fact.name == "stage_out_failed"
    job = before.resumed()
    assert job.waits_for() == ["report_ranges"]
    assert job.drained().state == "done"
    assert job.ledger.counts() == {"finished": 1}


def test_a_job_that_fails_again_before_it_can_report_leaves_its_ranges_without_an_answer():
    job = given_up(Teller(report_attempts=2).stored("r1")).drained().resumed()
    job.answer("classify_job", f.JobRefused(why="no transformation"))
    job.answer("report_job", f.JobReported())
    assert (job.state, job.ledger.counts()) == ("failed", {"unanswered": 1})
    assert job.resumed().running().asked("report_ranges").report.event_range_ids == ("r1",)


def test_who_takes_the_job_up_gives_up_once_more_after_as_many_reports():
    before = given_up(Teller(report_attempts=2).stored("r1")).drained()
    job = before.resumed().running()
    given_up(job)
    job.says(f.PayloadFinished())
    assert (job.drained().state, job.ledger.counts()) == ("failed", {"unanswered": 1})


def test_failed_ranges_without_an_answer_are_let_go_of():
    job = Teller(report_attempts=2).running("r1")
    job.says(f.RangeErrored(event_range_id="r1", why="ERR_ATHENAMP_PROCESS"))
    given_up(job)
    assert job.ledger.counts() == {"released": 1}
    assert "report_ranges" not in job.resumed().waits_for()


def unreported(failures: int) -> Teller:
    """A job at an end that reported it so often in vain, and waits before it does so again."""
    job = Teller("generic", retry_pause_s=1000)
    job.answer("classify_job", f.JobRefused(why="no transformation"))
    for _ in range(failures - 1):
        job.answer("report_job", f.JobUnreported(why="timeout"))
        job.ring()
    job.answer("report_job", f.JobUnreported(why="timeout"))
    return job


def test_a_job_that_is_taken_up_again_from_its_end_forgets_the_reports_in_vain():
    job = unreported(3).resumed()
    assert (job.state, job.waits_for()) == ("received", ["classify_job"])
    job.answer("classify_job", f.JobRefused(why="no transformation"))
    job.answer("report_job", f.JobUnreported(why="timeout"))
    assert job.asked("set_alarm").when == job.now + 1000


def test_a_job_that_is_done_and_not_reported_is_reported_at_once_by_the_engine_that_takes_it_up():
    job = Teller("generic", retry_pause_s=1000)
    job.goes_well("classify_job", "select_executor", "stage_in", "run_payload", "stage_out")
    job.answer("report_job", f.JobUnreported(why="timeout"))
    assert (job.state, job.engine.resumable, job.waits_for()) == ("done", False, [])
    resumed = job.resumed()
    assert (resumed.state, resumed.waits_for()) == ("done", ["report_job"])
    resumed.answer("report_job", f.JobReported())
    assert resumed.engine.ended


def test_a_job_that_is_done_and_was_never_heard_of_can_be_taken_up_to_say_so():
    job = Teller("generic", report_attempts=2, retry_pause_s=1000)
    job.goes_well("classify_job", "select_executor", "stage_in", "run_payload", "stage_out")
    job.answer("report_job", f.JobUnreported(why="timeout"))
    job.ring()
    job.answer("report_job", f.JobUnreported(why="timeout"))
    assert (job.engine.ended, job.engine.final.unreported, job.engine.resumable) == (True, True, True)
    resumed = job.resumed()
    assert (resumed.state, resumed.engine.final.unreported, resumed.waits_for()) == ("done", False, ["report_job"])
    resumed.answer("report_job", f.JobUnreported(why="timeout"))
    assert resumed.engine.ended is False, "it is tried as often as before"
    resumed.ring()
    resumed.answer("report_job", f.JobReported())
    assert (resumed.engine.ended, resumed.engine.resumable) == (True, False)
