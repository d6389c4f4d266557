"""What a machine that vanishes would cost, while the facts of a job are told."""

import pytest
from core.worlds import Teller, produced

from esfsm.core import facts as f
from esfsm.views.risk import Risk


def risk_of(job: Teller) -> Risk:
    other, risk = Teller(job.workflow, **job.settings.model_dump(exclude_unset=True)), Risk()
    for fact in job.facts:
        other.now = fact.at
        other.tell(fact)
        risk.hear(fact, other.engine)
    return risk


def test_a_job_without_event_ranges_has_nothing_at_risk() -> None:
    risk = risk_of(Teller("generic").goes_well("classify_job"))
    assert (risk.most, risk.mean, risk.stores, risk.reports, risk.seconds) == (0, 0.0, 0, 0, 0.0)


def test_ranges_are_at_risk_from_the_payload_on_until_the_server_has_booked_them() -> None:
    job = Teller().running("r1", "r2")
    job.answer("run_es_payload", produced("r1"), after_s=10.0)
    job.answer("run_es_payload", produced("r2"), after_s=10.0)
    job.answer("run_es_payload", f.PayloadFinished(), after_s=10.0)
    job.goes_well("pack_outputs")
    job.answer("store_archive", f.ArchiveStored(url="file:///a.tar"), after_s=10.0)
    job.answer("report_ranges", f.RangesAcknowledged(), after_s=10.0)
    job.answer("note", job.asked("note").fact, after_s=50.0)
    risk = risk_of(job)
    assert (risk.most, risk.stores, risk.reports) == (2, 1, 1)
    assert (risk.seconds, risk.mean) == (100.0, 2 * 50.0 / 100.0)


def test_a_range_that_was_given_up_is_no_work_that_could_be_lost() -> None:
    job = Teller().running("r1", "r2")
    job.says(f.RangeErrored(event_range_id="r1", why="ERR_ATHENAMP_PROCESS"))
    job.tell(f.Preempted(why="asked"), after_s=10.0)
    assert risk_of(job).mean == 1.0


@pytest.mark.parametrize("back_s", [0.0, 1.0, 3600.0])
def test_no_time_passes_while_the_clock_is_set_back_and_it_goes_on_from_there(back_s: float) -> None:
    job = Teller().running("r1", "r2")
    job.answer("run_es_payload", produced("r1"), after_s=10.0)
    job.tell(f.JobResumed(settings={}, adopted=True), after_s=-back_s)
    job.answer("run_es_payload", f.RangeErrored(event_range_id="r2", why="ERR_ATHENAMP_PROCESS"), after_s=20.0)
    job.tell(f.Preempted(why="asked"), after_s=10.0)
    risk = risk_of(job)
    assert (risk.seconds, risk.mean) == (40.0, (2 * 30.0 + 1 * 10.0) / 40.0)
