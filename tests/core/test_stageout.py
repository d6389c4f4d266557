"""Which outputs go into which archive, when, to which storage, and what is reported."""

import pytest
from core.stageouts import PACKED, T, due, packed, reported, stageout_with, stored

from esfsm.core.actions import Member, Note, PackOutputs, ReportRanges, StoreArchive
from esfsm.core.batch import DIAG_LENGTH, NEVER, Output, archive_name, members_of, named_after, pause_s
from esfsm.core.facts import ArchiveRefused, FileCopy, OutputsPacked, ReportGivenUp
from esfsm.core.stageout import REPORT_SIZE
from esfsm.errors import PilotErrorCode
from esfsm.model.report import ArchiveRecord, Report


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/w/HITS.root.1-2-3-4-5", "HITS.root.1-2-3-4-5"),
        ("/w/HITS.root", "HITS.root.1-2-3-4-5"),
        ("HITS.root.1-2-3-4-6", "HITS.root.1-2-3-4-6.1-2-3-4-5"),
        ("HITS.11-2-3-4-5", "HITS.11-2-3-4-5.1-2-3-4-5"),
    ],
)
def test_a_member_is_named_as_a_merge_job_looks_for_it(path, name):
    assert [member.name for member in members_of({"1-2-3-4-5": Output((path,), 0, T)})] == [name]


def test_an_archive_is_named_after_its_first_range():
    assert archive_name("1-2-3-4-5") == "EventService_premerge_1-2-3-4-5.tar"
    assert archive_name("1-2-3-4-5", "zip") == "EventService_premerge_1-2-3-4-5.zip"
    assert named_after(archive_name("1-2-3-4-5")) == "1-2-3-4-5"
    assert named_after("x" + archive_name("1-2-3-4-5")) == named_after("r1.tar") == ""


@pytest.mark.parametrize(("tries", "pause"), [(1, 0.5), (2, 1.0), (3, 2.0), (7, 32.0), (8, 32.0), (99, 32.0)])
def test_a_pause_doubles_up_to_64_times_the_first(tries, pause):
    assert pause_s(0.5, tries) == pause


def test_an_output_waits_while_there_are_few_and_it_is_early():
    stageout = stageout_with("r1", "r2", zip_max_ranges=3)
    assert due(stageout, now=T + 59.9) == []
    assert stageout.alarm() == T + 60


def test_nothing_to_store_needs_no_alarm():
    assert stageout_with().alarm() == NEVER


@pytest.mark.parametrize(
    ("settings", "now", "flush"),
    [
        ({"zip_max_ranges": 2}, T, False),
        ({"zip_max_bytes": 20}, T, False),
        ({}, T + 60, False),
        ({}, T, True),
    ],
    ids=["count", "bytes", "time", "end"],
)
def test_outputs_are_packed_when_there_are_enough_of_them_or_it_is_time_or_the_end(settings, now, flush):
    stageout = stageout_with("r1", "r2", **settings)
    members = (Member("r1", "HITS.r1", "/w/HITS.r1"), Member("r2", "HITS.r2", "/w/HITS.r2"))
    assert due(stageout, now, flush) == [PackOutputs(lfn="EventService_premerge_r1.tar", members=members)]
    assert due(stageout, now, flush) == [], "it is being packed"
    assert stageout.alarm() == NEVER


@pytest.mark.parametrize("settings", [{"zip_max_ranges": 2}, {"zip_max_bytes": 15}])
def test_an_archive_holds_no_more_than_it_may_and_what_is_over_waits_for_the_next(settings):
    stageout = stageout_with("r1", "r2", "r3", "r4", "r5", **settings)
    packs = due(stageout)
    assert [[m.event_range_id for m in pack.members] for pack in packs] == [["r1", "r2"], ["r3", "r4"]]
    (rest,) = due(stageout, flush=True)
    assert rest.lfn == archive_name("r5")


def test_one_output_that_is_larger_than_an_archive_may_be_has_one_for_itself():
    packs = due(stageout_with("r1", "r2", size_bytes=50, zip_max_bytes=15))
    assert [len(pack.members) for pack in packs] == [1, 1]


def test_all_files_of_a_range_go_into_the_same_archive():
    stageout = stageout_with(zip_max_ranges=1)
    stageout.add("r1", Output(("/w/HITS", "/w/log"), 10, T))
    (pack,) = due(stageout)
    assert pack.members == (Member("r1", "HITS.r1", "/w/HITS"), Member("r1", "log.r1", "/w/log"))


