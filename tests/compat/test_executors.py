"""Our executors inside of pilot3: its WorkExecutor loads them, with its own job, against a PanDA server for tests."""

import json
import logging
import os
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from compat import incumbent
from compat.incumbent import old_ways
from whole.processes import PATIENCE_S, no_thread_left, payload, pipe

from esfsm.compat.pilot3 import GenericExecutor, RaythenaExecutor
from esfsm.errors import UnusableInput
from esfsm.journal.reader import read
from esfsm.standins.panda.books import Books
from esfsm.standins.panda.server import PandaServer
from esfsm.standins.panda.tasks import Task
from esfsm.testing.panda import ServedPanda, serve_panda

RANGES = 20
DYING = Path(__file__).with_name("dying.py")
TESTS = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
PANDA_ID, TASK_ID, JOBSET_ID = 5001, 1001, 4001


class WorkExecutor(incumbent.work.WorkExecutor):
    """pilot3's, with two lines of its table changed."""

    def get_plugin_confs(self) -> dict[str, Any]:
        confs = super().get_plugin_confs()
        return {**confs, "class": f"esfsm.compat.pilot3.{confs['class'].rpartition('.')[2]}"}


class Site(NamedTuple):
    """A PanDA server with one job, and where a pilot of it works and stores."""

    panda: ServedPanda
    books: Books
    place: Path

    @property
    def statuses(self) -> Counter[str]:
        return Counter(row.status for row in self.books.ranges())

    def archives(self) -> set[str]:
        return {path.name for path in (self.place / "out").glob("*.tar")}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    books = Books()
    books.submit(Task(TASK_ID, JOBSET_ID, PANDA_ID, RANGES))
    with no_thread_left(), serve_panda(PandaServer(books)) as panda:
        monkeypatch.setenv("PANDA_SERVER_URL", panda.url)
        monkeypatch.setenv("ESFSM_OUTPUT_URL", str(tmp_path / "out"))
        monkeypatch.setenv("ESFSM_OUTPUT_RSE_ID", "1318")
        monkeypatch.setenv("ESFSM_RETRY_PAUSE_S", "0.01")
        monkeypatch.setenv("ESFSM_SETUP_RETRIES", "0")
        yield Site(panda, books, tmp_path)
    books.close()


MakePayload = Callable[..., dict[str, Any]]


@pytest.fixture
def make_payload(site: Site) -> Iterator[MakePayload]:
    """As pilot3's payload executor makes it: its job, its command line, and its files, which it has open."""
    opened: list[Any] = []
    (site.place / "work").mkdir()

    def make_payload(*arguments: object, **changes: object) -> dict[str, Any]:
        (definition,) = site.books.acquire_jobs("TEST_ES")
        with old_ways():
            job = incumbent.jobs.JobData({**definition, **changes})
        job.workdir = str(site.place / "work")
        job.definition = definition
        job.infosys = SimpleNamespace(queuedata=SimpleNamespace(es_stageout_gap=600))
        opened.extend((site.place / "work" / f"payload.{name}").open("wb") for name in ("stdout", "stderr"))
        files = dict(zip(("output_file", "error_file"), opened, strict=True))
        return {"executable": shlex.join(payload(*arguments)), "workdir": job.workdir, "job": job, **files}

    yield make_payload
    for file in opened:
        file.close()


def begun(payload: dict[str, Any], executor_type: str = "generic") -> incumbent.work.WorkExecutor:
    """As pilot3 begins it: returns when the payload runs, or cannot."""
    work = WorkExecutor(args={"executor_type": executor_type})
    work.set_payload(payload)
    work.start()
    return work


def ended(work: incumbent.work.WorkExecutor) -> int | None:
    work.plugin.join(PATIENCE_S)
    assert not work.is_alive()
    return work.get_exit_code()


class Said(logging.Handler):
    """Puts what the pilot's log says of the job's states into a queue."""

    def __init__(self, states: SimpleQueue[str]) -> None:
        super().__init__(logging.INFO)
        self.states = states

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith("the job is "):
            self.states.put(record.getMessage().removeprefix("the job is "))


@pytest.fixture
def states() -> Iterator[SimpleQueue[str]]:
    """Those that the job enters, as the pilot's log tells them."""
    log, states = logging.getLogger("esfsm.compat"), SimpleQueue[str]()
    log.addHandler(said := Said(states))
    log.setLevel(logging.INFO)
    yield states
    log.setLevel(logging.NOTSET)
    log.removeHandler(said)


def next_state(states: SimpleQueue[str]) -> str:
    return states.get(timeout=PATIENCE_S)


