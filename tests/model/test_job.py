"""A job definition is read strictly, in whatever wrapping it comes."""

import base64
import shlex
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from esfsm.errors import PilotErrorCode, UnreadableJob
from esfsm.model.files import LIST_KEYS, FileSpec
from esfsm.model.job import Job, JobKind

PANDA_KEYS = [field.alias for field in Job.model_fields.values() if field.alias]
ACQUIRED = (Path(__file__).parent / "data" / "acquired_jobs.json").read_bytes()
MERGE = {
    "PandaID": 7000000456,
    "eventServiceMerge": "True",
    "transformation": "HITSMerge_tf.py",
    "inFiles": "zip://premerge_41-7-9-12-10.tar,zip://premerge_41-8-9-40-9.tar",
    "prodDBlockToken": "1318/1000,1318/1000",
    "scopeIn": "transient,transient",
    "fsize": "20480,30720",
    "checksum": "ad:0a1b2c3d,ad:11223344",
    "jobPars": "--inputHITSFile=@inputFor_HITS.1 --outputHITS_MRGFile=HITS.3 --autoConfiguration=everything",
    "writeToFile": "inputFor_HITS.1:HITS.1.41-7-9-11-10,HITS.1.41-8-9-40-9",
    "outFiles": "HITS.3,log.tgz.3",
    "logFile": "log.tgz.3",
}


def job(**content: object) -> Job:
    return Job.read({"PandaID": 1, **content})


def why(content: object, panda_id: int | None = None) -> str:
    """The one sentence with which it is refused."""
    with pytest.raises(UnreadableJob) as refusal:
        Job.read(content, source="job.json", panda_id=panda_id)
    assert "\n" not in str(refusal.value)
    assert str(refusal.value) == f"job.json: {refusal.value.why}"
    assert refusal.value.source == "job.json"
    return refusal.value.why


def test_the_job_of_a_real_server() -> None:
    read = Job.read(ACQUIRED)
    assert (read.panda_id, read.task_id, read.jobset_id, read.attempt_nr) == (5001, 1001, 4001, 1)
    assert read.kind is JobKind.EVENTSERVICE
    assert read.transformation == "Sim_tf.py"
    assert read.arguments == (
        "--inputEVNTFile=EVNT.1001._000001.pool.root.1,EVNT.1001._000002.pool.root.1",
        "--maxEvents=50",
        "--outputHITSFile=HITS.1001._5001.pool.root.1",
    )
    assert read.in_files[1] == FileSpec(
        lfn="EVNT.1001._000002.pool.root.1",
        guid="000003E9-0000-0000-0000-000000000002",
        dataset="test:test.es.1001.in",
        scope="test",
        size_bytes=1_000_000,
        adler32="00000001",
    )
    assert [(file.lfn, file.scope) for file in read.out_files] == [("HITS.1001._5001.pool.root.1", "test")]
    assert read.log_file == FileSpec(
        lfn="log.1001._5001.job.log.tgz.1",
        guid="00001389-1111-0000-0000-000000000000",
        dataset="test:test.es.1001.log",
        scope="test",
        is_log=True,
    )
    assert (read.core_count, read.max_walltime_s, read.max_cpu_s) == (1, 0, 86400)
    assert (read.min_ram_mb, read.max_disk_mb) == (2000, 1000)
    assert (read.sw_release, read.home_package) == ("Atlas-21.0.15", "AtlasOffline-21.0.15")
    assert read.platform == "x86_64-slc6-gcc49-opt"
    assert read.extra["prodUserID"] == "/DC=ch/DC=cern/CN=tester"
    assert read.warnings == ()
    assert read.secrets == {}


def test_all_that_a_real_server_said_is_in_the_definition() -> None:
    assert Job.read(ACQUIRED).definition == orjson.loads(ACQUIRED)["data"]["jobs"][0]


def test_a_merge_job() -> None:
    read = Job.read(MERGE)
    assert read.kind is JobKind.EVENTSERVICEMERGE
    assert [(file.lfn, file.is_archive, file.storage_id) for file in read.in_files] == [
        ("premerge_41-7-9-12-10.tar", True, 1318),
        ("premerge_41-8-9-40-9.tar", True, 1318),
    ]
    files, job_pars = read.written_files()
    assert files == {"inputFor_HITS.1.txt": ("--inputHITSFile", "HITS.1.41-7-9-11-10", "HITS.1.41-8-9-40-9")}
    assert job_pars.split() == ["@inputFor_HITS.1.txt", "--outputHITS_MRGFile=HITS.3"]


