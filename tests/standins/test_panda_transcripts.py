"""The stand-in says what the real servers said: panda-server 0.8.1 and 1.0.4, on PostgreSQL.

Each recorded request is made again, in order, and must get the recorded status, content type and body. Aside: log
GUIDs, which PanDA draws; the order inside a Python set; and what was not kept of a long reply.

Not told again, for these reasons:
- `harvester-*.txt` are exchanges of Harvester's shared files.
- `parallel-and-order.txt` and the concurrency in `rollback-and-contention.txt` and `nevents-and-jumbo.txt`: how many
  ranges each of several threads got is chance. The order of ranges is below; that empty answers come although ranges
  are ready, and close jobs that wait, is a quirk and tested with them.
- times (`took 1.1 s`, `acquired 5000 in 0.42 s`).
- `report: ..` of `job-states-and-kill.txt` is PanDA's table of output reports; here the heartbeat itself is kept.
- the row numbers of zip files in `nevents-and-jumbo.txt`; that all ranges point to one is below.
"""

import ast
import json
import re
from collections import Counter
from urllib.parse import urlencode

import pytest
from standins.stories import CUT, HABITS, STORIES, TRANSCRIPTS, Exchange, Looked, Played, play

from esfsm.standins.panda.books import Books
from esfsm.standins.panda.envelope import Reply
from esfsm.standins.panda.server import PandaServer
from esfsm.standins.panda.tables import Status
from esfsm.standins.panda.tasks import Task
from esfsm.wire.panda.calls import Call

STEPS = {step.told.place: step for story in STORIES for step in play(story).steps}
EXCHANGES = {place: step for place, step in STEPS.items() if isinstance(step.told, Exchange)}
LOOKS = {place: step for place, step in STEPS.items() if isinstance(step.told, Looked)}
BY_CHANCE = {"nevents-and-jumbo:87"}
"""How many of the ranges each of several threads got."""
LEFT_OUT = ("harvester-", "parallel-and-order", "rollback-and-contention")
LOG_GUID = re.compile(r'"logGUID": "[^"]*"')
NOT_SERIALIZABLE = re.compile(r"Type not serializable for (\{.*\}) \(<class 'set'>\)")


def meaning(body: str) -> object:
    """A body without what is left to chance."""
    if found := NOT_SERIALIZABLE.fullmatch(body):
        return ast.literal_eval(found[1])
    return ast.literal_eval(body) if body.startswith("{'") else LOG_GUID.sub("", body)


@pytest.mark.parametrize("step", EXCHANGES.values(), ids=EXCHANGES)
def test_a_request_gets_the_reply_that_was_recorded(step: Played) -> None:
    told, got = step
    assert isinstance(told, Exchange)
    assert isinstance(got, Reply)
    body = got.body.decode()
    assert (got.status, got.content_type) == (told.status, told.content_type)
    if told.body.endswith(CUT):
        kept = LOG_GUID.sub("", told.body.removesuffix(CUT))
        assert LOG_GUID.sub("", body)[: len(kept)] == kept
    else:
        assert meaning(body) == meaning(told.body)


@pytest.mark.parametrize("step", LOOKS.values(), ids=LOOKS)
def test_the_tables_stand_as_they_were_seen(step: Played) -> None:
    told, got = step
    assert isinstance(told, Looked)
    assert isinstance(got, Counter)
    counted = {tuple(row[:3]): row[3] for row in told.rows} if told.what == "events" else Counter(told.rows)
    if told.place in BY_CHANCE:
        assert set(got) == set(counted)
        assert sum(got.values()) == sum(counted.values())
    else:
        assert got == counted


def test_no_recorded_request_is_left_out() -> None:
    recorded = {
        f"{path.stem}:{number}"
        for path in TRANSCRIPTS.glob("*.txt")
        if not path.name.startswith(LEFT_OUT)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if line.startswith(">>> ")
    }
    assert len(recorded) > 100
    assert set(EXCHANGES) == recorded


