"""The decisions of a pilot: what it does next, and when it has done enough."""

from math import inf

import pytest

from esfsm.core import pilot as p
from esfsm.core.facts import ActionBroke, Preempted

from .worlds import TABLES

STOP = Preempted(why="a stop was asked for by SIGTERM")
FETCHED = p.JobFetched(workdir="/w/PanDA_Pilot-5001")


def pilot(*facts: p.Heard, **limits) -> p.Pilot:
    made = p.Pilot(TABLES["pilot"], p.Limits(**limits))
    for fact in (p.NoWorkFound(), *facts):
        made.hear(fact)
    return made


def test_what_a_dead_predecessor_has_left_is_finished_before_anything_else():
    made = p.Pilot(TABLES["pilot"], p.Limits())
    assert made.does == "look_for_work"
    made.hear(p.WorkFound(workdir="/w/1"))
    assert (made.does, made.workdir) == ("finish_job", "/w/1")
    made.hear(p.JobEnded())
    assert made.does == "look_for_work"
    made.hear(p.WorkFound(workdir="/w/2"))
    made.hear(p.JobUnusable(why="another engine is running this job"))
    made.hear(p.NoWorkFound())
    assert made.does == "consider_next"


def test_jobs_are_run_one_after_another():
    made = pilot(p.JobWanted(), FETCHED)
    assert (made.does, made.workdir, made.jobs) == ("run_job", FETCHED.workdir, 1)
    made.hear(p.JobEnded())
    assert made.consider(0.0) == p.JobWanted()


def test_a_job_that_cannot_be_run_is_followed_by_the_next():
    made = pilot(p.JobWanted(), FETCHED, p.JobUnusable(why="no transformation"))
    assert made.consider(0.0) == p.JobWanted()


@pytest.mark.parametrize(("jobs", "next_"), [(1, p.EnoughDone("1 jobs were to be done")), (2, p.JobWanted())])
def test_no_more_jobs_are_run_than_were_asked_for(jobs, next_):
    assert pilot(p.JobWanted(), FETCHED, p.JobEnded(), jobs=jobs).consider(0.0) == next_


@pytest.mark.parametrize(
    ("now", "next_"), [(99.9, p.JobWanted()), (100.0, p.EnoughDone("its time is over"))], ids=["before", "after"]
)
def test_no_job_is_taken_when_the_time_is_over(now, next_):
    assert pilot(until=100.0).consider(now) == next_
    assert pilot(until=inf).consider(1e12) == p.JobWanted()


VAIN = {"none": p.NoJobFound(), "no answer": p.FetchFailed(why="HTTP 504")}


@pytest.mark.parametrize(
    ("vain", "end"),
    [(VAIN["none"], p.EnoughDone("there is no job")), (VAIN["no answer"], p.ServerLost("HTTP 504"))],
    ids=VAIN,
)
def test_after_a_request_in_vain_there_is_a_pause_and_after_enough_of_them_an_end(vain, end):
    made = pilot(p.JobWanted(), vain, requests=2)
    assert made.consider(0.0) == p.PauseWanted()
    made.hear(p.PauseWanted())
    assert made.does == "wait"
    made.hear(p.PauseOver())
    assert made.does == "fetch_job"
    made.hear(vain)
    assert made.consider(0.0) == end
    made.hear(end)
    assert made.state == ("done" if isinstance(end, p.EnoughDone) else "failed")
    assert (made.does, made.why) == (None, end.why)


def test_requests_in_vain_count_in_a_row_only():
    made = pilot(p.JobWanted(), VAIN["none"], p.PauseWanted(), p.PauseOver(), FETCHED, p.JobEnded(), requests=2)
    made.hear(p.JobWanted())
    made.hear(VAIN["none"])
    assert made.consider(0.0) == p.PauseWanted()


def test_an_answer_ends_a_silence_even_if_there_is_no_job():
    made = pilot(p.JobWanted(), VAIN["no answer"], p.PauseWanted(), p.PauseOver(), VAIN["none"], requests=2)
    assert made.consider(0.0) == p.PauseWanted()


def test_a_stop_before_a_fetched_job_has_begun_gives_it_up():
    made = pilot(p.JobWanted(), FETCHED, STOP)
    assert made.does == "give_up_job"
    made.hear(STOP)
    made.hear(p.JobEnded())
    assert (made.state, made.why) == ("stopped", STOP.why)


@pytest.mark.parametrize("facts", [(), (p.JobWanted(), VAIN["none"]), (p.JobWanted(), FETCHED, p.JobEnded())], ids=len)
def test_a_stop_ends_a_pilot_between_jobs(facts):
    made = pilot(*facts, STOP)
    assert (made.state, made.does) == ("stopped", None)


def test_what_breaks_ends_it_and_is_told():
    made = pilot(p.JobWanted(), ActionBroke(why="No space left on device"))
    assert (made.state, made.why, made.path) == (
        "failed",
        "No space left on device",
        ["starting", "ready", "fetching", "failed"],
    )


def test_at_its_end_it_hears_nothing_more():
    made = pilot(STOP)
    made.hear(p.JobWanted())
    assert made.path == ["starting", "ready", "stopped"]


def test_every_fact_is_known_by_the_name_that_the_table_has():
    assert all(kind.name == name for name, kind in p.PILOT_FACTS.items())
    assert {fact for answers in p.PILOT_ACTIONS.values() for fact in answers} <= p.PILOT_FACTS.keys()
