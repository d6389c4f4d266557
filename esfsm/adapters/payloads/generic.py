"""The command line of a plain payload, and of an Event Service payload: transformation and jobPars as arguments."""

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from esfsm.errors import UnusableInput
from esfsm.model.job import Job
from esfsm.model.settings import Settings
from esfsm.ports import Payload

__all__ = ["payload", "prepare"]


def prepare(job: Job, workdir: Path, settings: Settings) -> Payload:
    """What is to be run for a job. Raises `UnusableInput` when the transformation is not to be found."""
    return payload(job, job.arguments, workdir, settings)


def payload(job: Job, arguments: Sequence[str], workdir: Path, settings: Settings) -> Payload:
    """The job's transformation with these arguments, its output beside the other files of the job."""
    cores = settings.cores or job.core_count
    return Payload(
        [*_command(job.transformation, settings), *arguments],
        workdir,
        {"ATHENA_PROC_NUMBER": str(cores), "ATHENA_CORE_NUMBER": str(cores)},
        workdir / "payload.stdout",
        workdir / "payload.stderr",
        cores,
    )


def _command(transformation: str, settings: Settings) -> list[str]:
    """Where the transformation is: a path, a file of the directory for transformations, or a program of the PATH.

    Never a file of the work directory, where archives are unpacked that others made.

    One in Python runs under the interpreter that runs us, which has the packages that we have.
    """
    directory = settings.transformations or Path()
    beside = directory / transformation
    found = beside if beside.is_file() else shutil.which(transformation)
    if found is None:
        raise UnusableInput(f"the transformation {transformation!r} is neither in {directory} nor in the PATH")
    program = str(Path(found).absolute())
    if program.endswith(".py"):
        return [sys.executable, program]
    if not os.access(program, os.X_OK):
        raise UnusableInput(f"the transformation {program} is not executable")
    return [program]
