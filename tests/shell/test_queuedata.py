"""What the queue says: fetched for a pilot, kept, and what happens where it cannot be had."""

import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import time

import pytest
from contract.web import Asked, reply, serving

from esfsm import run_pilot
from esfsm.errors import UnusableInput
from esfsm.model.outcome import Outcome
from esfsm.model.settings import Settings
from esfsm.queuedata import keep_queuedata

QUEUE = {"name": "A", "zip_time_gap": 300, "params": {}}
TWO = {"A": QUEUE, "B": {**QUEUE, "name": "B", "zip_time_gap": 600}}


class Site:
    """Says what it is told to; counts how often it is asked."""

    def __init__(self) -> None:
        self.says, self.status, self.asked = json.dumps(TWO), 200, []
        self.url = ""

    def __call__(self, asked: Asked) -> None:
        self.asked.append(asked.path)
        reply(asked, self.says.encode(), self.status)

    def settings(self, **more: object) -> Settings:
        return Settings(**{"queuedata_url": f"{self.url}/cache/queues.json?json", "queue": "A", **more})


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    with serving(site) as url:
        site.url = url
        yield site


def aged(file: Path) -> None:
    os.utime(file, (0, time() - 4000))


@pytest.mark.parametrize(("queue", "gap_s"), [("A", 300), ("B", 600)])
def test_of_all_queues_ours_is_kept(site: Site, tmp_path: Path, queue: str, gap_s: int) -> None:
    kept = keep_queuedata(site.settings(queue=queue), tmp_path)
    assert json.loads(kept.read_bytes())["zip_time_gap"] == gap_s
    assert site.asked == ["/cache/queues.json?json"]
    assert list(tmp_path.iterdir()) == [kept]


@pytest.mark.parametrize("queue", ["A", None])
def test_a_description_of_one_queue_is_taken_as_it_is(site: Site, tmp_path: Path, queue: str | None) -> None:
    site.says = json.dumps(QUEUE)
    assert json.loads(keep_queuedata(site.settings(queue=queue), tmp_path).read_bytes()) == QUEUE


def test_what_is_fresh_is_not_fetched_again_and_what_is_old_is(site: Site, tmp_path: Path) -> None:
    kept = keep_queuedata(site.settings(), tmp_path)
    keep_queuedata(site.settings(), tmp_path)
    assert len(site.asked) == 1
    aged(kept)
    site.says = json.dumps({"A": {**QUEUE, "zip_time_gap": 900}})
    keep_queuedata(site.settings(), tmp_path)
    assert json.loads(kept.read_bytes())["zip_time_gap"] == 900


@pytest.mark.parametrize(("says", "status"), [("", 503), ("<html>", 200), ("[]", 200)])
def test_an_old_description_is_better_than_none(site: Site, tmp_path: Path, says: str, status: int) -> None:
    kept = keep_queuedata(site.settings(), tmp_path)
    before = kept.read_bytes()
    aged(kept)
    site.says, site.status = says, status
    assert keep_queuedata(site.settings(), tmp_path) == kept
    assert kept.read_bytes() == before


@pytest.mark.parametrize(
    ("says", "status", "why"),
    [
        ("no", 503, "HTTP 503: no"),
        ("<html>", 200, "it is no JSON"),
        ("[]", 200, "it holds no queues"),
        (json.dumps({"B": QUEUE}), 200, "there is no queue A"),
        (json.dumps({"A": {"zip_time_gap": "soon"}}), 200, "queue data: zip_time_gap"),
        (json.dumps({"A": {"zip_time_gap": 1e300}}), 200, "queue data: zip_time_gap"),
    ],
)
def test_without_a_description_a_pilot_does_not_begin(
    site: Site, tmp_path: Path, says: str, status: int, why: str
) -> None:
    site.says, site.status = says, status
    with pytest.raises(UnusableInput, match=why):
        keep_queuedata(site.settings(), tmp_path)
    assert list(tmp_path.iterdir()) == []


@contextmanager
def no_file_may_grow() -> Iterator[None]:
    """As on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_where_a_description_cannot_be_kept_a_pilot_does_not_begin(site: Site, tmp_path: Path) -> None:
    with no_file_may_grow(), pytest.raises(UnusableInput, match=r"queue data .*File too large"):
        keep_queuedata(site.settings(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_where_something_else_has_its_name_a_pilot_does_not_begin(site: Site, tmp_path: Path) -> None:
    (tmp_path / "queuedata.json" / "x").mkdir(parents=True)
    with pytest.raises(UnusableInput, match=r"queue data .*Is a directory"):
        keep_queuedata(site.settings(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["queuedata.json"]


def test_an_old_description_is_better_than_one_that_cannot_be_kept(site: Site, tmp_path: Path) -> None:
    kept = keep_queuedata(site.settings(), tmp_path)
    aged(kept)
    with no_file_may_grow():
        assert keep_queuedata(site.settings(), tmp_path) == kept
    assert json.loads(kept.read_bytes()) == QUEUE


def test_a_url_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusableInput, match="ftp"):
        keep_queuedata(Settings(queuedata_url="ftp://somewhere"), tmp_path)


def test_where_nothing_is_to_be_fetched_the_file_that_is_given_counts(tmp_path: Path) -> None:
    assert keep_queuedata(Settings(queuedata=Path("queue.json")), tmp_path) == Path("queue.json")
    assert keep_queuedata(Settings(), tmp_path) is None


def test_the_jobs_of_a_pilot_are_run_as_the_queue_says(site: Site, tmp_path: Path) -> None:
    (tmp_path / "1.json").write_text('{"PandaID": 1, "transformation": "t"}')
    given = []

    def run(_: object, *, settings: dict[str, object], **how: object) -> Outcome:
        given.append(settings["queuedata"])
        return Outcome(
            panda_id=1, state="done", path=(), sentence="done", exit_code=0, journal=tmp_path / "journal.jsonl"
        )

    run_pilot(
        tmp_path / "base",
        jobs=1,
        settings={"communicator": "local", "jobs": tmp_path, "queue": "A", "queuedata_url": f"{site.url}/queues"},
        run=run,
    )
    assert given == [tmp_path / "base" / "queuedata.json"]
