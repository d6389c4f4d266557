"""What is packed can be unpacked, by us and by tar; what would do harm is refused before anything is written."""

import gzip
import io
import os
import resource
import subprocess
import tarfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from esfsm.adapters.archives import tar as tar_format
from esfsm.adapters.archives.tar import Packed, UnsafeArchive, missing, names, pack, unpack
from esfsm.durable import BUFFER_BYTES, adler32_of
from esfsm.errors import MissingMember, PilotErrorCode, TransferError

OUTPUT = "HITS.42._000001.pool.root.1.41000456-7000000123-990001-11-10"


def write(directory: Path, contents: Mapping[str, bytes]) -> dict[str, Path]:
    """Files with these contents, under names of their own, as members of an archive."""
    directory.mkdir(exist_ok=True)
    members = {}
    for number, (name, content) in enumerate(contents.items()):
        members[name] = directory / str(number)
        members[name].write_bytes(content)
    return members


def read(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


# --- packing ------------------------------------------------------------------------------------------------------

NAMES = st.text(st.characters(exclude_characters="/\0\n", exclude_categories=["Cs"]), min_size=1, max_size=63)
CONTENTS = st.dictionaries(NAMES.filter(lambda name: name not in (".", "..")), st.binary(max_size=2000), max_size=8)


@settings(max_examples=60, deadline=None)
@given(CONTENTS)
@example({})
@example({"empty": b"", "block": bytes(512), "more": b"x" * 513})
@example({"N" * 255: b"1", "ü" * 127: b"2", "-rf": b"3", " ": b"4", "\udcff": b"5", "*": b"6"})
@example({"large": os.urandom(BUFFER_BYTES + 1), OUTPUT: b"x"})
def test_unpacking_gives_what_was_packed_and_packing_it_again_the_same_bytes(contents: dict[str, bytes]) -> None:
    with TemporaryDirectory() as home:
        first, second, out = Path(home, "1.tar"), Path(home, "2.tar"), Path(home, "out")
        packed = pack(write(Path(home, "members"), contents), first)
        written = first.read_bytes()
        assert packed == Packed(len(written), f"{zlib.adler32(written):08x}")
        assert names(first) == unpack(first, out) == list(contents)
        assert read(out) == contents
        assert pack({name: out / name for name in contents}, second) == packed
        assert second.read_bytes() == written


def test_owner_and_times_of_outputs_do_not_change_the_archive(tmp_path: Path) -> None:
    members = write(tmp_path / "members", {OUTPUT: b"hits"})
    first = pack(members, tmp_path / "x.tar")
    members[OUTPUT].chmod(0o600)
    os.utime(members[OUTPUT], (1, 1))
    assert pack(members, tmp_path / "x.tar") == first


@pytest.mark.parametrize("options", [[], ["--numeric-owner", "--same-permissions"]], ids=["plain", "as root"])
def test_tar_reads_what_was_packed(tmp_path: Path, options: list[str]) -> None:
    contents = {OUTPUT: b"hits", "N" * 255: b"long", "empty": b"", "large": bytes(3_000_000)}
    pack(write(tmp_path / "members", contents), tmp_path / "x.tar")
    (tmp_path / "out").mkdir()
    listed = subprocess.run(["tar", "tf", tmp_path / "x.tar"], check=True, capture_output=True, text=True)
    assert (listed.stdout.split(), listed.stderr) == (list(contents), "")
    subprocess.run(["tar", "xf", tmp_path / "x.tar", "-C", tmp_path / "out", *options], check=True)
    assert read(tmp_path / "out") == contents


def test_pythons_tarfile_reads_what_was_packed(tmp_path: Path) -> None:
    pack(write(tmp_path / "members", {OUTPUT: b"hits", "N" * 255: b"long"}), tmp_path / "x.tar")
    with tarfile.open(tmp_path / "x.tar") as tar:
        assert tar.getnames() == [OUTPUT, "N" * 255]
        assert [(m.isreg(), m.mode, m.mtime, m.uid, m.gid, m.uname) for m in tar] == [(True, 0o644, 0, 0, 0, "")] * 2


def test_a_header_has_room_for_the_largest_output(tmp_path: Path) -> None:
    (header,) = tar_format._header("large", 9 << 30)
    with (tmp_path / "x.tar").open("wb") as file:
        file.write(header)
        file.truncate(512 + (9 << 30) + 1024)  # takes no space: it is one hole
    assert names(tmp_path / "x.tar") == ["large"]
    with tarfile.open(tmp_path / "x.tar") as tar:
        assert tar.getmember("large").size == 9 << 30


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", "/a", "a\nb", "a\0b", "N" * 256, "ü" * 128, "\ud800"])
def test_a_name_that_is_no_flat_base_name_is_not_packed(tmp_path: Path, name: str) -> None:
    members = write(tmp_path / "members", {OUTPUT: b"hits", name: b"harm"})
    with pytest.raises(ValueError):  # noqa: PT011  (which one is said by the parameter)
        pack(members, tmp_path / "x.tar")
    assert not list(tmp_path.glob("x.tar*"))


def no_file(path: Path) -> None:
    path.unlink()


def a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_dangling_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def a_link_in_a_circle(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


@pytest.mark.parametrize("become", [no_file, a_directory, a_fifo, a_dangling_link, a_link_in_a_circle])
def test_a_lost_output_is_known_before_packing_and_named_by_it(tmp_path: Path, become: Callable[[Path], None]) -> None:
    members = write(tmp_path / "members", {"first": b"1", "lost": b"2", "last": b"3"})
    assert missing(members) == []
    become(members["lost"])
    assert missing(members) == ["lost"]
    with pytest.raises(MissingMember) as caught:
        pack(members, tmp_path / "x.tar")
    assert caught.value.name == "lost"
    assert caught.value.pilot_error_code is PilotErrorCode.MISSINGOUTPUTFILE
    assert not list(tmp_path.glob("x.tar*"))


@pytest.mark.parametrize("path", ["nul\0", "N" * 300, "file/below"])
def test_an_output_whose_path_cannot_be_is_lost(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").touch()
    members = {OUTPUT: tmp_path / path}
    assert missing(members) == [OUTPUT]
    with pytest.raises(MissingMember):
        pack(members, tmp_path / "x.tar")


def test_an_output_that_shrinks_while_it_is_packed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = write(tmp_path / "members", {"first": b"1", "shrinking": bytes(BUFFER_BYTES * 3)})
    adler32 = zlib.adler32

    def shrink_meanwhile(piece: bytes, value: int) -> int:
        os.truncate(members["shrinking"], BUFFER_BYTES)
        return adler32(piece, value)

    monkeypatch.setattr(zlib, "adler32", shrink_meanwhile)
    with pytest.raises(MissingMember, match="too early") as caught:
        pack({"shrinking": members["shrinking"]}, tmp_path / "x.tar")
    assert caught.value.name == "shrinking"
    assert not list(tmp_path.glob("x.tar*"))


def test_a_full_disk_leaves_no_archive(tmp_path: Path) -> None:
    members = write(tmp_path / "members", {OUTPUT: bytes(100_000)})
    (tmp_path / "x.tar.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        pack(members, tmp_path / "x.tar")
    assert not list(tmp_path.glob("x.tar*"))


def test_a_failed_repeat_leaves_the_archive_that_is_there(tmp_path: Path) -> None:
    members = write(tmp_path / "members", {OUTPUT: b"hits"})
    packed = pack(members, tmp_path / "x.tar")
    (tmp_path / "x.tar.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        pack(members, tmp_path / "x.tar")
    assert adler32_of(tmp_path / "x.tar") == packed.adler32


def test_remains_of_an_earlier_try_do_not_get_into_the_archive(tmp_path: Path) -> None:
    members = write(tmp_path / "members", {OUTPUT: b"hits"})
    (tmp_path / "x.tar.part").write_bytes(b"x" * 1_000_000)
    pack(members, tmp_path / "x.tar")
    assert unpack(tmp_path / "x.tar", tmp_path / "out") == [OUTPUT]
    assert not (tmp_path / "x.tar.part").exists()


# --- archives of others -------------------------------------------------------------------------------------------


def member(name: str, content: bytes = b"harm", **said: object) -> tuple[tarfile.TarInfo, bytes]:
    """A member as nobody should send it; `said` is what its header says."""
    header = tarfile.TarInfo(name)
    header.size = len(content)
    for key, value in said.items():
        setattr(header, key, value)
    return header, content


def tar_of(*members: tuple[tarfile.TarInfo, bytes], tar_format: int = tarfile.GNU_FORMAT) -> bytes:
    """An archive of a good output, and these."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tar_format) as tar:
        for header, content in [member(OUTPUT, b"hits"), *members]:
            tar.addfile(header, io.BytesIO(content) if header.isreg() else None)
    return file.getvalue()


def raw_tar_of(header: tarfile.TarInfo, content: bytes = b"", tar_format: int = tarfile.GNU_FORMAT) -> bytes:
    """The same of a header that tarfile would not write; the content follows as it is."""
    file = io.BytesIO(tar_of())
    file.seek(1024)
    file.write(header.tobuf(tar_format) + content + bytes(-len(content) % 512) + bytes(1024))
    return file.getvalue()


def pax(records: bytes, then: tarfile.TarInfo) -> bytes:
    """A member that an extension header speaks about."""
    header, _ = member("PaxHeader", records, type=tarfile.XHDTYPE)
    return raw_tar_of(header, records + bytes(-len(records) % 512) + then.tobuf(tarfile.USTAR_FORMAT) + b"harm")


GOOD = tar_of(member("second", b"2" * 600))
HARMFUL = {
    "a path upwards": tar_of(member("../evil")),
    "an absolute path": tar_of(member("/tmp/evil")),
    "a path downwards": tar_of(member("sub/evil")),
    "a hidden path upwards": tar_of(member("./../evil")),
    "a long path": tar_of(member("../" * 60 + "evil")),
    "a path by a pax header": tar_of(member("evil", pax_headers={"path": "../evil"}), tar_format=tarfile.PAX_FORMAT),
    "two dots": tar_of(member("..")),
    "no name": raw_tar_of(member("")[0], b"harm"),
    "a newline": tar_of(member("a\nb")),
    "a nul": pax(b"12 path=a\0b\n", member("x")[0]),
    "a name too long": tar_of(member("N" * 256)),
    "a symbolic link": tar_of(member("evil", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")),
    "a hard link": tar_of(member("evil", b"", type=tarfile.LNKTYPE, linkname=OUTPUT)),
    "a character device": tar_of(member("evil", b"", type=tarfile.CHRTYPE, devmajor=1, devminor=3)),
    "a block device": tar_of(member("evil", b"", type=tarfile.BLKTYPE, devmajor=8)),
    "a fifo": tar_of(member("evil", b"", type=tarfile.FIFOTYPE)),
    "a directory": tar_of(member("evil", b"", type=tarfile.DIRTYPE)),
    "a directory above": tar_of(member("..", b"", type=tarfile.DIRTYPE)),
    "a sparse file": raw_tar_of(member("evil", b"", type=tarfile.GNUTYPE_SPARSE)[0]),
    "a sparse file by a pax header": pax(b"22 GNU.sparse.major=1\n", member("x")[0]),
    "a kind that nobody knows": raw_tar_of(member("evil", type=b"Z")[0], b"harm"),
    "a name twice": tar_of(member(OUTPUT)),
    "a name twice with a dot": tar_of(member("./" + OUTPUT)),
    "a huge size": raw_tar_of(member("evil", size=1 << 60)[0]),
    "a huge size by a pax header": pax(b"35 size=99999999999999999999999999\n", member("x")[0]),
    "a size of ten thousand digits": pax(b"10012 size=" + b"9" * 10_000 + b"\n", member("x")[0]),
    "a negative size": raw_tar_of(member("evil", size=-512)[0]),
    "a negative extension": raw_tar_of(member("evil", size=-512, type=tarfile.XHDTYPE)[0]),
    "a huge extension": raw_tar_of(member("evil", size=1 << 40, type=tarfile.GNUTYPE_LONGNAME)[0]),
    "an extension of no length": pax(b"path=evil\n", member("x")[0]),
    "an extension of length nought": pax(b"0 path=evil\n", member("x")[0]),
    "an extension longer than itself": pax(b"99 path=evil\n", member("x")[0]),
    "an extension that never ends": pax(b"9" * 5000, member("x")[0]),
    "nothing": b"",
    "text": b"<html>502 Bad Gateway</html>" * 100,
    "zipped": gzip.compress(GOOD),
    "no end": GOOD[: 1024 + 512 + 1024],
    "cut in a header": GOOD[:1300],
    "cut in a content": GOOD[: 1024 + 512 + 600],
    "cut in the padding": GOOD[: 1024 + 512 + 1000],
    "a header of nothing in the middle": GOOD[:1024] + bytes(512) + GOOD[1536:],
    "a flipped bit in a header": GOOD[:1030] + b"\xff" + GOOD[1031:],
    "a second archive behind it": GOOD + GOOD,
}


@pytest.mark.parametrize("content", HARMFUL.values(), ids=HARMFUL.keys())
def test_a_harmful_archive_is_refused_before_anything_is_written(tmp_path: Path, content: bytes) -> None:
    archive, out = tmp_path / "x.tar", tmp_path / "out"
    archive.write_bytes(content)
    with pytest.raises(UnsafeArchive) as caught:
        unpack(archive, out)
    assert caught.value.archive == archive
    assert caught.value.pilot_error_code is PilotErrorCode.NOSUCHFILE
    assert str(archive) in str(caught.value)
    assert list(tmp_path.iterdir()) == [archive]
    with pytest.raises(UnsafeArchive):
        names(archive)


def test_a_refusal_names_the_member(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(HARMFUL["a symbolic link"])
    with pytest.raises(UnsafeArchive, match="member 'evil': a symbolic link, no regular file") as caught:
        unpack(tmp_path / "x.tar", tmp_path / "out")
    assert caught.value.member == "evil"


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_damaged_archive_is_unpacked_or_refused_and_nothing_else(data: st.DataObject) -> None:
    """In particular it never writes outside, never runs for ever and never raises anything else."""
    damaged = bytearray(data.draw(st.sampled_from([GOOD, HARMFUL["a path by a pax header"], HARMFUL["a long path"]])))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with TemporaryDirectory() as home:
        archive, out = Path(home, "x.tar"), Path(home, "out")
        archive.write_bytes(damaged)
        try:
            unpacked = unpack(archive, out)
        except UnsafeArchive:
            assert not out.exists()
        else:
            assert sorted(unpacked) == sorted(path.name for path in out.iterdir())
        assert set(Path(home).iterdir()) <= {archive, out}


@pytest.mark.parametrize("tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_archives_in_other_formats_are_unpacked(tmp_path: Path, tar_format: int) -> None:
    second = "second" if tar_format == tarfile.USTAR_FORMAT else "N" * 250
    content = tar_of(member(second, b"2", mtime=1.5), tar_format=tar_format)
    (tmp_path / "x.tar").write_bytes(content)
    assert unpack(tmp_path / "x.tar", tmp_path / "out") == [OUTPUT, second]
    assert read(tmp_path / "out") == {OUTPUT: b"hits", second: b"2"}


@pytest.mark.parametrize("options", [["-r"], ["-c"], ["-c", "--format=posix"], ["-c", "--format=v7"]], ids=" ".join)
@pytest.mark.parametrize("what", [["first", "second"], ["."]], ids=["by names", "a whole directory"])
def test_archives_of_tar_are_unpacked(tmp_path: Path, options: list[str], what: list[str]) -> None:
    contents = {"first": b"1", "second": bytes(5000)}
    (tmp_path / "in").mkdir()
    for name, content in contents.items():
        (tmp_path / "in" / name).write_bytes(content)
    subprocess.run(["tar", *options, "-f", tmp_path / "x.tar", "-C", tmp_path / "in", *what], check=True)
    assert sorted(unpack(tmp_path / "x.tar", tmp_path / "out")) == ["first", "second"]
    assert read(tmp_path / "out") == contents


def test_modes_of_an_archive_are_not_believed(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(tar_of(member("evil", mode=0o6777)))
    unpack(tmp_path / "x.tar", tmp_path / "out")
    assert {path.stat().st_mode & 0o7777 for path in (tmp_path / "out").iterdir()} == {0o644}


@pytest.mark.parametrize(("limit_bytes", "refused"), [(604, False), (603, True), (0, True), (None, False)])
def test_no_more_is_unpacked_than_the_limit(tmp_path: Path, limit_bytes: int | None, refused: bool) -> None:
    archive, out = tmp_path / "x.tar", tmp_path / "out"
    archive.write_bytes(GOOD)
    if not refused:
        assert unpack(archive, out, limit_bytes=limit_bytes) == [OUTPUT, "second"]
        return
    with pytest.raises(UnsafeArchive, match=f"exceed {limit_bytes} bytes"):
        unpack(archive, out, limit_bytes=limit_bytes)
    assert not out.exists()


def test_unpacking_again_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(GOOD)
    unpack(tmp_path / "x.tar", tmp_path / "out")
    (tmp_path / "out" / "second").unlink()
    before = (tmp_path / "out" / OUTPUT).stat()
    assert unpack(tmp_path / "x.tar", tmp_path / "out") == [OUTPUT, "second"]
    assert (tmp_path / "out" / OUTPUT).stat() == before
    assert read(tmp_path / "out") == {OUTPUT: b"hits", "second": b"2" * 600}


@pytest.mark.parametrize("there", [b"", b"x" * 600, bytes(601)], ids=["empty", "same size", "longer"])
def test_a_file_with_other_contents_is_not_overwritten(tmp_path: Path, there: bytes) -> None:
    (tmp_path / "x.tar").write_bytes(GOOD)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "second").write_bytes(there)
    with pytest.raises(TransferError, match="'second'") as caught:
        unpack(tmp_path / "x.tar", tmp_path / "out")
    assert caught.value.pilot_error_code is PilotErrorCode.STAGEINFAILED
    assert read(tmp_path / "out") == {"second": there}


def test_a_link_in_the_directory_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(GOOD)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "second").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TransferError, match="'second'"):
        unpack(tmp_path / "x.tar", tmp_path / "out")
    assert not (tmp_path / "elsewhere").exists()


def test_a_full_disk_leaves_nothing_of_an_archive_and_a_repeat_succeeds(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(GOOD)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            unpack(tmp_path / "x.tar", tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert read(tmp_path / "out") == {}
    assert unpack(tmp_path / "x.tar", tmp_path / "out") == [OUTPUT, "second"]


def test_remains_of_an_unpacking_that_was_killed_are_removed(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(GOOD)
    remains = tmp_path / "out" / ".x.tar.part"
    remains.mkdir(parents=True)
    (remains / "second").write_bytes(b"half")
    unpack(tmp_path / "x.tar", tmp_path / "out")
    assert read(tmp_path / "out") == {OUTPUT: b"hits", "second": b"2" * 600}


def test_an_archive_that_is_not_there_is_no_unsafe_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        unpack(tmp_path / "x.tar", tmp_path / "out")
