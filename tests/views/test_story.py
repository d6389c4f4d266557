"""What a journal tells: the way of the job, and the times of each range."""

from dataclasses import replace

import pytest
from core.worlds import HELD, TABLES, Teller, granted, produced

from esfsm.core import facts as f
from esfsm.core.engine import Engine
from esfsm.model.settings import Settings
from esfsm.views.story import RangeStory, Story

UNENDED = "the journal ends here, and the job had not ended"


def a_job() -> Teller:
    """r1 finishes, r2 is given up, r3 is lost before it is packed, r4 never runs; one second from fact to fact."""
    job = Teller()
    job.running()
    for fact in (
        f.RangesWanted(n=4),
        granted("r1", "r2", "r3", "r4"),
        f.RangesSent(event_range_ids=("r1", "r2", "r3")),
        produced("r1"),
        f.RangeErrored(event_range_id="r2", why="ERR_ATHENAMP_PROCESS"),
        produced("r3"),
    ):
        asked = "request_ranges" if isinstance(fact, f.RangesGranted) else "run_es_payload"
        job.answer(asked, fact, after_s=1.0)
    job.answer("report_ranges", f.RangesAcknowledged(), after_s=1.0)
    job.says(f.PayloadFinished())
    job.answer("pack_outputs", f.OutputsPacked(size_bytes=9, adler32="0b", lost=("r3",)), after_s=1.0)
    return job


def to_the_end(job: Teller) -> Teller:
    job.answer("store_archive", f.ArchiveStored(url="file:///out/a.tar"), after_s=1.0)
    while not job.engine.ended:
        name = job.waits_for()[0]
        if name == "note":
            job.note()
        else:
            job.answer(name, {"report_job": f.JobReported()}.get(name, f.RangesAcknowledged()), after_s=1.0)
    return job


def story_of(job: Teller, upto: int | None = None) -> Story:
    """The story of a new engine that is told the facts of a job."""
    engine = Engine(job.workflow, HELD, job.settings)
    engine.begin()
    story = Story(engine)
    for fact in job.facts[:upto]:
        story.hear(fact, engine.decide(fact).actions)
    return story


def test_each_range_has_its_times_in_seconds_since_the_first_fact():
    story = story_of(to_the_end(a_job()))
    assert story.ranges["r1"] == RangeStory("r1", 2, 3, 4, 8, 9, 11)
    assert story.ranges["r4"] == RangeStory("r4", granted_s=2)
    assert (story.began, story.ended_s) == (1_700_000_000.0, 12)


def test_time_never_goes_back_though_a_clock_was_set_back():
    job = Teller()
    job.goes_well("classify_job")
    job.now -= 1000.0
    job.goes_well("select_executor")
    job.now += 5.0
    job.goes_well("stage_in")
    assert [line.split()[0] for line in story_of(job).lines()[:4]] == ["0.000", "0.000", "0.000", "5.000"]


def test_a_range_that_failed_was_never_packed_and_its_failure_is_acknowledged():
    story = story_of(to_the_end(a_job()))
    assert story.ranges["r2"] == RangeStory("r2", granted_s=2, sent_s=3, acknowledged_s=7)
    assert story.ranges["r3"] == RangeStory("r3", granted_s=2, sent_s=3, produced_s=6, acknowledged_s=10)


def test_a_range_that_the_server_refused_is_not_acknowledged():
    job = Teller().stored("r1", "r2")
    job.answer("report_ranges", f.RangesAcknowledged(refused=("r1",)), after_s=5.0)
    ranges = story_of(job).ranges
    assert (ranges["r1"].acknowledged_s, ranges["r2"].acknowledged_s) == (None, 5)


def test_a_range_that_was_doubted_is_acknowledged_when_the_doubt_is_over():
    job = Teller().stored("r1", "r2", "r3")
    job.answer("report_ranges", f.RangesAcknowledged(doubted=("r1",), unheard=("r2",)), after_s=5.0)
    job.answer("report_ranges", f.RangesAcknowledged(), after_s=1.0)
    ranges = story_of(job).ranges
    assert [ranges[i].acknowledged_s for i in ("r1", "r2", "r3")] == [None, 6, 5]


def test_a_range_whose_archive_was_lost_was_packed_when_it_was_packed_first():
    job = Teller().packed("r1")
    for name, fact in (
        ("store_archive", f.ArchiveLost(why="it is not there")),
        ("pack_outputs", f.OutputsPacked(size_bytes=1000, adler32="0badcafe")),
        ("store_archive", f.ArchiveStored(url="file:///out/a.tar")),
    ):
        job.answer(name, fact, after_s=1.0)
    told = story_of(job).ranges["r1"]
    assert (told.packed_s, told.stored_s) == (0, 3)


