"""Facts: past tense, frozen, known by the name that tables and journals use."""

from dataclasses import FrozenInstanceError

import pytest
from pydantic import TypeAdapter, ValidationError

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


# --- what the core relies on -----------------------------------------------------------------------------------

COPY = {"lfn": "out.root", "size_bytes": 1, "adler32": "00000001", "url": "/x/out.root"}


@pytest.mark.parametrize(
    ("fact", "content"),
    [
        (f.RangesExhausted, {"at": 0.0, "answers": 0}),
        (f.RangesWanted, {"n": 0}),
        (f.RangesWanted, {"n": 2**63 - 1}),
        (f.PayloadStarted, {"pid": 2**31 - 1, "started": 0}),
        (f.RangesReleased, {"event_range_ids": ["r1", "r2"]}),
        (f.OutputsStaged, {"files": [COPY, COPY | {"lfn": "x" * 255, "size_bytes": 0}, COPY | {"lfn": "..."}]}),
    ],
)
def test_a_fact_is_read_up_to_its_limits(fact, content):
    assert isinstance(TypeAdapter(fact).validate_python(content), fact)


@pytest.mark.parametrize(
    ("fact", "content"),
    [
        (f.RangesExhausted, {"at": -0.1}),
        (f.RangesExhausted, {"at": float("inf")}),
        (f.RangesExhausted, {"at": float("nan")}),
        (f.RangesExhausted, {"answers": -1}),
        (f.RangesExhausted, {"n": 1}),
        (f.RangesWanted, {"n": -1}),
        (f.RangesWanted, {"n": 2**63}),
        (f.PayloadStarted, {"pid": 0, "started": 0}),
        (f.PayloadStarted, {"pid": 2**31, "started": 0}),
        (f.RangesReleased, {"event_range_ids": ["r1", "r1"]}),
        (f.OutputsPacked, {"size_bytes": -1, "adler32": "00000001"}),
        (f.OutputsStaged, {"files": [COPY | {"size_bytes": -1}]}),
        *((f.OutputsStaged, {"files": [COPY | {"lfn": lfn}]}) for lfn in ("", ".", "..", "a/b", "a\0", "é" * 128)),
    ],
)
def test_a_fact_beyond_its_limits_is_refused_by_whoever_reads_it(fact, content):
    with pytest.raises(ValidationError):
        TypeAdapter(fact).validate_python(content)


def test_whoever_tells_a_fact_does_not_pay_for_its_limits():
    assert f.RangesWanted(n=-1).n == -1
