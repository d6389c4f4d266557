"""The shapes of a reply: its JSON, its envelope, and the command that it may carry."""

import reprlib

import orjson

from esfsm.errors import WireError

__all__ = ["command_of", "native", "read_json", "success"]


def read_json(text: bytes | str) -> object:
    """RFC 8259 to the letter: no NaN, no lone surrogate, UTF-8 only, at most 1024 levels. Raises `WireError`."""
    try:
        answer: object = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        head = (text.decode(errors="replace") if isinstance(text, bytes) else text)[:80]
        # An object or a form that broke off may hold secrets (the reply to updateJob does), so it is not quoted.
        quoted = "" if "{" in head or "=" in head else f": {head!r}"
        raise WireError(f"PanDA's reply is not JSON at character {error.pos}{quoted}") from None
    return answer


def native(value: object) -> object:
    """The older generation writes JSON text inside its JSON."""
    return read_json(value) if isinstance(value, str) else value


def success(answer: object) -> object:
    """What a reply says, without the envelope. Raises `WireError` unless it says success in all that it says."""
    match answer:
        case {"success": True, "data": said}:
            pass
        case {"StatusCode": _, **rest} if "success" not in rest:
            said = answer
        case {"success": False, "message": str(message)}:
            raise WireError(f"PanDA did not do it: {message[:200]!r}")
        case _:
            raise WireError("PanDA's reply has neither a StatusCode nor success and data")
    code = said.get("StatusCode", 0) if isinstance(said, dict) else 0
    if not (code == "0" or (type(code) is int and code == 0)):  # false is no number here
        raise WireError(f"PanDA did not do it: StatusCode {reprlib.repr(code)}")
    return said


def command_of(word: object) -> str | None:
    """The command, if it is one. Raises `WireError`."""
    if word in (None, "", "NULL"):
        return None
    if isinstance(word, str):
        return word
    raise WireError(f"PanDA's command is no text: {reprlib.repr(word)}")
