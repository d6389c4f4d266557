"""What every executor promises of a payload that outlived its engine, with payloads and engines that are killed."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, NamedTuple
from uuid import uuid4

import pytest
from contract.heard import Heard, Told, named
from whole.processes import PATIENCE_S, ends, event_range, identity_of, no_thread_left, pipe

from esfsm.adapters.channels.zmq import ZmqChannel
from esfsm.adapters.executors import esprocess
from esfsm.adapters.executors.generic import GenericExecutor
from esfsm.adapters.executors.marks import MARK
from esfsm.adapters.executors.sent import LastSent
from esfsm.errors import PilotErrorCode
from esfsm.model.event_range import EventRange
from esfsm.model.settings import Settings
from esfsm.ports import Executor, Orphan, Payload, ProcessIdentity, Running

TESTS = Path(__file__).parents[1]
SURVIVORS, ENGINES = (Path(__file__).with_name(f"{name}.py") for name in ("survivors", "engines"))
PYTHONPATH = f"{TESTS.parent}:{TESTS}"

GOOD_END: Told = ("payload_ended", (0, PilotErrorCode.NONE, ""))
GONE: Told = ("payload_gone", ())


def generic(settings: Settings) -> Executor:
    return GenericExecutor(settings, ZmqChannel)


class Survivor(NamedTuple):
    """A payload whose engine was killed."""

    payload: Payload
    identity: ProcessIdentity
    channel: str
    go: IO[str] | None
    """The end of its first range, if it is in it."""
    in_hand: tuple[str, ...] = ()
    """What it was sent, by the journal of the engine that was killed, and has said nothing about."""
    queue: tuple[str, ...] = ()
    """What follows, and of which it may have the first ones."""

    @property
    def orphan(self) -> Orphan:
        return Orphan(self.identity, self.channel, self.in_hand, self.queue)

    def go_on(self) -> None:
        if self.go:
            self.go.close()

    @property
    def socket_file(self) -> Path:
        return Path(f"/tmp/zmq_{self.channel}")


class Adoption(NamedTuple):
    """A payload that was adopted, and what is told about it."""

    survivor: Survivor
    heard: Heard
    running: Running

    def stock(self, *numbers: int, last: bool = False) -> None:
        self.running.stock([EventRange.model_validate(event_range(number)) for number in numbers], last)

    def go_on(self) -> None:
        """Let it finish its first range."""
        self.survivor.go_on()

    def end(self) -> list[Told]:
        """What is told until the end, and the end."""
        return self.heard.until("payload_ended", "payload_gone")


Outlive = Callable[..., Survivor]
Adopt = Callable[..., Adoption]


def engine(name: str, *content: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(ENGINES), name, json.dumps(content)]
    environment = {**os.environ, "PYTHONPATH": PYTHONPATH}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


@pytest.fixture(params=[generic])
def open_executor(request: pytest.FixtureRequest) -> Callable[[Settings], Executor]:
    return request.param


@pytest.fixture
def outlive(open_executor: Callable[[Settings], Executor], tmp_path: Path) -> Iterator[Outlive]:
    """Start a payload in an engine that has so many ranges, and kill the engine.

    That is when it has heard `until`, or else when the payload is in its first range.
    """
    survivors: list[Survivor] = []
    mark = uuid4().hex
    pipe(tmp_path, "go")

    def outlive(*arguments: object, until: str | None = None, ranges: int = 1) -> Survivor:
        command = [sys.executable, str(SURVIVORS), *map(str, arguments)]
        environment = {"PYTHONPATH": PYTHONPATH}
        given = [event_range(number) for number in range(1, ranges + 1)]
        with engine("start", command, str(tmp_path), environment, mark, given) as dying:
            name, (identity, channel) = json.loads(dying.stdout.readline())
            while until not in (None, name):
                name, _ = json.loads(dying.stdout.readline())
            go = None if until else (tmp_path / "go").open("w")
            dying.kill()
        payload = Payload(command, tmp_path, environment, tmp_path / "out.txt", tmp_path / "err.txt", mark=mark)
        survivors.append(Survivor(payload, ProcessIdentity(*identity), channel, go))
        return survivors[-1]

    yield outlive
    open_executor(Settings()).end_orphan(mark, tmp_path)
    for survivor in survivors:
        survivor.socket_file.unlink(missing_ok=True)
        survivor.go_on()


@pytest.fixture
def adopt(open_executor: Callable[[Settings], Executor]) -> Iterator[Adopt]:
    """Adopt a payload; in the end nothing is left of it, of its channel, and of what it took to serve it."""
    adoptions: list[Adoption] = []
    before = descriptors()

    def adopt(survivor: Survivor, **settings: float) -> Adoption:
        heard = Heard()
        running = open_executor(Settings(**settings)).adopt(survivor.orphan, survivor.payload, heard)
        assert running is not None
        adoptions.append(Adoption(survivor, heard, running))
        return adoptions[-1]

    with no_thread_left():
        yield adopt
        for adoption in adoptions:
            adoption.running.stop(0.0)
            assert adoption.running.wait(PATIENCE_S)
            adoption.go_on()
            assert adoption.heard.is_silent(), "something follows the end"
            assert ends(adoption.survivor.identity.pid)
            assert not adoption.survivor.socket_file.exists()
    assert descriptors() == before


def descriptors() -> int:
    """How many this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def ids(*numbers: int) -> list[str]:
    return [str(event_range(number)["eventRangeID"]) for number in numbers]


