"""The actions on files, with real storages and archives: each ends in the fact that says what happened."""

import hashlib
import os
import tarfile
import zipfile
import zlib
from io import BytesIO
from pathlib import Path

import pytest
from shell.disks import room_for
from shell.jobs import es_job, plain_job

from esfsm.core import facts as f
from esfsm.core.actions import Member, PackOutputs, StoreArchive
from esfsm.errors import PilotErrorCode
from esfsm.model.job import Job
from esfsm.model.settings import Settings
from esfsm.transfers import Transfers

CONTENT = b"generated events"
ADLER32 = f"{zlib.adler32(CONTENT):08x}"
ID = "41000456-7000000123-1-{}-10"
ARCHIVE = "EventService_premerge_1.tar"


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    (tmp_path / "inputs").mkdir()
    (tmp_path / "inputs" / "EVNT.pool.root").write_bytes(CONTENT)
    return tmp_path / "inputs"


def transfers(workdir: Path, job: dict[str, object], **settings: object) -> Transfers:
    return Transfers(Job.read(job), workdir, Settings.layered(settings)[0])


# --- stage-in ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"fsize": "16", "checksum": f"ad:{ADLER32}"},
        {"fsize": "0", "checksum": "NULL"},
        {"fsize": "16", "checksum": ADLER32.lstrip("0").upper()},
    ],
)
def test_an_input_that_is_what_panda_says_is_staged(workdir: Path, inputs: Path, said: dict[str, object]) -> None:
    fact = transfers(workdir, es_job(**said), input_url=str(inputs)).stage_in()
    copy = f.FileCopy("EVNT.pool.root", 16, ADLER32, f"{inputs}/EVNT.pool.root")
    assert fact == f.InputsStaged(files=(copy,))
    assert (workdir / "EVNT.pool.root").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"fsize": "17"}, "it has 16 bytes, PanDA says 17"),
        ({"checksum": "ad:00000007"}, f"its adler32 is {ADLER32}, PanDA says 00000007"),
    ],
)
def test_an_input_with_other_bytes_than_panda_says_is_named_and_not_kept(
    workdir: Path, inputs: Path, said: dict[str, object], why: str
) -> None:
    fact = transfers(workdir, es_job(**said), input_url=str(inputs)).stage_in()
    why = f"{inputs}/EVNT.pool.root: {why}"
    code = PilotErrorCode.GETADMISMATCH
    assert fact == f.StageInFailed(error_code=code, why=why, corrupted=("EVNT.pool.root",))
    assert not (workdir / "EVNT.pool.root").exists()


@pytest.mark.parametrize(("digit", "code"), [("0", PilotErrorCode.GETMD5MISMATCH), ("", None)])
def test_an_input_is_compared_with_its_md5_where_panda_has_no_other_checksum(
    workdir: Path, inputs: Path, digit: str, code: int | None
) -> None:
    md5 = digit * 32 or hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
    fact = transfers(workdir, es_job(checksum=f"md:{md5}"), input_url=str(inputs)).stage_in()
    assert getattr(fact, "error_code", None) == code
    assert getattr(fact, "corrupted", ()) == (("EVNT.pool.root",) if code else ())


def test_an_input_that_is_nowhere_is_no_such_file(workdir: Path, inputs: Path) -> None:
    fact = transfers(workdir, es_job(inFiles="gone.root"), input_url=f"file://{inputs}/").stage_in()
    assert isinstance(fact, f.StageInFailed)
    assert (fact.error_code, fact.corrupted) == (PilotErrorCode.NOSUCHFILE, ())
    assert f"file://{inputs}/gone.root: there is no file" in fact.why


def test_an_input_for_which_there_is_no_room_is_a_failed_stage_in(workdir: Path, inputs: Path) -> None:
    with room_for(8):
        fact = transfers(workdir, es_job(), input_url=str(inputs)).stage_in()
    assert isinstance(fact, f.StageInFailed)
    assert (fact.error_code, fact.corrupted) == (PilotErrorCode.STAGEINFAILED, ())
    assert "File too large" in fact.why
    assert not list(workdir.iterdir())