def test_a_range_in_an_adopted_payload_has_one_run():
    job = Teller().running("r1").resumed(adopted=True)
    job.answer("run_es_payload", produced("r1"), after_s=5.0)
    assert story_of(job).ranges["r1"] == RangeStory("r1", granted_s=0, sent_s=0, produced_s=65)


def test_a_range_that_ran_twice_was_granted_once_and_is_told_with_its_last_run():
    job = Teller().running("r1").resumed()
    job.says(f.RangesWanted(n=1))
    job.answer("run_es_payload", f.RangesSent(event_range_ids=("r1",)), after_s=7.0)
    assert story_of(job).ranges["r1"] == RangeStory("r1", granted_s=0, sent_s=67)


def test_a_range_that_nobody_granted_has_no_story():
    job = Teller().running("r1")
    job.says(produced("stranger"))
    assert list(story_of(job).ranges) == ["r1"]


def test_a_repeated_result_changes_no_time():
    job = Teller().running("r1")
    job.answer("run_es_payload", produced("r1"), after_s=1.0)
    job.answer("run_es_payload", produced("r1"), after_s=1.0)
    assert story_of(job).ranges["r1"].produced_s == 1


def test_the_stories_of_the_ranges_are_a_mapping_in_the_order_in_which_they_were_granted():
    ranges = story_of(to_the_end(a_job())).ranges
    assert (list(ranges), len(ranges)) == (["r1", "r2", "r3", "r4"], 4)
    assert dict(ranges)["r4"] == ranges["r4"]
    assert "r9" not in ranges
    with pytest.raises(KeyError):
        ranges["r9"]


def test_a_time_that_was_never_is_none_and_no_number():
    (told,) = story_of(Teller().running("r1")).ranges.values()
    assert (told.sent_s, told.produced_s, told.acknowledged_s) == (0, None, None)


def test_the_story_for_people_names_states_counts_and_the_end():
    assert story_of(to_the_end(a_job())).lines() == [
        "     0.000 s  received",
        "     0.000 s  job_classified -> classified",
        "     0.000 s  executor_selected -> executor-selected",
        "     0.000 s  inputs_staged -> es-running",
        "     7.000 s  payload_finished -> staging-out",
        "    11.000 s  outputs_staged -> done",
        "              1 x payload_started in es-running",
        "              1 x ranges_wanted in es-running",
        "              1 x ranges_granted in es-running",
        "              1 x ranges_sent in es-running",
        "              2 x output_produced in es-running",
        "              1 x range_errored in es-running",
        "              1 x ranges_acknowledged in es-running",
        "              1 x outputs_packed in staging-out",
        "              1 x archive_stored in staging-out",
        "              1 x ranges_released in staging-out",
        "              2 x ranges_acknowledged in staging-out",
        "              1 x job_reported in done",
        "event ranges: 1 finished, 2 failed, 1 released",
    ]


@pytest.mark.parametrize(
    ("fact", "line"),
    [
        (f.LimitExceeded(error_code=1150, why="it loops"), "why: it loops (pilot error code 1150)"),
        (f.Preempted(why="SIGTERM"), "why: SIGTERM"),
    ],
)
def test_the_story_of_a_job_that_did_not_finish_says_why(fact, line):
    job = Teller()
    job.tell(fact)
    assert story_of(job).lines()[-1] == line


def test_the_story_of_a_job_that_has_just_begun_is_its_first_state():
    story = Story(Engine(TABLES["generic"], HELD, Settings()))
    assert (story.lines(), story.ended_s, story.ranges) == (["     0.000 s  received", UNENDED], 0.0, {})


def test_a_job_that_was_resumed_tells_both_lives():
    job = Teller()
    job.tell(f.Preempted(why="SIGTERM"))
    job.answer("report_job", f.JobReported())
    story = story_of(job.resumed())
    assert story.engine.path == ("received", "stopped", "received")
    assert story.lines()[-5:] == [
        "     0.000 s  preempted -> stopped",
        "    60.000 s  job_resumed -> received",
        "              1 x job_reported in stopped",
        "taken up again: 1 x",
        UNENDED,
    ]


def test_the_order_of_a_story_is_that_of_its_journal_whatever_the_clock_said():
    job = Teller().running("r1")
    job.facts[-1] = replace(job.facts[-1], at=job.now - 5)
    assert story_of(job).ranges["r1"].sent_s == 0
