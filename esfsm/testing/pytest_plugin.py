"""A pytest fixture for recorded jobs: `def test_my_jobs(esfsm_replay): esfsm_replay("journals/*.jsonl")`.

pytest loads this module at its start wherever this package is installed, so nothing else of it is imported before the
fixture is used: it would take its time, and coverage would miss it.
"""

from collections.abc import Callable
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from esfsm.views.story import Story

__all__ = ["esfsm_replay"]


@pytest.fixture
def esfsm_replay(request: pytest.FixtureRequest) -> "Callable[[str], dict[Path, Story]]":
    """Replay all journals that match a pattern; returns their stories by path.

    The pattern is looked for from the directory of the test file, and where nothing matches from pytest's rootdir. The
    test fails where nothing matches there either, and with each journal that cannot be replayed, by its name.
    """

    def replay_all(pattern: str) -> "dict[Path, Story]":
        from esfsm.errors import EsfsmError
        from esfsm.replayer import replay

        stories: dict[Path, Story] = {}
        faults = []
        for path in _journals(pattern, request.path.parent, request.config.rootpath):
            try:
                stories[path] = replay(path)
            except EsfsmError as error:
                faults.append(f"{path}: {error}")
        if faults:
            pytest.fail("\n".join(faults), pytrace=False)
        return stories

    return replay_all


def _journals(pattern: str, *directories: Path) -> list[Path]:
    for directory in directories:
        if found := sorted(glob(pattern, root_dir=directory, recursive=True)):  # noqa: PTH207 - it may be absolute
            return [directory / name for name in found]
    pytest.fail(f"there is no journal {pattern} in {' or '.join(map(str, directories))}", pytrace=False)
