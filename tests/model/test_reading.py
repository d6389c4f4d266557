"""Files that somebody gives: read whole, or refused."""

import errno
import os
from pathlib import Path

import pytest

from esfsm.model.reading import read_file


@pytest.mark.parametrize("content", [b"", b"a\xff\n"])
def test_a_file_is_read_as_it_is(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    assert read_file(tmp_path / "file", len(content)) == content


@pytest.mark.parametrize("path", ["pipe", ".", "/dev/zero", "link"])
def test_what_might_never_end_is_not_begun(tmp_path: Path, path: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    with pytest.raises(OSError, match="not a regular file") as refused:
        read_file(tmp_path / path)
    assert refused.value.strerror == "not a regular file"


def test_a_file_that_is_too_large_is_not_begun(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(OSError, match=f"{1 << 40} bytes are more than") as refused:
        read_file(tmp_path / "file")
    assert refused.value.errno == errno.EFBIG


def test_a_file_that_is_not_there_is_told_as_the_system_tells_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "file")
