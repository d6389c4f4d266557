"""Each call as it is made, beside the ones that real servers have answered."""

import json
from urllib.parse import parse_qsl, urlsplit

import pytest
from wire.exchanges import EXCHANGES, Exchange

from esfsm.model.report import ArchiveRecord, JobReport, Report
from esfsm.wire.panda.calls import GENERATIONS, V1, Call, Legacy
from esfsm.wire.panda.jobs import Consumer

CONSUMER = Consumer(5001, 4001, 1001)
FAILED = Report(("1001-5001-100101-1-10",), error_code=1305, error_diag="boom")
ARCHIVE = ArchiveRecord("a.tar", 1000, "0badcafe", 117)
FINISHED = Report(("1001-5001-100101-1-10", "1001-5001-100101-2-10"), archive=ARCHIVE)


def recorded(call: Call) -> list[Exchange]:
    """The exchanges whose request was made as this one is: to the same method with the same headers."""
    path = urlsplit(call.path).path
    return [
        each
        for each in EXCHANGES
        if (each.verb, urlsplit(each.path).path, each.headers) == (call.verb, path, call.headers)
    ]


def arguments(call: Call) -> dict[str, object]:
    """What is asked, whatever form it has."""
    if not call.body:
        return dict(parse_qsl(urlsplit(call.path).query))
    if "json" in call.headers["Content-Type"]:
        return json.loads(call.body)
    return dict(parse_qsl(call.body.decode()))


CALLS = {
    f"{generation.name} {name}": call
    for generation in GENERATIONS
    for name, call in {
        "acquire_jobs": generation.acquire_jobs({"site_name": "TEST_ES", "prod_source_label": "managed"}),
        "acquire_event_ranges": generation.acquire_event_ranges(CONSUMER, 2),
        "update_event_ranges, failed": generation.update_event_ranges(FAILED),
        "update_event_ranges, finished": generation.update_event_ranges(FINISHED),
        "event_range_statuses": generation.event_range_statuses(CONSUMER),
        "update_job": generation.update_job(CONSUMER, JobReport("running")),
    }.items()
    if call is not None
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_call_is_made_as_one_that_was_answered(call: Call) -> None:
    assert [each for each in recorded(call) if each.status == 200 or "update_event_ranges" in call.path]


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_every_argument_has_a_name_that_the_server_knows(call: Call) -> None:
    known = {
        name
        for each in recorded(call)
        if each.body != '{"job_id": 5001,'  # broken on purpose
        for name in arguments(Call(each.verb, each.path, each.headers, each.body.encode()))
    }
    assert arguments(call).keys() <= known


def test_the_older_generation_is_asked_by_a_form() -> None:
    call = Legacy().acquire_event_ranges(CONSUMER, 2)
    assert (call.verb, call.path, call.body) == (
        "POST",
        "/server/panda/getEventRanges",
        b"pandaID=5001&jobsetID=4001&taskID=1001&nRanges=2",
    )


def test_the_newer_generation_is_asked_in_json_with_whole_numbers() -> None:
    assert arguments(V1().acquire_event_ranges(CONSUMER, 2)) == {
        "job_id": 5001,
        "jobset_id": 4001,
        "task_id": 1001,
        "n_ranges": 2,
    }


@pytest.mark.parametrize("generation", GENERATIONS, ids=lambda generation: generation.name)
@pytest.mark.parametrize(("report", "version"), [(FAILED, 0), (FINISHED, 1)])
def test_a_report_is_json_text_inside_the_call_with_its_version(generation, report: Report, version: int) -> None:
    said = arguments(generation.update_event_ranges(report))
    text = said.get("event_ranges", said.get("eventRanges"))
    assert int(said["version"]) == version
    (first, *_) = json.loads(text)
    assert ("zipFile" in first) == bool(version)


def test_the_books_are_asked_for_by_panda_id_as_the_server_reads_it() -> None:
    call = V1().event_range_statuses(CONSUMER)
    assert json.loads(arguments(call)["job_task_ids"]) == [{"task_id": 1001, "panda_id": 5001}]
    assert Legacy().event_range_statuses(CONSUMER) is None


FINAL = JobReport("failed", 7, 1305, "x" * 600 + "\0", 65, {"a.tar": {"fsize": 1000}})


@pytest.mark.parametrize(
    ("report", "legacy", "v1"),
    [
        (
            JobReport("running", 7, cpu_s=12.5),
            {
                "jobId": "5001",
                "state": "running",
                "attemptNr": "1",
                "siteName": "TEST_ES",
                "node": "wn1",
                "nEvents": "7",
                "coreCount": "8",
                "cpuConsumptionTime": "12",
                "jobMetrics": "coreCount=8 nEvents=7",
            },
            {
                "job_id": 5001,
                "job_status": "running",
                "attempt_nr": 1,
                "site_name": "TEST_ES",
                "node": "wn1",
                "n_events": 7,
                "core_count": 8,
                "cpu_consumption_time": 12,
                "job_metrics": "coreCount=8 nEvents=7",
            },
        ),
        (
            FINAL,
            {"state": "failed", "pilotErrorCode": "1305", "pilotErrorDiag": "x" * 500, "transExitCode": "65"},
            {"job_status": "failed", "pilot_error_code": 1305, "pilot_error_diag": "x" * 500, "trans_exit_code": 65},
        ),
    ],
    ids=["running", "final"],
)
def test_a_heartbeat_says_what_is_known_in_the_words_of_each_generation(report, legacy, v1) -> None:
    consumer = Consumer(5001, 4001, 1001, attempt_nr=1, site="TEST_ES", node="wn1", cores=8)
    for generation, expected in ((Legacy(), legacy), (V1(), v1)):
        said = arguments(generation.update_job(consumer, report))
        assert {**said, **expected} == said


def test_the_final_report_names_the_outputs() -> None:
    for generation, name in ((Legacy(), "xml"), (V1(), "job_output_report")):
        assert json.loads(arguments(generation.update_job(CONSUMER, FINAL))[name]) == {"a.tar": {"fsize": 1000}}


def test_jobs_are_asked_for_in_the_words_of_each_generation() -> None:
    query = {"site_name": "TEST_ES", "prod_source_label": "managed", "n_jobs": 5, "memory": 4000}
    assert arguments(V1().acquire_jobs(query)) == query
    assert arguments(Legacy().acquire_jobs(query)) == {
        "siteName": "TEST_ES",
        "prodSourceLabel": "managed",
        "nJobs": "5",
        "mem": "4000",
    }


def test_the_convention_of_the_archives_path_is_told_beside_the_number_of_its_storage() -> None:
    archive = ArchiveRecord("a.tar", 1000, "0badcafe", 1318, path_convention=1000)
    said = arguments(Legacy().update_event_ranges(Report(("1-2-3-4-5",), archive=archive)))
    (chunk,) = json.loads(said["eventRanges"])
    assert (chunk["zipFile"]["objstoreID"], chunk["zipFile"]["pathConvention"]) == (1318, 1000)
