"""How `/api/v1` checks the arguments of a method: names and types first, in Python's words; GET casts what it can."""

from collections.abc import Mapping
from typing import Final, NamedTuple

__all__ = ["Argument", "check", "maybe", "maybe_text", "maybe_whole", "needed", "text", "whole"]

REQUIRED: Final = object()

Said = Mapping[str, object]


class Argument(NamedTuple):
    """Its type, and what it is where it is left out. No type: by a slip, nothing but the default passes."""

    kind: type | tuple[type, ...] | None
    default: object


def needed(kind: type, names: str) -> dict[str, Argument]:
    """Arguments that must be there."""
    return {name: Argument(kind, REQUIRED) for name in names.split()}


def maybe(kind: type | tuple[type, ...] | None, names: str, default: object = None) -> dict[str, Argument]:
    """Arguments that may be left out."""
    return {name: Argument(kind, default) for name in names.split()}


def check(said: Said, arguments: Mapping[str, Argument], verb: str) -> Said | str:
    """All arguments, or the complaint. Raises `TypeError` for a value of an argument without a type."""
    for name, argument in arguments.items():
        if name not in said and argument.default is REQUIRED:
            return f"Argument error: missing a required argument: {name!r}"
    for name in said:
        if name not in arguments:
            return f"Argument error: got an unexpected keyword argument {name!r}"
    whole = {name: said.get(name, argument.default) for name, argument in arguments.items()}
    for name, argument in arguments.items():
        if whole[name] == argument.default:
            continue
        if verb == "GET":
            try:
                whole[name] = _cast(whole[name], argument)
            except ValueError:
                return f"Type error: {name!r} could not be casted to type {_name(argument)}."
        if complaint := _complaint(name, whole[name], argument):
            return complaint
    return whole


def _cast(value: object, argument: Argument) -> object:
    """A query has only texts. Raises `ValueError`."""
    if argument.kind is list:
        return [int(str(each)) for each in (value if isinstance(value, list) else [value])]
    return int(str(value)) if argument.kind is int else value


def _complaint(name: str, value: object, argument: Argument) -> str:
    if argument.kind is None:
        raise TypeError("isinstance() arg 2 must be a type, a tuple of types, or a union")
    if isinstance(value, argument.kind):
        return ""
    return f"Type error: {name!r} must be of type {_name(argument)}, got {type(value).__name__}."


def _name(argument: Argument) -> str:
    kind = argument.kind[0] if isinstance(argument.kind, tuple) else argument.kind
    return kind.__name__ if kind else "None"


# --- a checked argument, by its type ---


def whole(said: Said, name: str) -> int:
    """A whole number."""
    value = said[name]
    assert isinstance(value, int)
    return value


def maybe_whole(said: Said, name: str) -> int | None:
    """A whole number, if it was said."""
    return None if said[name] is None else whole(said, name)


def text(said: Said, name: str) -> str:
    """A text."""
    value = said[name]
    assert isinstance(value, str)
    return value


def maybe_text(said: Said, name: str) -> str | None:
    """A text, if it was said."""
    return None if said[name] is None else text(said, name)
