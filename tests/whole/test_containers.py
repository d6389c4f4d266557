"""Payloads in a container, where /tmp is another directory: real mount namespaces, and a stand-in for apptainer."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from shell.jobs import assert_each_range_is_booked_once, es_job, es_settings, write_inputs

import esfsm
from esfsm.core.facts import JobResumed
from esfsm.journal.file import JOURNAL
from esfsm.journal.reader import read

RANGES, MANY_RANGES = 6, 40

MOUNT = f"""#!{sys.executable}
import json, os, subprocess, sys

needed = json.loads(os.environ["NEEDED"])
of_python = [(place, place) for place in needed]

def mount(binds):
    \"\"\"Each directory at its place, as it is now, whatever covers it.\"\"\"
    opened = [(os.open(source, os.O_PATH), place) for source, place in binds]
    for descriptor, place in opened:
        if place in needed:
            os.makedirs(place, exist_ok=True)
        source = f"/proc/{{os.getpid()}}/fd/{{descriptor}}"
        subprocess.run(["mount", "--no-canonicalize", "--rbind", source, place], check=True)
        os.close(descriptor)
"""
NAMESPACE = f"""{MOUNT}
tmp, workdir, transformations, *command = sys.argv[1:]
mount([(tmp, "/tmp"), *of_python, (workdir, workdir), (transformations, transformations)])
os.chdir(workdir)
os.execvp(command[0], command)
"""
"""A container as a site would write one: /tmp, work directory, transformations, command."""
APPTAINER = f"""{MOUNT}
if "INSIDE" not in os.environ:
    with open(os.environ["RECORD"], "w") as record:
        json.dump([sys.argv[1:], dict(os.environ)], record)
    os.environ["INSIDE"] = "1"
    os.execvp("unshare", ["unshare", "--mount", *sys.argv])
options, binds = iter(sys.argv[2:]), []
for option in options:
    if option == "--bind":
        source, _, place = next(options).partition(":")
        binds.append((source, place or source))
    elif option == "--pwd":
        directory = next(options)
    elif option != "--contain":  # the image
        break
mount([*binds[:1], *of_python, *binds[1:]])
os.chdir(directory)
way, command = "APPTAINERENV_", list(options)
passed = {{name.removeprefix(way): value for name, value in os.environ.items() if name.startswith(way)}}
os.execvpe(command[0], command, {{**passed, "PATH": os.environ["PATH"]}})
"""
"""It writes down how it was called, and shows nothing of its environment that it was not told to pass on."""

RUN_UNTIL_KILLED = """\
import json, os, signal, sys
import esfsm

job, workdir, settings = sys.argv[1:]

def watch(fact, engine):
    if fact.name == "output_produced":
        os.kill(os.getpid(), signal.SIGKILL)

esfsm.run_workflow(json.loads(job), workdir=workdir, settings=json.loads(settings), watch=watch)
"""


def may_unshare() -> bool:
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0


pytestmark = pytest.mark.skipif(not may_unshare(), reason="this kernel, or this user, makes no mount namespaces")


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of the stand-ins, first in the PATH before that of our Python."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for name, text in {"apptainer": APPTAINER, "namespace": NAMESPACE}.items():
        (directory / name).write_text(text)
        (directory / name).chmod(0o755)
    needed = {sys.prefix, str(Path(esfsm.__file__).parents[1]), str(directory)}
    monkeypatch.setenv("NEEDED", json.dumps(sorted(place for place in needed if place.startswith("/tmp/"))))
    monkeypatch.setenv("PATH", f"{directory}:{Path(sys.executable).parent}", prepend=":")
    return directory


@pytest.fixture
def container(programs: Path) -> dict[str, object]:
    """A container of a site's own as settings."""
    program = shlex.quote(str(programs / "namespace"))
    command = f"unshare --mount {program} {{channel_directory}} {{workdir}} {{transformations}} {{command}}"
    return {"container": command, "container_image": "none"}


@pytest.mark.parametrize("depth", [0, 4])
def test_a_payload_that_sees_another_tmp_finds_its_channel_however_long_the_path_of_its_work_directory_is(
    tmp_path: Path, container: dict[str, object], depth: int
) -> None:
    workdir = tmp_path.joinpath(*["a-directory-with-a-long-name"] * depth, "work")
    settings = es_settings(write_inputs(tmp_path / "inputs"), RANGES, **container)
    assert esfsm.run_workflow(es_job(), workdir=workdir, settings=settings).state == "done"
    assert_each_range_is_booked_once(workdir, RANGES)
    assert list((workdir / "tmp").glob("zmq_*")) == []


def test_a_payload_in_a_container_that_outlives_its_engine_is_adopted(
    tmp_path: Path, container: dict[str, object]
) -> None:
    workdir = tmp_path / "work"
    settings = es_settings(write_inputs(tmp_path / "inputs"), MANY_RANGES, **container)
    arguments = [json.dumps(es_job()), str(workdir), json.dumps(settings)]
    subprocess.run([sys.executable, "-c", RUN_UNTIL_KILLED, *arguments], check=False)
    assert [path.name[:4] for path in (workdir / "tmp").iterdir() if path.is_socket()] == ["zmq_"]
    assert esfsm.resume(workdir).state == "done"
    (resumed,) = (entry.fact for entry in read(workdir / JOURNAL)[1] if isinstance(entry.fact, JobResumed))
    assert resumed.adopted
    assert_each_range_is_booked_once(workdir, MANY_RANGES)
    assert list((workdir / "tmp").glob("zmq_*")) == []


def test_a_job_runs_in_apptainer_with_nothing_of_the_outside_but_what_it_needs(
    tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECORD", str(tmp_path / "record.json"))
    workdir = tmp_path / "work"
    site = {"container": "apptainer", "payload_setup": "export READY=1"}
    settings = es_settings(write_inputs(tmp_path / "inputs"), RANGES, **site)
    job = es_job(container_name="docker://athena:25")
    assert esfsm.run_workflow(job, workdir=workdir, settings=settings).state == "done"
    assert_each_range_is_booked_once(workdir, RANGES)
    arguments, environment = json.loads((tmp_path / "record.json").read_text())
    assert arguments[:2] == ["exec", "--contain"]
    assert arguments[arguments.index("/bin/bash") - 1] == "docker://athena:25"
    assert environment["APPTAINERENV_PILOT_EVENTRANGECHANNEL"].startswith("EventService_EventRanges_")
