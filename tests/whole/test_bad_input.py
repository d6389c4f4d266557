"""Everything that can be wrong, and what the user sees of it: an exit code, and one sentence without a traceback.

Where something was finished before, it is stored and booked; the same command goes on when the cause is removed.
"""

import json
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from whole.processes import INPUT, PATIENCE_S, pipe

from esfsm.adapters.communicators.local import open_local
from esfsm.journal import read
from esfsm.model.job import Job
from esfsm.model.settings import Settings

DONE, FAILED, UNUSABLE, STOPPED = 0, 1, 2, 3

SOON = ["--set", "retry_pause_s=0.01", "--set", "grace_s=0"]

Command = Callable[..., Any]
"""The fixtures `esfsm` and `launch`: arguments -> what the user sees."""
MakeJob = Callable[..., Path]


def booked(broker: Path) -> dict[str, int]:
    """How many ranges of the task stand where, as the broker has it; no range is finished twice."""
    job = Job.read({"PandaID": 1, "taskID": 1001})
    communicator = open_local(job, Settings(broker=broker), broker.parent, "audit")
    finished = [(each.lfn, each.start_event) for each in communicator.attempts() if each.zip_lfn]
    counts = communicator.counts()
    communicator.close()
    assert len(finished) == len(set(finished)) == counts.get("done", 0) + counts.get("finished", 0)
    return counts


def facts(workdir: Path, name: str) -> list[Any]:
    _, entries = read(workdir / "journal.jsonl")
    return [entry.fact for entry in entries if entry.fact.name == name]


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    return tmp_path / "work"


def said(told: Any) -> str:
    """The one sentence about input that cannot be used."""
    assert told.exit_code == UNUSABLE
    assert told.out == ""
    assert told.err.startswith("esfsm: ")
    assert told.err.count("\n") == 1
    return str(told.err.removeprefix("esfsm: ").rstrip("\n"))


