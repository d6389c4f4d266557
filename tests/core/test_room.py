"""Room on the disk: what is handed out when there is little of it."""

import pytest

from esfsm.core import facts as f
from esfsm.core.room import Room
from esfsm.model.resources import Resources
from esfsm.model.settings import Settings

from .worlds import Teller, granted, names, produced

SIZE = 100


@pytest.mark.parametrize(
    ("seen", "free_bytes"),
    [
        ({}, float("inf")),
        ({"free_bytes": 5000}, 4000),
        ({"workdir_bytes": 700}, 2300),
        ({"free_bytes": 5000, "workdir_bytes": 700}, 2300),
        ({"free_bytes": 900, "workdir_bytes": 700}, -100),
    ],
)
def test_there_is_as_much_room_as_disk_and_limits_leave(seen, free_bytes):
    room = Room()
    room.measured(Resources(**seen), Settings(free_limit_bytes=1000, workdir_limit_bytes=3000))
    assert room.free_bytes == free_bytes


@pytest.mark.parametrize(
    ("free_bytes", "running", "unpacked_bytes", "fits"),
    [(1000, 0, 0, 5), (1000, 3, 0, 2), (1000, 3, 300, 0), (1000, 9, 0, 0), (-5, 0, 0, 0)],
)
def test_each_range_needs_room_for_its_output_and_for_its_archive(free_bytes, running, unpacked_bytes, fits):
    assert Room(free_bytes).fits(SIZE, running, unpacked_bytes) == fits


@pytest.mark.parametrize(("free_bytes", "output_bytes"), [(float("inf"), SIZE), (1000, 0)])
def test_nothing_is_held_back_where_nobody_knows(free_bytes, output_bytes):
    assert Room(free_bytes).fits(output_bytes, 1, 0) is None


def job(free_bytes: int, **settings: object) -> Teller:
    """Four ranges have run, their outputs wait; the disk has this room above its limit, and the payload wants more."""
    limits = {"monitor_s": 60.0, "free_limit_bytes": 1000, "keep_outputs": False}
    running = Teller(**{**limits, **settings}).running("r1", "r2", "r3", "r4", exhausted=False)
    running.says(*(produced(each, size_bytes=SIZE) for each in ("r1", "r2", "r3", "r4")))
    running.ring_until("measure_resources")
    running.answer("measure_resources", f.ResourcesMeasured(resources=Resources(free_bytes=1000 + free_bytes)))
    return running


def test_no_more_ranges_are_asked_for_than_there_is_room_for():
    running = job(4 * SIZE + 3 * 2 * SIZE)
    (request,) = running.says(f.RangesWanted(n=8))
    assert request.n == 3


def test_where_there_is_no_room_what_waits_is_packed_and_makes_some():
    running = job(4 * SIZE)
    (pack,) = running.says(f.RangesWanted(n=8))
    assert pack.name == "pack_outputs"
    running.answer("pack_outputs", f.OutputsPacked(size_bytes=4 * SIZE, adler32="0badcafe"))
    running.goes_well("store_archive", "report_ranges")
    assert running.waits_for() == ["run_es_payload", "remove_files"]
    (request,) = running.answer("remove_files", f.FilesRemoved())
    assert (request.name, request.n) == ("request_ranges", 4)


def test_where_nothing_makes_room_the_payload_is_told_that_no_more_comes():
    running = job(4 * SIZE, keep_outputs=True)
    running.says(f.RangesWanted(n=8))
    running.answer("pack_outputs", f.OutputsPacked(size_bytes=4 * SIZE, adler32="0badcafe"))
    running.goes_well("store_archive")
    (note,) = running.answer("report_ranges", f.RangesAcknowledged())
    assert note.fact.name == "room_ended"
    (stock,) = running.note()
    assert (stock.event_ranges, stock.last) == ((), True)
    running.says(f.PayloadFinished())
    assert running.drained().state == "done"


def test_who_has_ranges_is_waited_for_as_their_outputs_may_be_smaller():
    running = job(4 * SIZE + 2 * SIZE, zip_time_gap_s=3600)
    running.says(f.RangesWanted(n=1))
    running.answer("request_ranges", granted("r5"))
    running.says(f.RangesSent(event_range_ids=("r5",)))
    assert names(running.says(f.RangesWanted(n=1))) == ["pack_outputs"]
    running.answer("pack_outputs", f.OutputsPacked(size_bytes=4 * SIZE, adler32="0badcafe"))
    running.goes_well("store_archive", "report_ranges", "remove_files")
    assert "request_ranges" in running.waits_for()


def test_a_hold_does_not_wake_anybody_until_something_has_changed():
    running = job(4 * SIZE)
    running.says(f.RangesWanted(n=8))
    alarms = [action.when for action in running.engine.outstanding if action.name == "set_alarm"]
    assert all(when > running.now for when in alarms)


def test_a_new_engine_measures_before_it_holds_anything_back():
    running = job(4 * SIZE).resumed()
    running.goes_well("classify_job", "select_executor", "stage_in") if running.state == "received" else None
    assert running.engine.ranges._room.free_bytes == float("inf")
