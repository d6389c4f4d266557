"""Bytes are counted as PanDA counts them."""

import os
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esfsm.durable import BUFFER_BYTES, Checksum, adler32_of, sync_directory


@given(pieces=st.lists(st.binary()))
def test_size_and_checksum_do_not_depend_on_how_the_bytes_come(pieces: list[bytes]) -> None:
    checksum = Checksum()
    for piece in pieces:
        checksum.update(piece)
    whole = b"".join(pieces)
    assert (checksum.size_bytes, int(checksum.adler32, 16)) == (len(whole), zlib.adler32(whole))


@pytest.mark.parametrize(("content", "adler32"), [(b"", "00000001"), (b"a", "00620062"), (b"Wikipedia", "11e60398")])
def test_a_checksum_has_eight_digits(tmp_path: Path, content: bytes, adler32: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert adler32_of(path) == adler32


def test_a_file_of_more_than_one_buffer_is_read_to_its_end(tmp_path: Path) -> None:
    path, content = tmp_path / "file", os.urandom(2 * BUFFER_BYTES + 7)
    path.write_bytes(content)
    assert adler32_of(path) == f"{zlib.adler32(content):08x}"


def test_a_directory_is_synced_and_let_go_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    descriptors: list[int] = []

    def fsync(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        descriptors.append(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    sync_directory(tmp_path)
    assert synced == [tmp_path]
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptors[0])


@pytest.mark.parametrize("name", ["missing", "file"])
def test_what_is_no_directory_cannot_be_synced(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=name):
        sync_directory(tmp_path / name)
