"""The auditor: reads the three books of a work directory, says what cannot be read, and leaves nothing behind."""

import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from zlib import crc32

import pytest
from contract.brokers import contents
from shell.jobs import es_job, es_settings, installed, plain_job, write_inputs

import esfsm
from esfsm.auditor import audit
from esfsm.core.batch import archive_name
from esfsm.core.engine import Engine
from esfsm.core.facts import Fact
from esfsm.errors import ReplayDiverged, UnusableInput, UnusableJournal
from esfsm.journal.file import JOURNAL

RANGES = 6
ARCHIVES = 3

MOVING = """\
from esfsm.adapters.communicators.local import open_local
from esfsm.model.report import Booked

looks = 0


def open_moving(*given):
    communicator = open_local(*given)
    booked = communicator.booked

    def moved():
        global looks
        looks += 1
        return booked() if looks == 1 else dict.fromkeys(booked(), Booked("failed"))

    communicator.booked = moved
    return communicator
"""

SILENT = """\
from esfsm.adapters.communicators.local import open_local


def open_silent(*given):
    communicator = open_local(*given)
    communicator.booked = lambda: None
    return communicator
"""

LONELY = """\
from esfsm.adapters.storage.fsspec import FsspecStorage


class LonelyStorage(FsspecStorage):
    def __init__(self, settings):
        pass

    def put(self, path, url):
        return super().put(path, url.removeprefix("lonely://"))._replace(url=url)

    def get(self, url, path):
        assert list(path.parent.iterdir()) == [], "two copies at a time"
        return super().get(url.removeprefix("lonely://"), path)

    def names(self, url):
        return super().names(url.removeprefix("lonely://"))
"""


class Crash(BaseException):
    """The engine's end at a point that the test has chosen."""


Run = Callable[..., Path]
"""(settings...; `crash`: the name of the fact at which the engine dies) -> the work directory of a job."""


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    inputs, workdir = write_inputs(tmp_path / "inputs"), tmp_path / "work"
    added = {
        "esfsm.executors:quick": "shell.jobs:QuickExecutor",
        "esfsm.communicators:moving": "moving:open_moving",
        "esfsm.communicators:silent": "silent:open_silent",
        "esfsm.storage:lonely": "lonely:LonelyStorage",
    }
    files = {"moving.py": MOVING, "silent.py": SILENT, "lonely.py": LONELY}

    def run(crash: str = "", **said: object) -> Path:
        def watch(fact: Fact, _: Engine) -> None:
            if fact.name == crash:
                raise Crash

        settings = es_settings(inputs, RANGES, executor_type="quick", **{"zip_max_ranges": 2, **said})
        try:
            esfsm.run_workflow(es_job(), workdir=workdir, settings=settings, watch=watch)
        except Crash:
            assert crash
        return workdir

    with installed(tmp_path / "site", added, files):
        yield run


def archives(workdir: Path) -> list[Path]:
    return sorted((workdir / "outputs").iterdir())


def test_a_job_that_went_well_has_no_difference(run: Run) -> None:
    workdir = run()
    found = audit(workdir)
    assert found.differences == ()
    assert found.lines() == [
        "job 7000000123: the books agree",
        f"  journal: event ranges: {RANGES} finished; files stored: {ARCHIVES}",
        f"  server: event ranges: {RANGES} done",
        f"  storage: files: {ARCHIVES}, {sum(path.stat().st_size for path in archives(workdir))} bytes",
    ]


@pytest.mark.parametrize(
    "crash",
    ["", "job_classified", "ranges_granted", "output_produced", "outputs_packed", "archive_stored", "outputs_staged"],
)
def test_an_audit_changes_no_byte_whatever_the_job_has_come_to(run: Run, crash: str) -> None:
    workdir = run(crash)
    before = contents(workdir)
    assert audit(workdir).differences == ()
    assert contents(workdir) == before