def test_what_is_packed_is_stored_what_is_stored_is_reported_and_what_is_booked_is_staged():
    stageout = stageout_with("r1", "r2")
    (pack,) = due(stageout, flush=True)
    stageout.packed(pack.lfn, PACKED)
    assert due(stageout) == [StoreArchive(lfn=pack.lfn, size_bytes=1000, adler32="0badcafe")]
    stageout.stored(pack.lfn, "file:///out/a.tar", 0)
    record = ArchiveRecord(pack.lfn, 1000, "0badcafe", rse_id=1, url="file:///out/a.tar")
    assert due(stageout) == [ReportRanges(key=pack.lfn, report=Report(("r1", "r2"), archive=record))]
    assert stageout.staged == {}
    stageout.booked(pack.lfn, T, {"r1", "r2"})
    stageout.answered(pack.lfn, T, (), (), "")
    assert stageout.staged == {pack.lfn: FileCopy(pack.lfn, 1000, "0badcafe", "file:///out/a.tar")}
    assert (stageout.batches, due(stageout)) == ({}, [])


def test_an_archive_that_nobody_booked_is_not_staged():
    stageout, lfn = stored("r1")
    stageout.answered(lfn, T, (), (), "not yours")
    assert stageout.staged == {}


def test_a_range_whose_output_was_lost_is_neither_stored_nor_reported_with_the_archive():
    stageout = stageout_with("r1", "r2")
    (pack,) = due(stageout, flush=True)
    stageout.packed(pack.lfn, OutputsPacked(size_bytes=500, adler32="0badcafe", lost=("r1",)))
    due(stageout)
    stageout.stored(pack.lfn, "file:///out/a.tar", 0)
    (report,) = due(stageout)
    assert report.report.event_range_ids == ("r2",)
    assert report.report.archive.lfn == archive_name("r1"), "the name was given before"


def test_an_archive_of_lost_outputs_only_is_forgotten():
    stageout = stageout_with("r1")
    (pack,) = due(stageout, flush=True)
    stageout.packed(pack.lfn, OutputsPacked(size_bytes=0, adler32="00000001", lost=("r1",)))
    assert due(stageout) == []
    assert stageout.batches == {}


def test_failed_ranges_are_reported_by_their_reason():
    stageout = stageout_with()
    stageout.add_failures(["r1"], 1220, "ERR_ATHENAMP_PROCESS")
    stageout.add_failures(["r2"], 1165, "gone")
    stageout.add_failures(["r3"], 1220, "ERR_ATHENAMP_PROCESS")
    assert [(action.key, action.report) for action in due(stageout)] == [
        ("failures 1", Report(("r1", "r3"), error_code=1220, error_diag="ERR_ATHENAMP_PROCESS")),
        ("failures 2", Report(("r2",), error_code=1165, error_diag="gone")),
    ]


def test_a_failure_is_reported_again_for_the_same_reason():
    stageout = stageout_with()
    stageout.add_failures(["r1"], 1220, "ERR_ATHENAMP_PROCESS")
    (first,) = due(stageout)
    stageout.failed("failures 1", T, 0, "timeout")
    assert due(stageout, T + 1) == [first]


def test_ranges_that_fail_while_failures_are_reported_go_together_into_the_next_report():
    stageout = stageout_with()
    stageout.add_failures(["r1"], 1220, "why")
    due(stageout)
    for event_range_id in ("r2", "r3"):
        stageout.add_failures([event_range_id], 1220, "why")
        assert due(stageout) == []
    stageout.booked("failures 1", T, {"r1"})
    stageout.answered("failures 1", T, (), (), "")
    assert reported(due(stageout)) == {"failures 2": ("r2", "r3")}
    assert stageout.staged == {}


def test_an_archive_under_way_does_not_hold_failures_up():
    stageout, _ = packed("r1")
    stageout.add_failures(["r2"], 1220, "why")
    assert [action.name for action in due(stageout)] == ["report_ranges"]


def test_a_report_holds_so_many_failures_and_no_longer_diagnosis_than_the_server_takes():
    stageout = stageout_with()
    stageout.add_failures([f"r{i}" for i in range(REPORT_SIZE + 1)], 1220, "x" * 1000)
    reports = [action.report for action in due(stageout)]
    assert [len(report.event_range_ids) for report in reports] == [REPORT_SIZE, 1]
    assert {len(report.error_diag) for report in reports} == {DIAG_LENGTH}


def test_two_files_of_a_range_that_bear_the_same_name_are_both_kept():
    stageout = stageout_with(zip_max_ranges=1)
    stageout.add("r1", Output(("/w/a/HITS", "/w/b/HITS", "/w/2.HITS", "/w/c/HITS"), 10, T))
    (pack,) = due(stageout)
    assert [member.name for member in pack.members] == ["HITS.r1", "2.HITS.r1", "2.2.HITS.r1", "3.HITS.r1"]


