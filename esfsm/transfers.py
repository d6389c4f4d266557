"""The actions on files: stage-in, unpack, prove, pack, store, stage-out. Each returns the fact that answers it."""

import errno
import hashlib
import shutil
from pathlib import Path
from typing import Any
from uuid import uuid4

from esfsm import plugins
from esfsm.core import actions as a
from esfsm.core import facts as f
from esfsm.durable import adler32_of
from esfsm.errors import MissingMember, PilotErrorCode, TransferError, UnusableInput
from esfsm.model.files import FileSpec
from esfsm.model.job import Job
from esfsm.model.settings import Settings
from esfsm.pools import each_at_once
from esfsm.ports import Archiver, Storage

__all__ = ["OURS", "Transfers"]

PAYLOADS_OWN = {"payload.stdout", "payload.stderr", "jobReport.json"}
"""What a payload writes beside its outputs; a job may name it as one."""
OURS = (
    *("journal.jsonl", "journal.jsonl.cut", "broker.sqlite", "broker.sqlite-wal", "broker.sqlite-shm"),
    *("EventService_EventRanges.sent", "payload.keeper", "tmp", *PAYLOADS_OWN),
    *(f"{log}.{number}" for log in ("payload.stdout", "payload.stderr") for number in (1, 2, 3, "part")),
)
"""What lies in a work directory beside inputs and outputs."""
LOGS = tuple(name for name in OURS if name.startswith(("journal.jsonl", "payload.std", "jobReport")))
"""What a log has in it."""
NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""How a file system says that there is no room: on the disk, in the quota, in one file."""


class Transfers:
    """Moves the files of one job between its work directory and the storages of its settings."""

    def __init__(self, job: Job, workdir: Path, settings: Settings) -> None:
        self._job, self._workdir, self._settings = job, workdir, settings
        self._packed: set[str] = set()
        """Archives that were packed, and synced, by this process."""
        self._rses = settings.destinations(workdir)

    def check(self) -> None:
        """Whether there is a storage for each place, and a place for each file.

        Raises `UnknownName`, `MissingExtra` or `UnusableInput`.
        """
        of_job = {spec.lfn for spec in self._job.in_files} | {spec.lfn for spec in self._job.out_files} - PAYLOADS_OWN
        of_job |= {self._job.log_file.lfn} if self._job.log_file else set()
        if taken := sorted(of_job.intersection(OURS)):
            raise UnusableInput(f"the job has a file {taken[0]}, and so has every work directory")
        for url in (*(rse.url for rse in self._rses), self._settings.input_url or "."):
            self._storage(url)

    def stage_in(self) -> f.Fact:
        """All inputs, compared with what PanDA says of them."""
        copies = []
        for staged in each_at_once(self._settings.transfers_at_once, self._stage_in_one, self._job.in_files):
            if isinstance(staged, f.StageInFailed):
                return staged
            copies.append(staged)
        return f.InputsStaged(files=tuple(copies))

    def _stage_in_one(self, spec: FileSpec) -> f.FileCopy | f.StageInFailed:
        try:
            copy = self._get(spec)
        except TransferError as error:
            return f.StageInFailed(error_code=error.pilot_error_code, why=str(error))
        code, fault = _difference(spec, copy, self._workdir / spec.lfn)
        if fault:
            (self._workdir / spec.lfn).unlink()
            return f.StageInFailed(error_code=code, why=f"{copy.url}: {fault}", corrupted=(spec.lfn,))
        return copy

    def unpack_archives(self) -> f.Fact:
        """The archives of a merge job become files, and everything that is to be merged is among them."""
        merge = self._merge()
        found: set[str] = set()
        for spec in self._job.in_files:
            if not spec.is_archive:
                found.add(spec.lfn)
                continue
            try:
                found.update(self._unpack(self._workdir / spec.lfn))
            except TransferError as error:
                code, lfn = error.pilot_error_code, spec.lfn
                corrupted = (lfn,) if code is PilotErrorCode.NOSUCHFILE else ()  # PanDA makes these events again
                return f.MergeIncomplete(error_code=code, why=str(error), corrupted=corrupted)
        missing = tuple(lfn for lfn in self._job.listed_files if lfn not in found)
        if missing:
            return _incomplete(missing, "are in none of the archives")
        merge.write_lists(self._job, self._workdir)
        return f.ArchivesUnpacked(files=len(found))

    def prove_merge(self) -> f.Fact:
        """What went in is what came out."""
        merge = self._merge()
        proof = merge.prove(self._job, self._workdir)
        if proof.missing:
            return _incomplete(proof.missing, f"were not merged ({proof.by})")
        return f.MergeProven(event_ranges=len(self._job.listed_files), by=proof.by)

    def pack_outputs(self, action: a.PackOutputs) -> f.Fact:
        """One archive, of all outputs that can be packed: one that cannot costs its own range and no other."""
        paths = {member.name: self._workdir / member.path for member in action.members}
        archiver = _archiver(action.lfn)
        gone = {*archiver.missing(paths), *(m.name for m in action.members if _changed(paths[m.name], m.stamp))}
        while True:
            lost = {member.event_range_id: None for member in action.members if member.name in gone}
            kept = {m.name: paths[m.name] for m in action.members if m.event_range_id not in lost}
            if not kept:
                return f.OutputsPacked(size_bytes=0, adler32="00000001", lost=tuple(lost))
            try:
                size_bytes, adler32 = archiver.pack(kept, self._workdir / action.lfn)
            except MissingMember as error:
                gone.add(error.name)  # one fewer each time
                continue
            except OSError as error:
                code = PilotErrorCode.NOLOCALSPACE if error.errno in NO_SPACE else PilotErrorCode.FILEHANDLINGFAILURE
                return f.PackFailed(error_code=code, why=f"{self._workdir / action.lfn}: {error.strerror}")
            self._packed.add(action.lfn)
            return f.OutputsPacked(size_bytes=size_bytes, adler32=adler32, lost=tuple(lost))

    def pack_log(self, action: a.PackLog) -> f.Fact:
        """What the payload has written and what became of the job, as far as it is there and can be read."""
        log, spec = self._workdir / action.lfn, self._job.log_file
        paths = {name: self._workdir / name for name in LOGS}
        kept = {name: path for name, path in paths.items() if name not in self._tar.missing(paths)}
        try:
            size_bytes, adler32 = self._tar.pack_compressed(kept, log)
        except (OSError, MissingMember) as error:
            return f.LogFailed(error_code=PilotErrorCode.LOGFILECREATIONFAILURE, why=f"{log}: {error}")
        guid = (spec and spec.guid) or str(uuid4())
        return f.LogPacked(file=f.FileCopy(action.lfn, size_bytes, adler32, str(log)), guid=guid)

    def store_archive(self, action: a.StoreArchive) -> f.Fact:
        """One archive to one storage; what is there then is what was packed."""
        packed = self._workdir / action.lfn
        try:
            if action.lfn not in self._packed and adler32_of(packed) != action.adler32:
                return f.ArchiveLost(why=f"{packed} is not what an engine that has died had packed")
            stored = self._put(action.lfn, action.rse)
        except FileNotFoundError:
            return f.ArchiveLost(why=f"{packed} is not there any more")
        except OSError as error:
            return f.StoreFailed(error_code=PilotErrorCode.FILEHANDLINGFAILURE, why=f"{packed}: {error.strerror}")
        except TransferError as error:
            if error.pilot_error_code is PilotErrorCode.MISSINGOUTPUTFILE:
                return f.ArchiveLost(why=str(error))
            return f.StoreFailed(error_code=error.pilot_error_code, why=str(error), final=error.final)
        if (stored.size_bytes, stored.adler32) != (action.size_bytes, action.adler32):
            code = PilotErrorCode.STAGEOUTFAILED
            return f.StoreFailed(error_code=code, why=f"{action.lfn} is not the file that was packed any more")
        if action.goes:
            packed.unlink(missing_ok=True)
        return f.ArchiveStored(url=stored.url)

    def remove_files(self, action: a.RemoveFiles) -> f.Fact:
        """Outputs and archives that are stored and booked. Nothing else is touched, whatever a payload announced."""
        left = []
        for path, stamp in action.files:
            try:
                place = (self._workdir / path).parent.resolve() / Path(path).name
                if self._may_go(place) and not _changed(place, stamp):
                    place.unlink(missing_ok=True)
            except OSError:
                left.append(path)
        return f.FilesRemoved(left=tuple(left))

    def _may_go(self, path: Path) -> bool:
        """Whether a file lies in the work directory, is none of ours, and is not itself what was stored."""
        inside = self._workdir.resolve()
        storages = [Path(rse.url.removeprefix("file://")).resolve() for rse in self._rses]
        if not path.is_relative_to(inside) or any(path.is_relative_to(storage) for storage in storages):
            return False
        ours = {spec.lfn for spec in self._job.in_files} | {self._job.transformation, *OURS}
        return str(path.relative_to(inside)) not in ours

    def stage_out(self) -> f.Fact:
        """The outputs of a job without event ranges: each to the first storage that takes it."""
        copies = []
        for spec in self._job.out_files:
            if spec.may_be_missing and not (self._workdir / spec.lfn).is_file():
                continue
            try:
                copies.append(self._put_anywhere(spec.lfn, spec.scope))
            except TransferError as error:
                return f.StageOutFailed(error_code=error.pilot_error_code, why=str(error))
        return f.OutputsStaged(files=tuple(copies))

    def _unpack(self, archive: Path) -> list[str]:
        """Its members, none of which may pass for a file of ours."""
        ours = {spec.lfn for spec in (*self._job.in_files, *self._job.out_files)} | {self._job.transformation, *OURS}
        archiver = _archiver(archive.name)
        if taken := sorted(ours.intersection(archiver.names(archive))):
            code = PilotErrorCode.NOSUCHFILE
            raise TransferError(str(archive), f"its member {taken[0]!r} bears the name of another file", code)
        free_bytes = shutil.disk_usage(self._workdir).free
        return archiver.unpack(archive, self._workdir, limit_bytes=free_bytes, only=self._job.listed_files or None)

    @property
    def _tar(self) -> Any:
        return plugins.find("archives", "tar")

    def _merge(self) -> Any:
        return plugins.find("payloads", self._job.kind.value)

    def _storage(self, url: str) -> Storage:
        storage: Storage = plugins.storage(url, self._settings)
        return storage

    def _get(self, spec: FileSpec) -> f.FileCopy:
        url = spec.url or f"{(self._settings.input_url or '.').rstrip('/')}/{spec.lfn}"
        stored = self._storage(url).get(url, self._workdir / spec.lfn)
        return f.FileCopy(spec.lfn, *stored)

    def _put(self, lfn: str, rse: int, scope: str | None = None) -> f.FileCopy:
        url = self._rses[rse].url_of(lfn, scope)
        return f.FileCopy(lfn, *self._storage(url).put(self._workdir / lfn, url))

    def _put_anywhere(self, lfn: str, scope: str | None) -> f.FileCopy:
        """To the first storage, or the next one if that fails; raises what the last one said."""
        for rse in range(len(self._rses) - 1):
            try:
                return self._put(lfn, rse, scope)
            except TransferError:
                continue
        return self._put(lfn, len(self._rses) - 1, scope)


def _archiver(lfn: str) -> Archiver:
    archiver: Archiver = plugins.archiver(lfn)
    return archiver


def _changed(path: Path, stamp: int) -> bool:
    """Whether a file is another one than when it was announced; stamp 0: nobody looked then."""
    try:
        return stamp not in (0, path.stat().st_mtime_ns)
    except (OSError, ValueError):
        return True


def _difference(spec: FileSpec, copy: f.FileCopy, path: Path) -> tuple[int, str]:
    """How a copy differs from what PanDA says, with the error code; PanDA's size 0 and no checksum say nothing."""
    if spec.size_bytes and spec.size_bytes != copy.size_bytes:
        return PilotErrorCode.GETADMISMATCH, f"it has {copy.size_bytes} bytes, PanDA says {spec.size_bytes}"
    if spec.adler32 and spec.adler32 != copy.adler32:
        return PilotErrorCode.GETADMISMATCH, f"its adler32 is {copy.adler32}, PanDA says {spec.adler32}"
    if spec.md5 and spec.md5 != (md5 := _md5(path)):
        return PilotErrorCode.GETMD5MISMATCH, f"its md5 is {md5}, PanDA says {spec.md5}"
    return PilotErrorCode.NONE, ""


def _md5(path: Path) -> str:
    """As 32 hex digits; only some old inputs have no other checksum."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _incomplete(missing: tuple[str, ...], what: str) -> f.MergeIncomplete:
    shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
    why = f"{len(missing)} outputs of event ranges {what}: {shown}"
    return f.MergeIncomplete(error_code=PilotErrorCode.NOSUCHFILE, why=why, missing=missing)
