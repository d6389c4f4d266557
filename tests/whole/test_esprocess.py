"""ESProcess as pilots use it: a thread with two hooks and a real payload."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import pytest
from whole.processes import PATIENCE_S, ends, event_range, no_thread_left, payload, pipe

from esfsm import ESProcess, UnusableInput
from esfsm.adapters.executors import esprocess
from esfsm.errors import UnreadableMessage

RANGES = 16


class Pilot:
    """Both hooks of an ESProcess: hands out ranges from a list, and hears what became of them."""

    def __init__(self, workdir: Path, executable: list[str] | str, ranges: int, job: object) -> None:
        self.left = [event_range(number) for number in range(1, ranges + 1)]
        self.ids = [str(each["eventRangeID"]) for each in self.left]
        self.requests: list[int] = []
        self.heard: SimpleQueue[dict[str, Any]] = SimpleQueue()
        given = {"executable": executable, "workdir": workdir, "output_file": "out.txt", "error_file": "err.txt"}
        self.process = ESProcess({**given, "job": job})
        self.process.set_get_event_ranges_hook(self.get_event_ranges)
        self.process.set_handle_out_message_hook(self.heard.put)

    def get_event_ranges(self, num_ranges: int) -> list[dict[str, Any]]:
        self.requests.append(num_ranges)
        given, self.left = self.left[:num_ranges], self.left[num_ranges:]
        return given

    def start(self) -> "Pilot":
        self.process.start()
        return self

    def end(self) -> list[dict[str, Any]]:
        """All messages, once it has ended."""
        self.process.join(PATIENCE_S)
        assert not self.process.is_alive()
        return [self.heard.get() for _ in range(self.heard.qsize())]


MakePilot = Callable[..., Pilot]


@pytest.fixture
def pilot(tmp_path: Path) -> Iterator[MakePilot]:
    """An ESProcess with one of our payloads, that is not started yet; in the end nothing of it is left."""
    pilots: list[Pilot] = []

    def make(*arguments: object, executable: Any = None, ranges: int = RANGES, job: object = None) -> Pilot:
        pilots.append(Pilot(tmp_path, executable or payload(*arguments), ranges, job))
        return pilots[-1]

    with no_thread_left():
        yield make
        for made in pilots:
            if made.process.is_alive():
                made.process.terminate()
                made.process.join(PATIENCE_S)
    for made in pilots:
        pid = made.process.pid
        assert pid is None or not Path(f"/proc/{pid}").exists(), "a zombie"


def ids(messages: list[dict[str, Any]]) -> list[str]:
    return [message["id"] for message in messages]


# --- the good way -------------------------------------------------------------------------------------------------


def test_every_range_is_handed_out_once_and_every_result_is_told(pilot: MakePilot, tmp_path: Path) -> None:
    simulating = pilot("simulate").start()
    messages = simulating.end()
    assert ids(messages) == simulating.ids
    output = f"{tmp_path}/HITS.1-2-3-1-10"
    told = {"id": "1-2-3-1-10", "status": "finished", "output": output, "outputs": [output], "cpu": 1.0, "wall": 2.0}
    assert messages[0] == {**told, "message": f"{output},ID:1-2-3-1-10,CPU:1,WALL:2"}
    assert simulating.process.poll() == 0


def test_it_is_a_thread_that_knows_its_payload(pilot: MakePilot, tmp_path: Path) -> None:
    go = pipe(tmp_path, "go")
    waiting = pilot("simulate", "go")
    assert isinstance(waiting.process, threading.Thread)
    assert (waiting.process.pid, waiting.process.poll(), waiting.process.is_alive()) == (None, None, False)
    waiting.start()
    with go.open("w"):
        assert Path(f"/proc/{waiting.process.pid}/cmdline").read_bytes().split(b"\0")[-3:] == [b"simulate", b"go", b""]
        waiting.process.join(0)
        assert (waiting.process.poll(), waiting.process.is_alive()) == (None, True)
    waiting.end()
    assert (waiting.process.poll(), waiting.process.is_alive()) == (0, False)


@pytest.mark.parametrize("attempt", range(3))
def test_results_announced_directly_before_the_end_are_all_heard(pilot: MakePilot, attempt: int) -> None:
    leaving = pilot("last_words", job={"coreCount": RANGES}).start()
    assert ids(leaving.end()) == leaving.ids
    assert leaving.process.poll() == 0


def test_results_that_were_not_heard_before_the_end_are_heard_after_it(
    pilot: MakePilot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(esprocess, "BURST", 1)
    leaving = pilot("last_words", job={"coreCount": RANGES})

    def hear_late(message: dict[str, Any]) -> None:
        for thread in threading.enumerate():
            if thread.name == f"payload {leaving.process.pid}":  # it ends when the payload's end is known
                thread.join(PATIENCE_S)
        leaving.heard.put(message)

    leaving.process.set_handle_out_message_hook(hear_late)
    leaving.start()
    assert ids(leaving.end()) == leaving.ids


def test_the_payload_leads_a_session_of_its_own_and_is_told_its_channel(pilot: MakePilot, tmp_path: Path) -> None:
    writing = pilot("environment", job={"coreCount": 4}).start()
    writing.end()
    pid, *group_and_session = json.loads((tmp_path / "ids").read_text())
    assert group_and_session == [pid, pid]
    channel = json.loads((tmp_path / "environment").read_text())["PILOT_EVENTRANGECHANNEL"]
    assert not Path(f"/tmp/zmq_{channel}").exists(), "the socket file is left"


def test_a_request_is_answered_once_and_nobody_is_answered_unasked(pilot: MakePilot, tmp_path: Path) -> None:
    pilot("listen", ranges=3).start().end()
    assert (tmp_path / "unasked").read_text() == "0"


def test_several_files_in_one_result_are_all_told(pilot: MakePilot, tmp_path: Path) -> None:
    (message,) = pilot("several_files", ranges=1).start().end()
    assert message["outputs"] == [f"{tmp_path}/HITS,1.1-2-3-1-10", f"{tmp_path}/AOD.1-2-3-1-10"]
    assert message["output"] == message["outputs"][0]


def test_a_pilots_shell_text_is_run_and_its_output_is_kept(pilot: MakePilot, tmp_path: Path) -> None:
    command = f"echo hello; echo trouble >&2; {' '.join(payload('simulate'))}"
    shell = pilot(executable=command).start()
    assert ids(shell.end()) == shell.ids
    assert ((tmp_path / "out.txt").read_text(), (tmp_path / "err.txt").read_text()) == ("hello\n", "trouble\n")


@pytest.mark.parametrize("job", [{"coreCount": 4}, SimpleNamespace(corecount=4), SimpleNamespace(core_count="4")])
def test_the_first_request_is_ahead_of_the_demand_of_all_cores(pilot: MakePilot, job: object) -> None:
    simulating = pilot("simulate", job=job).start()
    simulating.end()
    assert simulating.requests[0] > 4


# --- the two hooks ------------------------------------------------------------------------------------------------


def test_ranges_are_handed_out_and_results_heard_while_the_broker_is_slow(pilot: MakePilot) -> None:
    simulating = pilot("simulate", job={"coreCount": 2})
    early: list[str] = []

    def answer_late(num_ranges: int) -> list[dict[str, Any]]:
        if len(simulating.requests) == 1:  # the stock lasts meanwhile
            early.extend(simulating.heard.get(timeout=PATIENCE_S)["id"] for _ in range(simulating.requests[0]))
        return simulating.get_event_ranges(num_ranges)

    simulating.process.set_get_event_ranges_hook(answer_late)
    simulating.start()
    late = ids(simulating.end())
    assert early + late == simulating.ids
    assert early


@pytest.fixture
def raised(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What threads have raised."""
    told: list[str] = []
    monkeypatch.setattr(threading, "excepthook", lambda raised: told.append(str(raised.exc_value)))
    return told


