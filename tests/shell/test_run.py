"""run_workflow: what it takes, where it works, who decides a setting, and what it never writes down."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from types import FrameType

import pytest
from loguru import logger
from shell.jobs import es_job, es_settings, installed, plain_job, write_inputs
from shell.journals import changed

import esfsm
from esfsm import plugins
from esfsm.core.engine import Engine
from esfsm.core.facts import ExecutorSelected, Fact
from esfsm.errors import ReplayDiverged, UnreadableJob, UnusableInput, UnusableJournal
from esfsm.journal.file import JOURNAL
from esfsm.journal.reader import read
from esfsm.loop import Watch
from esfsm.stops import STOP_SIGNALS

RANGES = 6
HELLO = "from pathlib import Path\nPath('out.txt').write_text('hello')\n"
QUICK = "shell.jobs:QuickExecutor"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where we are: a directory with the inputs of an Event Service job and of a plain one."""
    write_inputs(tmp_path)
    write_inputs(tmp_path, "transform.py", HELLO)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[None]:
    names = ("quick", "by-argument", "by-environment", "by-queue-data", "by-file")
    with installed(tmp_path / "site", {f"esfsm.executors:{name}": QUICK for name in names}):
        yield


# --- what it takes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["job", "mapping", "path", "text"])
def test_a_job_is_a_job_a_mapping_or_a_path(place: Path, form: str) -> None:
    (place / "job.json").write_text(json.dumps(plain_job()))
    job = {"job": esfsm.Job.read(plain_job()), "mapping": plain_job(), "path": place / "job.json", "text": "job.json"}
    outcome = esfsm.run_workflow(job[form])
    assert outcome.state == "done"
    assert outcome.journal == place / "PanDA_Pilot-7000000123" / JOURNAL


def test_inputs_are_looked_for_beside_the_file_of_the_job(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "job.json").write_text(json.dumps(plain_job(inFiles="EVNT.pool.root")))
    (place / "elsewhere").mkdir()
    monkeypatch.chdir(place / "elsewhere")
    assert esfsm.run_workflow("../job.json", workdir="here").state == "done"
    assert (place / "elsewhere" / "here" / "EVNT.pool.root").is_file()


def test_a_file_that_is_not_there_is_refused(place: Path) -> None:
    with pytest.raises(UnreadableJob, match=r"gone\.json: No such file"):
        esfsm.run_workflow("gone.json")


def test_a_work_directory_that_cannot_be_made_is_refused(place: Path) -> None:
    with pytest.raises(UnusableInput, match=r"work directory .*Not a directory"):
        esfsm.run_workflow(plain_job(), workdir=place / "transform.py" / "work")


def test_an_event_service_job_for_which_there_are_no_ranges_is_refused_and_can_be_run_later(
    place: Path, quick: None
) -> None:
    with pytest.raises(UnusableInput, match="give the setting events"):
        esfsm.run_workflow(es_job(), workdir="work", settings={"executor_type": "quick"})
    settings = es_settings(place, RANGES, executor_type="quick")
    assert esfsm.run_workflow(es_job(), workdir="work", settings=settings).state == "done"


def test_who_watches_hears_every_fact_in_its_order(place: Path, quick: None) -> None:
    seen: list[tuple[str, str]] = []

    def watch(fact: Fact, engine: Engine) -> None:
        seen.append((fact.name, engine.state))

    outcome = esfsm.run_workflow(
        es_job(), workdir="work", settings=es_settings(place, RANGES, executor_type="quick"), watch=watch
    )
    assert [name for name, _ in seen] == [entry.fact.name for entry in read(outcome.journal)[1]]
    assert (seen[0], seen[-1]) == (("job_classified", "classified"), ("job_reported", "done"))


def test_a_second_engine_in_the_same_work_directory_is_refused(place: Path) -> None:
    refused: list[str] = []

    def watch(_: Fact, __: Engine) -> None:
        with pytest.raises(UnusableJournal) as refusal:
            esfsm.run_workflow(plain_job(), workdir="work")
        refused.append(refusal.value.why)

    assert esfsm.run_workflow(plain_job(), workdir="work", watch=watch).state == "done"
    assert set(refused) == {"another engine is running this job"}


def test_a_whole_settings_object_is_taken_as_it_is(place: Path) -> None:
    settings = esfsm.Settings.layered({"input_url": str(place), "output_url": str(place / "there")})[0]
    outcome = esfsm.run_workflow(plain_job(), workdir="work", settings=settings)
    assert [output.url for output in outcome.outputs] == [f"{place}/there/out.txt"]


