"""Where the description of a queue is read from, by the scheme of its URL."""

__all__ = ["KNOWN"]

KNOWN = {"http": "web:fetch", "https": "web:fetch"}
"""By scheme: the module in this drawer and, behind the colon, its `ports.FetchQueueData`."""