def finished(told: list[Told]) -> list[str]:
    """The ids of the results, in their order."""
    return [content[0] for content in named(told, "output_produced")]


# --- the good way -------------------------------------------------------------------------------------------------


def test_a_payload_that_outlived_its_engine_goes_on_to_its_good_end(outlive: Outlive, adopt: Adopt) -> None:
    adoption = adopt(outlive("simulate", "go"))
    adoption.stock(2, 3, 4, last=True)
    adoption.go_on()
    told = adoption.end()
    assert finished(told) == ids(1, 2, 3, 4)
    assert [event_range_id for sent in named(told, "ranges_sent") for event_range_id in sent] == ids(2, 3, 4)
    assert named(told, "payload_started") == []
    assert told[-1] == GOOD_END


def test_a_payload_whose_engine_died_before_it_spoke_is_served(outlive: Outlive, adopt: Adopt) -> None:
    adoption = adopt(outlive("simulate", until="payload_started"))
    adoption.stock(1, 2, last=True)
    told = adoption.end()
    assert finished(told) == ids(1, 2)
    assert told[-1] == GOOD_END


@pytest.mark.parametrize("lost", [(), (9,)])
def test_a_good_end_without_a_word_about_a_range_that_it_had_is_none(
    outlive: Outlive, adopt: Adopt, lost: tuple[int, ...]
) -> None:
    """What it said about range 9 went to the engine that was killed, and nobody wrote it down."""
    adoption = adopt(outlive("simulate", "go")._replace(in_hand=tuple(ids(1, *lost))))
    adoption.stock(2, last=True)
    adoption.go_on()
    told = adoption.end()
    assert finished(told) == ids(1, 2)
    assert told[-1] == (("payload_gone", ()) if lost else GOOD_END)


@pytest.mark.parametrize(
    ("queue", "sent", "end"),
    [(ids(1, 9), ids(1), GOOD_END), (ids(9, 1, 2), ids(9, 1), GONE), (ids(8, 9), ids(3), GOOD_END)],
    ids=["it is in the first", "it is in the second", "that is in the journal already"],
)
def test_what_a_payload_was_sent_and_nobody_wrote_down_is_told_first_and_not_handed_out_again(
    outlive: Outlive, adopt: Adopt, queue: list[str], sent: list[str], end: Told
) -> None:
    """The journal ends before `ranges_sent`; what was sent last is range 1. Of range 9 the payload says nothing."""
    adoption = adopt(outlive("simulate", "go")._replace(queue=tuple(queue)))
    adoption.stock(3, last=True)
    adoption.go_on()
    told = adoption.end()
    first, *_ = named(told, "ranges_sent")
    assert list(first) == sent
    assert finished(told) == ids(1, 3)
    assert told[-1] == end


def test_without_the_word_of_its_executor_a_payload_is_not_adopted(
    open_executor: Callable[[Settings], Executor], outlive: Outlive
) -> None:
    survivor, executor = outlive("simulate", "go"), open_executor(Settings())
    (survivor.payload.workdir / "EventService_EventRanges.sent").unlink()
    before = descriptors()
    assert not adopted(executor, survivor)
    assert descriptors() == before


def test_what_a_payload_said_while_nobody_listened_is_heard(outlive: Outlive, adopt: Adopt, tmp_path: Path) -> None:
    said = pipe(tmp_path, "said")
    survivor = outlive("speak_unheard")
    survivor.go_on()
    assert said.read_text() == ids(1)[0]
    adoption = adopt(survivor)
    adoption.stock(2, last=True)
    told = adoption.end()
    assert finished(told) == ids(1, 2)
    assert told[-1] == GOOD_END


