"""Payloads made with `esfsm.payload`, as processes of their own, against the channel that AthenaMP would find."""

import os
import select
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from esfsm.adapters.channels.zmq import ZmqChannel
from esfsm.errors import ChannelError, UnreadableMessage, WireError
from esfsm.payload import AssignedRange, connect
from esfsm.ports import Message
from esfsm.wire.athenamp import NO_MORE_EVENTS, RangeError, ReadyForEvents, Result, parse, range_message

PATIENCE_S = 30.0
QUIET_S = 0.3
"""What a process said before it died is with us by then."""

Said = ReadyForEvents | Result | RangeError
Start = Callable[..., "Session"]


def message_for(event_range_id: str, number: int) -> str:
    return range_message({"eventRangeID": event_range_id, "startEvent": number, "lastEvent": number + 1, "LFN": "in"})


class Session:
    """A payload that runs, and the server's side of its conversation."""

    def __init__(self, channel: ZmqChannel, payload: subprocess.Popen[str]) -> None:
        self.channel, self.payload = channel, payload
        self._end = threading.Thread(target=self._wait)
        self._end.start()

    def _wait(self) -> None:
        self.payload.wait()
        self.channel.wake()

    def serve(self, *event_range_ids: str) -> list[Said]:
        """Hand out these ranges, then say that there are no more; all that the payload says until it ends."""
        answers = [message_for(name, number) for number, name in enumerate(event_range_ids, start=1)]
        answers.reverse()
        conversation: list[Said] = []
        while message := self._next():
            said = parse(message.text)
            conversation.append(said)
            if isinstance(said, ReadyForEvents):
                self.channel.send(message.peer, answers.pop() if answers else NO_MORE_EVENTS)
        assert self.payload.returncode is not None, f"the payload says nothing more, after {conversation}"
        return conversation

    def hear(self) -> tuple[bytes, Said]:
        message = self.channel.receive(PATIENCE_S)
        assert message is not None
        return message.peer, parse(message.text)

    def _next(self) -> Message | None:
        """The next message; None when the payload has ended and all is quiet."""
        patience_s = PATIENCE_S if self.payload.returncode is None else QUIET_S
        return self.channel.receive(patience_s) or self.channel.receive(QUIET_S)

    @property
    def exit_code(self) -> int:
        return self.payload.wait(PATIENCE_S)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a Python script with the environment that the pilot gives to a payload."""
    channel = ZmqChannel()
    sessions: list[Session] = []

    def start(script: str, **environment: str) -> Session:
        path = tmp_path / "payload.py"
        path.write_text(textwrap.dedent(script))
        payload = subprocess.Popen(
            [sys.executable, str(path)],
            cwd=tmp_path,
            env={
                **os.environ,
                "PYTHONPATH": str(Path.cwd()),
                "PILOT_EVENTRANGECHANNEL": channel.address,
                **environment,
            },
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        sessions.append(Session(channel, payload))
        return sessions[-1]

    yield start
    for session in sessions:
        session.payload.kill()
        session.payload.communicate()
        session._end.join()
        session.channel.close()
    channel.close()


def asked(conversation: list[Said]) -> int:
    return conversation.count(ReadyForEvents())


def results(conversation: list[Said]) -> dict[str, Result]:
    return {said.event_range_id: said for said in conversation if isinstance(said, Result)}


def errors(conversation: list[Said]) -> dict[str | None, str]:
    return {said.event_range_id: said.why for said in conversation if isinstance(said, RangeError)}


# --- one process ---

ONE_BY_ONE = """
    from pathlib import Path
    from esfsm.payload import connect

    with connect() as channel:
        for event_range in channel:
            if event_range.event_range_id == "bad":
                channel.failed(event_range, "no such\\n event: 7")
            elif event_range.event_range_id == "two":
                channel.finished(event_range, ["a.root", Path("/w/b.root")], cpu_s=5, wall_s=6.5)
            else:
                sum(number * number for number in range(10**6))
                channel.finished(event_range, f"{event_range.start_event}-{event_range.last_event}.root")
