"""Removing what is stored and booked: that, and nothing else, whatever a payload has announced."""

import os
from pathlib import Path

import pytest
from shell.jobs import es_job

from esfsm.core import facts as f
from esfsm.core.actions import LocalFile, RemoveFiles
from esfsm.model.job import Job
from esfsm.model.settings import Settings
from esfsm.transfers import Transfers

OUTPUT = "worker_0/HITS.pool.root"


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    (tmp_path / "work/worker_0").mkdir(parents=True)
    return tmp_path / "work"


def remove(workdir: Path, *files: LocalFile, **settings: object) -> f.Fact:
    given = Settings.layered(settings)[0]
    return Transfers(Job.read(es_job()), workdir, given).remove_files(RemoveFiles(files=files))


def write(path: Path) -> LocalFile:
    """An output as it was announced."""
    path.write_text("events")
    return LocalFile(OUTPUT, path.stat().st_mtime_ns)


def test_outputs_and_archives_are_removed_and_a_second_time_changes_nothing(workdir: Path) -> None:
    output, archive = write(workdir / OUTPUT), LocalFile("archive.tar")
    (workdir / "archive.tar").touch()
    for _ in range(2):
        assert remove(workdir, output, archive) == f.FilesRemoved()
        assert [path.name for path in workdir.rglob("*")] == ["worker_0"]


def test_a_file_that_was_written_again_stays(workdir: Path) -> None:
    output = write(workdir / OUTPUT)
    os.utime(workdir / OUTPUT, ns=(0, output.stamp + 1))
    assert remove(workdir, output) == f.FilesRemoved()
    assert (workdir / OUTPUT).exists()


@pytest.mark.parametrize("name", ["journal.jsonl", "EVNT.pool.root", "payload.stdout", "./journal.jsonl"])
def test_what_is_no_output_stays_whatever_a_payload_says(workdir: Path, name: str) -> None:
    (workdir / name).touch()
    assert remove(workdir, LocalFile(name)) == f.FilesRemoved()
    assert (workdir / name).exists()


@pytest.mark.parametrize("name", ["../theirs", "{}/theirs", "link/theirs"])
def test_what_lies_elsewhere_stays(workdir: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "theirs").touch()
    (workdir / "link").symlink_to(tmp_path)
    assert remove(workdir, LocalFile(name.format(tmp_path))) == f.FilesRemoved()
    assert (tmp_path / "theirs").exists()


def test_of_a_link_the_name_goes_and_not_what_it_names(workdir: Path, tmp_path: Path) -> None:
    (tmp_path / "theirs").touch()
    (workdir / "link").symlink_to(tmp_path / "theirs")
    remove(workdir, LocalFile("link"))
    assert not (workdir / "link").is_symlink()
    assert (tmp_path / "theirs").exists()


@pytest.mark.parametrize("url", ["{}", "file://{}", "{}/../work"])
def test_where_the_storage_is_the_work_directory_the_archive_is_what_was_stored(workdir: Path, url: str) -> None:
    (workdir / "archive.tar").touch()
    remove(workdir, LocalFile("archive.tar"), output_url=url.format(workdir))
    assert (workdir / "archive.tar").exists()


def test_what_is_stored_in_the_work_directory_is_no_output_of_a_payload(workdir: Path) -> None:
    (workdir / "outputs").mkdir()
    (workdir / "outputs/archive.tar").touch()
    remove(workdir, LocalFile("outputs/archive.tar"))
    assert (workdir / "outputs/archive.tar").exists()


def test_what_cannot_be_removed_is_named(workdir: Path) -> None:
    assert remove(workdir, LocalFile("worker_0"), LocalFile("archive.tar")) == f.FilesRemoved(left=("worker_0",))
