"""The decisions of a pilot: what it does next, and when it has done enough."""

from math import inf
from pathlib import Path

import pytest

from esfsm.core import pilot as p
from esfsm.core.facts import ActionBroke, Preempted
from esfsm.errors import PilotErrorCode
from esfsm.model.outcome import Outcome, OutputFile

from .worlds import TABLES

STOP = Preempted(why="a stop was asked for by SIGTERM")
FETCHED = p.JobFetched(workdir="/w/PanDA_Pilot-5001")
FRUITLESS = {
    "failed": p.JobFailed(why="failed: no input"),
    "declined": p.JobDeclined(why="no transformation"),
    "left": p.JobLeft(why="another engine is running this job"),
}
LOST = p.JobUnanswered(why="Connection refused")


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
    made.hear(FRUITLESS["left"])
    assert made.does == "look_for_work"
    made.hear(p.NoWorkFound())
    assert made.does == "consider_next"


def test_jobs_are_run_one_after_another():
    made = pilot(p.JobWanted(), FETCHED)
    assert (made.does, made.workdir, made.jobs) == ("run_job", FETCHED.workdir, 1)
    made.hear(p.JobEnded())
    assert made.consider(0.0) == p.JobWanted()


@pytest.mark.parametrize("end", FRUITLESS.values(), ids=FRUITLESS)
def test_a_job_that_comes_to_nothing_is_followed_by_a_pause_and_then_by_the_next(end):
    made = pilot(p.JobWanted(), FETCHED, end, requests=2)
    assert made.consider(0.0) == p.PauseWanted()
    made.hear(p.PauseWanted())
    made.hear(p.PauseOver())
    assert made.consider(0.0) == p.JobWanted()


def next_job(end: p.Heard) -> tuple[p.Heard, ...]:
    """A pause, and one more job with this end."""
    return (p.PauseWanted(), p.PauseOver(), p.JobWanted(), FETCHED, end)


@pytest.mark.parametrize("end", FRUITLESS.values(), ids=FRUITLESS)
def test_a_pilot_whose_jobs_come_to_nothing_one_after_another_fails_and_says_why(end):
    made = pilot(p.JobWanted(), FETCHED, FRUITLESS["failed"], *next_job(end), requests=2)
    over = made.consider(0.0)
    assert over == p.JobsWasted(f"2 jobs in a row came to nothing, the last one so: {end.why}")
    made.hear(over)
    assert (made.state, made.why) == ("failed", over.why)


def test_jobs_that_come_to_nothing_count_in_a_row_only():
    made = pilot(p.JobWanted(), FETCHED, FRUITLESS["failed"], *next_job(p.JobEnded()), requests=2)
    assert made.consider(0.0) == p.JobWanted()
    for fact in (p.JobWanted(), FETCHED, FRUITLESS["failed"]):
        made.hear(fact)
    assert made.consider(0.0) == p.PauseWanted()


def test_what_others_have_left_is_no_sign_of_a_black_hole():
    made = p.Pilot(TABLES["pilot"], p.Limits(requests=1))
    for fact in (p.WorkFound(workdir="/w/1"), FRUITLESS["declined"], p.NoWorkFound()):
        made.hear(fact)
    assert made.consider(0.0) == p.JobWanted()


FILE = OutputFile(lfn="HITS.1", size_bytes=1, adler32="00000001", url="/out/HITS.1")


@pytest.mark.parametrize(
    ("how", "fact"),
    [
        ({"state": "failed"}, p.JobFailed("it went wrong")),
        ({"state": "failed", "events": 1}, p.JobEnded()),
        ({"state": "failed", "outputs": (FILE,)}, p.JobEnded()),
        ({"state": "stopped"}, p.JobEnded()),
        ({"state": "done"}, p.JobEnded()),
    ],
    ids=["failed", "failed with events", "failed with outputs", "stopped", "done"],
)
def test_a_job_comes_to_nothing_when_it_fails_and_nothing_is_finished(how, fact):
    told = {"panda_id": 1, "path": (), "sentence": "it went wrong", "exit_code": 1, "journal": Path("/w/1")}
    assert p.end_of(Outcome(**told, **how)) == fact


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
    assert made.consider(0.0) == p.JobWanted()
    made.hear(p.JobWanted())
    made.hear(vain)
    assert made.consider(0.0) == end
    made.hear(end)
    assert made.state == ("done" if isinstance(end, p.EnoughDone) else "failed")
    assert (made.does, made.why) == (None, end.why)


