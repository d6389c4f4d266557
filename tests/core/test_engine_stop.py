"""A job that has to go: one deadline for all that is left to do, and what is let go of when it has come."""

from dataclasses import replace

import pytest

from esfsm.core import facts as f
from esfsm.model.resources import Resources

from .worlds import Teller, granted, names, produced

DEFAULTS = {"monitor_s": 60.0, "stage_out_by": "risk", "grace_for": "all"}
SIGTERM = f.Preempted(error_code=1201, why="a stop was asked for by SIGTERM")


def job(**settings: object) -> Teller:
    return Teller(**{**DEFAULTS, **settings})


# --- the deadline ------------------------------------------------------------------------------------------------


def test_what_runs_gets_the_grace_that_storing_leaves():
    running = job().produced("r1")
    stop, pack = running.tell(SIGTERM)[:2]
    assert (stop.name, pack.name) == ("stop", "pack_outputs")
    assert 51.0 < stop.grace_s < 53.0, "of 60 s: 5 for the kill, 2 for the last word, 1 for an archive"


def test_all_that_is_stored_and_reported_in_time_is_finished():
    running = job().produced("r1")
    running.tell(SIGTERM)
    running.says(f.PayloadFinished())
    running.goes_well("pack_outputs", "store_archive", "report_ranges")
    running.note()
    assert (running.state, running.report.state, running.report.events) == ("stopped", "finished", 10)
    assert running.goes_well("report_job").engine.ended


def test_at_the_deadline_what_is_not_stored_is_let_go_of_and_the_last_word_is_said():
    running = job().produced("r1", "r2")
    running.tell(SIGTERM)
    running.says(f.PayloadFinished())
    running.ring_until("note")
    assert running.now == pytest.approx(running.facts[0].at + 58.0)
    assert running.asked("note").fact == f.GraceEnded(why="the time is over: 2 finished event ranges are not stored")
    assert names(running.note()) == ["report_job"]
    assert (running.state, dict(running.ledger.counts())) == ("stopped", {"released": 2})


def test_what_comes_after_the_deadline_changes_nothing():
    running = job(zip_max_ranges=1).produced("r1", "r2")
    running.tell(SIGTERM)
    running.says(f.PayloadFinished())
    running.answer("pack_outputs", f.OutputsPacked(size_bytes=9, adler32="0badcafe"))
    pack, store = running.asked("pack_outputs"), running.asked("store_archive")
    running.ring_until("note")
    running.note()
    assert running.tell(f.OutputsPacked(answers=pack.number, size_bytes=9, adler32="0badcafe")) == ()
    assert running.tell(f.ArchiveStored(answers=store.number, url="file:///there")) == ()
    assert dict(running.ledger.counts()) == {"released": 2}
    assert running.goes_well("report_job").engine.ended


def test_ranges_that_are_granted_after_the_deadline_are_nobodys():
    running = job().running()
    running.says(f.RangesWanted(n=2))
    running.tell(SIGTERM)
    running.says(f.PayloadFinished())
    request = running.asked("request_ranges")
    running.ring_until("note")
    running.note()
    running.tell(replace(granted("late"), answers=request.number))
    assert len(running.ledger) == 0


def test_what_is_stored_and_not_reported_by_then_is_reported_by_the_next_engine():
    running = job().stored("r1")
    running.tell(SIGTERM)
    report = running.asked("report_ranges")
    running.ring_until("note")
    running.note()
    assert running.ledger["r1"] == "unanswered"
    running.tell(f.RangesAcknowledged(answers=report.number))
    assert running.ledger["r1"] == "unanswered", "nobody waits for it any more"
    running.goes_well("report_job")
    again = running.resumed().goes_well("classify_job", "select_executor", "stage_in")
    assert "report_ranges" in again.waits_for()


def test_a_last_word_that_nobody_answers_does_not_keep_the_engine():
    running = job().running()
    running.tell(SIGTERM)
    running.says(f.PayloadFinished())
    running.note()
    assert running.state == "stopped"
    running.ring_until_ended()
    assert running.engine.final.unreported
    assert running.now == pytest.approx(running.facts[0].at + 60.0)