def test_a_whole_settings_object_gets_the_same_defaults(place: Path) -> None:
    outcome = esfsm.run_workflow(plain_job(inFiles="EVNT.pool.root"), workdir="work", settings=esfsm.Settings())
    assert outcome.state == "done"
    given = read(outcome.journal)[0].settings
    assert (given.input_url, given.transformations) == (str(place), place)


def test_a_whole_settings_object_and_a_file_are_refused(place: Path) -> None:
    (place / "settings.toml").touch()
    with pytest.raises(UnusableInput, match="contradict each other"):
        esfsm.run_workflow(plain_job(), settings=esfsm.Settings(), config=place / "settings.toml")


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({}, "."),
        ({"input_url": "inputs"}, "inputs"),
        ({"input_url": "file://{}/inputs"}, "inputs"),
        ({"input_url": "far://inputs"}, "."),
        ({"input_url": "inputs", "transformations": "mine"}, "mine"),
    ],
)
def test_transformations_are_beside_local_inputs_or_the_job_unless_somebody_says_otherwise(
    place: Path, said: dict[str, str], found: str
) -> None:
    (place / found).mkdir(exist_ok=True)
    (place / "transform.py").rename(place / found / "transform.py")
    settings = {name: value.format(place) for name, value in said.items()}
    with installed(place / "site", {"esfsm.storage:far": "far:Far"}, {"far.py": "Far = repr\n"}):
        outcome = esfsm.run_workflow(plain_job(), workdir="work", settings=settings)
    assert outcome.state == "done"
    assert read(outcome.journal)[0].settings.transformations == (place / found)


@pytest.mark.parametrize("job", [plain_job(workflow="eventservice"), es_job(workflow="generic")])
def test_a_workflow_that_is_not_for_the_kind_of_the_job_is_refused(place: Path, job: dict[str, object]) -> None:
    settings = {"workflow": job.pop("workflow"), "events": 1}
    with pytest.raises(UnusableInput, match=f"the workflow {settings['workflow']} is not for a job of kind"):
        esfsm.run_workflow(job, workdir="work", settings=settings)
    assert not (place / "work").exists()


def test_a_done_job_with_another_definition_is_refused(place: Path) -> None:
    assert esfsm.run_workflow(plain_job(), workdir="work").state == "done"
    assert esfsm.run_workflow(plain_job(), workdir="work").state == "done"
    with pytest.raises(UnusableInput, match="another definition of this job is done there"):
        esfsm.run_workflow(plain_job(jobPars="--more"), workdir="work")


def test_a_journal_with_other_decisions_is_not_gone_on_with(place: Path) -> None:
    journal = esfsm.run_workflow(plain_job(), workdir="work").journal
    changed(journal, b"stage_in 3", b"stage_out 3")
    with pytest.raises(ReplayDiverged, match=r"the journal has .*; stage_out 3, this code decides .*; stage_in 3"):
        esfsm.run_workflow(plain_job(), workdir="work")


MEDDLER = """\
from shell.jobs import QuickExecutor, QuickPayload
from esfsm.core.facts import PayloadFinished


class Meddler(QuickExecutor):
    def start(self, payload, hooks, *, event_service):
        hooks._put(PayloadFinished(answers=999))
        return QuickPayload(payload, hooks)
"""


def test_a_fact_that_answers_what_nobody_asked_is_left_out(place: Path) -> None:
    with installed(place / "site", {"esfsm.executors:meddler": "meddler:Meddler"}, {"meddler.py": MEDDLER}):
        settings = es_settings(place, RANGES, executor_type="meddler")
        outcome = esfsm.run_workflow(es_job(), workdir="work", settings=settings)
    assert outcome.state == "done"
    assert all(entry.fact.answers < 999 for entry in read(outcome.journal)[1])
    assert esfsm.replay(outcome.journal).engine.state == "done"


# --- who decides ------------------------------------------------------------------------------------------------

QUEUE_DATA = """ --overwriteQueueData={'params': {'es_executor_type': 'by-queue-data'}}"""


@pytest.mark.parametrize(
    ("argument", "environment", "queue_data", "file", "chosen", "who"),
    [
        (True, True, True, True, "by-argument", "argument"),
        (False, True, True, True, "by-environment", "environment"),
        (False, False, True, True, "by-queue-data", "queue data"),
        (False, False, False, True, "by-file", "file"),
        (False, False, False, False, "generic", "default"),
        (True, False, False, True, "by-argument", "argument"),
    ],
)
def test_the_executor_type_is_chosen_by_the_highest_that_says_something_and_the_journal_says_who(
    place: Path,
    quick: None,
    monkeypatch: pytest.MonkeyPatch,
    argument: bool,
    environment: bool,
    queue_data: bool,
    file: bool,
    chosen: str,
    who: str,
) -> None:
    (place / "settings.toml").write_text("executor_type = 'by-file'" if file else "")
    if environment:
        monkeypatch.setenv("PILOT_ES_EXECUTOR_TYPE", "by-environment")
    said = {"executor_type": "by-argument"} if argument else {}
    job = es_job(jobPars="0" + QUEUE_DATA * queue_data)
    settings = es_settings(place, RANGES, **said)
    outcome = esfsm.run_workflow(job, workdir="work", settings=settings, config=place / "settings.toml")
    assert outcome.state == "done"
    (selected,) = (e.fact for e in read(outcome.journal)[1] if isinstance(e.fact, ExecutorSelected))
    assert (selected.payload_executor, selected.executor_type) == ("eventservice", chosen)
    assert selected.why == f"the job is of kind eventservice; executor type {chosen} is from: {who}"


