"""Threads and jobs of one process do not get in each other's way."""

import ast
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from core.worlds import Teller
from shell.jobs import es_job, es_settings

import esfsm
from esfsm.adapters.channels.zmq import ZmqChannel
from esfsm.core import facts as f
from esfsm.core.engine import Engine
from esfsm.errors import PilotErrorCode
from esfsm.inbox import Clock, Inbox
from esfsm.ports import Message

from .runs import Start

HOUSE = Path(esfsm.__file__).parent


class Touched(ZmqChannel):
    """A channel that writes down which threads touch its socket."""

    threads: set[int]

    def __init__(self, name: str | None = None) -> None:
        self.threads = {threading.get_ident()}
        super().__init__(name)

    def receive(self, timeout_s: float | None) -> Message | None:
        self.threads.add(threading.get_ident())
        return super().receive(timeout_s)

    def send(self, peer: bytes, text: str) -> None:
        self.threads.add(threading.get_ident())
        super().send(peer, text)

    def close(self) -> None:
        self.threads.add(threading.get_ident())
        super().close()


def test_a_socket_is_touched_by_one_thread_only(start: Start) -> None:
    """Pilot3: one thread received on a socket while others sent on it, which ZeroMQ does not allow."""
    channels: list[Touched] = []

    def open_channel(name: str | None, _: Path) -> Touched:
        channels.append(Touched(name))
        return channels[-1]

    run = start("ask_for_ever", open_channel=open_channel)
    run.stock(1, 2)
    run.stock(3)
    run.heard.until("output_produced")
    run.running.stop(0.0)
    run.heard.end()
    (channel,) = channels
    assert len(channel.threads) == 1
    assert threading.get_ident() not in channel.threads


def test_facts_that_many_threads_tell_at_once_are_all_heard_each_ones_in_its_order() -> None:
    """Pilot3: a list of results was changed by two threads without a lock."""
    inbox, tellers, each = Inbox(Clock()), 8, 2_000

    def tell(number: int) -> None:
        for n in range(each):
            inbox.put(f.RangesWanted(answers=number, n=n))

    threads = [threading.Thread(target=tell, args=(number,)) for number in range(tellers)]
    for thread in threads:
        thread.start()
    heard: dict[int, list[int]] = {number: [] for number in range(tellers)}
    while sum(map(len, heard.values())) < tellers * each:
        for fact in inbox.take():
            assert isinstance(fact, f.RangesWanted)
            heard[fact.answers].append(fact.n)
    for thread in threads:
        thread.join()
    assert heard == {number: list(range(each)) for number in range(tellers)}


def changes_of_directory(module: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Attribute) and node.attr in ("chdir", "fchdir"):
            yield f"{module.name}:{node.lineno}"


def test_nothing_in_the_house_changes_the_directory_of_the_process() -> None:
    """Pilot3: executors changed the directory of the whole process, and paths of other threads led elsewhere."""
    assert [place for module in HOUSE.rglob("*.py") for place in changes_of_directory(module)] == []


def test_a_job_runs_from_any_directory_and_stays_there(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pilot3: the same, as a job sees it."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    seen: list[Path] = []

    def watch(_: f.Fact, __: Engine) -> None:
        seen.append(Path.cwd())

    settings = es_settings(inputs, 3)
    assert esfsm.run_workflow(es_job(), workdir="../work", settings=settings, watch=watch).state == "done"
    assert set(seen) == {tmp_path / "here"}
    assert not list((tmp_path / "here").iterdir())


def test_the_trouble_of_one_job_is_not_that_of_another() -> None:
    """Pilot3: the lists of errors belonged to the class, so all jobs of a process had those of each."""
    failed, good = Teller(), Teller().produced("r1")
    failed.answer("classify_job", f.JobRefused(why="no transformation"))
    good.says(f.PayloadFinished())
    good.drained()
    assert (failed.state, failed.engine.final.trouble) == (
        "failed",
        (PilotErrorCode.INTERNALPILOTPROBLEM, "no transformation"),
    )
    assert (good.state, good.engine.final.trouble) == ("done", (0, ""))
    assert (good.report.error_code, good.report.error_diag) == (0, "")


def test_a_job_after_one_that_failed_has_no_error(inputs: Path, tmp_path: Path) -> None:
    """Pilot3: the same, for the jobs that a pilot runs one after the other."""
    settings = es_settings(inputs, 3, executor_type="quick")
    jobs = [es_job(inFiles="gone"), es_job(PandaID=7000000124), es_job(PandaID=7000000125, inFiles="gone")]
    outcomes = [
        esfsm.run_workflow(job, workdir=tmp_path / str(number), settings=settings) for number, job in enumerate(jobs)
    ]
    assert [(outcome.state, outcome.pilot_error_code) for outcome in outcomes] == [
        ("failed", PilotErrorCode.NOSUCHFILE),
        ("done", 0),
        ("failed", PilotErrorCode.NOSUCHFILE),
    ]
    assert all(one.journal != other.journal for one, other in pairwise(outcomes))
