"""Journals that are damaged, in use or another job's: what the user sees, and that nothing finished is lost."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from zlib import crc32

import pytest
from whole.commands import DONE, FAILED, SOON, Command, MakeJob, booked, said
from whole.processes import pipe


def line(told: Mapping[str, object]) -> bytes:
    body = json.dumps(told, separators=(",", ":")).encode()[:-1]
    return body + b',"crc":"%08x"}\n' % crc32(body)


def test_the_journal_of_another_job_in_the_work_directory(esfsm: Command, make_job: MakeJob, workdir: Path) -> None:
    arguments = ["--workdir", workdir, "--events", 3, "--quiet"]
    esfsm("run", make_job(), *arguments)
    before = (workdir / "journal.jsonl").read_bytes()
    assert said(esfsm("run", make_job(PandaID=5002), *arguments)) == (
        f"journal {workdir}/journal.jsonl: it is of job 5001, not of 5002; choose another work directory"
    )
    assert (workdir / "journal.jsonl").read_bytes() == before


def test_a_second_engine_on_the_same_work_directory(
    esfsm: Command, launch: Command, make_job: MakeJob, tmp_path: Path
) -> None:
    go, workdir = pipe(tmp_path, "go"), tmp_path / "work"
    arguments = ["run", make_job(f"simulate {go}"), "--workdir", workdir, "--events", 3, "--quiet"]
    first = launch(*arguments)
    with go.open("w"):
        told = said(esfsm(*arguments))
    assert told == f"journal {workdir}/journal.jsonl: another engine is running this job"
    assert first.end().sentence == "job 5001 done; event ranges: 3 finished"


DAMAGES = [
    (lambda lines: b"", "it is empty"),
    (lambda lines: b"hello\n", "this is no journal; choose another work directory"),
    (
        lambda lines: b"".join([*lines[:3], lines[3].replace(b"at", b"ta", 1), *lines[4:]]),
        "line 4 is damaged; restore it or choose another work directory",
    ),
    (lambda lines: lines[0] + line({"nr": 2, "at": 1, "fact": "job_resumed"}), "fact 2 stands where 1 should"),
    (
        lambda lines: lines[0] + line({"nr": 1, "at": 1, "fact": "moved"}),
        "fact 1 is moved, which this version does not know",
    ),
    (lambda lines: line({"esfsm_journal": 99}), "format 99 is not known to this version, which reads 1 to 4"),
]


@pytest.mark.parametrize(("damage", "why"), DAMAGES)
@pytest.mark.parametrize("command", [["replay"], ["draw", "--journal"]], ids=["replay", "draw"])
def test_a_damaged_journal_is_refused_by_its_readers(
    esfsm: Command, journal: Path, command: list[str], damage: Callable[[list[bytes]], bytes], why: str
) -> None:
    journal.write_bytes(damage(journal.read_bytes().splitlines(keepends=True)))
    assert said(esfsm(*command, journal)) == f"journal {journal}: {why}"


@pytest.mark.parametrize(("damage", "why"), DAMAGES[1:])
def test_a_damaged_journal_is_refused_by_an_engine_and_stays_as_it_is(
    esfsm: Command, make_job: MakeJob, journal: Path, damage: Callable[[list[bytes]], bytes], why: str
) -> None:
    damaged = damage(journal.read_bytes().splitlines(keepends=True))
    journal.write_bytes(damaged)
    told = esfsm("run", make_job(), "--workdir", journal.parent, "--events", 3)
    assert said(told) == f"journal {journal}: {why}"
    assert journal.read_bytes() == damaged


def test_a_journal_that_lacks_a_line_is_refused(esfsm: Command, journal: Path) -> None:
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([lines[0], *lines[2:]]))
    assert said(esfsm("replay", journal)).startswith(f"journal {journal}: ")


def test_a_journal_that_is_not_there(esfsm: Command, tmp_path: Path) -> None:
    assert said(esfsm("replay", tmp_path / "none.jsonl")) == f"journal {tmp_path}/none.jsonl: No such file or directory"


def test_a_journal_that_this_code_would_not_write(esfsm: Command, journal: Path) -> None:
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:2]) + line({"decided": 1, "then": {"1": ["stage_in 2"]}}))
    told = esfsm("replay", journal)
    why = "at fact 1 (job_classified): the journal has stage_in 2, this code decides -> classified; select_executor 2"
    assert told == (FAILED, "", f"esfsm: {why}\n")


def test_a_torn_last_line_is_no_damage(esfsm: Command, make_job: MakeJob, journal: Path) -> None:
    journal.write_bytes(journal.read_bytes()[:-5])
    assert esfsm("replay", journal).exit_code == DONE
    again = esfsm("run", make_job(), "--workdir", journal.parent, "--events", 3, "--quiet", *SOON)
    assert again.exit_code in (DONE, FAILED)
    assert booked(journal.parent / "broker.sqlite")["done"] >= 1


def test_a_job_that_is_taken_up_while_it_fails_still_says_why(esfsm: Command, make_job: MakeJob, workdir: Path) -> None:
    arguments = ["run", make_job("end 1"), "--workdir", workdir, "--events", 3, "--json", "--quiet"]
    first = esfsm(*arguments)
    lines = (workdir / "journal.jsonl").read_bytes().splitlines(keepends=True)
    failed = next(number for number, each in enumerate(lines) if b'"payload_failed"' in each)
    (workdir / "journal.jsonl").write_bytes(b"".join(lines[: failed + 1]))
    again = esfsm(*arguments)
    assert first.outcome["sentence"] == again.outcome["sentence"] == "failed: the payload failed (exit code 1)"
