"""CONTRIBUTING.md is the map of the house as it stands.

Two parts of it are generated: `python tests/test_contributing.py` writes them.
"""

import ast
import re
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from esfsm import plugins
from esfsm.core.actions import ACTIONS
from esfsm.core.facts import FACTS

ROOT = Path(__file__).parents[1]
HOUSE = ROOT / "esfsm"
PAGE = ROOT / "CONTRIBUTING.md"

_PART = re.compile(r"(<!-- (files|arrows) -->\n).*?(<!-- /\2 -->)", re.DOTALL)
_CODE = re.compile(r"`([^`]+)`")


def arrows() -> dict[str, set[str]]:
    """The table of tests/test_house.py."""
    spec = spec_from_file_location("house", ROOT / "tests" / "test_house.py")
    assert spec is not None
    assert spec.loader is not None
    house: Any = module_from_spec(spec)
    spec.loader.exec_module(house)
    table: dict[str, set[str]] = house.ARROWS
    return table


def drawn() -> str:
    """The allowed arrows as mermaid; the face is `__init__`, and nobody needs to see that all may import `errors`."""
    lines = [
        f"    {room} --> {other or '__init__'}"
        for room, others in arrows().items()
        for other in sorted(others - {"errors"})
    ]
    return "\n".join(["```mermaid", "flowchart TD", *lines, "```"]) + "\n"


def listed() -> str:
    """Every module with the first line of its docstring, rooms with that of their `__init__.py`."""
    rows = []
    for path in sorted(HOUSE.rglob("*.py"), key=lambda path: (path.parent != HOUSE, path)):
        name = path.relative_to(HOUSE)
        inside = path.name == "__init__.py" and path.parent != HOUSE
        shown = f"**{name.parent}/**" if inside else f"[{name}]({path.relative_to(ROOT)})"
        rows.append(f"| {shown} | {plate(path)} |")
    return "\n".join(["| file | what it is |", "|---|---|", *rows]) + "\n"


def plate(path: Path) -> str:
    """The first line of a module, fit for a table."""
    told = ast.get_docstring(ast.parse(path.read_text()))
    assert told, f"{path} says nothing of itself"
    return told.splitlines()[0].replace("|", r"\|")


def with_parts(text: str) -> str:
    """The page with fresh parts."""
    parts = {"files": listed, "arrows": drawn}
    return _PART.sub(lambda found: f"{found[1]}{parts[found[2]]()}{found[3]}", text)


def rows() -> Iterator[dict[str, str]]:
    """Every row of every table of the page, by the table's own heads."""
    heads: list[str] = []
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if heads and cells and not line.startswith("|--"):
            yield dict(zip(heads, cells, strict=True))
        heads = heads or cells if cells else []


def test_the_page_is_fresh() -> None:
    assert PAGE.read_text() == with_parts(PAGE.read_text()), "python tests/test_contributing.py"


def test_both_parts_are_there() -> None:
    assert [found[2] for found in _PART.finditer(PAGE.read_text())] == ["files", "arrows"]


@pytest.mark.parametrize("head", ["action", "fact"])
def test_the_ways_are_told_in_real_names(head: str) -> None:
    told = {name for row in rows() for name in _CODE.findall(row.get(head, ""))}
    assert told
    assert told <= set(ACTIONS if head == "action" else FACTS)


def test_what_a_state_can_do_is_on_the_way_of_a_job() -> None:
    told = {name for row in rows() for name in _CODE.findall(row.get("action", ""))}
    assert {name for name, action in ACTIONS.items() if action.for_state} <= told


def test_what_a_range_can_become_is_on_its_way() -> None:
    told = {name.strip() for row in rows() for name in row.get("the range is then", "").split(",")} - {""}
    assert told == set(plugins.held()["event-range"].states)


def test_files_that_are_named_are_there() -> None:
    written = _PART.sub("", PAGE.read_text())
    named = {name for name in _CODE.findall(written) if re.fullmatch(r"[\w/.-]+(\.py|\.toml|\.md|/)", name)}
    assert len(named) > 20
    missing = [name for name in named if not any((place / name).exists() for place in (ROOT, HOUSE))]
    assert [name for name in missing if name not in ("mine.toml", "__init__.py", ".venv/")] == []


if __name__ == "__main__":
    PAGE.write_text(with_parts(PAGE.read_text()))