def test_requests_in_vain_count_in_a_row_only():
    made = pilot(p.JobWanted(), VAIN["none"], *next_job(p.JobEnded()), requests=2)
    made.hear(p.JobWanted())
    made.hear(VAIN["none"])
    assert made.consider(0.0) == p.PauseWanted()


def test_an_answer_ends_a_silence_even_if_there_is_no_job():
    facts = (p.PauseWanted(), p.PauseOver(), p.JobWanted(), VAIN["none"])
    made = pilot(p.JobWanted(), VAIN["no answer"], *facts, requests=2)
    assert made.consider(0.0) == p.PauseWanted()


def test_a_time_that_ends_in_a_pause_is_over_before_another_job_is_asked_for():
    made = pilot(p.JobWanted(), VAIN["none"], p.PauseWanted(), p.PauseOver(), until=100.0, requests=2)
    assert made.does == "consider_next"
    assert made.consider(100.0) == p.EnoughDone("its time is over")


@pytest.mark.parametrize("facts", [(p.WorkFound(workdir="/w/1"),), (p.NoWorkFound(), p.JobWanted(), FETCHED)], ids=len)
def test_a_job_whose_server_is_silent_is_tried_again_after_a_pause_and_then_left(facts):
    made = p.Pilot(TABLES["pilot"], p.Limits(requests=2))
    for fact in (*facts, LOST):
        made.hear(fact)
    assert (made.does, made.consider_again(0.0)) == ("consider_again", p.PauseWanted())
    made.hear(p.PauseWanted())
    assert made.does == "wait"
    made.hear(p.PauseOver())
    assert (made.does, made.workdir) == ("finish_job", facts[-1].workdir)
    made.hear(LOST)
    assert made.consider_again(0.0) == p.PatienceEnded()
    made.hear(p.PatienceEnded())
    assert (made.does, made.why) == ("leave_job", LOST.why)
    made.hear(p.JobLeft(why=LOST.why))
    assert made.does == "look_for_work"


def test_each_job_has_its_own_share_of_patience():
    made = p.Pilot(TABLES["pilot"], p.Limits(requests=2))
    silent = (p.WorkFound(workdir="/w/1"), LOST, p.PauseWanted(), p.PauseOver(), LOST, p.PatienceEnded())
    for fact in (*silent, FRUITLESS["left"], p.WorkFound(workdir="/w/2"), LOST):
        made.hear(fact)
    assert made.consider_again(0.0) == p.PauseWanted()


def test_a_silent_server_is_not_asked_again_when_the_time_is_over():
    made = pilot(p.JobWanted(), FETCHED, LOST, until=100.0, requests=5)
    assert (made.consider_again(99.9), made.consider_again(100.0)) == (p.PauseWanted(), p.PatienceEnded())


@pytest.mark.parametrize("facts", [(), (p.PauseWanted(),), (p.PatienceEnded(),)], ids=["asking", "pausing", "leaving"])
def test_a_stop_while_the_server_is_silent_gives_the_job_up(facts):
    made = pilot(p.JobWanted(), FETCHED, LOST, *facts, STOP)
    assert (made.does, made.why) == ("give_up_job", STOP.why)


@pytest.mark.parametrize("end", [p.JobDeclined(why=STOP.why), p.JobLeft(why=STOP.why)], ids=["declined", "left"])
def test_a_stop_before_a_fetched_job_has_begun_gives_it_up(end):
    made = pilot(p.JobWanted(), FETCHED, STOP)
    assert made.does == "give_up_job"
    made.hear(STOP)
    made.hear(end)
    assert (made.state, made.why) == ("stopped", STOP.why)


@pytest.mark.parametrize(("said", "code"), [(PilotErrorCode.SIGUSR1, 1207), (PilotErrorCode.NONE, 1200)], ids=str)
def test_a_stop_has_a_code_of_panda(said, code):
    assert pilot(p.JobWanted(), FETCHED, Preempted(error_code=said, why="stop")).stop_code == code


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
