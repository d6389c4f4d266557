"""The keeper of one payload, a program of its own: it outlives the engine, and no process outlives it.

    python -I -S keeper.py STATUS RECORD PROGRAM ARGUMENT...

It starts the payload in a session of its own and adopts whatever that leaves behind (it is the subreaper), so its
children are found whatever group, session or environment they take. When the payload has ended, the rest is killed;
then the keeper ends as the payload did.

    STATUS    descriptor of a pipe, told `0` when the payload runs, or `ERRNO FILE` when it cannot be started
    RECORD    file, made anew: `PID STARTED` of the keeper, and in the end its exit code (negative: a signal)
    SIGTERM   is passed on to each process group of the payload, which is continued if it stands still
    SIGRTMIN  kills them all; as the later number it is heard after a SIGTERM

A keeper that is killed takes the payload with it. One stands behind every payload, so it imports little, and nothing
of this package.
"""

# pathlib would take a quarter of the time of its start (3.8 of 14 ms, measured).
# ruff: noqa: PTH108, PTH123, PTH208

import ctypes
import os
import signal
import sys
from contextlib import suppress
from time import monotonic

HEARD = {signal.SIGCHLD, signal.SIGTERM, signal.SIGRTMIN}
PATIENCE_S = 3.0
"""How long we try to kill all: less than an engine waits for us (5 s). Then what is left hangs in the kernel."""
RECORD_BYTES = 64
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER = 1, 4, 36
"""From <linux/prctl.h>."""
PARENT, GROUP, STARTED = 1, 2, 19
"""Where `_stat` has a process's parent, its process group, and its start in clock ticks from boot."""

prctl = ctypes.CDLL(None).prctl


class Record:
    """The file that says who keeps the payload, and how that has ended. Its room on the disk is taken at once."""

    def __init__(self, path: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(path)  # it might lead elsewhere
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        self._keeper = b"%d %s" % (os.getpid(), _stat("self")[STARTED])
        self._write(self._keeper)

    def end(self, exit_code: int) -> None:
        """Best effort: the engine that started us is told by our own end, too."""
        with suppress(OSError):
            self._write(b"%s %d" % (self._keeper, exit_code))

    def _write(self, text: bytes) -> None:
        """In one write to one page: who reads it finds the new text, or the one before."""
        os.pwrite(self._descriptor, text.ljust(RECORD_BYTES), 0)


class Family:
    """The payload and all that it starts."""

    def __init__(self, program: list[str]) -> None:
        """Start it. Raises OSError when that cannot be."""
        told, tell = os.pipe()
        keeper = os.getpid()
        self._payload = os.fork()
        self._status: int | None = None
        if self._payload == 0:
            _become(program, keeper, tell)
        os.close(tell)
        number = int(os.read(told, 16) or 0)
        os.close(told)
        if number:
            raise OSError(number, os.strerror(number), program[0])

    def keep(self) -> int:
        """Wait until the payload has ended, end all that it has left; its wait status."""
        heard: int = signal.SIGCHLD
        while self._reap() and self._status is None and heard != signal.SIGRTMIN:
            heard = signal.sigwait(HEARD)
            if heard == signal.SIGTERM:
                _signal_all(signal.SIGTERM, signal.SIGCONT)
        deadline = monotonic() + PATIENCE_S
        while self._reap() and (left_s := deadline - monotonic()) > 0:
            _signal_all(signal.SIGKILL)
            signal.sigtimedwait({signal.SIGCHLD}, left_s)
        return signal.SIGKILL if self._status is None else self._status

    def _reap(self) -> bool:
        """Let go of who has ended; False when nobody is left: who has lost his parents is our child."""
        try:
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == self._payload:
                    self._status = ended[1]
        except ChildProcessError:
            return False
        return True


def _become(program: list[str], keeper: int, tell: int) -> None:
    """Turn this child of the keeper into the payload; `tell` is told an errno, or is closed by its start."""
    try:
        os.setsid()
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == keeper:
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            os.execvpe(program[0], program, _environment())
    except OSError as error:
        os.write(tell, str(error.errno).encode())
    finally:
        os._exit(127)


def _environment() -> dict[bytes, bytes]:
    """As the engine gave it: Python itself may have set LC_CTYPE since."""
    with open("/proc/self/environ", "rb") as environ:
        pairs = (line.partition(b"=") for line in environ.read().split(b"\0"))
        return {name: value for name, equals, value in pairs if equals}


def _signal_all(*numbers: int) -> None:
    """To each process group below us; none of them is ours, as the payload began a session.

    Numbers of groups are given out in turn, so one that has just been read is not another's yet.
    """
    for group in _groups():
        for number in numbers:
            with suppress(OSError):  # it has ended, or is another user's
                os.killpg(group, number)


def _groups() -> set[int]:
    """The process groups of our descendants."""
    parents, groups = {}, {}
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            stat = _stat(name)
        except OSError:  # it has ended
            continue
        parents[int(name)], groups[int(name)] = int(stat[PARENT]), int(stat[GROUP])
    below, generation = set[int](), {os.getpid()}
    while generation := {pid for pid, parent in parents.items() if parent in generation}:
        below |= generation
    return {groups[pid] for pid in below}


def _stat(pid: str) -> list[bytes]:
    """What the kernel says of a process, from its state on (field 3 of its stat file). Raises OSError."""
    with open(f"/proc/{pid}/stat", "rb") as stat:
        return stat.read().rpartition(b")")[2].split()


def _end_as(status: int) -> None:
    """With the payload's exit code, or by the signal that has ended it, but without a core dump of ours."""
    if os.WIFSIGNALED(status):
        prctl(PR_SET_DUMPABLE, 0)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {os.WTERMSIG(status)})
        os.kill(os.getpid(), os.WTERMSIG(status))
    os._exit(os.waitstatus_to_exitcode(status))


def main(status: int, record_path: str, program: list[str]) -> None:
    """Keep one payload from its start to its end."""
    signal.pthread_sigmask(signal.SIG_SETMASK, HEARD)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)  # the payload inherits it
    os.set_inheritable(status, False)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:
        record = Record(record_path)
        family = Family(program)
    except OSError as error:
        os.write(status, f"{error.errno} {error.filename or program[0]}".encode(errors="surrogateescape"))
        os._exit(127)
    os.write(status, b"0")
    os.close(status)
    ended = family.keep()
    record.end(os.waitstatus_to_exitcode(ended))
    _end_as(ended)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
