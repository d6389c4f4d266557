"""Heartbeats: what is said of a job that goes on, when, and that no range waits for it."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from queue import SimpleQueue
from threading import Event

import pytest
from core.worlds import Teller, produced

from esfsm.core import facts as f
from esfsm.heartbeats import Heartbeats
from esfsm.model.report import JobReport
from esfsm.views.heartbeat import heartbeat

PATIENCE_S = 30.0
NEVER_S = 3600.0
OUTPUT = replace(produced("r1"), cpu_s=2.5)


class Server:
    """Hears heartbeats, and answers each with the next command; `slow` holds it up."""

    def __init__(self, *commands: str) -> None:
        self.heard: SimpleQueue[JobReport] = SimpleQueue()
        self._commands = iter(commands)
        self.answers = Event()
        self.answers.set()

    def __call__(self, report: JobReport) -> str | None:
        self.heard.put(report)
        self.answers.wait(PATIENCE_S)
        return next(self._commands, None)

    def next(self) -> JobReport:
        return self.heard.get(timeout=PATIENCE_S)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def heartbeats(server: Server) -> Iterator[Heartbeats]:
    with closing(Heartbeats(server, NEVER_S)) as heartbeats:
        yield heartbeats
        server.answers.set()


def hears(job: Teller, heartbeats: Heartbeats) -> None:
    heartbeats.heard(f.InputsStaged(), job.engine)


def test_the_server_is_told_at_once_when_the_status_of_the_job_changes(server: Server, heartbeats: Heartbeats) -> None:
    job = Teller()
    for goes_on, status in [
        ((), "starting"),
        (("classify_job", "select_executor", "stage_in"), "running"),
    ]:
        job.goes_well(*goes_on)
        hears(job, heartbeats)
        assert server.next().state == status
    job.tell(f.Preempted(why="SIGTERM"))
    hears(job, heartbeats)
    assert server.next().state == "transferring"


def test_the_same_status_is_not_said_again_before_its_time(server: Server, heartbeats: Heartbeats) -> None:
    job = Teller()
    for _ in range(3):
        hears(job, heartbeats)
    assert server.next().state == "starting"
    job.goes_well("classify_job", "select_executor", "stage_in")
    hears(job, heartbeats)
    assert server.next().state == "running"
    assert server.heard.empty()


def test_a_status_is_said_again_after_its_time_with_what_has_been_done_since() -> None:
    server = Server()
    job = Teller().running("r1", "r2")
    with closing(Heartbeats(server, 0.01)) as heartbeats:
        hears(job, heartbeats)
        first = server.next()
        job.says(OUTPUT)
        hears(job, heartbeats)
        while (later := server.next()).cpu_s == 0.0:
            assert later == first


def test_at_the_end_of_the_job_nothing_more_is_said() -> None:
    server = Server()
    job = Teller()
    with closing(Heartbeats(server, 0.001)) as heartbeats:
        hears(job, heartbeats)
        assert server.next().state == "starting"
        job.tell(f.JobKilled(why="tobekilled"))
        hears(job, heartbeats)
    assert job.state == "failed"
    while not server.heard.empty():
        assert server.next().state == "starting"


def test_nobody_waits_for_a_server_that_does_not_answer(server: Server, heartbeats: Heartbeats) -> None:
    server.answers.clear()
    job = Teller()
    hears(job, heartbeats)
    assert server.next().state == "starting"
    job.goes_well("classify_job", "select_executor", "stage_in")
    hears(job, heartbeats)  # and it returns
    assert server.heard.empty()
    server.answers.set()
    assert server.next().state == "running"


def test_while_the_server_looks_closely_it_hears_more_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("esfsm.heartbeats.DEBUG_S", 0.001)
    server = Server("debug", "debug", "debugoff")
    with closing(Heartbeats(server, NEVER_S)) as heartbeats:
        hears(Teller(), heartbeats)
        assert [server.next().state for _ in range(3)] == ["starting"] * 3
    assert server.heard.empty()


def test_a_heartbeat_says_what_is_done_so_far() -> None:
    job = Teller().running("r1", "r2")
    job.says(OUTPUT)
    assert heartbeat(job.engine) == JobReport("running", cpu_s=2.5)
    job.drained()
    assert heartbeat(job.engine) is None
