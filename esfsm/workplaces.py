"""The work directories of a pilot: the only place that makes them, and that sees what a dead pilot has left there."""

import os
from collections.abc import Collection
from pathlib import Path

import orjson

from esfsm.durable import sync_directory
from esfsm.errors import EsfsmError, UnusableInput
from esfsm.journal.file import JOURNAL
from esfsm.model.job import Job
from esfsm.replayer import retold

__all__ = ["Workplaces"]

DEFINITION = "job.json"
"""The definition of a job, in its work directory."""


class Workplaces:
    """One base directory, with a work directory for each job that a pilot has fetched into it."""

    def __init__(self, directory: Path) -> None:
        """Raises `UnusableInput` for what can hold none."""
        self.directory = directory
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UnusableInput(f"work directory {directory}: {error.strerror}") from None

    def keep(self, job: Job) -> Path:
        """A clean work directory for a job, with its definition on the disk when this returns. Raises OSError."""
        number, place = 1, self.directory / job.place
        while place.exists():  # PanDA gives a job out again under its number
            number += 1
            place = self.directory / f"{job.place}.{number}"
        place.mkdir()
        written = place / f"{DEFINITION}.new"
        with written.open("wb") as file:
            file.write(orjson.dumps(dict(job.definition)))
            file.flush()
            os.fsync(file.fileno())
        written.rename(place / DEFINITION)
        sync_directory(place)
        sync_directory(self.directory)
        return place

    def definition(self, place: Path) -> dict[str, object]:
        """Of the job of a work directory. Raises `UnusableInput`."""
        try:
            definition = orjson.loads((place / DEFINITION).read_bytes())
        except (OSError, orjson.JSONDecodeError) as error:
            raise UnusableInput(f"{place / DEFINITION}: {error}") from None
        return dict(definition) if isinstance(definition, dict) else {}

    def left(self, passed_over: Collection[str]) -> Path | None:
        """A work directory whose job has not come to its end, or could not tell the server so; None: all have."""
        for place in sorted(self.directory.glob("PanDA_Pilot-*")):
            if str(place) not in passed_over and (place / DEFINITION).is_file() and _is_unfinished(place / JOURNAL):
                return place
        return None


def _is_unfinished(journal: Path) -> bool:
    """Whether its job is to be taken up; one that cannot be read, somebody has to look at."""
    if not journal.is_file() or journal.stat().st_size == 0:
        return True
    try:
        told = retold(journal)
        for _ in told.entries:
            pass
    except EsfsmError:
        return True
    return not told.engine.ended or told.engine.unreported
