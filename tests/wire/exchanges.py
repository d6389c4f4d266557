"""The exchanges with real servers (panda-server 0.8.1 and 1.0.4 on PostgreSQL) that lie in transcripts, one by one."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["EXCHANGES", "Exchange"]

TRANSCRIPTS = Path(__file__).with_name("transcripts")
REQUEST = re.compile(r">>> (?P<verb>GET|POST) (?P<path>\S+)  (?P<headers>\{.*\})$")
REPLY = re.compile(r"<<< (?P<status>\d{3}) ")
INDENT = "    "
CUT = " ..."
"""What stands at the end of a text of which only the beginning was kept."""


class Exchange(NamedTuple):
    """One request and its reply, as they were sent."""

    place: str
    """File and line, for people."""
    verb: str
    path: str
    headers: dict[str, str]
    body: str
    status: int
    reply: str

    @property
    def is_whole(self) -> bool:
        """Whether all of it was kept."""
        return not self.reply.endswith(CUT) and not self.body.endswith(CUT)


def _exchanges(path: Path) -> Iterator[Exchange]:
    request, body, reply, status = None, [], [], 0
    for number, line in enumerate([*path.read_text().splitlines(), ">>> "], 1):
        if line.startswith(">>> "):
            if request and status:
                yield Exchange(*request, "\n".join(body), status, "\n".join(reply))
            found = REQUEST.match(line)
            request = found and (
                f"{path.name}:{number}",
                found["verb"],
                found["path"],
                ast.literal_eval(found["headers"]),
            )
            body, reply, status = [], [], 0
        elif found := REPLY.match(line):
            status = int(found["status"])
        elif line.startswith(INDENT) and request and not (status and reply):
            (reply if status else body).append(line.removeprefix(INDENT))


EXCHANGES = [exchange for path in sorted(TRANSCRIPTS.glob("*.txt")) for exchange in _exchanges(path)]