def test_a_broker_hook_that_raises_ends_the_supply_and_loses_no_result(pilot: MakePilot, raised: list[str]) -> None:
    simulating = pilot("simulate")

    def fail_later(num_ranges: int) -> list[dict[str, Any]]:
        if simulating.requests:
            raise OSError("no server")
        return simulating.get_event_ranges(num_ranges)

    simulating.process.set_get_event_ranges_hook(fail_later)
    simulating.start()
    messages = simulating.end()
    assert ids(messages) == simulating.ids[: simulating.requests[0]]
    assert (simulating.process.poll(), raised) == (0, ["no server"])


def test_a_result_hook_that_raises_ends_the_payload_with_all_its_children(
    pilot: MakePilot, raised: list[str], tmp_path: Path
) -> None:
    pids = pipe(tmp_path, "pids")
    simulating = pilot("family", "simulate")

    def fail(message: dict[str, Any]) -> None:
        raise OSError(f"no room for {message['id']}")

    simulating.process.set_handle_out_message_hook(fail)
    simulating.start()
    children = pids.read_text().split()
    simulating.end()
    assert raised == ["no room for 1-2-3-1-10"]
    assert simulating.process.poll() == -9
    assert all(ends(int(pid)) for pid in children)


def test_a_range_that_cannot_be_said_has_failed_and_the_next_one_is_handed_out(pilot: MakePilot) -> None:
    simulating = pilot("simulate", ranges=3)
    simulating.left[0]["LFN"] = "a,b"
    del simulating.left[1]["eventRangeID"]
    messages = simulating.start().end()
    assert [(message["id"], message["status"]) for message in messages] == [
        ("1-2-3-1-10", "failed"),
        ("None", "failed"),
        ("1-2-3-3-10", "finished"),
    ]
    assert messages[0]["error"] == "AthenaMP cannot read 'LFN': 'a,b'"


