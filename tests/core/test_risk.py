"""When unsaved work is worth an archive, how fast storing goes, and how the time of a stop is shared out."""

from math import inf, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esfsm.core.grace import Grace
from esfsm.core.pace import Pace
from esfsm.core.risk import Exposure

HOUR = 3600.0


def test_nothing_of_value_is_never_due():
    assert Exposure().due_at(1.0, HOUR) == inf


def test_a_value_is_due_when_what_it_is_exposed_to_has_reached_the_price():
    exposure = Exposure()
    exposure.add(100.0, 0.0, HOUR)
    assert exposure.due_at(10.0, HOUR) == 10.0 * HOUR / 100.0
    exposure.add(100.0, 180.0, HOUR)  # half the price by now
    assert exposure.due_at(10.0, HOUR) == pytest.approx(180.0 + 5.0 * HOUR / 200.0)


def test_work_that_grows_evenly_is_stored_at_youngs_interval():
    exposure, at = Exposure(), 0.0
    while exposure.due_at(30.0, 24 * HOUR) > at:
        at += 1.0
        exposure.add(8.0, at, 24 * HOUR)
    assert at == pytest.approx(sqrt(2 * 24 * HOUR * 30.0 / 8.0), rel=0.01)


def test_what_is_on_its_way_is_not_counted_again():
    exposure = Exposure()
    exposure.add(100.0, 0.0, HOUR)
    exposure.add(-100.0, 10.0, HOUR)
    exposure.forget(10.0, HOUR)
    assert exposure.due_at(1.0, HOUR) == inf
    exposure.add(100.0, 20.0, HOUR)
    assert exposure.due_at(1.0, HOUR) == 20.0 + HOUR / 100.0


def test_a_clock_that_goes_back_takes_nothing_back():
    exposure = Exposure()
    exposure.add(100.0, 50.0, HOUR)
    exposure.add(100.0, 10.0, HOUR)
    assert exposure.due_at(1.0, HOUR) == 50.0 + HOUR / 200.0


@given(st.floats(0.001, 1e6), st.floats(1.0, 1e9), st.floats(0.001, 1e6))
def test_the_riskier_the_place_and_the_cheaper_the_archive_the_sooner(price_s, lifetime_s, value_s):
    exposure = Exposure()
    exposure.add(value_s, 0.0, lifetime_s)
    assert exposure.due_at(price_s, lifetime_s) <= exposure.due_at(2 * price_s, lifetime_s)
    assert exposure.due_at(price_s, lifetime_s) <= exposure.due_at(price_s, 2 * lifetime_s)


def test_before_an_archive_was_stored_its_pace_is_guessed():
    assert Pace().archive_s == 1.0
    assert Pace().takes_s(20_000_000) == 2.0


def test_the_pace_is_that_of_the_last_archives():
    pace = Pace()
    for _ in range(20):
        pace.measured(100, 50.0)
    for _ in range(16):
        pace.measured(100, 2.0)
    assert pace.archive_s == 2.0
    assert pace.takes_s(1000) == 20.0
    assert pace.takes_s(1) == 2.0


def test_archives_without_a_byte_have_a_pace_too():
    pace = Pace()
    pace.measured(0, 3.0)
    assert pace.takes_s(10**9) == 3.0


def test_a_clock_that_goes_back_makes_no_archive_take_less_than_no_time():
    pace = Pace()
    pace.measured(10, -5.0)
    assert pace.archive_s == 0.0


def test_without_a_stop_there_is_no_end():
    assert Grace().ends_at == inf


def test_a_second_stop_halves_what_is_left_and_never_adds_to_it():
    grace = Grace()
    grace.asked(100.0, 60.0)
    assert grace.ends_at == 160.0
    grace.asked(120.0, 60.0)
    assert grace.ends_at == 140.0
    grace.asked(130.0, 2.0)
    assert grace.ends_at == 132.0
    grace.asked(500.0, 60.0)
    assert grace.ends_at == 500.0


@pytest.mark.parametrize(
    ("grace_s", "unsaved_s", "workers_s"), [(60.0, 3.0, 50.0), (60.0, 100.0, 30.0), (4.0, 0.0, 2.0), (0.0, 9.0, 0.0)]
)
def test_what_storing_takes_is_kept_from_what_runs_and_half_of_it_at_most(grace_s, unsaved_s, workers_s):
    grace = Grace()
    grace.asked(100.0, grace_s)
    assert grace.for_workers(100.0, unsaved_s) == workers_s


@pytest.mark.parametrize(("grace_s", "stored_by"), [(60.0, 158.0), (4.0, 103.0), (0.0, 100.0)])
def test_there_is_time_for_the_last_word(grace_s, stored_by):
    grace = Grace()
    grace.asked(100.0, grace_s)
    assert grace.stored_by == stored_by
