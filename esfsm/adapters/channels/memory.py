"""A channel inside one process, for tests: what it promises is what the real wire does."""

from collections import deque
from itertools import count
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Condition

from esfsm.errors import ChannelError
from esfsm.ports import Message
from esfsm.wire.athenamp import decode

__all__ = ["MemoryChannel", "MemoryClient"]

_NUMBERS = count(1)


class MemoryChannel:
    """The server's end; `connect` gives a payload's end."""

    def __init__(self, name: str | None = None, directory: Path | None = None) -> None:
        """There is no socket file, so it matters little in which directory it would be."""
        self._name = name or f"memory-{next(_NUMBERS)}"
        self._changed = Condition()
        self._messages = deque[Message]()
        self._mailboxes: dict[bytes, SimpleQueue[str]] = {}
        self._peers = count(1)
        self._woken = False
        self._closed = False

    @property
    def address(self) -> str:
        """The channel name for the payload."""
        return self._name

    def connect(self) -> "MemoryClient":
        """A payload's end; any thread may use it."""
        peer = str(next(self._peers)).encode()
        mailbox = self._mailboxes[peer] = SimpleQueue()
        return MemoryClient(self, peer, mailbox)

    def receive(self, timeout_s: float | None) -> Message | None:
        """The next message; None when there is none and the time is over or `wake` was called."""
        self._check_open()
        with self._changed:
            self._changed.wait_for(lambda: self._messages or self._woken, timeout_s)
            if self._messages:
                return self._messages.popleft()
            self._woken = False
            return None

    def send(self, peer: bytes, text: str) -> None:
        """Answer a peer; one that has gone is ignored."""
        self._check_open()
        if mailbox := self._mailboxes.get(peer):
            mailbox.put(text)

    def wake(self) -> None:
        """Make a `receive` look up."""
        with self._changed:
            self._woken = True
            self._changed.notify()

    def close(self) -> None:
        """Hear nobody any more; a second call does nothing."""
        self._closed = True

    def _hear(self, message: Message) -> None:
        with self._changed:
            self._messages.append(message)
            self._changed.notify()

    def _forget(self, peer: bytes) -> None:
        self._mailboxes.pop(peer, None)

    def _check_open(self) -> None:
        if self._closed:
            raise ChannelError(f"channel {self._name} is closed")


class MemoryClient:
    """The payload's end of a `MemoryChannel`."""

    def __init__(self, channel: MemoryChannel, peer: bytes, mailbox: SimpleQueue[str]) -> None:
        self._channel, self._peer, self._mailbox = channel, peer, mailbox

    def say(self, text: str | bytes) -> None:
        """Send a message; bytes go as they are, as a broken payload would send them."""
        body = text if isinstance(text, bytes) else text.encode()
        self._channel._hear(Message(self._peer, decode(body)))

    def hear(self, timeout_s: float | None) -> str | None:
        """The next answer; None when the time is over. None as time: no limit."""
        try:
            return self._mailbox.get(timeout=timeout_s)
        except Empty:
            return None

    def leave(self) -> None:
        """Be gone: what was said stays said, answers are lost."""
        self._channel._forget(self._peer)
