#!/usr/bin/env python3
"""How fast the house is when the payload does nothing: `make bench`.

One job of 2,000 event ranges goes through `run_workflow`, journal and all, with one connection. The same payload is
then fed by the barest server there can be, a ZeroMQ ROUTER that answers from a list, writes nothing down and keeps no
output: the ratio is what the journal, the ledger and the archives cost. Each is done again in turn, as a machine is
not equally fast all the time. The engine runs in a process of its own, so that its memory is its own.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import NamedTuple
from uuid import uuid4

import zmq
from rich.console import Console
from rich.table import Table

__all__ = ["main"]

HERE = Path(__file__).parent
PAYLOAD = "noop_payload.py"
TIMES = "times.json"
ARGUMENTS = ["--output", "NOOP.pool.root", "--times", TIMES]
STARTS = 5
"""How often each import is timed."""
PATIENCE_MS = 60_000


class Seen(NamedTuple):
    """What the payload saw."""

    rate: float
    """Ranges a second, from its first request to its last result."""
    wait_median_ms: float
    """From a request to its range."""
    wait_p99_ms: float


class Run(NamedTuple):
    """What is known about one job beside that."""

    rate: float
    """Ranges a second, from the call of `run_workflow` to its return."""
    first_range_s: float
    """From the call to the first range sent."""
    last_result_s: float
    """From the last result to the return: pack, store, report, end."""
    memory_mb: float
    """The peak of the engine's process."""


def event_ranges(n: int) -> list[dict[str, object]]:
    """As PanDA sends them."""
    named = {"LFN": "EVNT.pool.root", "GUID": str(uuid4()), "scope": "bench"}
    return [{"eventRangeID": f"1-1-1-{i}-1", "startEvent": i, "lastEvent": i, **named} for i in range(1, n + 1)]


def seen(workdir: Path) -> Seen:
    """What the payload has written down."""
    told = json.loads((workdir / TIMES).read_text())
    waits_ms = [1000 * wait_s for wait_s in told["waits_s"]]
    rate = len(waits_ms) / (told["ended"] - told["began"])
    return Seen(rate, median(waits_ms), quantiles(waits_ms, n=100)[-1])


def run_engine(n: int, workdir: Path) -> None:
    """Run the job in this process and print what is to be known about it."""
    import esfsm

    ranges = workdir / "ranges.json"
    ranges.write_text(json.dumps(event_ranges(n)))
    job = {"PandaID": 1, "taskID": 1, "jobsetID": 1, "eventService": True, "transformation": PAYLOAD}
    before = time.time()
    outcome = esfsm.run_workflow(
        {**job, "jobPars": " ".join(ARGUMENTS)},
        workdir=workdir,
        settings={"ranges": ranges, "input_url": str(HERE), "sync": "effects"},
    )
    after = time.time()
    # Linux counts from what the process that started us had then; that one has imported less, so it is not seen.
    memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if outcome.ranges != {"finished": n}:
        sys.exit(f"the job did not finish its {n} event ranges: {outcome.sentence}")
    story = esfsm.replay(outcome.journal)
    first = min(one.sent_s for one in story.ranges.values() if one.sent_s is not None)
    last = max(one.produced_s for one in story.ranges.values() if one.produced_s is not None)
    run = Run(n / (after - before), story.began + first - before, after - story.began - last, memory_mb)
    print(json.dumps(run._asdict()))


def measure_engine(n: int) -> tuple[Seen, Run]:
    """One job in a process of its own."""
    with TemporaryDirectory() as home:
        workdir = Path(home)
        command = [sys.executable, __file__, "--ranges", str(n), "--engine", home]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return seen(workdir), Run(**json.loads(told))


def measure_bare(n: int) -> Seen:
    """The same payload, fed from a list."""
    name = f"noop-{uuid4().hex}"
    answers = (json.dumps([event_range]).encode() for event_range in event_ranges(n))
    with TemporaryDirectory() as home, zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        address = Path(f"/tmp/zmq_{name}")
        router.bind(f"ipc://{address}")
        command = [sys.executable, str(HERE / PAYLOAD), *ARGUMENTS]
        environment = {**os.environ, "PILOT_EVENTRANGECHANNEL": name}
        try:
            with subprocess.Popen(command, cwd=home, env=environment) as payload:
                serve(router, answers, results=n)
        finally:
            address.unlink(missing_ok=True)
        if payload.returncode:
            sys.exit("the payload failed at the bare server")
        return seen(Path(home))


def serve(router: "zmq.Socket[bytes]", answers: Iterator[bytes], results: int) -> None:
    """Answer each request until there is no more to answer with, and hear so many results."""
    ended = False
    while results or not ended:
        if not router.poll(PATIENCE_MS):
            sys.exit("the payload said nothing to the bare server")
        peer, text = router.recv_multipart()
        if text == b"Ready for events":
            answer = next(answers, b"No more events")
            ended = answer == b"No more events"
            router.send_multipart([peer, answer])
        else:
            results -= 1


def measure_start(statement: str) -> float:
    """Milliseconds that a new Python takes for a statement."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return 1000 * (time.perf_counter() - began)


def row(table: Table, what: str, form: str, ours: list[float], bare: list[float] | None = None) -> None:
    """Medians with their spread; where there is something to compare with, the ratio of the medians."""

    def told(values: list[float]) -> str:
        return f"{median(values):{form}} ({min(values):{form}} - {max(values):{form}})"

    table.add_row(what, told(ours), told(bare) if bare else "", f"{median(ours) / median(bare):.2f}" if bare else "")


def show(n: int, engine: list[tuple[Seen, Run]], bare: list[Seen], starts: dict[str, list[float]]) -> None:
    """Everything as one table."""
    repeats = len(bare)
    table = Table(title=f"{n:,} event ranges that do nothing, one connection; median (least - most) of {repeats}")
    for name in ("", "esfsm", "bare ROUTER", "ratio"):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    compared: dict[str, tuple[str, Callable[[Seen], float]]] = {
        "ranges/s, first request to last result": (",.0f", lambda one: one.rate),
        "request to range, median, ms": (".3f", lambda one: one.wait_median_ms),
        "request to range, p99, ms": (".3f", lambda one: one.wait_p99_ms),
    }
    for what, (form, of) in compared.items():
        row(table, what, form, [of(saw) for saw, _ in engine], [of(saw) for saw in bare])
    alone: dict[str, tuple[str, Callable[[Run], float]]] = {
        "ranges/s, whole job": (",.0f", lambda one: one.rate),
        "run_workflow to first range, s": (".2f", lambda one: one.first_range_s),
        "last result to the end, s": (".2f", lambda one: one.last_result_s),
        "peak memory of the engine, MB": (".1f", lambda one: one.memory_mb),
    }
    for what, (form, of_run) in alone.items():
        row(table, what, form, [of_run(run) for _, run in engine])
    for statement, times_ms in starts.items():
        row(table, f"python -c {statement!r}, ms", ".0f", times_ms)
    Console(width=120).print(table)


def main() -> None:
    """Measure all of it, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranges", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--engine", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.engine:
        run_engine(asked.ranges, asked.engine)
        return
    engine, bare = [], []
    for _ in range(asked.repeats):
        engine.append(measure_engine(asked.ranges))
        bare.append(measure_bare(asked.ranges))
    statements = ("pass", "import esfsm.payload", "import esfsm; esfsm.run_workflow")
    starts = {statement: [measure_start(statement) for _ in range(STARTS)] for statement in statements}
    show(asked.ranges, engine, bare, starts)


if __name__ == "__main__":
    main()
