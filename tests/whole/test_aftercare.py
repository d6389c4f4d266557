"""resume, audit and replay as commands: what the user sees of a job that has ended, or has not."""

from pathlib import Path

import pytest
from whole.commands import DONE, FAILED, SOON, UNUSABLE, Command, MakeJob, said

RECORDED = Path(__file__).parents[1] / "recorded"


@pytest.fixture
def work(journal: Path) -> Path:
    return journal.parent


def test_a_job_that_is_done_is_not_run_again_by_a_resume(esfsm: Command, make_job: MakeJob, tmp_path: Path) -> None:
    work = tmp_path / "done"
    assert esfsm("run", make_job(), "--workdir", work, "--events", 3, "--quiet").exit_code == DONE
    before = (work / "journal.jsonl").read_bytes()
    told = esfsm("resume", work, "--quiet")
    assert told.exit_code == DONE
    assert "done; event ranges" in told.out
    assert (work / "journal.jsonl").read_bytes() == before


def test_a_resume_where_there_is_no_journal(esfsm: Command, tmp_path: Path) -> None:
    assert said(esfsm("resume", tmp_path)).endswith("there is no journal to go on with")
    assert list(tmp_path.iterdir()) == []


def test_a_resume_with_a_setting_that_does_not_exist(esfsm: Command, work: Path) -> None:
    assert said(esfsm("resume", work, "--set", "grace=1")).startswith("there is no setting 'grace'")


def test_an_audit_of_books_that_agree(esfsm: Command, work: Path) -> None:
    told = esfsm("audit", work)
    assert (told.exit_code, told.err) == (DONE, "")
    assert told.out.splitlines()[0].endswith(": the books agree")


def test_an_audit_that_finds_a_difference_names_it(esfsm: Command, work: Path) -> None:
    archive = next((work / "outputs").iterdir())
    archive.unlink()
    told = esfsm("audit", work)
    assert told.exit_code == FAILED
    assert f"  archive {archive.name}: missing at {archive}\n" in told.out


def test_an_audit_where_no_job_was_run(esfsm: Command, tmp_path: Path) -> None:
    assert "there is no journal.jsonl" in said(esfsm("audit", tmp_path))


def test_several_journals_are_replayed_each_under_its_name(esfsm: Command) -> None:
    journals = [RECORDED / "one-core.jsonl", RECORDED / "plain.jsonl"]
    told = esfsm("replay", *journals)
    assert told.exit_code == DONE
    stories = [journal.with_suffix(".txt").read_text().rstrip("\n") for journal in journals]
    expected = "".join(f"{journal}:\n{story}\n" for journal, story in zip(journals, stories, strict=True))
    assert told.out == expected


def test_a_job_is_replayed_with_other_settings(esfsm: Command) -> None:
    journal = RECORDED / "one-core.jsonl"
    told = esfsm("replay", journal, "--what-if", "zip_max_ranges=1", "--what-if", "retry_pause_s=9")
    assert told.exit_code == DONE
    assert told.out.splitlines()[0].endswith("zip_max_ranges=1, retry_pause_s=9")
    assert esfsm("replay", journal, "--what-if", "zip_max_ranges").exit_code == UNUSABLE


@pytest.fixture
def stopped(esfsm: Command, make_job: MakeJob, tmp_path: Path) -> Path:
    """The work directory of a job that failed with event ranges left."""
    work = tmp_path / "left"
    assert esfsm("run", make_job("fail 2"), "--workdir", work, "--events", 5, "--quiet", *SOON).exit_code == FAILED
    return work


def test_a_job_is_not_taken_up_with_another_broker(esfsm: Command, stopped: Path, tmp_path: Path) -> None:
    before = (stopped / "journal.jsonl").read_bytes()
    told = said(esfsm("resume", stopped, "--set", f"broker={tmp_path / 'other.sqlite'}"))
    assert told.startswith("the server does not know event range 1001-5001-1-1-10 of this job")
    assert (stopped / "journal.jsonl").read_bytes() == before


def test_a_job_is_not_taken_up_with_an_executor_that_is_not_there(esfsm: Command, stopped: Path) -> None:
    before = (stopped / "journal.jsonl").read_bytes()
    assert said(esfsm("resume", stopped, "--set", "executor_type=nobody")).startswith(
        "there is no executor type 'nobody'"
    )
    assert (stopped / "journal.jsonl").read_bytes() == before


def test_event_ranges_of_one_task_are_not_reported_for_another(
    esfsm: Command, make_job: MakeJob, stopped: Path
) -> None:
    told = said(esfsm("run", make_job(taskID=1002), "--workdir", stopped, "--events", 5, "--quiet"))
    assert told.endswith("its event ranges are of another task or jobset; choose another")


def test_what_is_no_file_and_has_no_end_is_not_read(esfsm: Command) -> None:
    assert said(esfsm("replay", "/dev/zero")).endswith("it is no regular file")