# --- the job file -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "not JSON at line 1, column 1: Input is a zero-length, empty document"),
        (b"hello", "not JSON at line 1, column 1: unexpected character, expected a JSON value"),
        (b'{"PandaID": 5001,\n "taskID": 10', "not JSON at line 2, column 14: unexpected end of data"),
        (b"\x80\xff", "not JSON at line 1, column 1: str is not valid UTF-8: surrogates not allowed"),
        (b"[]", "one job is expected, there are 0"),
        (b"7", "a JSON object is expected, not int"),
        (b"{}", "PandaID is missing"),
        (b'{"PandaID": 0}', "PandaID is 0, not a positive whole number"),
        (b'{"PandaID": "abc"}', "PandaID is 'abc', not a positive whole number"),
        (b'{"PandaID": 7, "inFiles": ["a"]}', "inFiles: a text with commas is expected, not \"['a']\""),
        (b'{"PandaID": 7, "jobPars": "\'"}', "jobPars cannot be split into arguments: No closing quotation"),
    ],
)
def test_a_job_file_that_panda_would_not_send(esfsm: Command, tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "job.json"
    path.write_bytes(content)
    assert said(esfsm("run", path, "--workdir", tmp_path / "work")) == f"{path}: {sentence}"
    assert not (tmp_path / "work").exists()


def test_a_job_file_that_is_not_there(esfsm: Command, tmp_path: Path) -> None:
    assert said(esfsm("run", tmp_path / "job.json")) == f"{tmp_path}/job.json: No such file or directory"


def test_a_job_file_that_is_a_directory(esfsm: Command, tmp_path: Path) -> None:
    assert said(esfsm("run", tmp_path)) == f"{tmp_path}: Is a directory"


@pytest.mark.parametrize("key", ["inFiles", "outFiles"])
@pytest.mark.parametrize("lfn", ["..", "../x", "a/b", "/etc/passwd", "a\0b", "a\nb", "x" * 256])
def test_an_lfn_that_cannot_be_a_file_of_the_work_directory(
    esfsm: Command, make_job: MakeJob, tmp_path: Path, key: str, lfn: str
) -> None:
    job = make_job(**{key: lfn})
    told = said(esfsm("run", job, "--workdir", tmp_path / "work"))
    assert told == f"{job}: {key}: {lfn[:80]!r} cannot be the name of a file"


@pytest.mark.parametrize("value", [True, 1, "1", " True ", "YES", "true"])
def test_an_event_service_job_by_every_way_to_say_yes(
    esfsm: Command, make_job: MakeJob, workdir: Path, value: object
) -> None:
    job = make_job("end 0", eventService=value)
    told = esfsm("run", job, "--workdir", workdir, "--events", 1, "--json", "--quiet")
    assert told.outcome["sentence"] == "failed: the payload ended without asking for an event range"


@pytest.mark.parametrize("value", [False, None, ..., 0, "", "False", "no", "none", "0"])
def test_a_plain_job_by_every_way_to_say_no(esfsm: Command, make_job: MakeJob, workdir: Path, value: object) -> None:
    told = esfsm("run", make_job("echo hello", eventService=value), "--workdir", workdir, "--quiet")
    assert told == (DONE, f"job 5001 done\n  journal: {workdir}/journal.jsonl\n", "")


@pytest.mark.parametrize("value", [2, -1, 1.0, "2", "on", "NULL", [], {}])
def test_a_plain_job_with_a_word_about_it_where_nobody_said_yes_or_no(
    esfsm: Command, make_job: MakeJob, workdir: Path, value: object
) -> None:
    told = esfsm("run", make_job("echo hello", eventService=value), "--workdir", workdir, "--quiet")
    assert told.exit_code == DONE
    assert told.err == f"esfsm: eventService is {value!r}, not yes or no: False is taken\n"


def test_of_two_contradictory_flags_event_service_is_looked_at_first(
    esfsm: Command, make_job: MakeJob, workdir: Path
) -> None:
    job = make_job(eventServiceMerge="True")
    told = esfsm("run", job, "--workdir", workdir, "--events", 3, "--json", "--quiet")
    assert told.outcome["sentence"] == "done; event ranges: 3 finished"
    assert facts(workdir, "job_classified")[0].why.startswith("eventService is set (as is eventServiceMerge")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"transformation": ...}, "the job has no transformation to run"),
        ({"taskID": ...}, "an Event Service job needs taskID to ask for event ranges, and it has none"),
        ({"jobsetID": ...}, "an Event Service job needs jobsetID to ask for event ranges, and it has none"),
        ({"transformation": "No_tf.py"}, "the transformation 'No_tf.py' is not in {here}/work, {here} or the PATH"),
        ({"transformation": "/etc/passwd"}, "the transformation /etc/passwd is not executable"),
        ({"fsize": "7"}, f"{{here}}/{INPUT}: it has 6 bytes, PanDA says 7"),
        ({"checksum": "ad:00000001"}, f"{{here}}/{INPUT}: its adler32 is 08eb0296, PanDA says 00000001"),
    ],
)
def test_a_job_that_cannot_be_run_fails_and_goes_on_when_it_can(
    esfsm: Command, make_job: MakeJob, tmp_path: Path, changes: dict[str, object], why: str
) -> None:
    arguments = ["--workdir", tmp_path / "work", "--events", 3, "--quiet", *SOON]
    failed = esfsm("run", make_job(**changes), *arguments)
    assert failed.exit_code == FAILED
    assert failed.sentence == f"job 5001 failed: {why.format(here=tmp_path)}"
    assert failed.err == ""
    again = esfsm("run", make_job(), *arguments)
    assert again.sentence == "job 5001 done; event ranges: 3 finished"


def test_an_input_that_is_not_there_fails_the_job_which_goes_on_when_it_is(
    esfsm: Command, make_job: MakeJob, tmp_path: Path
) -> None:
    arguments = ["run", make_job(), "--workdir", tmp_path / "work", "--events", 3, "--quiet", *SOON]
    (tmp_path / INPUT).rename(tmp_path / "elsewhere")
    missing = f"{tmp_path}/{INPUT}"
    assert esfsm(*arguments).sentence == f"job 5001 failed: {missing}: there is no file {missing}"
    (tmp_path / "elsewhere").rename(tmp_path / INPUT)
    assert esfsm(*arguments).sentence == "job 5001 done; event ranges: 3 finished"


def test_a_job_of_ten_thousand_files(esfsm: Command, make_job: MakeJob, workdir: Path) -> None:
    names = [f"EVNT.{number:05}.pool.root" for number in range(10_000)]
    told = esfsm("run", make_job(inFiles=",".join(names)), "--workdir", workdir, "--events", 1, "--quiet")
    assert told.exit_code == FAILED
    assert told.sentence.endswith(f"there is no file {workdir.parent}/EVNT.00000.pool.root")
    assert booked(workdir / "broker.sqlite") == {"ready": 10_000}


