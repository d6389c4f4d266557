"""The communicator for PanDA at servers of both generations, which reply as the real ones were seen to."""

import json
import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from contract.web import Asked, reply, serving

from esfsm import plugins
from esfsm.adapters.communicators.panda import PandaCommunicator
from esfsm.adapters.communicators.server import PandaServer
from esfsm.errors import UnusableInput, WireError
from esfsm.model.job import Job
from esfsm.model.report import Answer, ArchiveRecord, Grant, JobReport, Report
from esfsm.model.settings import Settings
from esfsm.wire.panda.calls import Call, Reply
from esfsm.wire.panda.jobs import Consumer

NAMES = ("1001-5001-100101-1-10", "1001-5001-100101-2-10")
FINISHED = Report(NAMES, ArchiveRecord("a.tar", 1000, "0badcafe", 117))
FORBIDDEN = Reply(403, b"ERROR : method getEventRanges is forbidden")
NO_RANGES = Reply(200, b'{"StatusCode": 0, "eventRanges": []}')
NO_RANGES_V1 = Reply(200, b'{"success": true, "message": "", "data": []}')
AFTER_COMMIT = Reply(500, b"unhashable type: 'list'")

Replies = list[Reply | str]


class Server:
    """Replies one after the other; a text is what went wrong on the wire."""

    def __init__(self, *replies: Reply | str) -> None:
        self.replies, self.asked = list(replies), []

    def __call__(self, call: Call) -> Reply:
        self.asked.append(call.path.partition("?")[0])
        reply = self.replies.pop(0)
        if isinstance(reply, str):
            raise WireError(reply)
        return reply


@pytest.fixture
def talk() -> Callable[..., tuple[PandaCommunicator, Server]]:
    def talk(*replies: Reply | str) -> tuple[PandaCommunicator, Server]:
        server = Server(*replies)
        return PandaCommunicator(Consumer(5001, 4001, 1001), PandaServer(server)), server

    return talk


def booked(*statuses: str) -> Reply:
    rows = {
        name: {"status": status, "error": None, "dialog": None} for name, status in zip(NAMES, statuses, strict=True)
    }
    return Reply(200, json.dumps({"success": True, "message": "", "data": {"5001": rows}}).encode())


def words(*returns: object, command: str | None = None) -> Reply:
    return Reply(200, json.dumps({"StatusCode": 0, "Returns": returns, "Command": {"5001": command}}).encode())


LEGACY, V1 = "/server/panda/getEventRanges", "/api/v1/event/acquire_event_ranges"


# --- two generations ----------------------------------------------------------------------------------------------


def test_a_server_that_does_not_know_a_method_is_asked_in_the_words_of_the_other_generation_from_then_on(talk) -> None:
    panda, server = talk(FORBIDDEN, NO_RANGES_V1, NO_RANGES_V1)
    assert panda.get_event_ranges(2, "r.0") == panda.get_event_ranges(2, "r.1") == Grant()
    assert server.asked == [LEGACY, V1, V1]


@pytest.mark.parametrize(
    "reply",
    [AFTER_COMMIT, "timed out", Reply(200, b""), Reply(200, b"<html>"), Reply(502, b"proxy")],
    ids=["500", "lost", "empty", "html", "proxy"],
)
def test_what_a_server_or_a_proxy_says_in_trouble_does_not_tell_its_generation(talk, reply: Reply | str) -> None:
    panda, server = talk(reply, FORBIDDEN, NO_RANGES_V1)
    with pytest.raises(WireError):
        panda.get_event_ranges(2, "r.0")
    assert panda.get_event_ranges(2, "r.0") == Grant()
    assert server.asked == [LEGACY, LEGACY, V1]


def test_who_has_no_rights_is_told_so_by_both(talk) -> None:
    panda, server = talk(FORBIDDEN, Reply(403, b"production or pilot role required"))
    with pytest.raises(WireError, match="HTTP 403: production or pilot role required"):
        panda.get_event_ranges(2, "r.0")
    assert server.asked == [LEGACY, V1]


