"""How long nodes live: each life of an engine leaves a line, and a mean follows from them."""

import json
from pathlib import Path

import pytest
from shell.jobs import es_job, es_settings, write_inputs

import esfsm
from esfsm.given import read_settings
from esfsm.lifetimes import MOST_BYTES, learned_s, remember
from esfsm.model.job import Job
from esfsm.model.settings import Settings

DAY_S = 86_400.0


@pytest.fixture
def history(tmp_path: Path) -> Path:
    return tmp_path / "lifetimes.jsonl"


def test_where_nothing_is_known_the_guess_counts(history: Path) -> None:
    assert learned_s(history, DAY_S) == DAY_S


def test_lives_that_ended_well_lengthen_the_mean_and_sudden_ends_shorten_it(history: Path) -> None:
    for _ in range(4):
        remember(history, DAY_S, suddenly=False)
    assert learned_s(history, DAY_S) == 5 * DAY_S
    for _ in range(9):
        remember(history, 0.0, suddenly=True)
    assert learned_s(history, DAY_S) == DAY_S / 2


def test_a_line_that_says_nothing_counts_for_nothing(history: Path) -> None:
    history.write_text(
        '\n7\n{"lived_s": "x", "suddenly": 1}\n{"suddenly": true}\nnull\n{"lived_s": -5, "suddenly": true}\n'
        '{"lived_s": "inf", "suddenly": false}\n{"lived_s": 1e308, "suddenly": false}\n{"lived_s": NaN}\n'
    )
    assert learned_s(history, DAY_S) == DAY_S


def test_what_was_learned_is_never_more_than_the_setting_can_be(history: Path) -> None:
    for _ in range(200):
        remember(history, 365 * DAY_S, suddenly=False)
    assert learned_s(history, DAY_S) == Settings(node_lifetime_s=100 * 365 * DAY_S).node_lifetime_s


def test_a_file_that_cannot_be_read_harms_nobody(tmp_path: Path) -> None:
    assert learned_s(tmp_path, DAY_S) == DAY_S


def test_a_file_that_cannot_be_written_harms_nobody_and_one_that_is_full_grows_no_more(history: Path) -> None:
    remember(history.parent, 1.0, suddenly=True)
    history.write_bytes(b"\n" * MOST_BYTES)
    remember(history, 1.0, suddenly=True)
    assert history.stat().st_size == MOST_BYTES


def test_what_was_learned_counts_unless_somebody_says_otherwise(history: Path, tmp_path: Path) -> None:
    remember(history, DAY_S, suddenly=False)
    job = Job.read(es_job())
    assert read_settings(job, {"node_history": history}, None, tmp_path)[0].node_lifetime_s == 2 * DAY_S
    said = {"node_history": history, "node_lifetime_s": 5}
    assert read_settings(job, said, None, tmp_path)[0].node_lifetime_s == 5


def test_every_life_of_a_job_leaves_a_line(history: Path, tmp_path: Path) -> None:
    class Die(Exception):
        pass

    def die(fact: object, engine: object) -> None:
        raise Die

    settings = es_settings(write_inputs(tmp_path / "inputs"), 3, node_history=history)
    with pytest.raises(Die):
        esfsm.run_workflow(es_job(), workdir=tmp_path / "work", settings=settings, watch=die)
    journal = tmp_path / "work" / "journal.jsonl"
    assert journal.exists()
    assert esfsm.run_workflow(es_job(), workdir=tmp_path / "work", settings=settings).state == "done"
    assert [json.loads(line)["suddenly"] for line in history.read_text().splitlines()][-1] is False
    assert esfsm.run_workflow(es_job(), workdir=tmp_path / "work", settings=settings).state == "done"
    assert len(history.read_text().splitlines()) <= 2, "a job that is done has no life"
