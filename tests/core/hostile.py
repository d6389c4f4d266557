"""A hostile world around one Event Service job: broker, payload, storage, server, and a power switch.

It does by the letter what `run.py`, `perform.py` and the adapters do around the core, but in any order and with any
trouble: whatever an action does outside happens, and then its fact may be late, or lost with the engine.
"""

import random
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from zlib import crc32

from esfsm.core import actions as a
from esfsm.core import facts as f
from esfsm.core.engine import Engine
from esfsm.errors import PilotErrorCode
from esfsm.model.settings import Settings

from .worlds import BEGAN, HELD, TABLES, event_range

RANGES_IN_ALL = 12
PATIENCE = 3000
"""Steps after which a job should have ended, once nobody makes trouble on purpose any more."""


@dataclass
class Server:
    """The broker and the books: the first final word about a range stays."""

    left: int = RANGES_IN_ALL
    answers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    sent: list[str] = field(default_factory=list)
    booked: dict[str, str] = field(default_factory=dict)
    disowned: set[str] = field(default_factory=set)

    def grant(self, n: int, request: str, forgets: bool) -> tuple[str, ...]:
        """The same request gets the same ranges, but for a server that `forgets` requests."""
        if request not in self.answers or forgets:
            n = min(n, self.left)
            self.left -= n
            ids = tuple(f"1-2-{len(self.sent) + i}-1" for i in range(n))
            self.sent += ids
            self.answers[request] = ids
        return self.answers[request]

    def book(self, report, storage: dict[str, frozenset[str]], disowns: frozenset[str]) -> tuple[str, ...]:
        """Book a report; returns what is refused."""
        word = "finished" if report.archive else "failed"
        if report.archive:
            assert set(report.event_range_ids) <= storage[report.archive.lfn], "reported before it was stored"
        else:
            assert report.error_code, "a range is reported failed and nobody knows why"
        assert len(set(report.event_range_ids)) == len(report.event_range_ids)
        for event_range_id in report.event_range_ids:
            if event_range_id in disowns and event_range_id not in self.booked:
                self.disowned.add(event_range_id)
            if event_range_id not in self.disowned:
                assert self.booked.setdefault(event_range_id, word) == word, "two words about one range"
        return tuple(i for i in report.event_range_ids if i in self.disowned)


@dataclass
class Payload:
    """One process, and the ranges in the stock of its ESProcess."""

    number: int
    stock: deque[str] = field(default_factory=deque)
    inside: list[str] = field(default_factory=list)
    asked: bool = False
    last: bool = False
    stopped: bool = False


