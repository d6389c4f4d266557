"""Jobs for a pilot from a PanDA server."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from contract.web import reply, serving

from esfsm.adapters.communicators.jobs.panda import PandaJobs, open_jobs
from esfsm.errors import UnusableInput, WireError
from esfsm.model.settings import Settings


@contextmanager
def offered(directory: Path, *panda_ids: int) -> Iterator[PandaJobs]:
    """By a server that has these jobs."""
    said = {"StatusCode": 0, "jobs": [{"PandaID": panda_id} for panda_id in panda_ids]}
    with serving(lambda asked: reply(asked, json.dumps(said).encode())) as url:
        jobs = open_jobs(Settings(panda_server=url, queue="Q"), directory)
        yield jobs
        jobs.close()


@pytest.mark.parametrize(("panda_ids", "fetched"), [((), None), ((5001,), {"PandaID": 5001})])
def test_one_job_is_fetched_or_none(
    tmp_path: Path, panda_ids: tuple[int, ...], fetched: Mapping[str, object] | None
) -> None:
    with offered(tmp_path, *panda_ids) as jobs:
        assert jobs.fetch() == fetched


def test_of_several_jobs_none_is_lost_in_silence(tmp_path: Path) -> None:
    with offered(tmp_path, 5001, 5002) as jobs, pytest.raises(WireError, match=r"2 jobs .*: \[5001, 5002\]"):
        jobs.fetch()


def test_without_a_queue_there_are_no_jobs(tmp_path: Path) -> None:
    with pytest.raises(UnusableInput, match="--queue"):
        open_jobs(Settings(), tmp_path)
