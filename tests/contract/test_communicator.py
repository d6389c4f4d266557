"""What every communicator promises behind `ports.Communicator`, run over each; then who asks a local broker only."""

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest
from contract import brokers
from contract.brokers import contents, fail, finish, in_another_process, take, without_event_ranges

from esfsm.adapters.communicators.local import open_local
from esfsm.errors import UnusableInput, WireError
from esfsm.model.job import Job
from esfsm.model.report import ArchiveRecord, Booked, JobReport, Report
from esfsm.model.settings import Settings
from esfsm.ports import Communicator

RANGES = 20
"""What every server in this file begins with."""

ARCHIVE = ArchiveRecord("premerge.5001.1.tar", 20480, "0a1b2c3d", 1318)
OTHER_ARCHIVE = replace(ARCHIVE, lfn="premerge.5001.2.tar")

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


@pytest.mark.parametrize(("first", "second"), [(None, ARCHIVE), (ARCHIVE, None), (ARCHIVE, OTHER_ARCHIVE)])
def test_the_first_final_word_about_a_range_stays(
    communicator: Communicator, first: ArchiveRecord | None, second: ArchiveRecord | None
) -> None:
    names = ids_of(communicator, 1, "1.1")
    communicator.update_event_ranges(Report(names, first))
    before = communicator.booked()
    communicator.update_event_ranges(Report(names, second))
    assert communicator.booked() == before


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


def test_before_anything_is_handed_out_nothing_is_booked(communicator: Communicator) -> None:
    assert communicator.booked() == {}


def test_each_range_is_booked_as_it_was_reported(communicator: Communicator) -> None:
    one, two, three = ids_of(communicator, 3, "1.1")
    communicator.update_event_ranges(Report((one,), ARCHIVE))
    communicator.update_event_ranges(Report((two,), error_code=1220))
    booked = communicator.booked()
    assert booked == {one: Booked("finished", ARCHIVE.lfn), two: Booked("failed"), three: Booked("sent")}
    assert communicator.booked() == booked


def test_what_is_booked_stays_when_the_job_has_ended(communicator: Communicator) -> None:
    names = ids_of(communicator, 2, "1.1")
    communicator.update_event_ranges(Report(names[:1], ARCHIVE))
    communicator.update_job(JobReport("finished"))
    booked = communicator.booked()
    assert booked[names[0]] == Booked("done", ARCHIVE.lfn)
    assert names[1] not in booked or booked[names[1]].status not in ("sent", "running")


def test_a_run_is_told_of_the_ranges_of_every_run_of_its_job(open_run: Open) -> None:
    before = open_run("r1")
    before.update_job(JobReport("running"))
    names = ids_of(before, 2, "1.1")
    assert open_run("r2").booked() == dict.fromkeys(names, Booked("sent"))


def test_whoever_asks_what_is_booked_takes_nothing_from_who_runs_the_job(open_run: Open) -> None:
    running, asking = open_run("r1"), open_run("r1")
    running.update_job(JobReport("running"))
    names = ids_of(running, 2, "1.1")
    assert asking.booked() is not None
    asking.close()
    assert ids_of(running, 2, "1.1") == names
    assert running.update_event_ranges(Report(names, ARCHIVE)).accepted == names


def test_a_second_close_does_nothing(communicator: Communicator) -> None:
    communicator.close()
    communicator.close()


# A local broker that is only asked


TAKING = """
import sys
from pathlib import Path
from contract.brokers import job, take
from esfsm.adapters.communicators.local import open_local
from esfsm.model.settings import Settings
communicator = open_local(job(), Settings(broker=Path(sys.argv[1]), events=3), Path(), "r1")
print(*take(communicator, 2), flush=True)
sys.stdin.read()
"""


def ask(path: Path, panda_id: int = 5001) -> dict[str, Booked]:
    """As an audit does: another opening, with nothing to fill the broker with."""
    with closing(open_local(brokers.job(panda_id), Settings(broker=path), path.parent, "r1")) as asking:
        return dict(asking.booked())


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """Where the fixture `opened` has its broker."""
    return tmp_path / "shared.sqlite"


