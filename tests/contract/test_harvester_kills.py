"""A communicator that is killed at any step on its files: the next one goes on, and all is accounted for once."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from contract.access_points import Site, failed, take

from esfsm.adapters.communicators.harvester import HarvesterCommunicator
from esfsm.model.report import JobReport

STEPS = ("fsync", "replace")
"""By which files come to last and change their names; what was written before is nobody's."""


class Killed(BaseException):
    """Nobody catches it: what follows is done by the next engine."""


class Death:
    """Comes before, or right after, the n-th step of the engine; Harvester is another process, and lives."""

    def __init__(self, n: int, when: str) -> None:
        self._n, self._when = n, when
        self.steps = 0
        self.paused = False

    def watch(self, step: Callable[..., object]) -> Callable[..., object]:
        def watched(*arguments: object, **more: object) -> object:
            if self.paused:
                return step(*arguments, **more)
            self.steps += 1
            if self.steps == self._n and self._when == "before":
                raise Killed
            try:
                return step(*arguments, **more)
            finally:
                if self.steps == self._n:
                    raise Killed

        return watched

    @contextmanager
    def elsewhere(self) -> Iterator[None]:
        self.paused = True
        yield
        self.paused = False


class Engine:
    """Does the same jobs as often as it must: what it has written down is not done again."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.granted: dict[str, tuple[str, ...]] = {}
        self.done: set[str] = set()

    def run(self, communicator: HarvesterCommunicator) -> None:
        for request in ("r1.0", "r1.1"):
            if request not in self.granted:
                self.granted[request] = take(communicator, 4, request)
            a, b, c, d = self.granted[request]
            for key, report in (
                (f"finished {request}", self.site.finished(a, b, lfn=f"{request}.tar")),
                (f"failed {request}", failed(c, d)),
            ):
                if key not in self.done:
                    assert communicator.update_event_ranges(report).accepted == report.event_range_ids
                    self.done.add(key)
        communicator.update_job(JobReport("finished"))


def life(site: Site, engine: Engine, death: Death, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether it came to its end."""

    def turn() -> None:
        with death.elsewhere():
            site.harvester.turn()

    with monkeypatch.context() as patched:
        for step in STEPS:
            patched.setattr(os, step, death.watch(getattr(os, step)))
        try:
            engine.run(site.open(pause=turn))
        except Killed:
            return False
    return True


@pytest.mark.parametrize("turns", [0, 1, 2], ids=lambda turns: f"{turns} turns between")
@pytest.mark.parametrize("when", ["before", "after"])
def test_wherever_it_is_killed_everything_is_accounted_for_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str, turns: int
) -> None:
    for n in count(1):
        (tmp_path / str(n)).mkdir()
        site = Site(tmp_path / str(n))
        engine = Engine(site)
        survived = life(site, engine, Death(n, when), monkeypatch)
        for _ in range(turns):
            site.harvester.turn()
        assert survived or life(site, engine, Death(0, when), monkeypatch)
        check(site, engine)
        if survived:
            break
    assert n > 20


@pytest.mark.parametrize("when", ["before", "after"])
def test_however_often_it_is_killed_it_comes_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    site = Site(tmp_path)
    engine = Engine(site)
    lives = next(n for n in count(1) if life(site, engine, Death(n, when), monkeypatch))
    assert lives > 5
    check(site, engine)


def check(site: Site, engine: Engine) -> None:
    """Each range was granted once, in one feed that was asked for once, and told in one dump."""
    granted = [name for names in engine.granted.values() for name in names]
    assert sorted(granted) == sorted(name for feed in site.harvester.fed for name in feed)
    assert len(site.harvester.fed) == 2
    assert sorted(site.panda.heard) == sorted(granted)
    assert len(site.dumps()) == 4
    assert site.harvester.messenger.attributes()[5001]["jobStatus"] == "finished"
