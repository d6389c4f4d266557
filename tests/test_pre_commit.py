"""The checks before a commit are known to pre-commit, and each runs what is installed with the project."""

import re
import shlex
import sys
from pathlib import Path

import pytest
from pre_commit.clientlib import load_config

ROOT = Path(__file__).parents[1]
REPOSITORIES = load_config(str(ROOT / ".pre-commit-config.yaml"))["repos"]
HOOKS = [hook for repository in REPOSITORIES for hook in repository["hooks"]]


def test_no_check_comes_from_another_host() -> None:
    assert [repository["repo"] for repository in REPOSITORIES] == ["local"]
    assert {hook["language"] for hook in HOOKS} <= {"system", "unsupported"}  # two names of "what is there already"


@pytest.mark.parametrize("hook", HOOKS, ids=[hook["id"] for hook in HOOKS])
def test_what_a_check_runs_is_there(hook: dict[str, str]) -> None:
    program, *arguments = shlex.split(hook["entry"])
    assert Path(program).parent == Path(".venv/bin")
    assert (Path(sys.executable).parent / Path(program).name).is_file()
    assert [name for name in arguments if "/" in name and not (ROOT / name).exists()] == []


@pytest.mark.parametrize("hook", HOOKS, ids=[hook["id"] for hook in HOOKS])
def test_a_check_is_about_files_that_there_are(hook: dict[str, str]) -> None:
    files = [str(path.relative_to(ROOT)) for name in ("esfsm", "workflows") for path in (ROOT / name).rglob("*.*")]
    assert [name for name in files if re.search(hook["files"], name)]