def test_pilot3_loads_it_by_its_class_path_and_runs_a_job_to_its_end(site: Site, make_payload: MakePayload) -> None:
    given = make_payload("simulate")
    work = begun(given)
    assert type(work.plugin) is GenericExecutor
    assert ended(work) == 0
    assert site.statuses == {"finished": RANGES}
    assert {row.zip_lfn for row in site.books.ranges()} == site.archives()
    assert given["job"].nevents == RANGES


def test_the_pilot_alone_says_how_the_job_stands(site: Site, make_payload: MakePayload) -> None:
    ended(begun(make_payload("simulate")))
    assert {"getEventRanges", "updateEventRanges"} == set(site.panda.calls)


def test_the_journal_is_in_the_work_directory_of_the_job(site: Site, make_payload: MakePayload) -> None:
    ended(begun(make_payload("simulate")))
    header, entries = read(site.place / "work" / "journal.jsonl")
    assert (header.panda_id, header.settings.zip_time_gap_s) == (PANDA_ID, 600)
    assert "eventservice" in header.workflow
    assert next(iter(entries)).fact.name == "job_classified"


def test_a_payload_has_a_process_group_of_its_own_which_the_pilot_is_told(
    site: Site, make_payload: MakePayload
) -> None:
    go = pipe(site.place / "work", "go")
    given = make_payload("simulate", "go")
    work = begun(given)
    with go.open("w"):
        assert work.get_pid() == given["job"].pid
        assert Path(f"/proc/{work.get_pid()}/stat").read_text().rpartition(")")[2].split()[2] == str(work.get_pid())
    assert ended(work) == 0
    assert work.get_pid() is None


def test_a_stop_stores_what_is_finished_and_gives_back_the_rest(
    site: Site, make_payload: MakePayload, states: SimpleQueue[str]
) -> None:
    go = pipe(site.place / "work", "go")
    work = begun(make_payload("simulate", "go", 3))
    with go.open("w"):
        while next_state(states) != "es-running":
            pass
        work.stop()
        work.stop()
        assert work.plugin.is_stop()
        assert next_state(states) == "stopping"
    assert ended(work) == 0
    assert work.plugin.outcome.state == "stopped"
    assert site.statuses["finished"] == 4
    assert site.statuses["failed"] == 0


def test_what_a_payload_does_in_its_shell_is_what_the_pilot_wrote(site: Site, make_payload: MakePayload) -> None:
    given = make_payload("simulate")
    given["executable"] = f"echo $ATHENA_PROC_NUMBER; WORD='a b'; echo \"$WORD\"; {given['executable']};"
    given["job"].corecount = 3
    assert ended(begun(given)) == 0
    assert (site.place / "work" / "payload.stdout").read_text() == "3\na b\n"


@pytest.mark.parametrize(
    ("arguments", "exit_code", "finished"), [(("fail", 3), 1, 3), (("end", 7), 7, 0)], ids=["later", "at once"]
)
def test_a_payload_that_fails_has_its_exit_code_and_keeps_what_it_has_finished(
    site: Site, make_payload: MakePayload, arguments: tuple[object, ...], exit_code: int, finished: int
) -> None:
    assert ended(begun(make_payload(*arguments))) == exit_code
    assert site.statuses["finished"] == finished


def test_the_pilot_error_code_is_told_where_the_payload_is_not_at_fault(site: Site, make_payload: MakePayload) -> None:
    (site.place / "out").write_text("no directory")
    work = begun(make_payload("simulate"))
    assert ended(work) == work.plugin.outcome.pilot_error_code == 1137


