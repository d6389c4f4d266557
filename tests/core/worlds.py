"""Drivers of an engine: one that is told facts word by word, and the nouns that most stories need."""

from dataclasses import replace
from pathlib import Path

from esfsm.core import facts as f
from esfsm.core.actions import Action
from esfsm.core.engine import Engine
from esfsm.core.workflow import Workflow
from esfsm.model.event_range import EventRange
from esfsm.model.report import JobReport
from esfsm.model.settings import Settings

TABLES = {
    file.stem: Workflow.parse(file.read_text(), file.stem)
    for file in sorted((Path(__file__).parents[2] / "workflows").glob("*.toml"))
}
HELD = {"event-range": TABLES["event-range"]}
JOBS = [name for name, table in TABLES.items() if table.drives == "job" and name not in HELD]

PLAIN: dict[str, object] = {"keep_outputs": True, "monitor_s": 0, "stage_out_by": "gap", "grace_for": "workers"}
"""Settings by which nothing happens by time alone but what a story is about."""

BEGAN = 1_700_000_000.0


def event_range(event_range_id: str, events: int = 10) -> EventRange:
    return EventRange(event_range_id=event_range_id, start_event=0, last_event=events - 1)


def granted(*ids: str, exhausted: bool = False, total: int | None = None) -> f.RangesGranted:
    return f.RangesGranted(event_ranges=tuple(map(event_range, ids)), exhausted=exhausted, total=total)


def produced(event_range_id: str, *paths: str, size_bytes: int = 100) -> f.OutputProduced:
    paths = paths or (f"/w/HITS.root.{event_range_id}",)
    return f.OutputProduced(event_range_id=event_range_id, paths=paths, size_bytes=size_bytes)


GOOD_ANSWERS = {
    "classify_job": f.JobClassified(kind="x", why="it says so"),
    "select_executor": f.ExecutorSelected(payload_executor="x", executor_type="generic", why="default"),
    "stage_in": f.InputsStaged(),
    "unpack_archives": f.ArchivesUnpacked(files=3),
    "run_payload": f.PayloadFinished(),
    "run_es_payload": f.PayloadFinished(),
    "prove_merge": f.MergeProven(event_ranges=3, by="names"),
    "stage_out": f.OutputsStaged(),
    "request_ranges": f.RangesExhausted(),
    "pack_outputs": f.OutputsPacked(size_bytes=1000, adler32="0badcafe"),
    "store_archive": f.ArchiveStored(url="file:///out/archive.tar"),
    "report_ranges": f.RangesAcknowledged(),
    "remove_files": f.FilesRemoved(),
    "pack_log": f.LogPacked(file=f.FileCopy("log.tgz", 10, "0badcafe", "file:///w/log.tgz"), guid="1B2C"),
    "report_job": f.JobReported(),
}


