"""Drawings made by the graphviz of this machine, and what is said where there is none."""

import re
import shutil
from hashlib import sha256
from pathlib import Path
from xml.etree import ElementTree

import pytest

import esfsm.drawings
from esfsm.core.workflow import Workflow
from esfsm.drawings import draw_all, render, stale
from esfsm.errors import MissingProgram, UnusableInput
from esfsm.views.diagram import PathTaken, dot, mermaid

TABLES = {
    file.stem: Workflow.parse(file.read_text(), file.stem)
    for file in sorted((Path(__file__).parents[2] / "workflows").glob("*.toml"))
}
GENERIC = TABLES["generic"]
TAKEN = PathTaken(["received", "failed"], {("received", "action_broke", "failed"): 3}, "failed")

needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="graphviz is not installed")


@pytest.fixture
def without_dot(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path_factory.mktemp("empty")))


def put_a_dot_that(does: str, directory: Path, monkeypatch) -> None:
    """A `dot` of ours, in front of any other."""
    program = directory / "dot"
    program.write_text(f"#!/bin/sh\n{does}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(directory), prepend=":")


@needs_dot
@pytest.mark.parametrize("path", [None, TAKEN], ids=["table", "path"])
def test_an_svg_is_well_formed_and_shows_every_state(path):
    root = ElementTree.fromstring(render(GENERIC, {}, "svg", path=path))
    words = {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert set(GENERIC.states) <= words
    assert ("action_broke \u00d73" in words) == (path is not None)


@needs_dot
def test_an_svg_carries_the_hash_of_its_source_and_nothing_of_the_machine_that_drew_it():
    text = render(GENERIC, {}, "svg")
    assert re.findall("<!--(.*?)-->", text, re.DOTALL) == [
        f" sha256 of the dot source: {sha256(dot(GENERIC, {}).encode()).hexdigest()} "
    ]
    assert "graphviz" not in text.lower()


@needs_dot
def test_a_png_is_one():
    assert render(GENERIC, {}, "png", path=TAKEN).startswith(b"\x89PNG\r\n")


@pytest.mark.parametrize(("form", "language"), [("mermaid", mermaid), ("dot", dot)])
def test_text_needs_no_graphviz(form, language, without_dot):
    assert render(GENERIC, {}, form, path=TAKEN) == language(GENERIC, {}, TAKEN)


@needs_dot
def test_drawings_are_fresh_until_their_table_changes(tmp_path):
    written = draw_all(TABLES, TABLES, tmp_path / "diagrams")
    assert sorted(path.name for path in written) == sorted(
        f"{name}.{kind}" for name in TABLES for kind in ("mmd", "svg")
    )
    assert stale(TABLES, TABLES, tmp_path / "diagrams") == []
    changed = TABLES | {"generic": TABLES["eventservicemerge"]}
    said = stale(changed, TABLES, tmp_path / "diagrams")
    assert [sentence.split(" is missing or ")[0] for sentence in said] == [
        str(tmp_path / "diagrams" / file) for file in ("generic.mmd", "generic.svg")
    ]


def test_a_missing_drawing_is_stale_and_saying_so_needs_no_graphviz(tmp_path, without_dot):
    assert stale({"generic": GENERIC}, {}, tmp_path) == [
        f"{tmp_path}/generic.{kind} is missing or is not what its table says: esfsm draw --all"
        for kind in ("mmd", "svg")
    ]


@needs_dot
@pytest.mark.parametrize("kind", ["mmd", "svg"])
def test_a_drawing_that_was_cut_off_is_stale(kind, tmp_path):
    draw_all({"generic": GENERIC}, {}, tmp_path)
    file = tmp_path / f"generic.{kind}"
    file.write_text(file.read_text()[:60])
    assert stale({"generic": GENERIC}, {}, tmp_path) == [
        f"{file} is missing or is not what its table says: esfsm draw --all"
    ]


def test_without_graphviz_the_mermaid_files_are_written_and_the_error_says_what_to_install(tmp_path, without_dot):
    with pytest.raises(MissingProgram, match=r"'dot' is not installed: apt install graphviz .* dnf install graphviz"):
        draw_all(TABLES, TABLES, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{name}.mmd" for name in TABLES]


def test_what_graphviz_complains_about_is_passed_on(tmp_path, monkeypatch):
    put_a_dot_that("echo 'Format: \"png\" not recognized.' >&2; exit 1", tmp_path, monkeypatch)
    with pytest.raises(UnusableInput, match='dot could not draw this table: Format: "png" not recognized'):
        render(GENERIC, {}, "png")


def test_a_graphviz_that_does_not_end_is_ended(tmp_path, monkeypatch):
    put_a_dot_that("exec tail -f /dev/null", tmp_path, monkeypatch)
    monkeypatch.setattr(esfsm.drawings, "TIME_LIMIT_S", 0.1)
    with pytest.raises(UnusableInput, match="dot did not draw this table within"):
        render(GENERIC, {}, "svg")
