"""A hostile world around one Event Service job: broker, payload, storage, server, and a power switch.

It does by the letter what `run.py`, `perform.py` and the adapters do around the core, but in any order and with any
trouble: whatever an action does outside happens, and then its fact may be late, or lost with the engine.
"""

import random
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from zlib import crc32

from esfsm.core import actions as a
from esfsm.core import facts as f
from esfsm.core.engine import Engine
from esfsm.errors import PilotErrorCode
from esfsm.model.resources import Resources
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

    def book(self, report, storage: dict[str, frozenset[str]], passes_over: set[str], disowns: set[str]) -> None:
        """Book a report, but for what it passes over; what it disowns is not ours any more, unless it is booked."""
        word = "finished" if report.archive else "failed"
        if report.archive:
            assert set(report.event_range_ids) <= storage[report.archive.lfn], "reported before it was stored"
        else:
            assert report.error_code, "a range is reported failed and nobody knows why"
        assert len(set(report.event_range_ids)) == len(report.event_range_ids)
        self.disowned |= disowns - self.booked.keys()
        for event_range_id in set(report.event_range_ids) - passes_over - self.disowned:
            assert self.booked.setdefault(event_range_id, word) == word, "two words about one range"


@dataclass
class Payload:
    """One process, and the ranges in the stock of its ESProcess."""

    number: int
    stock: deque[str] = field(default_factory=deque)
    inside: list[str] = field(default_factory=list)
    asked: bool = False
    has_asked: bool = False
    last: bool = False
    stopped: bool = False
    adopted: bool = False

    def orphaned(self, sent: int) -> "Payload":
        """As it outlives its engine: with what it had, and so many more ranges that nobody wrote down as sent."""
        return Payload(self.number, inside=[*self.inside, *list(self.stock)[:sent]], adopted=True)


