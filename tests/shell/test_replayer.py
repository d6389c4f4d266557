"""Replay: the same facts lead to the same decisions, or the first that differs is named."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from shell.jobs import PANDA_ID, es_job, es_settings, installed, write_inputs
from shell.journals import FORMAT_1, changed

import esfsm
from esfsm.errors import ReplayDiverged, UnusableJournal
from esfsm.journal.file import JOURNAL
from esfsm.replayer import replay

RANGES = 6


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Path]:
    """The journal of a whole job."""
    settings = es_settings(write_inputs(tmp_path / "inputs"), RANGES, executor_type="quick", zip_max_ranges=2)
    with installed(tmp_path / "site", {"esfsm.executors:quick": "shell.jobs:QuickExecutor"}):
        yield esfsm.run_workflow(es_job(), workdir=tmp_path / "work", settings=settings).journal


def test_a_journal_tells_the_story_of_its_job_without_the_world(journal: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone.jsonl"
    journal.rename(alone)
    story = replay(alone)
    assert story.engine.state == "done"
    assert dict(story.engine.ranges.ledger.counts()) == {"finished": RANGES}
    assert all(f"-{PANDA_ID}-" in event_range_id for event_range_id in story.ranges)
    assert any("event ranges: 6 finished" in line for line in story.lines())


def test_a_replay_leaves_the_journal_alone_and_may_be_done_while_it_is_written(journal: Path) -> None:
    content = journal.read_bytes()
    assert replay(journal).lines() == replay(str(journal)).lines()
    assert journal.read_bytes() == content


def test_a_decision_that_is_another_one_today_is_named_with_its_fact(journal: Path) -> None:
    changed(journal, b"stage_in 3", b"run_payload 3")
    with pytest.raises(ReplayDiverged) as diverged:
        replay(journal)
    assert (diverged.value.number, diverged.value.fact) == (2, "executor_selected")
    expected, got = "-> executor-selected; run_payload 3", "-> executor-selected; stage_in 3"
    assert (diverged.value.expected, diverged.value.got) == (expected, got)


def test_a_state_that_is_another_one_today_is_named_with_its_fact(journal: Path) -> None:
    changed(journal, b"-> executor-selected", b"-> executor-chosen")
    with pytest.raises(ReplayDiverged) as diverged:
        replay(journal)
    assert (diverged.value.number, diverged.value.fact) == (2, "executor_selected")
    assert diverged.value.expected == "-> executor-chosen; stage_in 3"


def test_a_state_that_is_not_entered_today_is_named(journal: Path) -> None:
    changed(journal, b'"-> es-running",', b"")
    with pytest.raises(ReplayDiverged, match="the journal has run_es_payload 4, this code decides -> es-running; run"):
        replay(journal)


def test_an_older_journal_is_replayed_by_its_actions_as_it_has_no_states() -> None:
    story = replay(FORMAT_1)
    assert (story.engine.state, dict(story.engine.ranges.ledger.counts())) == ("failed", {"unanswered": 2})


def test_an_action_that_is_another_one_today_is_named_in_an_older_journal_too(tmp_path: Path) -> None:
    copy = tmp_path / JOURNAL
    copy.write_bytes(FORMAT_1.read_bytes())
    changed(copy, b"stage_in 3", b"run_payload 3")
    with pytest.raises(ReplayDiverged, match="the journal has run_payload 3, this code decides stage_in 3"):
        replay(copy)


def test_a_journal_that_ends_before_its_decisions_tells_what_it_has(journal: Path) -> None:
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:2]))
    assert replay(journal).engine.state == "classified"


def test_a_decision_that_is_not_made_today_is_named(journal: Path) -> None:
    changed(journal, b'"then":{"1":["-> classified","select_executor 2"]}', b'"then":{}')
    with pytest.raises(ReplayDiverged, match="the journal has nothing, this code decides -> classified; select_exec"):
        replay(journal)


def test_an_answer_to_what_was_never_asked_for_is_named_with_its_fact(journal: Path) -> None:
    changed(journal, b'"fact":"inputs_staged","answers":3', b'"fact":"inputs_staged","answers":999')
    with pytest.raises(ReplayDiverged) as diverged:
        replay(journal)
    assert (diverged.value.number, diverged.value.fact) == (3, "inputs_staged")


def test_an_answer_that_its_action_cannot_have_is_named(journal: Path) -> None:
    changed(journal, b'"fact":"inputs_staged"', b'"fact":"outputs_staged"')
    with pytest.raises(ReplayDiverged, match="outputs_staged"):
        replay(journal)


def test_a_torn_last_line_is_passed_over(journal: Path) -> None:
    content = journal.read_bytes()
    journal.write_bytes(content[: content.rindex(b"\n", 0, -1) + 9])
    assert replay(journal).engine.state == "done"


def test_what_is_no_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / JOURNAL).write_text("hello")
    with pytest.raises(UnusableJournal, match="this is no journal"):
        replay(tmp_path / JOURNAL)
