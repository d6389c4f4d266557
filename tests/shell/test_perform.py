"""Each action is done by one adapter and answered by one fact; nothing that goes wrong is lost on the way."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest
from core.worlds import TABLES, event_range
from loguru import logger
from shell.jobs import QuickExecutor, es_job, installed, plain_job, write_inputs

from esfsm.adapters.executors.generic import GenericExecutor
from esfsm.core import actions as a
from esfsm.core import facts as f
from esfsm.core.ledger import Ledger
from esfsm.equipment import Equipment, mark_of
from esfsm.errors import ChannelError, PilotErrorCode, UnusableInput, WireError
from esfsm.inbox import Clock, Inbox
from esfsm.model.event_range import EventRange
from esfsm.model.job import Job
from esfsm.model.report import Answer, Grant, JobReport, Report
from esfsm.model.settings import Settings
from esfsm.perform import Performer
from esfsm.pools import Pools
from esfsm.ports import Communicator, Executor, Hooks, Orphan, Payload, ProcessIdentity

RANGE = EventRange.model_validate({"eventRangeID": "1-2-3-4-5", "startEvent": 1, "lastEvent": 2})
REPORT = Report(("1-2-3-4-5",), error_code=1220, error_diag="it failed")
STORE = a.StoreArchive(number=9, lfn="one.tar", size_bytes=0, adler32="00000001")
"""Of an empty file."""


class House:
    """A performer of one job and what it tells."""

    def __init__(self, job: dict[str, object], workdir: Path, pools: Pools | None = None, **settings: object) -> None:
        self.inbox = Inbox(Clock())
        given, said_by = Settings.layered({"transformations": workdir, "input_url": str(workdir), **settings})
        self.equipment = Equipment(Job.read(job), workdir, given, said_by, "run")
        self.performer = Performer(self.equipment, self.inbox, pools)

    def runs_by(self, executor: Executor) -> "House":
        """Payloads are run by this executor."""
        self.equipment.executor = executor
        return self

    def hears_from(self, server: Communicator) -> "House":
        """This server hands ranges out and books them."""
        self.equipment._opened = server
        return self

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

    def booked(self) -> None:
        """It keeps no books."""

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


class Adopter:
    """An executor whose payloads end as soon as they are started, and which can adopt."""

    hooks: Hooks

    def __init__(self) -> None:
        self.payload, self.started, self.asked = Told(), 0, []

    def start(self, payload: Payload, hooks: Hooks, *, event_service: bool) -> Told:
        self.started += 1
        hooks.payload_ended(0, 0, "")
        return self.payload

    def adopt(self, orphan: Orphan, payload: Payload, hooks: Hooks) -> Told:
        self.asked.append((orphan, payload))
        self.hooks = hooks
        return self.payload

    def end_orphan(self, mark: str, workdir: Path, identity: ProcessIdentity | None = None) -> bool:
        return False


class HastyExecutor(Adopter):
    """While it starts a payload, things are said to that payload already."""

    def __init__(self, house: House, said: Sequence[a.Action]) -> None:
        super().__init__()
        self._house, self._said = house, said

    def start(self, payload: Payload, hooks: Hooks, *, event_service: bool) -> Told:
        for action in self._said:
            self._house.performer.start(action)
        return super().start(payload, hooks, event_service=event_service)


# --- trouble ----------------------------------------------------------------------------------------------------


STRANGE = """\
class Strange:
    def __init__(self, settings):
        pass

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
    (tmp_path / "one.tar").touch()
    with installed(tmp_path / "site", {"esfsm.storage:strange": "strange:Strange"}, {"strange.py": STRANGE}):
        fact = build(output_url="strange://there").tells(STORE)
    why = "LookupError: the tape robot is lost"
    assert fact == f.ActionBroke(answers=9, error_code=PilotErrorCode.UNKNOWNEXCEPTION, why=why)
    (line,) = logged
    assert "store_archive 9: one.tar 00000001 to 0 broke" in line
    assert "Traceback" in line
    assert why in line


def test_what_is_ours_breaks_the_action_with_its_own_code_and_sentence(
    build: Build, tmp_path: Path, logged: list[str]
) -> None:
    (tmp_path / "one.tar").touch()
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
        (plain_job(), {}, STORE, f.ArchiveLost, "one.tar"),
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
    assert build(es_job()).hears_from(Server(WireError("504"))).tells(action) == fact


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
    house = build(es_job()).hears_from(server := Server(grant))
    assert house.tells(a.RequestRanges(n=5, number=0)) == fact
    assert server.asked == [(5, "run.0")], "a request bears the name of the run and of the action"


