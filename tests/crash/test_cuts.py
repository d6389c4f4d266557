"""A recorded job whose journal ends anywhere goes on: no event range is lost, and none is done twice."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash.recorded_job import Cut, RecordedJob
from crash.world import Tools, World
from shell.disks import FileInMemory

from esfsm.core.engine import Engine
from esfsm.journal.formats import FORMAT
from esfsm.journal.reader import read_header
from esfsm.journal.writer import Journal
from esfsm.loop import Loop
from esfsm.model.report import ArchiveRecord
from esfsm.perform import Performer
from esfsm.simulation.agenda import Agenda, Life, SimInbox, SimPool

RECORDED = Path(__file__).parents[1] / "recorded"
JOURNALS = [path for path in sorted(RECORDED.glob("*.jsonl")) if read_header(path).format == FORMAT]
FEWEST_CUTS = 3000
MOST_LIVES = 3
"""A job that was to fail is taken up again, and what it left is done."""


@pytest.mark.parametrize("journal", JOURNALS, ids=lambda path: path.stem)
def test_a_job_goes_on_wherever_its_journal_ends(journal: Path) -> None:
    recorded = RecordedJob(journal)
    found = {cut: told for cut in recorded.cuts if (told := list(faults(recorded, cut)))}
    assert not found


def test_there_are_enough_cuts() -> None:
    cuts = sum(len(RecordedJob(journal).cuts) for journal in JOURNALS)
    print(f"{cuts} cuts in {len(JOURNALS)} journals")
    assert cuts >= FEWEST_CUTS


def faults(recorded: RecordedJob, cut: Cut) -> Iterator[str]:
    """Every promise that was not kept."""
    world, file = World(recorded, cut), FileInMemory(recorded.content[: cut.size_bytes])
    before = dict(world.storage)
    for _ in range(MOST_LIVES):
        world.has_run = False
        engine = go_on(recorded, file, world)
        yield from ledger_faults(world, engine)
        if engine.state == "done":
            break
    if engine.state != recorded.best_end:
        yield f"the job ends in {engine.state}: {engine.final.trouble[1]}"
    elif engine.state == "done" and go_on(recorded, file, world).path != engine.path:
        yield "the journal tells of another way"
    yield from world.faults
    yield from (f"{lfn} has other bytes now" for rse, lfn in before if world.storage[rse, lfn] != before[rse, lfn])
    yield from server_faults(world, engine)


def go_on(recorded: RecordedJob, file: FileInMemory, world: World) -> Engine:
    """One life of an engine, to the end of the job."""
    agenda, life = Agenda(), Life()
    agenda.now = recorded.ended + 60.0
    inbox, pool = SimInbox(agenda, life), SimPool(agenda, life, lambda _: 0.0)
    engine = recorded.engine()
    loop = Loop(Journal(file, recorded.header), engine, inbox)
    loop.remember()
    if not engine.ended or engine.resumable:
        loop.run(Performer(Tools(world, engine), inbox, (pool, pool)), recorded.settings)
    return engine


def ledger_faults(world: World, engine: Engine) -> Iterator[str]:
    """Each range has come to one end, and a result that was there is finished."""
    ledger = engine.ranges.ledger
    given_back = {i for i in world.broker.rows if i in ledger and ledger[i] == "released"}
    newly = given_back - world.given_back
    if newly and world.has_run and engine.state == "done":
        yield f"given back, though a payload had time: {newly}"
    world.given_back = given_back
    if ledger.open or sum(ledger.counts().values()) != len(ledger):
        yield f"ranges that have come to no end: {ledger.counts()}"
    for event_range_id in world.promised:
        if ledger[event_range_id] != "finished":
            yield f"the result of {event_range_id} was there, and it is {ledger[event_range_id]}"


def server_faults(world: World, engine: Engine) -> Iterator[str]:
    """Each range is done once or can be had again; what was said of it was said in one way, and is true."""
    rows, ledger = world.broker.rows, engine.ranges.ledger
    done = Counter(row.place for row in rows.values() if row.status == "finished")
    for place in world.broker.places:
        to_be_had = place in world.broker.ready
        if done[place] + to_be_had != 1:
            yield f"range {place} is done {done[place]} times; to be had: {to_be_had}"
    for event_range_id, row in rows.items():
        if len(row.words) > 1:
            yield f"{event_range_id} was reported in several ways: {row.words}"
        if any(archive and not is_stored(world, archive, event_range_id) for archive, _ in row.words):
            yield f"{event_range_id} was reported in what is not stored: {row.words}"
        if (row.status == "finished") != (event_range_id in ledger and ledger[event_range_id] == "finished"):
            yield f"{event_range_id} is {row.status} at the server"


def is_stored(world: World, archive: ArchiveRecord, event_range_id: str) -> bool:
    """Whether an archive is where the report says, as it says, with the range inside."""
    held = world.storage.get((archive.rse_id - 1, archive.lfn))
    if held is None or (held.size_bytes, held.adler32) != (archive.size_bytes, archive.adler32):
        return False
    return event_range_id in dict(held.contents)