def test_a_last_word_that_is_under_way_is_heard_however_short_the_time_was():
    running = job(grace_s=0.0).running()
    running.tell(SIGTERM)
    running.says(f.PayloadFinished())
    running.note()
    assert (running.state, running.engine.ended) == ("stopped", False)
    running.goes_well("report_job")
    assert running.engine.ended
    assert not running.engine.final.unreported


def test_a_second_stop_leaves_half_the_time_and_none_for_what_runs():
    running = job().produced("r1")
    running.tell(SIGTERM)
    stop = running.tell(SIGTERM, after_s=20.0)[0]
    assert (stop.name, stop.grace_s) == ("stop", 0.0)
    assert running.engine.grace.ends_at == running.now + 20.0


def test_what_was_booked_before_the_deadline_is_among_the_outputs():
    running = job(zip_max_ranges=1).running("r1", "r2")
    running.says(produced("r1"))
    running.goes_well("pack_outputs", "store_archive", "report_ranges")
    running.tell(SIGTERM)
    running.ring_until("note")
    running.note()
    assert [copy.url for copy in running.engine.final.outputs] == ["file:///out/archive.tar"]


def test_a_payload_that_is_there_at_the_deadline_is_ended_and_waited_for():
    running = job().running("r1")
    running.tell(SIGTERM)
    running.ring_until("note")
    actions = running.note()
    assert (actions[0].name, actions[0].grace_s) == ("stop", 0.0)
    assert running.state == "stopped"
    assert not running.goes_well("report_job").engine.ended
    running.says(produced("r1"), f.PayloadFinished())
    assert running.engine.ended
    assert running.engine.ranges.strange == 1


def test_a_user_who_has_the_time_waits_for_all_that_is_finished():
    running = job(grace_for="workers").produced("r1")
    running.tell(SIGTERM)
    running.says(f.PayloadFinished())
    assert [a.when for a in running.engine.outstanding if a.name == "set_alarm" and a.when < running.now + 1e6] == [
        running.facts[0].at + 60.0
    ], "that of the next measurement"


# --- too little time -------------------------------------------------------------------------------------------


def slow(**settings: object) -> Teller:
    """A job whose archives of 100 bytes took 10 s, with three results that wait: 30 s for 30 s, 3 s and 300 s."""
    running = job(zip_max_ranges=1, **settings).produced("r0")
    running.answer("pack_outputs", f.OutputsPacked(size_bytes=100, adler32="0badcafe"))
    running.answer("store_archive", f.ArchiveStored(url="file:///there"), after_s=10.0)
    running.answer("report_ranges", f.RangesAcknowledged())
    running.tell(
        f.JobResumed(settings=running.settings.model_copy(update={"zip_max_ranges": 100}).model_dump(mode="json"))
    )
    running.says(f.PayloadStarted(pid=17, started=42), f.RangesWanted(n=3))
    running.answer("request_ranges", granted("r1", "r2", "r3", exhausted=True))
    running.says(f.RangesSent(event_range_ids=("r1", "r2", "r3")))
    for event_range_id, wall_s in (("r1", 30.0), ("r2", 3.0), ("r3", 300.0)):
        running.says(
            f.OutputProduced(
                event_range_id=event_range_id, paths=(f"/w/{event_range_id}",), size_bytes=100, wall_s=wall_s
            )
        )
    return running


def test_what_will_be_lost_is_said_in_advance_and_the_most_valuable_is_stored_first():
    running = slow()
    actions = running.tell(f.Preempted(why="the spot notice", within_s=16.0))
    assert [action.lfn for action in actions if action.name == "pack_outputs"] == [
        f"EventService_premerge_{name}.tar" for name in ("r3", "r1", "r2")
    ]
    lost = next(action.fact for action in actions if action.name == "note")
    assert lost.event_range_ids == ("r1", "r2")
    assert lost.why == (
        "storing all that is finished takes 30.0 s, and there are 14.0 s: 2 event ranges will hardly be stored"
    )


