"""The event ranges of one job: who needs them, where they stand, how they end."""

from dataclasses import replace

import pytest

from esfsm.core import facts as f
from esfsm.core.actions import Note, PackOutputs, RequestRanges, StockRanges
from esfsm.core.batch import NEVER
from esfsm.core.ranges import Ranges
from esfsm.errors import PilotErrorCode, WorkflowError
from esfsm.model.settings import Settings

from .worlds import BEGAN, TABLES, event_range, granted, produced

REQUEST = RequestRanges(n=2)


def ranges_with(*ids: str, **settings: object) -> Ranges:
    """These are granted, and the payload has them."""
    ranges = Ranges(TABLES["event-range"], Settings(**{"keep_outputs": True, **settings}))
    if ids:
        ranges.hear(granted(*ids), REQUEST)
        ranges.hear(f.RangesSent(event_range_ids=ids), None)
    return ranges


def due(ranges: Ranges, now: float = BEGAN, feeding: bool = True, flush: bool = False) -> list:
    return list(ranges.due(now, feeding=feeding, flush=flush))


def packed(*ids: str, **settings: object) -> tuple[Ranges, PackOutputs]:
    """Results of these have been announced, and are being packed."""
    ranges = ranges_with(*ids, **settings)
    for event_range_id in ids:
        ranges.hear(produced(event_range_id), None)
    (pack,) = due(ranges, flush=True)
    return ranges, pack


# --- supply ------------------------------------------------------------------------------------------------------


def test_ranges_are_asked_for_once_when_the_payload_wants_some():
    ranges = ranges_with()
    assert due(ranges) == []
    ranges.hear(f.RangesWanted(n=2), None)
    assert due(ranges) == [RequestRanges(n=2)]
    assert due(ranges) == []


def test_granted_ranges_go_into_the_stock_of_the_payload():
    ranges = ranges_with()
    ranges.hear(f.RangesWanted(n=2), None)
    due(ranges)
    ranges.hear(granted("r1", "r2", "r3", total=7), REQUEST)
    assert ranges.total == 7
    assert due(ranges) == [StockRanges(event_ranges=(event_range("r1"), event_range("r2")))]
    ranges.hear(f.RangesWanted(n=2), None)
    assert due(ranges) == [StockRanges(event_ranges=(event_range("r3"),))], (
        "what is at hand is given before more is asked"
    )


@pytest.mark.parametrize("last", [f.RangesExhausted(), granted("r1", exhausted=True)])
def test_the_payload_is_told_when_no_more_will_come(last):
    ranges = ranges_with()
    ranges.hear(f.RangesWanted(n=2), None)
    due(ranges)
    ranges.hear(last, REQUEST)
    due(ranges)
    ranges.hear(f.RangesWanted(n=2), None)
    assert due(ranges) == [StockRanges(last=True)]


@pytest.mark.parametrize(
    "answer",
    [f.RequestUnanswered(why="timeout"), f.ActionBroke(why="nobody foresaw it")],
    ids=["unanswered", "broke"],
)
def test_no_answer_is_asked_for_again_with_growing_pauses_and_not_for_ever(answer):
    ranges = ranges_with(report_attempts=3)
    ranges.hear(f.RangesWanted(n=2), None)
    pauses = []
    for asked in range(3):
        assert due(ranges, BEGAN + sum(pauses)) == [RequestRanges(n=2, request=0)], asked
        ranges.hear(replace(answer, at=BEGAN + sum(pauses)), REQUEST)
        assert due(ranges, BEGAN + sum(pauses)) == []
        pauses.append(ranges.alarm(feeding=True) - BEGAN - sum(pauses))
    assert pauses == [1, 2, 4]
    (note,) = due(ranges, BEGAN + 7)
    why = answer.why
    assert note == Note(
        fact=f.LimitExceeded(
            error_code=PilotErrorCode.COMMUNICATIONFAILURE, why=f"no event ranges after 3 requests: {why}"
        )
    )


@pytest.mark.parametrize("empty_answers", [1, 5, 30])
def test_a_server_that_has_no_ranges_often_enough_is_believed_however_rarely_a_report_is_made(empty_answers: int):
    ranges = ranges_with(empty_answers=empty_answers, report_attempts=3)
    ranges.hear(f.RangesWanted(n=2), None)
    now = BEGAN
    for asked in range(empty_answers):
        assert due(ranges, now) == [RequestRanges(n=2, request=asked)]
        ranges.hear(replace(granted(), at=now), REQUEST)
        now += 100.0
    assert due(ranges, now) == [StockRanges(last=True)]


