"""What was recorded from real PanDA servers, told again by the stand-in: each story with the state it began in."""

import ast
import gzip
import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from esfsm.standins.panda.books import Books, RangeRow
from esfsm.standins.panda.envelope import PILOT, Reply, Who
from esfsm.standins.panda.server import PandaServer
from esfsm.standins.panda.tables import Kind, Status
from esfsm.standins.panda.tasks import Task
from esfsm.wire.panda.calls import Call

__all__ = ["CUT", "HABITS", "STORIES", "TRANSCRIPTS", "Exchange", "Looked", "Played", "play"]

TRANSCRIPTS = Path(__file__).parents[1] / "wire" / "transcripts"
REQUEST = re.compile(r">>> (GET|POST) (\S+)  (\{.*\})$")
REPLY = re.compile(r"<<< (\d{3}) .*  Content-Type: (\S+)$")
SUBMITTED = re.compile(
    r"task (\d+): (\d+) job\(s\) from PandaID (\d+) jobset (\d+) status (\w+), (\d+) files, (\d+) event ranges"
)
LOOKED = re.compile(r"    (events|active|archived): (\[.*\])")
INDENT, CUT = "    ", " ..."

STORIES = {
    "5001": (
        "v1-acquire-jobs",
        "v1-acquire-event-ranges",
        "v1-update-event-ranges",
        "legacy-event-ranges",
        "heartbeats",
    ),
    "job-states-and-kill": ("job-states-and-kill",),
    "nevents-and-jumbo": ("nevents-and-jumbo",),
    "retry": ("server-retry-of-failed-ranges", "retry-job"),
    "headers-and-readback": ("headers-and-readback",),
    "database-outage": ("database-outage",),
}
"""Files that tell one story, in order."""
OTHERWISE = {
    "1400": {"kind": Kind.JUMBO},
    "1500": {"kind": Kind.FINE_GRAINED},
    "1800": {"attempts": 3, "accepts_partial": False},
}
"""What the line about a task does not say, and the ranges in the replies do."""
HABITS = ("v1-update-500", "trailing-false")
"""Of all the recorded servers: a slip, and PostgreSQL."""


class Exchange(NamedTuple):
    """One request and its reply, as they were recorded."""

    place: str
    call: Call
    who: Who
    status: int
    content_type: str
    body: str


class Looked(NamedTuple):
    """One look into the tables, as it was recorded."""

    place: str
    what: str
    rows: list[tuple[object, ...]]


class Played(NamedTuple):
    """What was recorded, and what the stand-in made of it."""

    told: Exchange | Looked
    got: Reply | Counter[object]


class Story(NamedTuple):
    """A story that was told: its steps, and how the books were in the end."""

    steps: list[Played]
    ranges: list[RangeRow]
    zip_files: list[str]


class Stage:
    """Where a story is told: books, and a server over them."""

    def __init__(self) -> None:
        self.books = Books()
        self.task_id = 1001
        self.serve()

    def serve(self, *quirks: str, generations: tuple[str, ...] = ("legacy", "v1")) -> None:
        """From now on by this server."""
        self.server = PandaServer(self.books, generations=generations, quirks=dict.fromkeys((*HABITS, *quirks), 1.0))

    def submit(self, numbers: tuple[str, ...]) -> None:
        task_id, jobs, panda_id, jobset_id, state, files, ranges = numbers
        self.task_id = int(task_id)
        task = Task(self.task_id, int(jobset_id), int(panda_id), int(ranges), jobs=int(jobs), files=int(files))
        fields = {name: getattr(task, name) for name in Task.__slots__} | OTHERWISE.get(task_id, {})
        self.books.submit(Task(**fields | {"state": state}))

    def look(self, what: str) -> Counter[object]:
        """What the recorded look would have shown."""
        if what == "events":
            rows = self.books.ranges(self.task_id)
            return Counter((row.panda_id, Status[row.status.upper()].value, row.attempt) for row in rows)
        return Counter(
            (job.panda_id, job.state, job.sub_status, job.error_code, job.error_diag)
            for job in self.books.jobs()
            if job.task_id == self.task_id and job.is_archived == (what == "archived")
        )


def _states(**states: str) -> Callable[[Stage], None]:
    def act(stage: Stage) -> None:
        for panda_id, state in states.items():
            stage.books.set_state(int(panda_id[1:]), state)

    return act


