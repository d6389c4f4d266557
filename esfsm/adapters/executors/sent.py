"""Which event range a payload was sent last, in a file: all that its executor remembers without the journal.

Between a send and its line in the journal an engine may be killed, and the payload lives on with a range that the next
engine would hand out again. As ranges are sent in the order in which they were stocked, the last one tells all.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from esfsm.errors import ChannelError

__all__ = ["LastSent", "sent_of"]

NAME = "EventService_EventRanges.sent"
LIMIT_BYTES = 256
"""An eventRangeID has 200 characters at most."""


class LastSent:
    """The file of one payload, in its work directory. It is written before the range is sent."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def begin(cls, directory: Path) -> Self:
        """For a payload that was sent nothing yet; its room on the disk is taken. Raises `ChannelError`, OSError."""
        path = directory / NAME
        path.unlink(missing_ok=True)  # it might lead elsewhere
        sent = cls(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
        try:
            sent.write("")
        except ChannelError:
            sent.close()
            raise
        return sent

    @classmethod
    def open(cls, directory: Path) -> Self:
        """For a payload that outlived its engine. Raises OSError."""
        return cls(os.open(directory / NAME, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC))

    def write(self, event_range_id: str) -> None:
        """In one write to one page: who reads it finds the new one, or the one before. Raises `ChannelError`."""
        try:
            os.pwrite(self._descriptor, event_range_id.encode().ljust(LIMIT_BYTES), 0)
        except OSError as error:
            raise ChannelError(f"what is sent to the payload cannot be noted in {NAME}: {error.strerror}") from None

    def read(self) -> str:
        """Empty as long as nothing was sent. Raises OSError."""
        return os.pread(self._descriptor, LIMIT_BYTES, 0).decode(errors="replace").strip()

    def close(self) -> None:
        """Let go of the file; it stays."""
        with suppress(OSError):
            os.close(self._descriptor)


def sent_of(queue: Sequence[str], last: str) -> Sequence[str]:
    """Those of a queue of event ranges that were sent, when `last` was the last one; none if it is not among them."""
    return queue[: queue.index(last) + 1] if last in queue else ()
