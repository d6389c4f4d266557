"""What every executor promises behind `ports.Executor`, with real payloads."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic

import pytest
from contract.heard import Heard, Told, named
from whole.processes import PATIENCE_S, ends, event_range, no_thread_left, payload, pipe

from esfsm.adapters.channels.zmq import ZmqChannel
from esfsm.adapters.executors import esprocess, stock
from esfsm.adapters.executors.generic import GenericExecutor
from esfsm.errors import ChannelError, PilotErrorCode
from esfsm.model.event_range import EventRange
from esfsm.model.settings import Settings
from esfsm.ports import Executor, Payload, Running


class Run:
    """One payload that was started, and what is told about it."""

    def __init__(self, executor: Executor, payload: Payload, event_service: bool) -> None:
        self.heard = Heard()
        self.running: Running = executor.start(payload, self.heard, event_service=event_service)

    def feed(self, ranges: int) -> list[Told]:
        """Stock so many ranges, one whenever some are wanted, then say that these were all; what is told."""
        left = [EventRange.model_validate(event_range(number)) for number in range(1, ranges + 1)]
        told: list[Told] = []
        while not told or told[-1][0] != "payload_ended":
            told.append(self.heard.next())
            if told[-1][0] == "ranges_wanted":
                given, left = left[:1], left[1:]
                self.running.stock(given, last=not left)
        return told


Start = Callable[..., Run]


def generic(settings: Settings) -> Executor:
    return GenericExecutor(settings, ZmqChannel)


@pytest.fixture(params=[generic])
def open_executor(request: pytest.FixtureRequest) -> Callable[[Settings], Executor]:
    return request.param


@pytest.fixture
def start(open_executor: Callable[[Settings], Executor], tmp_path: Path) -> Iterator[Start]:
    """Start a payload of ours that speaks on a channel, or a `plain` one; in the end nothing of it is left."""
    runs: list[Run] = []

    def start(*arguments: object, plain: bool = False, program: str | None = None, **settings: float) -> Run:
        command = [program] if program else payload(*arguments)
        given = Payload(command, tmp_path, {"SPECIAL": "1"}, tmp_path / "out.txt", tmp_path / "err.txt", cores=2)
        runs.append(Run(open_executor(Settings(**settings)), given, event_service=not plain))
        return runs[-1]

    with no_thread_left():
        yield start
        for run in runs:
            run.running.stop(0.0)
            assert run.running.wait(PATIENCE_S)
            assert run.heard.is_silent(), "something follows the end"


# --- any payload --------------------------------------------------------------------------------------------------

plain_and_not = pytest.mark.parametrize("plain", [True, False], ids=["plain", "event service"])


@plain_and_not
def test_the_start_is_told_first_with_an_identity_that_cannot_be_mistaken(start: Start, plain: bool) -> None:
    run = start("stay", plain=plain)
    name, (identity, channel) = run.heard.next()
    stat = Path(f"/proc/{identity.pid}/stat").read_text().rpartition(")")[2].split()
    assert (name, identity.started) == ("payload_started", int(stat[19]))
    assert channel == "" if plain else Path(f"/tmp/zmq_{channel}").is_socket()
    assert not run.running.wait(0)
    run.running.stop(0.0)
    assert run.heard.end() == (-15, PilotErrorCode.SIGTERM, "the payload was ended by SIGTERM")
    assert not Path(f"/proc/{identity.pid}").exists(), "a zombie"


@plain_and_not
@pytest.mark.parametrize(
    ("exit_code", "error_code", "why"),
    [
        (1, PilotErrorCode.PAYLOADEXECUTIONFAILURE, "the payload failed (exit code 1)"),
        (2, PilotErrorCode.LSETUPTIMEDOUT, "the set-up of the payload timed out (exit code 2)"),
        (3, PilotErrorCode.REMOTEFILEOPENTIMEDOUT, "the payload could not open a remote file in time (exit code 3)"),
        (
            251,
            PilotErrorCode.UNKNOWNTRFFAILURE,
            "the payload failed for a reason that it did not say (exit code 251)",
        ),
    ],
)
def test_an_exit_code_is_told_with_what_it_means_to_panda(
    start: Start, plain: bool, exit_code: int, error_code: int, why: str
) -> None:
    assert start("end", exit_code, plain=plain).heard.end() == (exit_code, error_code, why)


@plain_and_not
@pytest.mark.parametrize(
    ("program", "why"), [("/no/such/payload", "No such file or directory"), ("/etc/passwd", "Permission denied")]
)
def test_a_payload_that_cannot_be_started_has_ended(start: Start, plain: bool, program: str, why: str) -> None:
    sentence = f"the payload cannot be started: {program}: {why}"
    told = start(program=program, plain=plain).heard.next()
    assert told == ("payload_ended", (None, PilotErrorCode.PAYLOADEXECUTIONEXCEPTION, sentence))


@plain_and_not
def test_a_payload_whose_output_cannot_be_kept_is_not_started(start: Start, plain: bool, tmp_path: Path) -> None:
    (tmp_path / "out.txt").mkdir()
    (_, _, why) = start("stay", plain=plain).heard.end()
    assert why == f"the payload cannot be started: {tmp_path}/out.txt: Is a directory"


@plain_and_not
def test_children_do_not_outlive_their_payload(start: Start, plain: bool, tmp_path: Path) -> None:
    pids = pipe(tmp_path, "pids")
    run = start("family", "end", 0, plain=plain)
    children = pids.read_text().split()
    run.heard.end()
    assert len(children) == 2
    assert all(ends(int(pid)) for pid in children)


@plain_and_not
def test_a_stop_ends_the_children_too(start: Start, plain: bool, tmp_path: Path) -> None:
    pids = pipe(tmp_path, "pids")
    run = start("family", "stay", plain=plain)
    children = pids.read_text().split()
    run.running.stop(0.0)
    run.heard.end()
    assert all(ends(int(pid)) for pid in children)


# --- a plain payload ----------------------------------------------------------------------------------------------


def test_a_plain_payload_runs_in_its_directory_and_its_output_is_kept(start: Start, tmp_path: Path) -> None:
    run = start("echo", "hello", "world", plain=True)
    run.running.stock([], last=True)  # it asks for nothing, so nothing comes of it
    assert run.heard.end() == (0, PilotErrorCode.NONE, "")
    assert (tmp_path / "OUT.root").read_text() == "hello world"
    assert (tmp_path / "out.txt").read_text() == "hello world\n"


# --- an Event Service payload -------------------------------------------------------------------------------------


def test_ranges_are_wanted_stocked_sent_and_their_outputs_told(start: Start, tmp_path: Path) -> None:
    told = start("simulate").feed(5)
    ids = [f"1-2-3-{number}-10" for number in range(1, 6)]
    assert [name for name, _ in told][:2] == ["payload_started", "ranges_wanted"]
    assert [i for sent in named(told, "ranges_sent") for i in sent] == ids
    assert named(told, "output_produced") == [(i, (f"{tmp_path}/HITS.{i}",), 1.0, 2.0) for i in ids]
    assert told[-1] == ("payload_ended", (0, PilotErrorCode.NONE, ""))


def test_ranges_are_wanted_before_the_payload_waits_for_them(start: Start, tmp_path: Path) -> None:
    pipe(tmp_path, "go")
    run = start("simulate", "go")  # it stays in its first range
    (_, (n,)) = run.heard.until("ranges_wanted")[-1]
    run.running.stock([EventRange.model_validate(event_range(1))], last=False)
    (_, (more,)) = run.heard.until("ranges_wanted")[-1]
    assert n > 1
    assert more > 0
    run.running.stop(0.0)
    run.heard.end()


def test_a_payload_finds_its_channel_and_what_it_was_given_in_its_environment(start: Start, tmp_path: Path) -> None:
    start("environment").feed(0)
    environment = json.loads((tmp_path / "environment").read_text())
    assert environment["SPECIAL"] == "1"
    assert not Path(f"/tmp/zmq_{environment['PILOT_EVENTRANGECHANNEL']}").exists(), "the socket file is left"


def test_a_payload_that_gets_none_is_sent_home(start: Start) -> None:
    told = start("simulate").feed(0)
    assert [name for name, _ in told] == ["payload_started", "ranges_wanted", "payload_ended"]
    assert told[-1][1] == (0, PilotErrorCode.NONE, "")


def test_a_range_that_cannot_be_said_is_errored(start: Start) -> None:
    run = start("simulate")
    run.heard.until("ranges_wanted")
    unspeakable = EventRange.model_validate({**event_range(1), "LFN": "a,b"})
    run.running.stock([unspeakable, EventRange.model_validate(event_range(2))], last=True)
    told = run.heard.until("payload_ended")
    assert named(told, "range_errored") == [("1-2-3-1-10", "AthenaMP cannot read 'LFN': 'a,b'")]
    assert named(told, "ranges_sent") == [("1-2-3-2-10",)]


def test_a_range_that_the_payload_gave_up_is_errored(start: Start) -> None:
    assert named(start("give_up").feed(1), "range_errored") == [("1-2-3-1-10", "Seek failed")]


def test_what_nobody_understands_is_told_with_its_text(start: Start) -> None:
    told = start("say", "hello", "ERR_ATHENAMP_PARSE what?").feed(1)
    expected = "'Ready for events', 'PATH,ID:..,CPU:..,WALL:..' or 'ERR_..'"
    assert named(told, "message_unreadable") == [
        ("hello", f"expected {expected}, got 'hello'"),
        ("ERR_ATHENAMP_PARSE what?", "an error that names no event range: what?"),
    ]
    assert len(named(told, "output_produced")) == 1


def test_of_ten_megabytes_of_garbage_the_beginning_is_told(start: Start) -> None:
    told = start("garbage", 10_000_000).feed(1)
    assert [text for text, _ in named(told, "message_unreadable")] == ["\ufffd" * esprocess.TEXT_LIMIT]
    assert len(named(told, "output_produced")) == 1


def test_the_results_of_a_payload_that_dies_are_told_before_its_end(start: Start) -> None:
    told = start("die", 2).feed(4)
    assert len(named(told, "output_produced")) == 2
    assert told[-1][1] == (-9, PilotErrorCode.SIGTERM, "the payload was ended by SIGKILL")


def test_a_payload_that_asks_for_nothing_has_failed_whatever_it_says(start: Start) -> None:
    why = "the payload ended without asking for an event range"
    assert start("end", 0).heard.end() == (0, PilotErrorCode.PAYLOADEXECUTIONFAILURE, why)


@pytest.mark.parametrize("arguments", [("ask_and_stay",), ("ask_for_ever",)])
def test_a_payload_that_does_not_end_is_ended(start: Start, arguments: tuple[str, ...]) -> None:
    told = start(*arguments, end_patience_s=0.1).feed(2)
    assert len(named(told, "output_produced")) == 2
    why = "the payload did not end within 0.1 s after 'No more events'"
    assert told[-1][1] == (-15, PilotErrorCode.LOOPINGJOB, why)


def test_a_payload_that_ignores_sigterm_is_killed(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(esprocess, "KILL_PATIENCE_S", 0.05)
    pids = pipe(tmp_path, "pids")
    run = start("deaf")
    run.heard.until("ranges_wanted")
    run.running.stock([EventRange.model_validate(event_range(1))], last=False)
    pids.read_text()
    run.running.stop(0.0)
    assert run.heard.end() == (-9, PilotErrorCode.SIGTERM, "the payload was ended by SIGKILL")


def test_what_runs_may_finish_within_the_grace_of_a_stop(start: Start, tmp_path: Path) -> None:
    go = pipe(tmp_path, "go")
    run = start("simulate", "go")
    run.heard.until("ranges_wanted")
    run.running.stock([EventRange.model_validate(event_range(number)) for number in (1, 2, 3)], last=False)
    with go.open("w"):
        run.running.stop(PATIENCE_S)
    told = run.heard.until("payload_ended")
    assert [name for name, _ in told].count("output_produced") == 1
    assert told[-1][1] == (0, PilotErrorCode.NONE, "")


def test_a_payload_that_still_sets_itself_up_is_stopped_at_once(start: Start) -> None:
    run = start("stay")
    run.heard.until("payload_started")
    run.running.stop(PATIENCE_S * 100)
    assert run.heard.end()[1] == PilotErrorCode.SIGTERM


def test_who_ignores_sigterm_is_killed_within_the_time_that_a_stop_has(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(esprocess, "KILL_PATIENCE_S", 1e6)
    pids = pipe(tmp_path, "pids")
    run = start("deaf")
    run.heard.until("ranges_wanted")
    run.running.stock([EventRange.model_validate(event_range(1))], last=False)
    pids.read_text()
    run.running.stop(0.1)
    assert run.heard.end()[0] == -9


def test_a_channel_that_cannot_be_opened_is_the_end(tmp_path: Path) -> None:
    def fail(*_: object) -> ZmqChannel:
        raise ChannelError("/tmp/zmq_x is in use by another server")

    given = Payload(payload("simulate"), tmp_path, {}, tmp_path / "out.txt", tmp_path / "err.txt")
    end = Run(GenericExecutor(Settings(), fail), given, event_service=True).heard.next()
    assert end == (
        "payload_ended",
        (None, PilotErrorCode.MESSAGEHANDLINGFAILURE, "/tmp/zmq_x is in use by another server"),
    )


def test_a_channel_that_the_system_refuses_is_the_end(tmp_path: Path) -> None:
    def fail(*_: object) -> ZmqChannel:
        raise OSError(24, "Too many open files")

    given = Payload(payload("simulate"), tmp_path, {}, tmp_path / "out.txt", tmp_path / "err.txt")
    name, (exit_code, error_code, why) = Run(GenericExecutor(Settings(), fail), given, event_service=True).heard.next()
    assert (name, exit_code, error_code) == ("payload_ended", None, PilotErrorCode.PAYLOADEXECUTIONEXCEPTION)
    assert "Too many open files" in why


def test_a_payload_that_becomes_slow_is_told_of_no_end_while_ranges_are_left(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stock, "STOCK_S", float("inf"))  # the stock grows
    run = start("simulate")
    (_, (n,)) = run.heard.until("ranges_wanted")[-1]
    monkeypatch.setattr(stock, "STOCK_S", 0.0)  # and shrinks
    run.running.stock([EventRange.model_validate(event_range(number)) for number in range(1, n + 1)], last=False)
    told = run.heard.until("ranges_wanted")
    run.running.stock([EventRange.model_validate(event_range(n + 1))], last=True)
    told += run.heard.until("payload_ended")
    assert all(wanted > 0 for (wanted,) in named(told, "ranges_wanted"))
    assert len(named(told, "output_produced")) == n + 1


@pytest.mark.parametrize("ranges", [1, 0])
def test_a_payload_that_has_waited_for_us_for_long_is_not_looping(
    start: Start, monkeypatch: pytest.MonkeyPatch, ranges: int
) -> None:
    run = start("simulate")
    run.heard.until("ranges_wanted")
    monkeypatch.setattr(esprocess, "monotonic", lambda: monotonic() + 10_000.0)
    run.running.stock([EventRange.model_validate(event_range(1))][:ranges], last=True)
    told = run.heard.until("payload_ended")
    assert len(named(told, "output_produced")) == ranges
    assert told[-1][1] == (0, PilotErrorCode.NONE, "")


def test_a_child_that_left_the_group_and_the_session_is_ended_with_its_payload(start: Start, tmp_path: Path) -> None:
    pids = pipe(tmp_path, "pids")
    run = start("runaway", "end", 1)
    child = int(pids.read_text())
    assert run.heard.end() == (1, PilotErrorCode.PAYLOADEXECUTIONFAILURE, "the payload failed (exit code 1)")
    assert ends(child)


# --- what an engine that died has left ----------------------------------------------------------------------------


def orphan(directory: Path, mark: str) -> tuple[subprocess.Popen[str], list[int]]:
    """A payload as the executor starts it, whose engine is nobody, and all of its processes."""
    pids = pipe(directory, "pids")
    environment = {**os.environ, "PILOT_ESFSM_PAYLOAD": mark}
    process = subprocess.Popen(
        payload("family", "stay"), cwd=directory, env=environment, start_new_session=True, text=True
    )
    return process, [int(pid) for pid in pids.read_text().split()]


def test_what_an_engine_that_died_has_left_is_ended_with_all_children(
    open_executor: Callable[[Settings], Executor], tmp_path: Path
) -> None:
    process, children = orphan(tmp_path, "run of an engine")
    assert open_executor(Settings()).end_orphan("run of an engine", Path())
    assert process.wait(PATIENCE_S) == -signal.SIGKILL
    assert all(ends(pid) for pid in children)


def test_children_that_outlived_their_payload_are_ended(
    open_executor: Callable[[Settings], Executor], tmp_path: Path
) -> None:
    process, children = orphan(tmp_path, "run of an engine")
    process.kill()
    process.wait(PATIENCE_S)
    assert open_executor(Settings()).end_orphan("run of an engine", Path())
    assert all(ends(pid) for pid in children)


def test_the_payload_of_another_run_is_not_touched(
    open_executor: Callable[[Settings], Executor], tmp_path: Path
) -> None:
    executor = open_executor(Settings())
    process, _ = orphan(tmp_path, "another run")
    try:
        assert not executor.end_orphan("run of an engine", Path())
        assert process.poll() is None
    finally:
        assert executor.end_orphan("another run", Path())
        process.wait(PATIENCE_S)