def test_a_merge_job_that_cannot_write_its_lists_is_refused_at_once() -> None:
    assert "cannot be the name of a file" in why({**MERGE, "writeToFile": "../inputFor:f"})


def test_another_job_is_not_refused_for_a_list_it_never_writes() -> None:
    assert job(writeToFile="../x:f").kind is JobKind.GENERIC
    with pytest.raises(UnreadableJob):
        job(writeToFile="../x:f").written_files()


def test_a_job_of_a_number_alone_has_the_defaults() -> None:
    read = job()
    assert (read.task_id, read.jobset_id, read.attempt_nr, read.core_count) == (None, None, 0, 1)
    assert (read.kind, read.looping_check, read.transformation, read.platform) == (JobKind.GENERIC, True, "", "")
    assert (read.in_files, read.out_files, read.log_file, read.arguments) == ((), (), None, ())
    assert (dict(read.extra), read.warnings) == ({}, ())


def test_a_key_that_nobody_knows_is_kept() -> None:
    assert job(nucleus="X", in_files="Y", extra=[1]).extra == {"nucleus": "X", "in_files": "Y", "extra": [1]}


def test_a_job_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        job().panda_id = 2  # type: ignore[misc]


# ------------------------------------------------------------------------------------------------- type rules

TRUE = [True, "1", "true", "yes", "True", " TRUE\n", "Yes", 1]
FALSE = [False, "", "none", "false", "no", "0", " None ", "FALSE", "No", 0]
ODD = ["2", "on", "off", "NULL", "null", 2, -1, 1.0, [], {}, ["True"], "y", "truee", "0.0"]
BOOLEANS = {
    "eventService": "event_service",
    "eventServiceMerge": "event_service_merge",
    "inFilePosEvtNum": "in_file_pos_evt_num",
    "loopingCheck": "looping_check",
}


@pytest.mark.parametrize(("key", "name"), BOOLEANS.items())
@pytest.mark.parametrize("expected", [True, False])
def test_a_boolean_has_many_spellings(key: str, name: str, expected: bool) -> None:
    for value in TRUE if expected else FALSE:
        read = job(**{key: value})
        assert getattr(read, name) is expected, value
        assert read.warnings == (), value


@pytest.mark.parametrize(("key", "name"), BOOLEANS.items())
@pytest.mark.parametrize("value", ODD)
def test_a_boolean_that_is_none_becomes_the_default_and_is_said(key: str, name: str, value: object) -> None:
    read, default = job(**{key: value}), name == "looping_check"
    assert getattr(read, name) is default
    assert read.warnings == (f"{key} is {value!r}, not yes or no: {default} is taken",)


@pytest.mark.parametrize(("key", "name"), BOOLEANS.items())
def test_null_is_the_default_in_silence(key: str, name: str) -> None:
    read = job(**{key: None})
    assert getattr(read, name) is (name == "looping_check")
    assert read.warnings == ()


@pytest.mark.parametrize(
    ("event_service", "merge", "kind"),
    [
        ("True", None, JobKind.EVENTSERVICE),
        (None, "True", JobKind.EVENTSERVICEMERGE),
        ("True", "True", JobKind.EVENTSERVICE),
        ("on", "True", JobKind.EVENTSERVICEMERGE),
        ("False", "False", JobKind.GENERIC),
        ("2", "2", JobKind.GENERIC),
    ],
)
def test_event_service_is_looked_at_first(event_service: object, merge: object, kind: JobKind) -> None:
    assert job(eventService=event_service, eventServiceMerge=merge).kind is kind


def test_nothing_else_makes_an_event_service_job() -> None:
    read = job(processingType="evtService", cloneJob="runonce", specialHandling="eventservice,esmerge")
    assert read.kind is JobKind.GENERIC


