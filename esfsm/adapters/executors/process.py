"""A payload's processes: started behind a keeper and marked, or adopted, and ended all together.

What an exit code means to PanDA is here too (protocol: pilot3's map of transform exit codes).
"""

import errno
import os
import select
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from uuid import uuid4

from esfsm.adapters.executors.leader import KEEPER, RECORD, Leader, how_it_ended, kept
from esfsm.adapters.executors.marks import KILL_PATIENCE_S, MARK, end_marked
from esfsm.errors import PilotErrorCode
from esfsm.ports import Payload, ProcessIdentity

__all__ = [
    "KILL_PATIENCE_S",
    "Adopted",
    "Process",
    "Verdict",
    "Watched",
    "end_left",
    "how_it_ended",
    "meaning",
    "not_started",
]

START_PATIENCE_S = 120.0
"""How long a keeper may take to say that its payload runs: 0.015 s (measured), unless a file system hangs."""

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
    """The processes of a payload, however we came by them; its keeper leads them."""

    def __init__(self, leader: Leader, mark: str) -> None:
        self.identity = leader.identity
        self.exit_code: int | None = None
        """Of the payload, negative for a signal; None until it has ended with all that it has started."""
        self._leader, self._mark = leader, mark
        self._gone = Event()

    @abstractmethod
    def _reap(self) -> int:
        """The exit code of the payload, once its leader has ended."""

    def signal(self, number: signal.Signals) -> None:
        """SIGTERM: to all of them. SIGKILL: end them, and wait for that some seconds. Nothing when they have ended."""
        self._leader.send(number)

    def watch(self, ended: Callable[[int], None]) -> None:
        """Wait for its end in a thread, end what it leaves behind, and call `ended` with its exit code."""
        Thread(target=self._watch, args=(ended,), name=f"payload {self.identity.pid}", daemon=True).start()

    def wait(self, timeout_s: float) -> bool:
        """Wait until it has ended; False when it had not in time. Somebody must `watch` it."""
        return self._gone.wait(timeout_s)

    def let_go(self) -> None:
        """No signal is sent from now on."""
        self._leader.close()

    def _watch(self, ended: Callable[[int], None]) -> None:
        try:
            self._leader.wait(None)
            end_marked(self._mark)  # its keeper may have been killed
        finally:
            self.let_go()
            self.exit_code = exit_code = self._reap()
            self._gone.set()
            ended(exit_code)


class Process(Watched):
    """A payload that was started. Raises OSError, with the file that is at fault, when it cannot be.

    The identity is its keeper's, which lives as long as any process of the payload and is the ancestor of all.
    """

    def __init__(self, payload: Payload, extra_environment: Mapping[str, str] | None = None) -> None:
        mark = payload.mark or uuid4().hex
        environment = {**os.environ, **payload.environment, **(extra_environment or {}), MARK: mark}
        self._popen, answer = _start_keeper(payload, environment)
        try:
            _expect_start(answer, payload.arguments[0])
            super().__init__(Leader(self._popen.pid, is_keeper=True), mark)
        except OSError:  # a payload of which nobody knows must not live
            self._popen.kill()
            self._popen.wait()
            raise
        finally:
            os.close(answer)

    def end(self, patience_s: float) -> None:
        """SIGTERM now, SIGKILL after `patience_s` seconds unless it has ended."""
        self.signal(signal.SIGTERM)
        Thread(target=self._kill_after, args=(patience_s,), daemon=True).start()

    def _kill_after(self, patience_s: float) -> None:
        self._gone.wait(patience_s)
        self.signal(signal.SIGKILL)

    def _reap(self) -> int:
        """The keeper's own: it ends as the payload did."""
        return self._popen.wait()


class Adopted(Watched):
    """A payload that lives on while the engine that has started it is dead.

    Raises ProcessLookupError when it has ended, PermissionError when it is not ours.
    """

    def __init__(self, identity: ProcessIdentity, mark: str, workdir: Path) -> None:
        super().__init__(Leader.of(identity, mark, workdir), mark)
        self._workdir = workdir
        self.known_exit_code: int | None = None
        """What its keeper has written down; None for one without, whose parent alone was told: then 0 stands in
        `exit_code`, or the signal that we have sent."""

    def _reap(self) -> int:
        self.known_exit_code = how_it_ended(self.identity, self._workdir)
        return -self._leader.last_signal if self.known_exit_code is None else self.known_exit_code


def end_left(mark: str, workdir: Path, identity: ProcessIdentity | None = None) -> bool:
    """End what is left of the payload of this mark, whose engine has died; False when nothing was.

    `identity`: of its leader, by the journal; a keeper that was started right before the engine died has its record.
    """
    said = kept(workdir)
    leaders = {leader for leader in (identity, said and said.keeper) if leader}
    ended = [_end_leader(leader, mark, workdir) for leader in leaders]
    return bool(end_marked(mark)) or any(ended)


def _end_leader(identity: ProcessIdentity, mark: str, workdir: Path) -> bool:
    try:
        leader = Leader.of(identity, mark, workdir)
    except OSError:
        return False
    with closing(leader):
        leader.send(signal.SIGKILL)
        return leader.wait(KILL_PATIENCE_S)


def _start_keeper(payload: Payload, environment: Mapping[str, str]) -> tuple[subprocess.Popen[bytes], int]:
    """Its keeper, and the end of the pipe by which that tells whether the payload runs. Raises OSError."""
    answer, tell = os.pipe()
    try:
        with _stream(payload.stdout) as stdout, _stream(payload.stderr) as stderr:
            keeper = subprocess.Popen(
                [sys.executable, "-I", "-S", KEEPER, str(tell), RECORD, *payload.arguments],
                cwd=payload.workdir,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
                pass_fds=(tell,),
            )
    except OSError:
        os.close(answer)
        raise
    finally:
        os.close(tell)
    return keeper, answer


def _expect_start(answer: int, program: str) -> None:
    """Wait until the payload runs. Raises OSError, with what its keeper says, when it cannot be started."""
    poll = select.poll()
    poll.register(answer, select.POLLIN)
    if not poll.poll(1000 * START_PATIENCE_S):
        raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT), program)
    number, _, file = os.fsdecode(os.read(answer, select.PIPE_BUF)).partition(" ")
    if not number:
        raise ChildProcessError(errno.ECHILD, "its keeper has ended", program)
    if int(number):
        raise OSError(int(number), os.strerror(int(number)), file)


@contextmanager
def _stream(path: Path) -> Iterator[int]:
    """A file that a process appends to; it is the process's own once that has started."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        yield descriptor
    finally:
        with suppress(OSError):  # nothing was written here
            os.close(descriptor)
