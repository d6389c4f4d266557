"""Every event range and where it stands; illegal steps raise and change nothing."""

import pytest

from esfsm.core.ledger import Ledger
from esfsm.errors import WorkflowError

from .worlds import TABLES, event_range

TO_STORED = ("output_produced", "outputs_packed", "archive_stored")


def ledger_with(*ids: str, after: tuple[str, ...] = ()) -> Ledger:
    """A ledger with these ranges granted, and told these facts about all of them."""
    ledger = Ledger(TABLES["event-range"])
    ledger.grant(map(event_range, ids))
    for fact in after:
        ledger.step(fact, ids)
    return ledger


def test_a_granted_range_is_known_and_waits():
    ledger = ledger_with("r1", "r2")
    assert ledger["r1"] == "granted"
    assert ledger.waiting("granted") == ("r1", "r2")
    assert (len(ledger), ledger.open, "r1" in ledger, "r9" in ledger) == (2, 2, True, False)


def test_a_range_that_is_granted_twice_is_booked_once():
    ledger = ledger_with("r1", after=("ranges_sent",))
    assert ledger.grant([event_range("r1"), event_range("r2"), event_range("r2")]) == ("r2",)
    assert (ledger["r1"], ledger["r2"], len(ledger)) == ("running", "granted", 2)


def test_a_range_goes_its_way_to_finished_and_its_events_count():
    ledger = ledger_with("r1", after=("ranges_sent", *TO_STORED, "ranges_acknowledged"))
    assert ledger["r1"] == "finished"
    assert (ledger.open, ledger.events_finished) == (0, 10)


@pytest.mark.parametrize(
    ("facts", "state"),
    [
        (("ranges_released",), "released"),
        (("range_errored", "ranges_acknowledged"), "failed"),
        (("range_errored", "ranges_refused"), "refused"),
        (("range_errored", "report_given_up"), "released"),
        ((*TO_STORED, "report_given_up"), "unanswered"),
        ((*TO_STORED, "ranges_refused"), "refused"),
        (("output_produced", "output_lost", "ranges_acknowledged"), "failed"),
        (("output_produced", "outputs_packed", "archive_refused", "ranges_acknowledged"), "failed"),
        (("output_produced", "outputs_packed", "archive_lost", "archive_refused", "ranges_acknowledged"), "failed"),
    ],
)
def test_events_of_a_range_that_did_not_finish_do_not_count(facts, state):
    ledger = ledger_with("r1", after=facts)
    assert (ledger["r1"], ledger.open, ledger.events_finished) == (state, 0, 0)
    assert ledger.counts() == {state: 1}


def test_ranges_are_counted_by_their_state_in_the_order_of_the_table():
    ledger = ledger_with("r1", "r2", "r3")
    ledger.step("ranges_sent", ["r2"])
    ledger.step("ranges_released", ["r3"])
    assert list(ledger.counts().items()) == [("granted", 1), ("running", 1), ("released", 1)]


def test_an_output_of_a_stored_range_is_refused_and_changes_nothing():
    ledger = ledger_with("r1", after=TO_STORED)
    with pytest.raises(WorkflowError, match="output_produced cannot happen to event range r1 in state stored"):
        ledger.step("output_produced", ["r1"])
    assert ledger["r1"] == "stored"


def test_when_one_range_cannot_take_a_step_none_does():
    ledger = ledger_with("r1", "r2")
    with pytest.raises(WorkflowError, match="never granted"):
        ledger.step("ranges_sent", ["r1", "r9", "r2"])
    assert ledger.waiting("granted") == ("r1", "r2")
    assert ledger.counts() == {"granted": 2}


def test_those_that_are_granted_are_named_once_in_the_order_of_the_question():
    ledger = ledger_with("r1", "r2", "r3")
    ledger.step("ranges_sent", ["r2"])
    assert list(ledger.granted(["r3", "r9", "r2", "r1", "r3"])) == ["r3", "r1"]


def test_a_range_is_handed_over_once():
    ledger = ledger_with("r1", "r2", "r3")
    assert ledger.hand_over(2) == (event_range("r1"), event_range("r2"))
    assert ledger.hand_over(2) == (event_range("r3"),)
    assert ledger.hand_over(2) == ()


def test_a_range_that_was_announced_before_it_was_handed_over_is_not_handed_over():
    ledger = ledger_with("r1", "r2")
    ledger.step("output_produced", ["r1"])
    assert ledger.hand_over(2) == (event_range("r2"),)


def test_ranges_whose_payload_died_run_again_those_in_its_stock_too():
    ledger = ledger_with("r1", "r2", "r3")
    ledger.hand_over(3)
    ledger.step("ranges_sent", ["r1", "r2"])
    ledger.step("output_produced", ["r2"])
    ledger.payload_gone()
    assert (ledger["r1"], ledger["r2"], ledger["r3"]) == ("granted", "produced", "granted")
    assert {r.event_range_id for r in ledger.hand_over(9)} == {"r1", "r3"}


def test_the_stock_of_a_dead_engine_is_handed_over_to_the_payload_that_outlived_it_in_the_same_order():
    ledger = ledger_with("r1", "r2", "r3", "r4")
    ledger.hand_over(3)
    ledger.step("ranges_sent", ["r1"])
    assert ledger.queue() == ("r2", "r3", "r4")
    ledger.adopted()
    assert (ledger["r1"], ledger.queue()) == ("running", ("r2", "r3", "r4"))
    assert ledger.hand_over(9) == tuple(map(event_range, ("r2", "r3", "r4")))
    assert ledger.queue() == ("r2", "r3", "r4")


def test_the_queue_of_a_new_payload_has_those_last_that_ran_in_the_one_before():
    ledger = ledger_with("r1", "r2", "r3")
    ledger.hand_over(2)
    ledger.step("ranges_sent", ["r1"])
    ledger.payload_gone()
    assert ledger.queue() == ("r2", "r3", "r1")
    assert ledger.hand_over(1) == (event_range("r2"),)


def test_a_range_that_the_server_said_nothing_about_is_at_an_end_with_a_way_out():
    ledger = ledger_with("r1", "r2", after=(*TO_STORED, "report_given_up"))
    assert (ledger.open, ledger.waiting("unanswered"), ledger.counts()) == (0, ("r1", "r2"), {"unanswered": 2})
    ledger.step("job_resumed", ["r2"])
    assert (ledger.open, ledger.waiting("unanswered"), ledger.waiting("stored")) == (1, ("r1",), ("r2",))
    ledger.step("ranges_acknowledged", ["r2"])
    assert (ledger.open, ledger.events_finished) == (0, 10)


@pytest.mark.parametrize("end", ["finished", "failed", "released", "refused"])
def test_a_range_that_has_its_word_waits_for_nothing(end):
    with pytest.raises(KeyError):
        ledger_with("r1").waiting(end)


def test_a_range_that_was_never_granted_is_in_no_state():
    with pytest.raises(KeyError):
        ledger_with("r1")["r9"]


def test_all_ranges_that_were_ever_granted_are_told_in_their_order():
    ledger = Ledger(TABLES["event-range"])
    ledger.grant([event_range("r2"), event_range("r1")])
    ledger.step("ranges_released", ["r2"])
    assert list(ledger) == ["r2", "r1"]