def test_a_server_may_be_replaced_by_one_of_the_other_generation(talk) -> None:
    panda, server = talk(NO_RANGES, FORBIDDEN, NO_RANGES_V1, NO_RANGES_V1, FORBIDDEN, NO_RANGES)
    for _ in range(4):
        assert panda.get_event_ranges(2, "r.0") == Grant()
    assert server.asked == [LEGACY, LEGACY, V1, V1, V1, LEGACY]


def test_no_ranges_is_never_the_end(talk) -> None:
    panda, _ = talk(NO_RANGES)
    assert not panda.get_event_ranges(2, "r.0").exhausted


# --- reports ------------------------------------------------------------------------------------------------------


def test_a_reply_without_doubt_is_believed_and_the_books_stay_closed(talk) -> None:
    panda, server = talk(words(True, True))
    assert panda.update_event_ranges(FINISHED) == Answer(NAMES)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "reply",
    [
        AFTER_COMMIT,
        words(True, True, False),
        words(True),
        words(False, True),
        Reply(200, b"<html>"),
        Reply(200, b""),
        "reset",
    ],
    ids=["500", "one too many", "too short", "false", "html", "empty", "lost"],
)
def test_what_cannot_be_believed_is_looked_up(talk, reply: Reply | str) -> None:
    panda, server = talk(reply, booked("finished", "sent"))
    answer = panda.update_event_ranges(FINISHED)
    assert (answer.accepted, answer.refused, answer.doubted) == (NAMES[:1], (), ())
    assert server.asked[1] == "/api/v1/event/get_event_range_statuses"


@pytest.mark.parametrize("closed", [FORBIDDEN, Reply(404, b"")])
def test_where_the_books_are_closed_a_lost_reply_stays_lost_and_a_doubt_a_doubt(talk, closed: Reply) -> None:
    panda, server = talk("reset", closed, words(False, True))
    with pytest.raises(WireError, match="reset"):
        panda.update_event_ranges(FINISHED)
    assert panda.update_event_ranges(FINISHED).doubted == NAMES[:1]
    assert len(server.asked) == 3, "they are not asked for again"


def test_books_that_are_not_shown_to_somebody_without_a_proxy_are_asked_for_again(talk) -> None:
    panda, _ = talk(AFTER_COMMIT, Reply(403, b"no role"), AFTER_COMMIT, booked("finished", "finished"))
    with pytest.raises(WireError, match="HTTP 403: no role"):
        panda.update_event_ranges(FINISHED)
    assert panda.update_event_ranges(FINISHED).accepted == NAMES


def test_books_that_cannot_be_read_now_leave_it_open(talk) -> None:
    panda, _ = talk(AFTER_COMMIT, Reply(500, b"database"), AFTER_COMMIT, booked("finished", "finished"))
    with pytest.raises(WireError, match="HTTP 500: database"):
        panda.update_event_ranges(FINISHED)
    assert panda.update_event_ranges(FINISHED).accepted == NAMES


@pytest.mark.parametrize("command", ["tobekilled", "softkill", None])
@pytest.mark.parametrize("returns", [(True, True), (True, True, False)], ids=["believed", "looked up"])
def test_a_command_comes_with_the_reply_whatever_the_words_are(
    talk, command: str | None, returns: tuple[bool, ...]
) -> None:
    panda, _ = talk(words(*returns, command=command), booked("finished", "finished"))
    assert panda.update_event_ranges(FINISHED).command == command


KILLED = Reply(200, b'{"StatusCode": 0, "command": "tobekilled"}')