@pytest.mark.parametrize(
    ("answer", "fact"),
    [
        (Answer(("r1", "r2", "r3")), f.RangesAcknowledged()),
        (Answer(("r1",), ("r2",), ("r3",), "hm"), f.RangesAcknowledged(refused=("r2",), doubted=("r3",), why="hm")),
        (Answer(("r2",), why="hm"), f.RangesAcknowledged(unheard=("r1", "r3"), why="hm")),
        (Answer(), f.RangesAcknowledged(unheard=("r1", "r2", "r3"))),
        (Answer(("r1", "r9"), doubted=("r3",)), f.RangesAcknowledged(doubted=("r3",), unheard=("r2",))),
    ],
    ids=["accepted", "refused and doubted", "silence about some", "silence", "a stranger"],
)
def test_ranges_that_the_server_did_not_book_are_named(build: Build, answer: Answer, fact: f.Fact) -> None:
    report = Report(("r1", "r2", "r3"), error_code=1220, error_diag="it failed")
    house = build(es_job()).hears_from(Server(answer))
    assert house.tells(a.ReportRanges(number=3, key="k", report=report)) == replace(fact, answers=3)


def test_a_job_without_event_ranges_is_no_business_of_the_local_broker(build: Build, tmp_path: Path) -> None:
    assert build().tells(a.ReportJob(number=3)) == f.JobReported(answers=3)
    assert not list(tmp_path.iterdir())


# --- payloads ---------------------------------------------------------------------------------------------------


def test_what_is_said_to_a_payload_that_is_just_being_started_reaches_it(build: Build, tmp_path: Path) -> None:
    write_inputs(tmp_path)
    house = build(es_job())
    said = (a.StockRanges(event_ranges=(RANGE,)), a.Stop(target=4, grace_s=7.0), a.Stop(target=5, grace_s=9.0))
    executor = HastyExecutor(house, said)
    house.runs_by(executor).hears_from(Server(None))
    assert house.tells(a.RunEsPayload(number=4)) == f.PayloadFinished(answers=4)
    house.performer.close()
    assert executor.payload.said == [("stock", RANGE, False), ("stop", 7.0), ("stop", 0.0)]


# --- adoption ---------------------------------------------------------------------------------------------------


STARTED = f.PayloadStarted(answers=4, pid=17, started=42, channel="EventService_x")
LEDGER = Ledger(TABLES["event-range"])
LEDGER.grant(map(event_range, ("r1", "r2", "r3")))
LEDGER.hand_over(2)
LEDGER.step("ranges_sent", ["r1"])


@pytest.fixture
def adopting(build: Build, tmp_path: Path) -> tuple[House, Adopter]:
    """A performer that has adopted the payload of action 4."""
    write_inputs(tmp_path)
    house, adopter = build(es_job()), Adopter()
    house.runs_by(adopter).hears_from(Server(None))
    assert house.performer.adopt(STARTED, LEDGER)
    return house, adopter


def test_a_payload_is_adopted_by_its_identity_its_channel_and_the_mark_of_the_place(
    adopting: tuple[House, Adopter], tmp_path: Path
) -> None:
    _, adopter = adopting
    ((orphan, payload),) = adopter.asked
    assert orphan == Orphan(ProcessIdentity(17, 42), "EventService_x", in_hand=("r1",), queue=("r2", "r3"))
    assert payload.mark == mark_of(tmp_path)


def test_a_payload_that_was_adopted_is_not_begun_again(adopting: tuple[House, Adopter]) -> None:
    house, adopter = adopting
    house.performer.start(a.RunEsPayload(number=4))
    house.performer.close()
    assert adopter.started == 0


def test_what_is_said_to_an_adopted_payload_reaches_it(adopting: tuple[House, Adopter]) -> None:
    house, adopter = adopting
    house.performer.start(a.RunEsPayload(number=4))
    house.performer.start(a.StockRanges(event_ranges=(RANGE,)))
    house.performer.start(a.Stop(target=4, grace_s=7.0))
    house.performer.start(a.Stop(target=5, grace_s=9.0))
    assert adopter.payload.said == [("stock", RANGE, False), ("stop", 7.0)]


def test_what_an_adopted_payload_says_answers_the_action_that_began_it(adopting: tuple[House, Adopter]) -> None:
    house, adopter = adopting
    adopter.hooks.payload_gone()
    assert house.inbox.take() == [f.PayloadGone(answers=4)]


def test_a_payload_is_begun_again_when_the_adopted_one_is_lost(adopting: tuple[House, Adopter]) -> None:
    house, adopter = adopting
    house.performer.start(a.RunEsPayload(number=4))
    assert house.tells(a.RunEsPayload(number=4)) == f.PayloadFinished(answers=4)
    assert adopter.started == 1


