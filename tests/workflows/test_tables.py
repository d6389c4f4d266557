"""Every shipped table is sound, and all of them together use every word that there is."""

from pathlib import Path

import pytest

from esfsm.core.actions import ACTIONS
from esfsm.core.pilot import PILOT_ACTIONS, PILOT_FACTS
from esfsm.core.soundness import check
from esfsm.core.workflow import Workflow
from esfsm.model.job import JobKind

FILES = sorted((Path(__file__).parents[2] / "workflows").glob("*.toml"))
TABLES = {file.stem: Workflow.parse(file.read_text(), file.stem) for file in FILES}
HELD = {"event-range": TABLES["event-range"]}
JOBS = [name for name, table in TABLES.items() if name not in HELD and table.drives == "job"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_shipped_table_is_sound(file):
    assert check(file.read_text(), file.name, HELD) == []


def test_every_kind_of_job_has_its_table():
    assert set(JOBS) == {kind.value for kind in JobKind}


def test_whatever_a_state_can_do_is_done_somewhere():
    done = {state.does for table in TABLES.values() for state in table.states.values()}
    jobs = {action.name for action in ACTIONS.values() if action.for_state}
    assert jobs | PILOT_ACTIONS.keys() == done - {None}


def test_every_fact_of_a_pilot_is_heard_somewhere():
    assert {arrow.fact for arrow in TABLES["pilot"].arrows()} == PILOT_FACTS.keys()


@pytest.mark.parametrize("name", JOBS)
def test_a_job_is_reported_in_each_of_its_ends(name):
    assert {TABLES[name].states[end].does for end in TABLES[name].ends} == {"report_job"}


@pytest.mark.parametrize("name", JOBS)
@pytest.mark.parametrize("fact", ["preempted", "job_killed", "limit_exceeded", "action_broke"])
def test_trouble_is_heard_wherever_a_job_is_on_its_way(name, fact):
    table = TABLES[name]
    assert all((state, fact) in table.targets for state in table.states if state not in table.ends)


@pytest.mark.parametrize("name", JOBS)
def test_a_job_that_was_stopped_or_failed_can_be_taken_up_again_and_one_that_is_done_cannot(name):
    hears = {end for end in TABLES[name].ends if "job_resumed" in TABLES[name].states[end].on}
    assert hears == {"stopped", "failed"}


@pytest.mark.parametrize("state", ["granted", "running"])
def test_a_range_that_the_payload_has_can_be_announced_or_given_up(state):
    table = TABLES["event-range"]
    assert table.targets[state, "output_produced"] == "produced"
    assert table.targets[state, "range_errored"] == "errored"
    assert table.targets[state, "payload_gone"] == "granted"


def test_only_the_server_or_its_silence_ends_a_range_that_ran():
    table = TABLES["event-range"]
    ends = {(arrow.source, arrow.fact, arrow.target) for arrow in table.arrows() if arrow.target in table.ends}
    assert ends == {
        ("granted", "ranges_released", "released"),
        ("granted", "grace_ended", "released"),
        ("running", "grace_ended", "released"),
        ("produced", "grace_ended", "released"),
        ("packed", "grace_ended", "released"),
        ("errored", "grace_ended", "released"),
        ("stored", "grace_ended", "unanswered"),
        ("stored", "ranges_acknowledged", "finished"),
        ("stored", "ranges_refused", "refused"),
        ("stored", "report_given_up", "unanswered"),
        ("errored", "ranges_acknowledged", "failed"),
        ("errored", "ranges_refused", "refused"),
        ("errored", "report_given_up", "released"),
    }


def test_the_one_end_of_a_range_with_a_way_out_is_that_of_which_the_server_said_nothing():
    table = TABLES["event-range"]
    ways_out = {arrow for arrow in table.arrows() if arrow.source in table.ends}
    assert {(arrow.source, arrow.fact, arrow.target) for arrow in ways_out} == {("unanswered", "job_resumed", "stored")}
