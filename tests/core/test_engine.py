"""The job on its way through its table: facts in, states and actions out."""

from dataclasses import replace

import pytest

from esfsm.core import facts as f
from esfsm.core.actions import Note, StockRanges, Stop
from esfsm.core.workflow import Arrow
from esfsm.errors import PilotErrorCode, WorkflowError

from .worlds import GOOD_ANSWERS, Teller, event_range, granted, names, produced

PREEMPTED = f.Preempted(why="a stop was asked for by SIGTERM")
FAILED = f.PayloadFailed(exit_code=65, error_code=1305, why="exit code 65")
ACKNOWLEDGED = f.RangesAcknowledged()


# --- the good way ------------------------------------------------------------------------------------------------


def test_the_good_way_of_an_event_service_job():
    job = Teller(zip_max_ranges=2)
    assert names(job.begun) == ["classify_job"]
    assert names(job.answer("classify_job", f.JobClassified(kind="eventservice", why=""))) == ["select_executor"]
    selected = f.ExecutorSelected(payload_executor="eventservice", executor_type="generic", why="")
    assert names(job.answer("select_executor", selected)) == ["stage_in"]
    assert names(job.answer("stage_in", f.InputsStaged())) == ["run_es_payload"]
    assert job.says(f.PayloadStarted(pid=17, started=42)) == ()
    assert names(job.says(f.RangesWanted(n=2))) == ["request_ranges"]
    (stock,) = job.answer("request_ranges", granted("r1", "r2", total=2))
    assert (stock.event_ranges, stock.last) == ((event_range("r1"), event_range("r2")), False)
    assert job.says(f.RangesSent(event_range_ids=("r1", "r2"))) == ()
    assert names(job.says(produced("r1"))) == ["set_alarm"]
    assert names(job.says(produced("r2"))) == ["pack_outputs"]
    assert names(job.says(f.RangesWanted(n=2))) == ["request_ranges"]
    (stock,) = job.answer("request_ranges", f.RangesExhausted())
    assert stock.last
    assert job.says(f.PayloadFinished()) == ()
    assert names(job.answer("pack_outputs", f.OutputsPacked(size_bytes=9, adler32="0b"))) == ["store_archive"]
    assert names(job.answer("store_archive", f.ArchiveStored(url="file:///out/a.tar"))) == ["report_ranges"]
    (note,) = job.answer("report_ranges", ACKNOWLEDGED)
    assert note.fact == f.OutputsStaged()
    (report,) = job.note()
    assert (report.report.state, report.report.events, report.report.exit_code) == ("finished", 20, 0)
    assert report.report.outputs == {}, "archives are reported with their ranges"
    assert [copy.url for copy in job.engine.final.outputs] == ["file:///out/a.tar"]
    assert not job.engine.ended
    assert job.answer("report_job", f.JobReported()) == ()
    assert job.engine.ended
    assert not job.engine.resumable
    assert job.engine.path == (*("received", "classified", "executor-selected", "es-running", "staging-out", "done"),)
    assert job.engine.final.trouble == (0, "")


@pytest.mark.parametrize(
    ("workflow", "way"),
    [
        ("generic", ["run_payload", "stage_out", "report_job"]),
        ("eventservicemerge", ["unpack_archives", "run_payload", "prove_merge", "stage_out", "report_job"]),
    ],
)
def test_the_good_way_of_a_job_without_ranges(workflow, way):
    job = Teller(workflow)
    copy = f.FileCopy("out.root", 5, "0b", "file:///out/out.root")
    good = {
        "unpack_archives": f.ArchivesUnpacked(files=3),
        "run_payload": f.PayloadFinished(),
        "prove_merge": f.MergeProven(event_ranges=3, by="names"),
        "stage_out": f.OutputsStaged(files=(copy,)),
        "report_job": f.JobReported(),
    }
    job.answer("classify_job", f.JobClassified(kind=workflow, why=""))
    job.answer("select_executor", f.ExecutorSelected(payload_executor=workflow, executor_type="generic", why=""))
    job.answer("stage_in", f.InputsStaged())
    for name in way:
        assert job.waits_for() == [name]
        job.answer(name, good[name])
    assert (job.state, job.engine.ended, job.engine.final.outputs) == ("done", True, (copy,))


def test_an_arrow_to_the_same_state_begins_nothing_again():
    job = Teller().running()
    assert job.says(f.MessageUnreadable(text="?", why="no AthenaMP")) == ()
    assert job.engine.arrows[Arrow("es-running", "message_unreadable", "es-running")] == 1
    assert job.engine.path[-1] == "es-running"


def test_a_decision_is_told_as_the_state_entered_and_the_actions():
    job = Teller()
    decision = job.engine.decide(f.JobClassified(kind="eventservice", why="", answers=1))
    assert (decision.entered, names(decision.actions)) == ("classified", ["select_executor"])
    assert decision.told() == ("-> classified", "select_executor 2")
    assert job.engine.decide(f.JobClassified(kind="eventservice", why="", answers=1)).told() == ()