def test_many_inputs_are_staged_at_once_and_the_first_trouble_is_told(workdir: Path, inputs: Path) -> None:
    lfns = [f"EVNT.{number}" for number in range(50)]
    for lfn in lfns:
        (inputs / lfn).write_bytes(CONTENT)
    fact = transfers(workdir, es_job(inFiles=",".join(lfns)), input_url=str(inputs)).stage_in()
    assert isinstance(fact, f.InputsStaged)
    assert [copy.lfn for copy in fact.files] == lfns
    wanted = ",".join([*lfns[:20], "gone.1", *lfns[20:], "gone.2"])
    fact = transfers(workdir, es_job(inFiles=wanted), input_url=str(inputs)).stage_in()
    assert isinstance(fact, f.StageInFailed)
    assert "gone.1" in fact.why


def test_archives_are_what_the_settings_say_and_both_kinds_are_merged(workdir: Path) -> None:
    for lfn, number in (("one.zip", 1), ("two.tar", 2)):
        made_of = made(workdir, number).members[0]
        transfers(workdir, es_job()).pack_outputs(
            PackOutputs(lfn=lfn, members=(made_of._replace(name=f"HITS.{number}"),))
        )
    job = merge_job(inFiles="zip://one.zip,zip://two.tar")
    assert zipfile.is_zipfile(workdir / "one.zip")
    assert transfers(workdir, job).unpack_archives() == f.ArchivesUnpacked(files=2)


def test_an_input_that_is_there_already_is_not_copied_again(workdir: Path, inputs: Path) -> None:
    twice = [transfers(workdir, es_job(), input_url=str(inputs)).stage_in() for _ in range(2)]
    assert twice[0] == twice[1]


# --- packing ----------------------------------------------------------------------------------------------------


def made(workdir: Path, *numbers: int) -> PackOutputs:
    """Outputs of event ranges, one file each, and the action that packs them."""
    members = []
    for number in numbers:
        name = f"HITS.{ID.format(number)}"
        (workdir / name).write_bytes(b"%d" % number)
        members.append(Member(ID.format(number), name, name))
    return PackOutputs(number=9, lfn=ARCHIVE, members=tuple(members))


def names(archive: Path) -> list[str]:
    with tarfile.open(archive) as tar:
        return tar.getnames()


def test_outputs_are_packed_and_the_archive_is_what_is_said_of_it(workdir: Path) -> None:
    action = made(workdir, 1, 2)
    fact = transfers(workdir, es_job()).pack_outputs(action)
    content = (workdir / ARCHIVE).read_bytes()
    assert fact == f.OutputsPacked(size_bytes=len(content), adler32=f"{zlib.adler32(content):08x}")
    assert names(workdir / ARCHIVE) == [member.name for member in action.members]


def test_an_output_that_vanished_is_lost_and_the_others_are_packed(workdir: Path) -> None:
    action = made(workdir, 1, 2, 3)
    (workdir / action.members[1].path).unlink()
    fact = transfers(workdir, es_job()).pack_outputs(action)
    assert isinstance(fact, f.OutputsPacked)
    assert fact.lost == (ID.format(2),)
    assert names(workdir / ARCHIVE) == [action.members[0].name, action.members[2].name]


def test_a_range_of_which_one_output_vanished_is_lost_with_all_of_them(workdir: Path) -> None:
    action = made(workdir, 1, 2)
    (workdir / "ESD").write_bytes(b"more")
    more = Member(ID.format(1), f"ESD.{ID.format(1)}", "ESD")
    action = PackOutputs(lfn=ARCHIVE, members=(*action.members, more))
    (workdir / action.members[0].path).unlink()
    fact = transfers(workdir, es_job()).pack_outputs(action)
    assert isinstance(fact, f.OutputsPacked)
    assert fact.lost == (ID.format(1),)
    assert names(workdir / ARCHIVE) == [action.members[1].name]


