"""What is run for a job: its command line, what stands around it, and what it finds in its environment."""

import shlex
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from shell.jobs import es_job, plain_job

from esfsm import plugins
from esfsm.errors import UnusableInput
from esfsm.model.job import Job
from esfsm.model.settings import Settings
from esfsm.ports import Payload

CHANNEL = "EventService_EventRanges_fd00-2a"


def prepared(job: dict[str, object], workdir: Path, **settings: object) -> Payload:
    """What is to be run in a work directory for a job, whose transformation lies there, too."""
    (workdir / "Sim_tf.py").write_text("")
    read = Job.read({**job, "transformation": "Sim_tf.py"})
    return prepare(read, workdir, transformations=workdir, **settings)


def prepare(job: Job, workdir: Path, **settings: object) -> Payload:
    payload: Payload = plugins.find("payloads", job.kind.value).prepare(job, workdir, Settings(**settings), "fd00-2a")
    return payload


def test_an_event_service_payload_is_told_its_channel_by_option_and_environment(tmp_path: Path) -> None:
    payload = prepared(es_job(jobPars="--CA --x 'y z'"), tmp_path)
    assert payload.arguments[2:] == ["--CA", "--x", "y z", "--preExec", f'ConfigFlags.MP.EventRangeChannel="{CHANNEL}"']
    assert (payload.channel, payload.channel_directory, payload.mark) == (CHANNEL, Path("/tmp"), "fd00-2a")
    assert payload.environment["PILOT_EVENTRANGECHANNEL"] == CHANNEL


def test_a_plain_payload_has_no_channel(tmp_path: Path) -> None:
    payload = prepared(plain_job(jobPars="--CA"), tmp_path)
    assert (payload.arguments[2:], payload.channel) == (["--CA"], "")
    assert "PILOT_EVENTRANGECHANNEL" not in payload.environment


def test_every_payload_is_told_its_cores(tmp_path: Path) -> None:
    payload = prepared(plain_job(coreCount=8), tmp_path)
    assert payload.environment == {"ATHENA_PROC_NUMBER": "8", "ATHENA_CORE_NUMBER": "8"}


def run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, capture_output=True, text=True, check=False)


SAY = ["printf", "%s|"]
HOSTILE = ["; exit 9", "$(exit 9)", "`exit 9`", "'", '"', "a b", "*", "\n", "\\"]


def test_the_set_up_of_a_site_runs_first_in_the_same_shell_and_a_job_never_speaks_to_that_shell(tmp_path: Path) -> None:
    payload = prepared(plain_job(), tmp_path, payload_setup="export X=1; cd /")
    at = payload.arguments.index("payload") + 1
    ended = run([*payload.arguments[:at], *SAY, *HOSTILE])
    assert ended.stdout == "".join(f"{word}|" for word in HOSTILE)
    assert run([*payload.arguments[:at], "sh", "-c", "echo $X $PWD"]).stdout == "1 /\n"


def test_a_set_up_sees_no_argument_of_the_job_and_can_take_none_away(tmp_path: Path) -> None:
    """What a shell sources without arguments sees those of the shell."""
    (tmp_path / "a.sh").write_text("N=$#; set -- one two; shift; set -u")
    payload = prepared(plain_job(), tmp_path, payload_setup=f"export N; source {tmp_path}/a.sh")
    at = payload.arguments.index("payload") + 1
    assert run([*payload.arguments[:at], "sh", "-c", "echo $N $1", "sh", "mine"]).stdout == "0 mine\n"


def test_an_argument_that_looks_like_an_option_of_a_shell_is_none(tmp_path: Path) -> None:
    payload = prepared(plain_job(), tmp_path, payload_setup="true")
    at = payload.arguments.index("payload") + 1
    assert "-c: " in run([*payload.arguments[:at], "-c", "env"]).stderr


@pytest.mark.parametrize("setup", ["", "# nothing to do", "payload=mysite", "exec() { false; }"])
def test_a_set_up_that_does_little_lets_the_payload_run(setup: str, tmp_path: Path) -> None:
    payload = prepared(plain_job(), tmp_path, payload_setup=setup)
    at = payload.arguments.index("payload") + 1
    assert run([*payload.arguments[:at], "echo", "it ran"]).stdout == "it ran\n"


def test_a_set_up_that_ends_the_shell_has_failed_whatever_it_says(tmp_path: Path) -> None:
    payload = prepared(plain_job(), tmp_path, payload_setup="exit 0")
    at = payload.arguments.index("payload") + 1
    ended = run([*payload.arguments[:at], "echo", "it ran"])
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", "payload_setup ended with exit code 0\n")


@pytest.mark.parametrize("setup", ["exit 3", "(exit 3)", "true; (exit 3)", "(exit 3) # so it is"])
def test_a_set_up_that_fails_ends_the_payload_with_its_exit_code(setup: str, tmp_path: Path) -> None:
    payload = prepared(plain_job(), tmp_path, payload_setup=setup)
    at = payload.arguments.index("payload") + 1
    ended = run([*payload.arguments[:at], "echo", "it ran"])
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, "", "payload_setup ended with exit code 3\n")


@pytest.mark.parametrize("given", [{"payload_setup": "true"}, {"container": "apptainer", "container_image": "x"}])
@pytest.mark.parametrize("transformation", ["Sim_tf.py", "/cvmfs/release/bin/Sim_tf.py"])
def test_a_transformation_that_is_not_here_is_one_of_the_set_up_or_of_the_container(
    transformation: str, given: dict[str, str], tmp_path: Path
) -> None:
    job = Job.read(plain_job(transformation=transformation, jobPars="--x"))
    assert prepare(job, tmp_path, **given).arguments[-2:] == [transformation, "--x"]