@pytest.mark.parametrize(
    ("variables", "changes", "why"),
    [
        ({"ESFSM_OUTPUT_URL": ""}, {}, "there is no storage for archives: set ESFSM_OUTPUT_URL"),
        ({"ESFSM_OUTPUT_RSE_ID": ""}, {}, "there is no storage for archives: set ESFSM_OUTPUT_URL"),
        ({"ESFSM_CORES": "many"}, {}, "setting cores"),
        ({}, {"eventService": "False"}, "job 5001 is of kind generic, and needs no event ranges"),
    ],
    ids=["no storage", "a storage of no number", "no settings", "no event service"],
)
def test_a_job_that_cannot_be_run_says_why_in_the_pilots_log(
    make_payload: MakePayload,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    variables: dict[str, str],
    changes: dict[str, str],
    why: str,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    work = begun(make_payload("simulate", **changes))
    assert ended(work) == -1
    assert not work.plugin.is_payload_started()
    assert f"the job cannot be run: {why}" in caplog.text


def test_without_a_payload_it_cannot_run() -> None:
    executor = GenericExecutor()
    assert (executor.is_set_payload(), executor.get_payload(), executor.get_job()) == (False, None, None)
    executor.start()
    executor.join(PATIENCE_S)
    assert executor.get_exit_code() == -1


def test_whatever_the_plug_in_factory_gives_becomes_an_attribute() -> None:
    executor = GenericExecutor(args={"executor_type": "generic"}, queue="TEST_ES")
    assert (executor.args, executor.queue) == ({"executor_type": "generic"}, "TEST_ES")


def test_event_ranges_can_be_processed_beside_the_payload(site: Site, make_payload: MakePayload) -> None:
    go = pipe(site.place / "work", "go")
    work = begun(make_payload("simulate", "go"))
    with go.open("w"):
        one, two, three = work.plugin.get_event_ranges(3)
        finished = [{"eventRangeID": each["eventRangeID"], "eventStatus": "finished"} for each in (one, two)]
        zip_file = {"numEvents": 2, "objstoreID": 1318, "adler32": "000000", "lfn": "a.tar", "fsize": 9}
        for version, updates in (
            (1, [{"zipFile": {**zip_file, "pathConvention": 1000}, "eventRanges": finished}]),
            (0, [{"eventRangeID": three["eventRangeID"], "eventStatus": "failed", "errorCode": 1220}]),
        ):
            said = work.update_events({"version": version, "eventRanges": json.dumps(updates)})
            assert said == {"StatusCode": 0, "Returns": [True] * (2 - (not version))}
    assert ended(work) == 0
    assert site.statuses == {"finished": RANGES - 1, "failed": 1}
    assert Counter(row.zip_lfn for row in site.books.ranges())["a.tar"] == 2


@pytest.mark.parametrize(
    "text",
    ["no JSON", "[{}]", '[{"eventRangeID": "1-2-3-4-5", "eventStatus": "finished"}]', '[{"esOutput": {}}]', "3", "[3]"],
)
def test_an_update_that_panda_does_not_take_is_refused(site: Site, make_payload: MakePayload, text: str) -> None:
    go = pipe(site.place / "work", "go")
    work = begun(make_payload("simulate", "go"))
    with go.open("w"), pytest.raises(UnusableInput, match="event ranges cannot be updated with that"):
        work.update_events({"version": 1, "eventRanges": text})
    assert ended(work) == 0


def test_nothing_can_be_asked_of_panda_before_the_job_runs() -> None:
    with pytest.raises(incumbent.failures.SetupFailure):
        GenericExecutor().get_event_ranges()


def test_a_worker_of_raythena_moves_its_archives_to_the_output_directory(
    site: Site, make_payload: MakePayload, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ESFSM_OUTPUT_URL")
    monkeypatch.setenv("PILOT_OUTPUT_DIR", str(site.place / "out"))
    monkeypatch.setenv("PILOT_ES_EXECUTOR_TYPE", "raythena")
    work = begun(make_payload("simulate"), "raythena")
    assert type(work.plugin) is RaythenaExecutor
    assert ended(work) == 0
    assert {row.zip_lfn for row in site.books.ranges()} == site.archives()
    header, _ = read(site.place / "work" / "journal.jsonl")
    assert (header.settings.executor_type, header.settings.end_patience_s) == ("generic", 999_999)


def test_what_a_pilot_that_died_had_begun_goes_on_with_the_payload_that_it_left(
    site: Site, make_payload: MakePayload
) -> None:
    go = pipe(site.place / "work", "go")
    given = make_payload("simulate", "go", 3)
    told = json.dumps({"definition": given["job"].definition, "executable": given["executable"]})
    dying = subprocess.Popen([sys.executable, DYING, told, given["workdir"]], env={**os.environ, "PYTHONPATH": TESTS})
    with go.open("w"):  # the payload is in its fourth range now
        dying.kill()
        dying.wait(PATIENCE_S)
        work = begun(given)
        assert work.get_pid() is not None
    assert ended(work) == 0
    finished, unheard = site.statuses["finished"], site.statuses["sent"]
    assert finished + unheard == RANGES
    assert unheard < RANGES / 2, "at most what one answer had in it that died with the pilot; PanDA hands it out again"
    assert site.books.double_zip_files() == []


def test_a_job_that_is_done_is_not_run_again(site: Site, make_payload: MakePayload) -> None:
    given = make_payload("simulate")
    assert ended(begun(given)) == 0
    before = dict(site.panda.calls)
    assert ended(begun(given)) == 0
    assert dict(site.panda.calls) == before
