"""Jobs that Harvester gives to a worker: those it begins with, and more on request."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from esfsm.adapters.communicators.access_point import AccessPoint
from esfsm.adapters.communicators.harvester import access_point_of
from esfsm.errors import UnreadableJob, WireError
from esfsm.model.job import Job
from esfsm.model.settings import Settings
from esfsm.wire.harvester import ALIVE, Names, job_request, read_panda_ids

__all__ = ["HarvesterJobs", "open_jobs"]


def open_jobs(settings: Settings, directory: Path) -> "HarvesterJobs":
    """At the access point that the settings name. Raises `UnusableInput`."""
    return HarvesterJobs(AccessPoint(access_point_of(settings), "jobs"), directory)


class HarvesterJobs:
    """The jobs in the access point; one that has a work directory has been taken."""

    def __init__(self, worker: AccessPoint, places: Path, names: Names | None = None) -> None:
        self._worker, self._places, self._names = worker, places, names or Names()

    def fetch(self) -> Mapping[str, object] | None:
        """The next one; None where there is none, and then one has been asked for: it is found here another time.

        Raises `WireError` for a file that holds no job definition.
        """
        if self._worker.holds(self._names.job_request):
            return None  # what Harvester feeds is whole once the request has gone
        for name, content in self._files():
            try:
                job = Job.read(content, source=name)
            except UnreadableJob as error:
                raise WireError(str(error)) from None
            if not (self._places / job.place).exists():
                return job.definition
        self._worker.put(self._names.job_request, job_request(1))
        return None

    def close(self) -> None:
        """Take back what was asked for, as a job that came now would have nobody, and let Harvester end this worker."""
        self._worker.remove(self._names.job_request)
        self._worker.put(self._names.kill, ALIVE)

    def _files(self) -> Iterator[tuple[str, bytes]]:
        """Name and content of each that may hold a job; with several jobs to a worker, each has a directory."""
        numbers = self._worker.read(self._names.panda_ids)
        own = [] if numbers is None else [f"{panda_id}/" for panda_id in read_panda_ids(numbers)]
        for directory in ("", *own):
            for name in self._names.jobs:
                content = self._worker.read(directory + name)
                if content is not None:
                    yield directory + name, content
