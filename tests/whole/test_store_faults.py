"""A storage that is killed again and again while a job stores there: nothing is lost, doubled, or left over."""

from pathlib import Path

import pytest
from whole.store_faults import SERVERS, strike


@pytest.mark.parametrize("name", SERVERS)
def test_a_job_whose_storage_is_killed_again_and_again_stores_each_range_once(name: str, tmp_path: Path) -> None:
    seen = strike(name, 3, tmp_path)
    assert (seen.kills, seen.archives, seen.faults) == (3, 16, ())
