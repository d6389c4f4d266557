"""Jobs that Harvester gives to a worker: those it begins with, and more on request."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
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

        A file that holds no job definition is passed over; raises `WireError` of the first where nothing else is left.
        """
        if self._worker.holds(self._names.job_request):
            return None  # what Harvester feeds is whole once the request has gone
        troubles: list[str] = []
        for name in self._files():
            try:
                content = self._worker.read(name)
                job = None if content is None else Job.read(content, source=name)
            except (UnreadableJob, WireError) as error:
                troubles.append(str(error))
            else:
                if job is not None and not (self._places / job.place).exists():
                    return job.definition
        if troubles:
            raise WireError(troubles[0])
        self._worker.put(self._names.job_request, job_request(1))
        return None

    def close(self) -> None:
        """Take back what was asked for, as a job that came now would have nobody, and let Harvester end this worker.

        Where the files cannot be reached, Harvester hears nothing, as of a worker that has died.
        """
        with suppress(WireError):
            self._worker.remove(self._names.job_request)
            self._worker.put(self._names.kill, ALIVE)

    def _files(self) -> Iterator[str]:
        """The names of those that may hold a job; with several jobs to a worker, each has a directory."""
        yield from self._names.jobs
        numbers = self._worker.read(self._names.panda_ids)
        for panda_id in () if numbers is None else read_panda_ids(numbers):
            yield from (f"{panda_id}/{name}" for name in self._names.jobs)