def test_without_both_hooks_it_does_not_start(tmp_path: Path) -> None:
    given = {"executable": ["true"], "workdir": tmp_path, "output_file": "out.txt", "error_file": "err.txt"}
    with pytest.raises(UnusableInput, match=r"^ESProcess: both hooks must be set before it is started$"):
        ESProcess(given).start()


@pytest.mark.parametrize("key", ["executable", "workdir", "output_file", "error_file"])
def test_a_payload_that_lacks_something_is_refused(tmp_path: Path, key: str) -> None:
    given = {"executable": ["true"], "workdir": tmp_path, "output_file": "out.txt", "error_file": "err.txt"}
    with pytest.raises(UnusableInput, match=f"^ESProcess: the payload lacks {key}$"):
        ESProcess({**given, key: None})


# --- what a payload says ------------------------------------------------------------------------------------------

ID = "41000456-7000000123-990001-11-10"


@pytest.mark.parametrize(
    ("message", "outputs", "cpu", "wall"),
    [
        (f"/w/a.root,ID:{ID},CPU:212,WALL:230", ["/w/a.root"], 212.0, 230.0),
        (f"/w/a.root,/w/b.root,ID:{ID},CPU:198,WALL:201", ["/w/a.root", "/w/b.root"], 198.0, 201.0),
        (f"/w/a,ID:b.root,ID:{ID},CPU:1.5,WALL:2", ["/w/a,ID:b.root"], 1.5, 2.0),
        (f"/w/a.root,ID:{ID}", ["/w/a.root"], 0.0, 0.0),
        (f"a.root,ID:{ID},CPU:nan,WALL:-1\n", ["a.root"], 0.0, 0.0),
    ],
)
def test_a_result_is_told_as_pilots_know_it(message: str, outputs: list[str], cpu: float, wall: float) -> None:
    said = {"id": ID, "status": "finished", "output": outputs[0], "outputs": outputs, "cpu": cpu, "wall": wall}
    assert ESProcess.parse_out_message(message) == {**said, "message": message}


@pytest.mark.parametrize(
    ("message", "event_range_id", "error"),
    [
        (f"ERR_ATHENAMP_PROCESS {ID}: Failed to process event range", ID, "Failed to process event range"),
        (f"ERR_ATHENAMP_PROCESS {ID}: Not found in the input file", ID, "Not found in the input file"),
        (f"ERR_ATHENAMP_PROCESS {ID}: Seek failed", ID, "Seek failed"),
        (f"ERR_ATHENAMP_PROCESS {ID}: ", ID, ""),
        (f"ERR_TE_RANGE {ID}: no token", ID, "no token"),
        (f"ERR_TE_FATAL {ID}: no tokens: none", ID, "no tokens: none"),
        (f'ERR_ATHENAMP_PARSE "eventRangeID:{ID},lastEvent:x": Wrong format', ID, "Wrong format"),
        (f"ERR_ATHENAMP_PARSE \"u'eventRangeID': u'{ID}'\": Wrong values of range fields", ID, None),
        (f'ERR_ATHENAMP_PARSE ""eventRangeID": "{ID}", "LFN": "a"": Wrong values of range fields', ID, None),
        ('ERR_ATHENAMP_PARSE "lastEvent:x": Wrong format', None, "Wrong format"),
    ],
)
def test_an_error_is_told_as_pilots_know_it(message: str, event_range_id: str | None, error: str | None) -> None:
    told = ESProcess.parse_out_message(message)
    error = "Wrong values of range fields" if error is None else error
    assert told == {"id": event_range_id, "status": "failed", "message": message, "error": error}


@pytest.mark.parametrize(
    "message", ["", "hello", "Ready for events", "/w/a.root", "/w/a.root,ID:", "ID:1-2-3-4-5", "ERR"]
)
def test_what_is_neither_a_result_nor_an_error_is_refused(message: str) -> None:
    with pytest.raises(UnreadableMessage) as refused:
        ESProcess.parse_out_message(message)
    assert refused.value.text == message