def test_a_range_that_is_granted_forgives_the_empty_answers_before():
    ranges = ranges_with(report_attempts=2)
    for now, answer in enumerate((granted(), granted("r1"), granted(), granted("r2"))):
        ranges.hear(f.RangesWanted(n=1), None)
        assert due(ranges, now) == [RequestRanges(n=1, request=now)]
        ranges.hear(replace(answer, at=now), REQUEST)
        due(ranges, now)
    assert "r2" in ranges.ledger


def test_ranges_that_we_have_already_are_no_new_ranges():
    ranges = ranges_with("r1")
    ranges.hear(f.RangesWanted(n=1), None)
    due(ranges)
    ranges.hear(replace(granted("r1"), at=BEGAN), REQUEST)
    assert ranges.ledger["r1"] == "running"
    assert due(ranges, BEGAN) == []
    assert due(ranges, BEGAN + 1) == [RequestRanges(n=1, request=2)]


@pytest.mark.parametrize(
    ("answer", "request_now"),
    [
        (f.RequestUnanswered(why="timeout"), 1),
        (f.ActionBroke(why="nobody foresaw it"), 1),
        (granted("r2"), 2),
        (granted(), 2),
        (f.RangesExhausted(), 2),
    ],
    ids=["unanswered", "broke", "granted", "empty", "exhausted"],
)
def test_a_request_has_a_new_number_once_the_one_before_had_an_answer_in_this_life_or_the_next(answer, request_now):
    ranges = ranges_with("r1", retry_pause_s=0)
    ranges.hear(f.RangesWanted(n=1), None)
    assert due(ranges) == [RequestRanges(n=1, request=1)]
    ranges.hear(answer, REQUEST)
    ranges.hear(f.JobResumed(settings={}), None)
    ranges.hear(f.RangesWanted(n=4), None)
    due(ranges)
    ranges.hear(f.RangesWanted(n=1), None)
    (request,) = (action for action in due(ranges) if isinstance(action, RequestRanges))
    assert request.request == request_now


def test_an_output_is_packed_with_the_time_of_its_last_change():
    ranges = ranges_with("r1")
    ranges.hear(replace(produced("r1"), stamps=(17,)), None)
    (pack,) = due(ranges, flush=True)
    assert [member.stamp for member in pack.members] == [17]


def test_a_result_that_is_announced_once_more_is_packed_with_the_files_of_the_last_word():
    ranges = ranges_with("r1")
    for stamp in (17, 18):
        ranges.hear(replace(produced("r1"), stamps=(stamp,)), None)
    (pack,) = due(ranges, flush=True)
    assert [member.stamp for member in pack.members] == [18]
    assert ranges.strange == 1


def test_a_payload_that_is_to_end_gets_nothing_more():
    ranges = ranges_with()
    assert due(ranges, feeding=False) == []
    ranges.hear(f.RangesWanted(n=2), None)
    assert due(ranges, feeding=False) == [StockRanges(last=True)]
    assert due(ranges, feeding=False) == []
    assert ranges.alarm(feeding=False) == NEVER


# --- what a stranger may say -------------------------------------------------------------------------------------


@pytest.mark.parametrize("event_range_id", ["r1", "unknown"])
@pytest.mark.parametrize("says", [produced, lambda i: f.RangeErrored(event_range_id=i, why="again")])
def test_a_result_for_a_range_that_the_payload_does_not_have_is_counted_and_changes_nothing(says, event_range_id):
    ranges = ranges_with("r1")
    ranges.hear(produced("r1"), None)
    ranges.hear(says(event_range_id), None)
    assert ranges.strange == 1
    assert ranges.ledger.counts() == {"produced": 1}
    (pack,) = due(ranges, flush=True)
    assert [member.event_range_id for member in pack.members] == ["r1"]


def test_only_granted_ranges_are_sent():
    ranges = ranges_with("r1")
    ranges.hear(f.RangesSent(event_range_ids=("r1", "unknown", "r1")), None)
    assert ranges.ledger.counts() == {"running": 1}


