"""audit: journal, server and storage of one job, read anew and compared. It changes nothing, and no job waits for it.

What cannot be read is a difference, too.
"""

from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from esfsm import plugins
from esfsm.errors import PilotErrorCode, TransferError, UnusableInput, WireError
from esfsm.journal.file import JOURNAL
from esfsm.model.job import Job, JobKind
from esfsm.model.report import Booked
from esfsm.model.rse import RUCIO_PATHS
from esfsm.model.settings import Settings
from esfsm.ports import Archiver, OpenCommunicator, Storage
from esfsm.replayer import retold
from esfsm.views.audit import Archive, Audit, Bookkeeper, Found, JournalBook, StorageBook, compare, summary

__all__ = ["audit"]


Server = Mapping[str, Booked] | None


class _Told(NamedTuple):
    """What a journal tells: whose it is, the settings of its last engine, and the book."""

    job: Job
    run: str
    settings: Settings
    book: JournalBook


def audit(workdir: Path | str) -> Audit:
    """Compare what the journal of a work directory says with what the server and the storages have, byte by byte.

    Raises `UnusableInput` when there is no journal in it, its `UnusableJournal` when that cannot be read, and
    `ReplayDiverged` when this code decides otherwise than the one that wrote it.
    """
    place = Path(workdir).absolute()
    troubles: list[str] = []
    told = _journal(place)
    journal, server, names = told.book, _server(told, place, troubles), _names(told, place, troubles)
    if not journal.ended:  # it may go on while we look
        journal, server = _steady(_journal(place).book, server, _server(told, place, troubles))
    storage = StorageBook(_files(journal.stored, told.settings), names)
    differences = dict.fromkeys([*troubles, *compare(journal, server, storage)])
    return Audit(told.job.panda_id, summary(journal, server, storage), tuple(differences))


def _journal(workdir: Path) -> _Told:
    path = workdir / JOURNAL
    try:
        if not path.exists():
            raise UnusableInput(f"work directory {workdir}: there is no {JOURNAL}, so no job was run here")
    except OSError as error:
        raise UnusableInput(f"work directory {workdir}: {error.strerror}") from None
    header, engine, entries = retold(path)
    keeper = Bookkeeper(engine)
    for entry, decision in entries:
        keeper.hear(entry.fact, decision.actions)
    book = keeper.book(plugins.held()["event-range"].ends)
    return _Told(Job.read(header.job, source=str(path)), header.run, engine.settings, book)


def _server(told: _Told, workdir: Path, troubles: list[str]) -> Server:
    """How the server has each event range; None where nobody can say, or there are none."""
    if told.job.kind is not JobKind.EVENTSERVICE:
        return None
    # With nothing to fill a broker with, one that is not there is not made.
    settings = told.settings.model_copy(update={"events": None, "ranges": None})
    try:
        find: OpenCommunicator = plugins.find("communicators", settings.communicator)
        with closing(find(told.job, settings, workdir, told.run)) as communicator:
            return communicator.booked()
    except (UnusableInput, WireError) as error:
        troubles.append(f"server: cannot be asked: {error}")
        return None


def _steady(journal: JournalBook, before: Server, after: Server) -> tuple[JournalBook, Server]:
    """The books without the event ranges that moved at the server between two looks, the journal's in between."""
    if before is None or after is None:
        return journal, None
    moved = {name for name, booked in after.items() if before.get(name) != booked}
    ranges = {name: state for name, state in journal.ranges.items() if name not in moved}
    return replace(journal, ranges=ranges), {name: booked for name, booked in after.items() if name not in moved}


def _names(told: _Told, workdir: Path, troubles: list[str]) -> frozenset[str]:
    """Of all files in the directories where archives of the job are, or would be."""
    if told.job.kind is not JobKind.EVENTSERVICE:
        return frozenset()
    rses = told.settings.destinations(workdir)
    directories = {rse.url for rse in rses if rse.path_convention != RUCIO_PATHS}  # a path for each: nothing to list
    directories |= {archive.url.rpartition("/")[0] for archive in told.book.stored}
    names: set[str] = set()
    for directory in sorted(directories):
        try:
            names.update(_storage(directory, told.settings).names(directory))
        except (TransferError, UnusableInput) as error:
            troubles.append(f"storage: cannot be listed: {error}")
    return frozenset(names)


def _files(archives: Iterable[Archive], settings: Settings) -> dict[str, Found]:
    """What is there of each archive, by LFN; each is copied, looked at, and let go of."""
    files: dict[str, Found] = {}
    with TemporaryDirectory(prefix="esfsm-audit-") as directory:
        for archive in archives:
            path = Path(directory, archive.lfn)
            found = _found(archive, path, settings)
            path.unlink(missing_ok=True)
            if found is not None:
                files[archive.lfn] = found
    return files


def _found(archive: Archive, path: Path, settings: Settings) -> Found | None:
    """A file as it is, by a copy of it; None where there is none."""
    try:
        stored = _storage(archive.url, settings).get(archive.url, path)
    except (TransferError, UnusableInput) as error:
        missing = error.pilot_error_code is PilotErrorCode.NOSUCHFILE
        return None if missing else Found(fault=f"cannot be read: {error}")
    found = Found(stored.size_bytes, stored.adler32)
    if not archive.members:
        return found
    archiver: Archiver = plugins.archiver(archive.lfn)
    try:
        return replace(found, members=archiver.names(path))
    except TransferError as error:
        return replace(found, fault=f"cannot be unpacked: {error.why}")


def _storage(url: str, settings: Settings) -> Storage:
    storage: Storage = plugins.storage(url, settings)
    return storage