@pytest.mark.parametrize("transformation", ["", "./run", "bin/run"])
def test_a_transformation_is_never_a_file_of_the_work_directory_by_chance(transformation: str, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for place in ("run", "bin/run"):
        (tmp_path / place).write_text("")
    with pytest.raises(UnusableInput, match="is neither in"):
        prepare(Job.read(plain_job(transformation=transformation)), tmp_path, payload_setup="true")


def test_a_container_is_told_image_directories_and_command(tmp_path: Path) -> None:
    job = plain_job(jobPars="--containerImage=docker://athena:25 'a b'")
    payload = prepared(job, tmp_path, container="apptainer", payload_setup="true")
    inside = payload.arguments.index("/bin/bash")
    expected = (
        f"apptainer exec --contain --bind {tmp_path}/tmp:/tmp --bind {tmp_path} --bind {tmp_path} --pwd {tmp_path}"
    )
    assert payload.arguments[:inside] == [*shlex.split(expected), "docker://athena:25"]
    assert payload.arguments[-3:] == ["python3", f"{tmp_path}/Sim_tf.py", "a b"]
    assert payload.channel_directory == tmp_path / "tmp"
    assert payload.channel_directory.is_dir()
    assert prepared(job, tmp_path, container="apptainer", payload_setup="true") == payload


@pytest.mark.parametrize("transformation", ["{directory}/run", "run"])
def test_the_directory_of_a_transformation_is_bound_into_the_container(transformation: str, tmp_path: Path) -> None:
    directory, workdir = tmp_path / "elsewhere", tmp_path / "work"
    for made in (directory, workdir):
        made.mkdir()
    (directory / "run").write_text("#!/bin/sh\n")
    (directory / "run").chmod(0o755)
    job = Job.read(plain_job(transformation=transformation.format(directory=directory)))
    bound = {"container": "{transformations} {channel_directory} {command}", "container_image": "x"}
    payload = prepare(job, workdir, transformations=directory, **bound)
    assert payload.arguments == [str(directory), str(workdir / "tmp"), str(directory / "run")]


def test_what_lies_in_tmp_has_its_place_in_the_tmp_of_the_container(tmp_path: Path) -> None:
    with TemporaryDirectory(dir="/tmp") as made:
        workdir, transformations = Path(made, "work"), Path(made, "transformations")
        for directory in (workdir, transformations):
            directory.mkdir()
        (transformations / "Sim_tf.py").write_text("")
        job = Job.read(plain_job(transformation="Sim_tf.py"))
        payload = prepare(job, workdir, transformations=transformations, container="apptainer", container_image="x")
        for directory in (workdir, transformations):
            assert (payload.channel_directory / directory.relative_to("/tmp")).is_dir()


def test_what_a_payload_must_find_in_its_environment_finds_its_way_into_a_container(tmp_path: Path) -> None:
    environment = prepared(es_job(), tmp_path, container="{command}", container_image="x").environment
    for way in ("", "APPTAINERENV_", "SINGULARITYENV_"):
        assert environment[f"{way}PILOT_EVENTRANGECHANNEL"] == CHANNEL


@pytest.mark.parametrize(
    ("said", "image"),
    [
        ({"jobPars": "--containerImage=one", "container_name": "two"}, "one"),
        ({"container_name": "two"}, "two"),
        ({}, "three"),
    ],
)
def test_the_job_names_the_image_or_else_the_site(said: dict[str, str], image: str, tmp_path: Path) -> None:
    payload = prepared(plain_job(**said), tmp_path, container="{image} {command}", container_image="three")
    assert payload.arguments[0] == image


@pytest.mark.parametrize(
    ("container", "why"),
    [
        ("apptainer exec {image}", "needs {command} once, as a word of its own"),
        ("run {command} {command}", "needs {command} once, as a word of its own"),
        ("run x{command}", "needs {command} once, as a word of its own"),
        ("run {command} --like={command}", "needs {command} once, as a word of its own"),
        ("run {img} {command}", "there is no {img}; known are: image, workdir"),
        ("run {image.__class__} {command}", "there is no {image.__class__}"),
        ("run {image!r} {command}", "there is no {image!r}"),
        ("run {} {command}", "there is no {}"),
        ("run 'x {command}", "No closing quotation"),
    ],
)
def test_a_template_that_cannot_be_meant_is_refused(container: str, why: str) -> None:
    with pytest.raises(UnusableInput) as raised:
        Settings.layered({"container": container})
    assert str(raised.value).startswith(f"setting container (argument): {container!r} cannot be used: ")
    assert why in str(raised.value)


def test_a_container_without_a_tmp_of_ours_shares_that_of_the_machine(tmp_path: Path) -> None:
    payload = prepared(es_job(), tmp_path, container="unshare -r {command}")
    assert (payload.arguments[:2], payload.channel_directory) == (["unshare", "-r"], Path("/tmp"))
    assert list(tmp_path.glob("tmp")) == []


def test_braces_that_hold_no_name_are_the_templates_own(tmp_path: Path) -> None:
    payload = prepared(plain_job(), tmp_path, container="sh -c 'f() { :; }; \"$@\"' {command}", container_image="x")
    assert payload.arguments[2] == 'f() { :; }; "$@"'


def test_an_image_that_is_an_option_is_refused(tmp_path: Path) -> None:
    """It would bind what the site did not mean to show."""
    with pytest.raises(UnusableInput, match="is an option, not an image"):
        prepared(plain_job(jobPars="--containerImage=--bind=/"), tmp_path, container="apptainer")


def test_a_job_without_an_image_is_not_run_in_a_container(tmp_path: Path) -> None:
    with pytest.raises(UnusableInput, match="neither job nor settings name an image"):
        prepared(plain_job(), tmp_path, container="apptainer")
