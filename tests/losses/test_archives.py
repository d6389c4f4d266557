"""An output is in one archive once; what cannot be packed or stored is reported failed."""

import os
import tarfile
from pathlib import Path

import pytest
from core.worlds import Teller, names, produced
from shell.jobs import es_job

from esfsm.core import facts as f
from esfsm.core.actions import PackOutputs
from esfsm.errors import PilotErrorCode
from esfsm.model.job import Job
from esfsm.model.report import Report
from esfsm.model.settings import Settings
from esfsm.transfers import Transfers

NO_ROOM = f.PackFailed(error_code=1098, why="no space left")
NO_ARCHIVE = [NO_ROOM, f.ActionBroke(error_code=1301, why="nobody foresaw it")]


@pytest.fixture
def transfers(tmp_path: Path) -> Transfers:
    return Transfers(Job.read(es_job()), tmp_path, Settings())


def made(workdir: Path, *ids: str) -> Teller:
    """These ranges have run, and of the last one the output vanished before the payload ended."""
    job = Teller().running(*ids)
    for name in ids:
        (workdir / f"HITS.{name}").write_text(name)
        job.says(produced(name, f"HITS.{name}"))
    (workdir / f"HITS.{ids[-1]}").unlink()
    job.says(f.PayloadFinished())
    return job


def members(archive: Path) -> list[str]:
    with tarfile.open(archive) as tar:
        return tar.getnames()


def test_an_output_that_vanished_is_reported_failed_and_costs_no_other_range(
    tmp_path: Path, transfers: Transfers
) -> None:
    """Pilot3: a missing file raised after the results had been taken from the queue, and all of them were lost."""
    job = made(tmp_path, "r1", "r2", "r3")
    pack = job.asked("pack_outputs")
    job.answer("pack_outputs", transfers.pack_outputs(pack))
    assert members(tmp_path / pack.lfn) == ["HITS.r1", "HITS.r2"]
    report = job.asked("report_ranges").report
    assert (report.event_range_ids, report.error_code) == (("r3",), PilotErrorCode.MISSINGOUTPUTFILE)
    assert job.drained().ledger.counts() == {"finished": 2, "failed": 1}


@pytest.mark.parametrize("trouble", NO_ARCHIVE, ids=["no room", "broke"])
def test_a_result_that_cannot_be_packed_is_reported_failed(trouble: f.Fact) -> None:
    """Pilot3: a result whose tar step failed four times was dropped, without a report and without its file."""
    job = Teller(stage_out_rounds=4, report_attempts=4).produced("r1")
    job.says(f.PayloadFinished())
    for _ in range(3):
        job.answer("pack_outputs", trouble)
        job.ring_until("pack_outputs")
    job.answer("pack_outputs", trouble)
    job.ring_until("note")
    job.note()
    assert job.asked("report_ranges").report == Report(("r1",), error_code=trouble.error_code, error_diag=trouble.why)
    assert job.drained().ledger.counts() == {"failed": 1}


@pytest.mark.parametrize("trouble", NO_ARCHIVE[1:], ids=["broke"])
def test_an_archive_that_failed_is_made_again_of_the_same_results_under_the_same_name(trouble: f.Fact) -> None:
    """Pilot3: all results went back into the queue, and the next tar had another name, or had one of them twice."""
    job = Teller(zip_max_ranges=2).running("r1", "r2", "r3")
    job.says(produced("r1"), produced("r2"))
    first = job.asked("pack_outputs")
    job.answer("pack_outputs", trouble)
    job.says(produced("r3"))
    job.ring_until("pack_outputs")
    again = job.asked("pack_outputs")
    assert (again.lfn, again.members) == (first.lfn, first.members)


