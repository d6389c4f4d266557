"""Each action is done by one adapter and answered by one fact; nothing that goes wrong is lost on the way."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from loguru import logger
from shell.jobs import es_job, installed, plain_job, write_inputs

from esfsm.core import actions as a
from esfsm.core import facts as f
from esfsm.errors import ChannelError, PilotErrorCode, UnknownName, WireError
from esfsm.inbox import Clock, Inbox
from esfsm.model.event_range import EventRange
from esfsm.model.job import Job
from esfsm.model.report import Answer, Grant, JobReport, Report
from esfsm.model.settings import Settings
from esfsm.perform import Performer
from esfsm.ports import Hooks, Payload, ProcessIdentity

RANGE = EventRange.model_validate({"eventRangeID": "1-2-3-4-5", "startEvent": 1, "lastEvent": 2})
REPORT = Report(("1-2-3-4-5",), error_code=1220, error_diag="it failed")
STORE = a.StoreArchive(number=9, lfn="one.tar", size_bytes=1, adler32="00000001")


class House:
    """A performer of one job and what it tells."""

    def __init__(self, job: dict[str, object], workdir: Path, **settings: object) -> None:
        self.inbox = Inbox(Clock())
        given, said_by = Settings.layered({"transformations": workdir, "input_url": str(workdir), **settings})
        self.performer = Performer(Job.read(job), workdir, given, said_by, "run", self.inbox)

    def tells(self, action: a.Action) -> f.Fact:
        self.performer.start(action)
        (fact,) = self.inbox.take()
        return fact


Build = Callable[..., House]


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Build]:
    houses: list[House] = []

    def build(job: dict[str, object] | None = None, **settings: object) -> House:
        houses.append(House(job or plain_job(), tmp_path, **settings))
        return houses[-1]

    yield build
    for house in houses:
        house.performer.close()


class Server:
    """A communicator that answers what it was given, or raises it."""

    def __init__(self, answer: Any) -> None:
        self._answer, self.asked = answer, []

    def _answered(self, *asked: object) -> Any:
        self.asked.append(asked)
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    def get_event_ranges(self, n: int, request: str) -> Grant:
        return self._answered(n, request)

    def update_event_ranges(self, report: Report) -> Answer:
        return self._answered(report)

    def update_job(self, report: JobReport) -> str | None:
        return self._answered(report)

    def close(self) -> None:
        """Nothing to let go of."""


class Told:
    """A payload that writes down what is said to it."""

    def __init__(self) -> None:
        self.said: list[tuple[object, ...]] = []

    def stock(self, event_ranges: Sequence[EventRange], last: bool) -> None:
        self.said.append(("stock", *event_ranges, last))

    def stop(self, grace_s: float) -> None:
        self.said.append(("stop", grace_s))

    def wait(self, timeout_s: float) -> bool:
        return True


class HastyExecutor:
    """While it starts a payload, things are said to that payload already."""

    def __init__(self, house: House, said: Sequence[a.Action] = ()) -> None:
        self._house, self._said, self.payload = house, said, Told()

    def start(self, payload: Payload, hooks: Hooks, *, event_service: bool) -> Told:
        for action in self._said:
            self._house.performer.start(action)
        hooks.payload_ended(0, 0, "")
        return self.payload

    def end_orphan(self, mark: str) -> bool:
        return False


# --- trouble ----------------------------------------------------------------------------------------------------


STRANGE = """\
class Strange:
    def put(self, path, url):
        raise LookupError("the tape robot is lost")
