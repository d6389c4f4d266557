"""Jobs from a directory of files: those that no pilot of a base directory has had yet."""

from collections.abc import Mapping
from pathlib import Path

from esfsm.errors import UnreadableJob, UnusableInput, WireError
from esfsm.model.job import Job
from esfsm.model.reading import read_file
from esfsm.model.settings import Settings

__all__ = ["LocalJobs", "open_jobs"]


def open_jobs(settings: Settings, directory: Path) -> "LocalJobs":
    """The directory that the settings name. Raises `UnusableInput`."""
    if settings.jobs is None or not settings.jobs.is_dir():
        raise UnusableInput("local jobs lie in a directory: give one with --set jobs=DIRECTORY")
    return LocalJobs(settings.jobs, directory)


class LocalJobs:
    """Each file holds one job, and is looked at once; a job that has a work directory has been taken."""

    def __init__(self, directory: Path, places: Path) -> None:
        self._files, self._places = iter(sorted(directory.glob("*.json"))), places

    def fetch(self) -> Mapping[str, object] | None:
        """The next one. Raises `WireError` for a file that holds no job definition."""
        for file in self._files:
            try:
                job = Job.read(read_file(file), source=str(file))
            except (OSError, UnreadableJob) as error:
                raise WireError(f"{file}: {error}") from None
            if not (self._places / job.place).exists():
                return job.definition
        return None

    def close(self) -> None:
        """Nothing is open."""
