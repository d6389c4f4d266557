"""Recorded whole jobs: what their journals tell today is what they told when they were recorded.

`tests/recorded/record.py` says how they are made, and how one is added.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from recorded.place import ROOT
from recorded.record import added
from recorded.scenarios import SCENARIOS
from shell.journals import honest

from esfsm import plugins
from esfsm.core.engine import Engine
from esfsm.core.workflow import Workflow
from esfsm.errors import ReplayDiverged, UnusableInput
from esfsm.journal.formats import Entry
from esfsm.journal.reader import read, read_header
from esfsm.replayer import replay
from esfsm.retelling import retell

RECORDED = Path(__file__).with_name("recorded")
JOURNALS = sorted(RECORDED.glob("*.jsonl"))
NEWEST = [journal for journal in JOURNALS if read_header(journal).format > 1]
FEWEST = 20
ENDS = ("-> done", "-> failed", "-> stopped")


def by_name(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize("journal", JOURNALS, ids=by_name)
def test_a_recorded_job_tells_its_story(journal: Path) -> None:
    assert replay(journal).lines() == journal.with_suffix(".txt").read_text().splitlines()


def test_there_are_enough_journals_and_each_has_its_story() -> None:
    assert len(JOURNALS) >= FEWEST
    assert len(NEWEST) < len(JOURNALS), "none is of an older format"
    assert {*map(by_name, JOURNALS)} == {*map(by_name, RECORDED.glob("*.txt"))}


def test_every_scenario_is_recorded() -> None:
    assert SCENARIOS.keys() <= {*map(by_name, JOURNALS)}


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_says_nothing_of_the_machine_that_it_ran_on(name: str) -> None:
    paths = re.findall(r"""["' ](/[\w.-]+/[^"']*)""", (RECORDED / f"{name}.jsonl").read_text())
    assert paths
    assert not [path for path in paths if not path.startswith(f"{ROOT}/{name}/")]


# --- what is decided otherwise today ----------------------------------------------------------------------------


def last_told(journal: Path, is_state: bool) -> tuple[Entry, str]:
    """The last state that was entered, or the last action asked for, and with which fact."""
    told = [(entry, each) for entry in read(journal)[1] for each in entry.then or ()]
    return next((entry, each) for entry, each in reversed(told) if each.startswith("-> ") is is_state)


def retold(journal: Path, number: int, before: str, after: str, changed: Path) -> None:
    """A copy of a journal that has another word in what the fact of this number led to."""
    lines = journal.read_bytes().splitlines()
    (at,) = (at for at, line in enumerate(lines) if before in json.loads(line).get("then", {}).get(str(number), ()))
    lines[at] = honest(lines[at].replace(json.dumps(before).encode(), json.dumps(after).encode()))
    changed.write_bytes(b"".join(line + b"\n" for line in lines))


@pytest.mark.parametrize(
    ("journal", "is_state"), [*((path, False) for path in JOURNALS), *((path, True) for path in NEWEST)]
)
def test_a_decision_that_is_another_one_is_found_with_fact_expected_and_got(
    journal: Path, is_state: bool, tmp_path: Path
) -> None:
    entry, told = last_told(journal, is_state)
    retold(journal, entry.number, told, f"{told}?", tmp_path / "changed.jsonl")
    with pytest.raises(ReplayDiverged) as found:
        replay(tmp_path / "changed.jsonl")
    assert (found.value.number, found.value.fact) == (entry.number, entry.fact.name)
    assert found.value.expected == "; ".join(f"{each}?" if each == told else each for each in entry.then or ())
    assert found.value.got == "; ".join(entry.then or ())


@pytest.mark.parametrize("journal", NEWEST, ids=by_name)
def test_a_state_that_has_another_name_today_is_found(journal: Path) -> None:
    header, entries = read(journal)
    text = (plugins.shelf() / f"{header.workflow}.toml").read_text()
    renamed = Workflow.parse(re.sub(r"\b(done|failed|stopped)\b", r"\1-today", text), header.workflow)
    entry, told = next((e, each) for e in read(journal)[1] for each in e.then or () if each in ENDS)
    with pytest.raises(ReplayDiverged) as found:
        list(retell(Engine(renamed, plugins.held(), header.settings), header, entries))
    assert (found.value.number, found.value.fact) == (entry.number, entry.fact.name)
    assert f"{told}-today" in found.value.got


# --- the recorder -----------------------------------------------------------------------------------------------


def test_somebodys_journal_is_added_with_its_story(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "journal.jsonl").write_bytes(JOURNALS[0].read_bytes())
    for origin in (tmp_path / "work", tmp_path / "work" / "journal.jsonl"):
        kept = added("theirs", origin, tmp_path)
        assert kept.read_bytes() == JOURNALS[0].read_bytes()
        assert kept.with_suffix(".txt").read_text() == JOURNALS[0].with_suffix(".txt").read_text()


def test_what_does_not_replay_is_not_added(tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").write_text("no journal")
    with pytest.raises(UnusableInput):
        added("theirs", tmp_path, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["journal.jsonl"]


def test_the_recorder_lists_its_scenarios() -> None:
    command = [sys.executable, str(RECORDED / "record.py")]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert [line.split()[0] for line in told.splitlines()] == list(SCENARIOS)
