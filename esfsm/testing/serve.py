"""`python -m esfsm.testing serve`: the PanDA stand-in as a process, until it is told to stop."""

import argparse
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import orjson

from esfsm.errors import UnusableInput
from esfsm.standins.panda.books import Books
from esfsm.standins.panda.quirks import QUIRKS, USUAL
from esfsm.standins.panda.server import DIALECTS, PandaServer
from esfsm.standins.panda.tasks import Task
from esfsm.testing.panda import panda_tls, serve_panda

__all__ = ["add_serve", "serve"]

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
TASK_ID, JOBSET_ID, FIRST_PANDA_ID = 1001, 4001, 5001
NUMBERS = ("PandaID", "taskID", "jobsetID")
"""What each job has of its own."""
MOST = {"jobs": 10_000, "ranges": 1_000_000}
"""Books with so many are made within seconds."""
OF_INPUTS = {"fsize": "", "checksum": ""}
"""What is said of other inputs than those of the stand-in: nothing, so they may be any files."""


def add_serve(subcommands: Any) -> None:
    """Add it to a parser's subcommands (`ArgumentParser.add_subparsers()`); what it is given is for `serve`."""
    quirks = "\n".join(f"  {name}: {said}" for name, said in QUIRKS.items())
    command = subcommands.add_parser(
        "serve",
        help="a PanDA server for tests",
        description="A PanDA server for tests, with books that outlive it.",
        epilog=f"quirks:\n{quirks}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("--port", type=int, default=0, help="port of this machine (default: any that is free)")
    command.add_argument("--books", default=":memory:", help="file of the books; new ones get one task")
    command.add_argument("--generation", choices=("both", *DIALECTS), default="both", help="default: both")
    command.add_argument(
        "--quirk", action="append", default=[], metavar="NAME[=P]", help="a bad habit, and how likely; repeatable"
    )
    command.add_argument("--jobs", type=int, default=1, help="how many jobs the task has (default: 1)")
    command.add_argument("--ranges", type=int, default=100, help="... and event ranges, in all (default: 100)")
    command.add_argument("--queue", default="TEST_ES", help="... and where its jobs wait (default: TEST_ES)")
    command.add_argument(
        "--definition",
        type=Path,
        help="a JSON file: what its jobs say beside, or in place of, the rest, but for PandaID, taskID and jobsetID; "
        "without one, they want an input that nobody has",
    )
    command.add_argument("--certificate", type=Path, help="of the server: HTTPS")
    command.add_argument("--key", type=Path, help="of the certificate, if it is in another file")
    command.add_argument("--ca", type=Path, help="whose clients are believed; without: everybody")
    command.add_argument("--seed", type=int, default=0, help="of all chance (default: 0)")
    command.add_argument("--reply-after", type=float, default=0.0, metavar="SECONDS", help="delay of each reply")
    command.set_defaults(run=serve)


def serve(given: argparse.Namespace) -> int:
    """Print the address and serve until SIGTERM or SIGINT; exit code 2 for what cannot be used."""
    try:
        _serve(given)
    except UnusableInput as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def _serve(given: argparse.Namespace) -> None:
    if given.certificate is None and (given.key or given.ca):
        raise UnusableInput("--key and --ca are nothing without --certificate")
    for name, most in MOST.items():
        if not 1 <= getattr(given, name) <= most:
            raise UnusableInput(f"--{name}: 1 to {most} are expected, not {getattr(given, name)}")
    if not given.queue or not given.queue.isprintable():
        raise UnusableInput(f"--queue: a name is expected, not {given.queue!r}")
    if not 0 <= given.reply_after <= 3600:
        raise UnusableInput(f"--reply-after: 0 to 3600 seconds are expected, not {given.reply_after:g}")
    tls = panda_tls(given.certificate, given.key, given.ca) if given.certificate else None
    quirks = dict(_quirk(text) for text in given.quirk)
    generations = tuple(DIALECTS) if given.generation == "both" else (given.generation,)
    definition = _definition(given.definition)
    books = Books(given.books)
    try:
        panda = PandaServer(books, generations=generations, quirks=quirks, chance=Random(given.seed))
        if not books.jobs():
            numbers = (TASK_ID, JOBSET_ID, FIRST_PANDA_ID, given.ranges)
            books.submit(Task(*numbers, jobs=given.jobs, queue=given.queue, definition=definition))
        with (
            _stop_signals_wait(),
            serve_panda(panda, port=given.port, tls=tls, reply_after_s=given.reply_after, ends_jobs=True) as served,
        ):
            sys.stdout.write(f"{served.url}\n")
            sys.stdout.flush()
            signal.sigwait(STOP_SIGNALS)
    finally:
        books.close()


@contextmanager
def _stop_signals_wait() -> Iterator[None]:
    """Blocked before a thread starts, they wait for `sigwait`, and no thread is interrupted."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _definition(path: Path | None) -> dict[str, object]:
    """What is to be said of every job. Raises `UnusableInput`."""
    try:
        said = {} if path is None else orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise UnusableInput(f"--definition {path}: {error}") from None
    if not isinstance(said, dict):
        raise UnusableInput(f"--definition {path}: a JSON object is expected")
    definition = {name: value for name, value in said.items() if name not in NUMBERS}
    return {**OF_INPUTS, **definition} if "inFiles" in said else definition


def _quirk(text: str) -> tuple[str, float]:
    """`NAME`, or `NAME=P`."""
    name, given, odds = text.partition("=")
    try:
        return name, float(odds) if given else USUAL.get(name, 0.0)
    except ValueError:
        raise UnusableInput(f"quirk {text!r}: NAME or NAME=PROBABILITY is expected") from None
