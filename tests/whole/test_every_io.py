"""Each n-th call of the system fails, for every n of a whole job, on the real disk and at the real broker.

Whatever fails, no event range is booked finished whose output is not stored, and the user gets an outcome or one
sentence. Then the same command does what is left, each range once.
"""

import errno
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from fnmatch import fnmatch
from itertools import count
from pathlib import Path
from typing import NamedTuple

import pytest
from shell.jobs import OUTPUT, PANDA_ID, booked, es_job, es_settings, installed, recorded, write_inputs
from whole.bad_io import NEED_ROOM, Trouble, bad_database, bad_disk, small_bites

import esfsm
from esfsm.core.engine import Engine
from esfsm.core.facts import Fact
from esfsm.durable import adler32_of
from esfsm.errors import UnusableJournal
from esfsm.journal.file import JOURNAL
from esfsm.journal.reader import read
from esfsm.model.outcome import Outcome

RANGES = 4
"""In two archives."""

ROOMS = {
    "journal": f"work/{JOURNAL}*",
    "results": f"work/{OUTPUT}.*",
    "archives": "work/EventService_premerge_*",
    "broker": "work/broker.sqlite*",
    "streams of the payload": "work/payload.std*",
    "what the payload was sent": "work/EventService_EventRanges.sent",
    "storage": "storage*",
    "inputs and work directory": "*",
}
"""The parts of a disk; a file is in the first that it fits."""
PAYLOADS_OWN = frozenset({"create", "write", "close"})
"""Calls about results that only a payload makes, so nothing is promised about them."""
FINISHED = frozenset({"finished", "done"})
"""How the broker has a range whose report it has booked; `done` once it has heard that the job has ended."""

Bad = Callable[[Trouble], AbstractContextManager[None]]
Meant = Callable[[str, Path], bool]


class Place(NamedTuple):
    """The disk of one job: all that it reads and writes."""

    disk: Path
    executor: str = "quick"

    @property
    def workdir(self) -> Path:
        return self.disk / "work"

    @property
    def broker(self) -> Path:
        return self.workdir / "broker.sqlite"

    def run(self, panda_id: int = PANDA_ID, workdir: str = "work", **said: object) -> Outcome:
        """Run the job, or another one of its task."""
        settings = es_settings(self.disk / "inputs", RANGES, zip_max_ranges=2, executor_type=self.executor)
        settings |= {"broker": str(self.broker), "output_url": str(self.disk / "storage")}
        settings |= {"retry_pause_s": 0, "report_attempts": 3}
        return esfsm.run_workflow(es_job(PandaID=panda_id), workdir=self.disk / workdir, settings=settings, **said)

    def calls(self, *rooms: str, among: frozenset[str] | None = None) -> Meant:
        """Those about the files of some parts of the disk."""

        def meant(call: str, path: Path) -> bool:
            if not path.is_relative_to(self.disk):
                return False
            name = str(path.relative_to(self.disk))
            room = next(room for room, pattern in ROOMS.items() if fnmatch(name, pattern))
            return room in rooms and (call in among if among else room != "results" or call not in PAYLOADS_OWN)

        return meant


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    (tmp_path / "disk").mkdir()
    write_inputs(tmp_path / "disk" / "inputs")
    with installed(tmp_path / "site", {"esfsm.executors:quick": "shell.jobs:QuickExecutor"}):
        yield Place(tmp_path / "disk")


class Crash(BaseException):
    """The end of an engine in the middle of its job."""


@pytest.fixture
def begun(place: Place) -> Place:
    """The place of a job whose engine died when the first archive was stored, in the middle of a line."""

    def watch(fact: Fact, _: Engine) -> None:
        if fact.name == "archive_stored":
            raise Crash

    with pytest.raises(Crash):
        place.run(watch=watch)
    with (place.workdir / JOURNAL).open("ab") as journal:
        journal.write(b"torn\ntorn")
    return place


# --- one call after the other -------------------------------------------------------------------------------------


def each_call_fails(place: Place, bad: Bad, meant: Meant, go: Callable[[], Outcome] | None = None) -> int:
    """The same as `each_failure` for the calls of each name: threads take turns, but those come in one order."""
    calm = Trouble(0, meant)
    with put_back(place), bad(calm):
        (go or place.run)()

    def failing(name: str) -> Callable[[int], Trouble]:
        return lambda n: Trouble(n, lambda call, path: call == name and meant(call, path))

    return sum(each_failure(place, bad, failing(name), go) for name in calm.met)


def each_failure(
    place: Place, bad: Bad, trouble: Callable[[int], Trouble], go: Callable[[], Outcome] | None = None
) -> int:
    """Let the job go on from where it is with the first call failing, the second, ...; check what becomes of it.

    Returns how many calls there were.
    """
    for n in count(1):
        failing = trouble(n)
        with told(failing), put_back(place):
            with bad(failing):
                end = end_of(go or place.run)
            if failing.met.total() < n:
                assert end == {"finished": RANGES}
                return n - 1
            assert [path for path in open_files() if path.is_relative_to(place.disk)] == []
            assert_all_that_is_finished_is_stored(place)
            assert_nothing_was_unforeseen(place)
            assert_the_same_command_does_what_is_left(place)
    raise AssertionError


@contextmanager
def put_back(place: Place) -> Iterator[None]:
    """The disk is afterwards as it was before."""
    before = place.disk.with_name("before")
    shutil.copytree(place.disk, before)
    yield
    shutil.rmtree(place.disk)
    before.rename(place.disk)