# --- the command line ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--set", "grace_s"], "--set grace_s: KEY=VALUE is expected"),
        (["--set", "grace_s=soon"], "setting grace_s (argument): Input should be a valid number"),
        (["--set", "grace_s=-1"], "setting grace_s (argument): Input should be greater than or equal to 0"),
        (["--set", "grace=1"], "there is no setting 'grace'; known are: broker, "),
        (["--set", "communicator=pandora"], "there is no communicator 'pandora'; known are: local"),
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
        (b"grace = 1", "there is no setting 'grace'; known are: "),
        (b"grace_s = 'soon'", "setting grace_s (file): Input should be a valid number"),
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
    assert told.startswith("setting grace_s (environment): Input should be a valid number")


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ("executor_type=raythena", "the executor type 'raythena' needs more packages: pip install 'esfsm[ray]'"),
        ("executor_type=slurm", "there is no executor type 'slurm'; known are: generic, raythena"),
        ("channel=yampl", "there is no channel 'yampl'; known are: memory, zmq"),
    ],
)
def test_an_adapter_that_is_not_here_fails_the_job_which_goes_on_with_another(
    esfsm: Command, make_job: MakeJob, workdir: Path, setting: str, why: str
) -> None:
    arguments = ["run", make_job(), "--workdir", workdir, "--events", 3, "--quiet"]
    failed = esfsm(*arguments, "--set", setting)
    assert (failed.exit_code, failed.sentence) == (FAILED, f"job 5001 failed: {why}")
    assert esfsm(*arguments).sentence == "job 5001 done; event ranges: 3 finished"


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


# --- the list of ranges -------------------------------------------------------------------------------------------

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


def test_an_empty_list_of_ranges_is_a_job_with_nothing_to_do(esfsm: Command, make_job: MakeJob, tmp_path: Path) -> None:
    ranges = tmp_path / "ranges.json"
    ranges.write_text("[]")
    told = esfsm("run", make_job(), "--workdir", tmp_path / "work", "--ranges", ranges, "--quiet")
    assert (told.exit_code, told.sentence) == (DONE, "job 5001 done")


# --- the payload --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("job_pars", "settings", "sentence", "counts"),
    [
        ("end 1", "", "the payload failed (exit code 1)", {"ready": 6}),
        ("end 0", "", "the payload ended without asking for an event range", {"ready": 6}),
        ("stay", "looping_limit_s=0.1", "the payload said nothing for 0.1 s", {"ready": 6}),
        (
            "ask_for_ever",
            "end_patience_s=0.1",
            "the payload did not end within 0.1 s after 'No more events'; event ranges: 6 finished",
            {"done": 6},
        ),
        (
            "ask_and_stay",
            "end_patience_s=0.1",
            "the payload did not end within 0.1 s after 'No more events'; event ranges: 6 finished",
            {"done": 6},
        ),
        (
            "die 4",
            "",
            "the payload was ended by SIGKILL; event ranges: 4 finished, 2 released",
            {"done": 4, "ready": 2},
        ),
        (
            "fail 4",
            "",
            "the payload failed (exit code 1); event ranges: 4 finished, 2 released",
            {"done": 4, "ready": 2},
        ),
    ],
)
def test_a_payload_that_fails_loses_nothing_and_a_better_one_does_the_rest(
    esfsm: Command,
    make_job: MakeJob,
    workdir: Path,
    job_pars: str,
    settings: str,
    sentence: str,
    counts: dict[str, int],
) -> None:
    arguments = ["--workdir", workdir, "--events", 6, "--json", "--quiet", *SOON]
    patience = ["--set", settings] if settings else []
    failed = esfsm("run", make_job(job_pars), *arguments, *patience)
    assert (failed.exit_code, failed.outcome["sentence"]) == (FAILED, f"failed: {sentence}")
    assert booked(workdir / "broker.sqlite") == counts
    archives = {output["url"] for output in failed.outcome["outputs"]}
    assert all(Path(url).is_file() for url in archives)
    assert bool(archives) == ("done" in counts)

    again = esfsm("run", make_job(), *arguments)
    assert again.exit_code == DONE
    assert booked(workdir / "broker.sqlite") == {"done": 6}
    assert archives <= {output["url"] for output in again.outcome["outputs"]}


AFTERWARDS = {"finished": "done", "failed": "ready"}
"""What the end of a job makes of its ranges: the failed ones are to be tried again."""


