"""The same promises for zip archives: what is packed can be unpacked, by us and by unzip; what would do harm is not."""

import io
import os
import random
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from contract.test_archive import CONTENTS, OUTPUT, read, write
from hypothesis import example, given, settings

from esfsm.adapters.archives import zip as zip_format
from esfsm.adapters.archives.flat import Packed, UnsafeArchive
from esfsm.adapters.archives.zip import missing, names, pack, unpack
from esfsm.durable import BUFFER_BYTES
from esfsm.errors import MissingMember


@settings(max_examples=40, deadline=None)
@given(CONTENTS)
@example({})
@example({"empty": b"", "N" * 255: b"1", "-rf": b"3", " ": b"4", "*": b"6"})
@example({"large": os.urandom(BUFFER_BYTES + 1), OUTPUT: b"x"})
def test_unpacking_gives_what_was_packed_and_packing_it_again_the_same_bytes(contents: dict[str, bytes]) -> None:
    with TemporaryDirectory() as home:
        first, second, out = Path(home, "1.zip"), Path(home, "2.zip"), Path(home, "out")
        packed = pack(write(Path(home, "members"), contents), first)
        written = first.read_bytes()
        assert packed == Packed(len(written), f"{zlib.adler32(written):08x}")
        assert names(first) == unpack(first, out) == list(contents)
        assert read(out) == contents
        with zipfile.ZipFile(first) as other:
            assert (other.testzip(), other.namelist()) == (None, list(contents))
        for path in out.iterdir():
            os.utime(path, (0, 0))
        assert pack({name: out / name for name in contents}, second) == packed


def test_a_member_that_needs_zip64_can_be_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zip_format, "LARGE_BYTES", 3)
    pack(write(tmp_path / "members", {"large": b"1234", "small": b"12"}), tmp_path / "a.zip")
    unpack(tmp_path / "a.zip", tmp_path / "out")
    assert read(tmp_path / "out") == {"large": b"1234", "small": b"12"}


def test_only_the_members_that_are_wanted_are_written(tmp_path: Path) -> None:
    pack(write(tmp_path / "members", {"a": b"1", "b": b"2", "c": b"3"}), tmp_path / "a.zip")
    assert unpack(tmp_path / "a.zip", tmp_path / "out", only={"b", "d"}, limit_bytes=1) == ["b"]
    assert read(tmp_path / "out") == {"b": b"2"}


def test_what_cannot_be_packed_is_named_beforehand(tmp_path: Path) -> None:
    members = {**write(tmp_path / "members", {"good": b"1", "\udcff": b"2"}), "gone": tmp_path / "gone"}
    assert missing(members) == ["\udcff", "gone"]


def test_a_member_that_vanishes_leaves_no_archive(tmp_path: Path) -> None:
    with pytest.raises(MissingMember):
        pack({**write(tmp_path / "members", {"good": b"1"}), "gone": tmp_path / "gone"}, tmp_path / "a.zip")
    assert [path.name for path in tmp_path.iterdir()] == ["members"]


def made(path: Path, *entries: tuple[zipfile.ZipInfo | str, bytes], **how: int) -> Path:
    """As others may make it."""
    with zipfile.ZipFile(path, "w", **how) as file:
        for entry, content in entries:
            file.writestr(entry, content)
    return path


def entry(name: str, kind: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (kind | 0o777) << 16
    return info


def test_what_others_have_compressed_can_be_read(tmp_path: Path) -> None:
    archive = made(tmp_path / "a.zip", ("a", b"0" * 100_000), compression=zipfile.ZIP_DEFLATED)
    unpack(archive, tmp_path / "out", limit_bytes=100_000)
    assert read(tmp_path / "out") == {"a": b"0" * 100_000}


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: made(path, ("../a", b"")), "'/' in the name"),
        (lambda path: made(path, ("/a", b"")), "'/' in the name"),
        (lambda path: made(path, ("a/", b"")), "no regular file"),
        (lambda path: made(path, (entry("a", stat.S_IFLNK), b"/etc/passwd")), "no regular file"),
        (lambda path: made(path, (entry("a", stat.S_IFIFO), b"")), "no regular file"),
        (lambda path: made(path, ("a", b"1"), compression=zipfile.ZIP_BZIP2), "compressed in a way that is not known"),
        (lambda path: made(path, ("a", b"0" * 10_001), compression=zipfile.ZIP_DEFLATED), "exceed 10000 bytes"),
        (lambda path: path.write_bytes(b"no zip") and path, "no zip archive"),
    ],
    ids=["up", "absolute", "directory", "link", "fifo", "method", "bomb", "something else"],
)
def test_an_archive_that_would_do_harm_is_refused_and_nothing_is_written(
    tmp_path: Path, make: Callable[[Path], Path], why: str
) -> None:
    archive = make(tmp_path / "a.zip")
    with pytest.raises(UnsafeArchive, match=why):
        unpack(archive, tmp_path / "out", limit_bytes=10_000)
    assert not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    archive = made(tmp_path / "a.zip", ("a", b"1"), ("a", b"2"))
    with pytest.raises(UnsafeArchive, match="there twice"):
        names(archive)


def test_a_member_whose_size_is_a_lie_writes_no_more_than_it_says(tmp_path: Path) -> None:
    archive = made(tmp_path / "a.zip", ("a", b"0" * 100_000), compression=zipfile.ZIP_DEFLATED)
    content = archive.read_bytes()
    archive.write_bytes(content.replace(struct.pack("<I", 100_000), struct.pack("<I", 10)))
    with pytest.raises(UnsafeArchive):
        unpack(archive, tmp_path / "out", limit_bytes=10)
    assert read(tmp_path / "out") == {}


def test_damage_anywhere_is_refused_or_costs_nothing(tmp_path: Path) -> None:
    chance = random.Random(7)
    contents = {f"member{number}": os.urandom(200) for number in range(3)}
    good = io.BytesIO()
    pack(write(tmp_path / "members", contents), tmp_path / "good.zip")
    good.write((tmp_path / "good.zip").read_bytes())
    for number in range(300):
        damaged = bytearray(good.getvalue())
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        archive, out = tmp_path / "a.zip", tmp_path / f"out{number}"
        archive.write_bytes(damaged[: chance.choice([None, chance.randrange(len(damaged))])])
        try:
            unpack(archive, out, limit_bytes=1000)
        except UnsafeArchive:
            assert not out.exists() or read(out) == {}
        else:
            assert set(read(out).values()) <= set(contents.values())