def test_a_range_that_was_handed_out_unseen_may_be_announced():
    ranges = ranges_with()
    ranges.hear(granted("r1", "r2"), REQUEST)
    ranges.hear(produced("r1"), None)
    ranges.hear(f.RangeErrored(event_range_id="r2", why="ERR_ATHENAMP_PROCESS"), None)
    assert (ranges.ledger["r1"], ranges.ledger["r2"], ranges.strange) == ("produced", "errored", 0)


def test_what_nobody_asked_for_moves_no_range():
    ranges = ranges_with("r1")
    for fact in (granted("r2"), f.ArchiveStored(url="x"), f.RangesAcknowledged(), f.MessageUnreadable(text="", why="")):
        ranges.hear(fact, None)
    assert ranges.ledger.counts() == {"running": 1}


# --- stage-out ---------------------------------------------------------------------------------------------------


def test_a_range_goes_from_its_result_to_finished():
    ranges, pack = packed("r1")
    assert ranges.ledger["r1"] == "produced"
    ranges.hear(f.OutputsPacked(size_bytes=9, adler32="0b"), pack)
    (store,) = due(ranges)
    assert (store.name, ranges.ledger["r1"]) == ("store_archive", "packed")
    ranges.hear(f.ArchiveStored(url="x"), store)
    (report,) = due(ranges)
    assert (report.name, ranges.ledger["r1"]) == ("report_ranges", "stored")
    ranges.hear(f.RangesAcknowledged(), report)
    assert ranges.ledger["r1"] == "finished"


def test_ranges_that_the_server_refuses_are_refused_and_the_others_finished():
    ranges, pack = packed("r1", "r2")
    ranges.hear(f.OutputsPacked(size_bytes=9, adler32="0b"), pack)
    (store,) = due(ranges)
    ranges.hear(f.ArchiveStored(url="x"), store)
    (report,) = due(ranges)
    ranges.hear(f.RangesAcknowledged(refused=("r2",), why="not yours"), report)
    assert (ranges.ledger["r1"], ranges.ledger["r2"]) == ("finished", "refused")
    assert list(ranges.stageout.staged) == [pack.lfn]


@pytest.mark.parametrize(
    ("answer", "counts", "again", "staged"),
    [
        (f.RangesAcknowledged(), {"finished": 3}, [], 1),
        (f.RangesAcknowledged(refused=("r1", "r2", "r3")), {"refused": 3}, [], 0),
        (f.RangesAcknowledged(doubted=("r2",)), {"stored": 1, "finished": 2}, [("r2",)], 1),
        (f.RangesAcknowledged(unheard=("r2", "r3")), {"stored": 2, "finished": 1}, [("r2", "r3")], 1),
        (f.RangesAcknowledged(unheard=("r1", "r2", "r3")), {"stored": 3}, [("r1", "r2", "r3")], 0),
        (f.RangesAcknowledged(doubted=("r1",), unheard=("r2", "r3")), {"stored": 3}, [("r2", "r3"), ("r1",)], 0),
        (
            f.RangesAcknowledged(refused=("r1",), doubted=("r2",), unheard=("r3",)),
            {"stored": 2, "refused": 1},
            [("r3",), ("r2",)],
            0,
        ),
        (
            f.RangesAcknowledged(refused=("r1",), doubted=("r1", "r2"), unheard=("r1", "r2")),
            {"stored": 1, "finished": 1, "refused": 1},
            [("r2",)],
            1,
        ),
        (f.RangesAcknowledged(refused=("r9",), doubted=("r8",), unheard=("r7",)), {"finished": 3}, [], 1),
    ],
    ids=["all", "refused", "doubted", "unheard", "silence", "both", "all three", "one named twice", "strangers"],
)
def test_what_an_answer_does_not_name_is_booked_and_the_rest_is_reported_again(answer, counts, again, staged):
    ranges, pack = packed("r1", "r2", "r3", retry_pause_s=0)
    ranges.hear(f.OutputsPacked(size_bytes=9, adler32="0b"), pack)
    ranges.hear(f.ArchiveStored(url="x"), due(ranges)[0])
    ranges.hear(replace(answer, why="disturbed", at=BEGAN), due(ranges)[0])
    assert ranges.ledger.counts() == counts
    assert [action.report.event_range_ids for action in due(ranges)] == again
    assert len(ranges.stageout.staged) == staged


