"""What happened to the recorded jobs: each scenario runs one whole job, with real processes, sockets and files.

Nothing of this machine gets into a journal but what lies below `place.ROOT`.
"""

import os
import signal
import sqlite3
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

from recorded.old import as_format_1
from recorded.place import RANGES, Place, die, each, forked, when
from shell.disks import room_for
from shell.jobs import OUTPUT, PANDA_ID, es_job, es_settings, plain_job
from whole.processes import ends

import esfsm
from esfsm.adapters.communicators import database
from esfsm.adapters.communicators.broker import Broker
from esfsm.core.facts import PayloadStarted
from esfsm.journal.file import JOURNAL
from esfsm.journal.formats import unsaid
from esfsm.journal.reader import read
from esfsm.loop import Watch

__all__ = ["SCENARIOS"]

LATE_S = 0.3
"""A patience that a payload shall lose."""
MERGED = {f"{OUTPUT}.1-2-3-{n}-10": f"events of range {n}\n".encode() for n in range(1, 5)}
LIST = "inputFor_HITS"

Scenario = Callable[[Place], object]
SCENARIOS: dict[str, Scenario] = {}
"""By the name under which the journal is kept; the docstring says what happens."""


def _scenario(run: Scenario) -> Scenario:
    SCENARIOS[run.__name__.replace("_", "-")] = run
    return run


# --- what a payload does ---------------------------------------------------------------------------------------

PAYLOADS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "one-core": ("a payload of one process", "simulate", {}),
    "several-cores": ("a payload of three processes", "in_workers", {"cores": 3, "events": 24}),
    "last-words": ("all results are announced directly before the end, as AthenaMP does", "last_words", {}),
    "several-outputs": ("several outputs for each range", "several_files", {}),
    "athenamp-process": (
        "AthenaMP's words for a range that it could not process, with a reason and without",
        "answer finish 'ERR_ATHENAMP_PROCESS {id}: Seek failed' 'ERR_ATHENAMP_PROCESS {id}: '",
        {},
    ),
    "athenamp-parse": (
        "AthenaMP's words for a range that it could not read: its own quotation, and Python's",
        """answer 'ERR_ATHENAMP_PARSE "eventRangeID:{id},lastEvent:x": Wrong values of range fields' finish """
        """"ERR_ATHENAMP_PARSE \\"{'eventRangeID': '{id}'}\\": Wrong format" """,
        {},
    ),
    "token-extractor-range": ("the token extractor gives one range up", "answer 'ERR_TE_RANGE {id}: no token'", {}),
    "token-extractor-fatal": ("the token extractor gives all up", "fatal 2", {}),
    "error-of-no-range": (
        "errors that name no range, and what nobody understands",
        "say ERR_TE_FATAL 'ERR_ATHENAMP_PARSE \"\": Wrong format' hello 'out,ID:'",
        {"events": 4},
    ),
    "strange-results": ("repeated results, and one for a range that nobody handed out", "say_again", {"events": 8}),
    "output-missing": ("outputs that are announced and are not there", "lie 2", {}),
    "payload-exits": ("the payload ends with exit code 1, one range in hand", "fail 3", {}),
    "payload-killed": ("the payload is killed by a signal, one range in hand", "die 3", {}),
    "payload-never-asks": ("the payload ends well, and has never asked for a range", "end 0", {}),
    "payload-silent": ("the payload says nothing at all", "stay", {"looping_limit_s": LATE_S}),
    "payload-lingers": ("the payload does not end after `No more events`", "ask_and_stay", {"end_patience_s": LATE_S}),
}


def _run_payload(place: Place, job_pars: str, said: Mapping[str, Any]) -> None:
    place.run(job_pars, **said)


for _name, (_doc, _job_pars, _said) in PAYLOADS.items():
    SCENARIOS[_name] = partial(_run_payload, job_pars=_job_pars, said=_said)
    SCENARIOS[_name].__doc__ = _doc


@_scenario
def failed_then_done(place: Place) -> None:
    """the payload fails, and the same command with a better one does the rest"""
    place.run("fail 3")
    place.run()


# --- engines that die or are stopped ---------------------------------------------------------------------------


