"""The exceptions that pilot3 expects of its parts: its own where it is installed."""

from esfsm.errors import EsfsmError

__all__ = ["MessageFailure", "SetupFailure", "UnknownException"]

try:
    from pilot.common.exception import (  # type: ignore[import-not-found, import-untyped, unused-ignore]
        MessageFailure,
        SetupFailure,
        UnknownException,
    )
except ImportError:  # no pilot, so nobody catches them by these names
    MessageFailure = SetupFailure = UnknownException = EsfsmError