"""


def test_a_payload_processes_one_range_after_the_other(start: Start, tmp_path: Path) -> None:
    session = start(ONE_BY_ONE)
    conversation = session.serve("one", "two", "bad")
    assert session.exit_code == 0
    assert [type(said) for said in conversation] == [
        *(ReadyForEvents, Result),
        *(ReadyForEvents, Result),
        *(ReadyForEvents, RangeError),
        ReadyForEvents,
    ]
    assert results(conversation)["one"].paths == (f"{tmp_path}/1-2.root",)
    assert results(conversation)["two"] == Result("two", (f"{tmp_path}/a.root", "/w/b.root"), 5.0, 6.5)
    assert errors(conversation) == {"bad": "no such event: 7"}


def test_times_are_measured_since_the_range_was_handed_out(start: Start) -> None:
    result = results(start(ONE_BY_ONE).serve("one"))["one"]
    assert result.cpu_s > 0
    assert result.wall_s > 0


def test_a_payload_whose_server_never_answers_gives_up_when_it_may() -> None:
    with connect("nobody-answers-here", patience_s=0.05) as channel, pytest.raises(ChannelError, match=r"0\.05 s"):
        next(iter(channel))


def test_a_name_that_is_no_address_is_refused() -> None:
    with pytest.raises(ChannelError), connect("x" * 200):
        pass


def test_an_output_that_cannot_be_said_is_told_to_the_payload() -> None:
    event_range = AssignedRange("r1", 1, 2)
    with connect("nobody-listens-here") as channel, pytest.raises(WireError):
        channel.finished(event_range, "/w/a,/b.root")


def test_a_range_is_read_with_all_that_is_known_about_it() -> None:
    said = {"LFN": "in.root", "GUID": "G", "scope": "mc23", "PFN": "/w/in.root", "nEvents": 7}
    text = range_message({"eventRangeID": "r1", "startEvent": 1, "lastEvent": 2, **said})
    assert AssignedRange.read(text) == AssignedRange("r1", 1, 2, "in.root", "G", "mc23", "/w/in.root", {"nEvents": 7})


def test_what_is_unknown_about_a_range_is_none() -> None:
    text = range_message({"eventRangeID": "r1", "startEvent": 1, "lastEvent": 2})
    assert AssignedRange.read(text) == AssignedRange("r1", 1, 2)


@pytest.mark.parametrize("text", ['[{"eventRangeID": "r1"}]', '[{"startEvent": 1, "lastEvent": 2}]', "hello"])
def test_half_a_range_is_unreadable(text: str) -> None:
    with pytest.raises(UnreadableMessage):
        AssignedRange.read(text)


# --- several processes ---

KINDS = ["one process", "a worker", "workers"]
MEETING_OF_TWO = "from multiprocessing import get_context\nmeeting = get_context('fork').Barrier(2, timeout=20)"
"""A worker alone waits here until it gives its range up."""
FIVE = ("r1", "r2", "r3", "r4", "r5")


def workers(body: str, setup: str = "", arguments: str = "") -> str:
    """A payload whose workers run `body` and announce `<id>.root`; its exit code is the number of failed ranges."""
    return f"""
import os, sys
from esfsm.payload import run_workers
{setup}
def process(event_range):
    name = event_range.event_range_id
{textwrap.indent(textwrap.dedent(body).strip(), "    ")}
    return f"{{name}}.root"

