"""The address at which a cloud tells that it will take this machine back: Amazon's, Google's, Azure's, or another.

    Amazon   http://169.254.169.254/latest/meta-data/spot/instance-action              no such page until 2 min before
    Google   http://169.254.169.254/computeMetadata/v1/instance/preempted              FALSE until 30 s before
    Azure    http://169.254.169.254/metadata/scheduledevents?api-version=2020-07-01    no such event until 30 s before
    other    answers 200 with a body that is not FALSE; until then, anything else

They are told apart by the ends of their paths. Give the number, not a name: nothing bounds how long a name takes.
"""

import re
from collections.abc import Callable, Mapping
from time import monotonic
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

import urllib3
from pydantic import BaseModel, Field
from urllib3.exceptions import HTTPError

from esfsm.adapters.notices.sentence import sentence
from esfsm.errors import UnusableInput

__all__ = ["WebNotice"]

PATIENCE_S = 2.0
"""How long a connection, and an answer, may take; the host of the machine itself answers."""
LARGEST_ANSWER_BYTES = CHUNK_BYTES = 1 << 16
TOKEN_PATH, TOKEN_HEADER = "/latest/api/token", "X-aws-ec2-metadata-token"
TOKEN_WANTED = {"X-aws-ec2-metadata-token-ttl-seconds": "21600"}
"""Amazon answers some machines only with a token of theirs (IMDSv2); six hours are the longest."""
NAME_PATH = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"
"""Where Azure tells a machine its name."""


class Answer(NamedTuple):
    """HTTP status, 0 where nobody answered, and body."""

    status: int = 0
    text: str = ""


Ask = Callable[[str], Answer]
"""(path) -> what the same place answers there"""


class InstanceAction(BaseModel, frozen=True):
    """What Amazon will do with this machine: terminate, stop or hibernate it."""

    action: str
    time: str


class ScheduledEvent(BaseModel, frozen=True):
    """What Azure will do with some machines; every machine that was set up together with them is told."""

    event_type: str = Field(alias="EventType")
    resources: list[str] = Field([], alias="Resources")
    not_before: str = Field("", alias="NotBefore")


class ScheduledEvents(BaseModel, frozen=True):
    """All that Azure will do."""

    events: list[ScheduledEvent] = Field(alias="Events")


class WebNotice:
    """Asks an address, over a new connection each time."""

    def __init__(self, url: str, headers: Mapping[str, str] | None = None, patience_s: float = PATIENCE_S) -> None:
        """`headers`: told beside those that the cloud wants. Raises `UnusableInput`."""
        try:
            parts = urlsplit(url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:  # of an address of version 6, or of a port
            usable = False
        if not usable:
            raise UnusableInput(f"notice {url!r}: http://host/path is expected")
        self._url, self._host, self._patience_s = url, str(parts.hostname), patience_s
        ends = (end for end in CLOUDS if parts.path.endswith(end))
        cloud = CLOUDS.get(next(ends, ""), Cloud({}, _other))
        self._headers, self._read = {**cloud.headers, **(headers or {})}, cloud.read
        self._gives_tokens = parts.path.startswith("/latest/")

    def look(self) -> str | None:
        """A sentence with what is said; None where nothing is, or it cannot be understood, or nobody answers.

        A connection, and each part of an answer, may take `patience_s` seconds.
        """
        with urllib3.PoolManager() as pool:

            def ask(path: str) -> Answer:
                return self._request(pool, "GET", path, self._headers)

            answer = ask(self._url)
            if answer.status == 401 and self._gives_tokens:
                token = self._request(pool, "PUT", TOKEN_PATH, TOKEN_WANTED)
                if token.status == 200:
                    answer = self._request(pool, "GET", self._url, {**self._headers, TOKEN_HEADER: token.text})
            try:
                said = self._read(answer.text.strip(), ask) if answer.status == 200 else ""
            except ValueError:  # a body that this cloud would not send
                return None
        return sentence(self._host, said) if said else None

    def _request(self, pool: urllib3.PoolManager, verb: str, path: str, headers: Mapping[str, str]) -> Answer:
        until = monotonic() + self._patience_s
        try:
            response = pool.request(
                verb,
                urljoin(self._url, path),
                headers=headers,
                redirect=False,
                retries=False,
                preload_content=False,
                timeout=urllib3.Timeout(connect=self._patience_s, read=self._patience_s),
            )
            try:
                return Answer(response.status, _body(response.read1, until).decode())
            finally:
                response.close()
        except (HTTPError, OSError, ValueError):  # ValueError: of a header, or of what is no UTF-8
            return Answer()


def _body(read: Callable[[int], bytes], until: float) -> bytes:
    """All of it. Raises ValueError for one without an end; who answers may send a byte now and then for ever."""
    body = b""
    while chunk := read(CHUNK_BYTES):
        body += chunk
        if len(body) > LARGEST_ANSWER_BYTES or monotonic() > until:
            raise ValueError("too large, or too slow")
    return body


def _amazon(text: str, _: Ask) -> str:
    planned = InstanceAction.model_validate_json(text)
    return f"{planned.action} at {planned.time}"


def _google(text: str, _: Ask) -> str:
    return "preempted" if text.upper() == "TRUE" else ""


def _azure(text: str, ask: Ask) -> str:
    """Where it cannot be learnt which machine this is, each that will be taken back may be this one."""
    planned = [event for event in ScheduledEvents.model_validate_json(text).events if event.event_type == "Preempt"]
    if not planned:
        return ""
    name = ask(NAME_PATH)
    known = name.status == 200 and re.fullmatch(r"[\w.-]{1,64}", name.text)
    ours = [event for event in planned if not known or name.text in event.resources]
    return f"Preempt, not before {ours[0].not_before or 'now'}" if ours else ""


def _other(text: str, _: Ask) -> str:
    return "" if text.upper() == "FALSE" else " ".join(text.split())


class Cloud(NamedTuple):
    """The headers without which it does not answer, and how its answer is read: what it says, or nothing.

    A reader raises ValueError for what the cloud would not send.
    """

    headers: Mapping[str, str]
    read: Callable[[str, Ask], str]


CLOUDS = {
    "/meta-data/spot/instance-action": Cloud({}, _amazon),
    "/instance/preempted": Cloud({"Metadata-Flavor": "Google"}, _google),
    "/metadata/scheduledevents": Cloud({"Metadata": "true"}, _azure),
}
"""By the ends of their paths."""
