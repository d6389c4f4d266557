"""The wire that AthenaMP's yampl speaks: ZeroMQ on a socket file, `ipc:///tmp/zmq_NAME`.

yampl's context "local" is a DEALER at the payload and a ROUTER here; one message is one frame. pyzmq serves both
ZMTP 2 (yampl up to 1.2) and ZMTP 3. Whoever can open the socket file can announce results, so the name cannot be
guessed and the file is the owner's alone.
"""

import math
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Lock

import zmq

from esfsm.errors import ChannelError
from esfsm.ports import Message
from esfsm.wire.athenamp import decode

__all__ = ["ZmqChannel"]

LONGEST_PATH_BYTES = 107
"""A socket file's path with its closing NUL has 108 bytes (`sun_path` in unix(7))."""
LARGEST_MESSAGE_BYTES = 64 * 2**20
"""ZeroMQ drops a peer that sends more. A result is below 1 kB; garbage of some MB shall still be seen and told."""
DESCRIPTORS = 8
"""What a context and a socket take. Where ZeroMQ gets only some of them it aborts the whole process."""
LINGER_MS = 1000
"""How long `close` waits for an answer that has not left yet."""


class ZmqChannel:
    """The `Channel` of one payload process. Raises `ChannelError` where the address cannot be had.

    A `name` is given to adopt the payload of an engine that was killed: the payload comes back to the same address.
    AthenaMP looks in /tmp; another `directory` is what a container sees there, however long its path. What a payload
    said just before it died may still be on its way when its end is seen: let `receive` wait a moment until nothing
    comes.
    """

    def __init__(self, name: str | None = None, directory: Path = Path("/tmp")) -> None:
        self._name = f"EventService_EventRanges_{secrets.token_hex(16)}" if name is None else name
        self._delimited = set[bytes]()
        """Peers that put an empty frame before each message and want one back (REQ sockets)."""
        if not self._name or "/" in self._name:
            raise ChannelError(f"{self._name!r} cannot be a socket file: it is empty or holds '/'")
        _spare_descriptors(self._name)
        self._file = directory / f"zmq_{self._name}"
        self._reach = ExitStack()
        self._path = self._reach.enter_context(_short(self._file))
        """How the kernel finds the file."""
        self._context = zmq.Context()
        try:
            self._router = self._context.socket(zmq.ROUTER)
            self._bell = os.eventfd(0, os.EFD_CLOEXEC)
        except (OSError, zmq.ZMQError) as error:
            self._context.destroy()
            self._reach.close()
            raise ChannelError(f"channel {self._name}: {error}") from error
        self._bell_lock = Lock()
        self._bound = self._closed = False
        try:
            self._bind()
        except BaseException:
            self.close()
            raise
        self._poller = zmq.Poller()
        self._poller.register(self._router, zmq.POLLIN)
        self._poller.register(self._bell, zmq.POLLIN)

    @property
    def address(self) -> str:
        """The channel name for the payload."""
        return self._name

    def receive(self, timeout_s: float | None) -> Message | None:
        """The next message; None when there is none and the time is over or `wake` was called."""
        self._check_open()
        ready = dict(self._poller.poll(None if timeout_s is None else math.ceil(timeout_s * 1000)))
        if self._router in ready:
            # A bell that rings too is heard by the next call: it must not hide a message.
            return self._read()
        if self._bell in ready:
            os.eventfd_read(self._bell)
        return None

    def send(self, peer: bytes, text: str) -> None:
        """Answer a peer; one that has gone, or has left a thousand answers unread, is ignored."""
        self._check_open()
        envelope = [peer, b""] if peer in self._delimited else [peer]
        try:
            self._router.send_multipart([*envelope, text.encode()], zmq.DONTWAIT)
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                raise ChannelError(f"{self._file}: {error}") from error

    def wake(self) -> None:
        """Make a `receive` look up. A ZeroMQ socket belongs to one thread, so others ring a bell beside it."""
        with self._bell_lock:
            if not self._closed:
                os.eventfd_write(self._bell, 1)

    def close(self) -> None:
        """Remove the socket file and let the last answer leave; a second call does nothing."""
        with self._bell_lock:
            if self._closed:
                return
            self._closed = True
            os.close(self._bell)
        if self._bound:
            # ZeroMQ leaves the file. It goes while we still listen, as later it might be a successor's.
            self._path.unlink(missing_ok=True)
        self._router.close(linger=LINGER_MS)
        self._context.term()
        self._reach.close()

    def _bind(self) -> None:
        try:
            if not _is_free(self._path):
                raise ChannelError(f"{self._file} is in use by another server")
        except OSError as error:
            raise ChannelError(f"{self._file}: {error.strerror}") from error
        self._router.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._router.setsockopt(zmq.MAXMSGSIZE, LARGEST_MESSAGE_BYTES)
        # The umask is the process's: other threads' files get this one too, so it is set for one call only.
        umask = os.umask(0o077)
        try:
            self._router.bind(f"ipc://{self._path}")
            self._bound = True
        except zmq.ZMQError as error:
            raise ChannelError(f"{self._file}: {error}") from error
        finally:
            os.umask(umask)
        # Another thread may have changed the umask in between.
        if self._path.stat().st_mode & 0o077:
            raise ChannelError(f"{self._file} is open to other users")

    def _read(self) -> Message:
        peer, *body = self._router.recv_multipart()
        if len(body) > 1 and not body[0]:
            self._delimited.add(peer)
        return Message(peer, decode(b"".join(body)))

    def _check_open(self) -> None:
        if self._closed:
            raise ChannelError(f"channel {self._name} is closed")


def _spare_descriptors(name: str) -> None:
    """Make sure that there are enough. Raises `ChannelError`."""
    try:
        with ExitStack() as spare:
            for _ in range(DESCRIPTORS):
                spare.callback(os.close, os.eventfd(0, os.EFD_CLOEXEC))
    except OSError as error:
        raise ChannelError(f"channel {name}: {error.strerror}") from error


@contextmanager
def _short(file: Path) -> Iterator[Path]:
    """The path of a socket file, short enough: where it is too long, by way of its directory, held open meanwhile."""
    if _fits(file):
        yield file
        return
    try:
        directory = os.open(file.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ChannelError(f"{file}: {error.strerror}") from error
    try:
        short = Path(f"/proc/self/fd/{directory}") / file.name
        if not _fits(short):
            raise ChannelError(f"{file} cannot be a socket file: its name is too long")
        yield short
    finally:
        os.close(directory)


def _fits(path: Path) -> bool:
    return len(os.fsencode(path)) <= LONGEST_PATH_BYTES


def _is_free(path: Path) -> bool:
    """Whether no server listens there. ZeroMQ would take the place of one without a word. Raises OSError."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return True  # nobody, or only the file of a server that was killed
    return False
