"""The log of a job as a file: what is in it, under whose name, and what is said of it."""

import tarfile
from pathlib import Path

import pytest
from shell.jobs import es_job, plain_job

import esfsm
from esfsm.core import facts as f
from esfsm.core.actions import PackLog
from esfsm.durable import adler32_of
from esfsm.errors import UnusableInput
from esfsm.model.job import Job
from esfsm.model.settings import Settings
from esfsm.transfers import Transfers

LOG = "log.42._000001.job.log.tgz.1"
WITH_LOG = {"outFiles": LOG, "logFile": LOG, "logGUID": "1B2C0001-AAAA"}


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    for name in ("journal.jsonl", "payload.stdout", "payload.stderr.1", "HITS.1"):
        (tmp_path / name).write_text(name)
    return tmp_path


def pack(workdir: Path, **said: object) -> f.Fact:
    return Transfers(Job.read(es_job(**{**WITH_LOG, **said})), workdir, Settings()).pack_log(PackLog(lfn=LOG))


def test_a_log_has_what_tells_of_the_job_and_nothing_else(workdir: Path) -> None:
    fact = pack(workdir)
    path = workdir / LOG
    copy = f.FileCopy(LOG, path.stat().st_size, adler32_of(path), str(path))
    assert fact == f.LogPacked(file=copy, guid="1B2C0001-AAAA")
    with tarfile.open(path, "r:gz") as log:
        assert log.getnames() == ["journal.jsonl", "payload.stdout", "payload.stderr.1"]
        assert log.extractfile("payload.stdout").read() == b"payload.stdout"  # type: ignore[union-attr]


def test_the_same_things_make_the_same_log(workdir: Path) -> None:
    assert pack(workdir) == pack(workdir)


def test_a_log_without_a_guid_gets_one(workdir: Path) -> None:
    fact = pack(workdir, logGUID="")
    assert isinstance(fact, f.LogPacked)
    assert len(fact.guid) == 36


def test_a_log_that_cannot_be_made_is_a_fact(workdir: Path) -> None:
    (workdir / LOG).mkdir()
    fact = pack(workdir)
    assert isinstance(fact, f.LogFailed)
    assert fact.error_code == 1320


def test_a_log_may_not_bear_the_name_of_a_file_of_ours(workdir: Path) -> None:
    said = {"outFiles": "journal.jsonl", "logFile": "journal.jsonl"}
    with pytest.raises(UnusableInput, match=r"the job has a file journal\.jsonl"):
        Transfers(Job.read(es_job(**said)), workdir, Settings()).check()


def test_a_job_leaves_its_log_in_its_work_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = esfsm.run_workflow(plain_job(**{**WITH_LOG, "transformation": "no-such-program"}), workdir="work")
    assert outcome.state == "failed"
    assert tarfile.is_tarfile(tmp_path / "work" / LOG)