@pytest.mark.parametrize(
    ("value", "expected"), [(8, 8), ("8", 8), (" 8 ", 8), ("008", 8), (8.0, 8), (0, 0), (None, 0), ("NULL", 0)]
)
def test_a_number_may_be_text(value: object, expected: int) -> None:
    read = job(maxWalltime=value, taskID=value)
    assert read.max_walltime_s == expected
    assert read.task_id == (None if value in (None, "NULL") else expected)
    assert read.warnings == ()


@pytest.mark.parametrize("value", ["x", "", "8.5", "-1", -1, [], {}, "9" * 5000])
def test_a_number_that_is_none_becomes_the_default_and_is_said(value: object) -> None:
    read = job(maxWalltime=value, jobsetID=value)
    assert (read.max_walltime_s, read.jobset_id) == (0, None)
    jobset, walltime = read.warnings
    assert jobset.startswith("jobsetID is ")
    assert jobset.endswith(", not a whole number from 0 on: None is taken")
    assert walltime.endswith(", not a whole number from 0 on: 0 is taken")
    assert len(jobset) < 200


@pytest.mark.parametrize(("value", "cores"), [(8, 8), ("8", 8), (0, 1), ("0", 1), (None, 1), ("NULL", 1), (-4, 1)])
def test_a_job_has_at_least_one_core(value: object, cores: int) -> None:
    assert job(coreCount=value).core_count == cores


@pytest.mark.parametrize(("value", "text"), [("a", "a"), (5, "5"), (None, ""), ("NULL", "NULL"), (True, "True")])
def test_a_text_is_whatever_was_sent(value: object, text: str) -> None:
    assert job(swRelease=value).sw_release == text


@pytest.mark.parametrize(
    ("value", "platform", "container"),
    [
        ("x86_64-el9-gcc13-opt", "x86_64-el9-gcc13-opt", ""),
        ("x86_64-el9-gcc13-opt@centos7", "x86_64-el9-gcc13-opt", "centos7"),
        ("NULL", "", ""),
        ("None", "", ""),
        (None, "", ""),
    ],
)
def test_a_platform_may_have_one_of_the_container(value: object, platform: str, container: str) -> None:
    read = job(cmtConfig=value)
    assert (read.platform, read.container_platform) == (platform, container)


@pytest.mark.parametrize("key", ["transformation", "jobPars", "writeToFile", "container_name"])
def test_a_nul_character_is_refused(key: str) -> None:
    assert why({"PandaID": 1, key: "a\0b"}) == f"{key} holds a NUL character, which no argument and no environment can"


@pytest.mark.parametrize("value", [5001, "5001", "0005001"])
def test_a_panda_id_is_a_number_or_digits(value: object) -> None:
    assert Job.read({"PandaID": value}).panda_id == 5001


@pytest.mark.parametrize(
    "value", [True, False, 0, -1, 1.0, 5001.5, "0", "-1", "", " 1", "1\n", "1.0", "x", "٣", [], {}, "9" * 19, "NULL"]
)
def test_any_other_panda_id_is_refused(value: object) -> None:
    assert why({"PandaID": value}) == f"PandaID is {value!r}, not a positive whole number"


@pytest.mark.parametrize("content", [{}, {"PandaID": None}, {"jobPars": "x"}, {"jobid": 5}, "{}", {"data": []}])
def test_a_job_without_panda_id_is_refused(content: object) -> None:
    assert why(content) == "PandaID is missing"


@pytest.mark.parametrize(("name", "value"), [("coreCount", "x"), ("eventService", "on")])
def test_without_anybody_to_warn_an_odd_value_is_refused(name: str, value: str) -> None:
    whole = {**job().model_dump(by_alias=True), "secrets": {}}
    assert Job.model_validate(whole).panda_id == 1
    with pytest.raises(ValidationError, match=f"{name} is '{value}'"):
        Job.model_validate({**whole, name: value})


# -------------------------------------------------------------------------------------------------- wrappings