def test_where_all_outputs_vanished_there_is_no_archive(workdir: Path) -> None:
    action = made(workdir, 1, 2)
    for member in action.members:
        (workdir / member.path).unlink()
    fact = transfers(workdir, es_job()).pack_outputs(action)
    assert fact == f.OutputsPacked(size_bytes=0, adler32="00000001", lost=(ID.format(1), ID.format(2)))
    assert not (workdir / ARCHIVE).exists()


def test_a_disk_that_is_full_is_no_local_space_and_leaves_nothing_behind(workdir: Path) -> None:
    action = made(workdir, 1, 2)
    with room_for(1000):
        fact = transfers(workdir, es_job()).pack_outputs(action)
    assert isinstance(fact, f.PackFailed)
    assert (fact.error_code, "File too large" in fact.why) == (PilotErrorCode.NOLOCALSPACE, True)
    assert not list(workdir.glob("*.tar*"))


def test_a_place_where_no_archive_can_be_written_is_a_failure_of_file_handling(workdir: Path) -> None:
    action = made(workdir, 1)
    (workdir / ARCHIVE).mkdir()
    fact = transfers(workdir, es_job()).pack_outputs(action)
    assert isinstance(fact, f.PackFailed)
    assert fact.error_code == PilotErrorCode.FILEHANDLINGFAILURE


@pytest.mark.parametrize("late", [1, -1])
def test_an_output_that_was_changed_after_it_was_announced_costs_its_own_range(workdir: Path, late: int) -> None:
    action = made(workdir, 1, 2)
    stamps = [(workdir / member.path).stat().st_mtime_ns for member in action.members]
    members = tuple(m._replace(stamp=stamp) for m, stamp in zip(action.members, stamps, strict=True))
    os.utime(workdir / members[0].path, ns=(0, stamps[0] + late))
    fact = transfers(workdir, es_job()).pack_outputs(PackOutputs(lfn=ARCHIVE, members=members))
    assert isinstance(fact, f.OutputsPacked)
    assert fact.lost == (ID.format(1),)
    assert names(workdir / ARCHIVE) == [members[1].name]


@pytest.mark.parametrize("bad", [{"name": "a\nb"}, {"name": "N" * 256}, {"path": "."}, {"path": "a\0b"}])
def test_an_output_that_cannot_be_packed_costs_its_own_range(workdir: Path, bad: dict[str, str]) -> None:
    good, other = made(workdir, 1, 2).members
    action = PackOutputs(lfn=ARCHIVE, members=(good._replace(**bad), other))
    fact = transfers(workdir, es_job()).pack_outputs(action)
    assert isinstance(fact, f.OutputsPacked)
    assert fact.lost == (ID.format(1),)
    assert names(workdir / ARCHIVE) == [other.name]


def test_an_output_that_is_shorter_than_its_size_costs_its_own_range(workdir: Path) -> None:
    good, other = made(workdir, 1, 2).members
    short = "/sys/devices/system/cpu/online"  # the kernel says 4096 bytes and gives a few
    action = PackOutputs(lfn=ARCHIVE, members=(good._replace(path=short), other))
    fact = transfers(workdir, es_job()).pack_outputs(action)
    assert isinstance(fact, f.OutputsPacked)
    assert (fact.lost, names(workdir / ARCHIVE)) == ((ID.format(1),), [other.name])


# --- storing ----------------------------------------------------------------------------------------------------


@pytest.fixture
def archive(workdir: Path) -> StoreArchive:
    packed = transfers(workdir, es_job()).pack_outputs(made(workdir, 1, 2))
    assert isinstance(packed, f.OutputsPacked)
    return StoreArchive(lfn=ARCHIVE, size_bytes=packed.size_bytes, adler32=packed.adler32)


@pytest.fixture
def full(tmp_path: Path) -> str:
    """A storage that takes nothing: its directory is a file."""
    (tmp_path / "full").touch()
    return str(tmp_path / "full")