"""


@pytest.fixture
def logged() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lines.append, level="TRACE")
    logger.enable("esfsm")
    yield lines
    logger.disable("esfsm")
    logger.remove(sink)


def test_what_nobody_foresaw_breaks_the_action_with_its_text_and_is_logged(
    build: Build, tmp_path: Path, logged: list[str]
) -> None:
    with installed(tmp_path / "site", {"esfsm.storage:strange": "strange:Strange"}, {"strange.py": STRANGE}):
        fact = build(output_url="strange://there").tells(STORE)
    why = "LookupError: the tape robot is lost"
    assert fact == f.ActionBroke(answers=9, error_code=PilotErrorCode.UNKNOWNEXCEPTION, why=why)
    (line,) = logged
    assert "store_archive 9: one.tar 00000001 to 0 broke" in line
    assert "Traceback" in line
    assert why in line


def test_what_is_ours_breaks_the_action_with_its_own_code_and_sentence(build: Build, logged: list[str]) -> None:
    fact = build(output_url="gopher://there").tells(STORE)
    assert isinstance(fact, f.ActionBroke)
    assert (fact.answers, fact.error_code) == (9, PilotErrorCode.INTERNALPILOTPROBLEM)
    assert "there is no storage scheme 'gopher'" in fact.why
    assert not logged


@pytest.mark.parametrize(
    ("job", "settings", "action", "kind", "why"),
    [
        (es_job(taskID=None), {}, a.ClassifyJob(), f.JobRefused, "needs taskID"),
        (plain_job(transformation=""), {}, a.ClassifyJob(), f.JobRefused, "no transformation"),
        (es_job(), {"executor_type": "gone"}, a.SelectExecutor(), f.ExecutorUnavailable, "no executor type 'gone'"),
        (plain_job(inFiles="gone"), {}, a.StageIn(), f.StageInFailed, "there is no file"),
        (plain_job(), {}, a.StageOut(), f.StageOutFailed, "out.txt"),
        (plain_job(), {}, STORE, f.StoreFailed, "one.tar"),
        (plain_job(), {}, a.RunPayload(), f.PayloadFailed, "the transformation 'transform.py' is neither in"),
    ],
)
def test_trouble_that_was_to_be_expected_is_the_fact_that_says_so(
    build: Build, job: dict[str, object], settings: dict[str, object], action: a.Action, kind: type, why: str
) -> None:
    fact = build(job, **settings).tells(action)
    assert type(fact) is kind
    assert why in fact.why  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("action", "fact"),
    [
        (a.RequestRanges(number=3, n=5), f.RequestUnanswered(answers=3, why="504")),
        (a.ReportRanges(number=3, key="k", report=REPORT), f.ReportUnanswered(answers=3, why="504")),
        (a.ReportJob(number=3), f.JobUnreported(answers=3, why="504")),
    ],
)
def test_a_server_that_cannot_be_believed_is_a_fact(build: Build, action: a.Action, fact: f.Fact) -> None:
    house = build(es_job())
    house.performer._communicator = Server(WireError("504"))
    assert house.tells(action) == fact


def test_a_transformation_that_cannot_be_executed_is_a_payload_that_failed(build: Build, tmp_path: Path) -> None:
    (tmp_path / "transform").write_text("no program")
    (tmp_path / "transform").chmod(0o755)
    fact = build(plain_job(transformation="transform")).tells(a.RunPayload(number=4))
    assert isinstance(fact, f.PayloadFailed)
    assert (fact.answers, fact.error_code) == (4, PilotErrorCode.PAYLOADEXECUTIONEXCEPTION)
    assert "cannot be started" in fact.why


# --- what servers say -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grant", "fact"),
    [
        (Grant((RANGE,), total=7), f.RangesGranted(event_ranges=(RANGE,), total=7)),
        (Grant((RANGE,), exhausted=True), f.RangesGranted(event_ranges=(RANGE,), exhausted=True)),
        (Grant(), f.RangesGranted(event_ranges=())),
        (Grant(exhausted=True), f.RangesExhausted()),
    ],
)
def test_only_a_server_that_is_sure_ends_the_supply(build: Build, grant: Grant, fact: f.Fact) -> None:
    house = build(es_job())
    server = house.performer._communicator = Server(grant)
    assert house.tells(a.RequestRanges(n=5, number=0)) == fact
    assert server.asked == [(5, "run.0")], "a request bears the name of the run and of the action"


def test_ranges_that_the_server_refuses_are_named(build: Build) -> None:
    house = build(es_job())
    house.performer._communicator = Server(Answer((), ("1-2-3-4-5",), "taken back"))
    fact = house.tells(a.ReportRanges(number=3, key="k", report=REPORT))
    assert fact == f.RangesAcknowledged(answers=3, refused=("1-2-3-4-5",), why="taken back")


def test_a_job_without_event_ranges_is_no_business_of_the_local_broker(build: Build, tmp_path: Path) -> None:
    assert build().tells(a.ReportJob(number=3)) == f.JobReported(answers=3)
    assert not list(tmp_path.iterdir())


# --- payloads ---------------------------------------------------------------------------------------------------


def test_what_is_said_to_a_payload_that_is_just_being_started_reaches_it(build: Build, tmp_path: Path) -> None:
    write_inputs(tmp_path)
    house = build(es_job())
    said = (a.StockRanges(event_ranges=(RANGE,)), a.Stop(target=4, grace_s=7.0), a.Stop(target=5, grace_s=9.0))
    executor = house.performer._executor = HastyExecutor(house, said)
    house.performer._communicator = Server(None)
    assert house.tells(a.RunEsPayload(number=4)) == f.PayloadFinished(answers=4)
    house.performer.close()
    assert executor.payload.said == [("stock", RANGE, False), ("stop", 7.0), ("stop", 0.0)]


def test_an_output_that_is_announced_is_named_from_the_work_directory(build: Build, tmp_path: Path) -> None:
    (tmp_path / "HITS").write_bytes(b"abc")
    hooks = hooks_of(build(es_job()), tmp_path)
    hooks.output_produced("1-2-3-4-5", [str(tmp_path / "HITS"), "HITS"], 1.5, 2.5)
    (fact,) = hooks._inbox.take()
    assert fact == f.OutputProduced(
        answers=4,
        event_range_id="1-2-3-4-5",
        paths=("HITS", "HITS"),
        stamps=((tmp_path / "HITS").stat().st_mtime_ns,) * 2,
        size_bytes=6,
        cpu_s=1.5,
        wall_s=2.5,
    )


@pytest.mark.parametrize("path", ["gone", "/gone", "a\0b", "x" * 300])
def test_an_output_that_is_announced_and_not_there_is_a_failed_range(build: Build, tmp_path: Path, path: str) -> None:
    hooks = hooks_of(build(es_job()), tmp_path)
    hooks.output_produced("1-2-3-4-5", [path], 1.5, 2.5)
    (fact,) = hooks._inbox.take()
    assert isinstance(fact, f.RangeErrored)
    assert (fact.event_range_id, fact.error_code) == ("1-2-3-4-5", PilotErrorCode.MISSINGOUTPUTFILE)


@pytest.mark.parametrize(
    ("ended", "fact"),
    [
        ((0, 0, ""), f.PayloadFinished(answers=4)),
        ((65, 1305, "it failed"), f.PayloadFailed(answers=4, exit_code=65, error_code=1305, why="it failed")),
        ((0, 1150, "looping"), f.PayloadFailed(answers=4, exit_code=0, error_code=1150, why="looping")),
    ],
)
def test_a_payload_has_failed_when_its_error_code_says_so(
    build: Build, tmp_path: Path, ended: tuple[int, int, str], fact: f.Fact
) -> None:
    hooks = hooks_of(build(es_job()), tmp_path)
    hooks.payload_ended(*ended)
    assert hooks._inbox.take() == [fact]


def hooks_of(house: House, workdir: Path) -> Any:
    """The hooks that a payload of this performer has."""
    write_inputs(workdir)
    executor = house.performer._executor = HooksKeeper()
    house.performer._communicator = Server(None)
    house.tells(a.RunEsPayload(number=4))
    return executor.hooks


class HooksKeeper:
    """An executor whose payload is the test."""

    hooks: Hooks

    def start(self, payload: Payload, hooks: Hooks, *, event_service: bool) -> Told:
        self.hooks = hooks
        hooks.payload_started(ProcessIdentity(1, 2))
        return Told()


# --- decisions and alarms ---------------------------------------------------------------------------------------


def test_a_decision_that_is_noted_comes_back_as_a_fact(build: Build) -> None:
    note = a.Note(number=5, fact=f.RangesReleased(event_range_ids=("1-2-3-4-5",)))
    assert build().tells(note) == f.RangesReleased(answers=5, event_range_ids=("1-2-3-4-5",))


def test_an_alarm_that_is_set_rings(build: Build) -> None:
    house = build()
    house.performer.start(a.SetAlarm(number=6, when=house.inbox.clock.now()))
    assert house.inbox.take() == [f.AlarmRang(answers=6)]


def test_without_a_communicator_that_can_be_opened_nothing_begins(build: Build) -> None:
    with pytest.raises(ValueError, match="no communicator 'gone'"):
        build(es_job(), communicator="gone").performer.open()
    build(plain_job(), communicator="gone").performer.open()


@pytest.mark.parametrize(
    ("setting", "known"),
    [
        ({"channel": "gone"}, "no channel 'gone'"),
        ({"input_url": "gopher://there"}, "no storage scheme 'gopher'"),
        ({"output_url": "gopher://there"}, "no storage scheme 'gopher'"),
        ({"failover_url": "gopher://there"}, "no storage scheme 'gopher'"),
    ],
)
def test_a_channel_or_a_storage_that_nobody_knows_is_refused_before_anything_begins(
    build: Build, setting: dict[str, object], known: str
) -> None:
    with pytest.raises(UnknownName, match=known):
        build(plain_job(), **setting).performer.open()


def test_an_executor_that_is_not_here_has_left_no_orphans(build: Build) -> None:
    build(es_job(), executor_type="gone").performer.end_orphans()


def test_a_payload_runs_though_the_server_could_not_be_told(build: Build, tmp_path: Path) -> None:
    write_inputs(tmp_path)
    house = build(es_job())
    house.performer._executor = HastyExecutor(house)
    server = house.performer._communicator = Server(WireError("504"))
    assert house.tells(a.RunEsPayload(number=4)) == f.PayloadFinished(answers=4)
    assert server.asked == [(JobReport("running"),)]


@pytest.mark.parametrize(
    ("command", "facts"),
    [
        ("tobekilled", [f.Preempted(why="the server says tobekilled"), f.PayloadFinished(answers=4)]),
        ("softkill", [f.Preempted(why="the server says softkill"), f.PayloadFinished(answers=4)]),
        ("debug", [f.PayloadFinished(answers=4)]),
    ],
)
def test_a_server_that_wants_the_job_to_end_when_it_hears_that_it_runs_is_heard(
    build: Build, tmp_path: Path, command: str, facts: list[f.Fact]
) -> None:
    write_inputs(tmp_path)
    house = build(es_job())
    house.performer._executor = HastyExecutor(house)
    house.performer._communicator = Server(command)
    house.performer.start(a.RunEsPayload(number=4))
    heard: list[f.Fact] = []
    while len(heard) < len(facts):
        heard += house.inbox.take()
    assert heard == facts


@pytest.mark.parametrize("place", ["work", "elsewhere"])
def test_a_transformation_is_never_a_file_of_the_work_directory(build: Build, tmp_path: Path, place: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "transform.py").write_text("raise SystemExit(0)")
    (tmp_path / "elsewhere" / "transform.py").write_text("raise SystemExit(65)" if place == "elsewhere" else "")
    if place == "work":
        (tmp_path / "elsewhere" / "transform.py").unlink()
    house = build(plain_job(), transformations=tmp_path / "elsewhere")
    house.performer.start(a.RunPayload(number=4))
    while isinstance(fact := house.inbox.take()[-1], f.PayloadStarted):
        pass
    assert isinstance(fact, f.PayloadFailed)
    assert fact.exit_code == (65 if place == "elsewhere" else -1)


def test_a_channel_that_cannot_be_opened_is_a_payload_that_failed(build: Build, tmp_path: Path) -> None:
    def no_channel() -> None:
        raise ChannelError("no room in /tmp")

    from esfsm.adapters.executors.generic import GenericExecutor

    write_inputs(tmp_path)
    house = build(es_job())
    house.performer._executor = GenericExecutor(Settings.layered()[0], no_channel)  # type: ignore[arg-type]
    house.performer._communicator = Server(None)
    fact = house.tells(a.RunEsPayload(number=4))
    assert isinstance(fact, f.PayloadFailed)
    assert (fact.error_code, fact.why) == (PilotErrorCode.MESSAGEHANDLINGFAILURE, "no room in /tmp")
