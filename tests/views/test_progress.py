"""How far a job is, in one line."""

from core.worlds import Teller, granted, produced

from esfsm.core import facts as f
from esfsm.views.progress import Progress


def job_with(total: int | None, *ids: str) -> Teller:
    """A running job of which these ranges are with the payload."""
    job = Teller().running()
    job.says(f.RangesWanted(n=len(ids)))
    job.answer("request_ranges", granted(*ids, total=total))
    job.says(f.RangesSent(event_range_ids=ids))
    return job


def fail(job: Teller, *ids: str) -> None:
    """The payload gives these up, and the server books it."""
    for event_range_id in ids:
        job.says(f.RangeErrored(event_range_id=event_range_id, why="ERR_ATHENAMP_PROCESS"))
        job.answer("report_ranges", f.RangesAcknowledged())


def test_a_job_without_ranges_is_in_its_state():
    assert Progress().line(Teller("generic").engine, now=100.0) == "received"


def test_ranges_on_their_way_are_counted_by_state():
    job = job_with(None, "r1", "r2", "r3")
    fail(job, "r1")
    assert Progress().line(job.engine, now=100.0) == "es-running: 1 event ranges, 2 running, 1 failed"


def test_a_known_total_is_told():
    job = job_with(8, "r1", "r2")
    assert Progress().line(job.engine, now=100.0) == "es-running: 0/8 event ranges, 2 running"


def test_rate_and_time_left_are_those_since_the_first_look():
    job = job_with(8, "r1", "r2", "r3")
    fail(job, "r1")
    progress = Progress()
    progress.line(job.engine, now=100.0)
    fail(job, "r2", "r3")
    assert progress.line(job.engine, now=104.0) == "es-running: 3/8 event ranges, 3 failed, 0.5/s, 10 s left"


def test_nothing_is_left_when_all_are_done():
    job = job_with(1, "r1")
    progress = Progress()
    progress.line(job.engine, now=100.0)
    fail(job, "r1")
    assert progress.line(job.engine, now=102.0) == "es-running: 1/1 event ranges, 1 failed, 0.5/s"


def test_a_rate_is_told_without_a_total():
    job = job_with(None, "r1")
    progress = Progress()
    progress.line(job.engine, now=100.0)
    fail(job, "r1")
    assert progress.line(job.engine, now=102.0) == "es-running: 1 event ranges, 1 failed, 0.5/s"


def test_what_the_payload_has_no_more_work_with_is_done_though_it_is_on_its_way():
    job = job_with(4, "r1", "r2", "r3")
    job.says(produced("r1"), f.RangeErrored(event_range_id="r2", why="ERR_ATHENAMP_PROCESS"))
    assert Progress().line(job.engine, now=100.0) == "es-running: 2/4 event ranges, 1 running, 1 produced, 1 errored"


def test_no_time_is_left_for_a_job_that_has_ended():
    job = job_with(8, "r1")
    progress = Progress()
    progress.line(job.engine, now=100.0)
    job.says(produced("r1"), f.PayloadFinished())
    job.drained()
    assert progress.line(job.engine, now=102.0) == "done: 1/8 event ranges, 1 finished, 0.5/s"


def test_released_ranges_are_neither_done_nor_on_their_way():
    job = Teller().running()
    job.says(f.RangesWanted(n=1))
    job.says(f.PayloadFinished())
    job.answer("request_ranges", granted("r1"))
    job.note()
    assert Progress().line(job.engine, now=100.0) == "staging-out: 0 event ranges"