def test_in_haste_few_archives_are_stored_at_a_time():
    running = slow()
    running.tell(f.Preempted(why="the spot notice", within_s=16.0))
    running.note()
    for _ in range(3):
        running.goes_well("pack_outputs")
    assert running.waits_for().count("store_archive") == 2
    running.goes_well("store_archive")
    assert running.waits_for().count("store_archive") == 2


def test_where_there_is_time_for_all_nothing_is_said_and_the_oldest_goes_first():
    running = slow()
    actions = running.tell(f.Preempted(why="the spot notice", within_s=100.0))
    (pack,) = [action for action in actions if action.name == "pack_outputs"]
    assert [member.event_range_id for member in pack.members] == ["r1", "r2", "r3"]
    assert "note" not in names(actions)


# --- the end of our time ---------------------------------------------------------------------------------------


def test_before_our_time_is_over_the_job_is_stopped_so_that_the_rest_can_be_stored():
    running = job().running("r1")
    running.tell(f.TimeLimited(until=running.now + 1000.0, why="the lifetime of the pilot"))
    running.ring_until("note")
    assert running.now == pytest.approx(running.facts[0].at + 990.0)
    preempted = running.asked("note").fact
    assert (preempted.error_code, preempted.within_s) == (1213, 10.0)
    assert preempted.why == "the lifetime of the pilot is over in 10 s, and a stop may take so long"
    running.note()
    assert running.engine.grace.ends_at == running.facts[0].at + 1000.0


def test_the_longer_ranges_and_stores_take_the_earlier_that_is():
    running = slow()
    running.tell(f.TimeLimited(until=running.now + 10_000.0, why="the lifetime of the pilot"))
    before = running.now
    running.ring_until("pack_outputs")
    running.ring_until("note")
    wall_s, stores_s = min(333.0 / 4, 60.0), 2 * 30.0
    assert running.now - before == pytest.approx(10_000.0 - 10.0 - wall_s - stores_s)


def test_a_job_that_is_given_a_walltime_ends_by_it():
    running = job(walltime_limit_s=500.0).running("r1")
    running.ring_until("note")
    assert running.asked("note").fact.why == "the walltime of 500 s is over in 10 s, and a stop may take so long"


def test_a_plain_job_is_stopped_in_time_too():
    running = Teller("generic", **DEFAULTS)
    running.goes_well("classify_job", "select_executor", "stage_in")
    running.tell(f.TimeLimited(until=running.now + 5.0, why="the lifetime of the pilot"))
    running.note()
    assert running.state == "stopped"
    assert running.engine.final.trouble == (
        1213,
        "the lifetime of the pilot is over in 5 s, and a stop may take so long",
    )


# --- limits ----------------------------------------------------------------------------------------------------


def test_a_payload_is_measured_from_time_to_time_and_one_that_takes_too_much_is_ended():
    running = job().produced("r1")
    running.ring_until("measure_resources")
    assert running.now == running.facts[0].at + 60.0
    running.answer("measure_resources", f.ResourcesMeasured(resources=Resources(free_bytes=10**12)))
    running.ring_until("measure_resources")
    running.answer("measure_resources", f.ResourcesMeasured(resources=Resources(free_bytes=7)))
    stop = running.note()[0]
    assert (running.state, stop.name, stop.grace_s) == ("salvaging", "stop", 0.0)
    assert running.engine.final.trouble[0] == 1098


def test_a_measurement_that_breaks_is_made_again_at_its_next_time():
    running = job().running("r1")
    running.ring_until("measure_resources")
    running.answer("measure_resources", f.ActionBroke(why="nobody foresaw it"))
    assert running.state == "es-running"
    running.ring_until("measure_resources")
    assert running.now == running.facts[0].at + 120.0