@pytest.mark.parametrize(
    "wrapped",
    [
        {"PandaID": 7},
        {"7": {"PandaID": 7}},
        {"7": {"PandaID": "7"}},
        {"7": {}},
        {"7": {"PandaID": None}},
        {"7": {}, "8": {}},
        [{"PandaID": 7}],
        {"StatusCode": 0, "PandaID": 7},
        {"StatusCode": 0, "jobs": [{"PandaID": 7}]},
        {"success": True, "message": "", "data": {"StatusCode": 0, "jobs": [{"PandaID": 7}]}},
        {"success": True, "message": "", "data": {"StatusCode": 0, "PandaID": 7}},
        {"success": True, "message": "", "data": {"7": {}}},
        {"success": True, "message": "fine", "data": {"PandaID": 7, "message": "x", "jobs": []}},
        {"PandaID": 7, "data": {"PandaID": 8}, "jobs": [], "message": "x"},
    ],
)
def test_a_job_is_found_in_its_wrapping(wrapped: object) -> None:
    as_bytes = orjson.dumps(wrapped)
    for carried in (wrapped, as_bytes, as_bytes.decode()):
        assert Job.read(carried).panda_id == 7


@pytest.mark.parametrize(
    "wrapped",
    [
        {"7": {}, "8": {}},
        [{"PandaID": 7}, {"PandaID": "8"}],
        [None, 8, {"PandaID": 8}],
        {"StatusCode": 0, "jobs": [{"PandaID": 7}, {"PandaID": 8}]},
        {"PandaID": 8},
    ],
)
def test_a_panda_id_chooses_among_several(wrapped: object) -> None:
    assert Job.read(wrapped, panda_id=8).panda_id == 8


@pytest.mark.parametrize(
    ("content", "panda_id", "sentence"),
    [
        ({"7": {"PandaID": 8}}, None, "the job below '7' has PandaID 8"),
        ({"7": {}}, 8, "there is no job 8, only ['7']"),
        ({"x": {}}, None, "PandaID is 'x', not a positive whole number"),
        ({"PandaID": 7}, 8, "PandaID is 7, not 8"),
        ([], None, "one job is expected, there are 0"),
        ([{"PandaID": 7}, {"PandaID": 8}], None, "one job is expected, there are 2"),
        ([{"PandaID": 7}], 8, "one job with PandaID 8 is expected, there are 0"),
        ({"StatusCode": 0, "jobs": []}, None, "one job is expected, there are 0"),
        ({"jobs": None}, None, "a JSON object is expected, not NoneType"),
        ([[]], None, "a JSON object is expected, not list"),
        ("5", None, "a JSON object is expected, not int"),
        (None, None, "a JSON object is expected, not NoneType"),
        (
            {"StatusCode": 20, "errorDialog": "no jobs in PanDA"},
            None,
            "there is no job, the server says 'no jobs in PanDA'",
        ),
        (
            {"success": False, "message": "No jobs in PanDA", "data": None},
            None,
            "there is no job, the server says 'No jobs in PanDA'",
        ),
        ({"success": False, "message": "no", "data": {}}, None, "there is no job, the server says 'no'"),
        ("", None, "not JSON at line 1, column 1: Input is a zero-length, empty document"),
        ('{"PandaID": 7,\n"a', None, "not JSON at line 2, column 3: unexpected end of data"),
        ("{'PandaID': 7}", None, "not JSON at line 1, column 2: unexpected character"),
        ("a=1&b=2", None, "not JSON at line 1, column 1: unexpected character"),
        (b"PandaID=\xff", None, "not JSON at line 1, column 1"),
        ("PandaID=7&a=%ff", None, "not JSON at line 1, column 1"),
        ("PandaID=7&a=\ud800", None, "not JSON at line 1, column 1"),
        ('{"jobPars": "x?a=1&PandaID=7', None, "not JSON at line 1, column"),
        ({"PandaID": 7, "x": {1, 2}}, None, "JSON cannot carry it: Type is not JSON serializable: set"),
        ({"PandaID": 2**70}, None, "JSON cannot carry it: "),
        ({"PandaID": 7, "x": "\ud800"}, None, "JSON cannot carry it: "),
        ('{"PandaID": 7, "x": ' + "[" * 300 + "]" * 300 + "}", None, "JSON cannot carry it: "),
        ("[" * 5000, None, "not JSON at line 1"),
    ],
)
def test_what_cannot_be_used_is_refused_with_one_sentence(content: object, panda_id: int | None, sentence: str) -> None:
    assert why(content, panda_id).startswith(sentence)


@pytest.mark.parametrize("cut", range(1, len(ACQUIRED) - 2, 97))
def test_a_truncated_definition_is_refused(cut: int) -> None:
    assert why(ACQUIRED[:cut]).startswith("not JSON at line")


