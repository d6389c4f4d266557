"""Whole jobs of a PanDA server with bad habits, that is killed as well: `python tests/whole/panda.py --restarts 100`.

A pilot fetches the jobs of one task from a stand-in over HTTP, runs them, and fetches those that PanDA makes of what
was left over, until all event ranges are done. The server is a process that is killed at random instants and started
again over its books. Its clock runs fast, so that it takes a job for lost after half a second; heartbeats keep up.
"""

import argparse
import os
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from threading import Event, Thread
from time import monotonic, time
from typing import NamedTuple

from esfsm.durable import adler32_of
from esfsm.standins.panda.books import Books
from esfsm.standins.panda.quirks import QUIRKS
from esfsm.standins.panda.server import PandaServer
from esfsm.standins.panda.tasks import Task
from esfsm.testing.panda import serve_panda

__all__ = ["BAD", "HASTE", "Seen", "begun", "done_by", "pilot", "seen_in"]

HASTE = 20_000.0
"""How much faster the server's clock runs."""
BAD = tuple(name for name in QUIRKS if name != "stalled")
"""Every bad habit but to be silent for two minutes."""
APIS = {"legacy": ("legacy", "v1"), "v1": ("v1",), "auto": ("legacy", "v1")}
"""What the pilot is told to speak, and the generations that the server knows: 0.8.1 has both, 1.0.4 the newer."""
INPUT = "EVNT.41.pool.root"
SIMULATE = """\
import sys, time
from pathlib import Path
from esfsm.payload import connect

with connect() as channel:
    for event_range in channel:
        time.sleep(float(sys.argv[1]))
        output = Path(f"HITS.{event_range.event_range_id}")
        output.write_text(event_range.event_range_id)
        channel.finished(event_range, output)
"""
TASK_ID, JOBSET_ID, PANDA_ID = 1001, 4001, 5001
PATIENCE_S = 600.0
UP_S = 0.5
"""How long a server lives at most, where it is killed."""


class Seen(NamedTuple):
    """What came of a task."""

    done: int
    """Event ranges that PanDA has as done, each in an archive that is there and holds it."""
    double: int
    """Positions that are done twice."""
    missing: int
    """Done ranges whose archive is not there, is another one than was reported, or does not hold them."""
    orphans: int
    """Archives that PanDA knows and no range is in."""
    doubles: int
    """Archives that PanDA has twice."""
    jobs: int
    kills: int
    seconds: float

    @property
    def faults(self) -> tuple[int, ...]:
        """What should be nought."""
        return self.double, self.missing, self.orphans, self.doubles

    def told(self, ranges: int) -> str:
        """For people."""
        faults = "double {}, missing {}, orphans {}, archives twice {}".format(*self.faults)
        done = f"{self.done} of {ranges} event ranges done by {self.jobs} jobs in {self.seconds:.0f} s"
        return f"{done}, {self.kills} restarts; {faults}"

    def exit_code(self, ranges: int) -> int:
        """1 if something was lost or done twice."""
        return int(self.done != ranges or any(self.faults))


def done_by(
    place: Path,
    ranges: int,
    *,
    api: str = "auto",
    quirks: Sequence[str] = (),
    kills: int = 0,
    seed: int = 0,
    takes_s: float = 0.0,
) -> Seen:
    """Have a task done in a directory by a pilot; the server is killed so often, if the pilot is not done before.

    `takes_s`: what the payload needs for a range.
    """
    begun(place, ranges, takes_s)
    began = monotonic()
    with _served(place, api, quirks, kills, Random(seed)) as (url, killed):
        pilot(place, "panda", {"panda_api": api, "panda_server": url})
    return seen_in(place, len(killed), monotonic() - began)


def begun(place: Path, ranges: int, takes_s: float = 0.0) -> None:
    """A task in new books, with its input and its payload."""
    (place / "in").mkdir()
    (place / "in" / INPUT).write_text("events")
    (place / "in" / "simulate.py").write_text(SIMULATE)
    definition = {
        "transformation": "simulate.py",
        "jobPars": str(takes_s),
        "inFiles": INPUT,
        "fsize": "6",
        "checksum": f"ad:{adler32_of(place / 'in' / INPUT)}",
        "scopeIn": "mc23",
        "GUID": "8D6A2F0C-7F11-4C7C-9B3A-0123456789AB",
    }
    books = Books(place / "books.db")
    books.submit(Task(TASK_ID, JOBSET_ID, PANDA_ID, ranges, definition=definition))
    books.close()


