"""Command lines arrive as they were written; a merge never runs on missing inputs."""

import json
import os
import tarfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import pytest
from core.worlds import Teller, names
from shell.jobs import es_job, plain_job
from whole.processes import PATIENCE_S, payload

from esfsm import ESProcess, plugins
from esfsm.core import facts as f
from esfsm.errors import PilotErrorCode
from esfsm.model.job import Job
from esfsm.model.settings import Settings
from esfsm.transfers import Transfers

from .runs import Start


@pytest.mark.parametrize("given", [{}, {"job": None}, {"job": {}}], ids=["absent", "none", "empty"])
def test_a_payload_needs_no_job(tmp_path: Path, given: Mapping[str, object]) -> None:
    """Pilot3: the job of a payload was looked at without the test whether there is one."""
    files = {"workdir": tmp_path, "output_file": "out.txt", "error_file": "err.txt"}
    process = ESProcess({"executable": payload("simulate"), **files, **given})
    process.set_get_event_ranges_hook(lambda _: [])
    process.set_handle_out_message_hook(print)
    process.start()
    process.join(PATIENCE_S)
    assert process.poll() == 0


CHANNEL = "EventService_EventRanges_mark"
TOLD = f'ConfigFlags.MP.EventRangeChannel="{CHANNEL}"'


def arguments(job: dict[str, object], workdir: Path) -> list[str]:
    """What the payload of a job gets behind its own name."""
    read = Job.read({**job, "transformation": "/bin/echo"})
    prepared = plugins.find("payloads", read.kind.value).prepare(read, workdir, Settings(), "mark")
    return list(prepared.arguments[1:])


@pytest.mark.parametrize(
    ("job_pars", "expected"),
    [
        (
            "--CA --multithreaded=true --preExec 'x = 1'",
            ["--CA", "--multithreaded=true", "--preExec", "x = 1", f"--athenaopts=--mtes --mtes-channel={CHANNEL}"],
        ),
        ("--CA --preExec='from a import b; b.c=\"d\"'", ["--CA", "--preExec", TOLD, 'from a import b; b.c="d"']),
        ('--athenaopts="--threads=8" --CA', ["--athenaopts=--threads=8", "--CA", "--preExec", TOLD]),
        ("--postExec \"print('$HOME; `id`')\" ;", ["--postExec", "print('$HOME; `id`')", ";"]),
    ],
)
def test_no_argument_of_a_payload_is_lost_or_changed(tmp_path: Path, job_pars: str, expected: list[str]) -> None:
    """Pilot3: the channel was written into the command by replacing text: `--preExec` lost its name."""
    assert arguments(es_job(jobPars=job_pars), tmp_path) == expected


def test_a_payload_learns_the_channel_from_its_environment(start: Start, tmp_path: Path) -> None:
    """Pilot3: the same; here every payload has it there, whatever its command line is."""
    run = start("environment")
    _, (_, channel) = run.heard.next()
    run.stock(last=True)
    run.heard.end()
    assert json.loads((tmp_path / "environment").read_text())["PILOT_EVENTRANGECHANNEL"] == channel


def merge_job(**said: object) -> dict[str, object]:
    listed = {"writeToFile": "inputFor_HITS:HITS.1,HITS.2", "jobPars": "--inputHITSFile=@inputFor_HITS"}
    return plain_job(eventServiceMerge="True", inFiles="zip://one.tar", **{**listed, **said})


def tar(path: Path, *members: str) -> None:
    with tarfile.open(path, "w") as archive:
        for name in members:
            info = tarfile.TarInfo(name)
            info.size = len(name)
            archive.addfile(info, BytesIO(name.encode()))


@pytest.mark.parametrize(
    "job_pars",
    [
        "--inputHITSFile=@inputFor_HITS --preExec 'x = \"1\"'",
        "--inputHITSFile='@inputFor_HITS' --preExec 'x = \"1\"'",
        "'--inputHITSFile=@inputFor_HITS' --preExec 'x = \"1\"'",
        '--preExec \'x = "1"\' "--inputHITSFile=@inputFor_HITS"',
    ],
)
def test_a_merge_payload_is_given_the_list_that_was_written_however_its_argument_is_quoted(
    tmp_path: Path, job_pars: str
) -> None:
    """Pilot3: the command was changed by replacing text; where the quotes differed nothing was replaced, unsaid."""
    tar(tmp_path / "one.tar", "HITS.1", "HITS.2")
    job = merge_job(jobPars=job_pars)
    assert isinstance(Transfers(Job.read(job), tmp_path, Settings()).unpack_archives(), f.ArchivesUnpacked)
    assert (tmp_path / "inputFor_HITS.txt").read_text() == "--inputHITSFile\nHITS.1\nHITS.2\n"
    given = arguments(job, tmp_path)
    assert sorted(given) == ["--preExec", "@inputFor_HITS.txt", 'x = "1"']


@pytest.mark.parametrize("fault", ["cut off", "no archive", "incomplete"])
def test_a_merge_never_runs_when_an_archive_cannot_be_unpacked(tmp_path: Path, fault: str) -> None:
    """Pilot3: the exit code of tar was not looked at, and the merge ran with what there was."""
    archive = tmp_path / "one.tar"
    tar(archive, "HITS.1", *([] if fault == "incomplete" else ["HITS.2"]))
    if fault == "cut off":
        os.truncate(archive, 1500)
    elif fault == "no archive":
        archive.write_bytes(b"<html>404 Not Found</html>")
    merge = Teller("eventservicemerge").goes_well("classify_job", "select_executor", "stage_in")
    fact = Transfers(Job.read(merge_job()), tmp_path, Settings()).unpack_archives()
    assert "run_payload" not in names(merge.answer("unpack_archives", fact))
    assert merge.drained().state == "failed"
    assert merge.report.error_code == PilotErrorCode.NOSUCHFILE