@pytest.mark.parametrize("carried", [str, str.encode, lambda form: f" {form}\n"])
def test_a_url_encoded_form_is_read_like_json(carried: Callable[[str], str | bytes]) -> None:
    content = {"PandaID": "7", "jobPars": "--x='a b' --y=%1&c", "eventService": "True", "inFiles": "A,B", "scopeIn": ""}
    read = Job.read(carried(urlencode(content)))
    assert read == Job.read(content)
    assert read.arguments == ("--x=a b", "--y=%1&c")
    assert read.kind is JobKind.EVENTSERVICE


def test_an_unreadable_job_is_an_input_that_cannot_be_used() -> None:
    with pytest.raises(ValueError, match="job definition: PandaID is missing") as refusal:
        Job.read({})
    assert refusal.value.pilot_error_code is PilotErrorCode.INTERNALPILOTPROBLEM  # type: ignore[attr-defined]


@pytest.mark.parametrize("lfn", ["..", "a/b", "a\0", "a\nb"])
@pytest.mark.parametrize("key", ["inFiles", "outFiles"])
def test_an_lfn_that_leads_out_of_the_work_directory_is_refused(key: str, lfn: str) -> None:
    assert why({"PandaID": 1, key: f"A,{lfn}"}).startswith(f"{key}: ")


def test_what_was_wrong_with_the_files_is_said() -> None:
    read = job(inFiles="A", checksum="ad:?", fsize="?", logFile="log")
    assert [sentence.split()[0] for sentence in read.warnings] == ["logFile", "fsize", "checksum"]


# ---------------------------------------------------------------------------------------------------- jobPars


def test_job_pars_are_split_as_a_shell_would() -> None:
    read = job(jobPars=" --a 'b c' --d=\"e'f\" g\\ h ''\n$HOME `x` # ")
    assert read.arguments == ("--a", "b c", "--d=e'f", "g h", "", "$HOME", "`x`", "#")
    assert read.job_pars == read.definition["jobPars"]


@given(st.text("ab \t\n\r\x0b\xa0'\"\\", max_size=15))
def test_job_pars_are_split_as_pilots_split_them(text: str) -> None:
    try:
        expected = f"{shlex.split(text)}"
    except ValueError as error:
        expected = f"job definition: jobPars cannot be split into arguments: {error}"
    content = {"PandaID": 1, "jobPars": text}
    assert (refusal_of(content) or f"{list(Job.read(content).arguments)}") == expected


@pytest.mark.parametrize("text", ["--a='b", '"', "--a \\"])
def test_job_pars_with_open_quotes_are_refused(text: str) -> None:
    assert why({"PandaID": 1, "jobPars": text}).startswith("jobPars cannot be split into arguments: ")


@pytest.mark.parametrize(
    "text",
    [
        "--a --overwriteQueueData={'zip_time_gap': 300} --b",
        "--a --overwriteQueueData {'zip_time_gap': 300} --b",
        "--a --overwriteQueueData=\"{'zip_time_gap': 300}\" --b",
        "--a --overwriteQueueData '{\"zip_time_gap\": 300}' --b",
        "--overwriteQueueData={'zip_time_gap': 300} --a --b",
        "--a --b --overwriteQueueData={'zip_time_gap':300}",
        "--a --overwriteQueueData={'zip_time_gap': 1} --b --overwriteQueueData={'zip_time_gap': 300}",
    ],
)
def test_overwrites_of_queue_data_are_taken_out(text: str) -> None:
    read = job(jobPars=text)
    assert read.overwrite_queuedata == {"zip_time_gap": 300}
    assert read.arguments == ("--a", "--b")
    assert read.overwrite_storagedata == {}


def test_an_overwrite_may_have_braces_in_it() -> None:
    read = job(jobPars="""--overwriteStorageData={'X': {'a': '}', "b": ["{'", 'it\\'s']}} --overwriteQueueData={} z""")
    assert read.overwrite_storagedata == {"X": {"a": "}", "b": ["{'", "it's"]}}
    assert read.overwrite_queuedata == {}
    assert read.arguments == ("z",)


