"""What may be removed from the work directory, and when: stored, booked, and needed by nobody."""

from core.stageouts import PACKED, T, due, stageout_with, stored

from esfsm.core import facts as f
from esfsm.core.actions import LocalFile, RemoveFiles
from esfsm.core.batch import Output

from .worlds import Teller, names


def booked(stageout, lfn, *ids: str, doubted: tuple[str, ...] = ()) -> list:
    """What is due once the server has booked these."""
    stageout.booked(lfn, T, ids)
    stageout.answered(lfn, T, doubted, (), "disturbed")
    return due(stageout, T + 60)


def removed(actions: list) -> list[tuple[str, ...]]:
    return [tuple(file.path for file in action.files) for action in actions if isinstance(action, RemoveFiles)]


def test_outputs_and_archive_go_when_the_server_has_booked_them():
    stageout, lfn = stored("r1", "r2", keep_outputs=False)
    assert due(stageout) == []
    (removal,) = booked(stageout, lfn, "r1", "r2")
    assert removal.files == (LocalFile("/w/HITS.r1"), LocalFile("/w/HITS.r2"), LocalFile(lfn))
    assert removal.size_bytes == 20 + PACKED.size_bytes


def test_who_wants_to_keep_them_keeps_them():
    stageout, lfn = stored("r1")
    assert booked(stageout, lfn, "r1") == []


def test_an_archive_stays_until_all_its_ranges_are_answered_for():
    stageout, lfn = stored("r1", "r2", keep_outputs=False)
    assert removed(booked(stageout, lfn, "r1", doubted=("r2",))) == [("/w/HITS.r1",)]
    stageout.removing = False
    assert removed(booked(stageout, lfn, "r2")) == [("/w/HITS.r2", lfn)]


def test_outputs_of_ranges_that_the_server_refused_stay():
    stageout, lfn = stored("r1", "r2", keep_outputs=False)
    stageout.answered(lfn, T, (), (), "")
    assert due(stageout) == []


def test_a_file_that_another_range_needs_stays():
    stageout, lfn = stored("r1", keep_outputs=False)
    stageout.add("r2", Output(("/w/HITS.r1", "/w/HITS.r2"), 10, T + 60))
    assert removed(booked(stageout, lfn, "r1")) == [(lfn,)]


def test_a_file_that_a_range_named_before_it_named_another_one_goes_with_the_range_that_has_it():
    stageout = stageout_with("r1", keep_outputs=False)
    stageout.add("r2", Output(("/w/HITS.r1",), 10, T))
    stageout.renew("r2", Output(("/w/HITS.r2",), 10, T))
    (pack,) = due(stageout, flush=True)
    stageout.packed(pack.lfn, PACKED)
    due(stageout)
    stageout.stored(pack.lfn, "file:///out/a.tar", 0)
    due(stageout)
    assert removed(booked(stageout, pack.lfn, "r1", "r2")) == [("/w/HITS.r1", "/w/HITS.r2", pack.lfn)]


def test_one_removal_at_a_time_takes_all_that_may_go_by_then():
    stageout = stageout_with("r1", "r2", "r3", zip_max_ranges=1, keep_outputs=False)
    packs = due(stageout)
    for number, pack in enumerate(packs, start=1):
        stageout.packed(pack.lfn, PACKED)
        due(stageout)
        stageout.stored(pack.lfn, "file:///out/a.tar", 0)
        due(stageout)
        assert len(removed(booked(stageout, pack.lfn, f"r{number}"))) == (number == 1)
    stageout.removing = False
    assert removed(due(stageout)) == [("/w/HITS.r2", packs[1].lfn, "/w/HITS.r3", packs[2].lfn)]


def test_a_job_ends_when_its_files_are_removed_and_a_new_engine_removes_them_again():
    job = Teller(keep_outputs=False).stored("r1")
    assert names(job.answer("report_ranges", f.RangesAcknowledged())) == ["remove_files"]
    assert job.waits_for() == ["remove_files"]
    assert "remove_files" in job.resumed().waits_for()
    job.goes_well("remove_files").note()
    assert job.goes_well("report_job").state == "done"


def test_a_removal_that_breaks_keeps_nobody():
    job = Teller(keep_outputs=False).stored("r1").goes_well("report_ranges")
    job.answer("remove_files", f.ActionBroke(why="input/output error"))
    job.note()
    assert job.state == "done"


def test_there_is_no_time_for_it_after_the_deadline():
    job = Teller(keep_outputs=False, grace_s=1.0, grace_for="all").stored("r1")
    job.tell(f.Preempted(why="SIGTERM"))
    removal = job.answer("report_ranges", f.RangesAcknowledged())[0]
    job.ring_until("note")
    job.note()
    assert job.tell(f.FilesRemoved(answers=removal.number)) == ()
    assert job.goes_well("report_job").engine.ended
