"""Where a job is recorded, and how to interfere with it at one of its facts."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shell.jobs import es_job, es_settings, write_inputs
from whole.processes import pipe

import esfsm
from esfsm.core.engine import Engine
from esfsm.core.facts import Fact
from esfsm.loop import Watch

__all__ = ["RANGES", "ROOT", "Place", "die", "each", "forked", "when"]

ROOT = Path("/tmp/esfsm-recorded")
HERE = Path(__file__).parent
RANGES = 6


class Place:
    """Where one job is recorded."""

    def __init__(self, name: str) -> None:
        self.directory = ROOT / name
        self.workdir = self.directory / "work"
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        self.inputs = write_inputs(self.directory / "inputs", "payload.py", (HERE / "payload.py").read_text())
        os.environ["PYTHONPATH"] = str(HERE.parent)  # where the payload finds its parts

    @property
    def broker(self) -> Path:
        return self.workdir / "broker.sqlite"

    def run(
        self,
        job_pars: str = "simulate",
        *,
        job: Mapping[str, object] | None = None,
        watch: Watch | None = None,
        **said: Any,
    ) -> None:
        """Run an Event Service job, or take it up again; `job`: more of its definition, `said`: settings."""
        settings = es_settings(self.inputs, RANGES, **{"zip_max_ranges": 2, "grace_s": 4.0, **said})
        self.run_job(es_job(transformation="payload.py", jobPars=job_pars, **(job or {})), settings, watch)

    def run_job(self, job: Mapping[str, object], settings: Mapping[str, object], watch: Watch | None = None) -> None:
        """Run any job in this process."""
        esfsm.run_workflow(job, workdir=self.workdir, settings=settings, watch=watch)

    @contextmanager
    def until(self, waits: str, run: Callable[[], None]) -> Iterator[int]:
        """An engine of its own process, whose payload waits at the named pipe `waits` inside; gives its pid."""
        waiting = pipe(self.directory, waits)
        pid = forked(run)
        with waiting.open("w"):
            yield pid
            os.waitpid(pid, 0)


def when(name: str, do: Callable[[], object], number: int = 1) -> Watch:
    """Do something when a fact of this name is heard for this time."""
    left = number

    def watch(fact: Fact, _: Engine) -> None:
        nonlocal left
        left -= fact.name == name
        if fact.name == name and not left:
            do()

    return watch


def each(*watches: Watch) -> Watch:
    """Several of them."""

    def watch(fact: Fact, engine: Engine) -> None:
        for one in watches:
            one(fact, engine)

    return watch


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def forked(run: Callable[[], object]) -> int:
    """Run something in a process of its own, which may be killed; its pid."""
    pid = os.fork()
    if not pid:
        try:
            run()
        finally:
            os._exit(0)
    return pid