class World:
    """Everything around the engine, and the engine."""

    def __init__(self, chance: random.Random, **settings: object) -> None:
        self.chance = chance
        self.settings = self.first_settings = Settings(**settings)
        self.server = Server()
        self.storage: dict[str, frozenset[str]] = {}
        self.disk: dict[str, frozenset[str]] = {}
        self.lost: set[str] = set()
        """Archives that vanished from the disk."""
        self.files: dict[str, int] = {}
        """The output of each range, as the time when it was changed last."""
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
        self.stopped: set[int] = set()
        """Actions that are to end, or not to begin."""
        self.payload: Payload | None = None

    # --- the engine's side -----------------------------------------------------------------------------------

    def hear(self) -> None:
        """The engine hears the next fact: written down, decided, begun."""
        fact = replace(self.inbox.popleft(), at=self.now)
        self.journal.append(fact)
        actions = self.engine.decide(fact).actions
        self.decided.append([a.gist(action) for action in actions])
        self._start(actions)

    def power_fails(self, settings: Settings) -> None:
        """Neither engine nor payload survives, and not every archive that was written."""
        self._lose([lfn for lfn in self.disk if self.chance.random() < 0.3])
        self.restart(settings)

    def engine_dies(self, settings: Settings) -> None:
        """The payload goes on, if there is one, and the next engine adopts it, if it knows of it."""
        self.restart(settings, survivor=self.payload)

    def restart(self, settings: Settings, survivor: Payload | None = None) -> None:
        """The job is taken up again: only the journal, the disk and the others remain."""
        before = self.engine
        self._live()
        self.settings = settings
        self.engine.begin()
        for fact, decided in zip(self.journal, self.decided, strict=True):
            assert [a.gist(action) for action in self.engine.decide(fact).actions] == decided
        assert [*self.engine.outstanding] == [*before.outstanding]
        assert self.engine.state == before.state
        if survivor and self.engine.adoptable:
            assert self.engine.adoptable.answers == survivor.number
            self.payload = survivor.orphaned(self.chance.randint(0, len(survivor.stock)))
        adopted = self.payload is not None
        resumed = f.JobResumed(settings=settings.model_dump(mode="json"), adopted=adopted, at=self.now)
        self.journal.append(resumed)
        self.decided.append([a.gist(action) for action in self.engine.decide(resumed).actions])
        self._start(self.engine.outstanding)

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
                    self.stopped.add(action.target)
                    if self.payload and action.target == self.payload.number:
                        self.payload.stopped = True
                case a.RunEsPayload() if self.payload:
                    assert self.payload.adopted, "two payloads of one job"
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
        return (
            f.JobRefused(why="no")
            if trouble
            else f.JobClassified(kind="eventservice", why="eventService is set", log="log.tgz")
        )

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
        self.payload = Payload(action.number, stopped=action.number in self.stopped)
        return f.PayloadStarted(pid=17, started=42)

    def _measure_resources(self, _, trouble):
        if trouble == "too much":
            return f.ResourcesMeasured(resources=Resources(free_bytes=0))
        left_s = 0.0 if trouble == "proxy" else None
        return f.ResourcesMeasured(resources=Resources(proxy_left_s=left_s, touched_at=self.now))

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
            for event_range_id in self._some(ids):
                self.files.pop(event_range_id, None)
        kept = frozenset(m.event_range_id for m in action.members if self.files.get(m.event_range_id) == m.stamp)
        self.disk[action.lfn] = kept
        return f.OutputsPacked(size_bytes=len(kept), adler32=_sum(kept), lost=tuple(i for i in ids if i not in kept))

    def _store_archive(self, action, trouble):
        if action.rse and not self.settings.failover_url:
            return f.ActionBroke(why="the life that takes the job up has no such storage")
        if trouble == "failed":
            return f.StoreFailed(error_code=1137, why="the storage is down")
        if trouble == "refused":
            return f.StoreFailed(error_code=1137, why="the quota is used up", final=True)
        if trouble == "lost":
            self._lose([action.lfn])
        content = self.disk.get(action.lfn)
        if content is None:
            assert action.lfn in self.lost, "stored before it was packed"
            return f.ArchiveLost(why="it is not there")
        assert (action.size_bytes, action.adler32) == (len(content), _sum(content))
        if self.storage.setdefault(action.lfn, content) != content:
            assert action.lfn in self.lost, "one name, two contents"
            return f.StoreFailed(error_code=1137, why="there is another file of that name")
        if trouble == "unsure":
            return f.StoreFailed(error_code=1137, why="it was copied, and could not be read back")
        return f.ArchiveStored(url=f"file:///{action.rse}/{action.lfn}")

    def _remove_files(self, action, trouble):
        if trouble == "failed":
            return f.FilesRemoved(left=tuple(file.path for file in action.files))
        for path, stamp in action.files:
            event_range_id = path.removeprefix("/w/HITS.")
            if not stamp:
                assert path in self.storage, "an archive was removed that is nowhere else"
                self.disk.pop(path, None)
                self.lost.add(path)
            elif self.files.get(event_range_id) == stamp:
                assert self.server.booked[event_range_id] == "finished", "an output was removed before it was booked"
                del self.files[event_range_id]
        return f.FilesRemoved()

    def _pack_log(self, action, trouble):
        if trouble == "failed":
            return f.LogFailed(error_code=1320, why="no space left")
        return f.LogPacked(file=f.FileCopy(action.lfn, 1, "00010001", "file:///w/log.tgz"), guid="1B2C")

    def _report_ranges(self, action, trouble):
        if trouble == "unanswered":
            return f.ReportUnanswered(why="timeout")
        ids = action.report.event_range_ids
        disowns = self._some(ids) if trouble == "disowns" else set()
        doubted = self._some(ids) if trouble in ("doubts", "mumbles") else set()
        unheard = self._some(ids) - doubted if trouble in ("skips", "mumbles") else set()
        passes_over = {i for i in ids if i in doubted | unheard and self.chance.random() < 0.5}
        self.server.book(action.report, self.storage, passes_over, disowns)
        if trouble == "unsure":
            return f.ReportUnanswered(why="500 Internal Server Error")
        refused = self.server.disowned - doubted - unheard
        refused, doubted, unheard = (tuple(i for i in ids if i in named) for named in (refused, doubted, unheard))
        return f.RangesAcknowledged(refused=refused, doubted=doubted, unheard=unheard, why="the server is disturbed")

    def _report_job(self, action, trouble):
        report = action.report
        assert report.state in ("finished", "failed")
        assert self.engine.ranges.ledger.open == 0, "the job is reported while ranges are on their way"
        return f.JobUnreported(why="timeout") if trouble else f.JobReported()

    def _some(self, ids: Sequence[str]) -> set[str]:
        return set(self.chance.sample(ids, self.chance.randint(1, len(ids))))

    def _lose(self, lfns: Sequence[str]) -> None:
        for lfn in lfns:
            self.disk.pop(lfn, None)
            self.lost.add(lfn)

    # --- the payload -----------------------------------------------------------------------------------------

    def payload_says(self, fact: f.Fact) -> None:
        self.inbox.append(replace(fact, answers=self.payload.number))

    def payload_wants(self, n: int) -> None:
        self.payload.asked = self.payload.has_asked = True
        self.payload_says(f.RangesWanted(n=n))

    def payload_takes(self) -> None:
        event_range_id = self.payload.stock.popleft()
        self.payload.inside.append(event_range_id)
        self.payload_says(f.RangesSent(event_range_ids=(event_range_id,)))

    def payload_announces(self, event_range_id: str) -> None:
        if event_range_id in self.payload.inside:
            self.payload.inside.remove(event_range_id)
        path, stamp = f"/w/HITS.{event_range_id}", self.files.get(event_range_id, 0) + 1
        self.files[event_range_id] = stamp
        self.payload_says(f.OutputProduced(event_range_id=event_range_id, paths=(path,), stamps=(stamp,), size_bytes=1))

    def payload_gives_up(self, event_range_id: str) -> None:
        if event_range_id in self.payload.inside:
            self.payload.inside.remove(event_range_id)
        self.payload_says(f.RangeErrored(event_range_id=event_range_id, why="ERR_ATHENAMP_PROCESS"))

    def payload_ends(self, exit_code: int = 0) -> None:
        """How an adopted one ended nobody knows; one that nobody told to end is replaced by another."""
        known = None if self.payload.adopted else exit_code
        if self.payload.adopted and not (self.payload.last or self.payload.stopped):
            self.payload_says(f.PayloadGone())
        elif exit_code and not self.payload.adopted and not self.payload.has_asked:
            self.payload_says(f.SetupFailed(exit_code=known, error_code=1305, why=f"exit code {known}"))
        elif exit_code:
            self.payload_says(f.PayloadFailed(exit_code=known, error_code=1305, why=f"exit code {known}"))
        else:
            self.payload_says(f.PayloadFinished(exit_code=known))
        self.payload = None

    # --- to the end ------------------------------------------------------------------------------------------

    def go_on_to_the_end(self, troubles: dict[str, str]) -> None:
        """Nobody interferes any more, though what is in `troubles` fails each time; the job ends."""
        for _ in range(PATIENCE):
            if self.engine.ended and not self.inbox:
                return
            self.good_step(troubles)
        raise AssertionError(f"the job has not ended: {self.engine.state}, {[*self.engine.outstanding]}")

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

    def any_step(self, troubles: Mapping[str, Sequence[str]]) -> None:
        """Something happens, as it should or not."""
        chance = self.chance.random()
        if chance < 0.04 and (not self.engine.ended or self.engine.resumable):
            self.chance.choice([self.power_fails, self.engine_dies])(self.settings)
        elif chance < 0.06:
            self.inbox.append(self.chance.choice([f.Preempted(why="SIGTERM"), f.JobKilled(why="tobekilled")]))
        elif chance < 0.15 and self.pending:
            number = self.chance.choice(list(self.pending))
            self.perform(number, self.chance.choice(troubles[self.pending[number].name]))
        elif chance < 0.18 and self.payload:
            self.payload_ends(self.chance.choice([0, 65]))
        elif chance < 0.25 and self.payload:
            event_range_id = self.chance.choice([*self.server.sent, "1-2-999-1"])
            self.chance.choice([self.payload_announces, self.payload_gives_up])(event_range_id)
        else:
            self.good_step()

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
        """What must be true when the job has ended: each range that was granted has one word, and the server's."""
        ledger, booked, disowned = self.engine.ranges.ledger, self.server.booked, self.server.disowned
        assert set(ledger.counts()) <= set(TABLES["event-range"].ends)
        assert sum(ledger.counts().values()) == len(self.granted())
        words = {
            "finished": lambda i: booked[i] == "finished",
            "failed": lambda i: booked[i] == "failed",
            "released": lambda i: booked.get(i, "failed") == "failed",
            "refused": lambda i: i in disowned,
            "unanswered": lambda i: booked.get(i, "finished") == "finished",
        }
        assert all(words[ledger[i]](i) for i in self.granted())
        assert set(booked) <= self.granted()
        unanswered = {i for batch in self.engine.ranges.stageout.batches.values() for i in batch.event_range_ids}
        assert unanswered == set(ledger.waiting("unanswered"))
        if self.engine.state == "failed":
            assert self.engine.final.trouble[0] != PilotErrorCode.NONE
        staged = {copy.lfn: copy.size_bytes for copy in self.engine.ranges.stageout.staged.values()}
        assert staged.items() <= {lfn: len(content) for lfn, content in self.storage.items()}.items()

    def granted(self) -> set[str]:
        """All ranges that the engine has heard of from the broker; grants that come when all was let go of are no
        ranges of this job."""
        grants, is_over = [], False
        for fact in self.journal:
            if isinstance(fact, f.GraceEnded | f.JobResumed):
                is_over = isinstance(fact, f.GraceEnded)
            elif isinstance(fact, f.RangesGranted) and not is_over:
                grants.append(fact)
        return {event_range.event_range_id for grant in grants for event_range in grant.event_ranges}


def _sum(ids: frozenset[str]) -> str:
    return f"{crc32(' '.join(sorted(ids)).encode()):08x}"
