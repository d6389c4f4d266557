"""The fixture `esfsm_replay`, in a pytest of its own where the package is installed with its plug-in."""

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from shell.journals import changed

ROOT = Path(__file__).parents[2]
RECORDED = ROOT / "tests" / "recorded"
PLUGINS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]

REPLAY = """\
def test_my_jobs(esfsm_replay):
    stories = esfsm_replay({pattern!r})
    assert {{path.name: story.engine.state for path, story in stories.items()}} == {states!r}
"""
OUTCOMES = {"one-core.jsonl": "done", "payload-exits.jsonl": "failed"}

Pytest = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """The tests of somebody else, with two journals."""
    journals = tmp_path / "suite" / "tests" / "journals"
    journals.mkdir(parents=True)
    for name in OUTCOMES:
        shutil.copy(RECORDED / name, journals)
    (tmp_path / "suite" / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    return tmp_path / "suite"


@pytest.fixture
def run_pytest(tmp_path: Path, suite: Path) -> Pytest:
    """Run a test file there, in a process of its own; other plug-ins only by `-p`."""
    info = tmp_path / "site" / "esfsm_here-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: esfsm-here\nVersion: 1.0\n")
    points = "\n".join(f"{name} = {module}" for name, module in PLUGINS.items())
    (info / "entry_points.txt").write_text(f"[pytest11]\n{points}\n")
    (info / "RECORD").write_text("esfsm/__init__.py,,\nesfsm/testing/pytest_plugin.py,,\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(info.parent), str(ROOT)])}
    environment.pop("CI", None)  # it makes pytest say everything twice

    def run_pytest(text: str, *options: str) -> subprocess.CompletedProcess[str]:
        (suite / "tests" / "test_theirs.py").write_text(text)
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options]
        return subprocess.run(command, cwd=suite, env=environment, capture_output=True, text=True, check=False)

    return run_pytest


@pytest.mark.parametrize(
    "pattern",
    ["journals/*.jsonl", "tests/journals/*.jsonl", "**/*.jsonl", "{suite}/tests/journals/*.jsonl"],
    ids=["beside the test", "below the rootdir", "anywhere below", "an absolute path"],
)
def test_all_journals_of_a_pattern_are_replayed(pattern: str, run_pytest: Pytest, suite: Path) -> None:
    told = run_pytest(REPLAY.format(pattern=pattern.format(suite=suite), states=OUTCOMES))
    assert told.returncode == 0, told.stdout
    assert "1 passed" in told.stdout


def test_every_journal_that_does_not_replay_is_named_with_what_differs(run_pytest: Pytest, suite: Path) -> None:
    journals = suite / "tests" / "journals"
    changed(journals / "one-core.jsonl", b"stage_in 3", b"run_payload 3")
    (journals / "torn.jsonl").write_text("no journal")
    told = run_pytest(REPLAY.format(pattern="journals/*.jsonl", states={}))
    assert told.returncode == 1
    faults = [line for line in told.stdout.splitlines() if ".jsonl: " in line and not line.startswith("FAILED")]
    assert [line.split(": ")[0] for line in faults] == [f"{journals}/one-core.jsonl", f"{journals}/torn.jsonl"]
    decided = "at fact 2 (executor_selected): the journal has -> executor-selected; run_payload 3, this code decides "
    assert faults[0].endswith(f"{decided}-> executor-selected; stage_in 3")
    assert faults[1].endswith("this is no journal; choose another work directory")


def test_a_pattern_that_matches_nothing_fails_the_test(run_pytest: Pytest, suite: Path) -> None:
    told = run_pytest(REPLAY.format(pattern="gone/*.jsonl", states={}))
    assert told.returncode == 1
    assert f"there is no journal gone/*.jsonl in {suite}/tests or {suite}" in told.stdout


def test_a_suite_that_does_not_use_it_imports_nothing_of_ours_but_the_plug_in(run_pytest: Pytest) -> None:
    told = run_pytest(
        "import sys\n"
        "def test_nothing_is_there():\n"
        "    ours = {name for name in sys.modules if name.split('.')[0] == 'esfsm'}\n"
        "    assert ours == {'esfsm', 'esfsm.testing', 'esfsm.testing.pytest_plugin'}\n"
        "    assert not sys.modules.keys() & {'pydantic', 'transitions', 'orjson', 'loguru', 'zmq'}\n"
    )
    assert told.returncode == 0, told.stdout


def test_what_a_suite_imports_later_is_still_covered(run_pytest: Pytest) -> None:
    told = run_pytest("def test_an_import():\n    import esfsm.core.facts\n", "--cov=esfsm.core", "--cov-report=term")
    assert told.returncode == 0, told.stdout + told.stderr
    (facts,) = (line for line in told.stdout.splitlines() if "core/facts/payload.py" in line)
    assert int(facts.split()[-1].rstrip("%")) > 90