@pytest.mark.parametrize("crash", ["ranges_granted", "output_produced", "archive_stored", "outputs_staged"])
def test_the_books_agree_when_another_engine_has_finished_the_job(run: Run, crash: str) -> None:
    run(crash)
    assert audit(run()).differences == ()


def test_nothing_is_left_in_the_directory_for_temporary_files(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    workdir = run()
    archives(workdir)[0].write_bytes(b"no archive")
    assert len(audit(workdir).differences) == 2
    assert list(place.iterdir()) == []


# --- what cannot be read


@pytest.mark.parametrize("made", [True, False], ids=["an empty directory", "no directory"])
def test_a_directory_without_a_journal_is_no_work_directory(tmp_path: Path, made: bool) -> None:
    place = tmp_path / "elsewhere"
    if made:
        place.mkdir()
    with pytest.raises(
        UnusableInput, match=rf"^work directory {place}: there is no {JOURNAL}, so no job was run here$"
    ):
        audit(place)


def test_what_is_no_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / JOURNAL).write_text("hello")
    with pytest.raises(UnusableJournal, match="this is no journal"):
        audit(str(tmp_path))


def test_a_broker_that_is_not_there_is_named_and_not_made(run: Run) -> None:
    workdir = run()
    (workdir / "broker.sqlite").unlink()
    (told,) = audit(workdir).differences
    assert told.startswith(f"server: cannot be asked: broker {workdir}/broker.sqlite has no event ranges of task")
    assert not list(workdir.glob("broker.sqlite*"))


def test_a_damaged_broker_is_named_and_the_storage_is_audited_all_the_same(run: Run) -> None:
    workdir = run()
    (workdir / "broker.sqlite").write_bytes(b"no database" * 100)
    first = archives(workdir)[0]
    first.unlink()
    assert audit(workdir).differences == (
        f"server: cannot be asked: broker {workdir}/broker.sqlite: file is not a database",
        f"archive {first.name}: missing at {first}",
    )


def test_a_communicator_that_is_not_installed_any_more_is_named(run: Run, tmp_path: Path) -> None:
    passing = {"esfsm.communicators:passing": "silent:open_silent"}
    with installed(tmp_path / "other site", passing, name="passing"):
        workdir = run(communicator="passing")
    (told,) = audit(workdir).differences
    assert told.startswith("server: cannot be asked: there is no communicator 'passing'; known are: ")


def test_a_server_that_cannot_say_is_no_difference(run: Run) -> None:
    found = audit(run(communicator="silent"))
    assert found.differences == ()
    assert "  server: cannot say" in found.lines()


@pytest.mark.parametrize("crash", ["output_produced", "archive_stored"])
def test_what_moves_at_the_server_between_two_looks_is_passed_over_while_the_job_goes_on(run: Run, crash: str) -> None:
    assert audit(run(crash, communicator="moving")).differences == ()


def test_a_storage_that_cannot_be_listed_is_named(run: Run, tmp_path: Path) -> None:
    workdir = run(failover_url=str(tmp_path / "failover"))
    (tmp_path / "failover").write_text("a file")
    (told,) = audit(workdir).differences
    assert told.startswith(f"storage: cannot be listed: {tmp_path}/failover: ")


# --- the storage


def test_an_archive_that_is_no_archive_any_more_is_named_with_both_faults(run: Run) -> None:
    workdir = run()
    first = archives(workdir)[0]
    first.write_bytes(b"no archive")
    unpacked, other_bytes = audit(workdir).differences
    assert unpacked.startswith(f"archive {first.name}: cannot be unpacked: no tar header")
    assert other_bytes.startswith(f"archive {first.name}: ")
    assert other_bytes.endswith(" in the journal, 10 of 14ab03e0 in the storage")


