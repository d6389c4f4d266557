"""Each guarantee switched off: the storm must see that it is missing."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from unittest.mock import patch

import orjson

from esfsm.core import facts as f
from esfsm.core import stageout
from esfsm.core.ranges import Ranges
from esfsm.journal.writer import Journal
from esfsm.loop import Loop
from esfsm.model.report import Answer
from esfsm.simulation import executor
from esfsm.simulation.disk import SimFile
from esfsm.simulation.equipment import SimTransfers
from esfsm.wire import panda

Patches = Iterator[object]
SWITCHES: dict[str, Callable[[], Patches]] = {}


def switch(patches: Callable[[], Patches]) -> Callable[[], Patches]:
    SWITCHES[patches.__name__] = patches
    return patches


@contextmanager
def switched_off(name: str) -> Iterator[None]:
    with ExitStack() as stack:
        for one in SWITCHES[name]():
            stack.enter_context(one)  # type: ignore[arg-type]
        yield


@switch
def store_before_report() -> Patches:
    """A report is made as soon as the archive is packed."""

    def hear_packer(self: Ranges, fact: f.Fact, lfn: str, real=Ranges._hear_packer) -> None:
        real(self, fact, lfn)
        batch = self.stageout.batches.get(lfn)
        if isinstance(fact, f.OutputsPacked) and batch is not None:
            self.ledger.step("archive_stored", batch.event_range_ids)
            batch.todo = "report"

    yield patch.object(Ranges, "_hear_packer", hear_packer)


@switch
def fsync() -> Patches:
    """What was written is believed to be on the disk."""

    def sync(self: Journal) -> None:
        self._unsynced_bytes = 0

    yield patch.object(Journal, "sync", sync)


@switch
def fsync_before_going_on() -> Patches:
    """A resumed engine acts on facts that the one before had not synced."""

    def cut(self: SimFile, size_bytes: int) -> None:
        del self._disk.journal[size_bytes:]

    def hear(self: Loop, facts: list[f.Fact], sync: str, real=Loop._hear) -> object:
        return real(self, facts, "never" if isinstance(facts[0], f.JobResumed) else sync)

    def run(self: Loop, hands: object, settings: object, sync: str, real=Loop.run) -> None:
        with patch.object(Journal, "has_much_unsynced", False):
            real(self, hands, settings, sync)

    yield patch.object(SimFile, "cut", cut)
    yield patch.object(Loop, "_hear", hear)
    yield patch.object(Loop, "run", run)


@switch
def written_again_after_a_failed_fsync() -> Patches:
    """A sync that succeeds after one that failed is believed."""

    def cut(self: SimFile, size_bytes: int) -> None:
        del self._disk.journal[size_bytes:]
        self.sync()

    yield patch.object(SimFile, "cut", cut)


@switch
def name_from_the_first_range() -> Patches:
    """Archives are named by a clock."""
    ticks = count()
    yield patch.object(stageout, "archive_name", lambda first: f"EventService_premerge_{next(ticks)}.tar")


@switch
def drain() -> Patches:
    """The channel is not read to its end after the payload's."""
    yield patch.object(executor, "QUIET_S", 0.0)


@switch
def length_of_answers() -> Patches:
    """An answer to a report is read without counting its words."""

    def read_update(reply: str, event_range_ids: tuple[str, ...]) -> Answer:
        words = orjson.loads(reply).get("Returns")
        words = orjson.loads(words) if isinstance(words, str) else words or []
        missing = len(event_range_ids) - len(words)
        return Answer(tuple(event_range_ids)) if all(words[: len(event_range_ids)]) or missing > 0 else Answer()

    yield patch.object(panda, "read_update", read_update)


@switch
def doubts() -> Patches:
    """What is doubted is believed."""

    def read_update(reply: str, event_range_ids: tuple[str, ...], real=panda.read_update) -> Answer:
        answer = real(reply, event_range_ids)
        return Answer(tuple(event_range_ids)) if answer.doubted else answer

    yield patch.object(panda, "read_update", read_update)


@switch
def stock_is_given_back() -> Patches:
    """What was never run is reported failed."""

    def settle(self: Ranges, real=Ranges.settle) -> Iterator[object]:
        granted = self.ledger.waiting("granted")
        if granted and not self._supply.asking:
            self._errored("range_errored", granted, 1220, "left over")
            yield from self.stageout.due(0.0, True)
        else:
            yield from real(self)

    yield patch.object(Ranges, "settle", settle)


@switch
def archives_are_looked_at() -> Patches:
    """An archive that a power failure took is stored as it is now."""

    def store(self: SimTransfers, action: object, real=SimTransfers.store_archive) -> f.Fact:
        fact = real(self, action)
        return f.ArchiveStored(url="nowhere") if isinstance(fact, f.ArchiveLost) else fact

    yield patch.object(SimTransfers, "store_archive", store)


@switch
def the_last_answer_is_waited_for() -> Patches:
    """The job ends while reports are on their way."""

    def settle(self: Ranges, real=Ranges.settle) -> Iterator[object]:
        if any(batch.todo == "report" for batch in self.stageout.batches.values()):
            with patch.object(type(self.ledger), "open", 0):
                yield from list(real(self))
        else:
            yield from real(self)

    yield patch.object(Ranges, "settle", settle)
