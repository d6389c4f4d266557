"""The only place that runs graphviz, and that writes drawings into files.

Graphviz lays out a little differently from version to version, so an SVG is not compared with a new one: it carries
the sha256 of the dot source that it was made from, and is fresh as long as its table gives that source.
"""

import re
import subprocess
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Literal

from esfsm.core.workflow import Workflow
from esfsm.errors import MissingProgram, UnusableInput
from esfsm.views.diagram import PathTaken, dot, mermaid

__all__ = ["draw_all", "render", "stale"]

TIME_LIMIT_S = 60.0
"""The largest shipped table takes dot 0.2 s; one that takes a minute could not be read anyway."""


def render(
    workflow: Workflow,
    held: Mapping[str, Workflow],
    form: Literal["mermaid", "dot", "svg", "png"],
    *,
    path: PathTaken | None = None,
) -> str | bytes:
    """One table, with the path that a job took in colour; a PNG is bytes, all else is text.

    Raises `MissingProgram` for an SVG or a PNG where graphviz is not installed, and `WorkflowError` for a path with an
    arrow between states that the table does not have.
    """
    if form == "mermaid":
        return mermaid(workflow, held, path)
    source = dot(workflow, held, path)
    if form == "dot":
        return source
    if form == "svg":
        return _svg(source)
    # On white: viewers show a transparent picture on any colour they like. 144 dpi is sharp on a slide.
    return _graphviz(source, "-Tpng", "-Gdpi=144", "-Gbgcolor=white")


def draw_all(tables: Mapping[str, Workflow], held: Mapping[str, Workflow], directory: Path) -> list[Path]:
    """Write NAME.mmd and NAME.svg for each table, and say which files these are.

    Raises `MissingProgram` where graphviz is not installed; the mermaid files are written then.
    """
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for name, workflow in tables.items():
        written.append(directory / f"{name}.mmd")
        written[-1].write_text(mermaid(workflow, held), encoding="utf-8")
    for name, workflow in tables.items():
        written.append(directory / f"{name}.svg")
        written[-1].write_text(_svg(dot(workflow, held)), encoding="utf-8")
    return written


def stale(tables: Mapping[str, Workflow], held: Mapping[str, Workflow], directory: Path) -> list[str]:
    """A sentence for each drawing that is missing or is not of its table any more; this needs no graphviz."""
    found = []
    for name, workflow in tables.items():
        drawn, traced = directory / f"{name}.mmd", directory / f"{name}.svg"
        if _text(drawn) != mermaid(workflow, held):
            found.append(drawn)
        if _mark(dot(workflow, held)) not in _text(traced):
            found.append(traced)
    return [f"{file} is missing or is not what its table says: esfsm draw --all" for file in found]


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def _svg(source: str) -> str:
    """Graphviz's drawing without its version, its comments and its document type, and with the mark of its source."""
    text = _graphviz(source, "-Tsvg", "-Gbgcolor=transparent").decode()
    drawing = re.sub(r"<!--.*?-->\n?", "", text[text.index("<svg") :], flags=re.DOTALL)
    drawing = drawing.replace('"transparent"', '"none"')  # older ones write what SVG does not know
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{_mark(source)}\n{drawing}'


def _mark(source: str) -> str:
    return f"<!-- sha256 of the dot source: {sha256(source.encode()).hexdigest()} -->"


def _graphviz(source: str, *options: str) -> bytes:
    try:
        made = subprocess.run(
            ["dot", *options], input=source.encode(), capture_output=True, timeout=TIME_LIMIT_S, check=False
        )
    except FileNotFoundError:
        raise MissingProgram("dot", package="graphviz") from None
    except subprocess.TimeoutExpired:
        raise UnusableInput(f"dot did not draw this table within {TIME_LIMIT_S:.0f} s") from None
    if made.returncode != 0:
        raise UnusableInput(f"dot could not draw this table: {made.stderr.decode(errors='replace').strip()}")
    return made.stdout
