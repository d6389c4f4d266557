"""Files that a payload appends to for as long as it likes, kept small while it does."""

import os
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from esfsm.durable import BUFFER_BYTES

__all__ = ["rotate"]


def rotate(path: Path, limit_bytes: int, keep: int, most_bytes: int | None = None) -> bool:
    """Move what is in a file to `<name>.1` if it is more than `limit_bytes`; False if it was not, or is `most_bytes`.

    Older ones move up, as far as `<name>.<keep>`; the oldest goes. The file itself stays, as a payload that may outlive
    us has it open: it is copied and cut to nothing, and who has opened it with O_APPEND goes on at the new end. What is
    written between the end of the copy and the cut is lost: some microseconds', or what a payload writes faster than
    it can be copied, as no copy may run after it until the disk is full.
    Raises OSError; then nothing was cut, and all older ones are as they were.
    """
    with os.fdopen(os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "r+b", 0) as full:
        size_bytes = os.fstat(full.fileno()).st_size
        if size_bytes <= limit_bytes or (most_bytes is not None and size_bytes >= most_bytes):
            return False
        copied = path.with_name(f"{path.name}.part")
        try:
            with copied.open("wb") as copy:
                _copy(full, copy, size_bytes)
                _copy(full, copy, os.fstat(full.fileno()).st_size - size_bytes)
            for number in range(keep - 1, 0, -1):
                with suppress(FileNotFoundError):
                    _numbered(path, number).replace(_numbered(path, number + 1))
            copied.replace(_numbered(path, 1))
        except OSError:
            copied.unlink(missing_ok=True)
            raise
        os.ftruncate(full.fileno(), 0)
    return True


def _copy(source: FileIO, target: BinaryIO, size_bytes: int) -> None:
    while size_bytes > 0 and (piece := source.read(min(size_bytes, BUFFER_BYTES))):
        target.write(piece)
        size_bytes -= len(piece)


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")