@contextmanager
def told(trouble: Trouble) -> Iterator[None]:
    """Whatever goes wrong inside, it is told which call had failed."""
    try:
        yield
    except BaseException as error:
        error.add_note(trouble.what)
        raise


def end_of(go: Callable[[], Outcome]) -> object:
    """What the user gets: the ranges of an outcome, or one sentence."""
    try:
        return go().ranges
    except esfsm.EsfsmError as error:
        return str(error)


def open_files() -> Iterator[Path]:
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # that of this directory
            yield descriptor.readlink()


def assert_all_that_is_finished_is_stored(place: Place) -> None:
    if not place.broker.exists():
        return
    members: dict[str, list[str]] = {}
    for lfn, adler32 in recorded(place.broker).items():
        archive = place.disk / "storage" / lfn
        assert adler32_of(archive) == adler32
        with tarfile.open(archive) as tar:
            members[lfn] = tar.getnames()
    for row in booked(place.broker):
        if row.status in FINISHED:
            assert f"{OUTPUT}.{row.event_range_id}" in members[str(row.zip_lfn)]


def assert_nothing_was_unforeseen(place: Place) -> None:
    with suppress(UnusableJournal):  # it was not even begun
        _, entries = read(place.workdir / JOURNAL)
        assert [entry.fact for entry in entries if entry.fact.name == "action_broke"] == []


def assert_the_same_command_does_what_is_left(place: Place) -> None:
    """... but for what it had to report as failed: that is the next job's."""
    outcome = place.run()
    assert outcome.state == "done", outcome.sentence
    assert esfsm.audit(place.workdir).differences == ()
    if any(row.status == "ready" for row in booked(place.broker)):
        assert place.run(PANDA_ID + 1, "next").state == "done"
        assert esfsm.audit(place.disk / "next").differences == ()
    rows = booked(place.broker)
    assert [row.start_event for row in rows if row.status == "done"] == list(range(1, 2 * RANGES, 2))
    assert {row.status for row in rows} <= {"done", "failed", "cancelled"}
    assert_all_that_is_finished_is_stored(place)


# --- disks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("room", "at_least"),
    [
        *(("journal", 30), ("results", 15), ("archives", 20), ("broker", 5), ("storage", 30)),
        ("inputs and work directory", 30),
    ],
)
def test_whichever_call_fails_nothing_finished_is_lost_and_the_same_command_does_the_rest(
    room: str, at_least: int, place: Place
) -> None:
    assert each_call_fails(place, bad_disk, place.calls(room)) >= at_least


@pytest.mark.parametrize(("room", "at_least"), [("streams of the payload", 4), ("what the payload was sent", 6)])
def test_whichever_call_fails_with_a_payload_in_a_process_nothing_finished_is_lost(
    room: str, at_least: int, place: Place
) -> None:
    place = place._replace(executor="generic")
    assert each_call_fails(place, bad_disk, place.calls(room)) >= at_least


@pytest.mark.parametrize(
    ("room", "at_least"), [("journal", 30), ("archives", 6), ("storage", 8), ("inputs and work directory", 8)]
)
def test_whenever_a_disk_is_full_nothing_finished_is_lost_and_the_same_command_does_the_rest(
    room: str, at_least: int, place: Place
) -> None:
    calls = place.calls(room, among=NEED_ROOM)
    assert each_failure(place, bad_disk, lambda n: Trouble(n, calls, errno.ENOSPC, lasting=True)) >= at_least


def test_whichever_call_fails_while_a_job_is_taken_up_the_next_engine_does_the_rest(begun: Place) -> None:
    assert each_call_fails(begun, bad_disk, begun.calls(*ROOMS)) >= 30


def test_whichever_call_fails_while_a_job_is_resumed_from_its_journal_the_next_engine_does_the_rest(
    begun: Place,
) -> None:
    calls = begun.calls("journal", "broker")
    assert each_call_fails(begun, bad_disk, calls, lambda: esfsm.resume(begun.workdir)) >= 20


def test_a_disk_that_takes_everything_in_small_bites_does_no_harm(place: Place) -> None:
    with small_bites():
        assert place.run().ranges == {"finished": RANGES}
    assert_the_same_command_does_what_is_left(place)


def test_whatever_an_audit_cannot_read_it_says_so(place: Place) -> None:
    place.run()
    for n in count(1):
        failing = Trouble(n, place.calls(*ROOMS))
        with told(failing), bad_disk(failing), suppress(esfsm.EsfsmError):
            differences = esfsm.audit(place.workdir).differences
            if failing.met.total() < n:
                break
            assert differences
    assert differences == ()
    assert n > 20


# --- the broker ---------------------------------------------------------------------------------------------------


def test_whichever_statement_of_the_broker_fails_each_range_is_done_once(place: Place) -> None:
    def meant(statement: str, _: Path) -> bool:
        return statement != "COMMITTED"

    assert each_call_fails(place, bad_database, meant) >= 60


def test_whenever_the_broker_is_lost_for_good_each_range_is_done_once(place: Place) -> None:
    def meant(statement: str, _: Path) -> bool:
        return statement == "BEGIN"

    assert each_failure(place, bad_database, lambda n: Trouble(n, meant, lasting=True)) >= 8


def test_whichever_answer_of_the_broker_is_lost_each_range_is_done_once(place: Place) -> None:
    def meant(statement: str, _: Path) -> bool:
        return statement == "COMMITTED"

    assert each_failure(place, bad_database, lambda n: Trouble(n, meant)) >= 8
