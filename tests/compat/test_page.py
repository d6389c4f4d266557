"""docs/pilot3.md runs: every block is executed, in their order, and prints what is shown."""

import re
import shutil
from pathlib import Path

import pytest
import test_readme
from compat import incumbent

PAGE = test_readme.ROOT / "docs" / "pilot3.md"
THEIRS = Path("eventservice", "workexecutor", "workexecutor.py")


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> list[test_readme.Block]:
    monkeypatch.setattr(test_readme, "README", PAGE)
    return test_readme.blocks()


def test_every_block_runs_and_prints_what_is_shown(blocks: list[test_readme.Block], tmp_path: Path) -> None:
    (tmp_path / "pilot" / THEIRS).parent.mkdir(parents=True)
    shutil.copy(str(incumbent.work.__file__), tmp_path / "pilot" / THEIRS)
    for block in blocks:
        printed = test_readme.run(block, tmp_path)
        assert printed == (block.shown or "")


def test_the_blocks_are_all_found(blocks: list[test_readme.Block]) -> None:
    assert len(PAGE.read_text().split("\n```")) - 1 == 2 * (len(blocks) + sum(b.shown is not None for b in blocks))


def test_the_settings_that_are_named_are_settings() -> None:
    named = {name.lower() for name in re.findall(r"ESFSM_([A-Z_]+)", PAGE.read_text())}
    assert named
    assert named <= set(test_readme.Settings.model_fields)


def test_what_it_offers_is_what_it_names() -> None:
    assert {name for name in incumbent.CLASSES if name not in PAGE.read_text()} == set()
