"""The work directories of a pilot: the only place that makes them, and that sees what a dead pilot has left there.

The lock of a definition says whose its job is: a pilot's from the moment that it lies there, and whoever comes next
gets it when that pilot has died. The journal has a lock of its own, which is the engine's.
"""

import fcntl
import os
import re
from collections.abc import Collection
from contextlib import ExitStack, closing, suppress
from itertools import count
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

import orjson

from esfsm import plugins
from esfsm.durable import sync_directory
from esfsm.equipment import mark_of
from esfsm.errors import EsfsmError, UnusableInput, UnusableJournal
from esfsm.journal.file import JOURNAL, JournalFile
from esfsm.journal.reader import read
from esfsm.model.job import Job
from esfsm.model.report import JobReport
from esfsm.model.settings import Settings
from esfsm.ports import Executor, ProcessIdentity
from esfsm.replayer import Retold, retold

__all__ = ["IDENTIFIERS", "Workplace", "Workplaces"]

DEFINITION = "job.json"
"""The definition of a job, in its work directory."""
DECLINED, TOLD = "declined.json", "declined.told.json"
"""Why a job is not begun and never will be; it has the other name when the server knows."""
IDENTIFIERS = ("PandaID", "taskID", "jobsetID", "attemptNr")
"""By which PanDA knows a job that nothing else is known of."""
ROOM_BYTES = 1 << 20
"""A definition has about 10 kB; what follows it at once must find room, too."""


class Workplace:
    """The work directory of one job."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def definition(self) -> dict[str, object]:
        """Of its job. Raises `UnusableInput`."""
        file = self.path / DEFINITION
        try:
            definition = orjson.loads(file.read_bytes())
        except (OSError, orjson.JSONDecodeError) as error:
            raise UnusableInput(f"{file}: {error}") from None
        return dict(definition) if isinstance(definition, dict) else {}

    def identifiers(self) -> dict[str, object]:
        """All that the server must know of its job; the directory's name tells the PandaID where nothing else does."""
        said: dict[str, object] = {}
        with suppress(UnusableInput):
            said = self.definition()
        named = re.match(r"PanDA_Pilot-(\d+)", self.path.name)
        return {name: said.get(name) for name in IDENTIFIERS} | ({"PandaID": named[1]} if named else {})

    @property
    def is_begun(self) -> bool:
        """Whether anything may have been done; a journal that cannot be read may tell of much."""
        journal = self.path / JOURNAL
        if _is_empty(journal):
            return False
        try:
            return next(read(journal)[1], None) is not None
        except UnusableJournal:
            return True

    @property
    def is_unfinished(self) -> bool:
        """Whether its job has not come to its end, or the server could not be told; what cannot be read, is so, too."""
        if (self.path / TOLD).exists():
            return False
        told = _told(self.path / JOURNAL)
        return told is None or not told.engine.ended or told.engine.final.unreported

    @property
    def declined(self) -> JobReport | None:
        """What the server is to be told, if its job is not to begin any more."""
        try:
            said = orjson.loads((self.path / DECLINED).read_bytes())
        except FileNotFoundError:
            return None
        return JobReport("failed", error_code=said["pilotErrorCode"], error_diag=said["pilotErrorDiag"])

    def decline(self, report: JobReport) -> None:
        """No pilot will begin its job, whatever comes of the report. Raises OSError."""
        said = {"pilotErrorCode": report.error_code, "pilotErrorDiag": report.error_diag}
        _write(self.path / DECLINED, orjson.dumps(said)).close()

    def declined_told(self) -> None:
        """The server knows, or nobody can tell it. Raises OSError."""
        (self.path / DECLINED).rename(self.path / TOLD)
        sync_directory(self.path)

    def end_payload(self, settings: Settings) -> None:
        """End what a dead engine has left running; nothing while another engine has the journal, or where none is."""
        journal = self.path / JOURNAL
        if _is_empty(journal):
            return
        with suppress(OSError, UnusableInput), closing(JournalFile.open(journal)):
            told = _told(journal)
            started = told.engine.started if told else None
            identity = ProcessIdentity(started.pid, started.started) if started else None
            executor: Executor = plugins.find("executors", settings.executor_type)(
                settings, plugins.find("channels", settings.channel)
            )
            executor.end_orphan(mark_of(self.path), self.path, identity)


class Workplaces:
    """One base directory, with a work directory for each job that a pilot has fetched into it; it has one at a time."""

    def __init__(self, directory: Path) -> None:
        """Raises `UnusableInput` for what can hold none."""
        self.directory = directory
        self._held: tuple[Path, BinaryIO] | None = None
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UnusableInput(f"work directory {directory}: {error.strerror}") from None

    def make_sure(self) -> None:
        """That another job can be kept: what we have got and lose, PanDA gives to nobody for hours. Raises OSError."""
        with TemporaryFile(dir=self.directory) as file:
            file.write(bytes(ROOM_BYTES))
            file.flush()
            os.fsync(file.fileno())
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def keep(self, job: Job) -> Workplace:
        """A clean work directory for a job, and ours; on return its definition is on the disk. Raises OSError."""
        for number in count(1):  # PanDA gives a job out again under its number
            place = self.directory / (job.place if number == 1 else f"{job.place}.{number}")
            with suppress(FileExistsError):
                place.mkdir()
                break
        self._hold(place, _write(place / DEFINITION, orjson.dumps(dict(job.definition))))
        sync_directory(self.directory)
        return Workplace(place)

    def take(self, place: Path) -> Workplace:
        """That one is ours from now on. Raises `UnusableInput` where it cannot be."""
        if self._held is None or self._held[0] != place:
            self._hold(place, _opened(place / DEFINITION))
        if (place / TOLD).exists():  # since it was found
            raise UnusableInput("another pilot has declined this job")
        return Workplace(place)

    def left(self, seen: Collection[str]) -> Path | None:
        """A work directory whose job is unfinished; None: there is none."""
        for place in sorted(self.directory.glob("PanDA_Pilot-*")):
            with suppress(PermissionError):  # it is somebody else's
                if str(place) not in seen and (place / DEFINITION).is_file() and Workplace(place).is_unfinished:
                    return place
        return None

    def close(self) -> None:
        """Nothing is ours any more."""
        if self._held is not None:
            self._held[1].close()
            self._held = None

    def _hold(self, place: Path, definition: BinaryIO) -> None:
        """This one, and no other any more."""
        self.close()
        self._held = place, definition


def _write(path: Path, content: bytes) -> BinaryIO:
    """A file that is on the disk before it has its name, open and locked. Raises OSError."""
    new = path.with_name(f"{path.name}.new")
    with ExitStack() as undo:
        file = undo.enter_context(new.open("wb"))
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        new.rename(path)
        sync_directory(path.parent)
        undo.pop_all()
    return file


def _opened(definition: Path) -> BinaryIO:
    """A definition that is there, locked. Raises `UnusableInput`."""
    with ExitStack() as undo:
        try:
            file = undo.enter_context(definition.open("rb"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UnusableInput("another pilot has this job") from None
        except OSError as error:
            raise UnusableInput(f"{definition}: {error.strerror}") from None
        undo.pop_all()
    return file


def _told(journal: Path) -> Retold | None:
    """The whole of a journal; None where there is none, or it cannot be told."""
    if _is_empty(journal):
        return None
    try:
        told = retold(journal)
        for _ in told.entries:
            pass
    except EsfsmError:
        return None
    return told


def _is_empty(journal: Path) -> bool:
    return not journal.is_file() or journal.stat().st_size == 0
