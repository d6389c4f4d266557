"""The command line as a user sees it, and a job for it."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from whole.commands import SOON, Command, MakeJob
from whole.processes import INPUT, PATIENCE_S, PAYLOADS

from esfsm.cli import main


class Told(NamedTuple):
    """What a user sees of one command."""

    exit_code: int
    out: str
    err: str

    @property
    def outcome(self) -> dict[str, Any]:
        """What `--json` printed."""
        return json.loads(self.out)

    @property
    def sentence(self) -> str:
        """How the job ended."""
        return self.out.splitlines()[0]


class Launched(NamedTuple):
    """A command that runs in a process of its own."""

    process: subprocess.Popen[str]

    def end(self) -> Told:
        out, err = self.process.communicate(timeout=PATIENCE_S)
        return Told(self.process.returncode, out, err)


@pytest.fixture
def esfsm(capfd: pytest.CaptureFixture[str]) -> Callable[..., Told]:
    """Run one command in this process."""

    def esfsm(*arguments: object) -> Told:
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        return Told(int(end.value.code or 0), *capfd.readouterr())

    return esfsm


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[..., Launched]]:
    """Run one command in a process of its own, behind other commands if they are given."""
    launched: list[Launched] = []

    def launch(*arguments: object, behind: tuple[str, ...] = (), **popen: Any) -> Launched:
        command = [*behind, sys.executable, "-m", "esfsm", *map(str, arguments)]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": tmp_path, **popen}
        launched.append(Launched(subprocess.Popen(command, **streams)))
        return launched[-1]

    yield launch
    for each in launched:
        each.process.kill()
        each.process.communicate(timeout=PATIENCE_S)


@pytest.fixture
def make_job(tmp_path: Path) -> Callable[..., Path]:
    """The file of an Event Service job with one of our payloads; `...` leaves a key out."""
    (tmp_path / INPUT).write_text("events")

    def make_job(job_pars: str = "simulate", **changes: object) -> Path:
        definition = {
            "PandaID": 5001,
            "taskID": 1001,
            "jobsetID": 5000,
            "eventService": "True",
            "transformation": str(PAYLOADS),
            "jobPars": job_pars,
            "inFiles": INPUT,
            **changes,
        }
        path = tmp_path / f"job-{definition['PandaID']}.json"
        path.write_text(json.dumps({key: value for key, value in definition.items() if value is not ...}))
        return path

    return make_job


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    return tmp_path / "work"


@pytest.fixture
def journal(esfsm: Command, make_job: MakeJob, workdir: Path) -> Path:
    """Of a job that failed."""
    esfsm("run", make_job("fail 1"), "--workdir", workdir, "--events", 3, "--quiet", *SOON)
    return workdir / "journal.jsonl"
