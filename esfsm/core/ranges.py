"""The event ranges of one job: hears what happened to them, says what is due for them.

It joins the three parts: who needs ranges (supply, here), where each stands (`ledger`), and what becomes of the
outputs (`stageout`).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from esfsm.core import facts as f
from esfsm.core.actions import (
    Action,
    Note,
    PackOutputs,
    RemoveFiles,
    ReportRanges,
    RequestRanges,
    StockRanges,
    StoreArchive,
)
from esfsm.core.batch import Output, pause_s
from esfsm.core.ledger import Ledger
from esfsm.core.room import Room
from esfsm.core.stageout import StageOut
from esfsm.core.workflow import Workflow
from esfsm.errors import PilotErrorCode, WorkflowError
from esfsm.model.settings import Settings

__all__ = ["Ranges"]


@dataclass(slots=True)
class _Supply:
    """What the payload needs, and how asking for it goes."""

    wanted: int = 0
    asking: bool = False
    exhausted: bool = False
    held: bool = False
    """Whether there is no room for more ..."""
    ended: bool = False
    """... nor will there be."""
    empty: int = 0
    """How often in a row the server said that it has no ranges, without being sure."""
    tries: int = 0
    not_before: float = 0.0
    why: str = ""


class Ranges:
    """Ledger, supply and stage-out of one job."""

    def __init__(self, table: Workflow, settings: Settings) -> None:
        self.ledger = Ledger(table)
        self.stageout = StageOut(settings)
        self.trouble: tuple[int, str] | None = None
        """Why the job's stage-out failed, if it did: pilot error code and sentence."""
        self.total: int | None = None
        """How many ranges the broker has in all, where it says so."""
        self.cpu_s = 0.0
        """CPU time of all ranges that were announced."""
        self.wall_s = 0.0
        """... their wall time,"""
        self.outputs = 0
        """how many there were,"""
        self.output_bytes = 0
        """and their size."""
        self.strange = 0
        """Results for ranges that the payload does not have: unknown, or announced before."""
        self.unsaved = 0
        """Finished ranges that there was no time to store."""
        self.settings = settings
        self._supply = _Supply()
        self._room = Room()
        self._requests = 0

    def use(self, settings: Settings) -> None:
        """From now on these count."""
        self.settings = self.stageout.settings = settings

    def hear(self, fact: f.Fact, action: Action | None) -> None:
        """Book a fact; `action` is the one that it answers, if any."""
        match fact:
            case f.RangesWanted():
                self._supply.wanted = fact.n
            case f.RangesSent():
                self.ledger.step(fact.name, self.ledger.granted(fact.event_range_ids))
            case f.OutputProduced():
                self._hear_output(fact)
            case f.RangeErrored():
                if self._steps(fact.event_range_id, fact.name):
                    self.stageout.add_failures((fact.event_range_id,), fact.error_code, fact.why)
            case f.RangesReleased():
                self.ledger.step(fact.name, fact.event_range_ids)
            case f.ArchiveRefused(lfn=key) | f.ReportGivenUp(key=key) if not _lets_go(action, key):
                raise WorkflowError(f"batch {key}", "not let go of", fact.name)
            case f.ArchiveRefused():
                batch = self.stageout.refused(fact.lfn)
                self._errored(fact.name, batch.event_range_ids, fact.error_code, fact.why)
                self.trouble = (fact.error_code, f"archive {fact.lfn} could not be stored: {fact.why}")
            case f.ReportGivenUp():
                self.ledger.step(fact.name, self.stageout.given_up(fact.key).event_range_ids)
                self.trouble = (PilotErrorCode.COMMUNICATIONFAILURE, fact.why)
            case f.ResourcesMeasured():
                self._room.measured(fact.resources, self.settings)
            case f.RoomEnded():
                self._supply.ended = True
            case f.GraceEnded():
                self.unsaved += len(self._not_stored)
                self.ledger.step_all(fact.name)
                self.stageout.let_go()
                self._supply = _Supply()
            case f.JobResumed():
                self._hear_resumed(fact)
            case _:
                self._hear_answer(fact, action)

    def payload_gone(self) -> None:
        """Nothing more can be announced."""
        self._supply.wanted = 0
        self.ledger.payload_gone()

    def due(self, now: float, *, feeding: bool, flush: bool) -> list[Action]:
        """What is to be done for the ranges now; `feeding`: a payload is to get more, `flush`: pack all there is.

        Where there is no room for more, what waits is packed now: stored and removed, it makes room.
        """
        due: list[Action] = []
        supply = self._supply
        feeding = feeding and not supply.ended
        fits = self._fits() if feeding and supply.wanted else None
        supply.held = fits == 0
        if supply.wanted and not supply.held:
            due += self._feed(now, fits) if feeding else self._starve()
        for action in self.stageout.due(now, flush=flush or supply.held, ends=flush):
            if isinstance(action, ReportRanges):
                again = [i for i in action.report.event_range_ids if self.ledger[i] == "unanswered"]
                self.ledger.step(f.JobResumed.name, again)
            due.append(action)
        if supply.held and not self.stageout.goes_on and not self.ledger.in_hand:
            why = "the disk has no room for one more output and its archive, and nothing here can go"
            due.append(Note(fact=f.RoomEnded(why=why)))
        return due

    def _fits(self) -> int | None:
        """How many ranges more there is room for; None: for any."""
        output_bytes = self.output_bytes / self.outputs if self.outputs else 0
        return self._room.fits(output_bytes, self.ledger.in_hand, self.stageout.unpacked_bytes)

    def hurry(self, now: float, until: float) -> Iterator[Action]:
        """What waits is to be stored by then; say what will be lost where that cannot be."""
        lost = self.stageout.hurry(now, until)
        if lost:
            takes = f"storing all that is finished takes {self.stageout.unsaved_s():.1f} s"
            why = f"{takes}, and there are {until - now:.1f} s: {len(lost)} event ranges will hardly be stored"
            yield Note(fact=f.LossExpected(event_range_ids=lost, why=why))

    def over(self) -> Note:
        """There is no time left: whatever is not at its end is let go of."""
        why = f"the time is over: {len(self._not_stored)} finished event ranges are not stored"
        return Note(fact=f.GraceEnded(why=why))

    @property
    def _not_stored(self) -> tuple[str, ...]:
        """The ranges that are finished, and only here."""
        return self.ledger.waiting("produced") + self.ledger.waiting("packed")

    @property
    def one_more_s(self) -> float:
        """How long a range takes that runs, on average."""
        return self.wall_s / self.outputs if self.outputs else 0.0

    @property
    def waits_for_us(self) -> bool:
        """Whether the payload has asked for ranges and we have none to give."""
        return self._supply.wanted > 0

    def alarm(self, *, feeding: bool) -> float:
        """When something will be due by time alone."""
        supply, first = self._supply, self.stageout.alarm()
        if feeding and supply.wanted and not (supply.asking or supply.exhausted or supply.held or supply.ended):
            return min(first, supply.not_before)
        return first

    def settle(self) -> Iterator[Action]:
        """The payload is gone: give back what never ran, then say how all of it ended."""
        if self._supply.asking:
            return
        granted = self.ledger.waiting("granted")
        if granted:
            yield Note(fact=f.RangesReleased(event_range_ids=granted))
        elif not self.ledger.open and self.trouble:
            yield Note(fact=f.StageOutFailed(error_code=self.trouble[0], why=self.trouble[1]))
        elif not self.ledger.open:
            yield Note(fact=f.OutputsStaged())

    def _feed(self, now: float, fits: int | None) -> Iterator[Action]:
        supply = self._supply
        wanted = supply.wanted if fits is None else min(supply.wanted, fits)
        stock = self.ledger.hand_over(wanted)
        if stock or supply.exhausted:
            supply.wanted = 0
            yield StockRanges(event_ranges=stock, last=not stock)
        elif not supply.asking and supply.not_before <= now:
            if supply.tries - supply.empty >= self.settings.report_attempts:
                why = f"no event ranges after {supply.tries} requests: {supply.why}"
                yield Note(fact=f.LimitExceeded(error_code=PilotErrorCode.COMMUNICATIONFAILURE, why=why))
                return
            supply.asking = True
            yield RequestRanges(n=wanted, request=self._requests)

    def _starve(self) -> Iterator[Action]:
        """The payload asks although it is to end: nothing more comes."""
        self._supply.wanted = 0
        yield StockRanges(last=True)

    def _hear_output(self, fact: f.OutputProduced) -> None:
        output = Output(fact.paths, fact.size_bytes, fact.at, fact.stamps, fact.wall_s or fact.cpu_s or 1.0)
        if self._steps(fact.event_range_id, fact.name):
            self.stageout.add(fact.event_range_id, output)
            self.cpu_s += fact.cpu_s
            self.wall_s += fact.wall_s
            self.outputs += 1
            self.output_bytes += fact.size_bytes
            self._room.free_bytes -= fact.size_bytes
        else:
            self.stageout.renew(fact.event_range_id, output)

    def _steps(self, event_range_id: str, fact: str) -> bool:
        """A stranger said this: what cannot be is counted and changes nothing."""
        try:
            self.ledger.step(fact, (event_range_id,))
        except WorkflowError:
            self.strange += 1
            return False
        return True

    def _errored(self, fact: str, event_range_ids: tuple[str, ...], error_code: int, why: str) -> None:
        self.ledger.step(fact, event_range_ids)
        if event_range_ids:
            self.stageout.add_failures(event_range_ids, error_code, why)

    def _hear_resumed(self, fact: f.JobResumed) -> None:
        """Whoever asked for ranges was the engine before; what nobody answered it for is reported once more."""
        if fact.adopted:
            self.ledger.adopted()
        else:
            self.payload_gone()
        self._supply, self._room = _Supply(asking=self._supply.asking), Room()
        self.stageout.resume(fact.at)
        if self.trouble and self.trouble[0] == PilotErrorCode.COMMUNICATIONFAILURE:
            self.trouble = None

    def _hear_answer(self, fact: f.Fact, action: Action | None) -> None:
        match action:
            case RequestRanges():
                self._hear_broker(fact)
            case PackOutputs():
                self._hear_packer(fact, action.lfn)
            case StoreArchive():
                self._hear_storage(fact, action)
            case ReportRanges():
                self._hear_server(fact, action)
            case RemoveFiles():
                self.stageout.removing = False
                self._room.free_bytes += action.size_bytes

    def _hear_broker(self, fact: f.Fact) -> None:
        supply = self._supply
        supply.asking = False
        self._requests += isinstance(fact, (f.RangesGranted, f.RangesExhausted))
        new: tuple[str, ...] = ()
        if isinstance(fact, f.RangesGranted):
            self.total = self.total if fact.total is None else fact.total
            supply.empty = 0 if fact.event_ranges else supply.empty + 1
            new = self.ledger.grant(fact.event_ranges)
        if isinstance(fact, f.RangesGranted) and new:
            supply.tries, supply.not_before, supply.exhausted = 0, 0.0, fact.exhausted
        elif isinstance(fact, f.RangesExhausted) or supply.empty >= self.settings.empty_answers:
            supply.exhausted = True
        else:
            supply.tries += 1
            supply.not_before = fact.at + pause_s(self.settings.retry_pause_s, supply.tries)
            supply.why = _why(fact)[1] or "the broker answered with no new range"

    def _hear_packer(self, fact: f.Fact, lfn: str) -> None:
        if not isinstance(fact, f.OutputsPacked):
            self.stageout.failed(lfn, fact.at, *_why(fact))
            return
        batch = self.stageout.batches[lfn]
        lost = tuple(i for i in batch.event_range_ids if i in fact.lost)
        self.ledger.step(fact.name, [i for i in batch.event_range_ids if i not in lost])
        why = "its output vanished, or was changed, before it was packed"
        self._errored("output_lost", lost, PilotErrorCode.MISSINGOUTPUTFILE, why)
        self.stageout.packed(lfn, fact)
        self._room.free_bytes -= fact.size_bytes

    def _hear_storage(self, fact: f.Fact, action: StoreArchive) -> None:
        lfn = action.lfn
        ids = self.stageout.batches[lfn].event_range_ids
        if isinstance(fact, f.ArchiveStored):
            self.ledger.step(fact.name, ids)
            self.stageout.stored(lfn, fact.url, action.rse)
        elif isinstance(fact, f.ArchiveLost):
            self.ledger.step(fact.name, ids)
            self.stageout.lost(lfn, fact.why)
        else:
            self.ledger.step("store_failed", ids)
            self.stageout.store_failed(lfn, fact.at, *_why(fact), final=getattr(fact, "final", False))

    def _hear_server(self, fact: f.Fact, action: ReportRanges) -> None:
        if not isinstance(fact, f.RangesAcknowledged):
            self.stageout.failed(action.key, fact.at, *_why(fact))
            return
        ids = action.report.event_range_ids
        refused, doubted, unheard = (frozenset(named) for named in (fact.refused, fact.doubted, fact.unheard))
        open_or_refused = refused | doubted | unheard
        booked = {i: None for i in ids if i not in open_or_refused}
        self.ledger.step(fact.name, booked)
        self.ledger.step("ranges_refused", [i for i in ids if i in refused])
        if booked:
            self.stageout.booked(action.key, fact.at, booked)
        again = [i for i in ids if i in doubted - refused], [i for i in ids if i in unheard - doubted - refused]
        self.stageout.answered(action.key, fact.at, again[0], again[1], fact.why)


def _lets_go(action: Action | None, key: str) -> bool:
    """Whether it was decided to let go of this batch: a decision is a fact only where it was noted."""
    return isinstance(action, Note) and key in (getattr(action.fact, "lfn", None), getattr(action.fact, "key", None))


def _why(fact: f.Fact) -> tuple[int, str]:
    """Pilot error code and sentence of a fact that tells of trouble; 0 and nothing of any other."""
    return getattr(fact, "error_code", 0), getattr(fact, "why", "")
