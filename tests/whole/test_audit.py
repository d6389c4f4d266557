"""Audits of whole jobs: a clean one, one that runs, and each kind of damage done to a book afterwards."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from contract.brokers import contents
from whole.commands import DONE, SOON, STOPPED, Command, MakeJob
from whole.processes import pipe

from esfsm.auditor import audit
from esfsm.core.batch import archive_name

RANGES = 12
PER_ARCHIVE = 4
FIRST = "1001-5001-1-1-10"
"""The range that is handed out first."""

ARGUMENTS = ["--events", RANGES, "--set", f"zip_max_ranges={PER_ARCHIVE}", "--quiet", *SOON]


@pytest.fixture
def done(esfsm: Command, make_job: MakeJob, workdir: Path) -> Path:
    """The work directory of a job that is done."""
    assert esfsm("run", make_job(), "--workdir", workdir, *ARGUMENTS).exit_code == DONE
    return workdir


def archives(workdir: Path) -> list[Path]:
    return sorted((workdir / "outputs").iterdir())


def change(workdir: Path, other: str) -> None:
    """Give the first range other values in the broker."""
    with closing(sqlite3.connect(workdir / "broker.sqlite", isolation_level=None)) as db:
        changed = db.execute(f"UPDATE event_ranges SET {other} WHERE event_range_id = '{FIRST}'")
        assert changed.rowcount == 1


def cut(workdir: Path, fact: str, which: int) -> None:
    """Cut the journal before its first or last line with this fact."""
    journal = workdir / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    at = [number for number, line in enumerate(lines) if f'"fact":"{fact}"'.encode() in line][which]
    journal.write_bytes(b"".join(lines[:at]))


def flip(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


def test_a_job_that_is_done_is_audited_clean_and_no_byte_changes(done: Path) -> None:
    before = contents(done)
    assert audit(done).differences == ()
    assert contents(done) == before


@pytest.mark.parametrize("payload", ["fail 5", "die 5", "give_up", "lie 5", "repeat", "several_files"])
def test_whatever_a_payload_does_the_books_agree_in_the_end(
    esfsm: Command, make_job: MakeJob, workdir: Path, payload: str
) -> None:
    esfsm("run", make_job(payload), "--workdir", workdir, *ARGUMENTS)
    assert audit(workdir).differences == ()


@pytest.mark.parametrize("end", ["it stops", "it is killed"])
def test_an_audit_while_the_job_runs_changes_no_byte_and_the_job_goes_on(
    esfsm: Command, launch: Command, make_job: MakeJob, tmp_path: Path, end: str
) -> None:
    go, workdir = pipe(tmp_path, "go"), tmp_path / "work"
    running = launch("run", make_job(f"simulate {go} 5"), "--workdir", workdir, *ARGUMENTS)
    with go.open("w"):  # five are finished, the sixth runs
        assert audit(workdir).differences == ()
        if end == "it stops":
            running.process.terminate()
            assert running.end().exit_code == STOPPED
        else:
            running.process.kill()
            running.end()
        before = contents(workdir)
        found = audit(workdir)
        assert (found.differences, contents(workdir)) == ((), before)
    assert esfsm("run", make_job(), "--workdir", workdir, *ARGUMENTS).exit_code == DONE
    assert audit(workdir).differences == ()


def test_a_job_that_goes_on_while_it_is_audited_never_differs(
    launch: Command, make_job: MakeJob, workdir: Path
) -> None:
    arguments = ["--workdir", workdir, "--events", 300, "--set", "zip_max_ranges=3", *SOON]
    running = launch("run", make_job(), *arguments)
    while not running.process.stderr.readline().startswith("es-running"):
        pass
    audits = 0
    while running.process.poll() is None:
        assert audit(workdir).differences == ()
        audits += 1
    assert audits > 1
    assert audit(workdir).lines()[1].startswith("  journal: event ranges: 300 finished; files stored: ")


def test_an_archive_that_was_deleted_is_named(done: Path) -> None:
    first, *_ = archives(done)
    first.unlink()
    assert audit(done).differences == (f"archive {first.name}: missing at {first}",)


@pytest.mark.parametrize(("offset", "faults"), [(0, 2), (100, 2), (512, 1), (-1, 2)])
def test_an_archive_with_one_other_bit_is_named(done: Path, offset: int, faults: int) -> None:
    last = archives(done)[-1]
    flip(last, offset)
    told = audit(done).differences
    assert len(told) == faults
    assert all(line.startswith(f"archive {last.name}: ") for line in told)
    assert " bytes of adler32 " in told[-1]


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ("status = 1", "finished in the journal, sent at the server"),
        ("status = 7", "finished in the journal, failed at the server"),
        ("consumer = NULL", "finished in the journal, unknown to the server"),
        (
            "zip_file = (SELECT zip_file FROM zip_files WHERE zip_lfn LIKE '%-1-9-10.tar')",
            f"in {archive_name(FIRST)} in the journal, in {archive_name('1001-5001-1-9-10')} at the server",
        ),
    ],
)
def test_a_row_of_the_broker_that_was_changed_is_named(done: Path, other: str, told: str) -> None:
    change(done, other)
    assert audit(done).differences == (f"event range {FIRST}: {told}",)


def test_a_range_that_the_broker_invents_is_named(done: Path) -> None:
    change(done, "event_range_id = '1-2-3-4-5'")
    assert audit(done).differences == (
        f"event range {FIRST}: finished in the journal, unknown to the server",
        "event range 1-2-3-4-5: unknown in the journal, done at the server",
    )


@pytest.mark.parametrize(
    ("fact", "which", "kinds"),
    [
        ("archive_stored", -1, {"packed in the journal, done at the server": PER_ARCHIVE}),
        ("outputs_packed", -1, {"produced in the journal, done at the server": PER_ARCHIVE}),
        ("ranges_granted", 0, {"unknown in the journal, done at the server": RANGES}),
        ("job_classified", 0, {"unknown in the journal, done at the server": RANGES}),
    ],
)
def test_lines_cut_off_the_end_of_the_journal_are_missed(
    done: Path, fact: str, which: int, kinds: dict[str, int]
) -> None:
    cut(done, fact, which)
    told = [line.partition(": ")[2] for line in audit(done).differences if line.startswith("event range ")]
    assert {kind: told.count(kind) for kind in kinds} == kinds


def test_the_archives_of_results_that_were_cut_off_the_journal_are_orphans(done: Path) -> None:
    cut(done, "output_produced", 0)
    orphans = [line for line in audit(done).differences if line.startswith("archive ")]
    assert f"archive {archives(done)[0].name}: in the storage, unknown in the journal" in orphans


@pytest.mark.parametrize("fact", ["ranges_acknowledged", "outputs_staged", "job_reported"])
def test_an_answer_that_was_not_written_down_any_more_is_no_difference(done: Path, fact: str) -> None:
    cut(done, fact, -1)
    found = audit(done)
    assert found.differences == ()
    assert found.lines()[1].endswith("; the job has not ended")


@pytest.mark.parametrize(
    "damage", [lambda workdir: archives(workdir)[1].unlink(), lambda workdir: cut(workdir, "archive_stored", -1)]
)
def test_an_audit_of_damaged_books_changes_no_byte_either(done: Path, damage: Callable[[Path], None]) -> None:
    damage(done)
    before = contents(done)
    assert audit(done).differences
    assert contents(done) == before