@pytest.mark.parametrize(
    ("job_pars", "counts"),
    [
        ("last_words", {"finished": 6}),
        ("several_files", {"finished": 6}),
        ("repeat", {"finished": 6}),
        ("say hello ERR_ATHENAMP_PARSE", {"finished": 6}),
        ("garbage 10000000", {"finished": 6}),
        ("lie 2", {"finished": 4, "failed": 2}),
        ("lie 6", {"failed": 6}),
        ("give_up", {"failed": 6}),
    ],
)
def test_a_payload_that_talks_nonsense_loses_no_good_result(
    esfsm: Command, make_job: MakeJob, workdir: Path, job_pars: str, counts: dict[str, int]
) -> None:
    told = esfsm("run", make_job(job_pars), "--workdir", workdir, "--events", 6, "--json", "--quiet")
    assert (told.exit_code, told.outcome["ranges"]) == (DONE, counts)
    assert booked(workdir / "broker.sqlite") == {AFTERWARDS[state]: n for state, n in counts.items()}


def test_what_nobody_understands_is_in_the_journal(esfsm: Command, make_job: MakeJob, workdir: Path) -> None:
    esfsm("run", make_job("say hello"), "--workdir", workdir, "--events", 2, "--quiet")
    unreadable = [fact.text for fact in facts(workdir, "message_unreadable")]
    assert unreadable == ["hello", "hello"]


def test_of_ten_megabytes_of_garbage_the_journal_has_the_beginning(
    esfsm: Command, make_job: MakeJob, workdir: Path
) -> None:
    esfsm("run", make_job("garbage 10000000"), "--workdir", workdir, "--events", 2, "--quiet")
    (text,) = (fact.text for fact in facts(workdir, "message_unreadable"))
    assert set(text) == {"\ufffd"}
    assert (workdir / "journal.jsonl").stat().st_size < 20_000


def test_an_output_that_is_not_there_is_told_with_its_name(esfsm: Command, make_job: MakeJob, workdir: Path) -> None:
    esfsm("run", make_job("lie 1"), "--workdir", workdir, "--events", 2, "--quiet")
    (why,) = (fact.why for fact in facts(workdir, "range_errored"))
    missing = f"{workdir}/nowhere.1001-5001-1-1-10"
    assert (
        why == f"the output that the payload announced is not there: [Errno 2] No such file or directory: '{missing}'"
    )


# --- disks --------------------------------------------------------------------------------------------------------

NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount")


def can_mount() -> bool:
    """Whether this user may have a disk of its own, in a namespace that nobody else sees."""
    command = [*NAMESPACE, "mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", "/mnt"]
    return bool(shutil.which("unshare")) and subprocess.run(command, capture_output=True, check=False).returncode == 0


needs_a_disk = pytest.mark.skipif(not can_mount(), reason="no user namespaces here")

TWICE = """
mkdir -p disk; mount -t tmpfs -o size=10m,$0 tmpfs disk
cause=$1; shift
"$@" > first.json && exit 99
mount -o remount,$cause disk
"$@" > second.json
"""
"""A command fails on a disk ($0: its fault), the cause is removed ($1), and the same command is run again."""


@needs_a_disk
@pytest.mark.parametrize(
    ("fault", "remedy", "why"),
    [("size=16k", "size=10m", "[Errno 28] No space left on device"), ("ro", "rw", "[Errno 30] Read-only file system")],
    ids=["full", "read-only"],
)
def test_an_output_directory_that_takes_nothing_fails_the_ranges_which_run_again(
    launch: Command, make_job: MakeJob, tmp_path: Path, fault: str, remedy: str, why: str
) -> None:
    behind = (*NAMESPACE, "sh", "-c", TWICE, fault, remedy)
    arguments = ["run", make_job(), "--workdir", "work", "--events", 30, "--output-url", "disk/out", "--json", *SOON]
    assert launch(*arguments, behind=behind).end().exit_code == DONE
    first, second = (json.loads((tmp_path / name).read_text()) for name in ("first.json", "second.json"))
    assert (first["exit_code"], first["pilot_error_code"], first["ranges"]) == (FAILED, 1137, {"failed": 30})
    lfn = "EventService_premerge_1001-5001-1-1-10.tar"
    assert first["sentence"].startswith(f"failed: archive {lfn} could not be stored: {tmp_path}/disk/out/{lfn}: ")
    assert why in first["sentence"]
    assert (second["exit_code"], second["ranges"]) == (DONE, {"finished": 30, "failed": 30})
    assert booked(tmp_path / "work" / "broker.sqlite") == {"done": 30}