@pytest.mark.parametrize("text", ["hello", "", "ERR_ATHENAMP_PARSE: what?", ",ID:", "\N{SNOWMAN}" * 1000])
def test_a_message_that_nobody_understands_loses_no_result(pilot: MakePilot, text: str) -> None:
    saying = pilot("say", text, ranges=4).start()
    assert ids(saying.end()) == saying.ids


def test_a_range_that_the_payload_gave_up_is_told(pilot: MakePilot) -> None:
    giving_up = pilot("give_up", ranges=4).start()
    messages = giving_up.end()
    assert ids(messages) == giving_up.ids
    assert {(message["status"], message["error"]) for message in messages} == {("failed", "Seek failed")}


# --- the end ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "exit_code", "told"),
    [(("end", 0), 0, 0), (("end", 7), 7, 0), (("fail", 3), 1, 3), (("die", 3), -9, 3)],
    ids=["never asks", "exits at once", "fails later", "is killed"],
)
def test_however_a_payload_ends_its_results_are_told_first(
    pilot: MakePilot, arguments: tuple[object, ...], exit_code: int, told: int
) -> None:
    ending = pilot(*arguments).start()
    assert ids(ending.end()) == ending.ids[:told]
    assert ending.process.poll() == exit_code


@pytest.mark.parametrize(
    "executable",
    [["/no/such/payload"], "/no/such/payload", ["/etc/passwd"]],
    ids=["none", "none for a shell", "no program"],
)
def test_a_payload_that_cannot_be_started_has_an_exit_code(pilot: MakePilot, executable: list[str] | str) -> None:
    unstartable = pilot(executable=executable).start()
    assert unstartable.end() == []
    assert unstartable.process.poll() == (127 if isinstance(executable, str) else -1)


@pytest.mark.parametrize("then", ["simulate", "last_words", "fail 2", "die 2"])
def test_children_do_not_outlive_their_payload(pilot: MakePilot, tmp_path: Path, then: str) -> None:
    pids = pipe(tmp_path, "pids")
    parent = pilot("family", *then.split()).start()
    children = pids.read_text().split()
    assert len(children) == 2
    parent.end()
    assert all(ends(int(pid)) for pid in children)


def test_what_runs_may_finish_within_the_grace_of_a_stop(pilot: MakePilot, tmp_path: Path) -> None:
    go = pipe(tmp_path, "go")
    stopped = pilot("simulate", "go", 2).start()
    with go.open("w"):  # it is in its third range now
        stopped.process.stop(grace_s=PATIENCE_S)
    assert ids(stopped.end()) == stopped.ids[:3]
    assert stopped.process.poll() == 0


@pytest.mark.parametrize("end", [ESProcess.stop, ESProcess.terminate])
def test_what_takes_longer_is_ended_with_all_its_children(
    pilot: MakePilot, tmp_path: Path, end: Callable[[ESProcess], None]
) -> None:
    pids, go = pipe(tmp_path, "pids"), pipe(tmp_path, "go")
    stopped = pilot("family", "simulate", "go", 2).start()
    children = pids.read_text().split()
    with go.open("w"):
        end(stopped.process)
        assert ids(stopped.end()) == stopped.ids[:2]
    assert stopped.process.poll() == -15
    assert all(ends(int(pid)) for pid in children)


def test_a_later_stop_cannot_lengthen_the_grace(pilot: MakePilot, tmp_path: Path) -> None:
    go = pipe(tmp_path, "go")
    stopped = pilot("simulate", "go").start()
    with go.open("w"):
        stopped.process.stop(grace_s=0)
        stopped.process.stop(grace_s=10 * PATIENCE_S)
        stopped.end()
    assert stopped.process.poll() == -15


def test_a_payload_that_ignores_sigterm_is_killed(
    pilot: MakePilot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(esprocess, "KILL_PATIENCE_S", 0.05)
    pids = pipe(tmp_path, "pids")
    deaf = pilot("deaf").start()
    pids.read_text()
    deaf.process.terminate()
    deaf.end()
    assert deaf.process.poll() == -9


def test_a_stop_before_the_start_hands_out_nothing(pilot: MakePilot) -> None:
    stopped = pilot("simulate")
    stopped.process.stop()
    assert stopped.start().end() == []
    assert stopped.process.poll() == -15
    assert stopped.requests == []


def test_a_stop_after_the_end_changes_nothing(pilot: MakePilot) -> None:
    ended = pilot("simulate", ranges=1).start()
    ended.end()
    ended.process.stop()
    ended.process.terminate()
    assert ended.process.poll() == 0
