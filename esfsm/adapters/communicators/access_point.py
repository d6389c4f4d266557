"""A worker's access point: the only place that touches the files which it shares with Harvester.

A file is written under another name, synced, and then takes its own in one step, so nobody ever sees half of one.
Nothing is locked: many file systems of supercomputers know no locks (Lustre has to be mounted with them), and nothing
here needs one.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from esfsm.durable import sync_directory
from esfsm.errors import WireError
from esfsm.model.reading import read_file

__all__ = ["AccessPoint"]


class AccessPoint:
    """One directory. Names are relative to it; every method raises `WireError` where the file system fails."""

    def __init__(self, directory: Path, writer: str) -> None:
        """`writer` tells what one writer has half written from what others have."""
        self.directory, self._writer = directory, writer

    def holds(self, name: str) -> bool:
        """Whether there is a file of that name."""
        with self._trouble(name):
            return (self.directory / name).exists()

    def read(self, name: str) -> bytes | None:
        """What a file holds; None where there is none."""
        with self._trouble(name):
            try:
                return read_file(self.directory / name)
            except FileNotFoundError:
                return None

    def put(self, name: str, content: bytes) -> None:
        """Write a file, in place of one that has its name."""
        part = self.directory / f"{name}.{self._writer}.new"
        with self._trouble(name):
            with part.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.directory / name)
            sync_directory(self.directory)

    def rename(self, name: str, new: str) -> None:
        """Give a file another name; nothing happens where there is none, as somebody else was faster."""
        with self._trouble(name):
            try:
                (self.directory / name).replace(self.directory / new)
            except FileNotFoundError:
                return
            sync_directory(self.directory)

    def remove(self, name: str) -> None:
        """There is no file of that name any more."""
        with self._trouble(name):
            (self.directory / name).unlink(missing_ok=True)

    def names(self, beginning: str) -> set[str]:
        """The names of all files that begin like this."""
        with self._trouble(beginning):
            return {path.name for path in self.directory.iterdir() if path.name.startswith(beginning)}

    @contextmanager
    def _trouble(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise WireError(f"{self.directory / name}: {error.strerror}") from None
