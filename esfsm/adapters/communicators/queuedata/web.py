"""The description of queues from CRIC, or whoever speaks HTTP: public, so nobody is told who asks."""

from contextlib import closing
from urllib.parse import urlsplit

from esfsm.adapters.communicators.connection import Connection
from esfsm.adapters.communicators.identity import Proxy
from esfsm.adapters.communicators.server import body_of
from esfsm.model.settings import Settings
from esfsm.wire.panda.calls import Call

__all__ = ["fetch"]


def fetch(url: str, settings: Settings) -> bytes:
    """What lies there. Raises `WireError`, and `UnusableInput` for what is no URL."""
    parts = urlsplit(url)
    query = f"?{parts.query}" if parts.query else ""
    with closing(Connection(f"{parts.scheme}://{parts.netloc}", Proxy(None), settings.ca_directory)) as connection:
        return body_of(connection(Call("GET", f"{parts.path or '/'}{query}", {"Accept": "application/json"})))
