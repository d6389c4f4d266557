"""Replay: the same facts lead to the same decisions, or the first that differs is named."""

from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

import pytest
from shell.jobs import PANDA_ID, es_job, es_settings, installed, write_inputs

import esfsm
from esfsm.errors import ReplayDiverged, UnusableJournal
from esfsm.replayer import replay
from esfsm.run import JOURNAL

RANGES = 6


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Path]:
    """The journal of a whole job."""
    settings = es_settings(write_inputs(tmp_path / "inputs"), RANGES, executor_type="quick", zip_max_ranges=2)
    with installed(tmp_path / "site", {"esfsm.executors:quick": "shell.jobs:QuickExecutor"}):
        yield esfsm.run_workflow(es_job(), workdir=tmp_path / "work", settings=settings).journal


def changed(journal: Path, before: bytes, after: bytes) -> None:
    """Change the first line that has `before`, as an honest writer would have written it."""
    lines = journal.read_bytes().splitlines()
    at = next(number for number, line in enumerate(lines) if before in line)
    body = lines[at].replace(before, after).rpartition(b',"crc":')[0]
    lines[at] = body + b',"crc":"%08x"}' % crc32(body)
    journal.write_bytes(b"\n".join([*lines, b""]))


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
    assert (diverged.value.expected, diverged.value.got) == ("run_payload 3", "stage_in 3")


def test_a_decision_that_is_not_made_today_is_named(journal: Path) -> None:
    changed(journal, b'"then":{"1":["select_executor 2"]}', b'"then":{}')
    with pytest.raises(ReplayDiverged, match="the journal has nothing, this code decides select_executor 2"):
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
