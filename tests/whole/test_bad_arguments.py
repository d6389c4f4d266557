"""Arguments and lists of ranges that cannot be used: what the user sees, and that nothing finished is lost."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from contract.brokers import only_to_be_read, without_event_ranges
from whole.commands import DONE, FAILED, SOON, UNUSABLE, Command, MakeJob, booked, said
from whole.processes import pipe

from esfsm.model.settings import Settings


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--set", "grace_s"], "--set grace_s: KEY=VALUE is expected"),
        (["--set", "grace_s=soon"], "setting grace_s (argument): 'soon' cannot be used: it should be a valid number"),
        (
            ["--set", "grace_s=-1"],
            "setting grace_s (argument): '-1' cannot be used: it should be greater than or equal to 0",
        ),
        (
            ["--set", "grace=1"],
            f"there is no setting 'grace'; of {len(Settings.model_fields)} the nearest are: grace_s, ",
        ),
        (["--set", "communicator=pandora"], "there is no communicator 'pandora'; known are: harvester, local, panda"),
        (
            ["--set", "container=run {img} {command}"],
            "setting container (argument): 'run {img} {command}' cannot be used: there is no {img}; known are: image, ",
        ),
        (["--set", "workflow=mine"], "there is no workflow 'mine'; known are: "),
        (["--set", "workflow=mine.toml"], "mine.toml: it cannot be read: [Errno 2] No such file or directory"),
        (["--set", "max_attempt=1000"], "setting max_attempt: 1000 is more than 999"),
        (["--ranges", "r.json"], "--ranges and --events contradict each other: give one of them"),
        (["--set", "ranges=r.json"], "settings events and ranges contradict each other: give only one of them"),
        (["--config", "none.toml"], "configuration file none.toml: No such file or directory"),
    ],
)
def test_an_argument_that_cannot_be_used(
    esfsm: Command, make_job: MakeJob, workdir: Path, arguments: list[str], sentence: str
) -> None:
    assert said(esfsm("run", make_job(), "--workdir", workdir, "--events", 3, *arguments)).startswith(sentence)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"grace_s = ", "configuration file {config}: Invalid value (at end of document)"),
        (
            b"\xff",
            "configuration file {config}: 'utf-8' codec can't decode byte 0xff in position 0: ",
        ),
        (b"grace = 1", f"there is no setting 'grace'; of {len(Settings.model_fields)} the nearest are: grace_s, "),
        (b"grace_s = 'soon'", "setting grace_s (file): 'soon' cannot be used: it should be a valid number"),
    ],
)
def test_a_configuration_that_cannot_be_used(
    esfsm: Command, make_job: MakeJob, tmp_path: Path, content: bytes, sentence: str
) -> None:
    config = tmp_path / "esfsm.toml"
    config.write_bytes(content)
    told = said(esfsm("run", make_job(), "--workdir", tmp_path / "work", "--events", 3, "--config", config))
    assert told.startswith(sentence.format(config=config))


def test_an_environment_that_cannot_be_used(
    esfsm: Command, make_job: MakeJob, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ESFSM_GRACE_S", "soon")
    told = said(esfsm("run", make_job(), "--workdir", workdir, "--events", 3))
    assert told.startswith("setting grace_s (environment): 'soon' cannot be used: it should be a valid number")


def test_an_executor_that_is_not_here_fails_the_job_which_goes_on_with_another(
    esfsm: Command, make_job: MakeJob, workdir: Path
) -> None:
    arguments = ["run", make_job(), "--workdir", workdir, "--events", 3, "--quiet"]
    failed = esfsm(*arguments, "--set", "executor_type=slurm")
    why = "there is no executor type 'slurm'; known are: generic"
    assert (failed.exit_code, failed.sentence) == (FAILED, f"job 5001 failed: {why}")
    assert esfsm(*arguments).sentence == "job 5001 done; event ranges: 3 finished"


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("channel=yampl", "there is no channel 'yampl'; known are: zmq"),
        (
            "output_url=gsiftp://somewhere",
            "there is no storage scheme 'gsiftp'; "
            "known are: dav, davs, file, gcs, gs, http, https, root, roots, rucio, s3",
        ),
    ],
)
def test_what_would_be_missing_only_at_the_end_is_missed_at_the_start(
    esfsm: Command, make_job: MakeJob, workdir: Path, setting: str, sentence: str
) -> None:
    told = esfsm("run", make_job(), "--workdir", workdir, "--events", 3, "--set", setting)
    assert said(told) == sentence


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ([], "Usage: "),
        (["run"], "Missing argument 'job'"),
        (["fly"], "No such command 'fly'"),
        (["run", "job.json", "--fast"], "No such option: --fast"),
        (
            ["run", "job.json", "--events", "0"],
            "Invalid value for '--events': Input should be ",
        ),
        (["draw", "--format", "gif"], "Invalid value for '--format'"),
    ],
)
def test_a_command_that_there_is_not(esfsm: Command, arguments: list[str], fault: str) -> None:
    told = esfsm(*arguments)
    assert (told.exit_code, told.out) == (UNUSABLE, "")
    assert fault in told.err
    assert "Traceback" not in told.err


def test_an_event_service_job_without_any_ranges_goes_on_when_there_are_some(
    esfsm: Command, make_job: MakeJob, workdir: Path
) -> None:
    arguments = ["run", make_job(), "--workdir", workdir, "--quiet"]
    assert said(esfsm(*arguments)) == (
        f"broker {workdir}/broker.sqlite has no event ranges of task 1001: give the setting events (in each input "
        "file; see also events_per_range) or ranges (a JSON file with the list of them)"
    )
    assert esfsm(*arguments, "--events", 3).sentence == "job 5001 done; event ranges: 3 finished"


def test_other_events_than_the_broker_has(esfsm: Command, make_job: MakeJob, workdir: Path) -> None:
    arguments = ["run", make_job("fail 1"), "--workdir", workdir, "--quiet", *SOON]
    esfsm(*arguments, "--events", 3)
    made = "events in each of 1 inputs (EVNT.41.pool.root), 1 a range, 10 attempts"
    assert said(esfsm(*arguments, "--events", 4)) == (
        f"broker {workdir}/broker.sqlite: task 1001 has 3 {made}, not 4 {made}; "
        "give the same again, nothing, or another broker"
    )
    assert booked(workdir / "broker.sqlite") == {"done": 1, "ready": 2}


RANGE = {"eventRangeID": "1-2-3-4-5", "startEvent": 1, "lastEvent": 2}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("hello", "not JSON at line 1, column 1: unexpected character, expected a JSON value"),
        ({}, "a JSON list is expected, not an object"),
        (["a"], '[0]: a JSON object is expected, not "a"'),
        ([RANGE, RANGE], '[1] ("1-2-3-4-5"): eventRangeID of the same range as [0] ("1-2-3-4-5")'),
        ([{**RANGE, "startEvent": 3}], '[0] ("1-2-3-4-5"): lastEvent 2 is before startEvent 3'),
        ([{**RANGE, "startEvent": "1"}], '[0] ("1-2-3-4-5"): startEvent is "1", not a whole number'),
        ([{"startEvent": 1, "lastEvent": 2}], "[0] (null): eventRangeID is missing"),
        ([{"eventRangeID": "1-2-3-4-5", "startEvent": 1}], '[0] ("1-2-3-4-5"): lastEvent is missing'),
        ([{**RANGE, "eventRangeID": 7}], "[0] (7): eventRangeID is 7, not a text"),
        (
            [{**RANGE, "eventRangeID": "a/b"}],
            '[0] ("a/b"): eventRangeID may hold letters, digits and . _ - only, and 200 of them at most',
        ),
        ([{**RANGE, "startEvent": -1}], '[0] ("1-2-3-4-5"): startEvent is -1, which is no place of an event'),
        ([{**RANGE, "lastEvent": 2**63}], f'[0] ("1-2-3-4-5"): lastEvent is more than {2**63 - 1}'),
    ],
)
def test_a_list_of_ranges_that_panda_would_not_send(
    esfsm: Command, make_job: MakeJob, tmp_path: Path, content: object, sentence: str
) -> None:
    ranges = tmp_path / "ranges.json"
    ranges.write_text(content if isinstance(content, str) else json.dumps(content))
    told = esfsm("run", make_job(), "--workdir", tmp_path / "work", "--ranges", ranges)
    assert said(told) == f"{ranges}: {sentence}"


def test_a_list_of_ranges_that_is_not_there_goes_on_when_it_is(
    esfsm: Command, make_job: MakeJob, tmp_path: Path
) -> None:
    ranges = tmp_path / "ranges.json"
    arguments = ["run", make_job(), "--workdir", tmp_path / "work", "--ranges", ranges, "--quiet"]
    assert said(esfsm(*arguments)) == f"{ranges}: No such file or directory"
    ranges.write_text(json.dumps([RANGE]))
    assert esfsm(*arguments).sentence == "job 5001 done; event ranges: 1 finished"


@pytest.mark.parametrize("path", ["/dev/zero", "pipe", "."])
def test_a_list_of_ranges_that_is_no_file(esfsm: Command, make_job: MakeJob, tmp_path: Path, path: str) -> None:
    pipe(tmp_path, "pipe")
    told = esfsm("run", make_job(), "--workdir", tmp_path / "work", "--ranges", tmp_path / path)
    assert said(told) == f"{tmp_path / path}: not a regular file"


@pytest.mark.parametrize(
    ("path", "why"),
    [
        (".", "not a regular file"),
        ("pipe", "not a regular file"),
        ("/dev/zero", "not a regular file"),
        ("none/broker", "unable to open database file"),
        ("pipe/broker", "Not a directory"),
        ("x" * 300, "File name too long"),
    ],
)
def test_a_broker_that_cannot_be_made(esfsm: Command, make_job: MakeJob, tmp_path: Path, path: str, why: str) -> None:
    pipe(tmp_path, "pipe")
    broker = tmp_path / path
    told = esfsm("run", make_job(), "--workdir", tmp_path / "work", "--events", 3, "--set", f"broker={broker}")
    assert said(told) == f"broker {broker}: {why}"


def overwritten(path: Path) -> None:
    path.write_bytes(b"hello, this is no database")


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (overwritten, "file is not a database"),
        (only_to_be_read, "attempt to write a readonly database"),
        (without_event_ranges, "database disk image is malformed"),
    ],
)
def test_a_broker_that_was_spoilt_between_two_engines_goes_on_when_it_is_right(
    esfsm: Command, make_job: MakeJob, journal: Path, spoil: Callable[[Path], None], why: str
) -> None:
    broker = journal.with_name("broker.sqlite")
    right = broker.read_bytes()
    spoil(broker)
    again = ["run", make_job(), "--workdir", journal.parent, "--events", 3, "--quiet"]
    for command in (["resume", journal.parent, "--quiet"], again):
        assert said(esfsm(*command)) == f"broker {broker}: {why}"
    broker.write_bytes(right)
    assert esfsm(*again).exit_code == DONE
    assert booked(broker) == {"done": 3}


def test_an_empty_list_of_ranges_is_a_job_with_nothing_to_do(esfsm: Command, make_job: MakeJob, tmp_path: Path) -> None:
    ranges = tmp_path / "ranges.json"
    ranges.write_text("[]")
    told = esfsm("run", make_job(), "--workdir", tmp_path / "work", "--ranges", ranges, "--quiet")
    assert (told.exit_code, told.sentence) == (DONE, "job 5001 done: the broker had no event ranges left")
