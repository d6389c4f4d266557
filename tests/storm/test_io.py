"""Each n-th thing that a job asks of disk, storage and server fails, for every n of the whole job."""

import errno

import pytest

from esfsm import plugins
from esfsm.simulation.verdict import faults
from esfsm.simulation.weather import CALM
from esfsm.simulation.world import World

RANGES = 7


class Failing:
    """Lets everything pass but the n-th."""

    def __init__(self, n: int, error: int) -> None:
        self.n, self.error, self.passed = n, error, 0

    def __call__(self, what: str) -> None:
        self.passed += 1
        if self.passed == self.n:
            raise OSError(self.error, f"at {what} {self.n}")


def calm_world(failing: Failing) -> World:
    """One job in calm weather, but for what fails; whatever ends its engine, another takes it up."""
    workflow, held = plugins.workflow("eventservice"), plugins.held()
    world = World(11, workflow, held, most_ranges=RANGES, fewest_ranges=RANGES, weather=CALM, trouble=failing)
    world.run()
    return world


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_whichever_io_fails_no_report_is_without_stored_bytes_and_no_range_is_lost(error: int) -> None:
    nothing = Failing(0, error)
    calm_world(nothing)
    assert nothing.passed > 50
    for n in range(1, nothing.passed + 1):
        failing = Failing(n, error)
        world = calm_world(failing)
        assert failing.passed >= n
        assert list(faults(world)) == [], f"the {n}-th of {nothing.passed}"
        assert [row.status for row in world.server.rows.values() if row.status != "cancelled"] == ["done"] * RANGES
