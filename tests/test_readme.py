"""The README runs: every block is executed, in their order, and prints what is shown.

The tables of settings and of error codes are generated: `python tests/test_readme.py` writes them.
"""

import ast
import inspect
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple, get_args, get_origin

import pytest
from pydantic_core import PydanticUndefined

from esfsm.errors import PilotErrorCode
from esfsm.model.settings import Settings

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
CODES, STORAGES = ROOT / "docs/codes.md", ROOT / "docs/storages.md"
PATIENCE_S = 60.0

_BLOCK = re.compile(r"(?P<before>[^\n]*)\n\n```(?P<language>\w+)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
_TABLE = re.compile(r"(<!-- (settings|codes):[^\n]*-->\n).*?(<!-- /\2 -->)", re.DOTALL)


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


def must_run(block: Block, directory: Path) -> None:
    """And print what is shown."""
    printed = run(block, directory)
    if block.shown is not None:
        assert printed is not None, f"{block.file} is only saved, it prints nothing"
        assert re.fullmatch(pattern(block.shown), printed, re.DOTALL), f"{block.text}\nprints\n{printed}"


def test_every_block_runs_and_prints_what_is_shown(tmp_path: Path) -> None:
    for block in blocks():
        must_run(block, tmp_path)


def test_the_page_about_storages_runs_with_the_job_of_the_readme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numbers.txt").write_text("7\n" * 20)
    for block in blocks():
        if block.file in ("square.py", "job.json"):
            must_run(block, tmp_path)
    monkeypatch.setattr(sys.modules[__name__], "README", STORAGES)
    assert len(blocks()) == 2
    for block in blocks():
        must_run(block, tmp_path)


def test_the_blocks_are_all_found() -> None:
    assert len(README.read_text().split("\n```")) - 1 == 2 * (
        len(blocks()) + sum(b.shown is not None for b in blocks())
    )
    assert {block.language for block in blocks() if not block.file} == {"bash", "python"}
    assert {"square.py", "job.json"} <= {block.file for block in blocks()}


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "examples/zmumu/README.md",
        "docs/codes.md",
        "docs/pilot3.md",
        "docs/storages.md",
    ],
)
def test_what_a_page_links_to_is_there(page: str) -> None:
    place = (ROOT / page).parent
    links = re.findall(r"\]\(([^)\s]+)\)", (ROOT / page).read_text())
    missing = [link for link in links if "://" not in link and not (place / link.partition("#")[0]).exists()]
    assert missing == []


def test_all_drawings_are_shown_or_linked() -> None:
    drawings = {f"diagrams/{path.name}" for path in (ROOT / "diagrams").glob("*.svg")}
    assert drawings
    assert drawings <= set(re.findall(r"\]\(([^)]+)\)", README.read_text()))


@pytest.mark.parametrize("page", [README, CODES], ids=lambda page: page.name)
def test_the_tables_are_fresh(page: Path) -> None:
    assert page.read_text() == with_tables(page.read_text()), "python tests/test_readme.py"


def with_tables(text: str) -> str:
    """A page with its table fresh."""
    tables = {"settings": settings_table, "codes": codes_table}
    return _TABLE.sub(lambda found: f"{found[1]}{tables[found[2]]()}{found[3]}", text)


def settings_table() -> str:
    """Every setting with its default and the docstring under it."""
    rows = [f"| `{name}` | {default(name)} | {meaning}{choice(name)} |" for name, meaning in meanings(Settings)]
    assert len(rows) == len(Settings.model_fields)
    return "\n".join(["| setting | default | what it is |", "|---|---|---|", *rows]) + "\n"


def codes_table() -> str:
    """Every error code with its number and the docstring under it."""
    rows = [f"| {PilotErrorCode[name].value} | {name} | {meaning} |" for name, meaning in meanings(PilotErrorCode)]
    assert len(rows) == len(PilotErrorCode)
    return "\n".join(["| code | PanDA's name | what it says of a job |", "|---|---|---|", *rows]) + "\n"


def choice(name: str) -> str:
    """What a setting may be that is one of a few."""
    kind = Settings.model_fields[name].annotation
    return f" One of {', '.join(f'`{word}`' for word in get_args(kind))}." if get_origin(kind) is Literal else ""


def default(name: str) -> str:
    value = Settings.model_fields[name].default
    assert value is not PydanticUndefined
    if isinstance(value, float):
        return f"`{value:g}`"
    return f"`{value}`"


def meanings(of: type) -> Iterator[tuple[str, str]]:
    """The names in a class, and what stands under each in the source."""
    (source,) = ast.parse(textwrap.dedent(inspect.getsource(of))).body
    assert isinstance(source, ast.ClassDef)
    for field, below in zip(source.body, source.body[1:], strict=False):
        target = field.target if isinstance(field, ast.AnnAssign) else getattr(field, "targets", [None])[0]
        if isinstance(target, ast.Name) and target.id != "model_config":
            assert isinstance(below, ast.Expr), f"{target.id} has no docstring"
            assert isinstance(below.value, ast.Constant)
            yield target.id, " ".join(str(below.value.value).split())


if __name__ == "__main__":
    for generated in (README, CODES):
        generated.write_text(with_tables(generated.read_text()))
