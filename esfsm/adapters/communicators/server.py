"""A PanDA server of either generation: which one it is of, its first answer that makes sense says, or the settings."""

import os
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Self, TypeVar

from esfsm.adapters.communicators.address import Address, read_address
from esfsm.adapters.communicators.connection import Connection
from esfsm.adapters.communicators.identity import find_identity
from esfsm.errors import UnusableInput, WireError
from esfsm.model.settings import Settings
from esfsm.wire.panda.calls import GENERATIONS, Call, Generation, Reply

__all__ = ["Ask", "PandaServer", "body_of", "is_of_the_other_generation"]

UNKNOWN_METHOD = (404, 405, 410)
FORBIDDEN = b" is forbidden"
"""What a server says, with HTTP status 403, of a method that it does not know; without a proxy it says other words."""

T = TypeVar("T")

Ask = Callable[[Call], Reply]
"""Makes a call; raises `WireError` where no reply came."""


class PandaServer:
    """Any thread may ask it."""

    def __init__(
        self, ask: Ask, generations: Sequence[Generation] = GENERATIONS, close: Callable[[], None] = lambda: None
    ) -> None:
        """`generations`: those that the server may be of, in the order in which they are tried; `close` ends `ask`."""
        self.ask, self.close = ask, close
        self._lock = Lock()
        self._generations = tuple(generations)

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """The server that the settings name, as who we are. Raises `UnusableInput`."""
        connection = Connection(_address(settings.panda_server), find_identity(os.environ), settings.ca_directory)
        generations = [each for each in GENERATIONS if settings.panda_api in ("auto", each.name)]
        return cls(connection, generations, connection.close)

    def call(self, make: Callable[[Generation], Call], read: Callable[[bytes], T]) -> T:
        """Make a call in the words of the generation that the server is of, and read the reply. Raises `WireError`.

        Only a reply that can be read says which generation it is: a proxy replies to anything. A server may be replaced
        by one of the other generation at any time.
        """
        with self._lock:
            generations = self._generations
        for number, generation in enumerate(generations, 1):
            reply = self.ask(make(generation))
            if is_of_the_other_generation(reply) and number < len(generations):
                continue
            answer = read(body_of(reply))
            with self._lock:
                self._generations = (generation, *(each for each in generations if each is not generation))
            return answer
        raise AssertionError("there is one generation at least")


def _address(url: str) -> Address:
    """Of a PanDA server. Raises `UnusableInput`."""
    address = read_address("PanDA server", url)
    if address.path != "/":
        raise UnusableInput(f"PanDA server {url!r}: https://host:port is expected, without a path")
    if not address.is_private:
        raise UnusableInput(f"PanDA server {url!r}: secrets would be told in clear; use https")
    return address


def is_of_the_other_generation(reply: Reply) -> bool:
    """Whether a server does not know the method; one that does not know us may do so in a minute."""
    return reply.status in UNKNOWN_METHOD or (reply.status == 403 and FORBIDDEN in reply.body)


def body_of(reply: Reply) -> bytes:
    """The body of a reply of HTTP status 200. Raises `WireError` for any other."""
    if reply.status == 200:
        return reply.body
    text = " ".join(reply.body[:200].decode(errors="replace").split())
    raise WireError(f"HTTP {reply.status}: {text}")