def consumers(path: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT * FROM consumers").fetchall()


def test_only_ranges_of_this_job_and_task_are_booked_for_it(opened: brokers.Open, shared: Path) -> None:
    mine, again, others = opened(5001, events=4), opened(5001, "r2", events=4), opened(5002, events=4)
    other_task = opened(5001, more={"taskID": 1002}, events=4)
    one, two = (*take(mine, 1), *take(again, 1))
    three = take(others, 1) + take(other_task, 1)
    finish(mine, one)
    fail(again, two)
    assert ask(shared) == {one: Booked("finished", "premerge.5001.1.tar"), two: Booked("failed")}
    assert ask(shared, 5002) == {three[0]: Booked("sent")}
    assert ask(shared, 5003) == {}


def test_an_attempt_that_was_taken_back_and_the_one_that_followed_are_both_booked(
    opened: brokers.Open, shared: Path
) -> None:
    communicator = opened(events=1)
    take(communicator, 1)
    communicator.update_job(JobReport("failed"))
    communicator.update_job(JobReport("running"))
    take(communicator, 1, "2.1")
    assert ask(shared) == {"1001-5001-1-1-10": Booked("cancelled"), "1001-5001-1-1-9": Booked("sent")}


def test_who_only_asks_does_not_consume(opened: brokers.Open, shared: Path) -> None:
    silent = opened(events=2)
    assert silent.booked() == {}
    assert consumers(shared) == []
    take(silent, 1)
    before = consumers(shared)
    assert len(before) == 1
    ask(shared)
    assert consumers(shared) == before


@pytest.mark.parametrize("end", ["it runs", "it was killed", "it has ended"])
def test_asking_changes_no_byte_and_leaves_no_file_behind(shared: Path, tmp_path: Path, end: str) -> None:
    with in_another_process(TAKING, shared) as process:
        assert process.stdout is not None
        names = process.stdout.readline().split()
        if end == "it was killed":
            process.kill()
            process.wait()
        elif end == "it has ended":
            process.communicate()
        before = contents(tmp_path)
        assert ask(shared) == dict.fromkeys(names, Booked("sent"))
        assert contents(tmp_path) == before
    assert len(names) == 2


def test_asking_waits_for_nobody_and_sees_what_is_booked_only(opened: brokers.Open, shared: Path) -> None:
    names = take(opened(events=2), 1)
    with closing(sqlite3.connect(shared, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("UPDATE event_ranges SET status = 7")
        assert ask(shared) == {names[0]: Booked("sent")}


@pytest.mark.parametrize("content", [None, b""], ids=["no file", "an empty one"])
def test_a_broker_that_is_not_there_is_not_made_by_asking(shared: Path, tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        shared.write_bytes(content)
    before = contents(tmp_path)
    with pytest.raises(UnusableInput, match="has no event ranges of task 1001"):
        ask(shared)
    assert contents(tmp_path) == before


def test_a_database_of_something_else_is_no_broker_to_ask(shared: Path) -> None:
    with closing(sqlite3.connect(shared)) as other:
        other.execute("CREATE TABLE tasks (task_id)")
    with pytest.raises(UnusableInput, match="a database, but none of event ranges"):
        ask(shared)


@pytest.mark.parametrize(
    ("content", "sentence"), [(b"no database" * 100, "not a database"), (None, "not a regular file")]
)
def test_a_path_that_cannot_hold_a_broker_cannot_be_asked(shared: Path, content: bytes | None, sentence: str) -> None:
    shared.mkdir() if content is None else shared.write_bytes(content)
    with pytest.raises(UnusableInput, match=sentence):
        ask(shared)


def vanish(path: Path) -> None:
    for each in path.parent.glob("shared.sqlite*"):
        each.unlink()


@pytest.mark.parametrize(
    ("spoil", "sentence"), [(vanish, "unable to open database file"), (without_event_ranges, "disk image is malformed")]
)
@pytest.mark.parametrize("joined", [True, False], ids=["in use", "at the start"])
def test_a_broker_that_nobody_can_ask_any_more_is_to_blame_only_at_the_start(
    opened: brokers.Open, shared: Path, spoil: Callable[[Path], None], sentence: str, joined: bool
) -> None:
    with closing(opened(events=1)) as running:
        take(running, 1)
    asking = running if joined else opened()
    spoil(shared)
    with pytest.raises(WireError if joined else UnusableInput, match=sentence):
        asking.booked()


def test_threads_that_need_the_broker_first_at_once_open_it_once(opened: brokers.Open) -> None:
    opened(events=RANGES)
    communicator = opened()
    with ThreadPoolExecutor(RANGES) as threads:
        found = list(threads.map(lambda _: communicator.broker, range(RANGES)))
    assert {id(broker) for broker in found} == {id(communicator.broker)}
