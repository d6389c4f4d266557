"""A machine that is taken away: what there is no time for is said, and nothing is reported that is not stored."""

import os
import signal
from pathlib import Path
from threading import Timer
from time import monotonic

import pytest
from shell.jobs import OUTPUT, booked, es_job, es_settings, installed, recorded, write_inputs

import esfsm
from esfsm.core import facts as f
from esfsm.core.engine import Engine
from esfsm.durable import adler32_of
from esfsm.journal.file import JOURNAL
from esfsm.journal.reader import read

RANGES, FIRST, GRACE_S = 40, 3, 4.0
SLOW = """\
from threading import Event
from esfsm.adapters.storage.fsspec import FsspecStorage

class SlowStorage(FsspecStorage):
    def __init__(self, settings):
        pass

    def put(self, path, url):
        Event().wait(1.0)
        stored = super().put(path, url.removeprefix("slow://"))
        return stored._replace(url=url)

    def names(self, url):
        return super().names(url.removeprefix("slow://"))
"""
PAYLOAD = f"""\
import sys
from pathlib import Path
from esfsm.payload import connect

with connect() as channel:
    for number, event_range in enumerate(channel):
        output = Path(f"{OUTPUT}.{{event_range.event_range_id}}")
        output.write_text("x" * 1000)
        channel.finished(event_range, output)
        if number == {FIRST - 1}:
            open(sys.argv[1]).read()
"""


@pytest.mark.timeout(60)
def test_with_little_time_and_a_slow_storage_what_will_be_lost_is_said_and_only_what_is_stored_is_reported(
    tmp_path: Path,
) -> None:
    """The first results are stored, so it is known how slow the storage is; then all others come at once."""
    inputs, workdir, go = write_inputs(tmp_path / "inputs", payload=PAYLOAD), tmp_path / "work", tmp_path / "go"
    os.mkfifo(go)
    stored, seen = [], {"stop_at": 0.0}

    def watch(fact: f.Fact, engine: Engine) -> None:
        counts = engine.ranges.ledger.counts()
        if counts.get("finished", 0) == FIRST - 1 and not stored:  # its last result comes with its next request
            stored.append(True)
            Timer(0.0, go.write_text, [""]).start()
        if sum(counts.get(state, 0) for state in ("produced", "packed")) > 30 and not seen["stop_at"]:
            seen["stop_at"] = monotonic()
            os.kill(os.getpid(), signal.SIGTERM)

    output_url = f"slow://{tmp_path}/outputs"
    settings = es_settings(inputs, RANGES, output_url=output_url, zip_max_ranges=1, grace_s=GRACE_S, stage_out_by="gap")
    with installed(tmp_path / "site", {"esfsm.storage:slow": "slow_storage:SlowStorage"}, {"slow_storage.py": SLOW}):
        outcome = esfsm.run_workflow(
            es_job(jobPars=str(go)), workdir=workdir, settings={**settings, "zip_max_ranges": 1}, watch=watch
        )
    assert outcome.state == "stopped"
    assert monotonic() - seen["stop_at"] < GRACE_S + 3.0
    facts = [entry.fact for entry in read(workdir / JOURNAL)[1]]
    expected = next(fact for fact in facts if isinstance(fact, f.LossExpected))
    released = {row.event_range_id for row in booked(workdir / "broker.sqlite") if row.status != "done"}
    assert expected.event_range_ids
    assert len(released) > 10
    assert facts.index(expected) < next(n for n, fact in enumerate(facts) if isinstance(fact, f.GraceEnded))
    done = [row for row in booked(workdir / "broker.sqlite") if row.status == "done"]
    assert len(done) > FIRST
    for lfn, adler32 in recorded(workdir / "broker.sqlite").items():
        assert adler32_of(tmp_path / "outputs" / lfn) == adler32