@pytest.mark.parametrize("survivor", ["one_by_one", "in_workers"])
def test_a_payload_made_with_our_library_asks_again_for_what_it_was_not_given(
    outlive: Outlive, adopt: Adopt, survivor: str
) -> None:
    adoption = adopt(outlive(survivor, until="ranges_wanted", ranges=0))
    adoption.stock(1, 2, 3, 4, last=True)
    told = adoption.end()
    assert sorted(finished(told)) == ids(1, 2, 3, 4)
    assert told[-1] == GOOD_END


def test_a_payload_may_outlive_a_second_engine(outlive: Outlive, adopt: Adopt) -> None:
    survivor = outlive("simulate", "go")
    workdir = str(survivor.payload.workdir)
    with engine("adopt", survivor.identity, survivor.channel, workdir, survivor.payload.mark) as second:
        assert second.wait(PATIENCE_S) == 0
    adoption = adopt(survivor)
    adoption.stock(2, last=True)
    adoption.go_on()
    told = adoption.end()
    assert finished(told) == ids(1, 2)
    assert told[-1] == GOOD_END


def test_a_payload_of_an_older_engine_has_no_keeper_and_goes_on_to_an_end_that_nobody_knows(
    adopt: Adopt, tmp_path: Path
) -> None:
    mark, channel = uuid4().hex, f"older-{uuid4().hex}"
    LastSent.begin(tmp_path).close()
    environment = {**os.environ, "PYTHONPATH": PYTHONPATH, MARK: mark, "PILOT_EVENTRANGECHANNEL": channel}
    command = [sys.executable, str(SURVIVORS), "simulate_and_end", "3"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, start_new_session=True) as process:
        payload = Payload(command, tmp_path, {}, tmp_path / "out.txt", tmp_path / "err.txt", mark=mark)
        adoption = adopt(Survivor(payload, identity_of(process.pid), channel, None))
        adoption.stock(1, last=True)
        told = adoption.end()
    assert finished(told) == ids(1)
    assert told[-1] == ("payload_ended", (None, PilotErrorCode.NONE, ""))
    assert process.returncode == 3


# --- bad ends -----------------------------------------------------------------------------------------------------


def test_a_payload_that_waits_for_an_answer_of_the_dead_engine_is_ended(outlive: Outlive, adopt: Adopt) -> None:
    """As AthenaMP does: it asks once, and cannot be addressed before it speaks again."""
    adoption = adopt(outlive("simulate", until="ranges_wanted", ranges=0), adopt_patience_s=0.1)
    adoption.stock(1, last=True)
    assert adoption.end() == [GONE]


@pytest.mark.parametrize("end", ["die", "leave"])
def test_a_payload_that_was_not_told_to_end_has_gone_and_its_results_are_told_first(
    outlive: Outlive, adopt: Adopt, end: str
) -> None:
    """However it ended: some of its results may be lost."""
    adoption = adopt(outlive("simulate_until", 2, end))
    adoption.stock(2, 3, 4)
    adoption.go_on()
    told = adoption.end()
    assert finished(told) == ids(1, 2)
    assert told[-1] == GONE


def test_the_exit_code_of_an_adopted_payload_is_told(outlive: Outlive, adopt: Adopt) -> None:
    """Its parent is its keeper, not the engine that was killed."""
    adoption = adopt(outlive("simulate_and_end", 3, until="ranges_wanted", ranges=0))
    adoption.stock(1, last=True)
    told = adoption.end()
    assert finished(told) == ids(1)
    why = "the payload could not open a remote file in time (exit code 3)"
    assert told[-1] == ("payload_ended", (3, PilotErrorCode.REMOTEFILEOPENTIMEDOUT, why))


def test_a_payload_that_does_not_end_when_it_was_told_to_is_ended(outlive: Outlive, adopt: Adopt) -> None:
    adoption = adopt(outlive("simulate_and_stay"), end_patience_s=0.1)
    adoption.stock(2, last=True)
    adoption.go_on()
    told = adoption.end()
    assert finished(told) == ids(1, 2)
    why = "the payload did not end within 0.1 s after 'No more events'"
    assert told[-1] == ("payload_ended", (-signal.SIGTERM, PilotErrorCode.LOOPINGJOB, why))


