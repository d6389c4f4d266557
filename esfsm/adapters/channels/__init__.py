"""Channels: the wire to one payload."""

__all__ = ["KNOWN"]

KNOWN = {
    "zmq": "zmq:ZmqChannel",
}
