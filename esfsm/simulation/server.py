"""A simulated PanDA: its table of event ranges, and the words in which the real one answers.

The habits were seen at panda-server 0.8.1 and 1.0.4: one more `false` after each report with a finished range on
PostgreSQL, HTTP 500 after the commit in API v1, `[false]` while the database is down, a whole report rolled back behind
`[true, true, false]`, empty answers while ranges are ready, and `true` for what changes nothing.
"""

from dataclasses import dataclass, field
from random import Random
from typing import Any
from urllib.parse import parse_qsl

import orjson

from esfsm.wire.panda.calls import Call

__all__ = ["HABITS", "TASK_ID", "Row", "Server"]

HABITS = ("exact", "postgres", "v1", "local")
"""To the letter; with PostgreSQL's additional `false`; API v1 with its 500; a broker that knows its requests."""
TASK_ID, FILE_ID = 41000456, 990001
MAX_ATTEMPT = 3
ACTIVE = ("sent", "running", "starting", "transferring")
"""The states of a job whose reports are booked."""


@dataclass(slots=True)
class Row:
    """One attempt at one range."""

    position: int
    attempt: int
    """How many attempts are left, this one included."""
    panda_id: int
    status: str = "sent"
    archive: tuple[str, int, str] | None = None
    """LFN, size in bytes, adler32."""
    words: list[str] = field(default_factory=list)
    """Every final word that was ever said about it while its job was active."""


