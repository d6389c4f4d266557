"""Whole jobs through Harvester, in front of a PanDA server with bad habits: `python -m whole.harvesting` in tests/.

As `panda.py`, but the pilot sees nothing but a directory. A thread is Harvester: it reports what it finds there to the
stand-in for PanDA by the older generation's calls, as the real one does, and believes what it is told.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from threading import Event, Thread
from time import monotonic, time
from urllib.parse import urlencode

import orjson
from whole.panda import BAD, HASTE, Seen, begun, pilot, seen_in

from esfsm.standins.harvester import FAULTS, Harvester, Messenger
from esfsm.standins.panda.books import Books
from esfsm.standins.panda.envelope import Fate
from esfsm.standins.panda.server import PandaServer
from esfsm.wire.panda.calls import Call

__all__ = ["done_by_harvester"]

TURN_S = 0.02
FORM = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}


class Behind:
    """PanDA, as Harvester asks it. What does not come back as it should is an OSError."""

    def __init__(self, server: PandaServer) -> None:
        self._server = server

    def acquire(self, panda_id: int, jobset_id: int, task_id: int, n: int) -> list[dict[str, object]]:
        numbers = {"pandaID": panda_id, "jobsetID": jobset_id, "taskID": task_id, "nRanges": n}
        return self._ask("getEventRanges", numbers)["eventRanges"]

    def update(self, items: list[dict[str, object]], version: int) -> list[bool | None]:
        return self._ask("updateEventRanges", {"eventRanges": orjson.dumps(items).decode(), "version": version})[
            "Returns"
        ]

    def update_job(self, panda_id: int, state: str) -> None:
        self._ask("updateJob", {"jobId": panda_id, "state": state})

    def _ask(self, method: str, said: dict[str, object]) -> dict:
        call = Call("POST", f"/server/panda/{method}", FORM, urlencode(said).encode())
        reply = self._server.answer(call, now_s=time() * HASTE)
        try:
            told = orjson.loads(reply.body)
        except orjson.JSONDecodeError:
            told = {}
        if reply.fate != Fate.ARRIVES or reply.status != 200 or told.get("StatusCode") != 0:
            raise OSError(f"{method}: {reply.status}")
        return told


class Worker:
    """One worker of Harvester and its jobs, one after another."""

    def __init__(self, directory: Path, books: Books, server: PandaServer, faults: Sequence[str], seed: int) -> None:
        self._books, self._panda = books, Behind(server)
        self._messenger = Messenger(directory, ())
        self._harvester = Harvester(self._messenger, self._panda, faults=faults, chance=Random(seed))

    def turn(self) -> None:
        """What the real one does every few minutes."""
        self._harvester.turn()
        for panda_id, said in self._messenger.attributes().items():
            with suppress(OSError):
                self._panda.update_job(panda_id, str(said.get("jobStatus", "running")))
        if self._messenger.jobs_requested():
            self._books.sweep(time() * HASTE)
            jobs = self._books.acquire_jobs("TEST_ES", now_s=time() * HASTE)
            if jobs:
                (self._messenger.directory / "worker_attributes.json").unlink(missing_ok=True)
                self._messenger.panda_ids = [int(str(job["PandaID"])) for job in jobs]
                self._messenger.feed_jobs(jobs)


def done_by_harvester(
    place: Path, ranges: int, *, quirks: Sequence[str] = (), faults: Sequence[str] = (), seed: int = 0
) -> Seen:
    """Have a task done in a directory, with these habits of PanDA and these faults of Harvester."""
    begun(place, ranges)
    access_point = place / "access"
    access_point.mkdir()
    began = monotonic()
    books = Books(place / "books.db")
    server = PandaServer(books, generations=("legacy",), quirks=quirks, chance=Random(seed))
    settings = {"access_point": access_point, "harvester_look_s": TURN_S, "harvester_patience_s": 3.0}
    with _turning(Worker(access_point, books, server, faults, seed)):
        pilot(place, "harvester", settings)
    books.close()
    return seen_in(place, 0, monotonic() - began)


@contextmanager
def _turning(worker: Worker) -> Iterator[None]:
    over = Event()

    def turn() -> None:
        while not over.wait(TURN_S):
            worker.turn()

    thread = Thread(target=turn)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def main() -> int:
    """Print what came of a task; exit code 1 if something was lost or done twice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranges", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with TemporaryDirectory() as place:
        seen = done_by_harvester(Path(place), given.ranges, quirks=BAD, faults=list(FAULTS), seed=given.seed)
    print(f"harvester: {seen.told(given.ranges)}")
    return seen.exit_code(given.ranges)


if __name__ == "__main__":
    sys.exit(main())
