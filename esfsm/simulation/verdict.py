"""What must be true of a simulated world in the end, whatever went wrong in it: each fault as a sentence."""

from collections import Counter
from collections.abc import Iterator

from esfsm.core.engine import Engine
from esfsm.core.facts import GraceEnded
from esfsm.errors import EsfsmError
from esfsm.journal.formats import entries_of, header_of
from esfsm.journal.lines import Lines
from esfsm.model.report import Booked
from esfsm.retelling import retell
from esfsm.simulation.disk import PLACE
from esfsm.simulation.payload import OUTPUT
from esfsm.simulation.server import Row
from esfsm.simulation.world import JobRun, World
from esfsm.views.audit import Bookkeeper, Found, StorageBook, compare

__all__ = ["faults"]

FINISHED = ("finished", "done")


def faults(world: World) -> Iterator[str]:
    """Every promise that was not kept."""
    yield from _ranges(world)
    for name, row in world.server.rows.items():
        yield from _row(world, name, row)
    for lfn, packed in world.truth.archives.items():
        if len(packed.jobs) > 1:
            yield f"archive {lfn}: other bytes in each of {len(packed.jobs)} jobs"
    for job in world.jobs:
        for sentence in _job(world, job):
            yield f"job {job.panda_id}: {sentence}"
    for name in world.truth.given_twice:
        yield f"event range {name}: the same payload was sent it twice"
    for name in world.truth.removed_early:
        yield f"{name} was removed, and no storage has it"
    yield from _results(world)


def _ranges(world: World) -> Iterator[str]:
    """Each range of the task is done once, or no attempt at it was left; and then all of it is over."""
    done = Counter(row.position for row in world.server.rows.values() if row.status in FINISHED)
    for position in range(1, world.ranges + 1):
        if done[position] > 1:
            yield f"range {position} is done {done[position]} times"
        if not done[position] and position not in world.server.fatal:
            yield f"range {position} is neither done nor given up for good"


def _row(world: World, name: str, row: Row) -> Iterator[str]:
    """What the server has is so."""
    if len(set(row.words)) > 1:
        yield f"event range {name}: reported {' and '.join(sorted(set(row.words)))}"
    if row.status in FINISHED:
        lfn, size_bytes, adler32 = row.archive or ("none", 0, "")
        held = [world.storages.files.get((rse, lfn)) for rse in (0, 1)]
        good = [
            content for content in held if content and (content.size_bytes, content.adler32) == (size_bytes, adler32)
        ]
        if not good:
            yield f"event range {name}: booked in {lfn}, which no storage has"
        elif f"{OUTPUT}.{name}" not in dict(good[0].members):
            yield f"event range {name}: booked in {lfn}, which has no output of it"
    if row.status == "failed" and name not in world.truth.spoiled:
        yield f"event range {name}: reported failed without a cause"


def _job(world: World, job: JobRun) -> Iterator[str]:
    """The journal replays, its books agree with the others', and nothing is left behind."""
    if any(payload.exit_code is None for payload in job.payloads):
        yield "a payload is left behind"
    try:
        lines = Lines(bytes(job.disk.journal).splitlines(keepends=True), PLACE)
        told = iter(lines)
        first = next(told, None)
        if first is None:  # abandoned before it began
            return
        header = header_of(first, PLACE)
        engine = Engine(world.workflow, world.held, header.settings)
        keeper = Bookkeeper(engine)
        for entry, decision in retell(engine, header, entries_of(told, header.format, PLACE)):
            keeper.hear(entry.fact, decision.actions)
    except EsfsmError as error:
        yield f"its journal does not replay: {error}"
        return
    if job.abandoned:
        return
    if not engine.ended:
        yield f"its journal ends in {engine.state}"
    book = keeper.book(world.held["event-range"].ends)
    rows = {name: row for name, row in world.server.rows.items() if row.panda_id == job.panda_id}
    server = {name: Booked(row.status, row.archive[0] if row.archive else None) for name, row in rows.items()}
    yield from compare(book, server, _storage(world))


def _storage(world: World) -> StorageBook:
    files = {
        lfn: Found(content.size_bytes, content.adler32, [name for name, _ in content.members])
        for (_, lfn), content in world.storages.files.items()
    }
    return StorageBook(files, list(files))


def _results(world: World) -> Iterator[str]:
    """A result that was announced to an engine which nobody killed is finished, or there is a reason why it is not."""
    engines = [job.engine for job in world.jobs if job.engine]
    lost = {name for engine in engines for name in engine.ranges.ledger.waiting("unanswered")}
    for engine in engines:
        if any(arrow.fact == GraceEnded.name for arrow in engine.arrows):  # there was no time to store them
            lost |= {name for name in engine.ranges.ledger if engine.ranges.ledger[name] == "released"}
    for name, ears in world.truth.announced.items():
        row = world.server.rows.get(name)
        excused = name in world.truth.spoiled or name in lost
        if row is not None and row.status not in FINISHED and not excused and not all(ear.killed for ear in ears):
            yield f"event range {name}: its result was announced, and it is {row.status}"
