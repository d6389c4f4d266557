"""Disks that are full, read-only or gone: what the user sees, and that nothing finished is lost."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from whole.commands import DONE, FAILED, SOON, Command, MakeJob, booked, said
from whole.processes import pipe

NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount")


def can_mount() -> bool:
    """Whether this user may have a disk of its own, in a namespace that nobody else sees."""
    command = [*NAMESPACE, "mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", "/mnt"]
    return bool(shutil.which("unshare")) and subprocess.run(command, capture_output=True, check=False).returncode == 0


needs_a_disk = pytest.mark.skipif(not can_mount(), reason="no user namespaces here")

TWICE = """
mkdir -p disk; mount -t tmpfs -o size=10m,$0 tmpfs disk
cause=$1; shift
"$@" > first.json && exit 99
mount -o remount,$cause disk
"$@" > second.json
"""
"""A command fails on a disk ($0: its fault), the cause is removed ($1), and the same command is run again."""


@needs_a_disk
@pytest.mark.parametrize(
    ("fault", "remedy", "why"),
    [("size=16k", "size=10m", "[Errno 28] No space left on device"), ("ro", "rw", "[Errno 30] Read-only file system")],
    ids=["full", "read-only"],
)
def test_an_output_directory_that_takes_nothing_fails_the_ranges_which_run_again(
    launch: Command, make_job: MakeJob, tmp_path: Path, fault: str, remedy: str, why: str
) -> None:
    behind = (*NAMESPACE, "sh", "-c", TWICE, fault, remedy)
    arguments = ["run", make_job(), "--workdir", "work", "--events", 30, "--output-url", "disk/out", "--json", *SOON]
    assert launch(*arguments, behind=behind).end().exit_code == DONE
    first, second = (json.loads((tmp_path / name).read_text()) for name in ("first.json", "second.json"))
    assert (first["exit_code"], first["pilot_error_code"], first["ranges"]) == (FAILED, 1137, {"failed": 30})
    lfn = "EventService_premerge_1001-5001-1-1-10.tar"
    assert first["sentence"].startswith(f"failed: archive {lfn} could not be stored: {tmp_path}/disk/out/{lfn}: ")
    assert why in first["sentence"]
    assert (second["exit_code"], second["ranges"]) == (DONE, {"finished": 30, "failed": 30})
    assert booked(tmp_path / "work" / "broker.sqlite") == {"done": 30}


@pytest.mark.parametrize("place", ["/proc/esfsm", "/dev/null/out"])
def test_what_the_first_storage_refuses_goes_to_the_second(
    esfsm: Command, make_job: MakeJob, tmp_path: Path, place: str
) -> None:
    arguments = ["--workdir", tmp_path / "work", "--events", 3, "--output-url", place, "--json", "--quiet", *SOON]
    told = esfsm("run", make_job(), *arguments, "--set", f"failover_url={tmp_path}/failover")
    assert (told.exit_code, told.outcome["ranges"]) == (DONE, {"finished": 3})
    (stored,) = (tmp_path / "failover").iterdir()
    assert told.outcome["outputs"][0]["url"] == str(stored)


def test_an_output_directory_that_vanishes_is_made_anew_and_nothing_is_lost(
    launch: Command, make_job: MakeJob, tmp_path: Path
) -> None:
    go, stored = pipe(tmp_path, "work-go"), tmp_path / "stored"
    job = make_job(f"simulate {go} 4")
    arguments = ["--workdir", "work", "--events", 8, "--output-url", stored, "--set", "zip_max_ranges=2", "--json"]
    running = launch("run", job, *arguments, *SOON)
    with go.open("w"):  # four are finished
        stored.mkdir(exist_ok=True)
        stored.rename(tmp_path / "vanished")
    told = running.end()
    assert (told.exit_code, told.outcome["ranges"]) == (DONE, {"finished": 8})
    there = {path.name for directory in (stored, tmp_path / "vanished") for path in directory.glob("*.tar")}
    assert there == {output["lfn"] for output in told.outcome["outputs"]}


def test_where_there_is_no_room_for_one_archive_there_are_smaller_ones(launch: Command, make_job: MakeJob) -> None:
    # Python ignores SIGXFSZ, so a file beyond the limit is an error like a full disk.
    limited = ("sh", "-c", 'ulimit -f 1000; exec "$@"', "sh")
    arguments = ["run", make_job("large 50000"), "--workdir", "work", "--events", 30, "--json", *SOON]
    told = launch(*arguments, behind=limited).end()
    assert (told.exit_code, told.outcome["ranges"]) == (DONE, {"finished": 30})
    assert len(told.outcome["outputs"]) > 1


def test_an_output_that_the_work_directory_has_no_room_to_pack_fails_its_range(
    launch: Command, make_job: MakeJob, tmp_path: Path
) -> None:
    arguments = ["run", make_job("large 600000"), "--workdir", "work", "--events", 3, "--json", *SOON]
    small = ("sh", "-c", 'ulimit -f 1172; exec "$@"', "sh")  # in blocks of 512 bytes: the output fits just so
    told = launch(*arguments, "--set", "report_attempts=2", behind=small).end()
    assert (told.exit_code, told.outcome["pilot_error_code"]) == (FAILED, 1098)
    assert told.outcome["sentence"].endswith(".tar: File too large; event ranges: 3 failed")
    again = launch(*arguments).end()
    assert (again.exit_code, again.outcome["ranges"]) == (DONE, {"finished": 3, "failed": 3})


FILLING = """
mkdir -p disk work; mount -t tmpfs -o size=16k tmpfs disk; ln -s ../disk/journal.jsonl work/journal.jsonl
"$@" 2> first.err && exit 99
mount -o remount,size=10m disk
"$@"
"""
"""The same, where the disk holds nothing but the journal."""


@needs_a_disk
def test_a_disk_too_full_for_the_journal_ends_the_engine_and_the_next_one_goes_on(
    launch: Command, make_job: MakeJob, tmp_path: Path
) -> None:
    arguments = ["run", make_job(), "--workdir", "work", "--events", 200, "--quiet", "--set", "zip_max_ranges=5", *SOON]
    told = launch(*arguments, behind=(*NAMESPACE, "sh", "-c", FILLING, "sh")).end()
    journal = tmp_path / "work" / "journal.jsonl"
    why = f"journal {journal}: No space left on device; run the same command again to go on"
    assert (tmp_path / "first.err").read_text() == f"esfsm: {why}\n"
    assert told.exit_code == DONE
    assert booked(tmp_path / "work" / "broker.sqlite") == {"done": 200}


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("file", "File exists"),
        ("file/work", "Not a directory"),
        ("/proc/esfsm", "No such file or directory"),
        ("x" * 300, "File name too long"),
    ],
)
def test_a_work_directory_that_cannot_be_made(
    esfsm: Command, make_job: MakeJob, tmp_path: Path, place: str, why: str
) -> None:
    (tmp_path / "file").write_text("")
    told = esfsm("run", make_job(), "--workdir", tmp_path / place, "--events", 3)
    assert said(told) == f"work directory {tmp_path / place}: {why}"
