"""Payloads that fail, lie or babble: what the user sees, and that nothing finished is lost."""

from pathlib import Path

import pytest
from whole.commands import DONE, FAILED, SOON, Command, MakeJob, booked, facts


@pytest.mark.parametrize(
    ("job_pars", "settings", "sentence", "counts"),
    [
        ("end 1", "", "the payload failed (exit code 1)", {"ready": 6}),
        ("end 0", "", "the payload ended without asking for an event range", {"ready": 6}),
        ("stay", "looping_limit_s=0.1", "the payload has said nothing and touched no file for 0.", {"ready": 6}),
        (
            "ask_for_ever",
            "end_patience_s=0.1",
            "the payload did not end within 0.1 s after 'No more events'; event ranges: 6 finished",
            {"done": 6},
        ),
        (
            "ask_and_stay",
            "end_patience_s=0.1",
            "the payload did not end within 0.1 s after 'No more events'; event ranges: 6 finished",
            {"done": 6},
        ),
        (
            "die 4",
            "",
            "the payload was ended by SIGKILL; event ranges: 4 finished, 2 released",
            {"done": 4, "ready": 2},
        ),
        (
            "fail 4",
            "",
            "the payload failed (exit code 1); event ranges: 4 finished, 2 released",
            {"done": 4, "ready": 2},
        ),
    ],
)
def test_a_payload_that_fails_loses_nothing_and_a_better_one_does_the_rest(
    esfsm: Command,
    make_job: MakeJob,
    workdir: Path,
    job_pars: str,
    settings: str,
    sentence: str,
    counts: dict[str, int],
) -> None:
    arguments = ["--workdir", workdir, "--events", 6, "--json", "--quiet", *SOON]
    patience = ["--set", settings] if settings else []
    failed = esfsm("run", make_job(job_pars), *arguments, *patience)
    assert (failed.exit_code, failed.outcome["sentence"].startswith(f"failed: {sentence}")) == (FAILED, True)
    assert booked(workdir / "broker.sqlite") == counts
    archives = {output["url"] for output in failed.outcome["outputs"]}
    assert all(Path(url).is_file() for url in archives)
    assert bool(archives) == ("done" in counts)

    again = esfsm("run", make_job(), *arguments)
    assert again.exit_code == DONE
    assert booked(workdir / "broker.sqlite") == {"done": 6}
    assert archives <= {output["url"] for output in again.outcome["outputs"]}


AFTERWARDS = {"finished": "done", "failed": "ready"}
"""What the end of a job makes of its ranges: the failed ones are to be tried again."""


@pytest.mark.parametrize(
    ("job_pars", "counts"),
    [
        ("last_words", {"finished": 6}),
        ("several_files", {"finished": 6}),
        ("repeat", {"finished": 6}),
        ("say hello ERR_ATHENAMP_PARSE", {"finished": 6}),
        ("garbage 10000000", {"finished": 6}),
        ("lie 2", {"finished": 4, "failed": 2}),
        ("lie 6", {"failed": 6}),
        ("give_up", {"failed": 6}),
    ],
)
def test_a_payload_that_talks_nonsense_loses_no_good_result(
    esfsm: Command, make_job: MakeJob, workdir: Path, job_pars: str, counts: dict[str, int]
) -> None:
    told = esfsm("run", make_job(job_pars), "--workdir", workdir, "--events", 6, "--json", "--quiet")
    assert (told.exit_code, told.outcome["ranges"]) == (DONE, counts)
    assert booked(workdir / "broker.sqlite") == {AFTERWARDS[state]: n for state, n in counts.items()}


def test_what_nobody_understands_is_in_the_journal(esfsm: Command, make_job: MakeJob, workdir: Path) -> None:
    esfsm("run", make_job("say hello"), "--workdir", workdir, "--events", 2, "--quiet")
    unreadable = [fact.text for fact in facts(workdir, "message_unreadable")]
    assert unreadable == ["hello", "hello"]


def test_of_ten_megabytes_of_garbage_the_journal_has_the_beginning(
    esfsm: Command, make_job: MakeJob, workdir: Path
) -> None:
    esfsm("run", make_job("garbage 10000000"), "--workdir", workdir, "--events", 2, "--quiet")
    (text,) = (fact.text for fact in facts(workdir, "message_unreadable"))
    assert set(text) == {"\ufffd"}
    assert (workdir / "journal.jsonl").stat().st_size < 20_000


def test_an_output_that_is_not_there_is_told_with_its_name(esfsm: Command, make_job: MakeJob, workdir: Path) -> None:
    esfsm("run", make_job("lie 1"), "--workdir", workdir, "--events", 2, "--quiet")
    (why,) = (fact.why for fact in facts(workdir, "range_errored"))
    missing = f"{workdir}/nowhere.1001-5001-1-1-10"
    assert (
        why == f"the output that the payload announced is not there: [Errno 2] No such file or directory: '{missing}'"
    )
