"""Files of an access point: whole, or not there; and there after a power failure."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from esfsm.adapters.communicators.access_point import AccessPoint
from esfsm.errors import WireError


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done to names and disks, in order."""
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        done.append("directory synced" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file synced")
        fsync(descriptor)

    def replaced(old: Path, new: Path) -> None:
        done.append(f"{Path(new).name} is {Path(old).read_text()}")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    return done


def test_a_file_is_whole_and_on_the_disk_before_it_has_its_name(tmp_path: Path, steps: list[str]) -> None:
    (tmp_path / "a.json").write_text("before")
    AccessPoint(tmp_path, "r1").put("a.json", b"{}")
    assert steps == ["file synced", "a.json is {}", "directory synced"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_new_name_is_on_the_disk(tmp_path: Path, steps: list[str]) -> None:
    (tmp_path / "a.json").write_text("{}")
    AccessPoint(tmp_path, "r1").rename("a.json", "b.json")
    assert steps == ["b.json is {}", "directory synced"]


def test_what_another_engine_had_half_written_harms_nobody(tmp_path: Path) -> None:
    (tmp_path / "a.json.r1.new").write_text("half of something longer")
    point = AccessPoint(tmp_path, "r1")
    assert not point.holds("a.json")
    point.put("a.json", b"{}")
    assert point.read("a.json") == b"{}"


def test_what_is_not_there_can_be_read_renamed_and_removed(tmp_path: Path) -> None:
    point = AccessPoint(tmp_path, "r1")
    point.rename("a.json", "b.json")
    point.remove("a.json")
    assert (point.read("a.json"), point.read("b.json")) == (None, None)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(WireError, match=r"/a\.json: not a regular file"):
        AccessPoint(tmp_path, "r1").read("a.json")


def test_names_are_found_by_their_beginning(tmp_path: Path) -> None:
    for name in ("a.read", "a.read.1", "a.read.2", "b.read.1"):
        (tmp_path / name).touch()
    assert AccessPoint(tmp_path, "r1").names("a.read.") == {"a.read.1", "a.read.2"}


@pytest.mark.parametrize(
    "do",
    [
        lambda point: point.put("a.json", b"{}"),
        lambda point: point.read("a.json"),
        lambda point: point.rename("a.json", "b.json"),
        lambda point: point.remove("a.json"),
        lambda point: point.names("a"),
    ],
    ids=["put", "read", "rename", "remove", "names"],
)
def test_a_file_system_that_fails_is_told_of_in_one_sentence(
    tmp_path: Path, do: Callable[[AccessPoint], object]
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WireError, match=r"/file/a(\.json)?: Not a directory"):
        do(AccessPoint(tmp_path / "file", "r1"))
