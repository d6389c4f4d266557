"""The bad habits of the PanDA stand-in: what each does, what is booked then, and that a job still comes to its end."""

import json
from random import Random

import pytest

from esfsm.errors import UnusableInput
from esfsm.standins.panda.books import Books
from esfsm.standins.panda.envelope import NOBODY, PILOT, Fate, Reply, Who
from esfsm.standins.panda.quirks import LONGEST_OUTAGE, QUIRKS, USUAL, Quirks
from esfsm.standins.panda.server import PandaServer
from esfsm.standins.panda.tasks import Task
from esfsm.wire.panda.calls import Call

JSON = {"Accept": "application/json", "Content-Type": "application/json"}
DONE_UNHEARD = ("v1-update-500", "trailing-false", "lost-reply", "stalled", "empty-body", "cut-json")
NOT_DONE = ("rollback", "database-down", "html-proxy")
GRANTS = ("spurious-empty", "short-grant")


def post(server: PandaServer, method: str, **said: object) -> Reply:
    return server.answer(Call("POST", f"/api/v1/{method}", JSON, json.dumps(said).encode()))


def acquire(server: PandaServer, n: int, panda_id: int = 5001) -> Reply:
    return post(server, "event/acquire_event_ranges", job_id=panda_id, jobset_id=4001, n_ranges=n)


def report(server: PandaServer, *names: str) -> Reply:
    ranges = [{"eventRangeID": name, "eventStatus": "finished"} for name in names]
    return post(server, "event/update_event_ranges", event_ranges=json.dumps(ranges))


def data(reply: Reply) -> object:
    return json.loads(reply.body)["data"]


@pytest.fixture
def task(books: Books) -> Books:
    """Twenty ranges and a running job."""
    books.submit(Task(1001, 4001, 5001, 20, state="running"))
    return books


def test_each_quirk_has_a_sentence_and_a_probability() -> None:
    assert set(QUIRKS) == set(USUAL) == {*DONE_UNHEARD, *NOT_DONE, *GRANTS}
    assert all(said.endswith(".") for said in QUIRKS.values())


@pytest.mark.parametrize("quirk", [*DONE_UNHEARD, *NOT_DONE])
def test_a_quirk_does_what_it_is_told_to_do_and_not_more(task: Books, quirk: str) -> None:
    server = PandaServer(task, quirks={quirk: 1.0})
    (name,) = (str(each["eventRangeID"]) for each in task.acquire_event_ranges(5001, 4001, 1) or ())
    reply = report(server, name)
    assert task.counts()["finished"] == (quirk in DONE_UNHEARD)
    plain = report(PandaServer(task), name)
    assert (plain.status, plain.fate) == (200, Fate.ARRIVES)
    assert data(plain) == {"Returns": "[true]", "Commands": '{"5001": null}'}
    assert reply != plain


@pytest.mark.parametrize(
    ("quirk", "status", "fate"),
    [
        ("lost-reply", 200, Fate.LOST),
        ("stalled", 200, Fate.STALLED),
        ("html-proxy", 502, Fate.ARRIVES),
        ("empty-body", 200, Fate.ARRIVES),
        ("cut-json", 200, Fate.ARRIVES),
    ],
)
def test_a_quirk_of_the_wire_strikes_any_call(task: Books, quirk: str, status: int, fate: Fate) -> None:
    call = Call("GET", "/api/v1/system/is_alive", {"Accept": "application/json"})
    whole = PandaServer(task).answer(call)
    reply = PandaServer(task, quirks={quirk: 1.0}).answer(call)
    assert (reply.status, reply.fate) == (status, fate)
    if quirk == "empty-body":
        assert reply.body == b""
    elif quirk == "cut-json":
        assert whole.body.startswith(reply.body)
        assert len(reply.body) < len(whole.body)
    elif quirk == "html-proxy":
        assert reply.content_type.startswith("text/html")
        assert reply.body.startswith(b"<!DOCTYPE HTML>")
    else:
        assert reply.body == whole.body


@pytest.mark.parametrize("quirk", GRANTS)
def test_fewer_ranges_are_given_than_there_are_and_who_waits_is_closed(books: Books, quirk: str) -> None:
    books.submit(Task(1001, 4001, 5001, 20, jobs=2, state="activated"))
    books.set_state(5001, "running")
    got = data(acquire(PandaServer(books, quirks={quirk: 1.0}), 5))
    assert isinstance(got, list)
    assert len(got) == 0 if quirk == "spurious-empty" else len(got) < 5
    assert books.counts() == {key: n for key, n in (("ready", 20 - len(got)), ("sent", len(got))) if n}
    assert [job.state for job in books.jobs()] == ["running", "closed"]


