"""Each guarantee switched off, the weather in which it is needed, and the sentence that says that it is missing."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from unittest.mock import patch

import orjson

from esfsm.adapters.communicators import panda
from esfsm.core import facts as f
from esfsm.core import stageout
from esfsm.core.ranges import Ranges
from esfsm.core.stageout import StageOut
from esfsm.journal.writer import Journal
from esfsm.loop import Loop
from esfsm.model.report import Answer
from esfsm.simulation import executor
from esfsm.simulation.disk import SimFile
from esfsm.simulation.equipment import SimTransfers
from esfsm.simulation.weather import CALM, Weather

Patches = Iterator[AbstractContextManager[object]]
POWER_CUTS = Weather(engine_killed=1.0, power_fails=0.5)
FORGOTTEN = "unknown in the journal, done at the server|is damaged"


@dataclass(frozen=True)
class Switch:
    """A guarantee, and how it is missed."""

    patches: Callable[[], Patches]
    sees: str
    """A regular expression: a fault that is found when it is off."""
    weather: Weather
    most_ranges: int

    @contextmanager
    def off(self) -> Iterator[None]:
        with ExitStack() as stack:
            for one in self.patches():
                stack.enter_context(one)
            yield


SWITCHES: dict[str, Switch] = {}


def switch(sees: str, weather: Weather, most_ranges: int = 12) -> Callable[[Callable[[], Patches]], None]:
    def add(patches: Callable[[], Patches]) -> None:
        SWITCHES[patches.__name__] = Switch(patches, sees, weather, most_ranges)

    return add


@switch(sees="booked in .* which no storage has", weather=CALM)
def store_before_report() -> Patches:
    """A report is made as soon as the archive is packed."""

    def hear_packer(self: Ranges, fact: f.Fact, lfn: str, real=Ranges._hear_packer) -> None:
        real(self, fact, lfn)
        batch = self.stageout.batches.get(lfn)
        if isinstance(fact, f.OutputsPacked) and batch is not None:
            self.ledger.step("archive_stored", batch.event_range_ids)
            batch.todo, batch.stored_at = "report", self.settings.destinations()[0]

    yield patch.object(Ranges, "_hear_packer", hear_packer)


@switch(sees="was removed, and no storage has it", weather=CALM)
def only_what_is_booked_is_removed() -> Patches:
    """Outputs are removed as soon as they are packed."""

    def packed(self: StageOut, key: str, fact: f.OutputsPacked, real=StageOut.packed) -> None:
        real(self, key, fact)
        if key in self.batches:
            self.leftovers.booked(self.batches[key].members, 0)

    yield patch.object(StageOut, "packed", packed)


@switch(sees="reported failed without a cause", weather=Weather(store_refused=0.4))
def a_store_is_tried_again() -> Patches:
    """An archive is refused with its first failed store."""
    yield refused_with_the_first("store")


@switch(sees="reported failed without a cause", weather=Weather(pack_fails=0.4))
def a_pack_is_tried_again() -> Patches:
    """An archive is refused when it cannot be packed at once."""
    yield refused_with_the_first("pack")


def refused_with_the_first(todo: str) -> AbstractContextManager[object]:
    def failed(self: StageOut, key: str, at: float, error_code: int, why: str, real=StageOut.failed) -> None:
        batch = self.batches[key]
        real(self, key, at, error_code, why)
        if batch.todo == todo:
            batch.tries, batch.not_before = self.settings.report_attempts, 0.0

    return patch.object(StageOut, "failed", failed)


@switch(sees=FORGOTTEN, weather=POWER_CUTS)
def fsync() -> Patches:
    """What was written is believed to be on the disk."""

    def sync(self: Journal) -> None:
        self._unsynced_bytes = 0

    yield patch.object(Journal, "sync", sync)


@switch(sees="is damaged", weather=POWER_CUTS, most_ranges=6)
def fsync_before_going_on() -> Patches:
    """A resumed engine acts on facts that the one before had not synced.

    Acts on a stand-in, too: the simulated journal file is not written once more when it is taken up.
    """

    def cut(self: SimFile, size_bytes: int) -> None:
        del self._disk.journal[size_bytes:]

    def hear(self: Loop, facts: list[f.Fact], sync: str, real=Loop._hear) -> object:
        if not isinstance(facts[0], f.JobResumed):
            return real(self, facts, sync)
        actions = real(self, facts, "never")
        self._journal._unsynced_bytes = 0
        return actions

    yield patch.object(SimFile, "cut", cut)
    yield patch.object(Loop, "_hear", hear)


@switch(sees=FORGOTTEN, weather=Weather(engine_killed=0.5, power_fails=0.5, disk_broken=0.3), most_ranges=40)
def written_again_after_a_failed_fsync() -> Patches:
    """A sync that succeeds after one that failed is believed.

    Acts on a stand-in: the simulated journal file is synced when it is taken up, and not written once more.
    """

    def cut(self: SimFile, size_bytes: int) -> None:
        del self._disk.journal[size_bytes:]
        self.sync()

    yield patch.object(SimFile, "cut", cut)


@switch(sees="other bytes in each of", weather=Weather(store_refused=0.7))
def a_name_holds_job_and_attempt() -> Patches:
    """Archives are named by the position of their first range alone."""
    yield patch.object(stageout, "archive_name", lambda first, form: f"EventService_premerge_{first.split('-')[3]}.tar")


@switch(sees="its result was announced", weather=Weather(late_words=0.8))
def drain() -> Patches:
    """The channel is not read to its end after the payload's. Acts on a stand-in: the simulated executor."""
    yield patch.object(executor, "QUIET_S", 0.0)