@pytest.mark.parametrize("why", ["the executor cannot", "the executor is not here", "the payload is not here"])
def test_a_payload_that_cannot_be_adopted_is_begun_like_any_other(build: Build, tmp_path: Path, why: str) -> None:
    if why != "the payload is not here":
        write_inputs(tmp_path)
    house = build(es_job(), executor_type="gone" if why == "the executor is not here" else "generic")
    if why == "the executor cannot":
        house.runs_by(QuickExecutor(Settings(), print))  # type: ignore[arg-type]
    assert not house.performer.adopt(STARTED, LEDGER)
    house.runs_by(adopter := Adopter()).hears_from(Server(None))
    write_inputs(tmp_path)
    assert house.tells(a.RunEsPayload(number=4)) == f.PayloadFinished(answers=4)
    assert adopter.started == 1


# --- threads ----------------------------------------------------------------------------------------------------


class AtOnce:
    """No threads: what is submitted is done."""

    def __init__(self) -> None:
        self.did: list[str] = []

    def submit(self, do: Callable[[a.Action], None], action: a.Action, /) -> None:
        self.did.append(action.name)
        do(action)

    def close(self) -> None:
        self.did.append("close")


def test_words_with_the_server_never_wait_for_files(tmp_path: Path) -> None:
    house = House(es_job(), tmp_path, pools=(files := AtOnce(), words := AtOnce()))
    house.hears_from(Server(WireError("504")))
    for action in (
        *(a.ClassifyJob(number=1), STORE, a.RequestRanges(number=2, n=5)),
        *(a.ReportRanges(number=3, key="k", report=REPORT), a.ReportJob(number=4)),
    ):
        house.performer.start(action)
    assert [fact.name for fact in house.inbox.take()] == [
        *("job_classified", "archive_lost", "request_unanswered"),
        *("report_unanswered", "job_unreported"),
    ]
    house.performer.close()
    assert files.did == ["classify_job", "store_archive", "close"]
    assert words.did == ["request_ranges", "report_ranges", "report_job", "close"]


# --- decisions and alarms ---------------------------------------------------------------------------------------


def test_a_decision_that_is_noted_comes_back_as_a_fact(build: Build) -> None:
    note = a.Note(number=5, fact=f.RangesReleased(event_range_ids=("1-2-3-4-5",)))
    assert build().tells(note) == f.RangesReleased(answers=5, event_range_ids=("1-2-3-4-5",))


def test_an_alarm_that_is_set_rings(build: Build) -> None:
    house = build()
    house.performer.start(a.SetAlarm(number=6, when=house.inbox.clock.now()))
    assert house.inbox.take() == [f.AlarmRang(answers=6)]


def test_an_executor_that_is_not_here_has_left_no_orphans(build: Build) -> None:
    build(es_job(), executor_type="gone").performer.end_orphans(None)


@pytest.mark.parametrize("trouble", [WireError("504"), UnusableInput("the proxy is gone")])
def test_a_heartbeat_may_be_lost(build: Build, trouble: Exception) -> None:
    house = build(es_job()).hears_from(server := Server(trouble))
    assert house.performer.say(JobReport("running")) is None
    assert server.asked == [(JobReport("running"),)]


@pytest.mark.parametrize(
    ("command", "facts"),
    [
        ("tobekilled", [f.JobKilled(why="the server says tobekilled")]),
        ("softkill", [f.Preempted(why="the server says softkill")]),
        ("debug", []),
        (None, []),
    ],
)
def test_a_command_in_the_answer_to_a_heartbeat_is_a_fact(
    build: Build, command: str | None, facts: list[f.Fact]
) -> None:
    house = build(es_job()).hears_from(Server(command))
    assert house.performer.say(JobReport("running")) == command
    house.inbox.put(f.JobReported())
    assert house.inbox.take() == [*facts, f.JobReported()]


def test_a_command_that_comes_with_each_reply_is_one_fact(build: Build) -> None:
    """A second stop would end the grace of the first."""
    house = build(es_job()).hears_from(Server(Answer(REPORT.event_range_ids, command="softkill")))
    for number in (3, 4):
        house.performer.start(a.ReportRanges(number=number, key="k", report=REPORT))
    heard: list[f.Fact] = []
    while len(heard) < 3:
        heard += house.inbox.take()
    assert [fact.name for fact in heard].count("preempted") == 1
    assert [fact.answers for fact in heard if fact.name == "ranges_acknowledged"] in ([3, 4], [4, 3])


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
    assert fact.exit_code == (65 if place == "elsewhere" else None)


def test_a_channel_that_cannot_be_opened_is_a_payload_that_failed(build: Build, tmp_path: Path) -> None:
    def no_channel(*_: object) -> NoReturn:
        raise ChannelError("no room in /tmp")

    write_inputs(tmp_path)
    house = build(es_job()).runs_by(GenericExecutor(Settings(), no_channel)).hears_from(Server(None))
    fact = house.tells(a.RunEsPayload(number=4))
    assert isinstance(fact, f.PayloadFailed)
    assert (fact.error_code, fact.why) == (PilotErrorCode.MESSAGEHANDLINGFAILURE, "no room in /tmp")
