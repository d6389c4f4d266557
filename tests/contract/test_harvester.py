"""The communicator for Harvester: over the files of an access point, with a Harvester that stands in behind them."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from random import Random
from threading import Event

import pytest
from contract import test_communicator as promises
from contract.access_points import JOB, Site, event_range, failed, name, take

from esfsm.adapters.communicators.harvester import HarvesterCommunicator, Patience
from esfsm.errors import WireError
from esfsm.model.report import Answer, ArchiveRecord, Grant, JobReport, Report
from esfsm.ports import Communicator
from esfsm.standins.harvester import FAULTS, Messenger

REQUEST, FEED, DUMP = "worker_requestevents.json", "JobsEventRanges.json", "event_status.dump.json"
NUMBERS = {"5001": {"pandaID": 5001, "jobsetID": 5000, "taskID": 1001, "nRanges": 2}}
SOON = Patience(1.0, 3.0)
OVERWRITE = {"overwrites-unread-feed", "crash-after-feed"}
"""Faults by which Harvester itself loses a feed: as a whole, and until the job ends."""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def open_run(site: Site) -> Iterator[promises.Open]:
    with ExitStack() as closing:

        def open_and_close(run: str) -> Communicator:
            communicator = site.open(run)
            closing.callback(communicator.close)
            return communicator

        yield open_and_close


@pytest.fixture
def communicator(open_run: promises.Open) -> Communicator:
    return open_run("r1")


# --- what every communicator promises, as far as Harvester can; the rest needs a server that has an answer at once ---

test_it_has_the_shape_of_the_door = promises.test_it_has_the_shape_of_the_door
test_a_request_gets_as_many_ranges_as_it_asks_for = promises.test_a_request_gets_as_many_ranges_as_it_asks_for
test_a_request_made_again_gets_the_same_ranges = promises.test_a_request_made_again_gets_the_same_ranges
test_a_run_that_comes_again_gets_the_same_ranges = (
    promises.test_a_run_that_comes_again_gets_the_same_ranges_for_the_same_request
)
test_a_job_that_goes_on_is_told_no_command = promises.test_a_job_that_goes_on_is_told_no_command
test_threads_that_ask_at_once_get_different_ranges = promises.test_threads_that_ask_at_once_get_different_ranges
test_a_second_close_does_nothing = promises.test_a_second_close_does_nothing


def test_nobody_can_say_what_is_booked(communicator: Communicator) -> None:
    assert communicator.booked() is None


def test_no_ranges_is_never_the_end(tmp_path: Path) -> None:
    assert Site(tmp_path, ranges=0).open().get_event_ranges(2, "r1.0") == Grant()


# --- requests ---


def steps(*do: Callable[[], object]) -> Callable[[], object]:
    """What happens in each pause, one after the other; nothing in those that follow."""
    left = list(do)
    return lambda: left.pop(0)() if left else None


def test_a_feed_is_not_read_before_the_request_has_gone(site: Site) -> None:
    def feed(*numbers: int) -> None:
        site.put(FEED, {"5001": [event_range(n) for n in numbers]})

    def feed_again() -> None:
        feed(2)
        (site.directory / REQUEST).unlink()

    assert take(site.open(pause=steps(lambda: feed(1), feed_again)), 1) == (name(2),)


def test_half_a_feed_is_not_taken_and_no_request_is_put_beside_it(site: Site) -> None:
    requests: list[bool] = []

    def finish() -> None:
        requests.append(site.holds(REQUEST))
        site.put(FEED, {"5001": [event_range(1)]})

    site.put(FEED, '{"5001": [{"eventRangeID"')
    assert take(site.open(pause=steps(finish)), 1) == (name(1),)
    assert requests == [False]


def test_a_feed_that_is_still_written_while_it_is_taken_is_read_when_it_is_whole(site: Site) -> None:
    taken = f"{FEED}.5001.r1.0"
    site.put(taken, '{"5001": [')
    finish = steps(lambda: site.put(taken, {"5001": [event_range(1)]}))
    assert take(site.open(pause=finish), 1) == (name(1),)
    assert not site.holds(REQUEST)


def test_what_harvester_fed_before_the_worker_began_is_taken_first(site: Site) -> None:
    site.put(FEED, {"5001": [event_range(1)]})
    communicator = site.open()
    assert take(communicator, 1) == (name(1),)
    assert not site.harvester.fed
    assert take(communicator, 1, "r1.1")
    assert len(site.harvester.fed) == 1


@pytest.mark.parametrize("request_name", ["r1.0", "r2.0"], ids=["the same run", "another run"])
def test_the_request_of_a_dead_engine_is_waited_for_and_not_put_again(site: Site, request_name: str) -> None:
    site.put(REQUEST, NUMBERS)
    assert take(site.open("r2"), 5, request_name) == (name(1), name(2))
    assert len(site.harvester.fed) == 1


def test_a_feed_that_a_dead_engine_did_not_take_is_the_answer_to_who_asks_next(site: Site) -> None:
    site.put(REQUEST, NUMBERS)
    site.harvester.turn()
    assert take(site.open("r2"), 5, "r2.0") == (name(1), name(2))
    assert len(site.harvester.fed) == 1


def test_a_feed_for_another_job_of_the_worker_is_left_for_that(site: Site) -> None:
    other = {**event_range(1), "eventRangeID": "1001-4999-100101-1-10"}
    site.put(FEED, {"4999": [other]})
    assert take(site.open(), 2) == (name(1), name(2))
    assert site.read(f"{FEED}.4999") == {"4999": [other]}


def test_an_answer_stays_the_answer_when_there_is_a_later_feed(site: Site) -> None:
    communicator = site.open()
    first = take(communicator, 2, "r1.0")
    site.put(FEED, {"5001": [event_range(7)]})
    assert take(communicator, 2, "r1.0") == first
    assert take(communicator, 2, "r1.1") == (name(7),)


@pytest.mark.parametrize("feed", [{"5001": [7]}, {"job": []}, {}])
def test_a_feed_that_is_none_is_an_unknown_answer_and_stays_to_be_looked_at(site: Site, feed: object) -> None:
    site.put(FEED, feed)
    with pytest.raises(WireError, match="Harvester fed"):
        take(site.open(), 2)
    assert site.read(FEED) == feed
    assert not site.holds(REQUEST)


def test_a_request_that_is_taken_away_for_nothing_is_an_unknown_answer(site: Site) -> None:
    site.harvester.messenger = Messenger(site.directory, [JOB.panda_id], "ManyToOne")
    with pytest.raises(WireError, match="took the request for event ranges away and gave none"):
        take(site.open(), 2)
    assert len(site.harvester.fed) == 1


def test_patience_has_an_end_and_the_next_try_goes_on_from_there(site: Site) -> None:
    with pytest.raises(WireError, match="Harvester has not given event ranges within 3 s"):
        take(site.open(pause=lambda: None, patience=SOON), 2)
    assert take(site.open(), 5) == (name(1), name(2))
    assert len(site.harvester.fed) == 1


def test_who_waits_is_released_when_it_is_closed(site: Site) -> None:
    def close() -> None:
        communicator.close()

    communicator = site.open(pause=close)
    with pytest.raises(WireError, match="closed before Harvester had given event ranges"):
        take(communicator, 2)


def test_who_is_closed_asks_for_nothing(site: Site) -> None:
    communicator = site.open()
    communicator.close()
    with pytest.raises(WireError, match="closed"):
        take(communicator, 2)
    assert not site.holds(REQUEST)


@pytest.mark.parametrize("report", [failed(name(1)), Report((name(1),))])
def test_who_is_closed_dumps_nothing(site: Site, report: Report) -> None:
    communicator = site.open()
    communicator.close()
    with pytest.raises(WireError, match="closed before Harvester had acknowledged a report"):
        communicator.update_event_ranges(report)
    assert not site.holds(DUMP)


# --- reports ---


def test_a_report_is_accepted_when_it_is_acknowledged_and_panda_hears_it(site: Site) -> None:
    communicator = site.open()
    assert communicator.update_event_ranges(site.finished(name(1), name(2))) == Answer((name(1), name(2)))
    assert communicator.update_event_ranges(failed(name(3))) == Answer((name(3),))
    assert site.panda.booked == {
        name(1): ("finished", "a.tar"),
        name(2): ("finished", "a.tar"),
        name(3): ("failed", None),
    }


def test_a_dump_that_is_read_and_not_acknowledged_is_no_answer(site: Site) -> None:
    def read() -> None:
        site.harvester.messenger.files_to_stage_out()

    with pytest.raises(WireError, match="has not acknowledged a report within 3 s"):
        site.open(pause=read, patience=SOON).update_event_ranges(failed(name(1)))
    assert site.holds(f"{DUMP}.read")


def test_while_a_dump_is_not_acknowledged_no_other_is_put(site: Site) -> None:
    dumps: list[bool] = []

    def look() -> None:
        dumps.append(site.holds(DUMP))
        site.harvester.turn()

    site.put(f"{DUMP}.read", {"5001": [{"eventRangeID": name(9), "eventStatus": "failed"}]})
    site.open(pause=look).update_event_ranges(failed(name(1)))
    assert dumps == [False, True]
    assert list(site.panda.booked) == [name(9), name(1)]


@pytest.mark.parametrize("turns", [0, 1], ids=["dumped", "acknowledged"])
@pytest.mark.parametrize("kind", ["finished", "failed"])
def test_a_report_made_again_by_another_engine_is_not_dumped_again(site: Site, kind: str, turns: int) -> None:
    report = site.finished(name(1)) if kind == "finished" else failed(name(1))
    with pytest.raises(WireError):
        site.open(pause=lambda: None, patience=SOON).update_event_ranges(report)
    for _ in range(turns):
        site.harvester.turn()
    assert site.open().update_event_ranges(report).accepted == report.event_range_ids
    assert len(site.dumps()) == 1
    assert site.panda.heard == [name(1)]


def test_a_dump_that_was_lost_is_put_again(site: Site) -> None:
    lose = steps((site.directory / DUMP).unlink, site.harvester.turn)
    site.open(pause=lose).update_event_ranges(failed(name(1)))
    assert site.panda.heard == [name(1)]


def test_reports_that_wait_go_into_one_dump(site: Site) -> None:
    def turn() -> None:
        if communicator.waiting == 4 or site.dumps():
            site.harvester.turn()

    communicator = site.open(pause=turn, patience=Patience(1.0, 1e9))
    site.put(DUMP, {"5001": [{"eventRangeID": name(9), "eventStatus": "failed"}]})
    reports = [site.finished(name(1), name(2)), failed(name(3)), site.finished(name(4), lfn="b.tar"), failed(name(5))]
    with ThreadPoolExecutor(len(reports)) as threads:
        answers = list(threads.map(communicator.update_event_ranges, reports))
    assert [answer.accepted for answer in answers] == [report.event_range_ids for report in reports]
    assert len(site.dumps()) == 2
    assert sorted(site.panda.heard) == [name(n) for n in (1, 2, 3, 4, 5, 9)]
    assert communicator.waiting == 0


def test_a_report_that_was_acknowledged_before_goes_into_no_dump_of_others(site: Site) -> None:
    began = Event()

    def turn() -> None:
        began.set()
        if communicator.waiting == 2 or len(site.dumps()) > 1:
            site.harvester.turn()

    site.open().update_event_ranges(failed(name(1)))
    communicator = site.open(pause=turn, patience=Patience(1.0, 1e9))
    site.put(DUMP, {"5001": [{"eventRangeID": name(9), "eventStatus": "failed"}]})
    with ThreadPoolExecutor(1) as threads:
        new = threads.submit(communicator.update_event_ranges, failed(name(2)))
        assert began.wait(10.0)
        communicator.update_event_ranges(failed(name(1)))
        new.result()
    assert site.panda.heard == [name(1), name(9), name(2)]


def test_an_acknowledged_dump_is_read_once(site: Site) -> None:
    communicator = site.open()
    communicator.update_event_ranges(failed(name(1)))
    (dump,) = site.directory.glob(f"{DUMP}.read.*")
    dump.unlink()
    dump.mkdir()
    assert communicator.update_event_ranges(failed(name(1))).accepted


@pytest.mark.parametrize(
    "url", ["/nowhere/a.tar", "", "root://storage/a.tar", "file:///nowhere/a.tar"], ids=lambda url: url or "none"
)
def test_an_archive_that_harvester_could_not_take_is_not_reported(site: Site, url: str) -> None:
    report = Report((name(1),), ArchiveRecord("a.tar", 10, "0a1b2c3d", 117, None, url))
    with pytest.raises(WireError, match=r"archive a\.tar is not at"):
        site.open().update_event_ranges(report)
    assert not site.holds(DUMP)


def test_an_archive_of_another_size_is_not_reported(site: Site) -> None:
    report = Report((name(1),), replace(site.archive(), size_bytes=11))
    with pytest.raises(WireError, match=r"archive a\.tar is not at"):
        site.open().update_event_ranges(report)


def test_an_archive_may_be_named_by_a_url(site: Site) -> None:
    archive = site.archive()
    site.open().update_event_ranges(Report((name(1),), replace(archive, url=f"file://{archive.url}")))
    (entry,) = site.dumps()[0]["5001"]
    assert entry["path"] == archive.url


@pytest.mark.parametrize(
    "ask",
    [
        lambda communicator: take(communicator, 1),
        lambda communicator: communicator.update_event_ranges(failed(name(1))),
        lambda communicator: communicator.update_job(JobReport("running")),
    ],
    ids=["request", "report", "heartbeat"],
)
def test_a_file_system_that_fails_is_an_unknown_answer(
    site: Site, ask: Callable[[HarvesterCommunicator], object]
) -> None:
    communicator = site.open()
    site.directory.rmdir()
    with pytest.raises(WireError, match="No such file or directory"):
        ask(communicator)


# --- the job ---


def test_a_heartbeat_is_put_where_harvester_reads_it(site: Site) -> None:
    communicator = site.open()
    communicator.update_job(JobReport("running", events=5))
    said = {"jobStatus": "running", "nEvents": 5, "jobMetrics": "nEvents=5"}
    assert site.harvester.messenger.attributes() == {5001: said}
    assert site.holds("worker_heartbeat.json")
    assert not site.holds(DUMP)


def test_the_payloads_report_is_passed_on_at_the_end(site: Site) -> None:
    (site.directory.parent / "jobReport.json").write_text('{"exitCode": 0}')
    communicator = site.open()
    communicator.update_job(JobReport("running"))
    assert not site.holds("jobReport.json")
    communicator.update_job(JobReport("finished"))
    assert site.harvester.messenger.attributes()[5001]["metaData"] == {"exitCode": 0}


def outputs(*archives: ArchiveRecord) -> dict[str, dict[str, object]]:
    return {each.lfn: {"fsize": each.size_bytes, "adler32": each.adler32, "surl": each.url} for each in archives}


def test_the_outputs_of_a_job_are_in_harvesters_books_before_its_end_is_told(site: Site) -> None:
    seen: list[bool] = []

    def look() -> None:
        seen.append(site.holds("worker_attributes.json"))
        site.harvester.turn()

    output = site.archive("o.root")
    site.open(pause=look).update_job(JobReport("finished", outputs=outputs(output)))
    assert site.dumps() == [{"5001": [{"path": output.url, "type": "output", "fsize": 10, "chksum": "0a1b2c3d"}]}]
    assert seen == [False]
    assert site.harvester.messenger.attributes()[5001]["jobStatus"] == "finished"


def test_the_log_of_a_job_is_in_harvesters_books_as_its_log(site: Site) -> None:
    log = site.archive("log.tgz")
    told = outputs(replace(log, url=f"file://{log.url}"))
    told["log.tgz"]["guid"] = "1B2C"
    site.open(pause=site.harvester.turn).update_job(JobReport("finished", outputs=told, log="log.tgz"))
    entry = {"path": log.url, "type": "log", "fsize": 10, "chksum": "0a1b2c3d", "guid": "1B2C"}
    assert site.dumps() == [{"5001": [entry]}]


def test_an_archive_that_was_reported_is_no_output_once_more(site: Site) -> None:
    report = site.finished(name(1))
    site.open().update_event_ranges(report)
    site.open().update_job(JobReport("finished", outputs=outputs(report.archive)))
    assert len(site.dumps()) == 1


def test_an_output_elsewhere_keeps_the_end_from_being_told(site: Site) -> None:
    output = replace(site.archive("o.root"), url="root://storage/o.root")
    with pytest.raises(WireError, match=r"output o\.root is not where Harvester could take it from"):
        site.open().update_job(JobReport("finished", outputs=outputs(output)))
    assert not site.holds("worker_attributes.json")


# --- everything at once ---


@pytest.mark.parametrize("faults", [(), *((fault,) for fault in FAULTS), tuple(FAULTS)], ids="+".join)
@pytest.mark.parametrize("seed", range(5))
def test_whatever_goes_wrong_each_range_is_accounted_for_once(
    tmp_path: Path, faults: tuple[str, ...], seed: int
) -> None:
    site = Site(tmp_path, faults=faults, chance=Random(seed))
    communicator = site.open(patience=Patience(1.0, 1000.0))
    granted: list[str] = []
    for number in range(40):
        names = take(communicator, 3, f"r1.{number}")
        assert not set(names) & set(granted)
        granted += names
        if names:
            communicator.update_event_ranges(site.finished(*names[:2], lfn=f"{number}.tar"))
            communicator.update_event_ranges(failed(*names[2:]))
    communicator.update_job(JobReport("finished"))
    site.harvester.turn()
    assert not site.panda.ready
    assert sorted(site.panda.booked) == sorted(granted)
    for feed in site.harvester.fed:
        assert set(feed) <= set(granted) or (not set(feed) & set(granted) and OVERWRITE & set(faults))


def test_a_communicator_is_opened_for_a_run(communicator: HarvesterCommunicator) -> None:
    communicator.join()
    communicator.join()
    assert take(communicator, 1)
