"""What was measured, held against the limits: the error code of PanDA and the sentence for each."""

import pytest

from esfsm.core.facts import LimitExceeded, Preempted
from esfsm.core.limits import Limits
from esfsm.model.resources import Resources
from esfsm.model.settings import Settings

T = 1_000_000.0


def limits(**settings: object) -> Limits:
    made = Limits(Settings(**settings))
    made.started(T)
    return made


TOO_MUCH = [
    (
        {"memory_limit_bytes": 10},
        {"memory_bytes": 11},
        1235,
        "the payload uses 11 bytes of memory, of 10 bytes that it may have",
    ),
    ({}, {"cgroup_bytes": 96, "cgroup_limit_bytes": 100}, 1235, "the control group holds"),
    ({"workdir_limit_bytes": 10}, {"workdir_bytes": 11}, 1104, "the work directory has"),
    (
        {},
        {"free_bytes": 999_999_999},
        1098,
        "only 1000 MB are free on the disk of the work directory, and 1000 MB are to be",
    ),
    (
        {"output_limit_bytes": 10},
        {"largest": "a.root", "largest_bytes": 11},
        1124,
        "a.root has 11 bytes, of 10 bytes that",
    ),
    ({"log_limit_bytes": 10}, {"log_bytes": 11}, 1106, "the payload has written"),
    ({"cpu_limit_s": 10.0}, {"cpu_s": 10.1}, 1204, "the payload has used 10 s of CPU time"),
]


@pytest.mark.parametrize(("settings", "measured", "code", "why"), TOO_MUCH)
def test_what_takes_too_much_is_ended_at_once(settings, measured, code, why):
    fact = limits(**settings).exceeded(Resources(**measured), T, waits_for_us=False)
    assert isinstance(fact, LimitExceeded)
    assert (fact.error_code, fact.at_once) == (code, True)
    assert fact.why.startswith(why)


@pytest.mark.parametrize(
    ("settings", "measured"),
    [
        ({"memory_limit_bytes": 10}, {"memory_bytes": 10}),
        ({}, {"cgroup_bytes": 95, "cgroup_limit_bytes": 100}),
        ({}, {"cgroup_bytes": 95}),
        ({"workdir_limit_bytes": 10}, {"workdir_bytes": 10}),
        ({}, {"free_bytes": 10**9}),
        ({"output_limit_bytes": 10}, {"largest_bytes": 10}),
        ({"log_limit_bytes": 10}, {"log_bytes": 10}),
        ({"cpu_limit_s": 10.0}, {"cpu_s": 10.0}),
        ({}, {"memory_bytes": 10**14, "workdir_bytes": 10**14, "cpu_s": 1e9}),
        ({}, {"proxy_left_s": 3600.0}),
        ({}, {}),
    ],
)
def test_what_is_at_its_limit_or_has_none_goes_on(settings, measured):
    assert limits(**settings).exceeded(Resources(**measured), T, waits_for_us=False) is None


def test_a_payload_that_says_nothing_and_touches_nothing_loops():
    fact = limits().exceeded(Resources(touched_at=T), T + 7200, waits_for_us=False)
    assert isinstance(fact, LimitExceeded)
    assert (fact.error_code, fact.at_once) == (1150, True)
    assert fact.why == "the payload has said nothing and touched no file for 7200 s"


@pytest.mark.parametrize("sign", ["it spoke", "it touched a file", "it waits for us"])
def test_any_sign_of_life_will_do(sign):
    made = limits()
    if sign == "it spoke":
        made.alive_at = T + 10
    touched = Resources(touched_at=T + 10 if sign == "it touched a file" else None)
    assert made.exceeded(touched, T + 7209, waits_for_us=sign == "it waits for us") is None


def test_a_file_of_the_future_is_touched_now():
    assert limits().exceeded(Resources(touched_at=T + 10**6), T, waits_for_us=False) is None
    made = limits()
    assert made.exceeded(Resources(touched_at=T + 10**6), T + 7200, waits_for_us=False) is None


def test_a_proxy_that_ends_soon_is_a_stop_while_there_is_time_to_report():
    fact = limits().exceeded(Resources(proxy_left_s=3599.0), T, waits_for_us=False)
    assert isinstance(fact, Preempted)
    assert (fact.error_code, fact.why) == (1163, "the X.509 proxy is good for 3599 s only")


@pytest.mark.parametrize(("settings", "after_s"), [({}, 60.0), ({"monitor_s": 5}, 5.0), ({"looping_limit_s": 2}, 2.0)])
def test_the_next_measurement_is_made_in_time(settings, after_s):
    assert limits(**settings).measure_at() == T + after_s


def test_nothing_is_measured_where_nobody_asked_for_it():
    assert limits(monitor_s=0).measure_at() == float("inf")


def test_the_earliest_end_of_our_time_counts():
    made = limits(walltime_limit_s=100.0)
    made.began(T)
    assert (made.until, made.why_until) == (T + 100, "the walltime of 100 s")
    made.time_limited(T + 200, "the lifetime of the pilot")
    assert made.until == T + 100
    made.time_limited(T + 50, "the lifetime of the pilot")
    assert (made.until, made.why_until) == (T + 50, "the lifetime of the pilot")


def test_a_new_engine_has_a_time_of_its_own():
    made = limits()
    made.time_limited(T + 50, "the lifetime of the pilot")
    made.began(T + 40)
    assert made.until == float("inf")