def test_no_two_files_of_an_archive_bear_the_same_name():
    members = members_of({"a.r": Output(("HITS",), 0, T), "r": Output(("HITS.a.r", "x/HITS.a"), 0, T)})
    assert [(member.event_range_id, member.name) for member in members] == [
        ("a.r", "HITS.a.r"),
        ("r", "2.HITS.a.r"),
        ("r", "3.HITS.a.r"),
    ]


@pytest.mark.parametrize(("stamps", "told"), [((), [0, 0]), ((5, 6), [5, 6])])
def test_a_member_has_the_time_of_its_last_change_if_it_was_told(stamps, told):
    members = members_of({"r1": Output(("a", "b"), 0, T, stamps)})
    assert [member.stamp for member in members] == told


def test_a_new_engine_tries_at_once_what_the_old_one_was_to_try_later():
    stageout, key = packed("r1", retry_pause_s=1000)
    stageout.store_failed(key, T, 1137, "down", final=False)
    assert due(stageout, T) == []
    stageout.resume(T)
    assert [action.name for action in due(stageout, T)] == ["store_archive"]


@pytest.mark.parametrize(("now", "alarm"), [(T - 1000, T - 940), (T + 10, T + 60)])
def test_an_output_does_not_wait_longer_because_a_clock_was_set_back(now, alarm):
    stageout = stageout_with("r1")
    stageout.resume(now)
    assert stageout.alarm() == alarm


def test_an_output_that_is_announced_again_is_packed_as_it_is_now_and_waits_no_longer():
    stageout = stageout_with("r1", size_bytes=10, zip_max_bytes=30)
    stageout.renew("r1", Output(("/w/new",), 30, T + 50, (8,)))
    assert stageout.alarm() == T + 60
    (pack,) = due(stageout, T + 51)
    assert pack.members == (Member("r1", "new.r1", "/w/new", 8),)


def test_an_output_that_is_announced_again_after_it_was_packed_changes_nothing():
    stageout, _ = packed("r1")
    stageout.renew("r1", Output(("/w/new",), 30, T + 50))
    assert due(stageout, T + 1000, flush=True) == []
    assert stageout.alarm() == NEVER


# --- answers that book only some ranges ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("doubted", "unheard", "again"),
    [
        ((), ("r2", "r3"), ("r2", "r3")),
        (("r1", "r2", "r3"), (), ("r1", "r2", "r3")),
        (("r3",), (), ("r3",)),
    ],
    ids=["unheard", "all doubted", "doubted"],
)
def test_ranges_that_were_not_booked_are_reported_again_after_a_pause_under_the_same_key(doubted, unheard, again):
    stageout, lfn = stored("r1", "r2", "r3")
    stageout.answered(lfn, T, doubted, unheard, "disturbed")
    assert stageout.batches[lfn].tries == 1
    assert (due(stageout, T), stageout.alarm()) == ([], T + 1)
    assert reported(due(stageout, T + 1)) == {lfn: again}


def test_the_unheard_are_reported_again_at_once_without_the_doubted_and_these_by_themselves():
    stageout, lfn = stored("r1", "r2", "r3", "r4")
    stageout.answered(lfn, T, ("r1", "r4"), ("r2",), "disturbed")
    again = due(stageout, T)
    assert reported(again) == {lfn: ("r2",), f"{lfn} doubted r1": ("r1", "r4")}
    assert {action.report.archive.lfn for action in again} == {lfn}
    assert {batch.tries for batch in stageout.batches.values()} == {0}


def test_doubts_and_silence_about_ever_fewer_ranges_come_to_an_end():
    stageout, lfn = stored("r1", "r2", "r3")
    stageout.answered(lfn, T, ("r1",), ("r2", "r3"), "disturbed")
    due(stageout)
    stageout.answered(lfn, T, ("r2",), ("r3",), "disturbed")
    assert reported(due(stageout)) == {lfn: ("r3",), f"{lfn} doubted r2": ("r2",)}
    for key in (lfn, f"{lfn} doubted r1", f"{lfn} doubted r2"):
        stageout.answered(key, T, (), (), "")
    assert stageout.batches == {}


def test_an_archive_is_staged_once_however_many_reports_its_ranges_take():
    stageout, lfn = stored("r1", "r2")
    for booked, doubted in (("r1",), ("r2",)), (("r2",), ()):
        stageout.booked(lfn, T, booked)
        stageout.answered(lfn, T, doubted, (), "disturbed")
        due(stageout, T + 1)
    assert list(stageout.staged) == [lfn]


