"""ESProcess and ESManager as code that was written for pilot3 uses them, with real payloads."""

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from compat import incumbent
from whole.processes import PATIENCE_S, event_range, no_thread_left, payload, pipe

from esfsm.compat.pilot3 import ESHook, ESManager, ESProcess

RANGES = 8


def shell(*arguments: object) -> str:
    """One of our payloads as a pilot has it."""
    return shlex.join(payload(*arguments))


class Telling:
    """Hooks over a list of ranges; `end`: what they say when there are no more."""

    def __init__(self, given: dict[str, Any], end: object = None) -> None:
        self.given, self.end = given, end
        self.left = [event_range(number) for number in range(1, RANGES + 1)]
        self.ids = [each["eventRangeID"] for each in self.left]
        self.heard: list[dict[str, Any]] = []

    def get_payload(self) -> dict[str, Any]:
        return self.given

    def get_event_ranges(self, num_ranges: int = 1) -> Any:
        granted, self.left = self.left[:num_ranges], self.left[num_ranges:]
        return granted or self.end

    def handle_out_message(self, message: dict[str, Any]) -> None:
        self.heard.append(message)


class OverOurs(Telling, ESHook):
    """Derived from our ESHook."""


class OverTheirs(Telling, incumbent.CLASSES["ESHook"]):
    """Derived from pilot3's, as hooks that exist are."""


MakeProcess = Callable[..., tuple[ESProcess, Telling]]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[MakeProcess]:
    """An ESProcess with its hooks, not started yet; nothing of it is left in the end."""
    made: list[ESProcess] = []

    def make(*arguments: object, **changes: Any) -> tuple[ESProcess, Telling]:
        hooks = Telling({"executable": shell(*arguments), "workdir": str(tmp_path), **changes})
        process = ESProcess(hooks.given)
        process.set_get_event_ranges_hook(hooks.get_event_ranges)
        process.set_handle_out_message_hook(hooks.handle_out_message)
        made.append(process)
        return process, hooks

    with no_thread_left():
        yield make
        for process in made:
            process.kill()


@pytest.mark.parametrize("kind", [OverOurs, OverTheirs])
@pytest.mark.parametrize("end", [None, []], ids=["None", "an empty list"])
def test_a_manager_runs_the_payload_of_a_hook_to_its_end(kind: type[Telling], end: object, tmp_path: Path) -> None:
    hook = kind({"executable": shell("simulate"), "workdir": str(tmp_path)}, end)
    ESManager(hook).run()
    assert [(message["id"], message["status"]) for message in hook.heard] == [(each, "finished") for each in hook.ids]
    assert hook.heard[0]["output"] == f"{tmp_path}/HITS.{hook.ids[0]}"
    assert (hook.heard[0]["cpu"], hook.heard[0]["wall"]) == ("1", "2")


def test_a_manager_wants_a_hook() -> None:
    with pytest.raises(TypeError, match="is no ESHook: it lacks get_payload, get_event_ranges"):
        ESManager(object())


@pytest.mark.parametrize("step", ["get_payload", "get_event_ranges", "handle_out_message"])
def test_a_hook_says_what_is_left_to_be_written(step: str) -> None:
    with pytest.raises(NotImplementedError):
        getattr(ESHook(), step)(*([{}] if step == "handle_out_message" else []))


def test_a_process_tells_how_it_stands(make: MakeProcess, tmp_path: Path) -> None:
    go = pipe(tmp_path, "go")
    process, hooks = make("simulate", "go", 2)
    assert (process.is_payload_started(), process.is_payload_running(), process.pid) == (False, False, None)
    process.start()
    with go.open("w"):
        assert (process.is_payload_started(), process.is_payload_running(), process.poll()) == (True, True, None)
    process.join(PATIENCE_S)
    assert (process.is_payload_started(), process.is_payload_running(), process.poll()) == (True, False, 0)
    assert len(hooks.heard) == RANGES


def test_the_hooks_that_were_set_are_told(make: MakeProcess) -> None:
    process, hooks = make("simulate")
    assert process.get_get_event_ranges_hook() == hooks.get_event_ranges
    assert process.get_handle_out_message_hook() == hooks.handle_out_message


@pytest.mark.parametrize("end", [ESProcess.terminate, ESProcess.kill], ids=["terminate", "kill"])
def test_a_payload_that_is_ended_tells_what_it_had_done(
    make: MakeProcess, tmp_path: Path, end: Callable[..., None]
) -> None:
    go = pipe(tmp_path, "go")
    process, hooks = make("simulate", "go", 2)
    process.start()
    with go.open("w"):
        end(process) if end is ESProcess.kill else end(process, 0)
        process.join(PATIENCE_S)
    assert process.poll() == -15
    assert [message["id"] for message in hooks.heard] == hooks.ids[:2]


def test_after_a_stop_what_runs_may_finish(make: MakeProcess, tmp_path: Path) -> None:
    go = pipe(tmp_path, "go")
    process, hooks = make("simulate", "go", 2)
    process.start()
    with go.open("w"):
        process.stop()
    process.join(PATIENCE_S)
    assert process.poll() == 0
    assert [message["id"] for message in hooks.heard] == hooks.ids[:3]


@pytest.mark.parametrize(
    ("named", "written"),
    [(None, "ES_payload_output.txt"), ("out.txt", "out.txt"), ("{}/logs/out.txt", "logs/out.txt")],
    ids=["by itself", "by a name", "by a path"],
)
def test_what_a_payload_prints_is_where_it_was_told(
    make: MakeProcess, tmp_path: Path, named: str | None, written: str
) -> None:
    (tmp_path / "logs").mkdir()
    process, _ = make("echo", "hello", output_file=named and named.format(tmp_path))
    process.start()
    process.join(PATIENCE_S)
    assert (tmp_path / written).read_text() == "hello\n"


def test_what_a_payload_prints_is_in_the_file_that_a_pilot_has_open(make: MakeProcess, tmp_path: Path) -> None:
    with (tmp_path / "payload.stdout").open("wb") as out, (tmp_path / "payload.stderr").open("wb") as err:
        process, _ = make("echo", "hello", output_file=out, error_file=err)
        process.start()
        process.join(PATIENCE_S)
    assert (tmp_path / "payload.stdout").read_text() == "hello\n"


def test_the_cores_of_the_pilots_job_are_kept_busy(make: MakeProcess) -> None:
    process, hooks = make("simulate", job=SimpleNamespace(corecount="4"))
    asked: list[int] = []
    process.set_get_event_ranges_hook(lambda n: asked.append(n) or hooks.get_event_ranges(n))
    process.start()
    process.join(PATIENCE_S)
    assert asked[0] >= 4


def test_a_work_directory_is_made(make: MakeProcess, tmp_path: Path) -> None:
    process, _ = make("echo", "hello", workdir=tmp_path / "new" / "place")
    process.start()
    process.join(PATIENCE_S)
    assert (tmp_path / "new" / "place" / "OUT.root").exists()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"executable": ""}, "the payload lacks executable"),
        ({"output_file": 3}, "cannot write to 3, which has no name"),
        ({"workdir": "/etc/passwd"}, "File exists"),
    ],
)
def test_a_payload_that_cannot_be_used_is_a_failure_of_the_set_up(
    make: MakeProcess, changes: dict[str, Any], why: str
) -> None:
    with pytest.raises(incumbent.failures.SetupFailure) as refused:
        make("simulate", **changes)
    assert why in str(refused.value)


def test_without_hooks_it_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(incumbent.failures.SetupFailure):
        ESProcess({"executable": "true", "workdir": tmp_path}).start()