def pilot(place: Path, communicator: str, settings: Mapping[str, object]) -> None:
    """Run a pilot until there is no job for a while; raises `CalledProcessError` if it does not end well."""
    settings = {
        **settings,
        "input_url": place / "in",
        "output_url": place / "out",
        "zip_max_ranges": 10,
        "job_pause_s": 0.1,
        "job_attempts": 20,
        "heartbeat_s": 0.05,
        "retry_pause_s": 0.02,
        "report_attempts": 100,
    }
    options = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    command = [sys.executable, "-m", "esfsm", "pilot", "--queue", "TEST_ES", "--communicator", communicator, "--quiet"]
    strangers = ("X509_USER_PROXY", "OIDC_AUTH_TOKEN", "PANDA_AUTH_TOKEN")
    environment = {name: value for name, value in os.environ.items() if name not in strangers}
    subprocess.run(
        [*command, "--workdir", str(place / "pilot"), *options],
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=PATIENCE_S,
    )


@contextmanager
def _served(
    place: Path, api: str, quirks: Sequence[str], kills: int, chance: Random
) -> Iterator[tuple[str, list[float]]]:
    """A server at an address, and the instants at which it was killed by now."""
    killed: list[float] = []
    over = Event()
    process, url = _start(place, api, quirks, 0, chance)

    def kill_now_and_then() -> None:
        nonlocal process
        while len(killed) < kills and not over.wait(chance.uniform(0, UP_S)):
            process.kill()
            process.communicate()
            killed.append(time())
            process, _ = _start(place, api, quirks, int(url.rpartition(":")[2]), chance)

    killer = Thread(target=kill_now_and_then)
    killer.start()
    try:
        yield url, killed
    finally:
        over.set()
        killer.join()
        process.kill()
        process.communicate()


def _start(
    place: Path, api: str, quirks: Sequence[str], port: int, chance: Random
) -> tuple[subprocess.Popen[str], str]:
    command = [sys.executable, __file__, "--serve", str(port), "--api", api, "--books", str(place / "books.db")]
    process = subprocess.Popen(
        [*command, "--seed", str(chance.randrange(1 << 30)), "--quirks", ",".join(quirks)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def serve(books: Path, port: int, api: str, quirks: Sequence[str], seed: int) -> None:
    """Serve until somebody kills this process."""
    server = PandaServer(Books(books), generations=APIS[api], quirks=quirks, chance=Random(seed))
    with serve_panda(server, port=port, ends_jobs=True, clock=lambda: time() * HASTE) as served:
        print(served.url, flush=True)
        Event().wait()


def seen_in(place: Path, kills: int, seconds: float) -> Seen:
    """Compare the books with what is in the storage."""
    books = Books(place / "books.db")
    books.sweep(time() * HASTE + 1e9)
    done = [row for row in books.ranges() if row.status == "done"]
    positions = Counter(row.event_range_id.split("-")[3] for row in done)
    missing = sum(not _holds(place / "out" / str(row.zip_lfn), row.event_range_id) for row in done)
    orphans, doubles, jobs = books.orphaned_zip_files(), books.double_zip_files(), books.jobs()
    books.close()
    return Seen(
        len(positions) - missing,
        sum(count - 1 for count in positions.values()),
        missing,
        len(orphans),
        len(doubles),
        len(jobs),
        kills,
        seconds,
    )


def _holds(archive: Path, event_range_id: str) -> bool:
    """Whether an archive is there, and has the output of a range."""
    if not archive.is_file():
        return False
    with tarfile.open(archive) as tar:
        return any(name.endswith(event_range_id) for name in tar.getnames())


def main() -> int:
    """Print what came of a task; exit code 1 if something was lost or done twice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranges", type=int, default=200)
    parser.add_argument("--api", choices=APIS, default="auto")
    parser.add_argument("--quirks", default=",".join(BAD), help="default: all but to be silent for two minutes")
    parser.add_argument("--restarts", type=int, default=0)
    parser.add_argument("--takes", type=float, default=0.0, help="seconds that the payload needs for a range")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--books", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    quirks = [name for name in given.quirks.split(",") if name]
    if given.serve is not None:
        serve(given.books, given.serve, given.api, quirks, given.seed)
    with TemporaryDirectory() as place:
        how = {"api": given.api, "quirks": quirks, "kills": given.restarts, "seed": given.seed, "takes_s": given.takes}
        seen = done_by(Path(place), given.ranges, **how)
    print(f"{given.api}: {seen.told(given.ranges)}")
    return seen.exit_code(given.ranges)


if __name__ == "__main__":
    sys.exit(main())
