"""MessageThread: the channel to a payload as pilot3 has it, a thread that puts what is said into a queue."""

import os
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any, Protocol

from esfsm import plugins
from esfsm.compat.failures import MessageFailure
from esfsm.errors import ChannelError
from esfsm.ports import Channel

__all__ = ["MessageThread"]


class TakesMessages(Protocol):
    """A `queue.Queue`, or whatever else takes texts."""

    def put(self, message: str, /) -> object:
        """Take one message."""
        ...


class MessageThread(Thread):
    """Messages of the payload go into `message_queue`; `send` answers whoever has spoken last.

    `socket_name`: of the channel; None: pilot3's name for this process. `context`: "local", what AthenaMP uses, is the
    only one. Raises `MessageFailure` when the channel cannot be had.
    """

    def __init__(
        self, message_queue: TakesMessages, socket_name: str | None = None, context: str = "local", **kwds: Any
    ) -> None:
        super().__init__(**{"name": "MessageThread", **kwds})
        if context != "local":
            raise MessageFailure(f"yampl's context {context!r} is not spoken here, only 'local'")
        self._queue = message_queue
        self._answers: SimpleQueue[str] = SimpleQueue()
        self._last_peer: bytes | None = None
        self._over = Event()
        try:
            self._channel: Channel = plugins.find("channels", "zmq")(
                socket_name or f"EventService_EventRanges_{os.getpid()}"
            )
        except ChannelError as error:
            raise MessageFailure(str(error)) from error

    def get_yampl_socket_name(self) -> str:
        """The name of the channel, for the payload."""
        return self._channel.address

    def send(self, message: str) -> None:
        """Answer whoever has spoken last. Raises `MessageFailure` when nobody has, or nobody serves the channel."""
        if self._last_peer is None:
            raise MessageFailure("nobody has said anything yet, so nobody can be answered")
        if self._over.is_set():
            raise MessageFailure(f"channel {self._channel.address} is closed")
        self._answers.put(message)
        self._channel.wake()

    def stop(self) -> None:
        """End the thread, and with it the channel."""
        self._over.set()
        self._channel.wake()

    def is_stopped(self) -> bool:
        """Whether it is to end, or has ended."""
        return self._over.is_set()

    def terminate(self) -> None:
        """Close the channel: the thread does so at its end, as ZeroMQ's sockets belong to one thread."""
        self.stop()
        if not self.is_alive():
            self._channel.close()

    def run(self) -> None:
        """The thread: hear and answer until it is stopped."""
        try:
            while not self._over.is_set():
                message = self._channel.receive(None)
                if message is not None:
                    self._last_peer = message.peer
                    self._queue.put(message.text)
                self._send_answers()
            self._send_answers()
        finally:
            self._over.set()
            self._channel.close()

    def _send_answers(self) -> None:
        while not self._answers.empty() and self._last_peer is not None:
            self._channel.send(self._last_peer, self._answers.get())
