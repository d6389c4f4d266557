"""What a payload announced is heard, kept, and never deleted unstored."""

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from contract.heard import Heard, named
from core.worlds import Teller, names, produced
from shell.jobs import assert_each_range_is_booked_once, es_job, es_settings
from whole.processes import PATIENCE_S, ends

import esfsm
from esfsm.adapters.channels.memory import MemoryChannel
from esfsm.adapters.executors.esprocess import BURST
from esfsm.core import facts as f
from esfsm.core.engine import Engine
from esfsm.errors import PilotErrorCode

from .runs import Speak, Start

RANGES = 6


def test_results_announced_just_before_the_payload_exits_are_not_lost(start: Start) -> None:
    """Pilot3: queued messages were not drained. Up to N results of a payload with N workers were lost each time."""
    leaving = start("last_words")
    leaving.stock(*range(1, 17), last=True)
    told = leaving.heard.until("payload_ended")
    assert [name for name, *_ in named(told, "output_produced")] == [f"1-2-3-{number}-10" for number in range(1, 17)]


class Late(Heard):
    """One that hears nothing before the payload has ended and everybody knows it."""

    def output_produced(self, event_range_id: str, paths: Sequence[str], cpu_s: float, wall_s: float) -> None:
        for thread in threading.enumerate():
            if thread.name.startswith("payload "):
                thread.join(PATIENCE_S)
        super().output_produced(event_range_id, paths, cpu_s, wall_s)


def test_results_that_still_wait_when_the_payload_has_gone_are_heard(speak: Speak) -> None:
    """Pilot3: one message was handled per 10 ms, and what was left when the process had gone was forgotten."""
    leaving = speak(heard=Late())
    for number in range(2 * BURST):
        leaving.announces(number)
    leaving.leaves()
    assert len(named(leaving.heard.until("payload_ended"), "output_produced")) == 2 * BURST


ID = "1-2-3-1-10"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"/w/HITS,/w/AOD,ID:{ID},CPU:1,WALL:2", ("output_produced", (ID, ("/w/HITS", "/w/AOD"), 1.0, 2.0))),
        (f"ERR_ATHENAMP_PROCESS {ID}: ", ("range_errored", (ID, ""))),
        (f'ERR_ATHENAMP_PARSE ""eventRangeID": "{ID}"": Wrong format', ("range_errored", (ID, "Wrong format"))),
        ("hello", ("message_unreadable", ())),
    ],
    ids=["several files", "an error without a text", "an error in double quotes", "garbage"],
)
def test_a_message_of_an_unusual_form_does_not_end_the_payload(
    speak: Speak, text: str, told: tuple[str, object]
) -> None:
    """Pilot3: a message that it could not take apart stopped the whole job."""
    speaking = speak()
    speaking.says(text)
    speaking.announces(2)
    speaking.leaves()
    _, (name, content), (_, (event_range_id, *_)), (_, (exit_code, *_)) = speaking.heard.until("payload_ended")
    assert (name, content) == told if told[1] else name == told[0]
    assert (event_range_id, exit_code) == ("1-2-3-2-10", 0)


def test_an_unreadable_message_does_not_move_the_job() -> None:
    """Pilot3: the same, decided by the executor: an unparsable message was a stop request."""
    job = Teller().running("r1")
    assert job.says(f.MessageUnreadable(text="hello", why="nobody understands")) == ()
    assert (job.state, job.waits_for()) == ("es-running", ["run_es_payload"])


def test_a_payload_whose_channel_died_is_ended_and_its_end_is_told(speak: Speak) -> None:
    """Pilot3: the stop that followed was sent on the dead channel, raised, and left the payload unsupervised."""
    channel = MemoryChannel("lost")
    speaking = speak(channel)
    speaking.announces(1)
    (_, (identity, _)), _ = speaking.heard.until("output_produced")
    channel.close()
    channel.wake()
    assert speaking.heard.end() == (-9, PilotErrorCode.MESSAGEHANDLINGFAILURE, "channel lost is closed")
    assert ends(identity.pid)


def test_results_that_wait_for_an_archive_are_not_forgotten_when_the_engine_breaks() -> None:
    """Pilot3: results waited in a list in memory; any exception in its loop emptied it."""
    again = Teller().running("r1", "r2", "r3")
    again.says(produced("r1"), produced("r2"))
    assert names(again.resumed().says(f.PayloadFinished()))[0] == "pack_outputs"


def test_an_exception_in_the_loop_costs_no_result_and_no_file(inputs: Path, tmp_path: Path) -> None:
    """Pilot3: an exception in its loop led to its cleaning, which deleted the files of the results too."""
    settings = es_settings(inputs, RANGES, executor_type="quick")
    announced: list[Path] = []

    def fail_at_the_third(fact: f.Fact, _: Engine) -> None:
        if isinstance(fact, f.OutputProduced):
            announced.extend(tmp_path / "work" / path for path in fact.paths)
            if len(announced) == 3:
                raise RuntimeError("nobody foresaw this")

    with pytest.raises(RuntimeError, match="nobody foresaw this"):
        esfsm.run_workflow(es_job(), workdir=tmp_path / "work", settings=settings, watch=fail_at_the_third)
    assert all(path.is_file() for path in announced)
    assert esfsm.run_workflow(es_job(), workdir=tmp_path / "work", settings=settings).state == "done"
    assert_each_range_is_booked_once(tmp_path / "work", RANGES)


def test_no_output_is_deleted_that_no_storage_took(inputs: Path, tmp_path: Path) -> None:
    """Pilot3: at the end of a job all outputs were deleted, those that were never staged as well."""
    (tmp_path / "full").touch()
    settings = es_settings(inputs, RANGES, executor_type="quick", output_url=str(tmp_path / "full"))
    announced: list[Path] = []

    def watch(fact: f.Fact, _: Engine) -> None:
        if isinstance(fact, f.OutputProduced):
            announced.extend(tmp_path / "work" / path for path in fact.paths)

    outcome = esfsm.run_workflow(es_job(), workdir=tmp_path / "work", settings=settings, watch=watch)
    assert (outcome.state, dict(outcome.ranges)) == ("failed", {"failed": RANGES})
    assert len(announced) == RANGES
    assert all(path.is_file() for path in announced)
