"""What every communicator promises behind `ports.Communicator`, run over each of them."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from esfsm.adapters.communicators.local import open_local
from esfsm.model.job import Job
from esfsm.model.report import ArchiveRecord, JobReport, Report
from esfsm.model.settings import Settings
from esfsm.ports import Communicator

RANGES = 20
"""What every server in this file begins with."""

ARCHIVE = ArchiveRecord("premerge.5001.1.tar", 20480, "0a1b2c3d", 1318)

Open = Callable[[str], Communicator]
"""Name of a run -> communicator of the job 5001, always with the same server."""


def local(tmp_path: Path) -> Open:
    job = Job.read({"PandaID": 5001, "taskID": 1001, "jobsetID": 5000, "inFiles": "EVNT.1.pool.root", "GUID": "G"})
    return lambda run: open_local(job, Settings(events=RANGES), tmp_path, run)


@pytest.fixture(params=[local])
def open_run(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    opened = request.param(tmp_path)
    with ExitStack() as closing:

        def open_and_close(run: str) -> Communicator:
            communicator = opened(run)
            closing.callback(communicator.close)
            return communicator

        yield open_and_close


@pytest.fixture
def communicator(open_run: Open) -> Communicator:
    running = open_run("r1")
    running.update_job(JobReport("running"))
    return running


def ids_of(communicator: Communicator, n: int, request: str) -> tuple[str, ...]:
    return tuple(granted.event_range_id for granted in communicator.get_event_ranges(n, request).event_ranges)


def test_it_has_the_shape_of_the_door(communicator: Communicator) -> None:
    assert isinstance(communicator, Communicator)


@pytest.mark.parametrize("n", [1, 3, RANGES])
def test_a_request_gets_as_many_ranges_as_it_asks_for(communicator: Communicator, n: int) -> None:
    assert len(communicator.get_event_ranges(n, "1.1").event_ranges) == n


def test_no_range_is_granted_twice_and_the_last_answer_says_exhausted(communicator: Communicator) -> None:
    granted: list[str] = []
    for number in range(RANGES):
        grant = communicator.get_event_ranges(3, f"1.{number}")
        granted += [event_range.event_range_id for event_range in grant.event_ranges]
        if grant.exhausted:
            break
    assert grant.exhausted
    assert len(granted) == len(set(granted)) == RANGES


def test_a_request_made_again_gets_the_same_ranges(communicator: Communicator) -> None:
    first = communicator.get_event_ranges(4, "1.1").event_ranges
    communicator.get_event_ranges(4, "1.2")
    assert communicator.get_event_ranges(4, "1.1").event_ranges == first


def test_a_run_that_comes_again_gets_the_same_ranges_for_the_same_request(open_run: Open) -> None:
    before = open_run("r1")
    before.update_job(JobReport("running"))
    first = before.get_event_ranges(4, "1.1").event_ranges
    before.close()
    assert open_run("r1").get_event_ranges(4, "1.1").event_ranges == first


@pytest.mark.parametrize("archive", [ARCHIVE, None], ids=["finished", "failed"])
def test_a_report_of_granted_ranges_is_accepted_and_so_is_its_repeat(
    communicator: Communicator, archive: ArchiveRecord | None
) -> None:
    report = Report(ids_of(communicator, 3, "1.1"), archive)
    assert communicator.update_event_ranges(report).accepted == report.event_range_ids
    assert communicator.update_event_ranges(report).accepted == report.event_range_ids


def test_a_second_word_about_a_range_is_accepted_like_a_repeat(communicator: Communicator) -> None:
    (name,) = ids_of(communicator, 1, "1.1")
    communicator.update_event_ranges(Report((name,)))
    assert communicator.update_event_ranges(Report((name,), ARCHIVE)).accepted == (name,)


def test_accepted_and_refused_are_complete_and_disjoint(communicator: Communicator) -> None:
    names = (*ids_of(communicator, 2, "1.1"), "1001-5001-100101-999999-1")
    answer = communicator.update_event_ranges(Report(names, ARCHIVE))
    assert sorted(answer.accepted + answer.refused) == sorted(names)


def test_a_report_after_the_end_of_the_job_is_refused_with_a_reason(communicator: Communicator) -> None:
    names = ids_of(communicator, 2, "1.1")
    communicator.update_job(JobReport("finished"))
    answer = communicator.update_event_ranges(Report(names, ARCHIVE))
    assert (answer.accepted, answer.refused) == ((), names)
    assert answer.why


def test_a_job_that_has_ended_gets_no_ranges(communicator: Communicator) -> None:
    communicator.update_job(JobReport("failed", error_code=1201))
    assert not communicator.get_event_ranges(1, "1.1").event_ranges


@pytest.mark.parametrize("state", ["starting", "running", "transferring"])
def test_a_job_that_goes_on_is_told_no_command(communicator: Communicator, state: str) -> None:
    assert communicator.update_job(JobReport(state)) is None


def test_a_second_end_of_the_job_is_told_that_it_was_the_second(communicator: Communicator) -> None:
    assert communicator.update_job(JobReport("finished")) is None
    assert communicator.update_job(JobReport("finished")) == "alreadydone"


def test_threads_that_ask_at_once_get_different_ranges(communicator: Communicator) -> None:
    with ThreadPoolExecutor(RANGES) as threads:
        granted = list(threads.map(lambda number: ids_of(communicator, 1, f"1.{number}"), range(RANGES)))
    assert len({name for names in granted for name in names}) == RANGES


def test_a_second_close_does_nothing(communicator: Communicator) -> None:
    communicator.close()
    communicator.close()