def test_a_rolled_back_report_has_a_word_too_many(task: Books) -> None:
    names = [str(each["eventRangeID"]) for each in task.acquire_event_ranges(5001, 4001, 2) or ()]
    said = data(report(PandaServer(task, quirks={"rollback": 1.0}), *names))
    assert said == {"Returns": "[true, true, false]", "Commands": '{"5001": null}'}


def test_the_database_is_down_for_some_calls_in_a_row() -> None:
    quirks = Quirks({"database-down": 0.05}, Random(3))
    struck = "".join("#" if "database-down" in quirks.strike() else "." for _ in range(2000))
    outages = {len(each) for each in struck.split(".") if each}
    assert len(outages) > 1
    assert {1, LONGEST_OUTAGE} <= outages
    assert struck.count("#") < 1000


def test_one_seed_is_one_run() -> None:
    def run(seed: int) -> list[frozenset[str]]:
        quirks = Quirks(list(QUIRKS), Random(seed))
        return [quirks.strike() for _ in range(50)]

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_a_server_without_quirks_draws_nothing(task: Books) -> None:
    chance = Random(1)
    before = chance.getstate()
    acquire(PandaServer(task, chance=chance), 5)
    assert chance.getstate() == before


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (["lost-replies"], "there is no quirk 'lost-replies'"),
        ({"rollback": 1.5}, "between 0 and 1, not 1.5"),
        ({"rollback": float("nan")}, "between 0 and 1, not nan"),
    ],
)
def test_what_is_no_quirk_is_refused(books: Books, wanted: object, why: str) -> None:
    with pytest.raises(UnusableInput, match=why):
        PandaServer(books, quirks=wanted)


def test_what_is_no_generation_is_refused(books: Books) -> None:
    with pytest.raises(UnusableInput, match="there is no generation 'v2'; known are: legacy, v1"):
        PandaServer(books, generations=["v2"])


@pytest.mark.parametrize("seed", range(10))
def test_with_all_quirks_at_once_a_patient_pilot_finishes_every_range(books: Books, seed: int) -> None:
    books.submit(Task(1001, 4001, 5001, 30, state="activated"))
    server = PandaServer(books, quirks=USUAL, chance=Random(seed))
    for _ in range(200):
        books.sweep(0.0)
        for waiting in books.acquire_jobs("TEST_ES"):
            run(server, books, int(str(waiting["PandaID"])))
        if books.counts()["done"] == 30:
            return
    raise AssertionError(books.counts())


def run(server: PandaServer, books: Books, panda_id: int) -> None:
    """A pilot that believes nothing but the books: it asks a few times, and reports until it is booked."""
    for _ in range(5):
        acquire(server, 10, panda_id)
        while held := [row.event_range_id for row in books.ranges(1001, panda_id) if row.status == "sent"]:
            report(server, *held)
    while not any(job.panda_id == panda_id and job.state == "holding" for job in books.jobs()):
        post(server, "pilot/update_job", job_id=panda_id, job_status="finished")


# --- who asks ---


@pytest.mark.parametrize(
    ("who", "legacy", "v1"),
    [
        (PILOT, b'{"StatusCode": 0, "eventRanges": []}', '{"success": true, "message": "", "data": []}'),
        (Who("/CN=x", ("/atlas/Role=pilot",)), b'{"StatusCode": 0, "eventRanges": []}', '{"success": true, "mess'),
        (NOBODY, b"failed to retrieve DN", "SSL secure connection is required"),
        (Who("/CN=x"), b"production or pilot role is required", "production or pilot role required"),
        (
            Who("/CN=x/CN=limited proxy", PILOT.fqans),
            b'{"StatusCode": 0, "eventRanges": []}',
            "SSL secure connection is required",
        ),
    ],
    ids=["production", "pilot", "nobody", "no role", "limited proxy"],
)
def test_ranges_are_for_pilots(task: Books, who: Who, legacy: bytes, v1: str) -> None:
    server = PandaServer(task)
    headers = {"Accept": "application/json"}
    old = Call("GET", "/server/panda/getEventRanges?pandaID=5001&jobsetID=4001&nRanges=0", headers)
    new = b'{"job_id": 5001, "jobset_id": 4001, "n_ranges": 0}'
    assert server.answer(old, who).body == legacy
    assert v1 in server.answer(Call("POST", "/api/v1/event/acquire_event_ranges", JSON, new), who).body.decode()


@pytest.mark.parametrize("method", ["getJob?siteName=X", "updateJob?jobId=5001&state=running"])
def test_jobs_are_for_pilots(task: Books, method: str) -> None:
    call = Call("GET", f"/server/panda/{method}", {"Accept": "application/json"})
    said = json.loads(PandaServer(task).answer(call, Who("/CN=x")).body)
    assert said == {"StatusCode": 60, "errorDialog": "no production/pilot role in VOMS FQANs or non pilot owner"}