class Teller:
    """An engine, a clock by hand, and every fact that was told."""

    def __init__(self, workflow: str | Workflow = "eventservice", **settings: object) -> None:
        self.workflow = TABLES[workflow] if isinstance(workflow, str) else workflow
        self.settings = Settings(**{**PLAIN, **settings})
        self.engine = Engine(self.workflow, HELD, self.settings)
        self.begun = self.engine.begin()
        self.facts: list[f.Fact] = []
        self.decisions: list[tuple[str, ...]] = []
        self.report: JobReport | None = None
        """What the server was told last about the job."""
        self.now = BEGAN

    @property
    def state(self) -> str:
        return self.engine.state

    @property
    def ledger(self):
        return self.engine.ranges.ledger

    def tell(self, fact: f.Fact, after_s: float = 0.0) -> tuple[Action, ...]:
        """A fact as it is, so many seconds later."""
        self.now += after_s
        fact = replace(fact, at=self.now)
        decision = self.engine.decide(fact)
        actions = decision.actions
        self.facts.append(fact)
        self.decisions.append(decision.told())
        self.report = next((action.report for action in actions if action.name == "report_job"), self.report)
        return actions

    def answer(self, name: str, fact: f.Fact, after_s: float = 0.0) -> tuple[Action, ...]:
        """A fact as the answer to the oldest action of this name that has not ended."""
        return self.tell(replace(fact, answers=self.asked(name).number), after_s)

    def says(self, *facts: f.Fact) -> tuple[Action, ...]:
        """What the running payload says; returns what the last of it led to."""
        actions: tuple[Action, ...] = ()
        for fact in facts:
            actions = self.answer("run_es_payload", fact)
        return actions

    def note(self) -> tuple[Action, ...]:
        """The oldest decision that waits is written down, as `perform` does it."""
        return self.answer("note", self.asked("note").fact)

    def ring(self) -> tuple[Action, ...]:
        """The next alarm rings, in time."""
        alarm = min((a for a in self.engine.outstanding if a.name == "set_alarm"), key=lambda a: a.when)
        self.now = max(self.now, alarm.when)
        return self.tell(f.AlarmRang(answers=alarm.number))

    def ring_until(self, name: str) -> tuple[Action, ...]:
        """Alarms ring until one leads to an action of this name."""
        for _ in range(10):
            actions = self.ring()
            if name in names(actions):
                return actions
        raise AssertionError(f"no alarm led to {name}")

    def ring_until_ended(self) -> None:
        """Alarms ring until there is nothing left to wait for."""
        while not self.engine.ended:
            self.ring()

    def asked(self, name: str) -> Action:
        """The oldest action of this name that has not ended."""
        return next(action for action in self.engine.outstanding if action.name == name)

    def waits_for(self) -> list[str]:
        """The names of all actions that have not ended, but for alarms."""
        return [action.name for action in self.engine.outstanding if action.name != "set_alarm"]

    def goes_well(self, *asked: str) -> "Teller":
        """Each of these actions is answered as one would wish."""
        for name in asked:
            self.answer(name, GOOD_ANSWERS[name])
        return self

    def running(self, *ids: str, exhausted: bool = True) -> "Teller":
        """On to es-running; with ids: these are granted, stocked and with the payload."""
        self.goes_well("classify_job", "select_executor", "stage_in")
        self.says(f.PayloadStarted(pid=17, started=42))
        if ids:
            self.says(f.RangesWanted(n=len(ids)))
            self.answer("request_ranges", granted(*ids, exhausted=exhausted))
            self.says(f.RangesSent(event_range_ids=ids))
        return self

    def produced(self, *ids: str) -> "Teller":
        """... and the payload has announced a result for each."""
        self.running(*ids)
        self.says(*map(produced, ids))
        return self

    def packed(self, *ids: str) -> "Teller":
        """... the payload has ended, and all results are in one archive."""
        self.produced(*ids)
        self.says(f.PayloadFinished())
        return self.goes_well("pack_outputs")

    def stored(self, *ids: str) -> "Teller":
        """... which is stored."""
        return self.packed(*ids).goes_well("store_archive")

    def drained(self) -> "Teller":
        """All that waits goes well, until the job has ended."""
        while not self.engine.ended:
            name = self.waits_for()[0]
            if name == "note":
                self.note()
            else:
                self.answer(name, GOOD_ANSWERS[name])
        return self

    def resumed(self, adopted: bool = False, **settings: object) -> "Teller":
        """A new engine that was told the same facts, and takes the job up, or the payload too (`adopted`)."""
        other = Teller(self.workflow, **self.settings.model_dump(exclude_unset=True))
        for fact in self.facts:
            other.now = fact.at
            other.tell(fact)
        assert other.decisions == self.decisions
        assert [*other.engine.outstanding] == [*self.engine.outstanding]
        told = Settings(**{**self.settings.model_dump(exclude_unset=True), **settings})
        other.tell(f.JobResumed(settings=told.model_dump(mode="json"), adopted=adopted), after_s=60.0)
        return other


def names(actions: tuple[Action, ...]) -> list[str]:
    return [action.name for action in actions]
