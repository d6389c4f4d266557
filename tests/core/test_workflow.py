"""A declared table: what is parsed, where each fact leads, and that both its interpreters agree."""

import random

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from transitions import MachineError

from esfsm.core.facts import FACTS
from esfsm.core.workflow import Arrow, State, Workflow, all_arrows, line_of, machine
from esfsm.errors import UnsoundWorkflow

from .worlds import HELD, TABLES

TABLE = """
title  = "small job"        # a comment with = and [brackets]
starts = "received"
ends   = ["done", "failed"]

[received]
does              = "classify_job"
on.job_classified = "running"

[running]
holds             = "event-range"

[running.on]
ranges_granted    = "running"
preempted         = "received"
outputs_staged    = "done"

[done]
on.job_resumed    = "received"

[any]
on.preempted      = "failed"
on.job_refused    = "failed"
"""


def small(text: str = TABLE) -> Workflow:
    return Workflow.parse(text, "small")


def test_a_table_is_parsed_into_states_and_arrows():
    table = small()
    assert (table.name, table.title, table.starts, table.ends) == ("small", "small job", "received", ("done", "failed"))
    assert table.states["received"] == State("received", "classify_job", None, {"job_classified": "running"})
    assert table.states["failed"] == State("failed")
    assert table.anywhere == {"preempted": "failed", "job_refused": "failed"}


@pytest.mark.parametrize(
    ("state", "fact", "target"),
    [
        ("received", "job_classified", "running"),
        ("received", "preempted", "failed"),  # by [any]
        ("running", "preempted", "received"),  # its own word goes before [any]
        ("running", "ranges_granted", "running"),
        ("done", "job_resumed", "received"),
    ],
)
def test_where_a_fact_leads(state, fact, target):
    assert small().targets[state, fact] == target


@pytest.mark.parametrize(("state", "fact"), [("received", "outputs_staged"), ("done", "preempted"), ("failed", "x")])
def test_a_fact_that_cannot_happen_leads_nowhere(state, fact):
    assert (state, fact) not in small().targets


def test_the_arrows_of_any_are_written_out_for_each_state_that_is_no_end():
    arrows = list(small().arrows())
    assert Arrow("received", "preempted", "failed") in arrows
    assert Arrow("running", "preempted", "received") in arrows
    assert Arrow("running", "preempted", "failed") not in arrows
    assert [arrow for arrow in arrows if arrow.source in ("done", "failed")] == [
        Arrow("done", "job_resumed", "received")
    ]


def test_the_facts_of_a_held_table_are_heard_without_moving_unless_the_state_says_otherwise():
    arrows = list(all_arrows(small(), HELD))
    assert Arrow("running", "output_produced", "running", held=True) in arrows
    assert not any(arrow.held for arrow in arrows if arrow.source != "running")
    assert len({(arrow.source, arrow.fact) for arrow in arrows}) == len(arrows)


def test_a_held_fact_that_the_state_itself_hears_keeps_its_arrow():
    table = small(TABLE.replace("ranges_granted ", "output_produced"))
    held = [arrow for arrow in all_arrows(table, HELD) if arrow.fact == "output_produced"]
    assert held == [Arrow("running", "output_produced", "running", held=False)]


def test_the_digest_changes_with_an_arrow_and_not_with_a_comment_or_the_order():
    digest = small().digest
    assert len(digest) == 8
    assert small(TABLE + "# a comment\n").digest == digest
    assert (
        small(
            TABLE.replace('on.job_refused    = "failed"\n', "").replace("[any]\n", "[any]\non.job_refused='failed'\n")
        ).digest
        == digest
    )
    assert small(TABLE.replace("classify_job", "stage_in")).digest != digest
    assert small(TABLE.replace('on.job_refused    = "failed"', 'on.job_refused    = "done"')).digest != digest


def test_a_table_without_any_has_no_arrow_from_anywhere():
    assert Workflow.parse('title = "t"\nstarts = "a"\nends = ["a"]\n', "t").anywhere == {}


@pytest.mark.parametrize(
    ("key", "line"),
    [
        (("title",), 2),
        (("ends",), 4),
        (("received",), 6),
        (("received", "does"), 7),
        (("received", "on", "job_classified"), 8),
        (("running", "on", "preempted"), 15),
        (("running", "on", "outputs_staged"), 16),
        (("any", "on", "job_refused"), 23),
        (("running", "on", "nothing"), 10),  # not found: its state
        (("nowhere",), 1),
    ],
)
def test_the_line_where_a_key_is_given(key, line):
    assert line_of(TABLE, key) == line


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [
        ('\n["es-running"]\n', ("es-running",), 2),
        ("\n[ 'es-running' ]\n\"on\".'preempted' = 'x'\n", ("es-running", "on", "preempted"), 3),
        ("\nreceived.on.preempted = 'x'\n", ("received", "on", "preempted"), 2),
        ("[received]\n# on.preempted = 'failed'\non.preempted = 'done'\n", ("received", "on", "preempted"), 3),
        ("[received]\non = {preempted = 'done'}\n", ("received", "on", "preempted"), 1),
    ],
)
def test_quotes_comments_and_dots_do_not_hide_a_key(text, key, line):
    assert line_of(text, key) == line


def test_a_table_in_no_form_raises_with_file_line_and_sentence():
    with pytest.raises(UnsoundWorkflow) as raised:
        Workflow.parse('title = 1\nstarts = "a"\nends = ["a"]\n', "odd.toml")
    assert raised.value.faults == ["odd.toml:1: `title` is missing or no text"]


def test_a_text_that_is_nested_too_deeply_is_no_table():
    with pytest.raises(UnsoundWorkflow) as raised:
        Workflow.parse("title = " + "[" * 100_000, "odd.toml")
    assert raised.value.faults == ["odd.toml:1: it is nested too deeply"]


def expected(table: Workflow, state: str, fact: str) -> str | None:
    """What `Workflow.targets` says, where facts for a held table are heard without moving; None: nowhere."""
    holds = table.states[state].holds
    held = state if holds and fact in HELD[holds].facts() else None
    return table.targets.get((state, fact), held)


@pytest.mark.parametrize("name", TABLES)
@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_both_interpreters_of_a_table_agree(name, seed):
    """`transitions` and `Workflow.targets` on one random walk: the same state, or the same refusal, at each step."""
    table, walk = TABLES[name], random.Random(seed)
    state = table.starts
    position = machine(table, HELD, state)
    for _ in range(60):
        likely = sorted(arrow.fact for arrow in table.arrows() if arrow.source == state)
        fact = walk.choice(likely if likely and walk.random() < 0.7 else sorted(FACTS))
        target = expected(table, state, fact)
        if target is None:
            with pytest.raises((MachineError, AttributeError)):  # AttributeError: no state at all hears it
                position.trigger(fact)
        else:
            assert position.trigger(fact)
            state = target
        assert position.state == state


@pytest.mark.parametrize("name", TABLES)
def test_every_arrow_of_a_table_is_taken_alike_by_both(name):
    table = TABLES[name]
    for arrow in table.arrows():
        position = machine(table, HELD, arrow.source)
        position.trigger(arrow.fact)
        assert position.state == table.targets[arrow.source, arrow.fact] == arrow.target


def test_a_machine_hears_held_facts_without_moving():
    position = machine(small(), HELD, "running")
    assert position.trigger("output_produced")
    assert position.state == "running"