def _killed(panda_id: int, *, softly: bool) -> Callable[[Stage], None]:
    def act(stage: Stage) -> None:
        stage.books.set_state(panda_id, "running")
        stage.books.kill(panda_id, is_soft=softly)

    return act


def _sent(panda_id: int, jobset_id: int, n: int) -> Callable[[Stage], None]:
    def act(stage: Stage) -> None:
        assert len(stage.books.acquire_event_ranges(panda_id, jobset_id, n) or ()) == n

    return act


def _database_stops(stage: Stage) -> None:
    _sent(6300, 5300, 10)(stage)
    stage.serve("database-down")


def _ends(panda_id: int) -> Callable[[Stage], None]:
    def act(stage: Stage) -> None:
        assert stage.books.end_job(panda_id)

    return act


def _half_of_10000_finished(stage: Stage) -> None:
    ranges = stage.books.acquire_event_ranges(5700, 4700, 5000) or ()
    stage.books.update_event_ranges([{**each, "eventStatus": "finished"} for each in ranges])


def _two_take_turns(stage: Stage) -> None:
    """One range at a time, until there are no more."""
    while sum(len(stage.books.acquire_event_ranges(panda_id, 4600, 1) or ()) for panda_id in (5600, 5601)):
        pass


ACTS: dict[str, Callable[[Stage], None]] = {
    "v1-acquire-jobs:1": lambda stage: stage.submit(("1001", "1", "5001", "4001", "activated", "2", "50")),
    "job-states-and-kill:8": _states(p5100="starting"),
    "job-states-and-kill:13": _states(p5100="transferring"),
    "job-states-and-kill:23": _states(p5100="holding"),
    "job-states-and-kill:38": _killed(5100, softly=False),
    "job-states-and-kill:54": _killed(5100, softly=True),
    "job-states-and-kill:66": _states(p5200="running", p5201="running"),
    "nevents-and-jumbo:18": _killed(5300, softly=True),
    "nevents-and-jumbo:86": _two_take_turns,
    "nevents-and-jumbo:93": _half_of_10000_finished,
    "server-retry-of-failed-ranges:26": _ends(5800),
    "retry-job:41": lambda stage: stage.serve(generations=("v1",)),
    "retry-job:47": lambda stage: stage.serve(),
    "headers-and-readback:41": _sent(6400, 5400, 4),
    "database-outage:3": _database_stops,
    "database-outage:57": lambda stage: stage.serve(),
}
"""What happened before a line without being recorded: it is in the headings, or follows from the replies."""


@cache
def play(name: str) -> Story:
    """Tell a story from its beginning."""
    stage = Stage()
    try:
        steps = [step for file in STORIES[name] for step in _tell(stage, file)]
        return Story(steps, stage.books.ranges(), stage.books.zip_files())
    finally:
        stage.books.close()


def _tell(stage: Stage, name: str) -> Iterator[Played]:
    lines = (TRANSCRIPTS / f"{name}.txt").read_text().splitlines()
    for number, line in enumerate(lines, 1):
        place = f"{name}:{number}"
        if act := ACTS.get(place):
            act(stage)
        if submitted := SUBMITTED.match(line):
            stage.submit(submitted.groups())
        elif looked := LOOKED.match(line):
            yield Played(Looked(place, looked[1], ast.literal_eval(looked[2])), stage.look(looked[1]))
        elif line.startswith(">>> "):
            exchange = _exchange(place, lines[number - 1 :])
            yield Played(exchange, stage.server.answer(exchange.call, exchange.who))


def _exchange(place: str, lines: list[str]) -> Exchange:
    """The one that begins here."""
    asked = REQUEST.match(lines[0])
    assert asked, lines[0]
    sent = list(_indented(lines[1:]))
    replied = REPLY.match(lines[1 + len(sent)])
    assert replied, lines[1 + len(sent)]
    headers = ast.literal_eval(asked[3])
    who = Who(headers.pop("X-Test-DN", PILOT.dn) or None, PILOT.fqans)
    if "X-Test-Fqan" in headers:
        who = who._replace(fqans=(headers.pop("X-Test-Fqan"),))
    body = "\n".join(sent).encode()
    if headers.get("Content-Encoding") == "gzip":
        body = gzip.compress(body)
    call = Call(asked[1], asked[2], headers, body)
    return Exchange(place, call, who, int(replied[1]), replied[2], "\n".join(_indented(lines[2 + len(sent) :])))


def _indented(lines: list[str]) -> Iterator[str]:
    for line in lines:
        if not line.startswith(INDENT):
            return
        yield line.removeprefix(INDENT)
