"""What `import esfsm` shows, gathered: loaded when the first of it is used. `esfsm.__all__` is the list."""

from pathlib import Path
from typing import Literal

from esfsm import plugins
from esfsm.auditor import audit
from esfsm.drawings import render
from esfsm.errors import EsfsmError, JournalError, PilotErrorCode, ReplayDiverged, UnusableInput, UnusableJournal
from esfsm.esprocess import ESProcess
from esfsm.model.job import Job
from esfsm.model.outcome import Outcome, PilotOutcome
from esfsm.model.settings import Settings
from esfsm.pilot import run_pilot
from esfsm.plugins import check_workflow as check
from esfsm.replayer import replay
from esfsm.run import resume, run_workflow
from esfsm.supposing import WhatIf, what_if
from esfsm.views.audit import Audit
from esfsm.views.diagram import PathTaken
from esfsm.views.story import Story


def draw(
    workflow: str | None = None,
    *,
    form: Literal["mermaid", "dot", "svg", "png"] = "mermaid",
    journal: Path | str | None = None,
) -> str | bytes:
    """A drawing of a workflow: one by name, by the path of a table, or the one that `journal` was written with.

    With a journal the path that its job took is coloured and each arrow carries its count. A PNG is bytes, all else
    text. Raises `UnusableInput` when there is nothing to draw, or graphviz is not installed.
    """
    if journal is None:
        return render(plugins.workflow(workflow or "eventservice"), plugins.held(), form)
    engine = replay(journal).engine
    if workflow not in (None, engine.workflow.name):
        raise UnusableInput(f"the journal {journal} was written with the workflow {engine.workflow.name}")
    path = PathTaken(engine.path, {(a.source, a.fact, a.target): n for a, n in engine.arrows.items()}, engine.state)
    return render(engine.workflow, plugins.held(), form, path=path)
