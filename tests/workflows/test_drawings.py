"""The drawings in diagrams/ are those of the tables in workflows/."""

from pathlib import Path

from esfsm.core.workflow import Workflow
from esfsm.drawings import stale

ROOT = Path(__file__).parents[2]


def test_the_drawings_are_fresh():
    tables = {file.stem: Workflow.parse(file.read_text(), file.stem) for file in (ROOT / "workflows").glob("*.toml")}
    assert tables
    assert stale(tables, tables, ROOT / "diagrams") == []
