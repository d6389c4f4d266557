"""Files that somebody gives us: the only place where one is read whole, so that none is read for ever."""

import errno
import stat
from pathlib import Path

__all__ = ["MOST_BYTES", "read_file"]

MOST_BYTES = 64 << 20
"""Job definitions and configurations have kilobytes; the description of all queues has some 20 MB."""


def read_file(path: Path, most_bytes: int = MOST_BYTES) -> bytes:
    """What a regular file holds. Raises OSError, as for a pipe or a device, and for one of more than `most_bytes`."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    if found.st_size > most_bytes:
        raise OSError(errno.EFBIG, f"{found.st_size} bytes are more than {most_bytes}", str(path))
    with path.open("rb") as file:
        return file.read(found.st_size)  # no more than that, though it may grow