@pytest.mark.parametrize("place", ["/proc/esfsm", "/dev/null/out"])
def test_what_the_first_storage_refuses_goes_to_the_second(
    esfsm: Command, make_job: MakeJob, tmp_path: Path, place: str
) -> None:
    arguments = ["--workdir", tmp_path / "work", "--events", 3, "--output-url", place, "--json", "--quiet", *SOON]
    told = esfsm("run", make_job(), *arguments, "--set", f"failover_url={tmp_path}/failover")
    assert (told.exit_code, told.outcome["ranges"]) == (DONE, {"finished": 3})
    (stored,) = (tmp_path / "failover").iterdir()
    assert told.outcome["outputs"][0]["url"] == str(stored)


def test_an_output_directory_that_vanishes_is_made_anew_and_nothing_is_lost(
    launch: Command, make_job: MakeJob, tmp_path: Path
) -> None:
    go, stored = pipe(tmp_path, "work-go"), tmp_path / "stored"
    job = make_job(f"simulate {go} 4")
    arguments = ["--workdir", "work", "--events", 8, "--output-url", stored, "--set", "zip_max_ranges=2", "--json"]
    running = launch("run", job, *arguments, *SOON)
    with go.open("w"):  # four are finished
        stored.mkdir(exist_ok=True)
        stored.rename(tmp_path / "vanished")
    told = running.end()
    assert (told.exit_code, told.outcome["ranges"]) == (DONE, {"finished": 8})
    there = {path.name for directory in (stored, tmp_path / "vanished") for path in directory.glob("*.tar")}
    assert there == {output["lfn"] for output in told.outcome["outputs"]}


def test_an_archive_that_the_work_directory_has_no_room_for_fails_its_ranges(
    launch: Command, make_job: MakeJob, tmp_path: Path
) -> None:
    # Python ignores SIGXFSZ, so a file beyond the limit is an error like a full disk.
    limited = ("sh", "-c", 'ulimit -f 1000; exec "$@"', "sh")
    arguments = ["run", make_job("large 50000"), "--workdir", "work", "--events", 30, "--json", *SOON]
    told = launch(*arguments, behind=limited).end()
    lfn = "EventService_premerge_1001-5001-1-1-10.tar"
    assert (told.exit_code, told.outcome["pilot_error_code"]) == (FAILED, 1098)
    why = f"failed: archive {lfn} could not be stored: {tmp_path}/work/{lfn}: File too large; event ranges: 30 failed"
    assert told.outcome["sentence"] == why
    again = launch(*arguments).end()
    assert (again.exit_code, again.outcome["ranges"]) == (DONE, {"finished": 30, "failed": 30})


FILLING = """
mkdir -p disk work; mount -t tmpfs -o size=16k tmpfs disk; ln -s ../disk/journal.jsonl work/journal.jsonl
"$@" 2> first.err && exit 99
mount -o remount,size=10m disk
"$@"
"""
"""The same, where the disk holds nothing but the journal."""


@needs_a_disk
def test_a_disk_too_full_for_the_journal_ends_the_engine_and_the_next_one_goes_on(
    launch: Command, make_job: MakeJob, tmp_path: Path
) -> None:
    arguments = ["run", make_job(), "--workdir", "work", "--events", 200, "--quiet", "--set", "zip_max_ranges=5", *SOON]
    told = launch(*arguments, behind=(*NAMESPACE, "sh", "-c", FILLING, "sh")).end()
    journal = tmp_path / "work" / "journal.jsonl"
    why = f"journal {journal}: No space left on device; run the same command again to go on"
    assert (tmp_path / "first.err").read_text() == f"esfsm: {why}\n"
    assert told.exit_code == DONE
    assert booked(tmp_path / "work" / "broker.sqlite") == {"done": 200}


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("file", "File exists"),
        ("file/work", "Not a directory"),
        ("/proc/esfsm", "No such file or directory"),
        ("x" * 300, "File name too long"),
    ],
)
def test_a_work_directory_that_cannot_be_made(
    esfsm: Command, make_job: MakeJob, tmp_path: Path, place: str, why: str
) -> None:
    (tmp_path / "file").write_text("")
    told = esfsm("run", make_job(), "--workdir", tmp_path / place, "--events", 3)
    assert said(told) == f"work directory {tmp_path / place}: {why}"


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "unable to open database file"), (b"hello, this is no database", "file is not a database")],
)
def test_a_broker_that_is_none(
    esfsm: Command, make_job: MakeJob, tmp_path: Path, content: bytes | None, why: str
) -> None:
    broker = tmp_path / "broker"
    broker.write_bytes(content) if content else broker.mkdir()
    told = esfsm("run", make_job(), "--workdir", tmp_path / "work", "--events", 3, "--set", f"broker={broker}")
    assert said(told) == f"broker {broker}: {why}"
    if content:
        assert broker.read_bytes() == content