@_scenario
def payload_adopted(place: Place) -> None:
    """the engine is killed, and the next one goes on with the payload that outlived it"""
    job_pars = f"simulate {place.directory}/go 3"
    with place.until("go", lambda: place.run(job_pars)) as engine:
        os.kill(engine, signal.SIGKILL)
    place.run(job_pars)


@_scenario
def payload_gone(place: Place) -> None:
    """the engine is killed, and its payload too; the next engine starts another one"""
    with place.until("go", lambda: place.run(f"simulate {place.directory}/go 3")) as engine:
        os.kill(engine, signal.SIGKILL)
        os.waitid(os.P_PID, engine, os.WEXITED | os.WNOWAIT)
        started = [entry.fact for entry in read(place.workdir / JOURNAL)[1] if isinstance(entry.fact, PayloadStarted)]
        os.kill(started[-1].pid, signal.SIGKILL)
        assert ends(started[-1].pid)
    place.run()


@_scenario
def killed_again_and_again(place: Place) -> None:
    """every engine but the last is killed, each at another fact"""
    run = partial(place.run, adopt_patience_s=LATE_S)
    for name in ("inputs_staged", "ranges_granted", "outputs_packed", "archive_stored", "ranges_acknowledged"):
        os.waitpid(forked(partial(run, watch=when(name, die))), 0)
    run()


@_scenario
def stopped_then_done(place: Place) -> None:
    """a stop request; later the same command does the rest"""
    with place.until("go", lambda: place.run(f"simulate {place.directory}/go 3")) as engine:
        os.kill(engine, signal.SIGTERM)
        os.waitid(os.P_PID, engine, os.WEXITED | os.WNOWAIT)
    place.run()


@_scenario
def stopped_by_the_server(place: Place) -> None:
    """the server wants the job to end"""
    place.workdir.mkdir()
    broker = Broker(place.broker)
    broker.set_command(PANDA_ID, "tobekilled")
    broker.close()
    place.run()


# --- storages and disks ----------------------------------------------------------------------------------------


@_scenario
def storage_refuses_then_takes(place: Place) -> None:
    """the storage refuses some archives at first"""
    (blocked := place.directory / "outputs").touch()
    place.run(output_url=str(blocked), stage_out_rounds=10, watch=when("store_failed", blocked.unlink, 3))


@_scenario
def failover(place: Place) -> None:
    """what the first storage refuses goes to the second"""
    (blocked := place.directory / "outputs").touch()
    place.run(output_url=str(blocked), failover_url=str(place.directory / "failover"))


@_scenario
def storage_refuses_for_ever(place: Place) -> None:
    """no storage takes anything, so all ranges are reported failed; they run again when it does"""
    (blocked := place.directory / "outputs").touch()
    run = partial(place.run, output_url=str(blocked), stage_out_rounds=2, events=6)
    run()
    blocked.unlink()
    run()


@_scenario
def output_vanished(place: Place) -> None:
    """an output vanishes between its announcement and its archive"""
    place.run(zip_max_ranges=10, watch=when("payload_finished", lambda: next(place.workdir.glob("HITS.*")).unlink()))


@_scenario
def disk_full(place: Place) -> None:
    """the work directory has room for archives of one output each, but for no larger one"""
    with room_for(200_000):
        place.run("large 100000", zip_max_ranges=6, stage_out_rounds=2, events=6)


@_scenario
def disk_fuller(place: Place) -> None:
    """the work directory has no room for any archive, later it has"""
    with room_for(100_000):
        place.run("large 100000", zip_max_ranges=6, report_attempts=2, events=6)
    place.run(events=6)


# --- the server ------------------------------------------------------------------------------------------------


@contextmanager
def _impatient() -> Iterator[None]:
    before, database.PATIENCE_S = database.PATIENCE_S, 0.05
    try:
        yield
    finally:
        database.PATIENCE_S = before


@_scenario
def broker_locked(place: Place) -> None:
    """the server does not answer for a while, neither to requests nor to reports"""
    locks: list[sqlite3.Connection] = []

    def lock() -> None:
        locks.append(sqlite3.connect(place.broker, isolation_level=None))
        locks[-1].execute("BEGIN IMMEDIATE")

    def unlock() -> None:
        locks.pop().close()

    watch = each(
        *(when("payload_started", lock), when("request_unanswered", unlock, 2)),
        *(when("archive_stored", lock), when("report_unanswered", unlock, 2)),
    )
    with _impatient():
        place.run(watch=watch)


