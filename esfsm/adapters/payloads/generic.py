"""The command line of a plain payload: transformation and jobPars as arguments."""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from esfsm.adapters.payloads.wrapping import after_set_up, in_container
from esfsm.errors import UnusableInput
from esfsm.model.job import Job
from esfsm.model.settings import Settings
from esfsm.ports import Payload

__all__ = ["payload", "prepare"]


def prepare(job: Job, workdir: Path, settings: Settings, mark: str) -> Payload:
    """What is to be run for a job. Raises `UnusableInput` and OSError."""
    return payload(job, job.arguments, workdir, settings, mark)


def payload(
    job: Job,
    arguments: Sequence[str],
    workdir: Path,
    settings: Settings,
    mark: str,
    more: Mapping[str, str] | None = None,
) -> Payload:
    """The job's transformation with these arguments, its output beside the other files of the job; `more`: variables
    of its environment. Raises `UnusableInput` and OSError."""
    cores = settings.cores or job.core_count
    environment = {"ATHENA_PROC_NUMBER": str(cores), "ATHENA_CORE_NUMBER": str(cores), **(more or {})}
    program = _program(job.transformation, settings)
    command = after_set_up([*program, *arguments], settings)
    stdout, stderr = workdir / "payload.stdout", workdir / "payload.stderr"
    bare = Payload(command, workdir, environment, stdout, stderr, cores, mark)
    if settings.container is None:
        return bare
    return in_container(bare, job, settings, transformations=workdir / Path(program[-1]).parent)


def _program(transformation: str, settings: Settings) -> list[str]:
    """Where the transformation is: a path, a file of the directory for transformations, or a program of the PATH.

    Never a file of the work directory, where archives are unpacked that others made. Which PATH: a set-up makes its
    own, and a container has its own.

    One in Python runs under the interpreter that runs us, which has the packages that we have; a container has its own.
    """
    directory = settings.transformations or Path()
    beside = directory / transformation
    elsewhere = settings.payload_setup is not None or settings.container is not None
    if elsewhere and not beside.is_file() and _may_be_in_path(transformation):
        return [transformation]
    found = beside if beside.is_file() else shutil.which(transformation)
    if found is None:
        raise UnusableInput(f"the transformation {transformation!r} is neither in {directory} nor in the PATH")
    program = str(Path(found).absolute())
    if program.endswith(".py"):
        return ["python3" if settings.container is not None else sys.executable, program]
    if not os.access(program, os.X_OK):
        raise UnusableInput(f"the transformation {program} is not executable")
    return [program]


def _may_be_in_path(transformation: str) -> bool:
    """Whether that is the name of a program or its whole path, and so no file of the directory where it is run."""
    return transformation.startswith("/") or (bool(transformation) and "/" not in transformation)
