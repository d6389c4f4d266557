"""What rotation promises of a file that somebody else is writing."""

import os
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import BinaryIO

import pytest
from contract.test_storage import full_disk

from esfsm.adapters.executors import logs
from esfsm.adapters.executors.logs import rotate


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "payload.stdout"


@pytest.fixture
def writer(log: Path) -> Iterator[int]:
    """As a payload has its output."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    yield descriptor
    os.close(descriptor)


def contents(log: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in log.parent.iterdir()}


@pytest.mark.parametrize(("said", "rotated"), [("", False), ("1234", False), ("12345", True)])
def test_a_file_is_rotated_when_it_is_larger_than_its_limit(log: Path, said: str, rotated: bool) -> None:
    log.write_text(said)
    assert rotate(log, limit_bytes=4, keep=1) is rotated
    assert contents(log) == ({"payload.stdout": "", "payload.stdout.1": said} if rotated else {"payload.stdout": said})


def test_who_writes_goes_on_in_the_same_file(log: Path, writer: int) -> None:
    os.write(writer, b"before")
    assert rotate(log, limit_bytes=0, keep=1)
    os.write(writer, b"after")
    assert contents(log) == {"payload.stdout": "after", "payload.stdout.1": "before"}


def test_older_ones_move_up_and_the_oldest_goes(log: Path, writer: int) -> None:
    for word in (b"first", b"second", b"third", b"fourth"):
        os.write(writer, word)
        assert rotate(log, limit_bytes=0, keep=3)
    kept = {"payload.stdout.1": "fourth", "payload.stdout.2": "third", "payload.stdout.3": "second"}
    assert contents(log) == {"payload.stdout": "", **kept}


def test_what_cannot_be_copied_is_not_cut(log: Path) -> None:
    log.write_text("said")
    log.with_name("payload.stdout.1").mkdir()
    with pytest.raises(IsADirectoryError):
        rotate(log, limit_bytes=0, keep=1)
    assert log.read_text() == "said"


def test_a_copy_that_does_not_fit_on_the_disk_costs_no_older_one(log: Path) -> None:
    log.write_bytes(bytes(2000))
    log.with_name("payload.stdout.1").write_text("older")
    with full_disk(), pytest.raises(OSError, match="File too large"):
        rotate(log, limit_bytes=0, keep=1)
    assert {path.name: path.stat().st_size for path in log.parent.iterdir()} == {log.name: 2000, f"{log.name}.1": 5}


def test_a_file_that_is_too_large_is_left(log: Path) -> None:
    log.write_text("12345")
    assert not rotate(log, limit_bytes=1, keep=1, most_bytes=5)
    assert contents(log) == {"payload.stdout": "12345"}


def test_a_copy_does_not_run_after_who_writes_faster(log: Path, writer: int, monkeypatch: pytest.MonkeyPatch) -> None:
    real = logs._copy

    def copy_and_be_overtaken(source: FileIO, target: BinaryIO, size_bytes: int) -> None:
        os.write(writer, b"more")
        real(source, target, size_bytes)

    monkeypatch.setattr(logs, "_copy", copy_and_be_overtaken)
    os.write(writer, b"said ")
    assert rotate(log, limit_bytes=0, keep=1)
    assert contents(log) == {"payload.stdout": "", "payload.stdout.1": "said more"}, "only what was there at each look"


def test_a_file_that_leads_elsewhere_is_not_touched(log: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("of somebody")
    log.symlink_to(elsewhere)
    with pytest.raises(OSError, match="symbolic links"):
        rotate(log, limit_bytes=0, keep=1)
    assert elsewhere.read_text() == "of somebody"


def test_a_file_that_is_not_there_cannot_be_rotated(log: Path) -> None:
    with pytest.raises(FileNotFoundError):
        rotate(log, limit_bytes=0, keep=1)


def test_a_pipe_is_no_log_and_nobody_waits_for_it(log: Path) -> None:
    os.mkfifo(log)
    assert not rotate(log, limit_bytes=0, keep=1)
