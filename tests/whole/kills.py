#!/usr/bin/env python3
"""Engines killed at any instant, and those that come after them: `python tests/whole/kills.py --kills 1000`.

A job is run as a user runs it, with a real payload. SIGKILL ends its engine, alone or together with the payload; the
next engine is `esfsm resume` or the same `esfsm run`, and is killed in its turn, until one of them ends the job. Then
nothing may be lost, booked twice, or left behind.
"""

import argparse
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from random import Random
from select import select
from tempfile import mkdtemp
from typing import TypeVar

import esfsm
from esfsm.adapters.communicators.database import Status
from esfsm.core.actions import SetAlarm
from esfsm.core.facts import Fact, JobResumed, PayloadStarted
from esfsm.equipment import mark_of
from esfsm.errors import UnusableJournal
from esfsm.journal.file import JOURNAL
from esfsm.journal.reader import read, read_header

F = TypeVar("F", bound=Fact)

RANGES, EVENTS_PER_RANGE, RANGES_PER_ARCHIVE = 60, 2, 2
PATIENCE_S = 60.0
"""How long an engine that nobody kills may take; a whole job takes about 1 s."""

SIMULATE = """\
import json, os, time
from pathlib import Path

def simulate(event_range_id, first, last):
    with open("processed", "a") as processed:
        processed.write(f"{os.getsid(0)} {event_range_id}\\n")
    time.sleep(0.01)
    output = Path(f"HITS.pool.root.1.{event_range_id}").absolute()
    output.write_text("".join(f"hits of event {event}\\n" for event in range(first, last + 1)))
    return output

"""
PAYLOADS = {
    "one process": """\
from esfsm.payload import connect

with connect() as channel:
    for event_range in channel:
        output = simulate(event_range.event_range_id, event_range.start_event, event_range.last_event)
        channel.finished(event_range, output)
""",
    "two workers": """\
from esfsm.payload import run_workers

run_workers(lambda each: simulate(each.event_range_id, each.start_event, each.last_event), workers=2)
""",
    # A request that dies with an engine is not made again.
    "AthenaMP": """\
import zmq

with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
    dealer.connect(f"ipc:///tmp/zmq_{os.environ['PILOT_EVENTRANGECHANNEL']}")
    while dealer.send(b"Ready for events") or (answer := dealer.recv()) != b"No more events":
        [said] = json.loads(answer)
        output = simulate(said["eventRangeID"], said["startEvent"], said["lastEvent"])
        dealer.send(f"{output},ID:{said['eventRangeID']},CPU:0,WALL:0".encode())
""",
}
ADOPT_PATIENCE_S = {"AthenaMP": 0.3}
"""An adopted payload that has lost its request is silent for ever. All others speak, however slow the machine is."""


@dataclass
class Tally:
    """What has happened in some jobs."""

    kills: int = 0
    jobs: int = 0
    ranges: int = 0
    adopted: int = 0
    """Payloads that outlived an engine and were served by the next one."""
    hit: Counter[str] = field(default_factory=Counter)
    """What the engines were doing when they were killed; they may do several things at a time."""
    faults: list[str] = field(default_factory=list)
    """Each begins with `lost`, `double`, `orphan` or `wrong`."""

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))

    def count(self, kind: str) -> int:
        return sum(fault.startswith(f"{kind}: ") for fault in self.faults)

    def lines(self) -> Iterator[str]:
        yield f"kills {self.kills}, jobs {self.jobs}, event ranges {self.ranges}, payloads adopted {self.adopted}"
        yield ", ".join(f"{kind} {self.count(kind)}" for kind in ("lost", "double", "orphan", "wrong"))
        yield "killed while: " + ", ".join(f"{what} {n}" for what, n in self.hit.most_common())
        yield from self.faults


