"""The one job definition in whatever was given, flat, and without secrets: the only place that knows the wrappings.

PanDA's reply, Harvester's file and aCT's form carry the same dictionary. What lets somebody in is told by its key and
held apart, as the rest is journalled, logged and shown.
"""

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl

import orjson
from pydantic import SecretStr

from esfsm.errors import UnreadableJob

__all__ = ["flat_definition", "shown", "without_secrets"]

# Space tokens (prodDBlockToken, ...) are names of storages; every other token lets somebody in.
_SECRET = re.compile(
    r"secret|passw|passphrase|credential|credname|proxy|(private|access|api).?key|authorization|bearer|(?<!dblock)token",
    re.IGNORECASE,
)
_JSON_KEY = re.compile(r'"((?:[^"\\]|\\.)*)":')

# A form begins so; JSON that was cut off may have `&PandaID=` in it, but does not.
_FORM = re.compile(r"\s*\w+=")


def flat_definition(content: object, panda_id: int | None) -> dict[str, object]:
    """The one job in a mapping, JSON, or a form; `panda_id` chooses among several. Raises `UnreadableJob`."""
    content = _unwrapped(_parsed(content), panda_id)
    if isinstance(content, list):
        jobs = [job for job in content if panda_id is None or _has(job, panda_id)]
        if len(jobs) != 1:
            named = "" if panda_id is None else f" with PandaID {panda_id}"
            raise UnreadableJob(f"one job{named} is expected, there are {len(jobs)}")
        content = jobs[0]
    if not isinstance(content, dict):
        raise UnreadableJob(f"a JSON object is expected, not {type(content).__name__}")
    return content


def _parsed(content: object) -> object:
    """As JSON carries it; a mapping goes through JSON too, so that what is journalled is what was read."""
    text = content if isinstance(content, str | bytes) else _json(content)
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        form = _form(text)
        if "PandaID" not in form:
            raise UnreadableJob(f"not JSON at line {error.lineno}, column {error.colno}: {error.msg}") from None
        return form


def _form(text: str | bytes) -> dict[str, str]:
    """aCT's URL-encoded form; empty if it is none."""
    try:
        text = text.decode() if isinstance(text, bytes) else text.encode().decode()
        pairs = parse_qsl(text.strip(), keep_blank_values=True, errors="strict") if _FORM.match(text) else ()
    except UnicodeError:
        return {}
    return dict(pairs)


def _json(content: object) -> bytes:
    try:
        return orjson.dumps(dict(content) if isinstance(content, Mapping) else content)
    except orjson.JSONEncodeError as error:
        raise UnreadableJob(f"JSON cannot carry it: {error}") from None


def _has(job: object, panda_id: int) -> bool:
    return isinstance(job, dict) and str(job.get("PandaID")) == str(panda_id)


def _unwrapped(content: object, panda_id: int | None) -> object:
    """What a server's reply or Harvester's file has inside: a job, or a list of them."""
    if not isinstance(content, dict) or "PandaID" in content:
        return content
    reply = content["data"] if isinstance(content.get("data"), dict) else content
    if "PandaID" in reply:
        return reply
    if "jobs" in reply:
        return reply["jobs"]
    if refusal := reply.get("errorDialog") or content.get("message"):
        raise UnreadableJob(f"there is no job, the server says {shown(refusal)}")
    is_harvesters = reply and all(isinstance(job, dict) for job in reply.values())
    return _harvesters(reply, panda_id) if is_harvesters else reply


def _harvesters(jobs: dict[str, dict[str, object]], panda_id: int | None) -> dict[str, object]:
    """One of `{"<PandaID>": {...}, ...}`; the key stands in for a PandaID that is not inside."""
    key = next(iter(jobs)) if panda_id is None else str(panda_id)
    if key not in jobs:
        raise UnreadableJob(f"there is no job {key}, only {shown(list(jobs))}")
    inside = jobs[key].get("PandaID")
    if inside is not None and str(inside) != key:
        raise UnreadableJob(f"the job below {shown(key)} has PandaID {shown(inside)}")
    return jobs[key] | {"PandaID": key if inside is None else inside}


def without_secrets(flat: dict[str, object]) -> tuple[dict[str, object], dict[str, SecretStr]]:
    """The definition that anybody may see, and what nobody may."""
    hidden = {key: value for key, value in flat.items() if _is_secret(key, value)}
    secrets = {key: value if isinstance(value, str) else _json(value).decode() for key, value in hidden.items()}
    public = {key: value for key, value in flat.items() if key not in hidden}
    return public, {key: SecretStr(text) for key, text in secrets.items()}


def _is_secret(key: str, value: object) -> bool:
    """By its key, or by any key inside it."""
    keys = _JSON_KEY.findall(_json({key: value}).decode()) if isinstance(value, dict | list) else [key]
    return any(_SECRET.search(key) for key in keys)


def shown(value: object) -> str:
    """A value in a sentence: as Python writes it, of a long one the beginning."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