sys.exit(run_workers(process{arguments}))
"""


def test_each_range_is_processed_by_a_worker(start: Start, tmp_path: Path) -> None:
    session = start(workers("name += f'-{os.getpid()}'", arguments=", workers=2"))
    conversation = session.serve(*FIVE)
    assert session.exit_code == 0
    assert set(results(conversation)) == set(FIVE)
    assert asked(conversation) == len(FIVE) + 1
    pids = {Path(result.paths[0]).stem.split("-")[1] for result in results(conversation).values()}
    assert pids.isdisjoint({str(session.payload.pid)})
    assert len(pids) <= 2


def test_two_workers_work_at_the_same_time(start: Start) -> None:
    session = start(workers("meeting.wait()", MEETING_OF_TWO, ", workers=2"))
    assert set(results(session.serve("r1", "r2", "r3", "r4"))) == {"r1", "r2", "r3", "r4"}
    assert session.exit_code == 0


@pytest.mark.parametrize("cores", ["1", "0", ""])
def test_a_range_is_asked_for_when_the_worker_is_free(start: Start, cores: str) -> None:
    conversation = start(workers("pass"), ATHENA_PROC_NUMBER=cores).serve("r1", "r2", "r3")
    assert [type(said) for said in conversation] == [ReadyForEvents, Result] * 3 + [ReadyForEvents]


def test_the_pilot_says_how_many_workers_there_are(start: Start) -> None:
    session = start(workers("meeting.wait()", MEETING_OF_TWO), ATHENA_PROC_NUMBER="2")
    assert set(results(session.serve("r1", "r2"))) == {"r1", "r2"}


def test_an_exception_fails_its_range_only(start: Start) -> None:
    session = start(workers("if name == 'r2': raise OSError('disk\\nfull')", arguments=", workers=2"))
    conversation = session.serve(*FIVE)
    assert errors(conversation) == {"r2": "OSError: disk full"}
    assert set(results(conversation)) == {"r1", "r3", "r4", "r5"}
    assert session.exit_code == 1
    assert session.payload.stderr is not None
    assert "in process" in session.payload.stderr.read()


@pytest.mark.parametrize("output", ["None", "[]", "'/w/a,/b'", "7"])
def test_outputs_that_cannot_be_announced_fail_their_range(start: Start, output: str) -> None:
    conversation = start(workers(f"return {output}")).serve("r1")
    assert list(errors(conversation)) == ["r1"]


@pytest.mark.parametrize(
    ("death", "exit_code"),
    [("os._exit(3)", 3), ("os.kill(os.getpid(), 9)", -9), ("sys.exit(4)", 4)],
    ids=["exits", "is killed", "leaves"],
)
@pytest.mark.parametrize("n", [1, 2])
def test_a_worker_that_dies_fails_its_range_only(start: Start, death: str, exit_code: int, n: int) -> None:
    session = start(workers(f"if name in ('r2', 'r5'): {death}", arguments=f", workers={n}"))
    conversation = session.serve(*FIVE)
    why = f"worker died with exit code {exit_code}"
    assert errors(conversation) == {"r2": why, "r5": why}
    assert set(results(conversation)) == {"r1", "r3", "r4"}
    assert session.exit_code == 2


def test_a_worker_that_dies_while_it_waits_is_replaced(start: Start) -> None:
    session = start(workers("meeting.wait()", MEETING_OF_TWO, ", workers=2"))
    peer, _ = session.hear()
    pid = session.payload.pid
    a_worker = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
    death = os.pidfd_open(a_worker)
    os.kill(a_worker, signal.SIGKILL)
    select.select([death], [], [])
    os.close(death)
    session.channel.send(peer, message_for("r1", 1))
    conversation = session.serve("r2")
    assert set(results(conversation)) == {"r1", "r2"}
    assert session.exit_code == 0


def test_workers_whose_server_never_answers_give_up_when_they_may(start: Start) -> None:
    session = start(workers("pass", arguments=", workers=2, patience_s=0.2"))
    _, stderr = session.payload.communicate(timeout=PATIENCE_S)
    assert "ChannelError: the server did not answer within 0.2 s" in stderr


def test_the_end_of_the_scatterer_is_the_end_of_its_workers(start: Start) -> None:
    session = start(workers("print(os.getpid(), flush=True); os.kill(os.getppid(), 9)", arguments=", workers=3"))
    session.serve("r1")
    output, _ = session.payload.communicate(timeout=PATIENCE_S)
    assert output.strip().isdigit()  # and end of file: nobody holds the pipe any more


# --- a server that dies, and the next one at the same channel ---


def again(session: Session) -> None:
    """Let the server die, and start the next one."""
    session.channel.close()
    session.channel = ZmqChannel(session.channel.address)


@pytest.fixture(params=[ONE_BY_ONE, workers("pass"), workers("pass", arguments=", workers=3")], ids=KINDS)
def any_payload(request: pytest.FixtureRequest) -> str:
    return request.param


def test_a_request_that_was_lost_with_its_server_is_made_again_and_once(start: Start, any_payload: str) -> None:
    session = start(any_payload)
    assert session.hear()[1] == ReadyForEvents()
    again(session)
    conversation = session.serve("r1", "r2", "r3")
    assert set(results(conversation)) == {"r1", "r2", "r3"}
    assert (asked(conversation), len(conversation)) == (4, 7)
    assert session.exit_code == 0


def test_it_is_made_again_for_each_server_that_was_lost(start: Start, any_payload: str) -> None:
    session = start(any_payload)
    for _ in range(3):
        assert session.hear()[1] == ReadyForEvents()
        again(session)
    conversation = session.serve("r1")
    assert list(results(conversation)) == ["r1"]
    assert asked(conversation) == 2


NOTICES = """
    from esfsm.payload import connect

    with connect() as channel:
        for event_range in channel:
            channel._wire._losses.poll()  # until it has noticed that the server died
            channel.finished(event_range, "a.root")