@switch(sees="was sent it twice", weather=Weather(engine_killed=0.9, payload_survives=1.0), most_ranges=40)
def the_last_range_sent_is_remembered() -> Patches:
    """A payload is adopted with no more than the journal says. Acts on a stand-in: the simulated executor."""
    yield patch.object(executor, "sent_of", lambda queue, last: ())


@switch(sees="finished in the journal, cancelled at the server", weather=Weather(rolled_back=0.3))
def length_of_answers() -> Patches:
    """An answer to a report is read without counting its words."""

    def read_update(reply: str, event_range_ids: tuple[str, ...]) -> Answer:
        words = orjson.loads(reply).get("Returns")
        words = orjson.loads(words) if isinstance(words, str) else words or []
        missing = len(event_range_ids) - len(words)
        return Answer(tuple(event_range_ids)) if all(words[: len(event_range_ids)]) or missing > 0 else Answer()

    yield patch.object(panda, "read_update", read_update)


@switch(sees="finished in the journal, cancelled at the server", weather=Weather(rolled_back=0.3))
def doubts() -> Patches:
    """What is doubted is believed."""

    def read_update(reply: str, event_range_ids: tuple[str, ...], real=panda.read_update) -> Answer:
        answer = real(reply, event_range_ids)
        return Answer(tuple(event_range_ids)) if answer.doubted else answer

    yield patch.object(panda, "read_update", read_update)


@switch(sees="reported failed without a cause", weather=Weather(stop_request=0.8))
def stock_is_given_back() -> Patches:
    """What was never run is reported failed."""

    def settle(self: Ranges, real=Ranges.settle) -> Iterator[object]:
        granted = self.ledger.waiting("granted")
        if granted and not self._supply.asking:
            self._errored("range_errored", granted, 1220, "left over")
            yield from self.stageout.due(0.0, flush=True, ends=True)
        else:
            yield from real(self)

    yield patch.object(Ranges, "settle", settle)


@switch(sees="booked in .* which no storage has", weather=Weather(archive_rots=0.4))
def archives_are_looked_at() -> Patches:
    """An archive that is not what was packed is stored as it is now. Acts on a stand-in: the simulated transfers."""

    def store(self: SimTransfers, action: object, real=SimTransfers.store_archive) -> f.Fact:
        fact = real(self, action)
        return f.ArchiveStored(url="nowhere") if isinstance(fact, f.ArchiveLost) else fact

    yield patch.object(SimTransfers, "store_archive", store)


@switch(sees="the job has ended, and it is stored", weather=CALM)
def the_last_answer_is_waited_for() -> Patches:
    """The job ends while reports are on their way."""

    def settle(self: Ranges, real=Ranges.settle) -> Iterator[object]:
        if any(batch.todo == "report" for batch in self.stageout.batches.values()):
            with patch.object(type(self.ledger), "open", 0):
                yield from list(real(self))
        else:
            yield from real(self)

    yield patch.object(Ranges, "settle", settle)
