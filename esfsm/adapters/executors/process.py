"""A payload's process: started in a session of its own, marked, and ended with all that it has started.

What an exit code means to PanDA is here too (protocol: pilot3's map of transform exit codes).
"""

import os
import select
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Event, Lock, Thread
from time import monotonic
from uuid import uuid4

from esfsm.errors import PilotErrorCode
from esfsm.ports import Payload, ProcessIdentity

__all__ = ["KILL_PATIENCE_S", "Process", "end_marked", "meaning", "not_started"]

MARK = "PILOT_ESFSM_PAYLOAD"
"""The variable by which the processes of a payload are found again."""
KILL_PATIENCE_S = 5.0
"""How long a process may take to end after SIGTERM before SIGKILL (pilot3 waits 3 s)."""
PASSES = 10
"""How often we look again for what a process has started while it was being ended."""

_MEANINGS = {
    2: (PilotErrorCode.LSETUPTIMEDOUT, "the set-up of the payload timed out"),
    3: (PilotErrorCode.REMOTEFILEOPENTIMEDOUT, "the payload could not open a remote file in time"),
    251: (PilotErrorCode.UNKNOWNTRFFAILURE, "the payload failed for a reason that it did not say"),
}


def meaning(exit_code: int) -> tuple[int, str]:
    """Pilot error code and sentence for an exit code as Python gives it (negative: a signal); (0, "") for 0."""
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


class Process:
    """A payload that was started. Raises OSError when it cannot be."""

    def __init__(self, payload: Payload, extra_environment: Mapping[str, str] | None = None) -> None:
        self._mark = payload.mark or uuid4().hex
        with payload.stdout.open("ab") as stdout, payload.stderr.open("ab") as stderr:
            self._popen = subprocess.Popen(
                list(payload.arguments),
                cwd=payload.workdir,
                env={**os.environ, **payload.environment, **(extra_environment or {}), MARK: self._mark},
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
        self.identity = ProcessIdentity(self._popen.pid, _started(self._popen.pid))
        self._gone = Event()
        self._lock = Lock()

    @property
    def exit_code(self) -> int | None:
        """Negative for a signal; None while it runs."""
        return self._popen.returncode

    def watch(self, ended: Callable[[int], None]) -> None:
        """Reap it when it ends, end what it leaves behind, and call `ended` with its exit code."""
        Thread(target=self._wait, args=(ended,), name=f"payload {self.identity.pid}", daemon=True).start()

    def signal(self, number: signal.Signals) -> None:
        """To the whole group, the payload and its children; nothing when it has ended."""
        with self._lock, suppress(ProcessLookupError):
            if self._popen.returncode is None:
                os.killpg(self.identity.pid, number)

    def end(self, patience_s: float) -> None:
        """SIGTERM now, SIGKILL after `patience_s` seconds unless it has ended."""
        self.signal(signal.SIGTERM)
        Thread(target=self._kill_after, args=(patience_s,), daemon=True).start()

    def wait(self, timeout_s: float) -> bool:
        """Wait until it has ended; False when it had not in time."""
        return self._gone.wait(timeout_s)

    def _kill_after(self, patience_s: float) -> None:
        self._gone.wait(patience_s)
        self.signal(signal.SIGKILL)

    def _wait(self, ended: Callable[[int], None]) -> None:
        """While it is not reaped nobody else can get its pid, so the group is ended first; then who has left it."""
        os.waitid(os.P_PID, self.identity.pid, os.WEXITED | os.WNOWAIT)
        try:
            self.signal(signal.SIGKILL)
            end_marked(self._mark)
        finally:
            with self._lock:
                exit_code = self._popen.wait()
            self._gone.set()
            ended(exit_code)


def end_marked(mark: str) -> int:
    """End every process that bears this mark in its environment; how many there were.

    A payload's children inherit the mark whatever group or session they move to (unless one empties its environment),
    and a payload that was started by an
    engine that died right afterwards has it too, so nobody else can be meant. A process is held by its pidfd before
    it is looked at, as its pid may become another's.
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
    try:
        bears = f"{MARK}={mark}".encode() in Path(f"/proc/{name}/environ").read_bytes().split(b"\0")
    except OSError:
        bears = False
    if not bears:
        os.close(descriptor)
    return descriptor if bears else None


def _started(pid: int) -> int:
    """Clock ticks from boot to the start of a process (field 22 of its stat file)."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[19])