def test_an_archive_that_cannot_be_read_is_named(run: Run) -> None:
    workdir = run()
    first = archives(workdir)[0]
    first.unlink()
    first.mkdir()
    (told,) = audit(workdir).differences
    assert told.startswith(f"archive {first.name}: cannot be read: ")
    assert "is no regular file" in told


@pytest.mark.parametrize("place", ["output_url", "failover_url"])
def test_an_archive_of_the_job_that_the_journal_does_not_know_is_named_in_each_storage(
    run: Run, tmp_path: Path, place: str
) -> None:
    workdir = run(**{"failover_url": str(tmp_path / "failover"), place: str(tmp_path / "there")})
    orphan = archive_name(second_id(workdir))
    (tmp_path / "there").mkdir(exist_ok=True)
    for lfn in (orphan, archive_name("1-2-3-4-5")):
        (tmp_path / "there" / lfn).write_bytes(b"left over")
    assert audit(workdir).differences == (f"archive {orphan}: in the storage, unknown in the journal",)


def test_an_orphan_is_found_where_an_engine_before_has_stored(run: Run, tmp_path: Path) -> None:
    run("archive_stored", output_url=str(tmp_path / "first"))
    workdir = run(output_url=str(tmp_path / "second"))
    assert audit(workdir).differences == ()
    orphan = archive_name(second_id(workdir))
    (tmp_path / "first" / orphan).write_bytes(b"left over")
    assert audit(workdir).differences == (f"archive {orphan}: in the storage, unknown in the journal",)


def test_archives_are_fetched_one_at_a_time_from_whatever_storage_their_url_names(run: Run, tmp_path: Path) -> None:
    found = audit(run(output_url=f"lonely://{tmp_path}/there"))
    assert found.differences == ()
    assert found.lines()[-1].startswith(f"  storage: files: {ARCHIVES}, ")


def second_id(workdir: Path) -> str:
    """Of a range that is not the first of its archive."""
    with closing(sqlite3.connect(workdir / "broker.sqlite")) as db:
        return str(db.execute("SELECT event_range_id FROM event_ranges ORDER BY number").fetchall()[1][0])


# --- jobs without event ranges


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """The work directory of a job with one output."""
    inputs = write_inputs(tmp_path / "inputs", "transform.py", "open('out.txt', 'w').write('nine bytes'[:9])\n")
    settings = {"input_url": str(inputs)}
    assert esfsm.run_workflow(plain_job(), workdir=tmp_path / "plain", settings=settings).state == "done"
    return tmp_path / "plain"


def test_a_plain_job_has_its_outputs_compared_and_asks_no_server(plain: Path) -> None:
    before = contents(plain)
    found = audit(plain)
    assert found.differences == ()
    assert found.lines()[1:] == [
        "  journal: no event ranges; files stored: 1",
        "  server: cannot say",
        "  storage: files: 1, 9 bytes",
    ]
    assert contents(plain) == before


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (Path.unlink, "missing at "),
        (lambda path: path.write_text("nine byteS"), "9 bytes of adler32 "),
    ],
    ids=["deleted", "changed"],
)
def test_an_output_of_a_plain_job_that_is_gone_or_changed_is_named(
    plain: Path, damage: Callable[[Path], object], why: str
) -> None:
    damage(plain / "outputs" / "out.txt")
    (told,) = audit(plain).differences
    assert told.startswith(f"output out.txt: {why}")


def test_a_journal_that_this_version_cannot_tell_is_refused(plain: Path) -> None:
    journal = plain / JOURNAL
    lines = journal.read_bytes().splitlines()
    at = next(number for number, line in enumerate(lines) if b'"fact":"inputs_staged","answers":3' in line)
    body = lines[at].replace(b'"answers":3', b'"answers":999').rpartition(b',"crc":')[0]
    lines[at] = body + b',"crc":"%08x"}' % crc32(body)
    journal.write_bytes(b"\n".join([*lines, b""]))
    with pytest.raises(ReplayDiverged, match="action 999"):
        audit(plain)
