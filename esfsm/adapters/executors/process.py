"""A payload's process: started in a session of its own and marked, or adopted, and ended with all that it has started.

What an exit code means to PanDA is here too (protocol: pilot3's map of transform exit codes).
"""

import os
import select
import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Lock, Thread
from time import monotonic
from uuid import uuid4

from esfsm.errors import PilotErrorCode
from esfsm.ports import Payload, ProcessIdentity

__all__ = [
    "KILL_PATIENCE_S",
    "Adopted",
    "Process",
    "Verdict",
    "Watched",
    "end_identified",
    "end_marked",
    "meaning",
    "not_started",
]

MARK = "PILOT_ESFSM_PAYLOAD"
"""The variable by which the processes of a payload are found again."""
KILL_PATIENCE_S = 5.0
"""How long a process may take to end after SIGTERM before SIGKILL (pilot3 waits 3 s)."""
PASSES = 10
"""How often we look again for what a process has started while it was being ended."""

Verdict = tuple[int, str]
"""What is said of an end: pilot error code (0 for a good one) and sentence."""

_MEANINGS = {
    2: (PilotErrorCode.LSETUPTIMEDOUT, "the set-up of the payload timed out"),
    3: (PilotErrorCode.REMOTEFILEOPENTIMEDOUT, "the payload could not open a remote file in time"),
    251: (PilotErrorCode.UNKNOWNTRFFAILURE, "the payload failed for a reason that it did not say"),
}


def meaning(exit_code: int) -> Verdict:
    """What is said of an exit code as Python gives it (negative: a signal); (0, "") for 0."""
    if exit_code == 0:
        return PilotErrorCode.NONE, ""
    if exit_code < 0:
        with suppress(ValueError):
            return PilotErrorCode.SIGTERM, f"the payload was ended by {signal.Signals(-exit_code).name}"
        return PilotErrorCode.SIGTERM, f"the payload was ended by signal {-exit_code}"
    code, why = _MEANINGS.get(exit_code, (PilotErrorCode.PAYLOADEXECUTIONFAILURE, "the payload failed"))
    return code, f"{why} (exit code {exit_code})"


def not_started(payload: Payload, error: OSError) -> str:
    """The sentence about a payload that could not be started: its program, its directory or its output is at fault."""
    return f"the payload cannot be started: {error.filename or payload.arguments[0]}: {error.strerror}"


class Watched(ABC):
    """The process of a payload, however we came by it."""

    def __init__(self, identity: ProcessIdentity) -> None:
        self.identity = identity
        self.exit_code: int | None = None
        """Negative for a signal; None until it has ended with all that it has started."""
        self._gone = Event()
        self._lock = Lock()

    @abstractmethod
    def signal(self, number: signal.Signals) -> None:
        """To the whole group, the payload and its children; nothing when it has ended."""

    @abstractmethod
    def _outlive(self) -> None:
        """Wait until it has ended, and end what it leaves behind."""

    @abstractmethod
    def let_go(self) -> int:
        """Its exit code; no signal is sent from now on."""

    def watch(self, ended: Callable[[int], None]) -> None:
        """Wait for its end in a thread, end what it leaves behind, and call `ended` with its exit code."""
        Thread(target=self._watch, args=(ended,), name=f"payload {self.identity.pid}", daemon=True).start()

    def wait(self, timeout_s: float) -> bool:
        """Wait until it has ended; False when it had not in time. Somebody must `watch` it."""
        return self._gone.wait(timeout_s)

    def _watch(self, ended: Callable[[int], None]) -> None:
        try:
            self._outlive()
        finally:
            self.exit_code = exit_code = self.let_go()
            self._gone.set()
            ended(exit_code)