# --- the journal --------------------------------------------------------------------------------------------------


def line(told: Mapping[str, object]) -> bytes:
    body = json.dumps(told, separators=(",", ":")).encode()[:-1]
    return body + b',"crc":"%08x"}\n' % crc32(body)


def test_the_journal_of_another_job_in_the_work_directory(esfsm: Command, make_job: MakeJob, workdir: Path) -> None:
    arguments = ["--workdir", workdir, "--events", 3, "--quiet"]
    esfsm("run", make_job(), *arguments)
    before = (workdir / "journal.jsonl").read_bytes()
    assert said(esfsm("run", make_job(PandaID=5002), *arguments)) == (
        f"journal {workdir}/journal.jsonl: it is of job 5001, not of 5002; choose another work directory"
    )
    assert (workdir / "journal.jsonl").read_bytes() == before


def test_a_second_engine_on_the_same_work_directory(
    esfsm: Command, launch: Command, make_job: MakeJob, tmp_path: Path
) -> None:
    go, workdir = pipe(tmp_path, "go"), tmp_path / "work"
    arguments = ["run", make_job(f"simulate {go}"), "--workdir", workdir, "--events", 3, "--quiet"]
    first = launch(*arguments)
    with go.open("w"):
        told = said(esfsm(*arguments))
    assert told == f"journal {workdir}/journal.jsonl: another engine is running this job"
    assert first.end().sentence == "job 5001 done; event ranges: 3 finished"


DAMAGES = [
    (lambda lines: b"", "it is empty"),
    (lambda lines: b"hello\n", "this is no journal; choose another work directory"),
    (
        lambda lines: b"".join([*lines[:3], lines[3].replace(b"at", b"ta", 1), *lines[4:]]),
        "line 4 is damaged; restore it or choose another work directory",
    ),
    (lambda lines: lines[0] + line({"nr": 2, "at": 1, "fact": "job_resumed"}), "fact 2 stands where 1 should"),
    (
        lambda lines: lines[0] + line({"nr": 1, "at": 1, "fact": "moved"}),
        "fact 1 is moved, which this version does not know",
    ),
    (lambda lines: line({"esfsm_journal": 99}), "format 99 is not known to this version, which reads 1"),
]


@pytest.fixture
def journal(esfsm: Command, make_job: MakeJob, workdir: Path) -> Path:
    """Of a job that failed."""
    esfsm("run", make_job("fail 1"), "--workdir", workdir, "--events", 3, "--quiet", *SOON)
    return workdir / "journal.jsonl"


@pytest.mark.parametrize(("damage", "why"), DAMAGES)
@pytest.mark.parametrize("command", [["replay"], ["draw", "--journal"]], ids=["replay", "draw"])
def test_a_damaged_journal_is_refused_by_its_readers(
    esfsm: Command, journal: Path, command: list[str], damage: Callable[[list[bytes]], bytes], why: str
) -> None:
    journal.write_bytes(damage(journal.read_bytes().splitlines(keepends=True)))
    assert said(esfsm(*command, journal)) == f"journal {journal}: {why}"


@pytest.mark.parametrize(("damage", "why"), DAMAGES[1:])
def test_a_damaged_journal_is_refused_by_an_engine_and_stays_as_it_is(
    esfsm: Command, make_job: MakeJob, journal: Path, damage: Callable[[list[bytes]], bytes], why: str
) -> None:
    damaged = damage(journal.read_bytes().splitlines(keepends=True))
    journal.write_bytes(damaged)
    told = esfsm("run", make_job(), "--workdir", journal.parent, "--events", 3)
    assert said(told) == f"journal {journal}: {why}"
    assert journal.read_bytes() == damaged


def test_a_journal_that_lacks_a_line_is_refused(esfsm: Command, journal: Path) -> None:
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([lines[0], *lines[2:]]))
    assert said(esfsm("replay", journal)).startswith(f"journal {journal}: ")


def test_a_journal_that_is_not_there(esfsm: Command, tmp_path: Path) -> None:
    assert said(esfsm("replay", tmp_path / "none.jsonl")) == f"journal {tmp_path}/none.jsonl: No such file or directory"


