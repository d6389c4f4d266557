"""A work directory that is copied, moved, or has lost its journal: a payload belongs to one place and one engine."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from whole.commands import DONE, FAILED, UNUSABLE, Command, MakeJob, booked, facts
from whole.processes import PAYLOADS, ends, pipe

EVENTS = 12

Begin = Callable[[], Any]


@pytest.fixture
def begin(launch: Command, make_job: MakeJob, workdir: Path) -> Begin:
    """Run a job whose payload waits in its third range for somebody to open `go` in the work directory."""
    workdir.mkdir()
    pipe(workdir, "go")

    def begin() -> Any:
        return launch("run", make_job("simulate go 2"), "--workdir", workdir, "--events", EVENTS)

    return begin


def payload_of(workdir: Path) -> int:
    """The pid of the payload that was started last, as the journal has it."""
    return int(facts(workdir, "payload_started")[-1].pid)


def test_whoever_takes_up_a_copy_of_a_work_directory_leaves_the_payload_of_the_original_alone(
    begin: Begin, launch: Command, workdir: Path, tmp_path: Path
) -> None:
    original, copy = begin(), tmp_path / "copy"
    with (workdir / "go").open("w"):
        shutil.copytree(workdir, copy, ignore=shutil.ignore_patterns("go"))
        (copy / "go").touch()
        launch("resume", copy).end()
        assert not ends(payload_of(workdir), patience_s=0)
    assert original.end().exit_code == DONE
    assert len(facts(workdir, "payload_started")) == 1
    assert booked(workdir / "broker.sqlite") == {"done": EVENTS}


def test_a_payload_is_adopted_where_its_work_directory_was_moved_to(
    begin: Begin, launch: Command, workdir: Path, tmp_path: Path
) -> None:
    killed, moved = begin(), tmp_path / "moved"
    with (workdir / "go").open("w"):
        killed.process.kill()
        killed.end()
        workdir.rename(moved)
        resumed = launch("resume", moved)
        resumed.process.stderr.readline()
    assert resumed.end().exit_code == DONE
    assert [fact.adopted for fact in facts(moved, "job_resumed")] == [True]
    assert booked(moved / "broker.sqlite") == {"done": EVENTS}


def test_the_payload_of_a_dead_engine_is_ended_even_if_the_journal_is_gone(
    begin: Begin, esfsm: Command, make_job: MakeJob, workdir: Path
) -> None:
    killed = begin()
    with (workdir / "go").open("w"):
        killed.process.kill()
        killed.end()
        orphan = payload_of(workdir)
        (workdir / "journal.jsonl").unlink()
        again = esfsm("run", make_job(), "--workdir", workdir, "--events", EVENTS)
        assert ends(orphan)
    assert again.exit_code == DONE
    assert booked(workdir / "broker.sqlite") == {"done": EVENTS}


def remove(journal: Path) -> None:
    journal.unlink()


def move(journal: Path) -> None:
    journal.parent.rename(journal.parents[1] / "moved")


def empty(journal: Path) -> None:
    journal.write_bytes(b"")


def replace(journal: Path) -> None:
    content = journal.read_bytes()
    journal.unlink()
    journal.write_bytes(content)


@pytest.mark.parametrize("spoil", [remove, move, empty, replace])
def test_an_engine_whose_journal_is_not_there_any_more_ends_with_its_payload_and_the_next_one_goes_on(
    begin: Begin, esfsm: Command, make_job: MakeJob, workdir: Path, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    running, journal = begin(), workdir / "journal.jsonl"
    with (workdir / "go").open("w"):
        payload = payload_of(workdir)
        spoil(journal)
    ended = running.end()
    assert (ended.exit_code, ended.out) == (FAILED, "")
    assert f"esfsm: journal {journal}: it was " in ended.err
    assert ends(payload)
    place = tmp_path / "moved" if spoil is move else workdir
    (place / "journal.jsonl").unlink(missing_ok=spoil is remove)
    shutil.rmtree(place / "outputs", ignore_errors=True)
    again = esfsm("run", make_job(), "--workdir", place, "--events", EVENTS)
    assert again.exit_code == DONE


def test_a_second_engine_is_refused_even_if_the_journal_was_removed(
    begin: Begin, esfsm: Command, make_job: MakeJob, workdir: Path
) -> None:
    begin()
    with (workdir / "go").open("w"):
        (workdir / "journal.jsonl").unlink()
        refused = esfsm("run", make_job(), "--workdir", workdir)
        assert (refused.exit_code, "another engine is running this job" in refused.err) == (UNUSABLE, True)
        assert not (workdir / "journal.jsonl").exists()


FORGETFUL = (
    '#!/bin/sh\nexec env -i PATH="$PATH" PILOT_EVENTRANGECHANNEL="$PILOT_EVENTRANGECHANNEL" {command} simulate {go} 2\n'
)


@pytest.mark.parametrize("adoptable", [True, False], ids=["is adopted", "is ended"])
def test_a_payload_that_drops_its_environment_is_known_by_its_directory(
    launch: Command, make_job: MakeJob, workdir: Path, adoptable: bool
) -> None:
    workdir.mkdir()
    go, script = pipe(workdir, "go"), workdir.parent / "forgetful.sh"
    script.write_text(FORGETFUL.format(command=f"{sys.executable} {PAYLOADS}", go=go))
    script.chmod(0o755)
    job = make_job("", transformation="forgetful.sh")
    killed = launch("run", job, "--workdir", workdir, "--events", EVENTS)
    with go.open("w"):
        killed.process.kill()
        killed.end()
        payload = payload_of(workdir)
        if not adoptable:
            (workdir / "EventService_EventRanges.sent").unlink()
            script.write_text(f"#!/bin/sh\nexec {sys.executable} {PAYLOADS} simulate\n")
        resumed = launch("resume", workdir)
        resumed.process.stderr.readline()
    assert resumed.end().exit_code == DONE
    assert [fact.adopted for fact in facts(workdir, "job_resumed")] == [adoptable]
    assert ends(payload)
    assert booked(workdir / "broker.sqlite") == {"done": EVENTS}
