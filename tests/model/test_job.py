"""A job definition is read strictly, in whatever wrapping it comes."""

import base64
from pathlib import Path

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
    ("value", "expected"),
    [(8, 8), ("8", 8), (" 8 ", 8), ("008", 8), (8.0, 8), (0, 0), (2**63 - 1, 2**63 - 1), (None, 0), ("NULL", 0)],
)
def test_a_number_may_be_text(value: object, expected: int) -> None:
    read = job(maxWalltime=value, taskID=value)
    assert read.max_walltime_s == expected
    assert read.task_id == (None if value in (None, "NULL") else expected)
    assert read.warnings == ()


@pytest.mark.parametrize("value", ["x", "", "8.5", "-1", -1, [], {}, "9" * 5000, 2**63])
def test_a_number_that_is_none_becomes_the_default_and_is_said(value: object) -> None:
    read = job(maxWalltime=value, jobsetID=value)
    assert (read.max_walltime_s, read.jobset_id) == (0, None)
    jobset, walltime = read.warnings
    assert jobset.startswith("jobsetID is ")
    assert jobset.endswith(", not a whole number from 0 on, of 63 bits: None is taken")
    assert walltime.endswith(", not a whole number from 0 on, of 63 bits: 0 is taken")
    assert len(jobset) < 200


@pytest.mark.parametrize(
    ("value", "cores"),
    [(8, 8), ("8", 8), (0, 1), ("0", 1), (None, 1), ("NULL", 1), (-4, 1), (100_000, 100_000), (100_001, 100_000)],
)
def test_a_job_has_at_least_one_core_and_no_more_than_a_machine_may_have(value: object, cores: int) -> None:
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


@pytest.mark.parametrize(
    ("content", "panda_id", "sentence"),
    [
        ({"x": {}}, None, "PandaID is 'x', not a positive whole number"),
        ({"PandaID": 7}, 8, "PandaID is 7, not 8"),
        ([{"PandaID": 7}], 8, "one job with PandaID 8 is expected, there are 0"),
    ],
)
def test_another_job_than_the_one_that_was_asked_for_is_refused(
    content: object, panda_id: int | None, sentence: str
) -> None:
    assert why(content, panda_id) == sentence


@pytest.mark.parametrize("wrapped", [ACQUIRED, {"5001": {"PandaID": 5001}}, "PandaID=5001&jobPars=x"])
def test_a_panda_id_chooses_a_job_in_any_wrapping(wrapped: object) -> None:
    assert Job.read(wrapped, panda_id=5001).panda_id == 5001


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


def test_job_pars_are_read_into_the_fields_of_the_job() -> None:
    overwrites = "--overwriteQueueData={'x': 1} --overwriteStorageData={'y': 2}"
    text = f"--a 'b c' {overwrites} <ZIP_MAP>z</ZIP_MAP> --containerImage i"
    read = job(jobPars=text)
    assert read.job_pars.split() == ["--a", "'b", "c'"]
    assert read.arguments == ("--a", "b c")
    assert (read.overwrite_queuedata, read.overwrite_storagedata) == ({"x": 1}, {"y": 2})
    assert (read.zip_map, read.container_image) == ("z", "i")
    assert read.definition["jobPars"] == text


def test_a_container_of_the_definition_is_another_one() -> None:
    read = job(jobPars="--containerImage docker://x:1", container_name="other")
    assert (read.container_image, read.container_name) == ("docker://x:1", "other")


@pytest.mark.parametrize("tags", ["ej", "es,ej", "ej,wf"])
def test_encoded_job_pars_are_decoded(tags: str) -> None:
    encoded = base64.b64encode(b"--a='b c'").decode()
    read = job(jobPars=encoded, specialHandling=tags)
    assert read.arguments == ("--a=b c",)
    assert read.definition["jobPars"] == encoded
    assert Job.read(read.definition) == read


@pytest.mark.parametrize("tags", [None, "", "es", "rej", "ej2"])
def test_job_pars_are_not_decoded_without_the_tag(tags: str | None) -> None:
    assert job(jobPars="YQ==", specialHandling=tags).job_pars == "YQ=="


def test_a_nul_character_that_was_encoded_is_refused() -> None:
    assert why({"PandaID": 1, "jobPars": "AA==", "specialHandling": "ej"}).startswith("jobPars holds a NUL")


def test_the_files_to_be_merged_are_listed_once_in_their_order() -> None:
    assert job(writeToFile="A:z,a^B:a,m").listed_files == ("z", "a", "m")


@pytest.mark.parametrize("nothing", [None, "", "NULL"])
def test_a_job_that_lists_nothing_has_nothing_to_merge(nothing: str | None) -> None:
    assert job(writeToFile=nothing).listed_files == ()


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
