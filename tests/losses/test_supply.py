"""Ranges are asked for in time, handed out once, and given back."""

import threading
from contextlib import closing
from pathlib import Path

import pytest
from contract.brokers import finish, job, take
from contract.heard import named
from core.worlds import Teller, granted, names, produced
from whole.processes import PATIENCE_S, payload

from esfsm import ESProcess
from esfsm.adapters.communicators.local import open_local
from esfsm.core import facts as f
from esfsm.inbox import LIMIT, Clock, Inbox
from esfsm.model.report import JobReport
from esfsm.model.settings import Settings
from esfsm.wire.athenamp import NO_MORE_EVENTS

from .runs import Speak, Start

UNANSWERED = [f.RequestUnanswered(why="HTTP 502"), f.ActionBroke(why="nobody foresaw it")]


@pytest.mark.parametrize("answer", UNANSWERED, ids=["unanswered", "broke"])
def test_a_failed_request_for_ranges_is_made_again_while_the_payload_waits(answer: f.Fact) -> None:
    """Pilot3: one failed request for ranges, after one try, stopped the job."""
    waiting = Teller().running()
    waiting.says(f.RangesWanted(n=2))
    pauses = []
    for _ in range(4):
        (alarm,) = waiting.answer("request_ranges", answer)
        pauses.append(alarm.when - waiting.now)
        assert names(waiting.ring()) == ["request_ranges"]
        assert waiting.state == "es-running"
    assert pauses == [1, 2, 4, 8]
    (stock, *_) = waiting.answer("request_ranges", granted("r1", "r2"))
    assert [each.event_range_id for each in stock.event_ranges] == ["r1", "r2"]


def test_a_broker_that_has_nothing_for_once_does_not_end_the_payload() -> None:
    """Pilot3: an empty answer was `No more events` at once; there was no second try."""
    waiting = Teller().running()
    waiting.says(f.RangesWanted(n=2))
    assert "stock_ranges" not in names(waiting.answer("request_ranges", granted()))
    assert names(waiting.ring()) == ["request_ranges"]


def test_a_hook_that_returns_none_has_no_more_ranges(tmp_path: Path) -> None:
    """Pilot3: None, which its manager gave when it stopped, was iterated; the TypeError stopped the job."""
    given = {"executable": payload("simulate"), "workdir": tmp_path, "output_file": "out.txt", "error_file": "err.txt"}
    process = ESProcess(given)
    process.set_get_event_ranges_hook(lambda _: None)  # type: ignore[arg-type, return-value]
    process.set_handle_out_message_hook(print)
    process.start()
    process.join(PATIENCE_S)
    assert (process.poll(), process.error) == (0, "")


def test_a_stop_is_told_only_to_a_payload_that_asks(speak: Speak) -> None:
    """Pilot3: a stop sent `No more events` to a payload that had not asked."""
    stopped = speak()
    stopped.asks()
    stopped.stock(1)
    assert "1-2-3-1-10" in stopped.hears()
    stopped.running.stop(PATIENCE_S)
    stopped.announces(1)
    stopped.heard.until("output_produced")
    assert not stopped.has_unheard()
    stopped.asks()
    assert stopped.hears() == NO_MORE_EVENTS
    stopped.leaves()
    assert stopped.heard.end() == (0, 0, "")
    assert not stopped.has_unheard()


@pytest.mark.parametrize("grace_s", [0.0, 0.05])
def test_a_payload_that_never_spoke_can_be_stopped(speak: Speak, grace_s: float) -> None:
    """Pilot3: `No more events` could not be sent before the channel had a peer; the stop ended in an exception."""
    silent = speak()
    silent.running.stop(grace_s)
    assert silent.heard.end() == (-15, 1201, "the payload was ended by SIGTERM")
    assert not silent.has_unheard()


def test_no_range_is_handed_out_after_a_stop(speak: Speak) -> None:
    """Pilot3: who asked after the stop still got a range from the cache; the stop flag was not looked at."""
    stopped = speak()
    stopped.asks()
    stopped.stock(1, 2, 3)
    assert "1-2-3-1-10" in stopped.hears()
    stopped.running.stop(PATIENCE_S)
    stopped.asks()
    assert stopped.hears() == NO_MORE_EVENTS
    stopped.leaves()
    assert named(stopped.heard.until("payload_ended"), "ranges_sent") == [("1-2-3-1-10",)]


def test_ranges_granted_after_a_stop_never_reach_the_payload() -> None:
    """Pilot3: ranges that came while it stopped were handed out as before."""
    stopping = Teller().running()
    stopping.says(f.RangesWanted(n=2))
    stopping.tell(f.Preempted(why="SIGTERM"))
    assert names(stopping.answer("request_ranges", granted("r1", "r2"))) == []
    stopping.says(f.PayloadFinished())
    assert stopping.drained().ledger.counts() == {"released": 2}


def test_reserved_ranges_are_released_when_the_job_stops() -> None:
    """Pilot3: up to twice as many ranges as cores were reserved in memory; at a stop nobody heard of them again."""
    stopped = Teller().running()
    stopped.says(f.RangesWanted(n=2))
    stopped.answer("request_ranges", granted("made", "in-hand", "in-stock", "with-us"))
    stopped.says(f.RangesSent(event_range_ids=("made", "in-hand")), produced("made"))
    stopped.tell(f.Preempted(why="SIGTERM"))
    stopped.says(f.PayloadFinished())
    stopped.drained()
    assert stopped.ledger["made"] == "finished"
    assert {stopped.ledger[name] for name in ("in-hand", "in-stock", "with-us")} == {"released"}


def test_what_a_job_still_held_when_it_ended_is_handed_out_to_another(tmp_path: Path) -> None:
    """Pilot3: ranges that it had reserved and not run were neither processed nor returned."""
    settings = Settings(broker=tmp_path / "broker.sqlite", events=6)
    with (
        closing(open_local(job(5001), settings, tmp_path, "r1")) as first,
        closing(open_local(job(5002), settings, tmp_path, "r2")) as second,
    ):
        held = take(first, 4)
        finish(first, held[0])
        first.update_job(JobReport("finished"))
        assert len(take(second, 6)) == 5


def test_no_range_is_reserved_for_a_payload_that_has_not_asked(start: Start) -> None:
    """Pilot3: ranges were reserved whether the payload came to ask for them or not."""
    assert [name for name, _ in start("end", 1).heard.until("setup_failed")] == ["payload_started", "setup_failed"]


def test_a_request_that_nobody_answers_does_not_hold_the_end_up(speak: Speak) -> None:
    """Pilot3: who asked the manager after its end waited for an answer for ever."""
    waiting = speak()
    waiting.asks()
    waiting.heard.until("ranges_wanted")
    waiting.running.stop(PATIENCE_S)
    assert waiting.hears() == NO_MORE_EVENTS
    waiting.leaves()
    assert waiting.running.wait(PATIENCE_S)


def test_nobody_waits_for_an_engine_that_has_ended() -> None:
    """Pilot3: a request put into a queue that nobody read any more was never answered, nor given up."""
    inbox = Inbox(Clock())
    for _ in range(LIMIT):
        inbox.put(f.RangesWanted(n=1))
    telling = threading.Thread(target=inbox.put, args=(f.RangesWanted(n=1),), daemon=True)
    telling.start()
    inbox.close()
    telling.join(PATIENCE_S)
    inbox.put(f.RangesWanted(n=1))
    assert not telling.is_alive()
