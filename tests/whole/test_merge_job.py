"""Whole merge jobs and plain jobs: what goes in comes out, or the job fails and says what is missing."""

import json
import tarfile
from io import BytesIO
from pathlib import Path

import pytest
from shell.jobs import plain_job

import esfsm
from esfsm.core.facts import Fact, MergeIncomplete, StageInFailed
from esfsm.durable import adler32_of
from esfsm.errors import PilotErrorCode
from esfsm.journal.reader import read
from esfsm.model.outcome import Outcome

OUTPUT = "HITS_MRG.pool.root"
MERGED = {f"HITS.pool.root.1.1-2-3-{n}-10": f"events of range {n}\n".encode() for n in range(1, 6)}
ARCHIVES = {"one.tar": list(MERGED)[:2], "two.tar": list(MERGED)[2:]}
LIST = "inputFor_HITS.pool.root.1"

MERGE = """\
import json, sys
from pathlib import Path

left_out = {left_out!r}
option, *names = Path(sys.argv[1].removeprefix("@")).read_text().split()
assert option == "--inputHITSFile", option
read = [name for name in names if name not in left_out]
Path("HITS_MRG.pool.root").write_bytes(b"".join(Path(name).read_bytes() for name in read))
files = {{"input": [{{"subFiles": [{{"name": str(Path(name).absolute())}} for name in read]}}]}}
Path("jobReport.json").write_text(json.dumps({{"files": files}}))
"""


def tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, BytesIO(content))


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """A storage with two archives of five event ranges in all, and the transformation."""
    storage = tmp_path / "storage"
    storage.mkdir()
    for lfn, names in ARCHIVES.items():
        tar(storage / lfn, {name: MERGED[name] for name in names})
    (storage / "merge.py").write_text(MERGE.format(left_out=()))
    return storage


def merge_job(storage: Path, **said: object) -> dict[str, object]:
    archives = [storage / lfn for lfn in ARCHIVES]
    return {
        "PandaID": 7000000456,
        "eventServiceMerge": "True",
        "transformation": "merge.py",
        "jobPars": f"--inputHITSFile=@{LIST} --outputHITS_MRGFile={OUTPUT}",
        "writeToFile": f"{LIST}:{','.join(MERGED)}",
        "inFiles": ",".join(f"zip://{path.name}" for path in archives),
        "fsize": ",".join(str(path.stat().st_size) for path in archives),
        "checksum": ",".join(f"ad:{adler32_of(path)}" for path in archives),
        "outFiles": OUTPUT,
        **said,
    }


def run(job: dict[str, object], storage: Path, workdir: Path) -> Outcome:
    return esfsm.run_workflow(job, workdir=workdir, settings={"input_url": str(storage)})


def last(outcome: Outcome, kind: type[Fact]) -> Fact:
    return [entry.fact for entry in read(outcome.journal)[1] if isinstance(entry.fact, kind)][-1]


def test_a_merge_job_makes_one_output_of_all_event_ranges(storage: Path, tmp_path: Path) -> None:
    outcome = run(merge_job(storage), storage, tmp_path / "work")
    assert outcome.path == (
        "received",
        "classified",
        "executor-selected",
        "inputs-staged",
        "merging",
        "merged",
        "staging-out",
        "done",
    )
    (output,) = outcome.outputs
    merged = tmp_path / "work" / "outputs" / OUTPUT
    assert merged.read_bytes() == b"".join(MERGED.values())
    assert (output.lfn, output.adler32, output.url) == (OUTPUT, adler32_of(merged), str(merged))
    assert (tmp_path / "work" / f"{LIST}.txt").read_text().split() == ["--inputHITSFile", *MERGED]
    assert esfsm.replay(outcome.journal).engine.state == "done"


def test_an_archive_that_is_missing_fails_the_job_and_is_named(storage: Path, tmp_path: Path) -> None:
    job = merge_job(storage)
    (storage / "two.tar").unlink()
    outcome = run(job, storage, tmp_path / "work")
    assert (outcome.state, outcome.exit_code, outcome.pilot_error_code) == ("failed", 1, PilotErrorCode.NOSUCHFILE)
    assert "two.tar" in outcome.sentence


def test_an_archive_that_was_damaged_in_the_storage_is_named_as_corrupted(storage: Path, tmp_path: Path) -> None:
    job = merge_job(storage)
    content = bytearray((storage / "two.tar").read_bytes())
    content[600] ^= 1
    (storage / "two.tar").write_bytes(content)
    outcome = run(job, storage, tmp_path / "work")
    assert (outcome.state, outcome.pilot_error_code) == ("failed", PilotErrorCode.GETADMISMATCH)
    fact = last(outcome, StageInFailed)
    assert isinstance(fact, StageInFailed)
    assert fact.corrupted == ("two.tar",)
    assert not (tmp_path / "work" / "two.tar").exists()


def test_an_archive_that_was_damaged_before_it_was_booked_is_named_as_corrupted(storage: Path, tmp_path: Path) -> None:
    with (storage / "one.tar").open("r+b") as file:
        file.truncate(700)
    outcome = run(merge_job(storage), storage, tmp_path / "work")
    assert (outcome.state, outcome.pilot_error_code) == ("failed", PilotErrorCode.NOSUCHFILE)
    fact = last(outcome, MergeIncomplete)
    assert isinstance(fact, MergeIncomplete)
    assert fact.corrupted == ("one.tar",)