@pytest.mark.parametrize("job_says", [{}, {"es_executor_type": "by-argument"}], ids=["queue", "job"])
def test_a_file_says_what_the_queue_says_and_the_job_overwrites_it(
    place: Path, quick: None, job_says: dict[str, str]
) -> None:
    (place / "queue.json").write_text('{"CERN": {"params": {"es_executor_type": "by-queue-data"}, "zip_time_gap": 77}}')
    overwrite = f" --overwriteQueueData={{'params': {job_says}}}" if job_says else ""
    settings = es_settings(place, RANGES, queuedata="queue.json")
    outcome = esfsm.run_workflow(es_job(jobPars="0" + overwrite), workdir="work", settings=settings)
    given = read(outcome.journal)[0].settings
    assert (given.executor_type, given.zip_time_gap_s) == (job_says.get("es_executor_type", "by-queue-data"), 77)


@pytest.mark.parametrize(
    ("content", "why"), [(None, "No such file"), ("{", "not JSON"), ("[]", "a JSON object is expected")]
)
def test_queue_data_that_cannot_be_used_are_refused(place: Path, content: str | None, why: str) -> None:
    if content is not None:
        (place / "queue.json").write_text(content)
    with pytest.raises(UnusableInput, match=f"queue data.*{why}"):
        esfsm.run_workflow(plain_job(), settings={"queuedata": "queue.json"})


# --- tables of your own -----------------------------------------------------------------------------------------


@pytest.fixture
def own_table() -> str:
    """The table of a plain job with one state renamed."""
    return (plugins.shelf() / "generic.toml").read_text().replace("payload-running", "computing")


def test_a_table_of_your_own_decides_the_way_of_a_job(place: Path, own_table: str) -> None:
    (place / "mine.toml").write_text(own_table)
    outcome = esfsm.run_workflow(plain_job(), workdir="work", settings={"workflow": "mine.toml"})
    assert "computing" in outcome.path
    (place / "elsewhere").mkdir()
    os.chdir(place / "elsewhere")
    assert esfsm.replay(outcome.journal).engine.state == "done"
    with pytest.raises(UnusableJournal, match="written with another table"):
        esfsm.run_workflow(plain_job(), workdir="../work", settings={"input_url": ".."})


def test_a_table_that_an_installed_package_adds_decides_the_way_of_a_job(place: Path, own_table: str) -> None:
    files = {"tables/__init__.py": "", "tables/mine.toml": own_table}
    with installed(place / "site", {"esfsm.workflows:mine": "tables"}, files):
        outcome = esfsm.run_workflow(plain_job(), workdir="work", settings={"workflow": "mine"})
        assert "computing" in outcome.path
        assert esfsm.replay(outcome.journal).engine.state == "done"


# --- stops ------------------------------------------------------------------------------------------------------

ENDLESS = "import threading\nthreading.Event().wait()\n"


def stop_at(name: str, number: signal.Signals) -> Watch:
    def watch(fact: Fact, _: Engine) -> None:
        if fact.name == name:
            signal.raise_signal(number)

    return watch


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_stop_request_stops_the_payload_and_leaves_the_signals_as_they_were(
    place: Path, number: signal.Signals
) -> None:
    (place / "transform.py").write_text(ENDLESS)
    before = [signal.getsignal(n) for n in STOP_SIGNALS]
    outcome = esfsm.run_workflow(plain_job(), workdir="work", watch=stop_at("payload_started", number))
    assert (outcome.state, outcome.exit_code) == ("stopped", 3)
    assert f"a stop was asked for by {number.name}" in outcome.sentence
    assert [signal.getsignal(n) for n in STOP_SIGNALS] == before


def test_a_stopped_job_is_taken_up_again(place: Path) -> None:
    (place / "transform.py").write_text(ENDLESS)
    watch = stop_at("payload_started", signal.SIGTERM)
    assert esfsm.run_workflow(plain_job(), workdir="work", watch=watch).state == "stopped"
    (place / "transform.py").write_text(HELLO)
    outcome = esfsm.run_workflow(plain_job(), workdir="work")
    assert (outcome.state, outcome.exit_code, [o.lfn for o in outcome.outputs]) == ("done", 0, ["out.txt"])


