"""The README runs: every block is executed, in their order, and prints what is shown.

The table of settings is generated: `python tests/test_readme.py` writes it.
"""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from pydantic_core import PydanticUndefined

from esfsm.model import settings
from esfsm.model.settings import Settings

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PATIENCE_S = 60.0

_BLOCK = re.compile(r"(?P<before>[^\n]*)\n\n```(?P<language>\w+)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
_TABLE = re.compile(r"(<!-- settings:[^\n]*-->\n).*?(<!-- /settings -->)", re.DOTALL)


class Block(NamedTuple):
    language: str
    text: str
    file: str | None
    """The name under which the README says to save it."""
    shown: str | None
    """What the README says that it prints."""


def blocks() -> list[Block]:
    """Everything between fences, each with the `text` that follows at once."""
    found: list[Block] = []
    end = 0
    for match in _BLOCK.finditer(README.read_text()):
        begins, end = match.start() - end, match.end()
        if match["language"] == "text":
            assert begins == 0, "a text shows what the block just before it prints"
            found[-1] = found[-1]._replace(shown=match["text"])
            continue
        named = re.search(r"[Ss]ave (?:it|this) as `([^`]+)`:$", match["before"])
        found.append(Block(match["language"], match["text"], named[1] if named else None, None))
    return found


def run(block: Block, directory: Path) -> str | None:
    """Do what the reader would do with a block; what it prints, if it is a command or a script."""
    if block.file:
        (directory / block.file).write_text(block.text)
        return None
    command = {"bash": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-c"]}[block.language]
    if block.language == "bash" and re.fullmatch(r"(make \w+\n)+", block.text):
        # What make would do, without doing it: these are the tests, and a demo that has its own.
        block, directory = block._replace(text=block.text.replace("make", "make --dry-run")), ROOT
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ESFSM_")} | {"PATH": path}
    process = {"cwd": directory, "env": environment, "timeout": PATIENCE_S}
    done = subprocess.run([*command, block.text], **process, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{block.text}\n{done.stdout}{done.stderr}"
    return done.stdout


def pattern(shown: str) -> str:
    """What is shown, where `...` stands for anything."""
    return ".*?".join(re.escape(part) for part in shown.split("..."))


def test_every_block_runs_and_prints_what_is_shown(tmp_path: Path) -> None:
    for block in blocks():
        printed = run(block, tmp_path)
        if block.shown is not None:
            assert printed is not None, f"{block.file} is only saved, it prints nothing"
            assert re.fullmatch(pattern(block.shown), printed, re.DOTALL), f"{block.text}\nprints\n{printed}"


def test_the_blocks_are_all_found() -> None:
    assert len(README.read_text().split("\n```")) - 1 == 2 * (
        len(blocks()) + sum(b.shown is not None for b in blocks())
    )
    assert {block.language for block in blocks() if not block.file} == {"bash", "python"}
    assert {"square.py", "job.json"} <= {block.file for block in blocks()}


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "examples/zmumu/README.md"])
def test_what_a_page_links_to_is_there(page: str) -> None:
    place = (ROOT / page).parent
    links = re.findall(r"\]\(([^)\s]+)\)", (ROOT / page).read_text())
    missing = [link for link in links if "://" not in link and not (place / link.partition("#")[0]).exists()]
    assert missing == []


def test_all_drawings_are_shown_or_linked() -> None:
    drawings = {f"diagrams/{path.name}" for path in (ROOT / "diagrams").glob("*.svg")}
    assert drawings
    assert drawings <= set(re.findall(r"\]\(([^)]+)\)", README.read_text()))


def test_the_table_of_settings_is_fresh() -> None:
    assert README.read_text() == with_settings(README.read_text()), "python tests/test_readme.py"


def with_settings(text: str) -> str:
    """The page with a fresh table."""
    return _TABLE.sub(lambda found: f"{found[1]}{settings_table()}{found[2]}", text)


def settings_table() -> str:
    """Every setting with its default and the docstring under it."""
    rows = [f"| `{name}` | {default(name)} | {meaning} |" for name, meaning in meanings()]
    assert len(rows) == len(Settings.model_fields)
    return "\n".join(["| setting | default | what it is |", "|---|---|---|", *rows]) + "\n"


def default(name: str) -> str:
    value = Settings.model_fields[name].default
    assert value is not PydanticUndefined
    if isinstance(value, float):
        return f"`{value:g}`"
    return f"`{value}`"


def meanings() -> Iterator[tuple[str, str]]:
    """The names of the settings, and what stands under each in the source."""
    (source,) = (
        node
        for node in ast.parse(Path(settings.__file__).read_text()).body
        if isinstance(node, ast.ClassDef) and node.name == Settings.__name__
    )
    for field, below in zip(source.body, source.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            assert isinstance(below, ast.Expr), f"{field.target.id} has no docstring"
            assert isinstance(below.value, ast.Constant)
            yield field.target.id, " ".join(str(below.value.value).split())


if __name__ == "__main__":
    README.write_text(with_settings(README.read_text()))