# --- heartbeats ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "word"),
    [
        (words(True, command="softkill"), "softkill"),
        (words(True, True, False, command="softkill"), "softkill"),
        (words(True, command="tobekilled"), "tobekilled"),
        (words(True), "tobekilled"),
        (AFTER_COMMIT, "tobekilled"),
        ("reset", "tobekilled"),
    ],
    ids=["soft", "soft, one word too many", "hard", "none", "500", "lost"],
)
def test_which_kill_it_is_only_the_reply_to_a_report_tells(talk, reply: Reply | str, word: str) -> None:
    panda, server = talk(words(True, True), KILLED, reply)
    panda.update_event_ranges(FINISHED)
    assert panda.update_job(JobReport("running")) == word
    assert server.asked[2] == server.asked[0]


def test_a_job_that_has_reported_nothing_is_killed_as_the_heartbeat_says(talk) -> None:
    panda, server = talk(KILLED)
    assert panda.update_job(JobReport("running")) == "tobekilled"
    assert len(server.asked) == 1


def test_after_the_last_word_about_a_job_nothing_more_is_reported(talk) -> None:
    panda, server = talk(words(True, True), KILLED)
    panda.update_event_ranges(FINISHED)
    assert panda.update_job(JobReport("failed")) == "tobekilled"
    assert len(server.asked) == 2


@pytest.mark.parametrize("word", ["tobekilled", "softkill", "alreadydone"])
def test_a_heartbeat_is_answered_by_a_command(talk, word: str) -> None:
    panda, _ = talk(Reply(200, json.dumps({"StatusCode": 0, "command": word}).encode()))
    assert panda.update_job(JobReport("running")) == word


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, b'{"success": true, "message": "Database error", "data": {"StatusCode": 30}}'),
        Reply(502, b"<html>\n</html>"),
    ],
)
def test_a_heartbeat_that_was_not_booked_is_no_answer(talk, reply: Reply) -> None:
    panda, _ = talk(reply)
    with pytest.raises(WireError):
        panda.update_job(JobReport("running"))


# --- as the settings say ------------------------------------------------------------------------------------------


def test_a_job_asks_the_server_that_its_settings_name_as_who_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "token"
    token.touch(0o600)
    token.write_text("secret")
    monkeypatch.setenv("PANDA_AUTH_TOKEN", str(token))
    monkeypatch.setenv("PANDA_AUTH_ORIGIN", "atlas.pilot")
    seen: list[tuple[str, str, bytes]] = []

    def handle(asked: Asked) -> None:
        body = reply(asked, b'{"success": true, "message": "", "data": {"StatusCode": 0, "command": "NULL"}}')
        seen.append((asked.path, asked.headers["Authorization"], body))

    job = Job.read({"PandaID": 5001, "taskID": 1001, "jobsetID": 4001, "attemptNr": 2})
    with serving(handle) as url:
        settings = Settings(panda_server=url, panda_api="v1", queue="CERN_ES")
        with closing(plugins.find("communicators", "panda")(job, settings, tmp_path, "run")) as panda:
            assert panda.update_job(JobReport("running")) is None
    ((path, authorization, body),) = seen
    said = {
        "job_id": 5001,
        "job_status": "running",
        "attempt_nr": 2,
        "site_name": "CERN_ES",
        "node": socket.gethostname(),
        "core_count": 1,
        "job_metrics": "coreCount=1",
    }
    assert (path, authorization, json.loads(body)) == ("/api/v1/pilot/update_job", "Bearer secret", said)


def test_a_job_without_event_ranges_needs_no_jobset(tmp_path: Path) -> None:
    plugins.find("communicators", "panda")(Job.read({"PandaID": 5001}), Settings(), tmp_path, "run").close()


@pytest.mark.parametrize("missing", ["taskID", "jobsetID"])
def test_a_job_that_panda_did_not_send_has_no_ranges_there(tmp_path: Path, missing: str) -> None:
    definition = {"PandaID": 5001, "taskID": 1001, "jobsetID": 4001, "eventService": "True"}
    del definition[missing]
    with pytest.raises(UnusableInput, match="without taskID and jobsetID"):
        plugins.find("communicators", "panda")(Job.read(definition), Settings(), tmp_path, "run")
