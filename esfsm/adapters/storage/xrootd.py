"""The only place that speaks to XRootD servers: by the commands `xrdcp` and `xrdfs`, which every site of the field has.

A command that hangs can be ended, and a crash in it is not ours; the Python binding knows neither, hangs after a fork,
and has to be compiled where there is no wheel for it. Proxy and token are found by the commands themselves
(`X509_USER_PROXY`, `BEARER_TOKEN`, `BEARER_TOKEN_FILE`).

A copy is written under another name beside its target, its checksum is asked back from the server, and only then is it
renamed. The server's `mv` takes a name from another file without a word, so a file that appears between our last look
and the renaming is lost. A server that keeps no checksums has the copy read back.
"""

import os
import re
import shutil
import socket
import subprocess
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from esfsm.adapters.storage.fsspec import TROUBLE, local_file
from esfsm.durable import BUFFER_BYTES, Checksum
from esfsm.errors import MissingProgram, PilotErrorCode, TransferError
from esfsm.model.settings import Settings
from esfsm.ports import Stored

__all__ = ["XrootdStorage", "open_storage"]

PROGRAMS, PACKAGE = ("xrdcp", "xrdfs"), "xrootd-client"
NOT_FOUND = 3011
UNSUPPORTED = 3013
FINAL = frozenset({3000, 3002, 3006, 3009, 3010, 3015, 3016, 3018, 3021, 3025, 3030})
"""What a server will say the next time, too (XProtocol.hh): bad arguments, no space, not authorized, no file, a
directory, there already, over quota, read-only, not authenticated."""
_ERROR = re.compile(r"\[(\d{4})\] ([^\n\0]*)")
_READ_ONLY = re.compile("read.only")
"""In what a server says with a code that means any trouble of a file system."""
_URL = re.compile(r"(roots?://[^/]+)/(/.*)")


class _Place(NamedTuple):
    """A server, and an absolute path there."""

    server: str
    path: str

    @property
    def url(self) -> str:
        return f"{self.server}/{self.path}"

    @property
    def directory(self) -> str:
        return self.path.rpartition("/")[0]


