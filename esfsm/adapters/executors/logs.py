"""Files that a payload appends to for as long as it likes, kept small while it does."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

__all__ = ["rotate"]


def rotate(path: Path, limit_bytes: int, keep: int) -> bool:
    """Move what is in a file to `<name>.1` if it is more than `limit_bytes`; False if it was not.

    Older ones move up, as far as `<name>.<keep>`; the oldest goes. The file itself stays, as a payload that may outlive
    us has it open: it is copied and cut to nothing, and who has opened it with O_APPEND goes on at the new end. What is
    written between the end of the copy and the cut, some microseconds, is lost.
    Raises OSError; then nothing was cut.
    """
    with os.fdopen(os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "r+b", 0) as full:
        if os.fstat(full.fileno()).st_size <= limit_bytes:
            return False
        for number in range(keep - 1, 0, -1):
            with suppress(FileNotFoundError):
                _numbered(path, number).replace(_numbered(path, number + 1))
        with _numbered(path, 1).open("wb") as copy:
            shutil.copyfileobj(full, copy)
            copy.flush()
            os.ftruncate(full.fileno(), 0)
    return True


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")