def test_a_range_whose_archive_is_lost_is_packed_again():
    ranges, pack = packed("r1", "r2")
    ranges.hear(f.OutputsPacked(size_bytes=9, adler32="0b", lost=("r2",)), pack)
    store = next(action for action in due(ranges) if action.name == "store_archive")
    ranges.hear(f.ArchiveLost(why="it is not there"), store)
    assert (ranges.ledger["r1"], ranges.ledger["r2"]) == ("produced", "errored")
    assert due(ranges) == [pack]
    ranges.hear(f.OutputsPacked(size_bytes=9, adler32="0b", lost=("r2",)), pack)
    assert (ranges.ledger["r1"], ranges.ledger["r2"]) == ("packed", "errored")


def test_a_range_whose_report_was_given_up_is_reported_again_when_somebody_who_takes_the_job_up_can_do_so():
    ranges, pack = packed("r1", report_attempts=1, retry_pause_s=0)
    ranges.hear(f.OutputsPacked(size_bytes=9, adler32="0b"), pack)
    ranges.hear(f.ArchiveStored(url="x"), due(ranges)[0])
    ranges.hear(f.ReportUnanswered(why="timeout"), due(ranges)[0])
    (note,) = due(ranges)
    ranges.hear(note.fact, note)
    assert (ranges.ledger["r1"], due(ranges)) == ("unanswered", [])
    ranges.hear(f.JobResumed(settings={}), None)
    assert (ranges.ledger["r1"], ranges.trouble) == ("unanswered", None)
    (report,) = due(ranges)
    assert (report.report.event_range_ids, ranges.ledger["r1"]) == (("r1",), "stored")


def test_a_stage_out_that_failed_for_another_reason_than_silence_has_failed_for_good():
    ranges, pack = packed("r1", stage_out_rounds=1, retry_pause_s=0)
    ranges.hear(f.PackFailed(error_code=1303, why="gone"), pack)
    (note,) = due(ranges)
    ranges.hear(note.fact, note)
    ranges.hear(f.JobResumed(settings={}), None)
    assert ranges.trouble[0] == 1303


def test_ranges_run_on_in_a_payload_that_was_adopted():
    ranges = ranges_with("r1")
    ranges.hear(f.JobResumed(settings={}, adopted=True), None)
    assert ranges.ledger["r1"] == "running"


def test_a_lost_output_fails_its_range_alone():
    ranges, pack = packed("r1", "r2")
    ranges.hear(f.OutputsPacked(size_bytes=9, adler32="0b", lost=("r1", "unknown")), pack)
    assert (ranges.ledger["r1"], ranges.ledger["r2"]) == ("errored", "packed")
    store, report = sorted(due(ranges), key=lambda action: action.name, reverse=True)
    assert store.lfn == pack.lfn
    assert report.report.event_range_ids == ("r1",)
    assert report.report.error_code == PilotErrorCode.MISSINGOUTPUTFILE


@pytest.mark.parametrize(
    "trouble", [f.PackFailed(error_code=1303, why="gone"), f.ActionBroke(error_code=1303, why="gone")]
)
def test_an_archive_that_cannot_be_packed_fails_its_ranges(trouble):
    ranges, pack = packed("r1", stage_out_rounds=1, retry_pause_s=0)
    ranges.hear(trouble, pack)
    (note,) = due(ranges)
    ranges.hear(note.fact, note)
    assert ranges.ledger["r1"] == "errored"
    (report,) = due(ranges)
    assert (report.report.error_code, report.report.error_diag) == (1303, "gone")


@pytest.mark.parametrize(
    "trouble", [f.StoreFailed(error_code=1137, why="down"), f.ActionBroke(error_code=1137, why="down")]
)
def test_an_archive_that_no_storage_takes_fails_its_ranges_and_the_stage_out(trouble):
    ranges, pack = packed("r1", stage_out_rounds=1, retry_pause_s=0)
    ranges.hear(f.OutputsPacked(size_bytes=9, adler32="0b"), pack)
    (store,) = due(ranges)
    ranges.hear(trouble, store)
    assert ranges.ledger["r1"] == "packed"
    (note,) = due(ranges, flush=True)
    ranges.hear(note.fact, note)
    assert ranges.trouble == (1137, f"archive {pack.lfn} could not be stored: down")
    (report,) = due(ranges)
    ranges.hear(f.RangesAcknowledged(), report)
    assert ranges.ledger["r1"] == "failed"
    assert [n.fact.name for n in ranges.settle()] == ["stage_out_failed"]