class Server:
    """The server of one task with `n` ranges."""

    def __init__(self, chance: Random, n: int, habit: str) -> None:
        self.chance, self.habit = chance, habit
        self.ready = [(position, MAX_ATTEMPT) for position in range(1, n + 1)]
        self.ready.reverse()
        self.rows: dict[str, Row] = {}
        self.jobs: dict[int, str] = {}
        self.commands: dict[int, str] = {}
        self.requests: dict[str, list[str]] = {}
        self.fatal: set[int] = set()
        """Positions without an attempt left."""
        self.request = ""
        """What the broker of habit `local` is told beside the next request for ranges."""

    # --- what a client may ask ---

    def refuses(self, call: Call) -> str | None:
        """What the real one says, with HTTP status 403, of a method that it does not have."""
        is_v1 = call.path.startswith("/api/v1/")
        knows = is_v1 if self.habit == "v1" else not is_v1 or (self.habit == "postgres" and call.verb == "GET")
        return None if knows else "ERROR : method is forbidden"

    def answer(self, call: Call, rolled_back: bool) -> tuple[int, str]:
        """Do what is asked; HTTP status and body."""
        said = _arguments(call)
        match call.path.rpartition("/")[2].partition("?")[0]:
            case "getEventRanges" | "acquire_event_ranges":
                panda_id, n = (int(said[name]) for name in said if name in ("job_id", "pandaID", "n_ranges", "nRanges"))
                return 200, self.acquire(panda_id, n, self.request)
            case "updateEventRanges" | "update_event_ranges":
                reply = self.update(orjson.loads(said.get("event_ranges") or said["eventRanges"]), rolled_back)
                return (500, "unhashable type: 'list'") if self.habit == "v1" else (200, reply)
            case "updateJob" | "update_job":
                state = str(said.get("job_status") or said["state"])
                return 200, self.update_job(int(said.get("job_id") or said["jobId"]), state)
            case _:
                (job,) = orjson.loads(said["job_task_ids"])
                return 200, self.statuses(job["panda_id"])

    def acquire(self, panda_id: int, n: int, request: str) -> str:
        """getEventRanges, or acquire_event_ranges."""
        if self.habit == "local" and request in self.requests:
            names = [name for name in self.requests[request] if self.rows[name].status == "sent"]
        elif self.jobs.get(panda_id) not in ACTIVE or panda_id in self.commands:
            names = []
        else:
            names = [self._send(panda_id) for _ in range(min(n, len(self.ready)))]
            self.requests[request] = names
        ranges = [
            {
                "eventRangeID": name,
                "startEvent": self.rows[name].position,
                "lastEvent": self.rows[name].position,
                "LFN": f"EVNT.{TASK_ID}._000001.pool.root.1",
                "GUID": "8A1F0C1E-0000-0000-0000-000000000001",
                "scope": "simulated",
            }
            for name in names
        ]
        return _text(
            {"success": True, "message": "", "data": ranges} if self.habit == "v1" else _ok(eventRanges=ranges)
        )

    def empty(self) -> str:
        """What the real one says when several consumers come at once, though ranges are ready."""
        return _text({"success": True, "message": "", "data": []} if self.habit == "v1" else _ok(eventRanges=[]))

    def update(self, items: list[dict[str, object]], rolled_back: bool = False) -> str:
        """updateEventRanges: books each range; or, `rolled_back`, none, with the words that the real one says then."""
        words: list[bool | None] = []
        commands: dict[str, str | None] = {}
        finished = False
        for item in items:
            archive = item.get("zipFile")
            inside = item.get("eventRanges")
            for one in inside if isinstance(inside, list) else [item]:
                word, panda_id = self._book(str(one["eventRangeID"]), str(one["eventStatus"]), archive, rolled_back)
                words.append(word)
                finished = finished or one["eventStatus"] == "finished"
                if panda_id is not None:
                    commands[str(panda_id)] = self.commands.get(panda_id) if word else "tobekilled"
        if rolled_back:
            words = [*words[: self.chance.randrange(len(words) + 1)], False]
        if self.habit == "postgres" and finished and not rolled_back:
            words.append(False)
        return _text(_ok(Returns=words, Command=commands))

    def statuses(self, panda_id: int) -> str:
        """get_event_range_statuses."""
        rows = {
            name: {"status": row.status, "error": None, "dialog": None}
            for name, row in self.rows.items()
            if row.panda_id == panda_id
        }
        return _text({"success": True, "message": "", "data": {str(panda_id): rows}})

    def update_job(self, panda_id: int, state: str) -> str:
        """updateJob: `running`, or a final state, after which what is left over goes to others."""
        if self.jobs.get(panda_id) not in ACTIVE:
            return _text(_ok(command="alreadydone" if state in ("finished", "failed") else "tobekilled"))
        self.jobs[panda_id] = state
        if state in ("finished", "failed"):
            self._end(panda_id)
        return _text(_ok(command=self.commands.get(panda_id) or "NULL"))

    # --- what happens by itself ---

    def lost_heartbeat(self, panda_id: int) -> None:
        """Nothing was heard of a job for hours: it is failed, and its ranges go to others."""
        if self.jobs.get(panda_id) in ACTIVE:
            self.jobs[panda_id] = "failed"
            self._end(panda_id)

    def _send(self, panda_id: int) -> str:
        position, attempt = self.ready.pop()
        name = f"{TASK_ID}-{panda_id}-{FILE_ID}-{position}-{attempt}"
        self.rows[name] = Row(position, attempt, panda_id)
        return name

    def _book(self, name: str, word: str, archive: object, rolled_back: bool) -> tuple[bool | None, int | None]:
        """One range; the first final word stays, and a range that nobody knows is answered `true`."""
        panda_id = int(name.split("-")[1])
        if self.jobs.get(panda_id) not in ACTIVE:
            return False, panda_id
        row = self.rows.get(name)
        if row is not None and not rolled_back:
            row.words.append(word)
            if row.status == "sent":
                row.status = word
                if isinstance(archive, dict):
                    row.archive = (archive["lfn"], archive["fsize"], archive["adler32"])
        return True, panda_id

    def _end(self, panda_id: int) -> None:
        for row in self.rows.values():
            if row.panda_id != panda_id:
                continue
            if row.status == "finished":
                row.status = "done"
            elif row.status in ("sent", "failed"):
                row.status = "cancelled" if row.status == "sent" else "failed"
                if row.attempt > 1:
                    self.ready.append((row.position, row.attempt - 1))
                else:
                    self.fatal.add(row.position)


def _arguments(call: Call) -> dict[str, Any]:
    """In whatever form they come."""
    if call.verb == "POST" and call.headers["Content-Type"] == "application/json":
        said: dict[str, Any] = orjson.loads(call.body)
        return said
    return dict(parse_qsl(call.body.decode() or call.path.partition("?")[2]))


def _ok(**content: object) -> dict[str, object]:
    return {"StatusCode": 0, **content}


def _text(answer: object) -> str:
    return orjson.dumps(answer).decode()
