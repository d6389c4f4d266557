"""Steps of a stage-out that do not succeed: storages that say no, disks without room, pauses."""

from core.stageouts import PACKED, T, due, packed, stageout_with, stored

from esfsm.core.actions import Note, ReportRanges
from esfsm.core.batch import NEVER, Output, archive_name
from esfsm.core.facts import ArchiveRefused, ReportGivenUp
from esfsm.core.stageout import STORES_IN_HASTE
from esfsm.errors import PilotErrorCode


def test_the_next_storage_is_tried_at_once_and_then_the_first_after_a_pause():
    stageout, lfn = packed("r1", failover_url="file:///failover")
    stageout.store_failed(lfn, T, 1137, "down", final=False)
    assert [action.rse for action in due(stageout)] == [1]
    stageout.store_failed(lfn, T, 1137, "down, too", final=False)
    assert due(stageout, now=T + 0.9) == []
    assert stageout.alarm() == T + 1
    assert [action.rse for action in due(stageout, now=T + 1)] == [0]


def test_the_storage_that_took_an_archive_is_the_one_that_is_reported():
    stageout, lfn = packed("r1", failover_url="file:///failover")
    stageout.store_failed(lfn, T, 1137, "down", final=False)
    (store,) = due(stageout)
    stageout.stored(lfn, "file:///failover/a.tar", store.rse)
    (report,) = due(stageout)
    assert report.report.archive.rse_id == 2


FULL = (PilotErrorCode.NOLOCALSPACE, "No space left on device")


def test_an_archive_that_finds_no_room_is_packed_in_halves_one_at_a_time_and_goes_when_it_is_stored():
    stageout = stageout_with("r1", "r2", "r3", "r4", "r5")
    (pack,) = due(stageout, flush=True)
    stageout.failed(pack.lfn, T, *FULL)
    for ids in (("r1", "r2"), ("r3", "r4", "r5")):
        (pack,) = due(stageout)
        assert tuple(member.event_range_id for member in pack.members) == ids
        assert (pack.lfn, due(stageout), stageout.alarm()) == (archive_name(ids[0]), [], NEVER)
        stageout.packed(pack.lfn, PACKED)
        (store,) = due(stageout)
        assert (store.lfn, store.goes, due(stageout)) == (pack.lfn, True, [])
        stageout.stored(store.lfn, "file:///out/a.tar", 0)
        assert stageout.batches[store.lfn].todo == "report"
        stageout.batches[store.lfn].not_before = NEVER


def test_nothing_of_an_archive_is_lost_when_it_is_halved():
    stageout = stageout_with("r1", "r2", "r3", size_bytes=30)
    (pack,) = due(stageout, flush=True)
    stageout.failed(pack.lfn, T, *FULL)
    first, second = stageout.batches.values()
    assert (first.key, first.event_range_ids, second.event_range_ids) == (pack.lfn, ("r1",), ("r2", "r3"))
    assert first.members + second.members == pack.members
    assert (first.size_bytes, second.size_bytes) == (30, 60)
    assert first.value_s + second.value_s == 3.0


def test_an_archive_that_lost_its_first_output_and_itself_is_halved_like_any_other():
    stageout, lfn = packed("r1", "r2", "r3")
    stageout.batches[lfn].event_range_ids = ("r2", "r3")  # as `packed` leaves it where r1 was lost
    stageout.lost(lfn, "it is not there")
    due(stageout)
    stageout.failed(lfn, T, *FULL)
    assert {key: batch.event_range_ids for key, batch in stageout.batches.items()} == {
        archive_name("r2"): ("r2",),
        archive_name("r3"): ("r3",),
    }


def test_one_output_that_finds_no_room_waits_for_it_longer_than_for_a_storage():
    stageout = stageout_with("r1", stage_out_rounds=1, report_attempts=2, retry_pause_s=0)
    (pack,) = due(stageout, flush=True)
    stageout.failed(pack.lfn, T, *FULL)
    assert due(stageout) == [pack]
    stageout.failed(pack.lfn, T, *FULL)
    assert due(stageout) == [Note(fact=ArchiveRefused(lfn=pack.lfn, error_code=FULL[0], why=FULL[1]))]


def test_a_new_engine_looks_for_room_again():
    stageout = stageout_with("r1", "r2")
    (pack,) = due(stageout, flush=True)
    stageout.failed(pack.lfn, T, *FULL)
    stageout.resume(T)
    assert len(due(stageout)) == 2


def test_a_storage_that_will_never_take_an_archive_is_not_asked_again():
    stageout, lfn = packed("r1", failover_url="file:///failover")
    stageout.store_failed(lfn, T, 1137, "quota is full", final=True)
    assert [action.rse for action in due(stageout)] == [1]
    stageout.store_failed(lfn, T, 1137, "down", final=False)
    assert [action.rse for action in due(stageout, now=T + 1)] == [1]
    stageout.store_failed(lfn, T, 1137, "read-only", final=True)
    assert due(stageout, flush=True) == [Note(fact=ArchiveRefused(lfn=lfn, error_code=1137, why="read-only"))]


def test_a_new_engine_asks_all_storages_again():
    stageout, lfn = packed("r1", stage_out_rounds=2)
    stageout.store_failed(lfn, T, 1137, "quota is full", final=True)
    stageout.resume(T)
    stageout.store_failed(lfn, T, 1137, "down", final=False)
    assert stageout.batches[lfn].closed == frozenset()


def test_chance_takes_some_of_a_pause_away_and_always_the_same():
    pauses = []
    for name in ("r1", "r2", "r1"):
        stageout, lfn = packed(name, retry_jitter=0.5, retry_pause_s=100)
        stageout.store_failed(lfn, T, 1137, "down", final=False)
        pauses.append(stageout.alarm() - T)
    assert pauses[0] == pauses[2] != pauses[1]
    assert all(50 <= pause <= 100 for pause in pauses)


