"""Facts: past tense, frozen, known by the name that tables and journals use."""

from dataclasses import FrozenInstanceError

import pytest

from esfsm.core import facts as f


def test_a_fact_is_known_by_its_name_in_the_tables():
    assert f.FACTS["ranges_sent"] is f.RangesSent
    assert f.FACTS["job_classified"] is f.JobClassified
    assert all(fact.name == name for name, fact in f.FACTS.items())


@pytest.mark.parametrize("fact", f.FACTS.values(), ids=f.FACTS)
def test_every_fact_is_declared_beside_its_name_and_says_what_happened(fact):
    assert getattr(f, fact.__name__) is fact
    assert fact.__doc__
    assert not fact.__doc__.startswith(fact.__name__ + "(")


def test_a_fact_that_happened_cannot_be_changed():
    fact = f.RangesSent(event_range_ids=("r1",))
    with pytest.raises(FrozenInstanceError):
        fact.at = 1.0


def test_a_fact_answers_nothing_and_has_no_time_until_somebody_says_so():
    fact = f.PayloadGone()
    assert (fact.at, fact.answers) == (0.0, 0)


def test_the_content_of_a_fact_is_given_by_name():
    with pytest.raises(TypeError):
        f.Preempted("SIGTERM")