def test_results_that_find_no_room_in_one_archive_have_each_its_place_in_a_smaller_one() -> None:
    job = Teller(zip_max_ranges=2).running("r1", "r2")
    job.says(produced("r1"), produced("r2"))
    first = job.asked("pack_outputs")
    job.answer("pack_outputs", NO_ARCHIVE[0])
    halves = []
    for _ in range(2):
        halves.append(job.asked("pack_outputs"))
        job.goes_well("pack_outputs", "store_archive")
    assert [half.members for half in halves] == [first.members[:1], first.members[1:]]
    assert halves[0].lfn == first.lfn != halves[1].lfn


def test_archives_never_bear_the_same_name_and_never_share_a_result() -> None:
    """Pilot3: after trouble a result could be archived twice."""
    job = Teller(zip_max_ranges=2).running("r1", "r2", "r3", "r4")
    packs: list[PackOutputs] = []
    for name in ("r1", "r2", "r3", "r4"):
        packs += [action for action in job.says(produced(name)) if isinstance(action, PackOutputs)]
    assert [[member.event_range_id for member in pack.members] for pack in packs] == [["r1", "r2"], ["r3", "r4"]]
    assert len({pack.lfn for pack in packs}) == 2


@pytest.mark.parametrize("left", ["the same archive", "half of it", "a part of it", "another one"])
def test_packing_again_never_appends_to_what_is_there(tmp_path: Path, transfers: Transfers, left: str) -> None:
    """Pilot3: `tar -r` to a name that existed appended the members once more."""
    pack = made(tmp_path, "r1", "r2", "r3").asked("pack_outputs")
    packed, archive = transfers.pack_outputs(pack), tmp_path / pack.lfn
    if left == "half of it":
        os.truncate(archive, 1000)
    elif left == "a part of it":
        archive.rename(f"{archive}.part")
    elif left == "another one":
        with tarfile.open(archive, "w") as tar:
            tar.add(tmp_path / "HITS.r1", "of another time")
    assert transfers.pack_outputs(pack) == packed
    assert members(archive) == ["HITS.r1", "HITS.r2"]


REFUSED = f.StoreFailed(error_code=PilotErrorCode.STAGEOUTFAILED, why="the storage is down")


def test_a_failed_stage_out_is_tried_again_after_a_pause_of_its_own() -> None:
    """Pilot3: the next try came after a whole gap, of 2 h, so the limit of failures was never reached."""
    job = Teller(stage_out_rounds=3).packed("r1")
    began = job.now
    for _ in range(2):
        job.answer("store_archive", REFUSED)
        job.ring_until("store_archive")
    job.answer("store_archive", REFUSED)
    job.ring_until("note")
    assert job.now - began < 10 < job.settings.zip_time_gap_s
    job.note()
    assert job.drained().ledger.counts() == {"failed": 1}


def test_results_that_come_within_one_gap_make_one_archive() -> None:
    """Pilot3: the gap was tested, but the time of the last stage-out never noted; each turn of 5 s made a report."""
    job = Teller(zip_time_gap_s=60).running("r1", "r2", "r3", "r4")
    job.says(produced("r1"))
    for name in ("r2", "r3"):
        assert "pack_outputs" not in names(job.answer("run_es_payload", produced(name), after_s=29))
    (pack,) = (action for action in job.ring() if isinstance(action, PackOutputs))
    assert [member.event_range_id for member in pack.members] == ["r1", "r2", "r3"]
    job.goes_well("pack_outputs", "store_archive", "report_ranges")
    assert "pack_outputs" not in names(job.answer("run_es_payload", produced("r4"), after_s=5))


def test_an_archive_is_reported_only_after_it_was_stored_and_as_it_is_there() -> None:
    """Pilot3: files were moved before the report, which quoted the path before the move."""
    job = Teller().packed("r1")
    assert "report_ranges" not in job.waits_for()
    (report,) = job.answer("store_archive", f.ArchiveStored(url="root://se//es/archive.tar"))
    record = report.report.archive
    assert (record.size_bytes, record.adler32, record.url) == (1000, "0badcafe", "root://se//es/archive.tar")
