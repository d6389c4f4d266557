"""A file that appears when this machine will be taken back, as batch systems and health checks can make one."""

import os
from pathlib import Path

from esfsm.adapters.notices.sentence import LONGEST, sentence

__all__ = ["FileNotice"]


class FileNotice:
    """Looks for a file, of which the path or the URL is told."""

    def __init__(self, place: Path | str) -> None:
        self._path = Path(str(place).removeprefix("file://"))

    def look(self) -> str | None:
        """A sentence with the first line of the file, if it has one that can be read; None while there is no file."""
        try:
            self._path.stat()
        except OSError:
            return None
        return sentence(str(self._path), _begin(self._path))


def _begin(path: Path) -> str:
    """What a file begins with; nothing if that cannot be read."""
    try:
        # Another kind of file, such as a pipe, must not make us wait.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(descriptor, 4 * LONGEST).decode(errors="replace")  # UTF-8 has four bytes a letter at most
    except OSError:
        return ""
    finally:
        os.close(descriptor)