class Process(Watched):
    """A payload that was started. Raises OSError when it cannot be."""

    def __init__(self, payload: Payload, extra_environment: Mapping[str, str] | None = None) -> None:
        self._mark = payload.mark or uuid4().hex
        with _stream(payload.stdout) as stdout, _stream(payload.stderr) as stderr:
            self._popen = subprocess.Popen(
                list(payload.arguments),
                cwd=payload.workdir,
                env={**os.environ, **payload.environment, **(extra_environment or {}), MARK: self._mark},
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
        try:
            super().__init__(ProcessIdentity(self._popen.pid, _started(self._popen.pid)))
        except OSError:  # a payload of which nobody knows must not live
            os.killpg(self._popen.pid, signal.SIGKILL)
            self._popen.wait()
            raise

    def signal(self, number: signal.Signals) -> None:
        """To the whole group, the payload and its children; nothing when it has ended."""
        with self._lock, suppress(ProcessLookupError):
            if self._popen.returncode is None:
                os.killpg(self.identity.pid, number)

    def end(self, patience_s: float) -> None:
        """SIGTERM now, SIGKILL after `patience_s` seconds unless it has ended."""
        self.signal(signal.SIGTERM)
        Thread(target=self._kill_after, args=(patience_s,), daemon=True).start()

    def _kill_after(self, patience_s: float) -> None:
        self._gone.wait(patience_s)
        self.signal(signal.SIGKILL)

    def _outlive(self) -> None:
        """While it is not reaped nobody else can get its pid, so the group is ended first; then who has left it."""
        os.waitid(os.P_PID, self.identity.pid, os.WEXITED | os.WNOWAIT)
        self.signal(signal.SIGKILL)
        end_marked(self._mark)

    def let_go(self) -> int:
        """Reap it."""
        with self._lock:
            return self._popen.wait()


class Adopted(Watched):
    """A payload that lives on while the engine that has started it is dead.

    Raises ProcessLookupError when it has ended, PermissionError when it is not ours. As only its parent is told how it
    ended, its exit code is 0, or negative for the signal that we have sent it.
    """

    def __init__(self, identity: ProcessIdentity, mark: str, workdir: Path) -> None:
        super().__init__(identity)
        self._mark = mark
        self._descriptor: int | None = _held(identity, mark, workdir)
        self._last_signal = 0

    def signal(self, number: signal.Signals) -> None:
        """To the whole group; its number cannot be another's so soon after the payload was seen alive."""
        with self._lock, suppress(ProcessLookupError):
            if self._descriptor is not None and not _has_ended(self._descriptor, timeout_ms=0):
                os.killpg(self.identity.pid, number)
                self._last_signal = number

    def _outlive(self) -> None:
        """Who has reaped it has freed the number of its group: what it leaves behind is found by the mark alone."""
        assert self._descriptor is not None, "it is watched once"
        _has_ended(self._descriptor, timeout_ms=None)
        end_marked(self._mark)

    def let_go(self) -> int:
        """Forget it."""
        with self._lock:
            assert self._descriptor is not None, "it is watched once"
            os.close(self._descriptor)
            self._descriptor = None
            return -self._last_signal


@contextmanager
def _stream(path: Path) -> Iterator[int]:
    """A file that a process appends to; it is the process's own once that has started."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        yield descriptor
    finally:
        with suppress(OSError):  # nothing was written here
            os.close(descriptor)


def _held(identity: ProcessIdentity, mark: str, workdir: Path) -> int:
    """A pidfd of the process. It is opened before the rest is read: a later process of that pid has a later start.

    Ours bears our mark, or works in our directory: a wrapper may have emptied its environment.
    """
    descriptor = os.pidfd_open(identity.pid)
    try:
        if _started(identity.pid) != identity.started:
            raise ProcessLookupError(f"process {identity.pid} is a later one")
        if not _bears(identity.pid, mark) and not _works_in(identity.pid, workdir):
            raise PermissionError(f"process {identity.pid} is not ours")
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, PermissionError):
            raise
        raise ProcessLookupError(f"process {identity.pid} does not live any more") from None
    return descriptor


def end_identified(identity: ProcessIdentity, mark: str, workdir: Path) -> bool:
    """End one process, if it lives and is ours, with the group that it leads."""
    try:
        descriptor = _held(identity, mark, workdir)
    except OSError:
        return False
    with suppress(ProcessLookupError):
        os.killpg(identity.pid, signal.SIGKILL)
    return bool(_wait_for([descriptor]))


def _has_ended(descriptor: int, timeout_ms: int | None) -> bool:
    """Whether the process of a pidfd has ended, or does so in time; None as time: wait for it."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(timeout_ms))


def end_marked(mark: str) -> int:
    """End every process that bears this mark in its environment; how many there were.

    A payload's children inherit the mark whatever group or session they move to (unless one empties its environment),
    and a payload that was started by an engine that died right afterwards has it too, so nobody else can be meant. A
    process is held by its pidfd before it is looked at, as its pid may become another's.
    """
    ended = 0
    for _ in range(PASSES):
        descriptors = [found for entry in os.scandir("/proc") if (found := _marked(entry.name, mark)) is not None]
        if not descriptors:
            break
        for descriptor in descriptors:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        ended += _wait_for(descriptors)
    return ended


def _wait_for(descriptors: Sequence[int]) -> int:
    """How many of these pidfds say within `KILL_PATIENCE_S` seconds that their process has ended; closes them."""
    poll, open_ones, ended = select.poll(), set(descriptors), 0
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    deadline = monotonic() + KILL_PATIENCE_S
    while open_ones and (patience_s := deadline - monotonic()) > 0:
        for descriptor, _ in poll.poll(1000 * patience_s):
            poll.unregister(descriptor)
            os.close(descriptor)
            open_ones.remove(descriptor)
            ended += 1
    for descriptor in open_ones:
        os.close(descriptor)
    return ended


def _marked(name: str, mark: str) -> int | None:
    """A pidfd of the process, if it is another one than this, is ours to end, and bears the mark."""
    if not name.isdecimal() or int(name) == os.getpid():
        return None
    try:
        descriptor = os.pidfd_open(int(name))
    except OSError:
        return None
    if _bears(int(name), mark):
        return descriptor
    os.close(descriptor)
    return None


def _bears(pid: int, mark: str) -> bool:
    """Whether the mark is in the environment of a process."""
    try:
        return f"{MARK}={mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def _works_in(pid: int, directory: Path) -> bool:
    """Whether a process is in this directory. Raises OSError for one that has ended."""
    return os.path.samestat(Path(f"/proc/{pid}/cwd").stat(), directory.stat())


def _started(pid: int) -> int:
    """Clock ticks from boot to the start of a process (field 22 of its stat file)."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[19])