def test_a_journal_that_this_code_would_not_write(esfsm: Command, journal: Path) -> None:
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:2]) + line({"decided": 1, "then": {"1": ["stage_in 2"]}}))
    told = esfsm("replay", journal)
    why = "at fact 1 (job_classified): the journal has stage_in 2, this code decides select_executor 2"
    assert told == (FAILED, "", f"esfsm: {why}\n")


def test_a_torn_last_line_is_no_damage(esfsm: Command, make_job: MakeJob, journal: Path) -> None:
    journal.write_bytes(journal.read_bytes()[:-5])
    assert esfsm("replay", journal).exit_code == DONE
    again = esfsm("run", make_job(), "--workdir", journal.parent, "--events", 3, "--quiet", *SOON)
    assert again.exit_code in (DONE, FAILED)
    assert booked(journal.parent / "broker.sqlite")["done"] >= 1


def test_a_job_that_is_taken_up_while_it_fails_still_says_why(esfsm: Command, make_job: MakeJob, workdir: Path) -> None:
    arguments = ["run", make_job("end 1"), "--workdir", workdir, "--events", 3, "--json", "--quiet"]
    first = esfsm(*arguments)
    lines = (workdir / "journal.jsonl").read_bytes().splitlines(keepends=True)
    failed = next(number for number, each in enumerate(lines) if b'"payload_failed"' in each)
    (workdir / "journal.jsonl").write_bytes(b"".join(lines[: failed + 1]))
    again = esfsm(*arguments)
    assert first.outcome["sentence"] == again.outcome["sentence"] == "failed: the payload failed (exit code 1)"


# --- tables and drawings ------------------------------------------------------------------------------------------

UNSOUND = 'title = "x"\nstarts = "a"\nends = ["b"]\n[a]\non.payload_started = "c"\n'
FAULTS = [
    "3: state b cannot be reached",
    "4: from state a no end can be reached",
    "5: state a: the arrow on payload_started leads to c, which is no state",
]


def test_a_workflow_that_is_unsound_is_refused_with_all_its_faults(
    esfsm: Command, make_job: MakeJob, tmp_path: Path
) -> None:
    table = tmp_path / "mine.toml"
    table.write_text(UNSOUND)
    told = esfsm("run", make_job(), "--workdir", tmp_path / "work", "--set", f"workflow={table}")
    assert said(told) == "; ".join(f"{table}:{fault}" for fault in FAULTS)
    assert esfsm("check", table) == (UNUSABLE, "".join(f"{table}:{fault}\n" for fault in FAULTS), "")