@pytest.mark.parametrize("kind", ["family", "runaway"])
@pytest.mark.parametrize("stopped", [True, False], ids=["is stopped", "is killed"])
def test_children_do_not_outlive_a_payload_that_was_adopted(
    outlive: Outlive, adopt: Adopt, tmp_path: Path, kind: str, stopped: bool
) -> None:
    adoption = adopt(outlive(kind, "simulate", "go"))
    if stopped:
        adoption.running.stop(0.0)
    else:
        os.kill(adoption.survivor.identity.pid, signal.SIGKILL)
    adoption.end()
    assert all(ends(int(pid)) for pid in (tmp_path / "pids").read_text().split())


# --- a stop -------------------------------------------------------------------------------------------------------


def test_what_runs_may_finish_within_the_grace_of_a_stop(outlive: Outlive, adopt: Adopt) -> None:
    adoption = adopt(outlive("simulate", "go"))
    adoption.running.stop(PATIENCE_S)
    adoption.go_on()
    told = adoption.end()
    assert finished(told) == ids(1)
    assert told[-1] == GOOD_END


@pytest.mark.parametrize(
    ("arguments", "how"),
    [(("simulate", "go"), signal.SIGTERM), (("deaf",), signal.SIGKILL)],
    ids=["hears it", "is deaf"],
)
def test_what_takes_longer_than_the_grace_of_a_stop_is_ended(
    outlive: Outlive,
    adopt: Adopt,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    how: signal.Signals,
) -> None:
    monkeypatch.setattr(esprocess, "KILL_PATIENCE_S", 0.05 if how == signal.SIGKILL else PATIENCE_S)
    adoption = adopt(outlive(*arguments))
    adoption.running.stop(0.0)
    sentence = f"the payload was ended by {how.name}"
    assert adoption.end() == [("payload_ended", (-how, PilotErrorCode.SIGTERM, sentence))]


# --- what is not adopted ------------------------------------------------------------------------------------------


def later(survivor: Survivor) -> Survivor:
    pid, started = survivor.identity
    return survivor._replace(identity=ProcessIdentity(pid, started + 1))


def of_another_place(survivor: Survivor) -> Survivor:
    return survivor._replace(payload=survivor.payload._replace(mark="another place", workdir=Path("/")))


def another_process(survivor: Survivor) -> Survivor:
    return survivor._replace(identity=ProcessIdentity(os.getppid(), survivor.identity.started))


def without_a_channel(survivor: Survivor) -> Survivor:
    return survivor._replace(channel="")


@pytest.mark.parametrize("mistaken", [later, of_another_place, another_process, without_a_channel])
def test_what_is_not_the_payload_is_neither_adopted_nor_touched(
    open_executor: Callable[[Settings], Executor],
    outlive: Outlive,
    mistaken: Callable[[Survivor], Survivor],
) -> None:
    survivor = outlive("simulate", "go")
    executor, before = open_executor(Settings()), descriptors()
    assert not adopted(executor, mistaken(survivor))
    assert descriptors() == before
    assert executor.end_orphan(survivor.payload.mark, survivor.payload.workdir), "it lives on"


def test_a_payload_that_has_ended_is_not_adopted_and_its_socket_file_is_removed(
    open_executor: Callable[[Settings], Executor], outlive: Outlive
) -> None:
    survivor = outlive("simulate", "go")
    executor, before = open_executor(Settings()), descriptors()
    executor.end_orphan(survivor.payload.mark, survivor.payload.workdir)
    assert survivor.socket_file.is_socket()
    assert not adopted(executor, survivor)
    assert not survivor.socket_file.exists()
    assert descriptors() == before


def test_a_payload_whose_channel_is_in_use_is_not_adopted(
    open_executor: Callable[[Settings], Executor], outlive: Outlive
) -> None:
    survivor, executor = outlive("simulate", "go"), open_executor(Settings())
    executor.end_orphan(
        survivor.payload.mark, survivor.payload.workdir
    )  # alive it would connect to this channel, at any time
    before = descriptors()
    with closing(ZmqChannel(survivor.channel)):
        assert not adopted(executor, survivor)
        assert survivor.socket_file.is_socket()
    assert descriptors() == before


def adopted(executor: Executor, survivor: Survivor) -> bool:
    """Whether it is adopted; if not, nothing is told."""
    heard = Heard()
    running = executor.adopt(survivor.orphan, survivor.payload, heard)
    assert running or heard.is_silent()
    return running is not None
