"""A stop request costs no result, and comes at any moment."""

import signal
from collections import Counter
from collections.abc import Callable
from itertools import chain, count
from pathlib import Path

import pytest
from core.worlds import Teller, names, produced
from shell.jobs import booked, es_job, es_settings
from whole.processes import PATIENCE_S, event_range, payload

import esfsm
from esfsm import ESProcess
from esfsm.adapters.executors.process import KILL_PATIENCE_S
from esfsm.core import facts as f
from esfsm.core.engine import Engine
from esfsm.model.settings import Settings

SIGTERM = f.Preempted(why="a stop was asked for by SIGTERM")
RANGES = 600


def test_the_job_is_reported_after_its_last_ranges() -> None:
    """Pilot3: a graceful stop ended the communicator first; the last archive was stored, and nobody was told."""
    job = Teller().produced("r1", "r2")
    job.tell(SIGTERM)
    job.drained()
    asked = [word.split()[0] for word in chain.from_iterable(job.decisions) if word.startswith("report")]
    assert asked == ["report_ranges", "report_job"]
    assert (job.ledger.counts(), job.report.events) == ({"finished": 2}, 20)


def test_what_was_made_before_a_stop_is_booked(inputs: Path, tmp_path: Path) -> None:
    """Pilot3: after a stop the call that reports returned None without any request, and was counted as success."""
    settings = es_settings(inputs, RANGES, executor_type="quick")
    made: list[str] = []

    def stop_at_the_third(fact: f.Fact, _: Engine) -> None:
        if isinstance(fact, f.OutputProduced):
            made.append(fact.event_range_id)
            if len(made) == 3:
                signal.raise_signal(signal.SIGTERM)

    outcome = esfsm.run_workflow(es_job(), workdir=tmp_path / "work", settings=settings, watch=stop_at_the_third)
    assert outcome.state == "stopped"
    assert len(made) < RANGES
    assert outcome.events == 2 * len(made)
    assert Counter(row.status for row in booked(tmp_path / "work" / "broker.sqlite"))["done"] == len(made)


def test_the_last_archive_does_not_wait_for_a_payload_that_is_still_busy() -> None:
    """Pilot3: a busy payload had 1800 s to end, the pilot itself 180 s; it was killed before the last tar was made."""
    job = Teller().running("r1", "r2")
    job.says(produced("r1"))
    assert names(job.tell(SIGTERM))[:2] == ["stop", "pack_outputs"]
    job.goes_well("pack_outputs", "store_archive", "report_ranges")
    assert (job.ledger["r1"], job.ledger["r2"], job.waits_for()) == ("finished", "running", ["run_es_payload"])


def test_what_is_made_within_the_grace_is_not_lost_either() -> None:
    """Pilot3: what a payload announced while it was stopping came after the last report."""
    job = Teller().running("r1", "r2")
    job.tell(SIGTERM)
    job.says(produced("r1"), f.PayloadFailed(exit_code=-15, error_code=1201, why="SIGTERM"))
    assert job.drained().ledger.counts() == {"finished": 1, "released": 1}


def test_the_time_of_a_payload_to_end_fits_into_that_of_its_pilot() -> None:
    """Pilot3: delay and kill time were constants of different files that did not know of each other."""
    (stop, *_) = Teller(grace_for="all").running("r1").tell(SIGTERM)
    assert 0 < stop.grace_s < Settings().grace_s
    assert Settings().grace_s + KILL_PATIENCE_S < 120, "seconds between SIGTERM and SIGKILL in pilot3's own budget"


@pytest.mark.parametrize("moment", ["before the start", "get_event_ranges", "handle_out_message"])
@pytest.mark.parametrize("stop", [ESProcess.stop, ESProcess.terminate])
def test_a_payload_can_be_stopped_by_any_thread_at_any_moment(
    tmp_path: Path, stop: Callable[[ESProcess], None], moment: str
) -> None:
    """Pilot3: the flag was set before the time was; the other thread looked in between and died of an exception."""
    given = {"executable": payload("simulate"), "workdir": tmp_path, "output_file": "out.txt", "error_file": "err.txt"}
    process, numbers = ESProcess(given), count(1)

    def now(this: str) -> None:
        if this == moment:
            stop(process)

    def get_event_ranges(n: int) -> list[dict[str, object]]:
        now("get_event_ranges")
        return [event_range(next(numbers)) for _ in range(n)]  # it would never end by itself

    process.set_get_event_ranges_hook(get_event_ranges)
    process.set_handle_out_message_hook(lambda _: now("handle_out_message"))
    now("before the start")
    process.start()
    process.join(PATIENCE_S)
    assert not process.is_alive()
    assert process.poll() in (0, -signal.SIGTERM)
