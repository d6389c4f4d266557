"""A thousand archives that somebody made to do harm: none leaves the directory, none writes more than it may."""

import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import find, given, settings
from hypothesis import strategies as st

from esfsm.adapters.archives.tar import UnsafeArchive, unpack

LIMIT_BYTES = 4000
PLACES = [
    "evil",
    "../evil",
    "/tmp/esfsm-evil",
    "sub/../../evil",
    "./evil",
    "..",
    "sub",
    "sub/evil",
    "evil/../..",
    "a" * 300,
]
KINDS = [
    *(tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE, tarfile.GNUTYPE_SPARSE),
    *(tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE),
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, b"Z"),
]
FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


@st.composite
def members(draw: st.DrawFn) -> bytes:
    """A header as no honest program writes it, and contents that need not be as long as it says."""
    header = tarfile.TarInfo(draw(st.sampled_from(PLACES) | st.text(min_size=1, max_size=80)))
    header.type = draw(st.sampled_from(KINDS[:2]) | st.sampled_from(KINDS))
    header.linkname = draw(st.sampled_from(["", "/etc/passwd", "..", "evil"]))
    header.mode = draw(st.sampled_from([0o644, 0o4777, 0]))
    content = draw(st.binary(max_size=2500))
    header.size = draw(st.just(len(content)) | st.sampled_from([0, 1, 5000, 1 << 33, 1 << 60]))
    if draw(st.booleans()):
        said = st.dictionaries(
            st.sampled_from(["path", "linkpath", "size", "GNU.sparse.size"]), st.sampled_from(PLACES)
        )
        header.pax_headers = draw(said)
    try:
        told = header.tobuf(draw(st.sampled_from(FORMATS)), errors="surrogateescape")
    except ValueError:  # this format has no room for it
        told = header.tobuf(tarfile.GNU_FORMAT, errors="surrogateescape")
    return told + content + bytes(-len(content) % 512)


@settings(max_examples=1000, deadline=None)
@given(st.lists(members(), min_size=1, max_size=6), st.integers(0, 3))
def test_nothing_leaves_the_directory_or_exceeds_its_limit(made: list[bytes], ends: int) -> None:
    with TemporaryDirectory() as home:
        archive, out = Path(home, "x.tar"), Path(home, "out")
        archive.write_bytes(b"".join(made) + bytes(512 * ends))
        try:
            names = unpack(archive, out, limit_bytes=LIMIT_BYTES)
        except UnsafeArchive:
            assert not out.exists()
        else:
            there = sorted(out.iterdir())
            assert [path.name for path in there] == sorted(names)
            assert all(path.is_file() and not path.is_symlink() and path.stat().st_nlink == 1 for path in there)
            assert all(path.stat().st_mode & 0o7777 == 0o644 for path in there)
            assert sum(path.stat().st_size for path in there) <= LIMIT_BYTES
        assert {path.name for path in Path(home).iterdir()} <= {"x.tar", "out"}
        assert not Path("/tmp/esfsm-evil").exists()


def test_some_of_them_are_harmless() -> None:
    """Or the test above would say nothing."""

    def is_harmless(made: list[bytes]) -> bool:
        with TemporaryDirectory() as home:
            Path(home, "x.tar").write_bytes(b"".join(made) + bytes(1024))
            try:
                return len(unpack(Path(home, "x.tar"), Path(home, "out"), limit_bytes=LIMIT_BYTES)) > 1
            except UnsafeArchive:
                return False

    assert find(st.lists(members(), min_size=1, max_size=6), is_harmless)