def test_an_archive_that_no_storage_takes_often_enough_is_refused_with_the_last_reason():
    stageout, lfn = packed("r1", stage_out_rounds=2, retry_pause_s=0)
    stageout.store_failed(lfn, T, 1137, "down", final=False)
    assert [action.name for action in due(stageout)] == ["store_archive"]
    stageout.store_failed(lfn, T, 1138, "down still", final=False)
    assert due(stageout, flush=True) == [Note(fact=ArchiveRefused(lfn=lfn, error_code=1138, why="down still"))]


def test_an_archive_that_no_storage_takes_is_offered_once_more_when_nothing_else_is_left_to_do():
    stageout, lfn = packed("r1", stage_out_rounds=1, failover_url="file:///failover")
    for why in ("down", "down, too"):
        stageout.store_failed(lfn, T, 1138, why, final=True)
        assert [action.rse for action in due(stageout)] == ([1] if why == "down" else [])
    assert (stageout.alarm(), stageout.goes_on) == (NEVER, False)
    assert [action.rse for action in due(stageout, flush=True)] == [0]
    stageout.store_failed(lfn, T, 1138, "down still", final=False)
    assert [action.rse for action in due(stageout, flush=True)] == [1]
    stageout.store_failed(lfn, T, 1138, "as before", final=False)
    (note,) = due(stageout, T + 60, flush=True)
    assert note.fact == ArchiveRefused(lfn=lfn, error_code=1138, why="as before")


def test_a_new_engine_offers_what_no_storage_took():
    stageout, lfn = packed("r1", stage_out_rounds=1)
    stageout.store_failed(lfn, T, 1138, "down", final=True)
    assert due(stageout) == []
    stageout.resume(T)
    assert [action.lfn for action in due(stageout)] == [lfn]


def test_one_archive_that_no_storage_takes_does_not_keep_the_others():
    stageout, lfn = packed("r1", stage_out_rounds=1, transfers_at_once=1)
    stageout.store_failed(lfn, T, 1138, "down", final=True)
    assert due(stageout) == []
    stageout.add("r2", Output(("/w/HITS.r2",), 10, T))
    (pack,) = due(stageout, T + 60)
    stageout.packed(pack.lfn, PACKED)
    assert [action.lfn for action in due(stageout)] == [pack.lfn]


def test_not_more_archives_are_stored_at_once_than_there_may_be():
    stageout = stageout_with(*"abcde", zip_max_ranges=1, transfers_at_once=2)
    packs = due(stageout)
    for pack in packs:
        stageout.packed(pack.lfn, PACKED)
    assert (len(packs), len(due(stageout)), stageout.alarm()) == (5, 2, NEVER)
    stageout.stored(packs[0].lfn, "file:///out/a.tar", 0)
    assert [action.name for action in due(stageout)] == ["report_ranges", "store_archive"]


def test_archives_leave_no_faster_than_they_may():
    stageout = stageout_with(*"abc", zip_max_ranges=1, store_bytes_per_s=100.0)
    for pack in due(stageout):
        stageout.packed(pack.lfn, PACKED)
    assert len(due(stageout)) == 1
    assert stageout.alarm() == T + 10.0, "1000 bytes at 100 bytes a second"
    assert (len(due(stageout, T + 9.9)), len(due(stageout, T + 10.0)), len(due(stageout, T + 20.0))) == (0, 1, 1)


def test_the_bound_falls_when_there_is_no_time_for_it():
    stageout = stageout_with(*"abc", zip_max_ranges=1, store_bytes_per_s=10.0, size_bytes=1000)
    for pack in due(stageout):
        stageout.packed(pack.lfn, PACKED)
    due(stageout)
    assert stageout.unsaved_s() == 300.0
    assert stageout.hurry(T, T + 60.0) == ()
    assert len(due(stageout)) == STORES_IN_HASTE - 1


def test_an_archive_that_cannot_be_made_is_refused_for_a_reason_even_if_nobody_gave_one():
    stageout = stageout_with("r1", stage_out_rounds=1, retry_pause_s=0)
    (pack,) = due(stageout, flush=True)
    stageout.failed(pack.lfn, T, 0, "")
    assert due(stageout) == [Note(fact=ArchiveRefused(lfn=pack.lfn, error_code=PilotErrorCode.STAGEOUTFAILED, why=""))]


def test_a_report_is_repeated_after_doubled_pauses_and_given_up_at_last():
    stageout, lfn = stored("r1", report_attempts=3)
    first = ReportRanges(key=lfn, report=stageout.batches[lfn].report())
    now = T
    for pause in (1, 2):
        stageout.failed(lfn, now, 0, "timeout")
        assert stageout.alarm() == now + pause
        now += pause
        assert due(stageout, now) == [first]
    stageout.failed(lfn, now, 0, "timeout")
    why = "no answer to 3 reports: timeout"
    assert due(stageout, now + 4) == [Note(fact=ReportGivenUp(key=lfn, why=why))]


def test_the_tries_of_one_step_do_not_count_for_the_next():
    stageout = stageout_with("r1", stage_out_rounds=2, retry_pause_s=0)
    (pack,) = due(stageout, flush=True)
    for step in (stageout.packed, lambda lfn, _: stageout.stored(lfn, "file:///out/a.tar", 0)):
        stageout.failed(pack.lfn, T, 1, "once")
        due(stageout)
        step(pack.lfn, PACKED)
        assert stageout.batches[pack.lfn].tries == 0
        due(stageout)