# --- what is asked wrongly, and was not recorded ---


@pytest.mark.parametrize(
    ("path", "said", "status", "words"),
    [
        ("/api/v1/pilot/update_job", b"[]", 500, "argument after ** must be a mapping"),
        ("/api/v1/event/acquire_event_ranges", b'{"job_id": %d, "jobset_id": 1}' % (2**70), 500, "too large"),
        ("/api/v1/pilot/update_job", b"\xff", 500, "'utf-8' codec can't decode byte 0xff"),
        ("/api/v1/pilot/update_job", b"[" * 100_000, 500, "recursion"),
        (
            "/api/v1/pilot/update_job",
            b'{"job_id": 5001, "job_status": "failed", "trans_exit_code": "1"}',
            200,
            "Type error: 'trans_exit_code' must be of type int, got str.",
        ),
        (
            "/api/v1/pilot/update_job",
            b'{"job_id": 5001, "job_status": "failed", "mine": 1}',
            200,
            "Argument error: got an unexpected keyword argument 'mine'",
        ),
        ("/api/v1/pilot/update_jobs_bulk", b'{"job_list": [5]}', 500, "argument after ** must be a mapping"),
        (
            "/api/v1/event/acquire_event_ranges",
            b'{"job_id": 5001, "jobset_id": 4001, "n_ranges": -1}',
            200,
            "database error in the PanDA server",
        ),
        (
            "/api/v1/event/update_event_ranges",
            b'{"event_ranges": "[{"}',
            200,
            '"data": {"Returns": "\\"", "Commands": "E"}',
        ),
        ("/server/panda/getEventRanges", b"{}", 500, "Not a gzipped file"),
    ],
)
def test_what_is_asked_wrongly_is_answered_as_python_complains(
    task: Books, path: str, said: bytes, status: int, words: str
) -> None:
    reply = PandaServer(task).answer(Call("POST", path, JSON, said))
    assert reply.status == status
    assert words in reply.body.decode()


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("", "getEventRanges() missing 2 required positional arguments: 'pandaID' and 'jobsetID'"),
        ("pandaID=1&extra=", "getEventRanges() got an unexpected keyword argument 'extra'"),
    ],
)
def test_a_legacy_method_is_called_as_python_calls(task: Books, query: str, complaint: str) -> None:
    reply = PandaServer(task).answer(Call("GET", f"/server/panda/getEventRanges?{query}", {}))
    assert (reply.status, reply.body.decode()) == (500, complaint)


def test_a_query_of_v1_is_cast_or_refused(task: Books) -> None:
    path = "/api/v1/event/get_available_event_range_count?job_id=5001&jobset_id=4001&task_id="
    server, headers = PandaServer(task), {"Accept": "application/json"}
    assert data(server.answer(Call("GET", path + "1001", headers))) == 20
    said = json.loads(server.answer(Call("GET", path + "abc", headers)).body)
    assert said["message"] == "Type error: 'task_id' could not be casted to type int."


def test_a_heartbeat_of_no_job_is_passed_over(task: Books) -> None:
    call = Call("GET", "/server/panda/updateJob?jobId=NULL&state=running", {"Accept": "application/json"})
    assert json.loads(PandaServer(task).answer(call).body) == {"StatusCode": 0}
    assert task.heartbeats() == []


@pytest.mark.parametrize(("n", "given"), [("abc", 8), ("3", 3), ("", 8)])
def test_a_number_of_ranges_that_is_none_is_eight(task: Books, n: str, given: int) -> None:
    path = f"/server/panda/getEventRanges?pandaID=5001&jobsetID=4001&nRanges={n}"
    call = Call("GET", path, {"Accept": "application/json"})
    assert len(json.loads(PandaServer(task).answer(call).body)["eventRanges"]) == given


@pytest.mark.parametrize(
    ("jobs", "said"),
    [
        ("[]", [True, []]),
        ("5", [False, "updateJobsInBulk h failed with TypeError 'int' object is not iterable"]),
        ('[{"jobId": 5001}]', [False, "updateJobsInBulk h failed with TypeError updateJob() missing 1 required"]),
    ],
)
def test_a_bad_bulk_is_answered_with_its_complaint(task: Books, jobs: str, said: list[object]) -> None:
    call = Call("GET", f"/server/panda/updateJobsInBulk?jobList={jobs}&harvester_id=h", {})
    done, what = json.loads(PandaServer(task).answer(call).body)
    assert done == said[0]
    assert what == said[1] or str(what).startswith(str(said[1]))
