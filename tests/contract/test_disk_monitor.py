"""What is measured of a work directory, on a real disk."""

import os
import socket
import subprocess
import time
from pathlib import Path

import pytest

from esfsm.adapters.monitors.disk import DiskMonitor, _walk
from esfsm.model.resources import Resources
from esfsm.ports import ProcessIdentity

MIB = 1 << 20
PAYLOAD = ProcessIdentity(1 << 22, 1)
"""Nobody asks for it here, and no pid is so large."""
NOW = time.time()
OURS = ("journal.jsonl", "*.sent", "payload.stdout.*")


def write(path: Path, size_bytes: int = 1, age_s: float | None = None) -> Path:
    """A file; `age_s`: how long ago it was changed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size_bytes)
    if age_s is not None:
        os.utime(path, (NOW - age_s, NOW - age_s))
    return path


def of(workdir: Path) -> Resources:
    return DiskMonitor(workdir, OURS).measure(PAYLOAD)


def disk_usage(directory: Path) -> int:
    """What `du` says, in bytes."""
    du = ["du", "--summarize", "--one-file-system", "--block-size=1", directory]
    return int(subprocess.run(du, capture_output=True, text=True, check=True).stdout.split()[0])


def test_where_there_is_no_work_directory_nothing_is_told(tmp_path: Path) -> None:
    assert of(tmp_path / "nowhere") == Resources()


def test_the_work_directory_takes_what_its_blocks_take(tmp_path: Path) -> None:
    write(tmp_path / "small")
    write(tmp_path / "deep/down/large", MIB)
    with (tmp_path / "sparse").open("wb") as sparse:
        sparse.truncate(1 << 40)
    assert of(tmp_path).workdir_bytes == disk_usage(tmp_path) < 2 * MIB


def test_a_file_of_several_names_takes_its_place_once(tmp_path: Path) -> None:
    (tmp_path / "again").hardlink_to(write(tmp_path / "large", MIB))
    assert of(tmp_path).workdir_bytes == disk_usage(tmp_path) < 2 * MIB


@pytest.mark.parametrize("linked", ["file", "directory"])
def test_links_are_not_followed(linked: str, tmp_path: Path) -> None:
    workdir = tmp_path / "work"
    workdir.mkdir()
    write(tmp_path / "elsewhere/file", MIB)
    (workdir / "link").symlink_to(tmp_path / "elsewhere" / ("file" if linked == "file" else ""))
    (workdir / "loop").symlink_to(workdir)
    told = of(workdir)
    assert told.workdir_bytes == disk_usage(workdir) < MIB
    assert (told.largest, told.touched_at) == (None, None)


def test_another_disk_below_is_none_of_its(request: pytest.FixtureRequest) -> None:
    disk, other = Path("/dev"), Path("/dev/shm")
    if not other.is_dir() or disk.stat().st_dev == other.stat().st_dev:
        pytest.skip("there is no disk mounted below another that we may write to")
    file = write(other / f"esfsm-{os.getpid()}", 64 * MIB)
    request.addfinalizer(file.unlink)
    told = of(disk).workdir_bytes
    assert told is not None
    assert told < 64 * MIB


def test_files_that_vanish_meanwhile_are_no_fault(tmp_path: Path) -> None:
    files = [write(tmp_path / name) for name in "abc"]
    walk = _walk(str(tmp_path), tmp_path.stat().st_dev)
    next(walk)
    for file in files:
        file.unlink()
    assert list(walk) == []


def test_a_directory_that_vanishes_meanwhile_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    walk = _walk(str(tmp_path), tmp_path.stat().st_dev)
    assert next(walk)[0] == "sub"
    (tmp_path / "sub").rmdir()
    assert list(walk) == []


def test_free_is_what_this_user_may_take(tmp_path: Path) -> None:
    free_bytes = of(tmp_path).free_bytes
    disk = os.statvfs(tmp_path)
    assert free_bytes is not None
    assert abs(free_bytes - disk.f_frsize * disk.f_bavail) < 512 * MIB, "others write to it, too"


def test_the_largest_is_told_with_the_size_that_it_has_for_a_reader(tmp_path: Path) -> None:
    write(tmp_path / "sub/out.root", 10)
    write(tmp_path / "other.root", 9)
    with (tmp_path / "sub/sparse.root").open("wb") as sparse:
        sparse.truncate(11)
    told = of(tmp_path)
    assert (told.largest, told.largest_bytes) == ("sub/sparse.root", 11)


@pytest.mark.parametrize(
    "name", ["payload.stdout", "payload.stderr", "payload.stdout.1", "journal.jsonl", "EventService_EventRanges.sent"]
)
def test_logs_and_our_own_files_are_not_the_largest(name: str, tmp_path: Path) -> None:
    write(tmp_path / name, 100)
    assert of(tmp_path).largest is None
    write(tmp_path / "out.root", 0)
    assert (of(tmp_path).largest, of(tmp_path).largest_bytes) == ("out.root", 0)


def test_a_payload_may_have_a_file_of_our_names_elsewhere(tmp_path: Path) -> None:
    write(tmp_path / "sub/journal.jsonl", 2)
    write(tmp_path / "sub/payload.stdout", 1)
    told = of(tmp_path)
    assert (told.largest, told.log_bytes) == ("sub/journal.jsonl", None)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"caf\xc3\xa9", "caf\u00e9"),
        (b"no utf-8 \xff", r"no utf-8 \udcff"),
        (b"two\nlines", r"two\nlines"),
        (b"\x1b[2J", r"\x1b[2J"),
    ],
)
def test_whatever_its_name_is_it_can_be_written_down(name: bytes, shown: str, tmp_path: Path) -> None:
    write(tmp_path / os.fsdecode(name))
    assert of(tmp_path).largest == shown


@pytest.mark.parametrize(
    ("stdout", "stderr", "told"), [(3, 4, 4), (4, 3, 4), (None, 3, 3), (0, None, 0), (None, None, None)]
)
def test_the_larger_log_counts(stdout: int | None, stderr: int | None, told: int | None, tmp_path: Path) -> None:
    for name, size_bytes in (("payload.stdout", stdout), ("payload.stderr", stderr)):
        if size_bytes is not None:
            write(tmp_path / name, size_bytes)
    write(tmp_path / "payload.stdout.1", 100)
    assert of(tmp_path).log_bytes == told


def test_a_log_is_a_log_though_it_is_ours(tmp_path: Path) -> None:
    write(tmp_path / "payload.stdout", 3, age_s=100)
    told = DiskMonitor(tmp_path, ["payload.*"]).measure(PAYLOAD)
    assert (told.log_bytes, told.touched_at) == (3, pytest.approx(NOW - 100, abs=1))


def test_a_directory_of_nothing_tells_of_no_progress(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    assert of(tmp_path).touched_at is None


@pytest.mark.parametrize("name", ["out.root", "payload.stdout", "payload.stderr", "deep/down/log.EVNTtoHITS"])
def test_the_youngest_file_tells_of_progress(name: str, tmp_path: Path) -> None:
    write(tmp_path / "older.root", age_s=1000)
    write(tmp_path / name, age_s=10)
    write(tmp_path / "oldest.root", age_s=2000)
    assert of(tmp_path).touched_at == pytest.approx(NOW - 10, abs=1)


@pytest.mark.parametrize(
    "name",
    [
        *("journal.jsonl", "EventService_EventRanges.sent", "payload.stdout.1"),
        *("prmon.txt", "memory_monitor_output.txt", "mem.full.1"),
        *("pilot/x", "sub/pilot/x", "pilotlog.txt", "pandawnutil/x", "pandaJobData.out", "runjob.sh"),
        *("setup.sh", "PoolFileCatalog.xml", "job.lib.tgz", "runargs.py", "docs/x", "DBRelease-1.tar"),
    ],
)
def test_what_others_than_the_payload_write_tells_of_none(name: str, tmp_path: Path) -> None:
    workdir = tmp_path / "pilot/prmon.py"  # where it lies does not matter
    write(workdir / "out.root", age_s=1000)
    write(workdir / name, age_s=10)
    assert of(workdir).touched_at == pytest.approx(NOW - 1000, abs=1)


def test_a_socket_tells_of_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # as its path may be too long
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("zmq_channel")
        assert of(tmp_path).touched_at is None


def test_a_time_to_come_does_not_tell_of_progress_for_ever(tmp_path: Path) -> None:
    write(tmp_path / "unpacked.root", age_s=-1e6)
    touched_at = of(tmp_path).touched_at
    assert touched_at is not None
    assert touched_at <= time.time()