def test_a_payload_that_is_being_stopped_and_takes_too_much_is_ended_at_once():
    running = job(grace_s=1000.0).running("r1")
    running.tell(SIGTERM)
    running.ring_until("measure_resources")
    running.answer("measure_resources", f.ResourcesMeasured(resources=Resources(free_bytes=7)))
    assert names(running.note())[0] == "stop"
    assert running.state == "stopping"


def test_a_proxy_that_ends_stops_a_job_once():
    running = job(grace_s=1000.0).running("r1")
    for _ in range(2):
        running.ring_until("measure_resources")
        running.answer("measure_resources", f.ResourcesMeasured(resources=Resources(proxy_left_s=1.0)))
        if "note" in running.waits_for():
            running.note()
    assert [arrow.target for arrow in running.engine.arrows if arrow.fact == "preempted"] == ["stopping"]
    assert running.state == "stopping"


def test_an_adopted_payload_was_not_silent_while_nobody_listened():
    running = job().running("r1")
    running.now += 100_000.0
    adopted = running.resumed(adopted=True)
    adopted.ring_until("measure_resources")
    adopted.answer("measure_resources", f.ResourcesMeasured(resources=Resources()))
    assert adopted.state == "es-running"
    assert "note" not in adopted.waits_for()


def test_what_is_measured_when_the_payload_has_gone_is_of_no_interest():
    running = job().running("r1")
    running.ring_until("measure_resources")
    running.says(f.PayloadFinished())
    running.answer("measure_resources", f.ResourcesMeasured(resources=Resources(free_bytes=7)))
    assert running.state == "staging-out"
    assert not [action for action in running.waits_for() if action == "note"][1:]


# --- a payload that cannot set itself up -----------------------------------------------------------------------

SETUP = f.SetupFailed(exit_code=2, error_code=1378, why="the set-up of the payload timed out (exit code 2)")


def test_a_payload_that_died_before_it_asked_is_started_once_more():
    running = job().running()
    running.says(SETUP)
    assert running.state == "setup-failed"
    assert names(running.note())[0] == "run_es_payload"
    assert running.state == "es-running"


def test_and_not_for_ever():
    running = job().running()
    running.says(SETUP)
    running.note()
    running.says(f.PayloadStarted(pid=18, started=43), SETUP)
    running.note()
    assert running.drained().state == "failed"
    assert running.engine.final.trouble == (1378, SETUP.why)
    assert running.report.error_code == 1378


def test_how_often_is_a_setting():
    running = job(setup_retries=0).running()
    running.says(SETUP)
    running.note()
    assert running.state == "salvaging"


# --- risk ------------------------------------------------------------------------------------------------------


def test_outputs_are_packed_when_they_are_worth_it_and_the_journal_says_why():
    running = job(node_lifetime_s=3600.0).running("r1", "r2")
    running.says(f.OutputProduced(event_range_id="r1", paths=("/w/r1",), wall_s=600.0))
    (pack,) = running.ring_until("pack_outputs")
    assert running.now - running.facts[0].at == pytest.approx(31.0 * 3600.0 / 600.0)
    assert pack.why == "600 s of work wait, an archive costs 31.0 s, a node lives 3600 s, the gap is 7200 s"
    assert pack.why in running.decisions[-1][-1]


def test_more_work_that_waits_brings_the_archive_forward():
    running = job(node_lifetime_s=3600.0, monitor_s=0).running("r1", "r2")
    running.says(f.OutputProduced(event_range_id="r1", paths=("/w/r1",), wall_s=60.0))
    running.says(f.OutputProduced(event_range_id="r2", paths=("/w/r2",), wall_s=6000.0))
    running.ring_until("pack_outputs")
    assert running.now - running.facts[0].at == pytest.approx(31.0 * 3600.0 / 6060.0, abs=1.0)


def test_never_less_often_than_the_gap():
    running = job(zip_time_gap_s=50.0).running("r1", "r2")
    running.says(produced("r1"))
    running.ring_until("pack_outputs")
    assert running.now == running.facts[0].at + 50.0