"""


def test_a_request_that_was_answered_is_not_made_again(start: Start) -> None:
    session = start(NOTICES)
    peer, _ = session.hear()
    session.channel.send(peer, message_for("r1", 1))
    again(session)
    assert [type(said) for said in session.serve()] == [Result, ReadyForEvents]


def test_nothing_is_asked_for_while_all_workers_are_busy(start: Start, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go")
    session = start(workers("open('go').read()"))
    peer, _ = session.hear()
    session.channel.send(peer, message_for("r1", 1))
    with (tmp_path / "go").open("w"):
        again(session)
        assert session.channel.receive(QUIET_S) is None
    assert [type(said) for said in session.serve()] == [Result, ReadyForEvents]


def test_a_second_answer_to_one_request_is_the_next_range(start: Start, any_payload: str) -> None:
    """As it comes when the first request had been waiting for the new server, too."""
    session = start(any_payload)
    peer, _ = session.hear()
    for number, name in enumerate(("r1", "r2"), start=1):
        session.channel.send(peer, message_for(name, number))
    conversation = session.serve("r3", "r4")
    said = [one.event_range_id for one in conversation if isinstance(one, Result)]
    assert sorted(said) == ["r1", "r2", "r3", "r4"]
    assert session.exit_code == 0


PATIENT = """
    from esfsm.payload import connect

    with connect() as channel:
        for event_range in channel:
            if event_range.event_range_id == "r1":
                channel._wire._dealer.poll()  # until there is a second answer
            channel.finished(event_range, "a.root")
"""


def test_nothing_is_asked_for_while_an_answer_is_left(start: Start) -> None:
    session = start(PATIENT)
    peer, _ = session.hear()
    for number, name in enumerate(("r1", "r2"), start=1):
        session.channel.send(peer, message_for(name, number))
    conversation = session.serve("r3")
    assert [type(said) for said in conversation] == [Result, Result, ReadyForEvents, Result, ReadyForEvents]


@pytest.mark.parametrize(
    "payload",
    [ONE_BY_ONE.replace("connect()", "connect(patience_s=0.2)"), workers("pass", arguments=", patience_s=0.2")],
    ids=["one process", "workers"],
)
def test_a_server_that_never_comes_back_is_given_up_as_one_that_never_answers(start: Start, payload: str) -> None:
    session = start(payload)
    session.hear()
    session.channel.close()
    _, stderr = session.payload.communicate(timeout=PATIENCE_S)
    assert "ChannelError: the server did not answer within 0.2 s" in stderr


# --- what it costs ---


def test_importing_it_imports_nothing_heavy() -> None:
    code = "import esfsm.payload, sys; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], check=True, text=True, stdout=subprocess.PIPE).stdout.split()
    assert "esfsm.wire.athenamp" in modules
    assert {"pydantic", "transitions", "zmq", "loguru", "multiprocessing"}.isdisjoint(modules)