def test_an_archive_is_stored_and_a_second_time_is_as_good(
    workdir: Path, tmp_path: Path, archive: StoreArchive
) -> None:
    moves = transfers(workdir, es_job(), output_url=str(tmp_path / "storage"))
    facts = [moves.store_archive(archive) for _ in range(2)]
    assert facts == [f.ArchiveStored(url=f"{tmp_path}/storage/{ARCHIVE}")] * 2
    assert (tmp_path / "storage" / ARCHIVE).read_bytes() == (workdir / ARCHIVE).read_bytes()


def test_an_archive_that_another_engine_packed_and_that_is_not_that_any_more_is_lost_and_stored_nowhere(
    workdir: Path, archive: StoreArchive
) -> None:
    with (workdir / ARCHIVE).open("r+b") as file:
        file.write(b"!")
    fact = transfers(workdir, es_job()).store_archive(archive)
    assert fact == f.ArchiveLost(why=f"{workdir / ARCHIVE} is not what an engine that has died had packed")
    assert not (workdir / "outputs").exists()


def test_an_archive_that_was_changed_under_the_engine_that_packed_it_is_not_taken_for_it(workdir: Path) -> None:
    moves, action = transfers(workdir, es_job()), made(workdir, 1, 2)
    packed = moves.pack_outputs(action)
    assert isinstance(packed, f.OutputsPacked)
    with (workdir / ARCHIVE).open("ab") as file:
        file.write(b"!")
    fact = moves.store_archive(StoreArchive(lfn=ARCHIVE, size_bytes=packed.size_bytes, adler32=packed.adler32))
    assert isinstance(fact, f.StoreFailed)
    assert (fact.error_code, fact.why) == (
        PilotErrorCode.STAGEOUTFAILED,
        f"{ARCHIVE} is not the file that was packed any more",
    )


@pytest.mark.parametrize("packs", [True, False], ids=["the engine that packed it", "another engine"])
def test_an_archive_that_vanished_is_lost_and_can_be_packed_again(
    workdir: Path, archive: StoreArchive, packs: bool
) -> None:
    moves = transfers(workdir, es_job())
    if packs:
        moves.pack_outputs(made(workdir, 1, 2))
    (workdir / ARCHIVE).unlink()
    assert isinstance(moves.store_archive(archive), f.ArchiveLost)
    assert isinstance(moves.pack_outputs(made(workdir, 1, 2)), f.OutputsPacked)
    assert isinstance(moves.store_archive(archive), f.ArchiveStored)


def test_an_archive_that_cannot_be_read_is_a_store_that_failed(workdir: Path, archive: StoreArchive) -> None:
    (workdir / ARCHIVE).unlink()
    (workdir / ARCHIVE).mkdir()
    fact = transfers(workdir, es_job()).store_archive(archive)
    assert isinstance(fact, f.StoreFailed)
    assert fact.error_code == PilotErrorCode.FILEHANDLINGFAILURE


def test_an_archive_goes_to_the_storage_that_is_asked_for(
    workdir: Path, tmp_path: Path, archive: StoreArchive, full: str
) -> None:
    moves = transfers(workdir, es_job(), output_url=full, failover_url=str(tmp_path / "spare"))
    failed = moves.store_archive(archive)
    assert isinstance(failed, f.StoreFailed)
    assert failed.error_code == PilotErrorCode.STAGEOUTFAILED
    spare = StoreArchive(lfn=ARCHIVE, rse=1, size_bytes=archive.size_bytes, adler32=archive.adler32)
    assert moves.store_archive(spare) == f.ArchiveStored(url=f"{tmp_path}/spare/{ARCHIVE}")


def test_a_scheme_that_no_storage_speaks_is_refused_by_its_name(workdir: Path, archive: StoreArchive) -> None:
    with pytest.raises(ValueError, match="no storage scheme 'gopher'"):
        transfers(workdir, es_job(), output_url="gopher://there").store_archive(archive)


# --- stage-out of a job without event ranges ---------------------------------------------------------------------


