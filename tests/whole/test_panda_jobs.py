"""Whole jobs of a PanDA server with every bad habit that was seen; `panda.py` does it with more of everything."""

from pathlib import Path

import pytest
from whole.harvesting import done_by_harvester
from whole.panda import APIS, BAD, done_by

from esfsm.standins.harvester import FAULTS

RANGES = 30


@pytest.mark.parametrize("api", APIS)
def test_every_event_range_is_done_once_whatever_the_server_is_like(tmp_path: Path, api: str) -> None:
    seen = done_by(tmp_path, RANGES, api=api, quirks=BAD, seed=2)
    assert (seen.done, *seen.faults) == (RANGES, 0, 0, 0, 0)


@pytest.mark.parametrize(("api", "habit"), [("legacy", "trailing-false"), ("v1", "v1-update-500")])
def test_every_event_range_is_done_once_though_the_server_is_killed_again_and_again(
    tmp_path: Path, api: str, habit: str
) -> None:
    seen = done_by(tmp_path, 60, api=api, quirks=[habit], kills=5, takes_s=0.05)
    assert (seen.done, *seen.faults) == (60, 0, 0, 0, 0)
    assert seen.kills


def test_a_server_without_bad_habits_has_one_job_of_it(tmp_path: Path) -> None:
    seen = done_by(tmp_path, RANGES)
    assert (seen.done, seen.jobs) == (RANGES, 1)


def test_every_event_range_is_done_once_through_a_harvester_that_does_all_that_it_was_seen_to_do(
    tmp_path: Path,
) -> None:
    seen = done_by_harvester(tmp_path, RANGES, quirks=BAD, faults=list(FAULTS))
    assert (seen.done, *seen.faults) == (RANGES, 0, 0, 0, 0)