@pytest.mark.parametrize("value", ["{'a': 1}", "{allowfax=True,x={1}}"])
def test_the_older_overwrite_is_taken_out_and_not_read(value: str) -> None:
    read = job(jobPars=f"a --overwriteQueuedata={value} b")
    assert read.arguments == ("a", "b")
    assert read.overwrite_queuedata == {}


@pytest.mark.parametrize("option", ["--overwriteQueueData", "--overwriteStorageData", "--overwriteQueuedata"])
@pytest.mark.parametrize("value", ["", "x", "x {'a': 1}", "{'a': 1", "}{"])
def test_an_overwrite_without_a_dictionary_is_refused(option: str, value: str) -> None:
    assert why({"PandaID": 1, "jobPars": f"{option}={value}"}) == f"jobPars: {option} has no dictionary"


@pytest.mark.parametrize("value", ["{1: 2}", "{'a'}", "{a: 1}", "{'a' 1}", "{[]: 1}", "'x'", "'[1]'", "{'a': f()}"])
def test_an_overwrite_that_is_no_dictionary_of_literals_is_refused(value: str) -> None:
    sentence = "jobPars: --overwriteQueueData is no Python dictionary with texts as keys"
    assert why({"PandaID": 1, "jobPars": f"--overwriteQueueData={value}"}) == sentence


def test_what_looks_like_an_overwrite_inside_of_one_is_none() -> None:
    read = job(jobPars="""--overwriteStorageData={'X': ' --overwriteQueueData={} '} z""")
    assert read.overwrite_storagedata == {"X": " --overwriteQueueData={} "}
    assert read.arguments == ("z",)


@pytest.mark.parametrize(
    "text",
    [
        "--overwriteQueueData={" + "'\\" * 100_000,
        "--overwriteQueueData={" + "{" * 100_000,
        "--overwriteQueueData={} " * 20_000,
        "<ZIP_MAP>" * 50_000,
        "x" * 3_000_000,
        "''" * 100_000,
    ],
    ids=["quotes", "braces", "overwrites", "zip maps", "one long argument", "many quotations"],
)
def test_no_job_pars_keep_the_reader_busy(text: str) -> None:
    refusal_of({"PandaID": 1, "jobPars": "x" * 100_000 + " " + text})  # minutes, were any text read again and again


def test_an_overwrite_is_an_argument_of_its_own() -> None:
    assert job(jobPars="x--overwriteQueueData=y").arguments == ("x--overwriteQueueData=y",)


@pytest.mark.parametrize("quote", ["", "'", '"'])
def test_a_zip_map_is_taken_out(quote: str) -> None:
    read = job(jobPars=f"--a {quote}<ZIP_MAP>x:y,\nz</ZIP_MAP>{quote} --b")
    assert read.job_pars == "--a  --b"
    assert read.zip_map == "x:y,\nz"
    assert read.arguments == ("--a", "--b")


@pytest.mark.parametrize("separator", [" ", "=", "  "])
def test_a_container_image_is_taken_out(separator: str) -> None:
    read = job(jobPars=f"--a --containerImage{separator}docker://x:1 --b", container_name="other")
    assert (read.container_image, read.container_name) == ("docker://x:1", "other")
    assert read.arguments == ("--a", "--b")


@pytest.mark.parametrize("tags", ["ej", "es,ej", "ej,wf"])
def test_encoded_job_pars_are_decoded(tags: str) -> None:
    encoded = base64.b64encode(b"--a='b c' --containerImage X").decode()
    read = job(jobPars=encoded, specialHandling=tags)
    assert (read.arguments, read.container_image) == (("--a=b c",), "X")
    assert read.definition["jobPars"] == encoded
    assert Job.read(read.definition) == read


@pytest.mark.parametrize("tags", [None, "", "es", "rej", "ej2"])
def test_job_pars_are_not_decoded_without_the_tag(tags: str | None) -> None:
    assert job(jobPars="YQ==", specialHandling=tags).job_pars == "YQ=="


@pytest.mark.parametrize("text", ["?", "YQ=", "/w==", "ä"])
def test_job_pars_that_are_not_encoded_as_promised_are_refused(text: str) -> None:
    sentence = "jobPars is not the base64 that specialHandling ej promises"
    assert why({"PandaID": 1, "jobPars": text, "specialHandling": "ej"}) == sentence


