"""Each n-th thing that a job asks of disk, storage and server fails, for every n of the whole job."""

import errno

import pytest

from esfsm import plugins
from esfsm.core import facts as f
from esfsm.errors import PilotErrorCode, WireError
from esfsm.simulation.equipment import Client, Storages
from esfsm.simulation.verdict import faults
from esfsm.simulation.weather import CALM
from esfsm.simulation.world import World

RANGES = 7


class Failing:
    """Lets everything pass but the n-th."""

    def __init__(self, n: int) -> None:
        self.n, self.passed = n, 0

    def is_now(self) -> bool:
        self.passed += 1
        return self.passed == self.n


def calm_world(failing: Failing, error: int, monkeypatch: pytest.MonkeyPatch) -> World:
    """One job in calm weather, but for what fails; whatever ends its engine, another takes it up."""
    world = World(seed=11, workflow=plugins.workflow("eventservice"), held=plugins.held(), most_ranges=RANGES)
    world.weather = world.storages._weather = CALM
    world.ranges = RANGES
    world.server.ready = [(position, 3) for position in range(RANGES, 0, -1)]

    def trouble(what: str) -> None:
        if failing.is_now():
            raise OSError(error, f"at {what} {failing.n}")

    def put(self, lfn, content, rse, real=Storages.put):
        if failing.is_now():
            return f.StoreFailed(error_code=PilotErrorCode.STAGEOUTFAILED, why="refused")
        return real(self, lfn, content, rse)

    def call(self, ask, real=Client._call):
        if failing.is_now():
            raise WireError("timed out")
        return real(self, ask)

    monkeypatch.setattr(Storages, "put", put)
    monkeypatch.setattr(Client, "_call", call)
    monkeypatch.setattr(world, "_trouble", trouble)
    monkeypatch.setattr(world, "_is_last", lambda job: False)
    monkeypatch.setattr(world, "_steps", lambda: None)
    return world


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_whichever_io_fails_no_report_is_without_stored_bytes_and_no_range_is_lost(
    error: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = ios_of_a_job(error, monkeypatch)
    assert calls > 50
    for n in range(1, calls + 1):
        failing = Failing(n)
        with monkeypatch.context() as patches:
            world = calm_world(failing, error, patches)
            world.run()
        assert failing.passed >= n
        assert list(faults(world)) == [], f"the {n}-th of {calls}"
        assert [row.status for row in world.server.rows.values() if row.status != "cancelled"] == ["done"] * RANGES


def ios_of_a_job(error: int, monkeypatch: pytest.MonkeyPatch) -> int:
    failing = Failing(0)
    with monkeypatch.context() as patches:
        calm_world(failing, error, patches).run()
    return failing.passed