def test_a_decision_that_enters_no_other_state_tells_actions_alone():
    job = Teller().running()
    assert job.says(f.RangesWanted(n=2))
    assert job.decisions[-1] == ("request_ranges 5: 2 by 0",)


def test_each_step_is_written_down_with_its_time():
    job = Teller()
    job.answer("classify_job", f.JobClassified(kind="eventservice", why=""), after_s=2.0)
    (step,) = job.engine.way
    assert (step.source, step.fact, step.target, step.at) == ("received", "job_classified", "classified", job.now)


# --- what was never asked for, or comes late ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "fact",
    [
        f.JobClassified(kind="generic", why="", answers=99),
        f.InputsStaged(answers=1),
        f.RangesSent(event_range_ids=("r1",), answers=1),
    ],
    ids=["never-asked", "another's-answer", "another's-word"],
)
def test_an_answer_that_nobody_asked_for_raises_and_changes_nothing(fact):
    job = Teller()
    before = (job.state, [*job.engine.outstanding], dict(job.engine.arrows))
    with pytest.raises(WorkflowError, match=fact.name):
        job.engine.decide(fact)
    assert (job.state, [*job.engine.outstanding], dict(job.engine.arrows)) == before
    job.answer("classify_job", f.JobClassified(kind="eventservice", why=""))
    assert job.state == "classified"


def test_a_decision_is_answered_by_itself_alone():
    job = Teller().running()
    job.says(f.PayloadFinished())
    with pytest.raises(WorkflowError):
        job.answer("note", f.StageOutFailed(error_code=1, why=""))
    assert job.state == "staging-out"


def test_a_second_answer_moves_nothing():
    job = Teller()
    fact = f.JobClassified(kind="eventservice", why="", answers=1)
    job.tell(fact)
    assert job.tell(fact) == ()
    assert job.tell(replace(fact, at=0.0)) == ()
    assert (job.state, job.engine.path) == ("classified", ("received", "classified"))


def test_a_payload_that_says_goodbye_late_moves_nothing_but_its_results_count():
    job = Teller().running("r1", "r2")
    job.tell(PREEMPTED)
    assert names(job.says(produced("r1"))) == ["set_alarm"]
    assert job.says(f.RangeErrored(event_range_id="r2", why="ERR_ATHENAMP_PROCESS"))[0].name == "report_ranges"
    assert names(job.says(FAILED)) == ["pack_outputs"]
    assert (job.state, job.engine.final.exit_code) == ("stopping", 65)
    assert job.drained().state == "stopped"
    assert job.ledger.counts() == {"finished": 1, "failed": 1}


def test_a_payload_that_asks_while_it_is_to_end_is_told_that_there_is_no_more():
    job = Teller().running("r1")
    job.tell(PREEMPTED)
    (stock,) = job.says(f.RangesWanted(n=2))
    assert isinstance(stock, StockRanges)
    assert stock.last


def test_ranges_that_are_granted_too_late_are_released():
    job = Teller().running()
    job.says(f.RangesWanted(n=2))
    job.says(f.PayloadFinished())
    assert job.waits_for() == ["request_ranges"]
    (note,) = job.answer("request_ranges", granted("r1", "r2"))
    assert note.fact == f.RangesReleased(event_range_ids=("r1", "r2"))
    assert job.drained().state == "done"
    assert job.ledger.counts() == {"released": 2}


@pytest.mark.parametrize("fact", [produced("r1"), produced("r9"), f.RangeErrored(event_range_id="r9", why="?")])
def test_a_strange_payload_changes_nothing_and_is_counted(fact):
    job = Teller().running("r1")
    job.says(produced("r1"))
    assert job.says(fact) == ()
    assert job.engine.ranges.strange == 1
    assert job.drained().ledger.counts() == {"finished": 1}


# --- supply ------------------------------------------------------------------------------------------------------


def test_requests_without_an_answer_are_made_again_with_growing_pauses_and_then_a_limit_is_exceeded():
    job = Teller(report_attempts=4).running()
    job.says(f.RangesWanted(n=2))
    pauses = []
    for _ in range(4):
        (alarm,) = job.answer("request_ranges", f.RequestUnanswered(why="timed out"))
        pauses.append(alarm.when - job.now)
        asked = job.ring()
    assert pauses == [1.0, 2.0, 4.0, 8.0]
    assert isinstance(asked[0], Note)
    (stop,) = (action for action in job.note() if isinstance(action, Stop))
    assert job.state == "salvaging"
    assert stop.target == job.asked("run_es_payload").number
    why = "no event ranges after 4 requests: timed out"
    assert job.engine.final.trouble == (PilotErrorCode.COMMUNICATIONFAILURE, why)


def test_empty_grants_are_believed_in_the_end_and_the_payload_is_told():
    job = Teller(empty_answers=3).running()
    job.says(f.RangesWanted(n=2))
    pauses = []
    for _ in range(2):
        (alarm,) = job.answer("request_ranges", granted())
        pauses.append(alarm.when - job.now)
        job.ring()
    (stock,) = job.answer("request_ranges", granted())
    assert (pauses, stock.name, stock.last) == ([1.0, 2.0], "stock_ranges", True)


