"""The description of queues from CRIC, or whoever speaks HTTP: public, so nobody is told who asks."""

from contextlib import closing

from esfsm.adapters.communicators.address import read_address
from esfsm.adapters.communicators.connection import Connection
from esfsm.adapters.communicators.identity import Proxy
from esfsm.adapters.communicators.server import body_of
from esfsm.model.settings import Settings
from esfsm.wire.panda.calls import Call

__all__ = ["fetch"]


def fetch(url: str, settings: Settings) -> bytes:
    """What lies there. Raises `WireError`, and `UnusableInput` for what is no URL."""
    address = read_address("queue data", url)
    with closing(Connection(address, Proxy(None), settings.ca_directory)) as connection:
        return body_of(connection(Call("GET", address.path, {"Accept": "application/json"})))