class _Refused(OSError):
    """What a command said; `code` is the server's, 0 where it said none."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


class XrootdStorage:
    """A `ports.Storage` for `root://HOST[:PORT]//PATH`; it keeps nothing, so any thread may use it."""

    def __init__(self, timeout_s: float) -> None:
        patience = str(max(1, round(timeout_s)))
        said = ("XRD_CONNECTIONWINDOW", "XRD_REQUESTTIMEOUT", "XRD_STREAMTIMEOUT")
        self._environment = dict.fromkeys(said, patience) | {"XRD_CONNECTIONRETRY": "1", "XRD_STREAMERRORWINDOW": "0"}
        self._environment |= {"XRD_TIMEOUTRESOLUTION": "1", "LC_ALL": "C.UTF-8"}

    def put(self, path: Path, url: str) -> Stored:
        """Copy a file there. Raises `TransferError`: MISSINGOUTPUTFILE if there is none, else STAGEOUTFAILED."""
        source = local_file(path)
        try:
            if source.size_bytes() is None:
                raise TransferError(url, f"there is no file {path}", PilotErrorCode.MISSINGOUTPUTFILE)
            stored = self._put(path, _place(url))
        except TROUBLE as error:
            raise _failed(url, error, PilotErrorCode.STAGEOUTFAILED) from error
        return Stored(stored.size_bytes, stored.adler32, url)

    def get(self, url: str, path: Path) -> Stored:
        """Copy a file here. Raises `TransferError`: NOSUCHFILE if there is none, else STAGEINFAILED."""
        try:
            place = _place(url)
            if self._size_bytes(place) is None:
                raise TransferError(url, "there is no such file", PilotErrorCode.NOSUCHFILE)
            got = self._get(place, path)
        except TROUBLE as error:
            raise _failed(url, error, PilotErrorCode.STAGEINFAILED) from error
        return Stored(got.size_bytes, got.adler32, url)

    def names(self, url: str) -> list[str]:
        """The files in a directory, sorted, without those further below. Raises `TransferError`: STAGEINFAILED."""
        try:
            place = _place(url)
            lines = self._run("xrdfs", place.server, "ls", "-l", place.path).splitlines()
        except TROUBLE as error:
            if isinstance(error, _Refused) and error.code == NOT_FOUND:
                return []
            raise _failed(url, error, PilotErrorCode.STAGEINFAILED) from error
        listed = [(line[0], line.partition(f"{place.path.rstrip('/')}/")[2]) for line in lines if line]
        if any(not name for _, name in listed):
            raise _failed(url, OSError("it is no directory"), PilotErrorCode.STAGEINFAILED)
        return sorted(name for kind, name in listed if kind == "-")

    def _put(self, path: Path, place: _Place) -> Checksum:
        if self._size_bytes(place) is not None:
            expected = local_file(path).checksum()
            self._must_hold(place, expected)
            return expected
        writer = f"{socket.gethostname()} {path.absolute()} {place.path}"
        digest = blake2b(writer.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
        part = _Place(place.server, f"{place.directory}/.{digest}.part")
        self._remove(part)  # a try that was killed may have left it
        try:
            copying = self._start("xrdcp", "--nopbar", "--posc", str(path.absolute()), part.url)
            copied = local_file(path).checksum()  # meanwhile; it comes from the page cache
            self._end(copying)
            self._must_hold(part, copied)
            if self._size_bytes(place) is not None:
                self._must_hold(place, copied)  # another writer was first
            else:
                self._run("xrdfs", place.server, "mv", part.path, place.path)
        finally:
            self._remove(part)
        return copied

    def _get(self, place: _Place, path: Path) -> Checksum:
        target = local_file(path)
        part = target.part(place.url)
        part.remove()
        if target.size_bytes() is not None:
            there = target.checksum()
            self._must_hold(place, there)
            return there
        target.make_directory()
        try:
            self._run("xrdcp", "--nopbar", place.url, part.name)
            copied = part.checksum()
            self._must_hold(place, copied)
            target.take(part, copied)
        finally:
            part.remove()
        target.sync_name()
        return copied

    def _size_bytes(self, place: _Place) -> int | None:
        """None where there is nothing; OSError where it is no file."""
        try:
            told = self._run("xrdfs", place.server, "stat", place.path)
        except _Refused as error:
            if error.code == NOT_FOUND:
                return None
            raise
        size, flags = re.search(r"^Size:\s+(\d+)", told, re.M), re.search(r"^Flags:.*\(([^)]*)\)", told, re.M)
        if size is None or flags is None or {"IsDir", "Other"} & {*flags[1].split("|")}:
            raise _Refused(3015, f"{place.path} is no regular file")
        return int(size[1])

    def _must_hold(self, place: _Place, expected: Checksum) -> None:
        """Raise unless the server says that it has these bytes, or gives them when it keeps no checksums."""
        size_bytes = self._size_bytes(place)
        try:
            found = self._run("xrdfs", place.server, "query", "checksum", place.path).split()
        except _Refused as error:
            if error.code != UNSUPPORTED:
                raise
            found = ["adler32", self._read_back(place).adler32]
        if size_bytes != expected.size_bytes or found[:2] != ["adler32", expected.adler32]:
            what = f"{place.path} has not the {expected.size_bytes} bytes of adler32 {expected.adler32}"
            raise _Refused(3018, what)

    def _read_back(self, place: _Place) -> Checksum:
        checksum = Checksum()
        reading = self._start("xrdcp", "--nopbar", place.url, "-")
        assert reading.stdout is not None
        while piece := reading.stdout.read(BUFFER_BYTES):
            checksum.update(piece)
        self._end(reading)
        return checksum

    def _remove(self, place: _Place) -> None:
        """Remove the file, if there is one and if that can be done: whoever calls has worse to tell."""
        try:
            self._run("xrdfs", place.server, "rm", place.path)
        except _Refused:
            return

    def _run(self, *command: str) -> str:
        """What a command prints. Raises `_Refused`."""
        return self._end(self._start(*command)).decode(errors="replace")

    def _start(self, *command: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            command,
            env={**os.environ, **self._environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def _end(self, running: "subprocess.Popen[bytes]") -> bytes:
        with running:
            told, complaint = running.communicate()
        if running.returncode:
            said = _ERROR.search(complaint.decode(errors="replace"))
            why = complaint.decode(errors="replace").strip().rpartition("\n")[2]
            raise _Refused(int(said[1]) if said else 0, said[2].strip() if said else why or "no answer")
        return told


def open_storage(settings: Settings) -> XrootdStorage:
    """For servers that answer within `storage_timeout_s`. Raises `MissingProgram`."""
    for program in PROGRAMS:
        if shutil.which(program) is None:
            raise MissingProgram(program, PACKAGE)
    return XrootdStorage(settings.storage_timeout_s)


def _place(url: str) -> _Place:
    found = _URL.fullmatch(url)
    if found is None:
        raise ValueError("a URL as root://HOST//PATH is expected")
    return _Place(*found.groups())


def _failed(url: str, error: Exception, code: PilotErrorCode) -> TransferError:
    refused = isinstance(error, _Refused) and (error.code in FINAL or _READ_ONLY.search(str(error)))
    final = isinstance(error, ValueError) or bool(refused)
    return TransferError(url, str(error), code, final=final)
