"""A payload's process: started in a session of its own, recognised by pid and start time, ended with its group.

What an exit code means to PanDA is here too (protocol: pilot3's map of transform exit codes).
"""

import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Event, Lock, Thread

from esfsm.errors import PilotErrorCode
from esfsm.ports import Payload, ProcessIdentity

__all__ = ["KILL_PATIENCE_S", "Process", "end_orphan", "meaning"]

KILL_PATIENCE_S = 5.0
"""How long a process may take to end after SIGTERM before SIGKILL (pilot3 waits 3 s)."""

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


class Process:
    """A payload that was started. Raises OSError when it cannot be."""

    def __init__(self, payload: Payload, extra_environment: Mapping[str, str] | None = None) -> None:
        with payload.stdout.open("ab") as stdout, payload.stderr.open("ab") as stderr:
            self._popen = subprocess.Popen(
                list(payload.arguments),
                cwd=payload.workdir,
                env={**os.environ, **payload.environment, **(extra_environment or {})},
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
        """While it is not reaped nobody else can get its pid, so the group is ended first."""
        os.waitid(os.P_PID, self.identity.pid, os.WEXITED | os.WNOWAIT)
        self.signal(signal.SIGKILL)
        with self._lock:
            exit_code = self._popen.wait()
        self._gone.set()
        ended(exit_code)


def end_orphan(identity: ProcessIdentity) -> bool:
    """End what is left of a payload whose engine has died: True when there was something to end.

    The process is taken for the payload only if it started at the same clock tick; the group bears its pid
    as long as one member lives, so children that outlived it are found as well.
    """
    if _started(identity.pid) not in (identity.started, 0):
        return False
    try:
        os.killpg(identity.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _started(pid: int) -> int:
    """Clock ticks from boot to the start of a process (field 22 of its stat file); 0 when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[19])
