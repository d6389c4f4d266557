"""Jobs from a PanDA server, for one queue."""

import os
import reprlib
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path

from esfsm.adapters.communicators.server import PandaServer
from esfsm.errors import UnusableInput, WireError
from esfsm.model.settings import Settings
from esfsm.wire.panda.jobs import read_jobs

__all__ = ["PandaJobs", "open_jobs"]

MB = 1 << 20


def open_jobs(settings: Settings, directory: Path) -> "PandaJobs":
    """For the queue that the settings name, on this node. Raises `UnusableInput` without one."""
    if settings.queue is None:
        raise UnusableInput("PanDA has jobs for queues only: give one with --queue")
    query: dict[str, str | int] = {
        "site_name": settings.queue,
        "prod_source_label": settings.job_label,
        "node": socket.gethostname(),
        "n_jobs": 1,
        "memory": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // MB,
        "disk_space": shutil.disk_usage(directory).free // MB,
    }
    return PandaJobs(PandaServer.open(settings), query)


class PandaJobs:
    """Asks for one job at a time. One whose reply is lost is lost to us; PanDA gives it to others after three hours."""

    def __init__(self, server: PandaServer, query: Mapping[str, str | int]) -> None:
        self._server, self._query, self.close = server, query, server.close

    def fetch(self) -> Mapping[str, object] | None:
        """The next job; None where PanDA has none for the queue. Raises `WireError`, as for several at once."""
        jobs = self._server.call(lambda generation: generation.acquire_jobs(self._query), read_jobs)
        if len(jobs) > 1:  # all but one would be lost, and nobody would know
            named = reprlib.repr([job["PandaID"] for job in jobs])
            raise WireError(f"PanDA sent {len(jobs)} jobs where one was asked for, so none is run: {named}")
        return jobs[0] if jobs else None