def test_a_nul_character_that_was_encoded_is_refused() -> None:
    assert why({"PandaID": 1, "jobPars": "AA==", "specialHandling": "ej"}).startswith("jobPars holds a NUL")


# ------------------------------------------------------------------------------------------------- definition

plain = st.text(st.characters(codec="utf-8", exclude_characters="\0'\"\\"), max_size=20)
lists = st.lists(st.sampled_from(["A", "B", "zip://C", "gs://b/D", "", "NULL", "7", "ad:ff"]), max_size=5).map(",".join)
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(plain, inner, max_size=3),
    max_leaves=5,
)
DEFINITIONS = st.fixed_dictionaries(
    {"PandaID": st.integers(1, 10**18 - 1) | st.integers(1, 10**18 - 1).map(str)},
    optional={
        **dict.fromkeys(("inFiles", "outFiles", "GUID", "scopeOut", "fsize", "checksum", "prodDBlockToken"), lists),
        **dict.fromkeys(("eventService", "taskID", "coreCount", "unknown", "containerOptions"), anything),
        **dict.fromkeys(("jobPars", "swRelease", "cmtConfig", "logFile", "scopeLog", "pilotSecrets"), plain),
    },
)


@given(DEFINITIONS)
def test_a_job_is_read_again_from_its_definition(content: dict[str, object]) -> None:
    read = Job.read(content)
    again = Job.read(orjson.dumps(read.definition))
    assert again == read
    assert hash(again) == hash(read)
    assert again.model_dump() == read.model_dump()
    assert again.definition == read.definition
    assert Job.read(read.definition) == read


@given(DEFINITIONS)
def test_the_definition_is_what_was_said(content: dict[str, object]) -> None:
    content.pop("pilotSecrets", None)
    said = orjson.loads(orjson.dumps(content))
    assert {**Job.read(content).definition, **Job.read(content).secrets}.keys() == said.keys()


def refusal_of(content: object) -> str:
    """Its sentence; empty when it is read, and then it is read again from its definition."""
    try:
        read = Job.read(content)
    except UnreadableJob as refusal:
        return str(refusal)
    assert Job.read(read.definition) == read
    return ""


@given(anything | st.text() | st.binary())
def test_whatever_comes_is_a_job_or_refused_with_one_sentence(content: object) -> None:
    assert "\n" not in refusal_of(content)


@given(st.dictionaries(st.sampled_from([*LIST_KEYS, *PANDA_KEYS]), anything))
def test_whatever_a_key_has_is_read_or_refused_with_one_sentence(content: dict[str, object]) -> None:
    assert "\n" not in refusal_of({**content, "PandaID": 1})


@pytest.mark.parametrize("content", [ACQUIRED, MERGE, {"7": {"jobPars": "x"}}, b"PandaID=7&jobPars=x"])
def test_a_definition_in_any_wrapping_is_journalled_flat(content: object) -> None:
    read = Job.read(content)
    assert read.definition["PandaID"] in (read.panda_id, str(read.panda_id))
    assert Job.read(read.definition) == read


def test_what_the_caller_changes_later_does_not_change_the_job() -> None:
    content: dict[str, object] = {"PandaID": 1, "x": {"y": 1}}
    read = Job.read(content)
    content["x"] = 2
    assert read.extra == {"x": {"y": 1}}


def test_jobs_differ_when_anything_differs() -> None:
    assert job() != job(coreCount=2)
    assert job() != job(unknown=1)
    assert job() != job().model_copy(update={"core_count": 2})
    assert job() != "job"


def test_ten_thousand_files_are_read() -> None:
    names = [f"EVNT.41._{number:06}.pool.root" for number in range(10_000)]
    read = job(
        inFiles=",".join(names),
        fsize=",".join(["210034511"] * 10_000),
        checksum=",".join(["ad:5d3a9b10"] * 10_000),
        jobPars="--inputEVNTFile=@inputFor_X --list=" + ",".join(names),
        writeToFile="inputFor_X:" + ",".join(names),
        eventServiceMerge=True,
    )
    assert [file.lfn for file in read.in_files] == names
    assert read.arguments[1] == "--list=" + ",".join(names)
    assert read.written_files()[0]["inputFor_X.txt"] == ("--inputEVNTFile", *names)