def test_a_stop_request_just_before_the_engine_waits_is_heard(place: Path) -> None:
    (place / "transform.py").write_text(ENDLESS)

    def about_to_wait(frame: FrameType, event: str, _: object) -> None:
        if (event, frame.f_code.co_name) == ("call", "wait"):
            sys.setprofile(None)
            signal.raise_signal(signal.SIGTERM)

    def watch(fact: Fact, _: Engine) -> None:
        if fact.name == "payload_started":
            sys.setprofile(about_to_wait)

    assert esfsm.run_workflow(plain_job(), workdir="work", watch=watch).state == "stopped"


def test_a_job_can_be_run_in_any_thread(place: Path) -> None:
    outcomes: list[esfsm.Outcome] = []
    thread = Thread(target=lambda: outcomes.append(esfsm.run_workflow(plain_job(), workdir="work")))
    thread.start()
    thread.join()
    assert [outcome.state for outcome in outcomes] == ["done"]


# --- what is synced, and what is never written ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sync", "count"),
    [
        ("never", 3),  # when it is begun: empty, and with its first line; and when it is closed
        ("effects", 5),  # and before outputs are stored, and the job reported
        ("always", 11),  # each of 7 facts, and what was decided before these two; closing adds nothing
    ],
)
def test_sync_says_how_often_the_journal_is_brought_to_the_disk(
    place: Path, monkeypatch: pytest.MonkeyPatch, sync: str, count: int
) -> None:
    synced: list[int] = []
    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", synced.append)
        outcome = esfsm.run_workflow(plain_job(), workdir="work", settings={"sync": sync})
    assert (outcome.state, len(synced)) == ("done", count)


SECRETS = {
    "pandaProxySecretKey": "s3cret-of-the-proxy",
    "secrets": '{"GITHUB_TOKEN": "s3cret-of-github"}',
    "userToken": "s3cret-of-the-user",
}
STRANGE = """\
class Strange:
    def __init__(self, settings):
        pass

    def put(self, path, url):
        raise LookupError("lost")
"""


@pytest.mark.parametrize("output_url", [None, "strange://there"], ids=["done", "broken"])
def test_secrets_of_a_job_are_nowhere(
    place: Path, quick: None, capfd: pytest.CaptureFixture[str], output_url: str | None
) -> None:
    logged: list[str] = []
    sink = logger.add(logged.append, level="TRACE", diagnose=True, backtrace=True)
    logger.enable("esfsm")
    job = esfsm.Job.read(es_job(**SECRETS))
    settings = es_settings(
        place, RANGES, executor_type="quick", output_url=output_url, stage_out_rounds=1, keep_outputs=True
    )
    try:
        with installed(place / "more", {"esfsm.storage:strange": "strange:Strange"}, {"strange.py": STRANGE}, "more"):
            outcome = esfsm.run_workflow(job, workdir="work", settings=settings)
        print(outcome, job, repr(job), esfsm.replay(outcome.journal))
    finally:
        logger.disable("esfsm")
        logger.remove(sink)
    assert outcome.state == ("failed" if output_url else "done")
    assert len(logged) > 3 * RANGES
    written = [path.read_bytes() for path in (place / "work").rglob("*") if path.is_file()]
    said = "".join([*logged, *capfd.readouterr()]).encode()
    assert len(written) > RANGES
    assert not [text for text in (*written, said) if b"s3cret" in text]


def test_nothing_is_logged_unless_somebody_asks_for_it(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert esfsm.run_workflow(plain_job(), workdir="work").state == "done"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", [b"caf\xe9", b"a\nb"])
def test_a_directory_whose_name_cannot_be_said_is_refused(place: Path, name: bytes) -> None:
    directory = Path(os.fsdecode(os.fsencode(place) + b"/" + name))
    with pytest.raises(UnusableInput, match="cannot be printed"):
        esfsm.run_workflow(plain_job(), workdir=directory)
    assert not directory.exists()
    directory.mkdir()
    (directory / "job.json").write_text(json.dumps(plain_job()))
    with pytest.raises(UnusableInput, match="cannot be printed"):
        esfsm.run_workflow(directory / "job.json", workdir="work")


def test_a_directory_of_any_other_name_serves(place: Path) -> None:
    outcome = esfsm.run_workflow(plain_job(), workdir=place / "Zürich, 'site' $HOME 東京")
    assert outcome.state == "done"
    assert esfsm.replay(outcome.journal).engine.state == "done"