def test_a_member_that_is_missing_fails_the_job_and_is_named(storage: Path, tmp_path: Path) -> None:
    *kept, lost = ARCHIVES["two.tar"]
    tar(storage / "two.tar", {name: MERGED[name] for name in kept})
    outcome = run(merge_job(storage), storage, tmp_path / "work")
    assert outcome.state == "failed"
    assert outcome.sentence == f"failed: 1 outputs of event ranges are in none of the archives: {lost}"
    assert "merging" not in outcome.path


def test_an_archive_that_would_write_elsewhere_writes_nothing(storage: Path, tmp_path: Path) -> None:
    tar(storage / "two.tar", {name: MERGED[name] for name in ARCHIVES["two.tar"]} | {"../escaped\udcff": b"!"})
    outcome = run(merge_job(storage), storage, tmp_path / "work")
    assert (outcome.state, outcome.path[-2]) == ("failed", "inputs-staged")
    assert not list(tmp_path.glob("escaped*"))
    assert esfsm.replay(outcome.journal).engine.state == "failed"


def test_a_payload_that_says_it_has_read_fewer_files_fails_the_job_and_they_are_named(
    storage: Path, tmp_path: Path
) -> None:
    left_out = list(MERGED)[3]
    (storage / "merge.py").write_text(MERGE.format(left_out=(left_out,)))
    outcome = run(merge_job(storage), storage, tmp_path / "work")
    assert (outcome.state, outcome.path[-2], outcome.pilot_error_code) == (
        "failed",
        "merged",
        PilotErrorCode.NOSUCHFILE,
    )
    assert outcome.sentence == (
        f"failed: 1 outputs of event ranges were not merged (jobReport.json: 4 files read): {left_out}"
    )
    assert not (tmp_path / "work" / "outputs").exists()


def test_a_failed_merge_job_is_done_once_its_archive_is_back(storage: Path, tmp_path: Path) -> None:
    job = merge_job(storage)
    (storage / "two.tar").rename(tmp_path / "two.tar")
    assert run(job, storage, tmp_path / "work").state == "failed"
    (tmp_path / "two.tar").rename(storage / "two.tar")
    outcome = run(job, storage, tmp_path / "work")
    assert (outcome.state, outcome.exit_code) == ("done", 0)
    assert esfsm.replay(outcome.journal).engine.state == "done"


# --- plain jobs -------------------------------------------------------------------------------------------------

TRANSFORM = """\
import os, sys
from pathlib import Path

code, *names = sys.argv[1:]
for name in names:
    Path(name).write_text(f"{Path('in.txt').read_text()} by {os.environ['ATHENA_PROC_NUMBER']} cores")
sys.exit(int(code))
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "in.txt").write_text("made")
    (tmp_path / "transform.py").write_text(TRANSFORM)
    return tmp_path


def test_a_plain_job_makes_its_outputs(place: Path) -> None:
    job = plain_job(inFiles="in.txt", jobPars="0 out.txt 'b c.txt'", outFiles="out.txt,b c.txt", coreCount=4)
    outcome = run(job, place, place / "work")
    assert (outcome.state, outcome.payload_exit_code, dict(outcome.ranges)) == ("done", 0, {})
    assert outcome.path == ("received", "classified", "executor-selected", "payload-running", "staging-out", "done")
    assert [output.lfn for output in outcome.outputs] == ["out.txt", "b c.txt"]
    assert (place / "work" / "outputs" / "b c.txt").read_text() == "made by 4 cores"


def test_a_plain_job_without_files_is_done_when_its_payload_is(place: Path) -> None:
    (place / "transform.py").write_text("print('hello')")
    outcome = run({"PandaID": 7, "transformation": "transform.py"}, place, place / "work")
    assert (outcome.state, outcome.outputs) == ("done", ())
    assert (place / "work" / "payload.stdout").read_text() == "hello\n"


@pytest.mark.parametrize(
    ("job_pars", "code", "exit_code"),
    [
        ("65 out.txt", PilotErrorCode.PAYLOADEXECUTIONFAILURE, 65),
        ("2 out.txt", PilotErrorCode.LSETUPTIMEDOUT, 2),
        ("0", PilotErrorCode.MISSINGOUTPUTFILE, 0),
    ],
)
def test_a_plain_job_fails_with_its_payload(place: Path, job_pars: str, code: int, exit_code: int) -> None:
    outcome = run(plain_job(inFiles="in.txt", jobPars=job_pars), place, place / "work")
    assert (outcome.state, outcome.exit_code) == ("failed", 1)
    assert (outcome.pilot_error_code, outcome.payload_exit_code) == (code, exit_code)


def test_the_outcome_of_a_job_is_what_its_program_prints_as_json(place: Path) -> None:
    outcome = run(plain_job(inFiles="in.txt", jobPars="0 out.txt"), place, place / "work")
    told = json.loads(outcome.model_dump_json())
    assert (told["panda_id"], told["state"], told["outputs"][0]["lfn"]) == (7000000123, "done", "out.txt")