def _run_without_broker(place: Place, away: Path, **said: object) -> None:
    """It goes when all has been handed out and nothing is reported."""
    go = when("payload_finished", lambda: place.broker.rename(away))
    place.run(zip_max_ranges=RANGES + 1, report_attempts=2, watch=go, **said)


@_scenario
def broker_away(place: Place) -> None:
    """the server is away until reports are given up; once it is back they are made again"""
    away = place.broker.with_name("away")
    _run_without_broker(place, away)
    away.rename(place.broker)
    place.run()


@_scenario
def no_ranges_left(place: Place) -> None:
    """another job of the task has done all ranges"""
    broker = place.directory / "broker.sqlite"
    settings = es_settings(place.inputs, RANGES, broker=broker)
    other = es_job(transformation="payload.py", PandaID=PANDA_ID + 1, jobPars="simulate")
    esfsm.run_workflow(other, workdir=place.directory / "other", settings=settings)
    place.run(broker=broker)


@_scenario
def given_up_in_format_1(place: Place) -> None:
    """the server is away until reports are given up, in the first format of journals"""
    _run_without_broker(place, place.broker.with_name("away"), **unsaid(1))
    as_format_1(place.workdir / JOURNAL)


# --- jobs that cannot begin ------------------------------------------------------------------------------------


@_scenario
def stage_in_failed(place: Place) -> None:
    """an input is not there"""
    place.run(job={"inFiles": "missing.root"})


@_scenario
def checksum_wrong(place: Place) -> None:
    """an input is not what PanDA has"""
    place.run(job={"checksum": "ad:00000001"})


@_scenario
def executor_unavailable(place: Place) -> None:
    """an executor type is asked for that nobody has installed"""
    place.run(executor_type="raythena")


@_scenario
def job_refused(place: Place) -> None:
    """an Event Service job without a taskID"""
    place.run(job={"taskID": None})


# --- plain jobs and merge jobs ---------------------------------------------------------------------------------


def _run_plain(place: Place, job_pars: str, watch: Watch | None = None) -> None:
    job = plain_job(transformation="payload.py", jobPars=job_pars, inFiles="EVNT.pool.root", outFiles="out.txt,b.txt")
    place.run_job(job, {"input_url": str(place.inputs)}, watch)


@_scenario
def plain(place: Place) -> None:
    """a plain job"""
    _run_plain(place, "transform 0 out.txt b.txt")


@_scenario
def plain_exits(place: Place) -> None:
    """a plain job whose payload ends with exit code 65"""
    _run_plain(place, "transform 65 out.txt b.txt")


@_scenario
def plain_without_output(place: Place) -> None:
    """a plain job whose payload forgets an output"""
    _run_plain(place, "transform 0 out.txt")


@_scenario
def plain_killed(place: Place) -> None:
    """the engine of a plain job is killed while its payload runs; the next one starts another"""
    job_pars = f"wait_once {place.directory}/go out.txt b.txt"
    with place.until("go", lambda: _run_plain(place, job_pars)) as engine:
        os.kill(engine, signal.SIGKILL)
    _run_plain(place, job_pars)


def _run_merge(place: Place) -> None:
    job = {
        "PandaID": PANDA_ID,
        "eventServiceMerge": "True",
        "transformation": "payload.py",
        "jobPars": f"merge --input=@{LIST} merged.root",
        "writeToFile": f"{LIST}:{','.join(MERGED)}",
        "inFiles": "zip://one.tar,zip://two.tar",
        "outFiles": "merged.root",
    }
    place.run_job(job, {"input_url": str(place.inputs)})


def _tar(path: Path, names: list[str]) -> None:
    with tarfile.open(path, "w") as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(MERGED[name])
            archive.addfile(info, BytesIO(MERGED[name]))


@_scenario
def merge(place: Place) -> None:
    """a merge job"""
    _tar(place.inputs / "one.tar", list(MERGED)[:2])
    _tar(place.inputs / "two.tar", list(MERGED)[2:])
    _run_merge(place)


@_scenario
def merge_incomplete(place: Place) -> None:
    """an event range is in none of the archives"""
    _tar(place.inputs / "one.tar", list(MERGED)[:2])
    _tar(place.inputs / "two.tar", list(MERGED)[2:3])
    _run_merge(place)
