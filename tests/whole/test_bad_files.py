"""Files and words that a command line is given and nothing can be made of: one sentence at once, and exit code 2."""

import os
from pathlib import Path

import pytest
from whole.commands import Command, MakeJob, said
from whole.processes import pipe

NO_FILES = ["/dev/zero", "pipe"]
NO_UTF8 = os.fsdecode(b"\xff")


@pytest.fixture
def pilot(tmp_path: Path) -> list[object]:
    """Of a pilot that would find nobody."""
    settings = ["panda_server=http://localhost:1", "job_attempts=1"]
    options = [word for setting in settings for word in ("--set", setting)]
    return ["pilot", "--queue", "Q", "--communicator", "panda", "--workdir", tmp_path / "base", *options]


@pytest.mark.parametrize("path", NO_FILES)
def test_a_job_that_is_in_no_file(esfsm: Command, tmp_path: Path, path: str) -> None:
    pipe(tmp_path, "pipe")
    assert said(esfsm("run", tmp_path / path)) == f"{tmp_path / path}: not a regular file"


@pytest.mark.parametrize("path", NO_FILES)
@pytest.mark.parametrize(
    ("option", "what"), [("--config={}", "configuration file"), ("--set=queuedata={}", "queue data")]
)
def test_what_is_to_be_said_by_a_file_that_is_none(
    esfsm: Command, make_job: MakeJob, tmp_path: Path, path: str, option: str, what: str
) -> None:
    pipe(tmp_path, "pipe")
    told = esfsm("run", make_job(), "--workdir", tmp_path / "work", option.format(tmp_path / path))
    assert said(told) == f"{what} {tmp_path / path}: not a regular file"


@pytest.mark.parametrize("path", NO_FILES)
def test_a_configuration_of_a_pilot_that_is_no_file(
    esfsm: Command, pilot: list[object], tmp_path: Path, path: str
) -> None:
    pipe(tmp_path, "pipe")
    assert said(esfsm(*pilot, "--config", tmp_path / path)).endswith(": not a regular file")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--set", "panda_server=https://["], "PanDA server 'https://[': https://host:port/path is expected"),
        (["--set", "queuedata_url=http://["], "queue data 'http://[': https://host:port/path is expected"),
        (["--set", "queuedata_url=http://a/b\nc"], "setting queuedata_url (argument): "),
        (["--set", "ca_directory=/nope"], "the certificates of authorities: /nope is no directory"),
        (["--queue", ""], "setting queue (argument): "),
        (["--queue", NO_UTF8], "setting queue (argument): "),
        (["--set", f"job_label={NO_UTF8}"], "setting job_label (argument): "),
    ],
)
def test_words_of_which_a_pilot_can_make_nothing(
    esfsm: Command, pilot: list[object], arguments: list[str], sentence: str
) -> None:
    assert said(esfsm(*pilot, *arguments)).startswith(sentence)