@pytest.mark.parametrize("trouble", [f.ReportUnanswered(why="timeout"), f.ActionBroke(why="timeout")])
def test_failed_ranges_whose_report_nobody_answers_are_released(trouble):
    ranges = ranges_with("r1", report_attempts=2, retry_pause_s=0)
    ranges.hear(f.RangeErrored(event_range_id="r1", why="ERR_ATHENAMP_PROCESS"), None)
    for _ in range(2):
        (report,) = due(ranges)
        assert report.report.error_code == PilotErrorCode.UNKNOWNPAYLOADFAILURE
        ranges.hear(trouble, report)
    (note,) = due(ranges)
    ranges.hear(note.fact, note)
    assert ranges.ledger["r1"] == "released"
    assert ranges.trouble == (PilotErrorCode.COMMUNICATIONFAILURE, note.fact.why)
    assert due(ranges) == []


# --- the end -----------------------------------------------------------------------------------------------------


def test_ranges_that_never_ran_are_released_then_the_end_is_noted():
    ranges = ranges_with("r1")
    ranges.payload_gone()
    (note,) = ranges.settle()
    assert note.fact == f.RangesReleased(event_range_ids=("r1",))
    ranges.hear(note.fact, note)
    assert [n.fact for n in ranges.settle()] == [f.OutputsStaged()]


def test_nothing_is_settled_while_a_request_is_under_way_or_a_range_is_on_its_way():
    ranges = ranges_with()
    ranges.hear(f.RangesWanted(n=1), None)
    due(ranges)
    assert list(ranges.settle()) == []
    ranges.hear(granted("r1"), REQUEST)
    ranges.hear(produced("r1"), None)
    assert list(ranges.settle()) == []


def test_a_job_that_is_resumed_asks_again_and_runs_again_what_was_inside_the_payload():
    ranges = ranges_with("r1")
    ranges.hear(f.RangesExhausted(), REQUEST)
    ranges.hear(f.JobResumed(settings={}), None)
    ranges.hear(f.RangesWanted(n=2), None)
    assert due(ranges) == [StockRanges(event_ranges=(event_range("r1"),))]
    ranges.hear(f.RangesWanted(n=2), None)
    assert due(ranges) == [RequestRanges(n=2, request=2)]


def test_a_job_that_is_resumed_waits_for_the_request_that_is_made_again():
    ranges = ranges_with()
    ranges.hear(f.RangesWanted(n=2), None)
    due(ranges)
    ranges.hear(f.JobResumed(settings={}), None)
    ranges.hear(f.RangesWanted(n=2), None)
    assert due(ranges) == []


def test_the_next_alarm_is_that_of_the_request_or_of_the_archive_whichever_is_first():
    ranges = ranges_with("r1", zip_time_gap_s=60)
    assert ranges.alarm(feeding=True) == NEVER
    ranges.hear(f.OutputProduced(event_range_id="r1", paths=("HITS",), at=BEGAN), None)
    assert ranges.alarm(feeding=True) == BEGAN + 60
    ranges.hear(f.RangesWanted(n=1), None)
    due(ranges)
    ranges.hear(f.RequestUnanswered(why="timeout", at=BEGAN), REQUEST)
    assert ranges.alarm(feeding=True) == BEGAN + 1
    assert ranges.alarm(feeding=False) == BEGAN + 60


@pytest.mark.parametrize("answered", [None, Note(number=9, fact=f.ReportGivenUp(key="another")), REQUEST])
def test_a_batch_is_let_go_of_only_where_that_was_decided(answered):
    ranges, pack = packed("r1")
    for said in (f.ArchiveRefused(lfn=pack.lfn, error_code=1, why="x"), f.ReportGivenUp(key=pack.lfn)):
        with pytest.raises(WorkflowError, match=f"{said.name} cannot happen to batch {pack.lfn}"):
            ranges.hear(said, answered)
    assert pack.lfn in ranges.stageout.batches
