"""Job definitions that cannot be used: what the user sees, and that nothing finished is lost."""

from pathlib import Path

import pytest
from whole.commands import DONE, FAILED, SOON, Command, MakeJob, booked, facts, said
from whole.processes import INPUT


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
    assert said(esfsm("run", tmp_path)) == f"{tmp_path}: not a regular file"


@pytest.mark.parametrize("key", ["inFiles", "outFiles"])
@pytest.mark.parametrize("lfn", ["..", "../x", "a/b", "/etc/passwd", "a\0b", "a\nb", "x" * 256])
def test_an_lfn_that_cannot_be_a_file_of_the_work_directory(
    esfsm: Command, make_job: MakeJob, tmp_path: Path, key: str, lfn: str
) -> None:
    job = make_job(**{key: lfn})
    told = said(esfsm("run", job, "--workdir", tmp_path / "work"))
    assert told == f"{job}: {key}: {lfn[:80]!r} cannot be the name of a file"


@pytest.mark.parametrize(
    ("key", "lfn"),
    [("inFiles", "EventService_EventRanges.sent"), ("inFiles", "payload.stdout"), ("outFiles", "journal.jsonl")],
)
def test_a_file_of_a_job_that_would_stand_where_one_of_ours_does(
    esfsm: Command, make_job: MakeJob, workdir: Path, key: str, lfn: str
) -> None:
    told = said(esfsm("run", make_job(**{key: lfn}), "--workdir", workdir, "--events", 3))
    assert told == f"the job has a file {lfn}, and so has every work directory"


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
        ({"transformation": "No_tf.py"}, "the transformation 'No_tf.py' is neither in {here} nor in the PATH"),
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
