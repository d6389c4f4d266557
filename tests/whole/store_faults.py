"""Storages that are killed and come back while a job stores there, as often as one likes.

    python tests/whole/store_faults.py --kills 50

prints, for each storage: kills, tries that failed, archives, and what went wrong (nothing must).
"""

import argparse
import os
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Timer
from typing import NamedTuple, Protocol

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from contract import s3, webdav, xrootd
from shell.jobs import es_job, es_settings, write_inputs

import esfsm
from esfsm.core.engine import Engine
from esfsm.core.facts import Fact

SOON_S = 0.02
"""A store takes about so long: a kill comes before, while or after one is under way."""


class Server(Protocol):
    """Ends as a crash would, and begins again with what it had."""

    def begin(self) -> None: ...

    def end(self) -> None: ...

    def contents(self) -> dict[str, bytes]: ...


class Seen(NamedTuple):
    """How a job went whose storage was killed again and again."""

    kills: int
    failed_tries: int
    archives: int
    faults: tuple[str, ...]


class Striker:
    """Kills a server soon after something happened to an archive, and lets it come back after the next store."""

    def __init__(self, server: Server, kills: int, chance: random.Random) -> None:
        self._server, self._left, self._chance = server, kills, chance
        self._timer: Timer | None = None
        self.kills = 0
        self.facts: Counter[str] = Counter()

    def __call__(self, fact: Fact, _: Engine) -> None:
        self.facts[fact.name] += 1
        if fact.name not in ("outputs_packed", "store_failed", "archive_stored"):
            return
        if self._timer is not None:
            if fact.name != "outputs_packed":
                self.restore()
        elif self._left:
            self._left -= 1
            self._timer = Timer(self._chance.uniform(0, SOON_S), self._server.end)
            self._timer.start()

    def restore(self) -> None:
        """The server is there, whether it was killed or not."""
        if self._timer is not None:
            self._timer.join()
            self._timer = None
            self.kills += 1
            self._server.begin()


@contextmanager
def xrootd_server() -> Iterator[tuple[Server, str, dict[str, object]]]:
    with TemporaryDirectory() as home, xrootd.server(Path(home), "all.export /\nxrootd.chksum max 2 adler32\n") as made:
        yield made, f"{made.url}//es", {}


@contextmanager
def s3_server() -> Iterator[tuple[Server, str, dict[str, object]]]:
    os.environ |= s3.KEYS
    with TemporaryDirectory() as home, s3.server(s3.RCLONE, Path(home)) as made:
        yield made, f"s3://{s3.BUCKET}/es", {"s3_endpoint": made.endpoint}


@contextmanager
def webdav_server() -> Iterator[tuple[Server, str, dict[str, object]]]:
    with TemporaryDirectory() as home, webdav.server(webdav.Nginx, Path(home)) as made:
        yield made, f"{webdav.url_of(made)}/es", {}


SERVERS: dict[str, Callable[[], object]] = {"XRootD": xrootd_server, "S3": s3_server, "WebDAV": webdav_server}


def strike(name: str, kills: int, place: Path, seed: int = 7) -> Seen:
    """One job, an archive for each event range, and a storage that is killed so often."""
    ranges = 2 * kills + 10
    with SERVERS[name]() as (server, url, more):  # type: ignore[attr-defined]
        striker = Striker(server, kills, random.Random(f"{name} {seed}"))
        said = {"output_url": url, "zip_max_ranges": 1, "stage_out_rounds": 100, "storage_timeout_s": 2, **more}
        settings = es_settings(write_inputs(place / "inputs"), ranges, **said)
        outcome = esfsm.run_workflow(es_job(), workdir=place / "work", settings=settings, watch=striker)
        striker.restore()
        faults = [] if outcome.ranges == {"finished": ranges} else [outcome.sentence]
        faults += esfsm.audit(place / "work").differences
        contents = server.contents()
        stored = {f"es/{file.lfn}" for file in outcome.outputs}
        faults += [f"{path} is nobody's" for path in contents if path.rpartition("/")[2] not in map(_base, stored)]
        return Seen(striker.kills, striker.facts["store_failed"], len(contents), tuple(faults))


def _base(path: str) -> str:
    return path.rpartition("/")[2]


def main() -> int:
    """Strike each; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=7)
    asked = parser.parse_args()
    went_wrong = 0
    for name in SERVERS:
        with TemporaryDirectory() as place:
            seen = strike(name, asked.kills, Path(place), asked.seed)
        told = f"{seen.kills} kills, {seen.failed_tries} failed tries, {seen.archives} archives"
        print(f"{name}: {told}, {len(seen.faults)} faults", *seen.faults, sep="\n  ", flush=True)
        went_wrong += len(seen.faults)
    return int(went_wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
