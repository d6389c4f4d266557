"""Actions: named as in the tables, answered by known facts, told from each other by a short line."""

import pytest

from esfsm.core import actions as a
from esfsm.core.facts import FACTS, RangesReleased
from esfsm.model.report import ArchiveRecord, JobReport, Report

from .worlds import event_range

RECORD = ArchiveRecord("archive.tar", 10, "0badcafe", 1)
MEMBERS = (a.Member("r1", "HITS.r1", "/w/HITS.r1"),)


@pytest.mark.parametrize("action", a.ACTIONS.values(), ids=a.ACTIONS)
def test_whatever_may_answer_an_action_is_a_fact(action):
    assert action.answered_by | action.ended_by <= FACTS.keys()
    assert not action.answered_by & action.ended_by


@pytest.mark.parametrize("action", [action for action in a.ACTIONS.values() if action.for_state])
def test_what_a_state_does_comes_to_an_end_and_needs_no_content(action):
    assert action.ended_by
    assert action().number == 0


@pytest.mark.parametrize("action", [a.StageOut, a.ReportJob, a.RequestRanges, a.StoreArchive, a.ReportRanges])
def test_what_others_can_see_is_marked_as_outside(action):
    assert action.outside


@pytest.mark.parametrize("action", [a.ClassifyJob, a.PackOutputs, a.StockRanges, a.Note, a.SetAlarm, a.RunEsPayload])
def test_what_nobody_else_can_see_is_not(action):
    assert not action.outside


@pytest.mark.parametrize(
    ("action", "line"),
    [
        (a.StageIn(number=3), "stage_in 3"),
        (a.ReportJob(number=9, report=JobReport("finished", events=20)), "report_job 9: finished, 20 events"),
        (a.RequestRanges(number=5, n=8), "request_ranges 5: 8 by 0"),
        (a.StockRanges(number=6, event_ranges=(event_range("r1"),)), "stock_ranges 6: 1 of 0d0e09b1"),
        (a.StockRanges(number=6, last=True), "stock_ranges 6: 0 of 00000000, last"),
        (a.PackOutputs(number=7, lfn="a.tar", members=MEMBERS), "pack_outputs 7: a.tar, 1 of a8f00627"),
        (a.StoreArchive(number=8, lfn="a.tar", rse=1, size_bytes=5, adler32="0b"), "store_archive 8: a.tar 0b to 1"),
        (
            a.ReportRanges(number=1, key="k", report=Report(("r1",), archive=RECORD)),
            "report_ranges 1: 1 of 0d0e09b1, archive.tar",
        ),
        (
            a.ReportRanges(number=1, key="k", report=Report(("r1",), error_code=1220)),
            "report_ranges 1: 1 of 0d0e09b1, failed 1220",
        ),
        (a.SetAlarm(number=2, when=1700000000.25), "set_alarm 2: 1700000000.25"),
        (a.Stop(number=4, target=3, grace_s=60.0), "stop 4: 3 within 60.0"),
        (a.Note(number=4, fact=RangesReleased(event_range_ids=("r1",))), "note 4: ranges_released"),
    ],
)
def test_an_action_in_one_line(action, line):
    assert a.gist(action) == line


def test_other_ranges_make_another_line():
    one, other = (a.StockRanges(event_ranges=(event_range(i),)) for i in ("r1", "r2"))
    assert a.gist(one) != a.gist(other)
