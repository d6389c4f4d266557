"""A recorded job once more, with other settings."""

from pathlib import Path

import pytest

import esfsm
from esfsm import plugins
from esfsm.core.engine import Engine
from esfsm.journal.reader import read
from esfsm.retelling import retell
from esfsm.simulation.recorded import Recorded

RECORDED = Path(__file__).parents[1] / "recorded"


def what_if(name: str, **settings: object) -> esfsm.WhatIf:
    return esfsm.what_if(RECORDED / f"{name}.jsonl", settings)


def rerun(name: str, **settings: object) -> Engine:
    """The engine of a recorded job at the end of its simulated run, with these settings changed."""
    header, entries = read(RECORDED / f"{name}.jsonl")
    table, world = plugins.workflow(header.workflow), Recorded()
    for entry, decision in retell(Engine(table, plugins.held(), header.settings), header, entries):
        world.hear(entry.fact, decision.actions)
    given = header.settings.model_copy(update=settings)
    engine = Engine(table, plugins.held(), given)
    world.run(engine, header, given, lambda *_: None)
    return engine


@pytest.mark.parametrize("name", ["one-core", "several-cores", "several-outputs", "failover", "athenamp-process"])
def test_with_the_settings_that_it_had_a_job_goes_as_it_went(name: str) -> None:
    told = what_if(name, zip_max_ranges=1)
    assert (told.simulated.stores, told.simulated.reports) == (told.recorded.stores, told.recorded.reports)
    went = esfsm.replay(RECORDED / f"{name}.jsonl").engine
    assert rerun(name).ranges.ledger.counts() == went.ranges.ledger.counts()
    assert rerun(name).state == went.state


def test_one_range_an_archive_means_more_stores_and_less_at_risk() -> None:
    told = what_if("one-core", zip_max_ranges=1, zip_time_gap_s=0)
    finished = esfsm.replay(RECORDED / "one-core.jsonl").engine.ranges.ledger.counts()["finished"]
    assert told.other.stores == told.other.reports == finished > told.simulated.stores
    assert told.other.mean < told.simulated.mean


def test_one_archive_for_all_means_all_at_risk_until_the_end() -> None:
    told = what_if("several-cores", zip_max_ranges=10_000, zip_time_gap_s=7200)
    assert told.other.stores == 1
    assert told.other.most >= told.simulated.most
    assert told.other.mean > told.simulated.mean


@pytest.mark.parametrize("name", ["payload-killed", "payload-exits", "stopped-by-the-server"])
def test_what_ended_the_payload_ends_it_again(name: str) -> None:
    went, again = esfsm.replay(RECORDED / f"{name}.jsonl").engine, rerun(name, zip_max_ranges=2)
    assert (again.state, again.final.trouble[0]) == (went.state, went.final.trouble[0])


def test_a_storage_that_refused_for_a_while_does_so_again() -> None:
    engine = rerun("storage-refuses-for-ever", stage_out_rounds=2)
    refused = sum(times for arrow, times in engine.arrows.items() if arrow.fact == "store_failed")
    assert (engine.state, engine.ranges.ledger.counts()) == ("done", {"finished": 6})
    assert refused >= 2


def test_the_figures_stand_side_by_side() -> None:
    lines = what_if("one-core", zip_max_ranges=2).lines()
    assert lines[0].split() == ["recorded", "simulated", "zip_max_ranges=2"]
    assert [line.split()[-1] for line in lines[3:5]] == ["3", "3"]
    assert len({len(line) for line in lines}) == 1


def test_a_setting_that_does_not_exist_is_refused() -> None:
    with pytest.raises(esfsm.UnusableInput, match="there is no setting 'gap'"):
        what_if("one-core", gap=1)


@pytest.mark.parametrize("name", ["stage-in-failed", "job-refused"])
def test_where_no_payload_was_started_there_is_nothing_to_simulate(name: str) -> None:
    with pytest.raises(esfsm.UnusableInput, match="no payload was started"):
        what_if(name, zip_max_ranges=2)


@pytest.mark.parametrize("name", ["plain", "merge"])
def test_a_job_without_event_ranges_has_nothing_to_suppose(name: str) -> None:
    with pytest.raises(esfsm.UnusableInput, match="only an Event Service job"):
        what_if(name, zip_max_ranges=2)
