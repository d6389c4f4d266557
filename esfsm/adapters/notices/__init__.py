"""Notices: whoever knows that this machine will be taken back. One file each, chosen by URL scheme, as storages are."""

__all__ = ["KNOWN"]

KNOWN = {
    "file": "file:FileNotice",
    "http": "web:WebNotice",
    "https": "web:WebNotice",
}
"""Scheme -> module:attribute in this drawer, called with the URL, or the path of a file."""
