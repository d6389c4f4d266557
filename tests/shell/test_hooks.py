"""What an executor tells of a payload is a fact that answers the action that began it; files are looked for."""

from collections.abc import Callable
from pathlib import Path

import pytest
from shell.jobs import es_job

from esfsm.core import facts as f
from esfsm.equipment import Equipment
from esfsm.errors import PilotErrorCode
from esfsm.hooks import FactHooks
from esfsm.model.job import Job
from esfsm.model.settings import Settings
from esfsm.ports import ProcessIdentity

RANGE = "1-2-3-4-5"


@pytest.fixture
def heard() -> list[f.Fact]:
    return []


@pytest.fixture
def hooks(heard: list[f.Fact], tmp_path: Path) -> FactHooks:
    """The hooks of the payload of action 4."""
    return FactHooks(4, heard.append, Equipment(Job.read(es_job()), tmp_path, Settings(), {}, "run").find)


@pytest.mark.parametrize(
    ("say", "fact"),
    [
        (lambda h: h.payload_started(ProcessIdentity(1, 2)), f.PayloadStarted(answers=4, pid=1, started=2)),
        (
            lambda h: h.payload_started(ProcessIdentity(1, 2), "EventService_x"),
            f.PayloadStarted(answers=4, pid=1, started=2, channel="EventService_x"),
        ),
        (lambda h: h.ranges_wanted(3), f.RangesWanted(answers=4, n=3)),
        (lambda h: h.ranges_sent([RANGE]), f.RangesSent(answers=4, event_range_ids=(RANGE,))),
        (lambda h: h.range_errored(RANGE, "why"), f.RangeErrored(answers=4, event_range_id=RANGE, why="why")),
        (lambda h: h.message_unreadable("?", "why"), f.MessageUnreadable(answers=4, text="?", why="why")),
        (lambda h: h.payload_ended(0, 0, ""), f.PayloadFinished(answers=4)),
        (lambda h: h.payload_ended(None, 0, ""), f.PayloadFinished(answers=4, exit_code=None)),
        (
            lambda h: h.payload_ended(65, 1305, "it failed"),
            f.PayloadFailed(answers=4, exit_code=65, error_code=1305, why="it failed"),
        ),
        (
            lambda h: h.payload_ended(0, 1150, "looping"),
            f.PayloadFailed(answers=4, exit_code=0, error_code=1150, why="looping"),
        ),
        (lambda h: h.payload_gone(), f.PayloadGone(answers=4)),
    ],
)
def test_what_is_told_is_a_fact(
    hooks: FactHooks, heard: list[f.Fact], say: Callable[[FactHooks], None], fact: f.Fact
) -> None:
    say(hooks)
    assert heard == [fact]


def test_an_output_that_is_announced_is_named_from_the_work_directory(
    hooks: FactHooks, heard: list[f.Fact], tmp_path: Path
) -> None:
    (tmp_path / "HITS").write_bytes(b"abc")
    hooks.output_produced(RANGE, [str(tmp_path / "HITS"), "HITS"], 1.5, 2.5)
    assert heard == [
        f.OutputProduced(
            answers=4,
            event_range_id=RANGE,
            paths=("HITS", "HITS"),
            stamps=((tmp_path / "HITS").stat().st_mtime_ns,) * 2,
            size_bytes=6,
            cpu_s=1.5,
            wall_s=2.5,
        )
    ]


def test_an_output_elsewhere_is_named_by_its_whole_path(
    hooks: FactHooks, heard: list[f.Fact], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("elsewhere") / "HITS"
    path.write_bytes(b"abc")
    hooks.output_produced(RANGE, [str(path)], 1.5, 2.5)
    assert [fact.paths for fact in heard if isinstance(fact, f.OutputProduced)] == [(str(path),)]


@pytest.mark.parametrize("path", ["gone", "/gone", "a\0b", "x" * 300])
def test_an_output_that_is_announced_and_not_there_is_a_failed_range(
    hooks: FactHooks, heard: list[f.Fact], path: str
) -> None:
    hooks.output_produced(RANGE, [path], 1.5, 2.5)
    (fact,) = heard
    assert isinstance(fact, f.RangeErrored)
    assert (fact.answers, fact.event_range_id, fact.error_code) == (4, RANGE, PilotErrorCode.MISSINGOUTPUTFILE)
