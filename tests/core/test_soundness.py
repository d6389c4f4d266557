"""What `esfsm check` finds: each fault of a table, with file, line and sentence."""

import pytest

from esfsm.core.soundness import check, sound
from esfsm.errors import UnsoundWorkflow

from .worlds import HELD

SOUND = """\
title  = "small job"
starts = "received"
ends   = ["done", "failed"]

[received]
does              = "classify_job"
on.job_classified = "running"   # on.job_refused = "failed" is said for all, below

[running]
does              = "drain_ranges"
holds             = "event-range"

[running.on]
outputs_staged    = "done"
stage_out_failed  = "failed"

[any]
on.job_refused    = "failed"
on.preempted      = "failed"
on.action_broke   = "failed"
on.job_killed     = "failed"
on.grace_ended    = "failed"
"""


def changed(old: str, new: str) -> str:
    assert SOUND.count(old) == 1
    return SOUND.replace(old, new)


def test_a_sound_table_has_no_fault():
    assert check(SOUND, "small.toml", HELD) == []
    assert sound(SOUND, "small.toml", HELD).title == "small job"


ARROW = 'on.job_classified = "running"'

FAULTS = {
    "an arrow to no state": (
        changed('stage_out_failed  = "failed"', 'stage_out_failed  = "fialed"'),
        "15: state running: the arrow on stage_out_failed leads to fialed, which is no state",
    ),
    "an arrow of [any] to no state": (
        changed('on.preempted      = "failed"', 'on.preempted      = "gone"'),
        "19: state any: the arrow on preempted leads to gone, which is no state",
    ),
    "a start that is no state": (
        changed('starts = "received"', 'starts = "begun"'),
        "2: it starts in begun, which is no state",
        "3: state done cannot be reached",
        "3: state failed cannot be reached",
        "5: state received cannot be reached",
        "9: state running cannot be reached",
    ),
    "a state that cannot be reached": (
        changed("[any]", '[island]\non.preempted = "done"\n\n[any]'),
        "17: state island cannot be reached",
    ),
    "an empty state that cannot be reached": (
        changed("[any]", "[island]\n\n[any]"),
        "17: state island cannot be reached",
    ),
    "an end that cannot be reached": (
        changed('"done", "failed"]', '"done", "failed", "stopped"]'),
        "3: state stopped cannot be reached",
    ),
    "an end that no report knows": (
        changed('"done", "failed"]', '"done", "failed", "lost"]').replace(ARROW, ARROW + '\non.preempted = "lost"'),
        "3: the end lost is none of done, stopped, failed",
    ),
    "a state without a way to an end": (
        changed(
            "[any]",
            '[trap]\non.job_refused = "trap"\non.preempted = "trap"\non.action_broke = "trap"\n'
            'on.job_killed = "trap"\non.grace_ended = "trap"\n\n[any]',
        ).replace(ARROW, ARROW + '\non.limit_exceeded = "trap"'),
        "18: from state trap no end can be reached",
    ),
    "an unknown fact": (
        changed(ARROW, ARROW + '\non.job_clasified = "running"'),
        "8: state received: there is no fact job_clasified",
    ),
    "an unknown action": (
        changed('"classify_job"', '"clasify_job"'),
        "6: state received: there is no action clasify_job",
    ),
    "an action that no state may name": (
        changed('"classify_job"', '"request_ranges"'),
        "5: state received: request_ranges may report ranges_exhausted, which it does not hear",
        "5: state received: request_ranges may report ranges_granted, which it does not hear",
        "5: state received: request_ranges may report request_unanswered, which it does not hear",
        "6: state received: there is no action request_ranges",
    ),
    "a table that nobody holds": (
        changed('"event-range"', '"event-rage"'),
        "11: state running: there is no table event-rage to hold",
    ),
    "an answer that the state does not hear": (
        changed('on.job_refused    = "failed"\n', ""),
        "5: state received: classify_job may report job_refused, which it does not hear",
    ),
    "an answer that an end does not hear, as [any] is not for ends": (
        changed("[any]", '[done]\ndoes = "report_job"\non.job_reported = "done"\n\n[any]\non.job_unreported = "done"'),
        "17: state done: report_job may report job_unreported, which it does not hear",
    ),
    "an action that must not break": (
        changed('on.action_broke   = "failed"\n', ""),
        "5: state received: it does not hear action_broke",
        "9: state running: it does not hear action_broke",
    ),
    "a state that cannot be stopped": (
        changed('on.preempted      = "failed"\n', "").replace(ARROW, ARROW + '\non.preempted = "failed"'),
        "10: state running: it does not hear preempted",
    ),
    "a state that does not hear the server's last word": (
        changed('on.job_killed     = "failed"\n', "").replace(ARROW, ARROW + '\non.job_killed = "failed"'),
        "10: state running: it does not hear job_killed",
    ),
    "a word of a pilot in the table of a job": (
        changed('"classify_job"', '"fetch_job"').replace(ARROW, ARROW + '\non.job_fetched = "failed"'),
        "6: state received: there is no action fetch_job",
        "8: state received: there is no fact job_fetched",
    ),
    "what nothing goes through": (
        changed('starts = "received"', 'drives = "car"\nstarts = "received"'),
        "2: it drives car, which is none of job, pilot",
    ),
    "what goes through it is no text": (
        changed('starts = "received"', 'drives = 5\nstarts = "received"'),
        "2: `drives` is no text",
    ),
    "ranges that are drained and held nowhere": (
        changed('holds             = "event-range"\n', ""),
        "9: state running: drain_ranges needs a table of ranges to hold",
    ),
    "ranges that nobody brings to their end": (
        changed('"drain_ranges"', '"stage_in"').replace(
            "stage_out_failed ", 'stage_in_failed = "failed"\ninputs_staged = "done"\nstage_out_failed '
        ),
        "9: state running: it holds ranges, so it must do one of run_es_payload, drain_ranges",
    ),
    "ranges that are held in idleness": (
        changed('does              = "drain_ranges"\n', ""),
        "9: state running: it holds ranges, so it must do one of run_es_payload, drain_ranges",
    ),
    "an arrow that is drawn twice": (
        changed(ARROW, ARROW + "\n" + ARROW.replace("running", "done")),
        "8: this arrow is drawn twice",
    ),
    "a state that is declared twice": (
        changed("[any]", "[received]\n\n[any]"),
        "17: this state is declared twice",
    ),
    "a table of unknown keys": (
        changed('does              = "drain_ranges"', 'dose              = "drain_ranges"'),
        "10: state running: `dose` is none of does, holds, on",
    ),
    "an [any] that does something": (
        changed("[any]", '[any]\ndoes = "stage_in"'),
        "18: state any: `does` is none of on",
    ),
    "a word that belongs to no state": (
        changed('starts = "received"', 'starts = "received"\ncolour = "red"'),
        "3: `colour` is neither title, drives, starts, ends nor a state",
    ),
    "an action that is no text": (changed('"classify_job"', "7"), "6: state received: `does` has the wrong type"),
    "arrows that are no table": (
        changed(ARROW, 'on = "running"'),
        "7: state received: `on` has the wrong type",
    ),
    "an arrow to a number": (
        changed(ARROW, "on.job_classified = 5"),
        "7: state received: the arrow on job_classified leads to no name",
    ),
    "no title": (changed('title  = "small job"', ""), "1: `title` is missing or no text"),
    "a start that is no text": (changed('starts = "received"', "starts = 5"), "2: `starts` is missing or no text"),
    "ends that are no list": (changed('["done", "failed"]', '"done"'), "3: `ends` is missing or no list"),
    "an end that is no text": (changed('"done", "failed"]', '"done", 5]'), "3: `ends` holds something that is no text"),
    "no TOML": (changed(ARROW, "on.job_classified ->"), "7: Expected '=' after a key in a key/value pair"),
    "a text that is cut off": ('title = "small', "1: Unterminated string"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_with_its_line(fault):
    text, *sentences = FAULTS[fault]
    assert check(text, "small.toml", HELD) == [f"small.toml:{sentence}" for sentence in sentences]


FEEDING = changed('"drain_ranges"', '"run_es_payload"')
LIMIT = "small.toml:9: state running: limit_exceeded must lead out of it"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (FEEDING, True),
        (FEEDING.replace("[running.on]", '[running.on]\nlimit_exceeded = "running"'), True),
        (FEEDING.replace("[running.on]", '[running.on]\nlimit_exceeded = "failed"'), False),
        (FEEDING + 'on.limit_exceeded = "failed"\n', False),
    ],
    ids=["unheard", "ignored", "heard", "heard everywhere"],
)
def test_a_limit_must_lead_out_of_a_state_that_feeds_a_payload(text, found):
    assert (LIMIT in check(text, "small.toml", HELD)) is found


def test_a_table_that_does_nothing_has_whatever_ends_and_hears_what_it_likes():
    text = 'title = "t"\nstarts = "granted"\nends = ["finished"]\n[granted]\non.ranges_acknowledged = "finished"\n'
    assert check(text, "t.toml", HELD) == []


def test_an_unsound_table_raises_with_all_its_faults():
    text = changed('"classify_job"', '"clasify_job"').replace('"event-range"', '"event-rage"')
    with pytest.raises(UnsoundWorkflow, match=r"small\.toml:6: .*; small\.toml:11: ") as raised:
        sound(text, "small.toml", HELD)
    assert raised.value.faults == check(text, "small.toml", HELD)


def test_the_answers_of_a_held_table_count_as_heard():
    text = SOUND.replace('"drain_ranges"', '"run_es_payload"')
    unheard = [fault.rsplit("may report ")[-1] for fault in check(text, "small.toml", HELD)]
    assert "ranges_wanted, which it does not hear" in unheard
    assert "output_produced, which it does not hear" not in unheard
