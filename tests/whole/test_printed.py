"""Tables, drawings and results as they are printed: what the user sees, and that nothing finished is lost."""

from importlib.metadata import version
from pathlib import Path

import pytest
from whole.commands import DONE, FAILED, UNUSABLE, Command, MakeJob, said

UNSOUND = 'title = "x"\nstarts = "a"\nends = ["b"]\n[a]\non.payload_started = "c"\n'
FAULTS = [
    "3: state b cannot be reached",
    "4: from state a no end can be reached",
    "5: state a: the arrow on payload_started leads to c, which is no state",
]


def test_a_workflow_that_is_unsound_is_refused_with_all_its_faults(
    esfsm: Command, make_job: MakeJob, tmp_path: Path
) -> None:
    table = tmp_path / "mine.toml"
    table.write_text(UNSOUND)
    told = esfsm("run", make_job(), "--workdir", tmp_path / "work", "--set", f"workflow={table}")
    assert said(told) == "; ".join(f"{table}:{fault}" for fault in FAULTS)
    assert esfsm("check", table) == (UNUSABLE, "".join(f"{table}:{fault}\n" for fault in FAULTS), "")


def test_a_drawing_without_graphviz_says_how_to_get_it(
    esfsm: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert said(esfsm("draw", "--format", "svg")).startswith("the program 'dot' is not installed: apt install ")
    assert esfsm("draw", "--format", "mermaid").exit_code == DONE


def test_a_drawing_of_what_there_is_not(esfsm: Command, journal: Path) -> None:
    assert said(esfsm("draw", "mine")).startswith("there is no workflow 'mine'; known are: ")
    told = said(esfsm("draw", "generic", "--journal", journal))
    assert told == f"the journal {journal} was written with the workflow eventservice"


def test_a_drawing_that_cannot_be_written(esfsm: Command) -> None:
    assert said(esfsm("draw", "--output", "/dev/full")) == "/dev/full: No space left on device"


def test_a_drawing_is_never_another_than_its_name_promises(esfsm: Command, tmp_path: Path) -> None:
    assert said(esfsm("draw", "--output", tmp_path / "x.pdf")) == (
        f"{tmp_path / 'x.pdf'}: --format says which of mermaid, dot, svg, png it is to be"
    )
    assert esfsm("draw", "--output", tmp_path / "x.pdf", "--format", "dot").exit_code == DONE
    assert esfsm("draw", "--output", tmp_path / "x.mmd").exit_code == DONE
    assert (tmp_path / "x.mmd").read_text().startswith("---\ntitle: ")


def test_a_work_directory_stands_for_its_journal(esfsm: Command, journal: Path) -> None:
    assert esfsm("replay", journal.parent) == esfsm("replay", journal)
    assert said(esfsm("replay", journal.parent.parent)).endswith("journal.jsonl: No such file or directory")


def test_the_version(esfsm: Command) -> None:
    assert esfsm("--version") == (DONE, f"esfsm {version('esfsm')}\n", "")


@pytest.mark.parametrize(("job_pars", "exit_code"), [("simulate", DONE), ("fail 2", FAILED)])
def test_json_is_one_object_and_progress_goes_elsewhere(
    esfsm: Command, make_job: MakeJob, workdir: Path, job_pars: str, exit_code: int
) -> None:
    told = esfsm("run", make_job(job_pars), "--workdir", workdir, "--events", 3, "--json")
    assert told.out.count("\n") == 1
    assert told.outcome["exit_code"] == told.exit_code == exit_code
    states = [each.partition(":")[0] for each in told.err.splitlines()]
    assert states == told.outcome["path"][1:]


def test_quiet_means_no_progress(esfsm: Command, make_job: MakeJob, workdir: Path) -> None:
    told = esfsm("run", make_job(), "--workdir", workdir, "--events", 3, "--quiet")
    first, archive, journal = told.out.splitlines()
    assert (told.exit_code, told.err) == (DONE, "")
    assert first == "job 5001 done; event ranges: 3 finished"
    assert archive.startswith(f"  {workdir}/outputs/EventService_premerge_1001-5001-1-1-10.tar  4096 bytes, adler32 ")
    assert journal == f"  journal: {workdir}/journal.jsonl"


@pytest.mark.parametrize("arguments", [["draw"], ["check"]])
def test_a_standard_output_that_takes_nothing(launch: Command, arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        told = launch(*arguments, stdout=full).end()
    assert (told.exit_code, told.err) == (FAILED, "esfsm: standard output: No space left on device\n")


def test_python_m_esfsm_is_the_same_command(launch: Command) -> None:
    told = launch("run").end()
    assert told.exit_code == UNUSABLE
    assert "Error: Missing argument 'job'" in told.err
