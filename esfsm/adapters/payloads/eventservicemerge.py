"""A merge payload: its lists of files (writeToFile), its command line, and the proof that nothing was lost.

A member of an archive is named `<output LFN>.<eventRangeID>`. The payload's job report (`jobReport.json`, as ATLAS's
transforms write it) names the files that it has read.
"""

import json
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from esfsm.adapters.payloads.generic import payload
from esfsm.model.job import Job
from esfsm.model.settings import Settings
from esfsm.ports import Payload

__all__ = ["Proof", "prepare", "prove", "write_lists"]

REPORT = "jobReport.json"


class Proof(NamedTuple):
    """What is missing of what was to be merged, and how that is known."""

    missing: tuple[str, ...]
    by: str


def prepare(job: Job, workdir: Path, settings: Settings, mark: str) -> Payload:
    """The command line after writeToFile: options that read a list read it from its file."""
    (workdir / REPORT).unlink(missing_ok=True)  # of an attempt before this one: it proves nothing about this one
    _, job_pars = job.written_files()
    return payload(job, shlex.split(job_pars), workdir, settings, mark)


def write_lists(job: Job, workdir: Path) -> None:
    """Write the lists; a second time writes the same."""
    for name, lines in job.written_files()[0].items():
        (workdir / name).write_text("".join(f"{line}\n" for line in lines))


def prove(job: Job, workdir: Path) -> Proof:
    """Compare what was to be merged with what the payload says it has read.

    Without a job report the proof ends at the payload's door: every file was there and listed, the payload ended well.
    """
    path = workdir / REPORT
    if not path.is_file():
        return Proof((), "inputs: all files were there, and the payload wrote no job report")
    try:
        report = json.loads(path.read_text())
        read = set(_read(report["files"]["input"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        return Proof(job.listed_files, f"{REPORT} cannot be read")
    return Proof(tuple(lfn for lfn in job.listed_files if lfn not in read), f"{REPORT}: {len(read)} files read")


def _read(inputs: Iterable[dict[str, list[dict[str, str]]]]) -> Iterable[str]:
    for group in inputs:
        for file in group["subFiles"]:
            yield Path(file["name"]).name