class World:
    """Everything around the engine, and the engine."""

    def __init__(self, chance: random.Random, **settings: object) -> None:
        self.chance = chance
        self.settings = self.first_settings = Settings(**settings)
        self.server = Server()
        self.storage: dict[str, frozenset[str]] = {}
        self.disk: dict[str, frozenset[str]] = {}
        self.vanished: set[str] = set()
        self.journal: list[f.Fact] = []
        self.decided: list[list[str]] = []
        self.now = BEGAN
        self._live()
        self._start(self.engine.begin())

    def _live(self) -> None:
        self.engine = Engine(TABLES["eventservice"], HELD, self.first_settings)
        self.inbox: deque[f.Fact] = deque()
        self.pending: dict[int, a.Action] = {}
        self.alarms: dict[int, float] = {}
        self.payload: Payload | None = None

    # --- the engine's side -----------------------------------------------------------------------------------

    def hear(self) -> None:
        """The engine hears the next fact: written down, decided, begun."""
        fact = replace(self.inbox.popleft(), at=self.now)
        self.journal.append(fact)
        actions = self.engine.receive(fact)
        self.decided.append([a.gist(action) for action in actions])
        self._start(actions)

    def restart(self, settings: Settings) -> None:
        """The power fails, or the job is taken up again: only the journal, the disk and the others remain."""
        before = self.engine
        self._live()
        self.settings = settings
        self.engine.begin()
        for fact, decided in zip(self.journal, self.decided, strict=True):
            assert [a.gist(action) for action in self.engine.receive(fact)] == decided
        assert self.engine.outstanding() == before.outstanding()
        assert self.engine.state == before.state
        resumed = f.JobResumed(settings=settings.model_dump(mode="json"), at=self.now)
        self.journal.append(resumed)
        self.decided.append([a.gist(action) for action in self.engine.receive(resumed)])
        self._start(self.engine.outstanding())

    def _start(self, actions) -> None:
        for action in actions:
            match action:
                case a.Note():
                    self.inbox.append(replace(action.fact, answers=action.number))
                case a.SetAlarm():
                    self.alarms[action.number] = action.when
                case a.StockRanges():
                    if self.payload:
                        assert not (self.payload.last and action.event_ranges), "there was to be no more"
                        self.payload.stock += [r.event_range_id for r in action.event_ranges]
                        self.payload.last, self.payload.asked = action.last, False
                case a.Stop():
                    if self.payload and action.target == self.payload.number:
                        self.payload.stopped = True
                case _:
                    assert action.number not in self.pending
                    self.pending[action.number] = action

    # --- the others ------------------------------------------------------------------------------------------

    def perform(self, number: int, trouble: str = "") -> None:
        """Do an action, with or without trouble; its answer waits in the inbox."""
        action = self.pending.pop(number)
        if trouble == "broke":
            fact = f.ActionBroke(why="nobody foresaw it")
        else:
            fact = getattr(self, f"_{action.name}")(action, trouble)
        if fact:
            self.inbox.append(replace(fact, answers=number))

    def _classify_job(self, _, trouble):
        return f.JobRefused(why="no") if trouble else f.JobClassified(kind="eventservice", why="eventService is set")

    def _select_executor(self, _, trouble):
        return (
            f.ExecutorUnavailable(why="no")
            if trouble
            else f.ExecutorSelected(payload_executor="eventservice", executor_type="generic", why="default")
        )

    def _stage_in(self, _, trouble):
        return f.StageInFailed(error_code=1099, why="no") if trouble else f.InputsStaged()

    def _run_es_payload(self, action, trouble):
        if trouble:
            return f.PayloadFailed(exit_code=127, error_code=1310, why="it cannot be started")
        assert self.payload is None, "two payloads of one job"
        self.payload = Payload(action.number)
        return f.PayloadStarted(pid=17, started=42)

    def _request_ranges(self, action, trouble):
        if trouble == "empty":
            return f.RangesGranted(event_ranges=())
        ids = self.server.grant(action.n, str(action.request), forgets=trouble == "forgets")
        if trouble == "unanswered":
            return f.RequestUnanswered(why="timeout")
        if trouble == "repeats":
            ids = tuple(self.server.sent[-3:])
        if not ids:
            return f.RangesExhausted()
        return f.RangesGranted(event_ranges=tuple(map(event_range, ids)), exhausted=not self.server.left)

    def _pack_outputs(self, action, trouble):
        if trouble == "failed":
            return f.PackFailed(error_code=1098, why="no space left")
        assert len({member.name for member in action.members}) == len(action.members)
        ids = list(dict.fromkeys(member.event_range_id for member in action.members))
        if trouble == "lost":
            self.vanished.update(self.chance.sample(ids, self.chance.randint(1, len(ids))))
        kept = frozenset(ids) - self.vanished
        assert self.storage.get(action.lfn, kept) == kept, "one name, two contents"
        self.disk[action.lfn] = kept
        return f.OutputsPacked(size_bytes=len(kept), adler32=_sum(kept), lost=tuple(i for i in ids if i not in kept))

    def _store_archive(self, action, trouble):
        if action.rse and not self.settings.failover_url:
            return f.ActionBroke(why="the life that takes the job up has no such storage")
        if trouble == "failed":
            return f.StoreFailed(error_code=1137, why="the storage is down")
        content = self.disk[action.lfn]
        assert content
        assert (action.size_bytes, action.adler32) == (len(content), _sum(content))
        assert self.storage.setdefault(action.lfn, content) == content, "one name, two contents"
        if trouble == "unsure":
            return f.StoreFailed(error_code=1137, why="it was copied, and could not be read back")
        return f.ArchiveStored(url=f"file:///{action.rse}/{action.lfn}")

    def _report_ranges(self, action, trouble):
        if trouble == "unanswered":
            return f.ReportUnanswered(why="timeout")
        ids = action.report.event_range_ids
        disowns = frozenset(self.chance.sample(ids, self.chance.randint(1, len(ids)))) if trouble == "disowns" else ()
        refused = self.server.book(action.report, self.storage, frozenset(disowns))
        if trouble == "unsure":
            return f.ReportUnanswered(why="500 Internal Server Error")
        return f.RangesAcknowledged(refused=refused, why="not yours" if refused else "")

    def _report_job(self, action, trouble):
        report = action.report
        assert report.state in ("finished", "failed")
        assert self.engine.ranges.ledger.open == 0, "the job is reported while ranges are on their way"
        return f.JobUnreported(why="timeout") if trouble else f.JobReported()

    # --- the payload -----------------------------------------------------------------------------------------

    def payload_says(self, fact: f.Fact) -> None:
        self.inbox.append(replace(fact, answers=self.payload.number))

    def payload_wants(self, n: int) -> None:
        self.payload.asked = True
        self.payload_says(f.RangesWanted(n=n))

    def payload_takes(self) -> None:
        event_range_id = self.payload.stock.popleft()
        self.payload.inside.append(event_range_id)
        self.payload_says(f.RangesSent(event_range_ids=(event_range_id,)))

    def payload_announces(self, event_range_id: str) -> None:
        if event_range_id in self.payload.inside:
            self.payload.inside.remove(event_range_id)
        path = f"/w/HITS.{event_range_id}"
        self.vanished.discard(event_range_id)
        self.payload_says(f.OutputProduced(event_range_id=event_range_id, paths=(path,), size_bytes=1))

    def payload_gives_up(self, event_range_id: str) -> None:
        if event_range_id in self.payload.inside:
            self.payload.inside.remove(event_range_id)
        self.payload_says(f.RangeErrored(event_range_id=event_range_id, why="ERR_ATHENAMP_PROCESS"))

    def payload_ends(self, exit_code: int = 0) -> None:
        if exit_code:
            self.payload_says(f.PayloadFailed(exit_code=exit_code, error_code=1305, why=f"exit code {exit_code}"))
        else:
            self.payload_says(f.PayloadFinished())
        self.payload = None

    # --- to the end ------------------------------------------------------------------------------------------

    def go_on_to_the_end(self, troubles: dict[str, str]) -> None:
        """Nobody interferes any more, though what is in `troubles` fails each time; the job ends."""
        for _ in range(PATIENCE):
            if self.engine.ended and not self.inbox:
                return
            self.good_step(troubles)
        raise AssertionError(f"the job has not ended: {self.engine.state}, {self.engine.outstanding()}")

    def good_step(self, troubles: Mapping[str, str] = MappingProxyType({})) -> None:
        """The next thing happens as it should, but for the actions in `troubles`."""
        if self.inbox:
            self.hear()
        elif self.pending:
            number, action = next(iter(self.pending.items()))
            self.perform(number, troubles.get(action.name, ""))
        elif self.payload:
            self._payload_goes_on()
        elif not self.engine.ended:
            assert self.alarms, f"nothing is going on in {self.engine.state}, and the job has not ended"
            self.ring()

    def _payload_goes_on(self) -> None:
        payload = self.payload
        if payload.inside:
            self.payload_announces(payload.inside[0])
        elif payload.stopped or (payload.last and not payload.stock):
            self.payload_ends()
        elif payload.stock:
            self.payload_takes()
        elif not payload.asked:
            self.payload_wants(2)
        else:
            assert self.alarms, "the payload waits for ranges and nobody sees to it"
            self.ring()

    def ring(self) -> None:
        number = min(self.alarms, key=self.alarms.get)
        self.now = max(self.now, self.alarms.pop(number))
        self.inbox.append(f.AlarmRang(answers=number))

    def check(self) -> None:
        """What must be true at any time."""
        ledger = self.engine.ranges.ledger
        finished = [i for i in self.server.sent if i in ledger and ledger[i] == "finished"]
        assert all(self.server.booked[i] == "finished" for i in finished)
        assert ledger.events_finished == 10 * len(finished)
        assert sum(ledger.counts().values()) == len(ledger)

    def check_end(self) -> None:
        """What must be true when the job has ended."""
        ledger, booked = self.engine.ranges.ledger, self.server.booked
        assert ledger.open == 0
        assert not self.engine.ranges.stageout.batches
        for event_range_id in (i for i in self.server.sent if i in ledger):
            state = ledger[event_range_id]
            assert state in ("finished", "failed", "released", "refused")
            if state in ("finished", "failed"):
                assert booked[event_range_id] == state
            elif state == "released":
                assert event_range_id not in booked
        assert set(booked) <= {i for i in self.server.sent if i in ledger}
        if self.engine.state == "failed":
            assert self.engine.trouble[0] != PilotErrorCode.NONE
        archives = [copy.lfn for copy in self.engine.ranges.stageout.staged]
        assert len(archives) == len(set(archives))
        assert set(archives) <= set(self.storage)


def _sum(ids: frozenset[str]) -> str:
    return f"{crc32(' '.join(sorted(ids)).encode()):08x}"