def test_all_outputs_are_stored(workdir: Path, tmp_path: Path) -> None:
    for name in ("a.root", "b.root"):
        (workdir / name).write_bytes(CONTENT)
    fact = transfers(workdir, plain_job(outFiles="a.root,b.root"), output_url=f"{tmp_path}/out/").stage_out()
    copies = tuple(f.FileCopy(name, 16, ADLER32, f"{tmp_path}/out/{name}") for name in ("a.root", "b.root"))
    assert fact == f.OutputsStaged(files=copies)


def test_an_output_that_was_not_made_fails_the_job_and_is_named(workdir: Path) -> None:
    fact = transfers(workdir, plain_job(outFiles="a.root")).stage_out()
    assert isinstance(fact, f.StageOutFailed)
    assert (fact.error_code, "a.root" in fact.why) == (PilotErrorCode.MISSINGOUTPUTFILE, True)


def test_an_output_that_need_not_be_made_is_passed_over(workdir: Path) -> None:
    (workdir / "a.root").write_bytes(CONTENT)
    fact = transfers(workdir, plain_job(outFiles="a.root,b.root", allowNoOutput="b.root")).stage_out()
    assert isinstance(fact, f.OutputsStaged)
    assert [copy.lfn for copy in fact.files] == ["a.root"]


def test_an_output_goes_to_the_spare_storage_where_the_first_takes_nothing(
    workdir: Path, tmp_path: Path, full: str
) -> None:
    (workdir / "a.root").write_bytes(CONTENT)
    job = plain_job(outFiles="a.root")
    fact = transfers(workdir, job, output_url=full, failover_url=str(tmp_path / "spare")).stage_out()
    assert fact == f.OutputsStaged(files=(f.FileCopy("a.root", 16, ADLER32, f"{tmp_path}/spare/a.root"),))
    both = transfers(workdir, job, output_url=full, failover_url=full).stage_out()
    assert isinstance(both, f.StageOutFailed)
    assert both.error_code == PilotErrorCode.STAGEOUTFAILED


# --- merging ----------------------------------------------------------------------------------------------------


def merge_job(**said: object) -> dict[str, object]:
    listed = {"writeToFile": "inputFor_HITS:HITS.1,HITS.2", "jobPars": "--inputHITSFile=@inputFor_HITS"}
    return plain_job(eventServiceMerge="True", **{"inFiles": "zip://one.tar,zip://two.tar", **listed, **said})


def tar(path: Path, *members: tarfile.TarInfo | str) -> None:
    with tarfile.open(path, "w") as archive:
        for member in members:
            info = tarfile.TarInfo(member) if isinstance(member, str) else member
            info.size = len(CONTENT) if info.isreg() else 0
            archive.addfile(info, BytesIO(CONTENT))


@pytest.fixture
def archives(workdir: Path) -> tuple[Path, Path]:
    tar(workdir / "one.tar", "HITS.1")
    tar(workdir / "two.tar", "HITS.2", "HITS.3")
    return workdir / "one.tar", workdir / "two.tar"