def test_a_broker_that_breaks_does_not_end_the_job():
    job = Teller().running()
    job.says(f.RangesWanted(n=2))
    job.answer("request_ranges", f.ActionBroke(why="nobody foresaw it"))
    assert job.state == "es-running"
    assert names(job.ring()) == ["request_ranges"]


# --- stage-out and reports ---------------------------------------------------------------------------------------


def test_an_archive_is_packed_when_its_time_has_come():
    job = Teller(zip_time_gap_s=50).running("r1")
    (alarm,) = job.says(produced("r1"))
    assert alarm.when == job.now + 50
    assert names(job.ring()) == ["pack_outputs"]


def test_no_second_alarm_is_set_for_what_an_earlier_one_will_wake():
    job = Teller(zip_time_gap_s=50).running("r1", "r2")
    assert names(job.says(produced("r1"))) == ["set_alarm"]
    assert job.says(produced("r2")) == ()


def test_a_store_that_fails_is_repeated_and_then_the_ranges_fail_and_the_job():
    job = Teller(stage_out_rounds=2).packed("r1")
    job.answer("store_archive", f.StoreFailed(error_code=1137, why="down"))
    assert job.waits_for() == []
    assert names(job.ring_until("store_archive")) == ["store_archive"]
    job.answer("store_archive", f.StoreFailed(error_code=1137, why="down"))
    job.ring_until("note")
    (report,) = job.note()
    assert (report.report.event_range_ids, report.report.error_code) == (("r1",), 1137)
    assert job.drained().state == "failed"
    assert job.ledger.counts() == {"failed": 1}
    assert job.engine.final.trouble == (1137, "archive EventService_premerge_r1.tar could not be stored: down")


def test_a_report_that_nobody_answers_is_repeated_with_doubled_pauses_and_then_given_up():
    job = Teller(report_attempts=3, retry_jitter=0).stored("r1")
    pauses = []
    for _ in range(3):
        before = job.now
        job.answer("report_ranges", f.ReportUnanswered(why="timeout"))
        asked = job.ring_until("note" if len(pauses) == 2 else "report_ranges")
        pauses.append(job.now - before)
    assert pauses == [1.0, 2.0, 4.0]
    assert names(asked) == ["note"]
    assert job.drained().state == "failed"
    assert job.ledger.counts() == {"unanswered": 1}
    assert job.engine.final.trouble == (PilotErrorCode.COMMUNICATIONFAILURE, "no answer to 3 reports: timeout")
    assert job.engine.final.outputs == ()


def test_an_archive_that_is_lost_is_packed_again_and_then_given_up_with_the_reason():
    job = Teller(stage_out_rounds=2).packed("r1")
    assert names(job.answer("store_archive", f.ArchiveLost(why="it is not there"))) == ["pack_outputs"]
    assert job.ledger.counts() == {"produced": 1}
    assert names(job.answer("pack_outputs", GOOD_ANSWERS["pack_outputs"])) == ["store_archive"]
    (note,) = job.answer("store_archive", f.ArchiveLost(why="it is not there again"))
    assert note.fact.name == "archive_refused"
    job.note()
    assert job.drained().state == "failed"
    assert job.ledger.counts() == {"failed": 1}
    why = "archive EventService_premerge_r1.tar could not be stored: it is not there again"
    assert job.engine.final.trouble == (PilotErrorCode.STAGEOUTFAILED, why)


def test_a_doubt_about_one_range_does_not_keep_the_others_from_being_booked():
    job = Teller().stored("r1", "r2", "r3")
    answer = f.RangesAcknowledged(doubted=("r1",), unheard=("r2", "r3"), why="disturbed")
    again = job.answer("report_ranges", answer)
    assert [action.report.event_range_ids for action in again] == [("r2", "r3"), ("r1",)]
    assert job.ledger.counts() == {"stored": 3}
    job.answer("report_ranges", ACKNOWLEDGED)
    assert job.ledger.counts() == {"stored": 1, "finished": 2}
    assert job.drained().state == "done"
    assert (job.ledger.counts(), len(job.engine.final.outputs)) == ({"finished": 3}, 1)


def test_ranges_that_the_server_refuses_do_not_fail_the_job():
    job = Teller().stored("r1", "r2")
    job.answer("report_ranges", f.RangesAcknowledged(refused=("r1",), why="not yours"))
    assert job.drained().state == "done"
    assert job.ledger.counts() == {"finished": 1, "refused": 1}


@pytest.mark.parametrize(
    ("name", "ready"), [("pack_outputs", "produced"), ("store_archive", "packed"), ("report_ranges", "stored")]
)
def test_what_breaks_below_a_range_is_done_again_and_does_not_move_the_job(name, ready):
    job = getattr(Teller(), ready)("r1")
    if ready == "produced":
        job.says(f.PayloadFinished())
    job.answer(name, f.ActionBroke(why="nobody foresaw it"))
    assert job.state == "staging-out"
    assert name in names(job.ring_until(name))
    assert job.drained().state == "done"
