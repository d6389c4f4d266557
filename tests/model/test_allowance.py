"""What a job may use where nobody says so: what follows from it and its queue, by pilot3's numbers."""

import pytest

from esfsm.model.allowance import allowance
from esfsm.model.job import Job
from esfsm.model.queuedata import QueueData
from esfsm.model.settings import Settings

MB = 10**6


def job(**said: object) -> Job:
    return Job.read({"PandaID": 1, **said})


def test_of_a_job_that_says_nothing_nothing_follows() -> None:
    assert allowance(job(), None) == {}


@pytest.mark.parametrize(
    ("kind", "mb"),
    [
        ("SCORE", 2000),
        ("MCORE", 4 * 2000),
        ("SCORE_HIMEM", 3000),
        ("mcore_himem", 4 * 3000),
        ("MCORE_LOMEM", 4 * 1000),
        ("SCORE_VHIMEM", 16000),
        ("GPU", 4001),
    ],
)
def test_memory_follows_from_the_resource_type_for_each_core_and_twice_that_is_let_pass(kind: str, mb: int) -> None:
    cores = 4 if kind.lower().startswith("mcore") else 1
    said = allowance(job(resource_type=kind, coreCount=cores), QueueData(maxrss=16000))
    assert said["memory_limit_bytes"] == 2 * mb * MB


@pytest.mark.parametrize(
    ("said", "queue", "mb"),
    [
        ({"minRamCount": 3000}, {}, 3000),
        ({"minRamCount": 3000}, {"maxrss": 5000}, 5000),
        ({"minRamCount": 3000, "resource_type": "SCORE_VHIMEM"}, {}, 3000),
    ],
)
def test_where_the_type_says_nothing_the_queue_does_or_else_the_job(
    said: dict[str, object], queue: dict[str, float], mb: int
) -> None:
    assert allowance(job(**said), QueueData.read(queue))["memory_limit_bytes"] == 2 * mb * MB


def test_a_work_directory_may_hold_what_the_queue_says_and_a_fifth() -> None:
    assert allowance(job(), QueueData(maxwdir=1000))["workdir_limit_bytes"] == 1200 * MB
    assert allowance(job(), QueueData())["workdir_limit_bytes"] == int(1.2 * 16336 * MB)


@pytest.mark.parametrize(
    ("grace", "factor"), [(0, 1.0), ("50", 1.5), (20.5, 1.205), ("much", 1.2), (None, 1.2), ("inf", 1.2), (-300, 1.0)]
)
def test_the_queue_says_how_much_more_is_let_pass(grace: object, factor: float) -> None:
    queue = QueueData(maxwdir=1000, params={"pilot_maxwdir_grace": grace})
    assert allowance(job(), queue)["workdir_limit_bytes"] == int(1000 * MB * factor)


def test_the_walltime_of_a_job_counts_where_the_queue_says_so() -> None:
    pushed = QueueData(params={"job_maxwalltime": True, "pilot_walltime_grace": 10})
    assert allowance(job(maxWalltime=1000), pushed)["walltime_limit_s"] == pytest.approx(1100.0)
    assert "walltime_limit_s" not in allowance(job(maxWalltime=1000), QueueData())
    assert "walltime_limit_s" not in allowance(job(), pushed)


@pytest.mark.parametrize(
    ("said", "queue"),
    [
        ({"maxWalltime": 40_000_000}, {"params": {"job_maxwalltime": True}}),
        ({"maxWalltime": 20_000_000}, {"params": {"job_maxwalltime": True, "pilot_walltime_grace": 100}}),
        ({"minRamCount": 10**10}, {"params": {}}),
        ({"minRamCount": 1000}, {"params": {"pilot_rss_grace": 1e300, "pilot_maxwdir_grace": 1e300}}),
    ],
)
def test_what_follows_from_absurd_numbers_is_still_a_setting(said: dict[str, object], queue: dict[str, object]) -> None:
    assert Settings(**allowance(job(**said), QueueData.read(queue)))
