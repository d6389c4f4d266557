"""What the tests of the command line share: exit codes, what the user sees, what the books say."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from esfsm.adapters.communicators.local import open_local
from esfsm.journal.reader import read
from esfsm.model.job import Job
from esfsm.model.settings import Settings

DONE, FAILED, UNUSABLE, STOPPED = 0, 1, 2, 3

SOON = ["--set", "retry_pause_s=0.01", "--set", "grace_s=0", "--set", "grace_for=workers"]

Command = Callable[..., Any]
"""The fixtures `esfsm` and `launch`: arguments -> what the user sees."""
MakeJob = Callable[..., Path]


def booked(broker: Path) -> dict[str, int]:
    """How many ranges of the task stand where, as the broker has it; no range is finished twice."""
    job = Job.read({"PandaID": 1, "taskID": 1001})
    communicator = open_local(job, Settings(broker=broker), broker.parent, "audit")
    finished = [(each.lfn, each.start_event) for each in communicator.attempts() if each.zip_lfn]
    counts = communicator.counts()
    communicator.close()
    assert len(finished) == len(set(finished)) == counts.get("done", 0) + counts.get("finished", 0)
    return counts


def facts(workdir: Path, name: str) -> list[Any]:
    _, entries = read(workdir / "journal.jsonl")
    return [entry.fact for entry in entries if entry.fact.name == name]


def said(told: Any) -> str:
    """The one sentence about input that cannot be used."""
    assert told.exit_code == UNUSABLE
    assert told.out == ""
    assert told.err.startswith("esfsm: ")
    assert told.err.count("\n") == 1
    return str(told.err.removeprefix("esfsm: ").rstrip("\n"))