def link(name: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return info


@pytest.mark.usefixtures("archives")
def test_archives_are_unpacked_and_lists_written(workdir: Path) -> None:
    assert transfers(workdir, merge_job()).unpack_archives() == f.ArchivesUnpacked(files=2)
    assert (workdir / "HITS.2").read_bytes() == CONTENT
    assert not (workdir / "HITS.3").exists(), "it is in an archive, and not to be merged"
    assert (workdir / "inputFor_HITS.txt").read_text() == "--inputHITSFile\nHITS.1\nHITS.2\n"


@pytest.mark.usefixtures("archives")
def test_a_member_that_is_in_no_archive_is_named(workdir: Path) -> None:
    fact = transfers(workdir, merge_job(writeToFile="inputFor_HITS:HITS.1,HITS.7")).unpack_archives()
    why = "1 outputs of event ranges are in none of the archives: HITS.7"
    assert fact == f.MergeIncomplete(error_code=PilotErrorCode.NOSUCHFILE, why=why, missing=("HITS.7",))


@pytest.mark.parametrize("member", ["../outside", "/etc/outside", "a/b", link("HITS.2"), os.fsdecode(b"caf\xe9/x")])
def test_an_archive_that_would_write_elsewhere_is_named_and_nothing_of_it_is_unpacked(
    workdir: Path, archives: tuple[Path, Path], member: tarfile.TarInfo | str
) -> None:
    tar(archives[1], "HITS.2" if isinstance(member, str) else "HITS.3", member)
    fact = transfers(workdir, merge_job()).unpack_archives()
    assert isinstance(fact, f.MergeIncomplete)
    assert (fact.error_code, fact.corrupted) == (PilotErrorCode.NOSUCHFILE, ("two.tar",))
    assert not (workdir / "HITS.2").exists()


@pytest.mark.parametrize("name", ["out.txt", "one.tar", "transform.py", "journal.jsonl", "broker.sqlite"])
def test_an_archive_with_a_member_that_bears_the_name_of_another_file_is_named(
    workdir: Path, archives: tuple[Path, Path], name: str
) -> None:
    tar(archives[1], "HITS.2", name)
    fact = transfers(workdir, merge_job()).unpack_archives()
    assert isinstance(fact, f.MergeIncomplete)
    assert fact.corrupted == ("two.tar",)
    assert f"its member {name!r} bears the name of another file" in fact.why
    assert not (workdir / "HITS.2").exists()


def test_an_archive_that_is_cut_off_is_named(workdir: Path, archives: tuple[Path, Path]) -> None:
    os.truncate(archives[0], 600)
    fact = transfers(workdir, merge_job()).unpack_archives()
    assert isinstance(fact, f.MergeIncomplete)
    assert fact.corrupted == ("one.tar",)


@pytest.mark.usefixtures("archives")
def test_an_archive_is_not_to_blame_for_a_file_that_is_in_its_way(workdir: Path) -> None:
    (workdir / "HITS.1").write_bytes(b"other bytes")
    fact = transfers(workdir, merge_job()).unpack_archives()
    assert isinstance(fact, f.MergeIncomplete)
    assert (fact.error_code, fact.corrupted) == (PilotErrorCode.STAGEINFAILED, ())
    assert (workdir / "HITS.1").read_bytes() == b"other bytes"


REPORT = '{{"files": {{"input": [{{"subFiles": [{}]}}]}}}}'


@pytest.mark.parametrize("prefix", ["", "/srv/work/"])
def test_a_merge_is_proven_by_the_files_that_the_payload_says_it_has_read(workdir: Path, prefix: str) -> None:
    read = ",".join(f'{{"name": "{prefix}HITS.{n}"}}' for n in (1, 2))
    (workdir / "jobReport.json").write_text(REPORT.format(read))
    fact = transfers(workdir, merge_job()).prove_merge()
    assert fact == f.MergeProven(event_ranges=2, by="jobReport.json: 2 files read")


def test_a_payload_that_has_read_fewer_files_has_merged_fewer(workdir: Path) -> None:
    (workdir / "jobReport.json").write_text(REPORT.format('{"name": "HITS.1"}'))
    fact = transfers(workdir, merge_job()).prove_merge()
    assert isinstance(fact, f.MergeIncomplete)
    assert (fact.missing, fact.error_code) == (("HITS.2",), PilotErrorCode.NOSUCHFILE)
    assert "HITS.2" in fact.why


@pytest.mark.parametrize("report", ["", "{", "[]", '{"files": null}', '{"files": {"input": [{"subFiles": [{}]}]}}'])
def test_a_report_that_cannot_be_read_proves_nothing(workdir: Path, report: str) -> None:
    (workdir / "jobReport.json").write_text(report)
    fact = transfers(workdir, merge_job()).prove_merge()
    assert isinstance(fact, f.MergeIncomplete)
    assert fact.missing == ("HITS.1", "HITS.2")


def test_a_payload_without_a_report_is_believed_and_that_is_said(workdir: Path) -> None:
    fact = transfers(workdir, merge_job()).prove_merge()
    assert fact == f.MergeProven(event_ranges=2, by="inputs: all files were there, and the payload wrote no job report")
