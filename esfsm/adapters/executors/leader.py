"""The process that leads a payload, held so that it cannot be mistaken: its keeper, whom all signals go to.

A payload of an older engine has no keeper and leads itself: then signals go to its group, and nobody knows how it
ended.
"""

import os
import select
import signal
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import NamedTuple, Self

from esfsm.adapters.executors.marks import KILL_PATIENCE_S, bears
from esfsm.ports import ProcessIdentity
from esfsm.processes import started

__all__ = ["KEEPER", "RECORD", "Kept", "Leader", "how_it_ended", "kept"]

KEEPER = Path(__file__).with_name("keeper.py")
RECORD = "payload.keeper"
"""The file in a work directory that says who keeps its payload, and how that has ended."""
RECORD_LIMIT_BYTES = 256
PIDS = range(1, 2**22 + 1)
"""What the kernel may number processes with (PID_MAX_LIMIT)."""


class Kept(NamedTuple):
    """What a keeper has written down."""

    keeper: ProcessIdentity
    exit_code: int | None
    """Of the payload, negative for a signal; None until all of it has ended, and for ever if the keeper was killed."""


def kept(workdir: Path) -> Kept | None:
    """What the keeper of the last payload of this directory has written down; None if there was none."""
    try:
        # Another kind of file, which a payload may have put there, must not make us wait.
        descriptor = os.open(workdir / RECORD, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        numbers = [int(number) for number in os.read(descriptor, RECORD_LIMIT_BYTES).split()]
    except (OSError, ValueError):
        return None
    finally:
        os.close(descriptor)
    match numbers:
        case [pid, started] if pid in PIDS:
            return Kept(ProcessIdentity(pid, started), None)
        case [pid, started, exit_code] if pid in PIDS:
            return Kept(ProcessIdentity(pid, started), exit_code)
        case _:
            return None


def how_it_ended(keeper: ProcessIdentity, workdir: Path) -> int | None:
    """The exit code of a payload whose keeper has ended, negative for a signal.

    None when it had no keeper, or another payload was started in this directory since.
    """
    said = kept(workdir)
    if said is None or said.keeper != keeper:
        return None
    return -signal.SIGKILL if said.exit_code is None else said.exit_code  # killed, and its payload with it


class Leader:
    """A pidfd of the process, until it is closed; any thread may use it. Raises OSError when it does not live."""

    def __init__(self, pid: int, *, is_keeper: bool) -> None:
        self._descriptor = os.pidfd_open(pid)
        self._closed = False
        self._lock = Lock()
        self._is_keeper = is_keeper
        self.last_signal = 0
        """What was sent to it while it lived."""
        try:
            self.identity = ProcessIdentity(pid, started(pid))
        except OSError:
            self.close()
            raise

    @classmethod
    def of(cls, identity: ProcessIdentity, mark: str, workdir: Path) -> Self:
        """The one that an engine of this directory has started.

        Raises ProcessLookupError when it has ended, PermissionError when it is not ours: ours bears our mark, or works
        in our directory, as a wrapper may have emptied its environment.
        """
        said = kept(workdir)
        try:
            leader = cls(identity.pid, is_keeper=said is not None and said.keeper == identity)
        except OSError:
            raise ProcessLookupError(f"process {identity.pid} does not live any more") from None
        try:
            leader._check(identity, mark, workdir)
        except OSError:
            leader.close()
            raise
        return leader

    def _check(self, identity: ProcessIdentity, mark: str, workdir: Path) -> None:
        if self.identity != identity:
            raise ProcessLookupError(f"process {identity.pid} is a later one")
        try:
            ours = bears(identity.pid, mark) or _works_in(identity.pid, workdir)
        except OSError:
            raise ProcessLookupError(f"process {identity.pid} does not live any more") from None
        if not ours:
            raise PermissionError(f"process {identity.pid} is not ours")

    def send(self, number: signal.Signals) -> None:
        """SIGTERM: to the whole payload. SIGKILL: end it, and wait for that, at most `KILL_PATIENCE_S` seconds.

        Nothing when it has ended.
        """
        with self._lock:
            if self._closed or self.wait(0):
                return
            self.last_signal = number
            if self._is_keeper:
                self._tell_keeper(number)
            else:
                with suppress(ProcessLookupError):  # its number cannot be another's so soon after it was seen alive
                    os.killpg(self.identity.pid, number)

    def _tell_keeper(self, number: signal.Signals) -> None:
        """One that does not hear is killed; the payload goes with it, and whoever bears the mark is left."""
        self._send_alone(signal.SIGRTMIN if number == signal.SIGKILL else number)
        self._send_alone(signal.SIGCONT)  # it may stand still
        if number == signal.SIGKILL and not self.wait(KILL_PATIENCE_S):
            self._send_alone(signal.SIGKILL)

    def _send_alone(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, number)

    def wait(self, timeout_s: float | None) -> bool:
        """Whether it has ended, or does so in time; None as time: wait for it."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        return bool(poll.poll(None if timeout_s is None else 1000 * timeout_s))

    def close(self) -> None:
        """Let go of it: no signal is sent from now on. A second call does nothing."""
        with self._lock:
            if not self._closed:
                self._closed = True
                os.close(self._descriptor)


def _works_in(pid: int, directory: Path) -> bool:
    """Whether a process is in this directory. Raises OSError for one that has ended."""
    return os.path.samestat(Path(f"/proc/{pid}/cwd").stat(), directory.stat())