class Job:
    """One job in a directory of its own, and its engines; what happens by chance is drawn from `chance`."""

    def __init__(self, home: Path, payload: str, chance: Random) -> None:
        self.home, self.workdir, self.journal = home, home / "work", home / "work" / JOURNAL
        self.tally = Tally(jobs=1, ranges=RANGES)
        self.channels: set[Path] = set()
        """The socket files that it has had."""
        self._chance, self._said = chance, ""
        definition = {"PandaID": 5001, "taskID": 1001, "jobsetID": 4001, "eventService": "True"}
        definition |= {"transformation": "simulate.py", "inFiles": "EVNT.pool.root"}
        home.mkdir(parents=True)
        (home / "job.json").write_text(json.dumps(definition))
        (home / "simulate.py").write_text(SIMULATE + PAYLOADS[payload])
        (home / "EVNT.pool.root").write_text("generated events")
        settings = {"events": EVENTS_PER_RANGE * RANGES, "events_per_range": EVENTS_PER_RANGE}
        settings |= {"zip_max_ranges": RANGES_PER_ARCHIVE, "retry_pause_s": 0.01}
        settings |= {"adopt_patience_s": ADOPT_PATIENCE_S.get(payload, PATIENCE_S / 2)}
        self._begin = ["run", str(home / "job.json"), "--workdir", str(self.workdir)]
        self._begin += [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
        self._resume = ["resume", str(self.workdir)]

    def go_on(self, kills: int = 0, longest_s: float = 0.0) -> Tally:
        """To its end: at most so many engines are killed, each within so many seconds of its life."""
        exit_code = -signal.SIGKILL
        while exit_code == -signal.SIGKILL:
            arguments = self._resume if self.has_begun and self._chance.random() < 0.5 else self._begin
            life_s = self._chance.uniform(0, longest_s) if self.tally.kills < kills else PATIENCE_S
            exit_code = self._live(arguments, life_s)
        if exit_code:
            self.tally.faults.append(f"wrong: {arguments[0]} ended with exit code {exit_code}: {self._said}")
        self.tally.adopted = sum(fact.adopted for fact in self._facts(JobResumed))
        self.channels |= {Path(f"/tmp/zmq_{fact.channel}") for fact in self._facts(PayloadStarted)}
        self.tally.faults += self.faults()
        return self.tally

    @property
    def has_begun(self) -> bool:
        """Whether there is a journal to go on with."""
        try:
            read_header(self.journal)
        except UnusableJournal:
            return False
        return True

    @property
    def payloads(self) -> list[int]:
        """The processes of its payloads."""
        return marked(mark_of(self.workdir)) if self.workdir.exists() else []

    def faults(self) -> Iterator[str]:
        """All that is not as it must be when it has ended."""
        yield from (f"wrong: audit: {difference}" for difference in esfsm.audit(self.workdir).differences)
        if (state := esfsm.replay(self.journal).engine.state) != "done":
            yield f"wrong: the journal ends in {state}"
        yield from wrong_books(self.workdir)
        processed = Counter((self.workdir / "processed").read_text().splitlines())
        yield from (
            f"double: payload and event range {both} came together again" for both in processed if processed[both] > 1
        )
        yield from (f"orphan: process {pid} of the payload" for pid in self.payloads)
        yield from (f"orphan: {path}" for path in sorted(self.channels) if path.exists())
        yield from (f"orphan: {path}" for path in sorted(self.workdir.rglob("*.part")))

    def _live(self, arguments: list[str], life_s: float) -> int:
        """One engine; its exit code. Raises `subprocess.TimeoutExpired` for one that should have ended by itself.

        Half of those that are killed live half as long from their first word, as all are slow to begin.
        """
        written = self.journal.stat().st_size if self.journal.exists() else 0
        command = [sys.executable, "-m", "esfsm", *arguments]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as engine:
            try:
                if life_s < PATIENCE_S and self._chance.random() < 0.5:
                    select([engine.stderr], [], [], PATIENCE_S)
                    life_s /= 2
                _, self._said = engine.communicate(timeout=life_s)
            except subprocess.TimeoutExpired:
                if life_s == PATIENCE_S:
                    raise
                self._kill(engine.pid)
            finally:
                engine.kill()
        if engine.returncode == -signal.SIGKILL:
            self.tally.kills += 1
            self.tally.hit.update(self._under_way(written))
        return engine.returncode

    def _kill(self, pid: int) -> None:
        """Make it stand still, look what it would leave behind, and kill it, in half of the cases with its payload."""
        os.kill(pid, signal.SIGSTOP)
        stopped = os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        if stopped.si_code != os.CLD_STOPPED:  # it was about to end
            return
        self.channels |= channels(pid)
        if self._chance.random() < 0.5:
            with suppress(ProcessLookupError):  # so was the payload
                for group in {os.getpgid(payload) for payload in self.payloads}:
                    os.killpg(group, signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)

    def _under_way(self, written: int) -> list[str]:
        """What was begun and has not ended, by a journal that has grown beyond so many bytes in this life."""
        if not self.has_begun or self.journal.stat().st_size == written:
            return ["start"]
        engine = esfsm.replay(self.journal).engine
        return sorted({action.name for action in engine.outstanding} - {SetAlarm.name}) or [engine.state]

    def _facts(self, kind: type[F]) -> list[F]:
        return [entry.fact for entry in read(self.journal)[1] if isinstance(entry.fact, kind)]


def marked(mark: str) -> list[int]:
    """The processes that bear a mark."""
    pids = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"PILOT_ESFSM_PAYLOAD={mark}".encode() in (process / "environ").read_bytes().split(b"\0"):
                pids.append(int(process.name))
    return pids


def channels(pid: int) -> set[Path]:
    """The socket files that a process, which stands still, has made for payloads."""
    ours = {str(descriptor.readlink()) for descriptor in Path(f"/proc/{pid}/fd").iterdir()}
    # Num RefCount Protocol Flags Type St Inode Path
    rows = [line.split() for line in Path("/proc/net/unix").read_text().splitlines() if "/tmp/zmq_" in line]
    return {Path(path) for *_, inode, path in rows if f"socket:[{inode}]" in ours}


def wrong_books(workdir: Path) -> Iterator[str]:
    """What the broker has beside what there should be, and the storage, byte by byte, beside the broker."""
    with closing(sqlite3.connect(workdir / "broker.sqlite")) as db:
        rows = db.execute("SELECT position, event_range_id, status, zip_file FROM event_ranges").fetchall()
        booked = dict(db.execute("SELECT zip_lfn, zip_file FROM zip_files"))
    done = Counter(position for position, _, status, _ in rows if status == Status.DONE)
    positions = range(1, EVENTS_PER_RANGE * RANGES + 1, EVENTS_PER_RANGE)
    yield from (f"lost: position {position} is not done" for position in positions if not done[position])
    twice = sorted(position for position, times in done.items() if times > 1)
    yield from (f"double: position {position} is done {done[position]} times" for position in twice)
    others = [(name, status) for _, name, status, _ in rows if status != Status.DONE]
    yield from (f"wrong: {name} has status {status}" for name, status in others)
    stored = {path.name: path for path in (workdir / "outputs").iterdir()}
    yield from (f"orphan: {lfn} is booked by nobody" for lfn in sorted(stored.keys() - booked))
    yield from (f"lost: {lfn} is booked, but not there" for lfn in sorted(booked.keys() - stored))
    for lfn in sorted(booked.keys() & stored):
        ours = ((position, name) for position, name, _, zip_file in rows if zip_file == booked[lfn])
        inside = [(f"HITS.pool.root.1.{name}", hits(position)) for position, name in ours]
        if members(stored[lfn]) != sorted(inside):
            yield f"wrong: {lfn} does not hold what it should"


def hits(position: int) -> bytes:
    """What the payload writes for the event range that begins there."""
    return "".join(f"hits of event {event}\n" for event in range(position, position + EVENTS_PER_RANGE)).encode()


def members(archive: Path) -> list[tuple[str, bytes]]:
    """Names and contents, sorted."""
    with tarfile.open(archive) as tar:
        return sorted((member.name, tar.extractfile(member).read()) for member in tar)


def storm(home: Path, seed: str, kills: int, payloads: Sequence[str]) -> Tally:
    """One job after the other until so many engines were killed. The first one is spared: it says how long a job is.

    The directories of jobs without a fault are removed.
    """
    tally, longest_s, began = Tally(), 0.0, time.monotonic()
    while tally.kills < kills:
        chance = Random(f"{seed} {tally.jobs}")
        job = Job(home / str(tally.jobs), chance.choice(payloads), chance)
        tally += job.go_on(kills - tally.kills if longest_s else 0, longest_s)
        longest_s = longest_s or time.monotonic() - began
        if not job.tally.faults:
            shutil.rmtree(job.home)
    return tally


def storms(home: Path, seed: str, kills: int, payloads: Sequence[str] = tuple(PAYLOADS), at_a_time: int = 2) -> Tally:
    """So many kills in so many storms at a time."""
    shares = [len(range(number, kills, at_a_time)) for number in range(at_a_time)]
    with ThreadPoolExecutor(at_a_time) as pool:
        each = [pool.submit(storm, home / str(n), f"{seed} {n}", share, payloads) for n, share in enumerate(shares)]
    return sum((done.result() for done in each), Tally())


def main() -> None:
    """Kill, compare, and print the figures; exit code 1 if there is a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--at-a-time", type=int, default=2)
    asked = parser.parse_args()
    home, began = Path(mkdtemp(prefix="esfsm-kills-")), time.monotonic()
    tally = storms(home, asked.seed, asked.kills, at_a_time=asked.at_a_time)
    print(f"seed {asked.seed}, {time.monotonic() - began:.0f} s", *tally.lines(), sep="\n")
    if tally.faults:
        sys.exit(f"the jobs with faults are in {home}")
    shutil.rmtree(home)


if __name__ == "__main__":
    main()
