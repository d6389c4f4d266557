"""A payload that outlives its engine: the next one goes on with it, or begins it again when it is lost after all."""

import pytest

from esfsm.core import facts as f
from esfsm.errors import WorkflowError

from .worlds import Teller, granted, names, produced

PREEMPTED = f.Preempted(why="a stop was asked for by SIGTERM")
LOOPS = f.LimitExceeded(error_code=1150, why="it loops")
GONE = f.PayloadGone()


def with_stock(*ids: str) -> Teller:
    """These are in the stock of the payload, and nobody has heard that it took any."""
    job = Teller().running()
    job.says(f.RangesWanted(n=len(ids)))
    job.answer("request_ranges", granted(*ids))
    return job


def test_a_payload_that_was_started_and_has_not_ended_can_be_adopted():
    job = Teller()
    job.goes_well("classify_job", "select_executor", "stage_in")
    assert job.engine.adoptable is None, "nobody knows where it is"
    job.says(f.PayloadStarted(pid=17, started=42, channel="EventService_x"))
    started = job.engine.adoptable
    assert (started.pid, started.started, started.channel) == (17, 42, "EventService_x")
    assert started.answers == job.asked("run_es_payload").number
    job.says(f.PayloadFinished())
    assert job.engine.adoptable is None


@pytest.mark.parametrize("leaves", [PREEMPTED, LOOPS])
def test_a_payload_of_a_state_that_was_left_is_not_adopted(leaves):
    job = Teller().running("r1")
    job.tell(leaves)
    assert "run_es_payload" in job.waits_for()
    assert job.engine.adoptable is None
    assert "run_es_payload" not in job.resumed().waits_for()


def test_a_payload_without_a_channel_to_it_is_not_adopted():
    job = Teller("generic").goes_well("classify_job", "select_executor", "stage_in")
    job.answer("run_payload", f.PayloadStarted(pid=17, started=42))
    assert job.engine.adoptable is None


def test_ranges_run_on_in_an_adopted_payload_and_nothing_is_begun_twice():
    before = Teller().running("r1", "r2")
    job = before.resumed(adopted=True)
    assert (job.state, job.ledger.counts()) == ("es-running", {"running": 2})
    assert job.asked("run_es_payload") == before.asked("run_es_payload")
    assert job.engine.adoptable == before.engine.adoptable
    job.says(produced("r1"), produced("r2"), f.PayloadFinished(exit_code=None))
    job.drained()
    assert (job.state, job.ledger.counts(), job.report.exit_code) == ("done", {"finished": 2}, None)


def test_a_payload_that_was_not_adopted_is_none_that_the_next_engine_can_adopt():
    job = Teller().running("r1").resumed()
    assert job.engine.adoptable is None
    job.says(f.PayloadStarted(pid=18, started=43))
    assert job.engine.adoptable.pid == 18


def test_an_adopted_payload_may_announce_a_range_of_which_nobody_wrote_down_that_it_was_sent():
    job = with_stock("r1", "r2").resumed(adopted=True)
    job.says(produced("r1"), f.RangeErrored(event_range_id="r2", why="ERR_ATHENAMP_PROCESS"))
    assert (job.ledger.counts(), job.engine.ranges.strange) == ({"produced": 1, "errored": 1}, 0)


def test_what_was_in_an_adopted_payload_unrecorded_is_not_handed_out_to_it_again():
    before = Teller().running()
    before.says(f.RangesWanted(n=2))
    before.answer("request_ranges", granted("r1", "r2", "r3", "r4"))
    job = before.resumed(adopted=True)
    job.says(f.RangesSent(event_range_ids=("r1",)))
    stock = [job.says(f.RangesWanted(n=2))[0] for _ in range(2)]
    assert [[r.event_range_id for r in each.event_ranges] for each in stock] == [["r2", "r3"], ["r4"]]


def test_an_adopted_payload_is_told_once_more_that_there_is_no_more():
    job = Teller().running("r1").resumed(adopted=True)
    assert names(job.says(f.RangesWanted(n=2))) == ["request_ranges"], "who knew it is dead"
    (stock,) = job.answer("request_ranges", f.RangesExhausted())
    assert (stock.event_ranges, stock.last) == ((), True)


# --- it is lost after all ----------------------------------------------------------------------------------------


def test_the_payload_is_begun_again_under_its_number_when_the_adopted_one_is_gone():
    job = Teller().running("r1", "r2").resumed(adopted=True)
    job.says(produced("r1"))
    number = job.asked("run_es_payload").number
    actions = job.says(GONE)
    assert [(action.name, action.number) for action in actions if action.name != "set_alarm"] == [
        ("run_es_payload", number)
    ]
    assert (job.state, job.ledger.counts()) == ("es-running", {"granted": 1, "produced": 1})
    assert job.engine.adoptable is None
    assert job.engine.final.trouble == (0, "")


def test_ranges_of_an_adopted_payload_that_is_gone_run_in_the_next_one():
    job = Teller().running("r1").resumed(adopted=True)
    job.says(GONE, f.PayloadStarted(pid=18, started=43))
    assert job.engine.adoptable.pid == 18
    (stock,) = job.says(f.RangesWanted(n=1))
    assert [r.event_range_id for r in stock.event_ranges] == ["r1"]
    job.says(f.RangesSent(event_range_ids=("r1",)), produced("r1"), f.PayloadFinished())
    assert job.drained().ledger.counts() == {"finished": 1}
    assert (job.state, job.engine.final.exit_code) == ("done", 0)


@pytest.mark.parametrize(("leaves", "end"), [(PREEMPTED, "stopped"), (LOOPS, "failed")])
def test_no_other_payload_is_begun_once_the_job_is_on_its_way_out(leaves, end):
    job = Teller().running("r1").resumed(adopted=True)
    job.tell(leaves)
    assert "run_es_payload" not in names(job.says(GONE))
    assert "run_es_payload" not in job.waits_for()
    assert job.drained().state == end
    assert job.ledger.counts() == {"released": 1}


def test_what_an_adopted_payload_says_after_it_is_gone_is_of_the_next_one():
    job = Teller().running("r1").resumed(adopted=True)
    job.says(GONE, produced("r1"))
    assert job.ledger.counts() == {"produced": 1}


def test_a_payload_that_wanted_ranges_and_is_gone_wants_none_any_more():
    job = Teller().running().resumed(adopted=True)
    job.says(f.RangesWanted(n=2), GONE)
    assert job.answer("request_ranges", granted("r1", "r2")) == ()
    assert job.ledger.counts() == {"granted": 2}


def test_a_plain_payload_cannot_be_gone():
    job = Teller("generic").goes_well("classify_job", "select_executor", "stage_in")
    with pytest.raises(WorkflowError):
        job.answer("run_payload", GONE)
    assert job.state == "payload-running"


def test_a_job_can_lose_its_engine_again_and_again():
    job = Teller().running("r1", "r2").resumed(adopted=True).resumed(adopted=True)
    assert job.ledger.counts() == {"running": 2}
    job.says(GONE)
    job = job.resumed()
    assert (job.waits_for(), job.ledger.counts()) == (["run_es_payload"], {"granted": 2})
