"""jobPars without what is meant for the pilot: the only place that takes PanDA's argument text apart.

Overwrites of queue and storage data, a zip map and a container image stand among the payload's own arguments. The text
comes over the network and may have 10,000 LFNs in it, so every pattern here reads it once.
"""

import ast
import base64
import re
import shlex
from collections.abc import Mapping
from typing import NamedTuple

from esfsm.errors import UnreadableJob

__all__ = ["JobPars", "read_job_pars"]

_OVERWRITE = re.compile(r"(?<!\S)--overwrite(Queuedata|QueueData|StorageData)(?:=|\s+)")
# A quotation that is not closed goes to the end, and a map holds no other map: so no text is read twice.
_QUOTED_OR_BRACE = re.compile(
    r"""'(?:\\.|[^'\\])*+(?:'|\\?\Z)|"(?:\\.|[^"\\])*+(?:"|\\?\Z)|[{}]""",
    re.DOTALL,
)
_ZIP_MAP = re.compile(
    r"""(?P<quote>['"]?)<ZIP_MAP>(?P<what>(?:(?!</?ZIP_MAP>).)*+)</ZIP_MAP>(?P=quote)""",
    re.DOTALL,
)
_QUOTES = frozenset("'\"\\")
# The last alternative is a quotation that is not closed.
_ARGUMENT = re.compile(r"""(?:[^ \t\r\n'"\\]+|'[^']*'|"(?:\\.|[^"\\])*+"|\\.|['"\\].*)++""", re.DOTALL)
_CONTAINER_IMAGE = re.compile(r"(?<!\S)--containerImage(?:=|\s+)(?P<what>\S+)")


class JobPars(NamedTuple):
    """The payload's arguments, and apart from them what the pilot is told."""

    text: str
    arguments: tuple[str, ...]
    """`text` as a shell would split it."""
    overwrite_queuedata: Mapping[str, object]
    overwrite_storagedata: Mapping[str, object]
    zip_map: str
    container_image: str


def read_job_pars(text: str, *, encoded: bool = False) -> JobPars:
    """From the text that PanDA sends; `encoded`: it is base64. Raises `UnreadableJob`."""
    if encoded:
        try:
            text = base64.b64decode(text, validate=True).decode()
        except ValueError:
            raise UnreadableJob("jobPars is not the base64 that specialHandling ej promises") from None
    overwrites: dict[str, dict[str, object]] = {"Queuedata": {}, "QueueData": {}, "StorageData": {}}
    kept, end = [], 0
    for found in _OVERWRITE.finditer(text):
        if found.start() >= end:
            kept.append(text[end : found.start()])
            end = _end_of_dictionary(text, found)
            # The values of the older --overwriteQueuedata are no Python literals, and no pilot reads them any more.
            if found[1] != "Queuedata":
                overwrites[found[1]] |= _dictionary(text[found.end() : end], found)
    zip_map, text = _taken(_ZIP_MAP, "".join(kept) + text[end:])
    container_image, text = _taken(_CONTAINER_IMAGE, text)
    arguments = tuple(_arguments(text))
    return JobPars(text, arguments, overwrites["QueueData"], overwrites["StorageData"], zip_map, container_image)


def _arguments(text: str) -> list[str]:
    """As `shlex.split` does it, which needs a second for a list of 10,000 LFNs and four for one of 20,000."""
    words = _ARGUMENT.findall(text)
    try:
        return [word if _QUOTES.isdisjoint(word) else shlex.split(word)[0] for word in words]
    except ValueError as error:
        raise UnreadableJob(f"jobPars cannot be split into arguments: {error}") from None


def _taken(pattern: re.Pattern[str], text: str) -> tuple[str, str]:
    """What the pattern finds, and the text without it."""
    found = pattern.search(text)
    return found["what"] if found else "", pattern.sub("", text)


def _end_of_dictionary(text: str, option: re.Match[str]) -> int:
    """Where the value of an option ends that is a dictionary, as it is or quoted; braces in texts do not count."""
    depth = 0
    for token in _QUOTED_OR_BRACE.finditer(text, option.end()):
        depth += {"{": 1, "}": -1}.get(token[0], 0)
        if depth == 0 and text[option.end()] in "{'\"":
            return token.end()
    raise UnreadableJob(f"jobPars: {option[0].strip(' =')} has no dictionary")


def _dictionary(text: str, option: re.Match[str]) -> dict[str, object]:
    try:
        value = ast.literal_eval(text)
        value = ast.literal_eval(value) if isinstance(value, str) else value
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        value = None
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise UnreadableJob(f"jobPars: {option[0].strip(' =')} is no Python dictionary with texts as keys")
    return value