def test_a_drawing_without_graphviz_says_how_to_get_it(
    esfsm: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert said(esfsm("draw", "--format", "svg")).startswith("the program 'dot' is not installed: apt install ")
    assert esfsm("draw", "--format", "mermaid").exit_code == DONE


def test_a_drawing_of_what_there_is_not(esfsm: Command, journal: Path) -> None:
    assert said(esfsm("draw", "mine")).startswith("there is no workflow 'mine'; known are: ")
    told = said(esfsm("draw", "generic", "--journal", journal))
    assert told == f"the journal {journal} was written with the workflow eventservice"


def test_a_drawing_that_cannot_be_written(esfsm: Command) -> None:
    assert said(esfsm("draw", "--output", "/dev/full")) == "/dev/full: No space left on device"


# --- what is printed ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("job_pars", "exit_code"), [("simulate", DONE), ("fail 2", FAILED)])
def test_json_is_one_object_and_progress_goes_elsewhere(
    esfsm: Command, make_job: MakeJob, workdir: Path, job_pars: str, exit_code: int
) -> None:
    told = esfsm("run", make_job(job_pars), "--workdir", workdir, "--events", 3, "--json")
    assert told.out.count("\n") == 1
    assert told.outcome["exit_code"] == told.exit_code == exit_code
    states = [each.partition(":")[0] for each in told.err.splitlines()]
    assert states == told.outcome["path"][1:]


def test_quiet_means_no_progress(esfsm: Command, make_job: MakeJob, workdir: Path) -> None:
    told = esfsm("run", make_job(), "--workdir", workdir, "--events", 3, "--quiet")
    first, archive, journal = told.out.splitlines()
    assert (told.exit_code, told.err) == (DONE, "")
    assert first == "job 5001 done; event ranges: 3 finished"
    assert archive.startswith(f"  {workdir}/outputs/EventService_premerge_1001-5001-1-1-10.tar  4096 bytes, adler32 ")
    assert journal == f"  journal: {workdir}/journal.jsonl"


@pytest.mark.parametrize("arguments", [["draw"], ["check"]])
def test_a_standard_output_that_takes_nothing(launch: Command, arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        told = launch(*arguments, stdout=full).end()
    assert (told.exit_code, told.err) == (FAILED, "esfsm: standard output: No space left on device\n")


def test_python_m_esfsm_is_the_same_command(launch: Command) -> None:
    told = launch("run").end()
    assert told.exit_code == UNUSABLE
    assert "Error: Missing argument 'job'" in told.err


# --- a stop, and others who run at the same time ------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_leaves_all_finished_work_safe_and_the_same_command_does_the_rest(
    esfsm: Command, launch: Command, make_job: MakeJob, tmp_path: Path, number: signal.Signals
) -> None:
    go, workdir = pipe(tmp_path, "go"), tmp_path / "work"
    arguments = ["--workdir", workdir, "--events", 12, "--set", "zip_max_ranges=4", "--json", *SOON]
    running = launch("run", make_job(f"simulate {go} 5"), *arguments)
    with go.open("w"):  # five are finished, the sixth runs
        running.process.send_signal(number)
        stopped = running.end()
    assert stopped.exit_code == STOPPED
    told = f"stopped: a stop was asked for by {number.name}; event ranges: 5 finished, 7 released"
    assert stopped.outcome["sentence"] == told
    assert booked(workdir / "broker.sqlite") == {"done": 5, "ready": 7}
    assert all(Path(output["url"]).is_file() for output in stopped.outcome["outputs"])

    again = esfsm("run", make_job(), *arguments)
    assert (again.exit_code, again.outcome["events"]) == (DONE, 12)
    assert booked(workdir / "broker.sqlite") == {"done": 12}


def test_what_runs_is_finished_within_the_grace_of_a_stop(launch: Command, make_job: MakeJob, tmp_path: Path) -> None:
    go = pipe(tmp_path, "go")
    arguments = ["--workdir", "work", "--events", 12, "--set", f"grace_s={PATIENCE_S}"]
    running = launch("run", make_job(f"simulate {go} 5"), *arguments)
    with go.open("w"):
        running.process.terminate()
        while not running.process.stderr.readline().startswith("stopping"):
            pass
    stopped = running.end()
    assert stopped.exit_code == STOPPED
    assert stopped.sentence.endswith("; event ranges: 6 finished, 6 released")


def test_a_second_stop_ends_the_grace(launch: Command, make_job: MakeJob, tmp_path: Path) -> None:
    go = pipe(tmp_path, "go")
    arguments = ["--workdir", "work", "--events", 12, "--set", f"grace_s={10 * PATIENCE_S}"]
    running = launch("run", make_job(f"simulate {go} 5"), *arguments)
    with go.open("w"):
        running.process.terminate()
        while not running.process.stderr.readline().startswith("stopping"):
            pass
        running.process.terminate()
        stopped = running.end()
    assert stopped.exit_code == STOPPED
    assert stopped.sentence.endswith("; event ranges: 5 finished, 7 released")


def test_several_jobs_of_one_task_share_a_broker_and_no_range_is_done_twice(
    launch: Command, make_job: MakeJob, tmp_path: Path
) -> None:
    broker = tmp_path / "broker.sqlite"
    settings = ["--events", 60, "--set", f"broker={broker}", "--json", "--quiet"]
    jobs = [launch("run", make_job(PandaID=number), *settings) for number in (5001, 5002, 5003)]
    told = [job.end() for job in jobs]
    assert [each.exit_code for each in told] == [DONE] * 3, told
    assert sum(each.outcome["events"] for each in told) == 60
    assert booked(broker) == {"done": 60}


def test_what_a_job_that_was_killed_held_is_done_by_another(launch: Command, make_job: MakeJob, tmp_path: Path) -> None:
    go, broker = pipe(tmp_path, "go"), tmp_path / "broker.sqlite"
    settings = ["--events", 12, "--set", f"broker={broker}", "--json", "--quiet"]
    killed = launch("run", make_job(f"simulate {go} 5"), *settings)
    with go.open("w"):
        killed.process.kill()
        killed.end()
        told = launch("run", make_job(PandaID=5002), *settings).end()
    assert (told.exit_code, told.outcome["events"]) == (DONE, 12)
    assert booked(broker) == {"done": 12}