def test_after_the_end_of_a_job_each_row_stands_as_it_was_seen(books: Books) -> None:
    text = (TRANSCRIPTS / "server-retry-of-failed-ranges.txt").read_text()
    seen = {tuple(map(int, row.split(", "))) for row in re.findall(r"^    \((\d+, \d+, \d+, \d+, 4800)\)$", text, re.M)}
    books.submit(Task(1800, 4800, 5800, 8, attempts=3, state="running", accepts_partial=False))
    books.acquire_event_ranges(5800, 4800, 6)
    words = ["finished", "finished", "finished", "failed", "fatal"]
    books.update_event_ranges(
        [{"eventRangeID": f"1800-5800-180001-{n}-3", "eventStatus": word} for n, word in enumerate(words, 1)]
    )
    books.end_job(5800)
    got = {
        (row.panda_id, int(row.event_range_id.split("-")[3]), row.attempt, Status[row.status.upper()].value, 4800)
        for row in books.ranges()
    }
    assert len(got) == 10
    assert got == seen
    assert [(job.panda_id, job.state, job.attempt_nr) for job in books.jobs()] == [
        (5800, "merging", 1),
        (10000001, "activated", 2),
    ]


def test_the_ranges_of_a_jumbo_job_point_to_one_zip_file() -> None:
    story = play("nevents-and-jumbo")
    assert [row.zip_lfn for row in story.ranges if row.event_range_id.startswith("1400-")] == ["jumbo.zip"] * 8
    assert story.zip_files == ["jumbo.zip"]


def test_ranges_come_in_the_order_of_their_events(books: Books) -> None:
    text = (TRANSCRIPTS / "parallel-and-order.txt").read_text()
    (seen,) = re.findall(r"\[\[.*\]\]", text)
    books.submit(Task(2600, 5600, 6600, 30, state="running"))
    answers = [books.acquire_event_ranges(6600, 5600, 5) or [] for _ in range(7)]
    assert [[each["startEvent"] for each in ranges] for ranges in answers] == ast.literal_eval(seen)


# --- rollback-and-contention.txt: one bad element among two, or alone ---


def ranged(n: int, **said: object) -> dict[str, object]:
    return {"eventRangeID": f"2000-6000-200001-{n}-10", "eventStatus": "failed", **said}


REPORTS: dict[str, tuple[list[object], int]] = {
    "errorDiag of 501 characters": ([ranged(1), ranged(2, errorDiag="x" * 501)], 0),
    "errorDiag of 500 characters": ([ranged(1), ranged(2, errorDiag="x" * 500)], 2),
    "errorCode 'abc'": ([ranged(1), ranged(2, errorCode="abc")], 0),
    "errorCode '1305' (string)": ([ranged(1), ranged(2, errorCode="1305")], 2),
    "errorCode too big 2**31": ([ranged(1), ranged(2, errorCode=2**31)], 0),
    "objstoreID '117/1000'": ([ranged(1), ranged(2, objstoreID="117/1000")], 0),
    "eventRangeID null / list / int": (
        [ranged(1), *(ranged(2) | {"eventRangeID": bad} for bad in (None, ["a"], 5))],
        1,
    ),
    "element not a dict": ([ranged(1), "abc"], 1),
    "errorDiag with NUL character": ([ranged(1), ranged(2, errorDiag="a\0b")], 0),
    "eventStatus FINISHED upper case": ([ranged(1, eventStatus="FINISHED")], 0),
    "range id with blanks": ([{"eventRangeID": " 2000-6000-200001-1-10 ", "eventStatus": "failed"}], 1),
    "range id with one part missing / more parts": (
        [{"eventRangeID": f"2000-6000-200001-1{rest}", "eventStatus": "failed"} for rest in ("", "-10-1")],
        0,
    ),
}
"""The report, and how many of its ranges were booked."""


@pytest.mark.parametrize("what", REPORTS)
def test_a_bad_element_spoils_what_it_was_seen_to_spoil(books: Books, what: str) -> None:
    text = (TRANSCRIPTS / "rollback-and-contention.txt").read_text()
    (told,) = re.findall(rf"^    {re.escape(what)} -> (\{{.*\}}) \[", text, re.M)
    report, booked = REPORTS[what]
    books.submit(Task(2000, 5000, 6000, 20, state="running"))
    books.acquire_event_ranges(6000, 5000, 10)
    form = urlencode({"eventRanges": json.dumps(report), "version": 0}).encode()
    headers = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
    server = PandaServer(books, quirks=HABITS)
    reply = server.answer(Call("POST", "/server/panda/updateEventRanges", headers, form))
    assert json.loads(reply.body) == ast.literal_eval(told)
    assert books.counts()["failed"] == booked


def test_every_report_that_was_tried_on_the_real_server_is_tried_here() -> None:
    text = (TRANSCRIPTS / "rollback-and-contention.txt").read_text()
    assert set(re.findall(r"^    (.*) -> \{", text, re.M)) == set(REPORTS)
