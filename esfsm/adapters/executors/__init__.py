"""Executor types: where a payload runs. One file each, behind the `Executor` door of `ports.py`."""

KNOWN = {
    "generic": "generic:GenericExecutor",
}
"""Name -> module:attribute in this drawer, and the extra that it needs."""
