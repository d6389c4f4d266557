"""Who asks, what a call carries, and what goes back: what both generations have in common."""

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from esfsm.standins.panda.books import Books
from esfsm.standins.panda.quirks import Luck
from esfsm.wire.panda.calls import Call

__all__ = [
    "JSON",
    "NOBODY",
    "PILOT",
    "STATES",
    "TEXT",
    "Asked",
    "Fate",
    "Reply",
    "Who",
    "book",
    "book_report",
    "form",
    "forbidden",
]

JSON, TEXT, FORM = "application/json", "text/plain", "application/x-www-form-urlencoded"
STATES = ("running", "failed", "finished", "holding", "starting", "transferring")
"""What a pilot may say of its job."""


class Who(NamedTuple):
    """Who asks: the DN of a certificate, or what a token stands for; None for nobody. FQANs: `/atlas/Role=production`.

    A server in clear takes everybody for the same.
    """

    dn: str | None
    fqans: tuple[str, ...] = ()

    @property
    def is_known(self) -> bool:
        """PanDA lets no limited proxy in."""
        return bool(self.dn) and "/CN=limited proxy" not in str(self.dn)

    @property
    def is_pilot(self) -> bool:
        """Whether one of the roles is one that may run jobs."""
        return any(fqan.endswith(("/Role=production", "/Role=pilot")) for fqan in self.fqans)


PILOT = Who("/DC=ch/DC=cern/CN=pilot", ("/atlas/Role=production",))
NOBODY = Who(None)


class Fate(StrEnum):
    """What becomes of a reply on its way."""

    ARRIVES = "arrives"
    """It is sent at once."""
    LOST = "lost"
    """The connection is closed instead."""
    STALLED = "stalled"
    """Nothing is sent for as long as anybody waits."""


class Reply(NamedTuple):
    """HTTP status, content type, body; and whether the client will see it."""

    status: int
    content_type: str
    body: bytes
    fate: Fate = Fate.ARRIVES


class Asked(NamedTuple):
    """One call, read; its arguments by their names on the wire."""

    books: Books
    who: Who
    said: Mapping[str, object]
    luck: Luck
    now_s: float
    accepts_json: bool


def form(call: Call) -> dict[str, list[str]]:
    """The values of each argument, in the query and in a form."""
    body = call.body.decode(errors="replace") if call.headers.get("Content-Type", "").startswith(FORM) else ""
    query = parse_qs(urlsplit(call.path).query, keep_blank_values=True)
    for name, values in parse_qs(body, keep_blank_values=True).items():
        query.setdefault(name, []).extend(values)
    return query


def mapping(said: object) -> Mapping[str, object]:
    """Arguments by name. Raises `TypeError` where they are something else."""
    if not isinstance(said, dict):
        raise TypeError("argument after ** must be a mapping")
    return said


def forbidden(path: str) -> Reply:
    """What is said of a method that a server does not have."""
    known = path.startswith(("/server/panda/", "/api/"))
    method = urlsplit(path).path.rpartition("/")[2] if known else ""
    return Reply(403, TEXT, f"ERROR : method {method} is forbidden".encode())


def book(asked: Asked, report: object, version: int = 0) -> tuple[list[bool | None], dict[int, str | None]]:
    """A word for each element and the commands; one `false` and none of them where there is no database."""
    if asked.luck.is_down:
        return [False], {}
    return asked.books.update_event_ranges(
        report, version, is_rolled_back=asked.luck.is_rolled_back, is_uncounted=asked.luck.is_uncounted
    )


def book_report(asked: Asked, text: object, version: int) -> tuple[object, object]:
    """The same for a report as it is sent; with version 0 both as JSON text.

    A report that is no JSON gets the first two letters of the complaint, as PanDA takes that for such a pair.
    """
    try:
        report = json.loads(text)  # type: ignore[arg-type]  # whatever it is
    except (TypeError, ValueError, RecursionError):
        return '"', "E"
    words, commands = book(asked, report, version)
    return (words, commands) if version else (json.dumps(words), json.dumps(commands))
