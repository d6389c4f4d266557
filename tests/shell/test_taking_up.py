"""resume: all that a job needs to go on is in its work directory."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from shell.jobs import plain_job, write_inputs
from shell.journals import changed

import esfsm
from esfsm.core.engine import Engine
from esfsm.core.facts import ExecutorSelected, Fact, JobResumed
from esfsm.errors import ReplayDiverged, UnknownName, UnusableInput, UnusableJournal
from esfsm.given import change_settings
from esfsm.journal.file import JOURNAL
from esfsm.journal.reader import read

ENDLESS = "import threading\nthreading.Event().wait()\n"
HELLO = "from pathlib import Path\nPath('out.txt').write_text('hello')\n"


@pytest.fixture
def stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The work directory of a plain job that was stopped; we are somewhere else by now."""

    def watch(fact: Fact, _: Engine) -> None:
        if fact.name == "payload_started":
            signal.raise_signal(signal.SIGTERM)

    write_inputs(tmp_path, "transform.py", ENDLESS)
    monkeypatch.chdir(tmp_path)
    assert esfsm.run_workflow(plain_job(), workdir="work", settings={"cores": 3}, watch=watch).state == "stopped"
    (tmp_path / "transform.py").write_text(HELLO)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "work"


def facts(workdir: Path, kind: type[Fact]) -> list[Fact]:
    return [entry.fact for entry in read(workdir / JOURNAL)[1] if isinstance(entry.fact, kind)]


@pytest.mark.parametrize("form", [Path, str])
def test_a_stopped_job_is_taken_up_with_the_definition_and_the_settings_of_its_journal(
    stopped: Path, form: Callable[[Path], Path | str]
) -> None:
    seen: list[str] = []
    outcome = esfsm.resume(form(stopped), watch=lambda fact, _: seen.append(fact.name))
    assert (outcome.state, outcome.panda_id, outcome.journal) == ("done", 7000000123, stopped / JOURNAL)
    assert (stopped / "outputs" / "out.txt").read_text() == "hello"
    (resumed,) = facts(stopped, JobResumed)
    assert isinstance(resumed, JobResumed)
    assert (resumed.settings["cores"], resumed.adopted) == (3, False)
    assert (seen[0], seen[-1]) == ("job_resumed", "job_reported")


def test_settings_can_be_other_than_before_and_the_journal_says_who_changed_them(stopped: Path) -> None:
    esfsm.resume(stopped, settings={"grace_s": 7, "output_url": str(stopped / "there")})
    (resumed,) = facts(stopped, JobResumed)
    assert isinstance(resumed, JobResumed)
    assert (resumed.settings["grace_s"], resumed.settings["cores"]) == (7.0, 3)
    assert (stopped / "there" / "out.txt").is_file()
    first, second = facts(stopped, ExecutorSelected)
    assert (first.why[-7:], second.why[-7:]) == ("default", "journal")


def test_a_setting_that_was_changed_stays_so_when_the_job_is_taken_up_once_more(stopped: Path) -> None:
    def watch(fact: Fact, _: Engine) -> None:
        if fact.name == "executor_selected":
            signal.raise_signal(signal.SIGTERM)

    assert esfsm.resume(stopped, settings={"cores": 5}, watch=watch).state == "stopped"
    assert esfsm.resume(stopped).state == "done"
    assert [fact.settings["cores"] for fact in facts(stopped, JobResumed) if isinstance(fact, JobResumed)] == [5, 5]


def test_a_changed_setting_has_who_changed_it_and_all_others_are_of_the_journal() -> None:
    settings, said_by = change_settings(esfsm.Settings(cores=3), {"grace_s": 7})
    assert (settings.cores, settings.grace_s) == (3, 7)
    assert (said_by["grace_s"], said_by["cores"]) == ("argument", "journal")


@pytest.mark.parametrize(
    ("changes", "fault", "why"),
    [
        ({"no_such": 1}, UnknownName, "there is no setting 'no_such'"),
        ({"cores": 0}, UnusableInput, r"setting cores \(argument\)"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_and_the_journal_stays_as_it_is(
    stopped: Path, changes: dict[str, object], fault: type[UnusableInput], why: str
) -> None:
    content = (stopped / JOURNAL).read_bytes()
    with pytest.raises(fault, match=why):
        esfsm.resume(stopped, settings=changes)
    assert (stopped / JOURNAL).read_bytes() == content


def test_where_there_is_no_journal_there_is_nothing_to_take_up(tmp_path: Path) -> None:
    for workdir in (tmp_path, tmp_path / "gone"):
        with pytest.raises(UnusableJournal, match="there is no journal to go on with"):
            esfsm.resume(workdir)
    assert not list(tmp_path.iterdir())


def test_a_journal_with_other_tables_is_refused(stopped: Path) -> None:
    tables = read(stopped / JOURNAL)[0].tables
    changed(stopped / JOURNAL, tables.encode(), b"another")
    content = (stopped / JOURNAL).read_bytes()
    with pytest.raises(UnusableJournal, match="generic is another table now; finish it with the version that began it"):
        esfsm.resume(stopped)
    assert (stopped / JOURNAL).read_bytes() == content


def test_a_journal_with_other_decisions_is_not_gone_on_with(stopped: Path) -> None:
    changed(stopped / JOURNAL, b"-> classified", b"-> sorted")
    with pytest.raises(ReplayDiverged, match="the journal has -> sorted; select_executor 2, this code decides -> clas"):
        esfsm.resume(stopped)


def test_a_job_that_is_done_has_nothing_left_to_do(stopped: Path) -> None:
    done = esfsm.resume(stopped)
    content = (stopped / JOURNAL).read_bytes()
    assert esfsm.resume(stopped) == done
    assert (stopped / JOURNAL).read_bytes() == content