def test_doubted_failures_are_reported_again_for_the_same_reason():
    stageout = stageout_with()
    stageout.add_failures(["r1", "r2"], 1220, "ERR_ATHENAMP_PROCESS")
    due(stageout)
    stageout.answered("failures 1", T, ("r1",), ("r2",), "disturbed")
    assert [(action.key, action.report) for action in due(stageout)] == [
        ("failures 1", Report(("r2",), error_code=1220, error_diag="ERR_ATHENAMP_PROCESS")),
        ("failures 1 doubted r1", Report(("r1",), error_code=1220, error_diag="ERR_ATHENAMP_PROCESS")),
    ]


def test_a_doubt_that_stays_is_given_up_with_what_the_server_said():
    stageout, lfn = stored("r1", report_attempts=2, retry_pause_s=0)
    for _ in range(2):
        stageout.answered(lfn, T, ("r1",), (), "disturbed")
        asked = due(stageout)
    assert asked == [Note(fact=ReportGivenUp(key=lfn, why="no answer to 2 reports: disturbed"))]


# --- reports that are given up, archives that are lost ------------------------------------------------------------


def test_a_stored_archive_whose_report_is_given_up_waits_for_an_engine_that_takes_the_job_up():
    stageout, lfn = stored("r1", report_attempts=1)
    stageout.failed(lfn, T, 0, "timeout")
    due(stageout, T + 1)
    assert stageout.given_up(lfn).event_range_ids == ("r1",)
    assert (due(stageout, T + 1000), stageout.alarm()) == ([], NEVER)
    stageout.resume(T + 1000)
    assert reported(due(stageout, T + 1000)) == {lfn: ("r1",)}
    assert stageout.batches[lfn].tries == 0


def test_failures_whose_report_is_given_up_are_forgotten():
    stageout = stageout_with()
    stageout.add_failures(["r1"], 1220, "why")
    due(stageout)
    assert stageout.given_up("failures 1").event_range_ids == ("r1",)
    stageout.resume(T)
    assert (stageout.batches, due(stageout)) == ({}, [])


def test_failures_are_given_up_for_what_their_reports_met_with_not_for_what_the_ranges_failed_of():
    stageout = stageout_with(report_attempts=1)
    stageout.add_failures(["r1"], 1220, "Seek failed")
    due(stageout)
    stageout.failed("failures 1", T, 0, "the server is away")
    why = "no answer to 1 reports: the server is away"
    assert due(stageout, T + 99) == [Note(fact=ReportGivenUp(key="failures 1", why=why))]
    assert stageout.batches["failures 1"].report().error_diag == "Seek failed"


def test_a_lost_archive_is_packed_again_at_once_from_the_same_members():
    stageout = stageout_with("r1", "r2")
    (pack,) = due(stageout, flush=True)
    stageout.packed(pack.lfn, PACKED)
    due(stageout)
    stageout.lost(pack.lfn, "it is not there")
    assert due(stageout) == [pack]


def test_an_archive_that_is_lost_again_and_again_is_refused_after_as_many_rounds_as_a_storage_has():
    stageout, lfn = packed("r1", stage_out_rounds=3)
    for _ in range(2):
        stageout.lost(lfn, "it is not there")
        assert [action.name for action in due(stageout)] == ["pack_outputs"]
        stageout.packed(lfn, PACKED)
        assert [action.name for action in due(stageout)] == ["store_archive"]
    stageout.lost(lfn, "it is not there")
    code = PilotErrorCode.STAGEOUTFAILED
    assert due(stageout) == [Note(fact=ArchiveRefused(lfn=lfn, error_code=code, why="it is not there"))]


def test_a_loss_does_not_count_for_the_storages():
    stageout, lfn = packed("r1", stage_out_rounds=2, retry_pause_s=0)
    stageout.lost(lfn, "it is not there")
    due(stageout)
    stageout.packed(lfn, PACKED)
    due(stageout)
    stageout.store_failed(lfn, T, 1137, "down", final=False)
    assert [action.name for action in due(stageout)] == ["store_archive"]


def test_the_number_of_each_storage_and_the_convention_of_its_paths_are_those_of_the_settings():
    stageout, lfn = packed("r1", failover_url="file:///failover", failover_rse_id=1319, path_convention=1000)
    stageout.store_failed(lfn, T, 1137, "down", final=False)
    (store,) = due(stageout)
    stageout.stored(lfn, "file:///failover/a.tar", store.rse)
    (report,) = due(stageout)
    assert (report.report.archive.rse_id, report.report.archive.path_convention) == (1319, 1000)
