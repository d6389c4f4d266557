"""The job: a `transitions` machine over its declared table, and what is to be done next.

Facts go in, one at a time; actions come out. The rules:
- an arrow to the same state is internal: what the state does is not begun again;
- leaving a state whose action has not ended stops that action; what it still says reaches the ranges, not the machine;
- a fact names the action that it answers; an answer to an action that was never asked raises, one that comes
  after the action's end moves nothing;
- trouble of an action that no state asked for is booked by the ranges, it does not move the job.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from esfsm.core import facts as f
from esfsm.core.actions import (
    ACTIONS,
    Action,
    DrainRanges,
    MeasureResources,
    Note,
    PackLog,
    PackOutputs,
    RemoveFiles,
    ReportJob,
    ReportRanges,
    RequestRanges,
    RetrySetup,
    RunEsPayload,
    SetAlarm,
    Stop,
    StoreArchive,
    gist,
)
from esfsm.core.batch import NEVER
from esfsm.core.final_word import FinalWord
from esfsm.core.grace import LAST_WORD_S, Grace
from esfsm.core.limits import Limits
from esfsm.core.outstanding import Outstanding, runs_payload
from esfsm.core.ranges import Ranges
from esfsm.core.workflow import Arrow, Workflow, all_arrows, machine
from esfsm.model.settings import Settings

__all__ = ["Decision", "Engine", "Step"]

STOPS = (f.Preempted, f.JobKilled)
GOING_ON = (f.RangesSent, f.OutputProduced)
"""Nearly all facts of a job; only its ranges have to do with them."""
FOR_RANGES = (RequestRanges, PackOutputs, StoreArchive, ReportRanges, RemoveFiles)
JUDGED = (f.StageOutFailed, f.GraceEnded)
"""What an engine that takes the job up does not believe: it tries once more, and has a time of its own."""


@dataclass(frozen=True, slots=True)
class Step:
    """One arrow that the job took."""

    source: str
    fact: str
    target: str
    at: float


class Decision(NamedTuple):
    """What a fact led to: the state that was entered, if another one was, and what is to be done."""

    entered: str | None
    actions: tuple[Action, ...]

    def told(self) -> tuple[str, ...]:
        """As it is written into the journal: `-> staging-out`, `pack_outputs 21: ...`."""
        entered = () if self.entered is None else (f"-> {self.entered}",)
        return (*entered, *map(gist, self.actions)) if self.actions else entered


class Engine:
    """One job on its way through its table."""

    def __init__(self, workflow: Workflow, held: Mapping[str, Workflow], settings: Settings) -> None:
        self.workflow = workflow
        self.ranges = Ranges(held["event-range"], settings)
        self.limits = Limits(settings)
        self.grace = Grace()
        self.way: list[Step] = []
        """The arrows taken from one state to another, in order."""
        self.arrows: Counter[Arrow] = Counter()
        """Every arrow taken, those to the same state included, and how often."""
        self.final = FinalWord()
        self.settings = settings
        self._position = machine(workflow, held, workflow.starts)
        self._heard = {(arrow.source, arrow.fact): arrow for arrow in all_arrows(workflow, held)}
        self.outstanding = Outstanding()
        """What was asked for and has not ended: to be begun again by an engine that takes the job up."""
        self.started: f.PayloadStarted | None = None
        """The payload that was started last, as long as nobody said that it has ended."""
        self._now = 0.0
        self.began = 0.0
        """When this life of the job began: its first one, or that of the engine which took it up last."""
        self._doing = 0
        self._flush = False
        self._next_due = 0.0
        """When something is due by time alone."""
        self._hurries = False
        self._setups = 0
        """How often in a row a payload could not set itself up."""

    @property
    def state(self) -> str:
        """The state that the job is in."""
        return self._position.state

    @property
    def lived_s(self) -> float:
        """From the begin of this life to the last fact."""
        return self._now - self.began

    @property
    def path(self) -> tuple[str, ...]:
        """The states entered, in order, the first included."""
        return (self.workflow.starts, *(step.target for step in self.way))

    @property
    def ended(self) -> bool:
        """Whether nothing is left to do: an end is reached and reported, and no payload is alive."""
        at_end = self.state in self.workflow.ends
        return at_end and not self._is_doing and self.final.again_at is None and not self.outstanding.payloads()

    @property
    def resumable(self) -> bool:
        """Whether an ended job can be taken up again: its end can be left, or its final word is to be said again."""
        return self.state in self.workflow.ends and (self._leaves_its_end or self.final.unreported)

    @property
    def _leaves_its_end(self) -> bool:
        return (self.state, f.JobResumed.name) in self._heard

    @property
    def adoptable(self) -> f.PayloadStarted | None:
        """The payload that the state waits for, if it can be found again by an engine that takes the job up."""
        started = self.started
        doing = self.outstanding.get(self._doing)
        return started if isinstance(doing, RunEsPayload) and started and started.answers == doing.number else None

    def begin(self) -> tuple[Action, ...]:
        """What the first state does."""
        return tuple(self._enter())

    def decide(self, fact: f.Fact) -> Decision:
        """Hear one fact, and say all that it led to, in order.

        Raises `WorkflowError`, and nothing has changed, for an answer that nobody asked for.
        """
        before, action = self.state, self.outstanding.answered(fact)
        if fact.answers and action is None:
            return Decision(None, ())
        if not self._now:
            self._begin_life(fact.at)
        self._now = fact.at
        ends = action is not None and self._ends(fact, action)
        if ends:
            self.outstanding.end(fact.answers)
        if runs_payload(action):
            self.limits.alive_at = fact.at
        if not isinstance(fact, GOING_ON):
            self._book(fact, action, ends)
        self.ranges.hear(fact, action)
        actions = [] if self._moves_nothing(fact, action) else self._move(fact)
        if isinstance(action, PackLog) and ends and fact.answers == self._doing:
            self.final.waits_for_log = False
            actions += self._enter()
        if isinstance(fact, f.PayloadGone) and action and not ends:
            actions.append(action)  # begun and never answered: begun again
        if isinstance(fact, f.ResourcesMeasured):
            actions += self._judge(fact)
        entered = None if self.state == before else self.state
        if entered or not self._goes_on(fact):
            actions += self._due()
        return Decision(entered, tuple(actions))

    def _begin_life(self, at: float) -> None:
        self.began = at
        self.limits.began(at)

    def _ends(self, fact: f.Fact, action: Action) -> bool:
        if isinstance(fact, f.PayloadGone):  # nobody waits for another one where the state was left
            return action.number != self._doing
        return isinstance(fact, f.ActionBroke) or isinstance(action, Note) or fact.name in action.ended_by

    def _moves_nothing(self, fact: f.Fact, action: Action | None) -> bool:
        """Whether a fact only concerns the ranges: late for the state, or trouble of what the ranges asked for."""
        if action is None or isinstance(action, Note):
            return False
        return fact.answers != self._doing if action.for_state else isinstance(fact, f.ActionBroke)

    def _book(self, fact: f.Fact, action: Action | None, ends: bool) -> None:
        """Remember what a fact says about the job, wherever that stands."""
        match fact:
            case f.PayloadStarted():
                self.started = fact
                self.limits.started(fact.at)
            case f.SetupFailed():
                self._setups += 1
            case f.TimeLimited():
                self.limits.time_limited(fact.until, fact.why)
            case f.Preempted() | f.JobKilled():
                self._book_stop(fact)
            case f.GraceEnded():
                self.outstanding.end_all(lambda asked: isinstance(asked, FOR_RANGES))
                self.final.outputs = tuple(self.ranges.stageout.staged.values())
            case f.JobResumed():
                self._resume(Settings.model_validate(fact.settings))
                self.started = self.started if fact.adopted else None
                self._begin_life(fact.at)
        if runs_payload(action) and (ends or isinstance(fact, f.PayloadGone)):
            self.started = None
            self.ranges.payload_gone()
        self.final.hear(fact)
        if isinstance(fact, f.OutputsStaged):
            self.final.outputs = fact.files or tuple(self.ranges.stageout.staged.values())
        if isinstance(action, ReportJob) and fact.answers == self._doing:
            self.final.answered(fact, self.settings)

    def _book_stop(self, fact: f.Preempted | f.JobKilled) -> None:
        """From the first stop request on there is a deadline."""
        within_s = fact.within_s if isinstance(fact, f.Preempted) else None
        if within_s is None and self.settings.grace_for == "workers":
            return
        self.grace.asked(fact.at, self.settings.grace_s if within_s is None else within_s)
        self._hurries = True

    def _resume(self, settings: Settings) -> None:
        """What a state asked for that the job has left will not be answered any more: nobody is alive to do so."""
        at_end = self.state in self.workflow.ends and self._leaves_its_end
        self.final.resume(leaves_end=at_end)
        if at_end:
            self.ranges.trouble = None
        self.settings = self.limits.settings = settings
        self.grace, self._setups = Grace(), 0
        self.ranges.use(settings)
        self.outstanding.end_all(lambda action: self._dies_with_its_engine(action, at_end))

    def _dies_with_its_engine(self, action: Action, at_end: bool) -> bool:
        """Whether nobody will answer an action, or what was decided is to be decided anew."""
        left = action.for_state and (action.number != self._doing or at_end)
        judged = isinstance(action, Note) and isinstance(action.fact, JUDGED)
        logs = isinstance(action, PackLog) and at_end
        return left or judged or logs or isinstance(action, SetAlarm)  # the clock of another engine is not ours

    def _move(self, fact: f.Fact) -> list[Action]:
        """Take the arrow of a fact, if the state has one; returns what leaving and entering ask for."""
        source, ask = self.state, self.outstanding.ask
        hurry: list[Action] = []
        if isinstance(fact, (*STOPS, f.GraceEnded)) or (isinstance(fact, f.LimitExceeded) and fact.at_once):
            others = [number for number in self.outstanding.payloads() if number != self._doing]
            hurry += [ask(Stop(target=number)) for number in others]
        arrow = self._heard.get((source, fact.name))
        if arrow is None:
            return hurry
        self.arrows[arrow] += 1
        if arrow.held:  # told to the ranges, which have a table of their own
            return hurry
        self._position.trigger(fact.name)
        if self.state == source:
            return hurry
        self.way.append(Step(source, fact.name, self.state, fact.at))
        self.final.led_by(fact)
        left = [ask(Stop(target=self._doing, grace_s=self._grace_s(fact)))] if self._is_doing else []
        self._flush = True
        return [*hurry, *left, *self._enter()]

    def _grace_s(self, fact: f.Fact) -> float:
        """How long what the left state does may go on."""
        if isinstance(fact, f.JobKilled) or (isinstance(fact, f.LimitExceeded) and fact.at_once):
            return 0.0
        if self.grace.ends_at == NEVER:
            return self.settings.grace_s
        return round(self.grace.for_workers(self._now, self.ranges.stageout.unsaved_s()), 3)

    @property
    def _is_doing(self) -> bool:
        return self._doing in self.outstanding

    def _enter(self) -> list[Action]:
        """Ask for what the state does. Draining is done by the ranges themselves."""
        does = self.workflow.states[self.state].does
        if does is None or does == DrainRanges.name:
            self._doing = 0
            return []
        if does == RetrySetup.name:
            self._doing = 0
            return [self.outstanding.ask(Note(fact=self._judge_setup()))]
        if does == ReportJob.name:
            asked = self.outstanding.ask(self._last_word())
        else:
            asked = self.outstanding.ask(ACTIONS[does]())
        self._doing = asked.number
        return [asked]

    def _last_word(self) -> Action:
        """The final report, or before it the log that belongs to it, where there is time for one."""
        if self.final.waits_for_log and self._now + LAST_WORD_S < self.grace.ends_at:
            return PackLog(lfn=self.final.log)
        return ReportJob(report=self.final.report(self.state, self.ranges, feeds=bool(self.workflow.feeds)))

    def _judge(self, fact: f.ResourcesMeasured) -> list[Action]:
        """Whether the payload has taken more than it may; a stop is asked for once."""
        if not self.outstanding.payloads():
            return []
        exceeded = self.limits.exceeded(fact.resources, fact.at, self.ranges.waits_for_us)
        if exceeded is None or (isinstance(exceeded, f.Preempted) and self.grace.ends_at < NEVER):
            return []
        return [self.outstanding.ask(Note(fact=exceeded))]

    def _judge_setup(self) -> f.Fact:
        """Whether a payload that could not set itself up is started again."""
        if self._setups <= self.settings.setup_retries:
            return f.SetupRetried()
        error_code, why = self.final.trouble
        return f.PayloadFailed(exit_code=self.final.exit_code, error_code=error_code, why=why)

    def _goes_on(self, fact: f.Fact) -> bool:
        """Whether a payload goes on and nothing is due by that: looking for what is due costs more than all else."""
        if self._now >= self._next_due or not isinstance(fact, GOING_ON) or fact.answers not in self.outstanding:
            return False
        stageout = self.ranges.stageout
        return not stageout.last_output_counts and not stageout.is_earlier(self._next_due, self._now)

    def _due(self) -> list[Action]:
        """What is due by itself: the final report once more, or whatever payload and ranges of this state need."""
        self._next_due = NEVER
        if self.state in self.workflow.ends:
            return self._due_at_end()
        due = self._due_by_time()
        noted = self.outstanding.noted()
        lets_go = any(isinstance(fact, f.GraceEnded) for fact in noted)
        if self.workflow.states[self.state].holds is not None and not lets_go:
            due += [self.ranges.over()] if self._rings(self.grace.stored_by) else self._due_for_ranges()
        due += self._alarm(self._next_due)
        new = [action for action in due if not (isinstance(action, Note) and action.fact in noted)]
        return [self.outstanding.ask(action) for action in new]

    def _due_by_time(self) -> list[Action]:
        """A measurement of a payload that runs, and what the end of our time asks for."""
        due: list[Action] = []
        payload = self.started if self.outstanding.payloads() else None
        measures = any(isinstance(action, MeasureResources) for action in self.outstanding)
        if payload and not measures and self._rings(self.limits.measure_at()):
            self.limits.measured_at = self._now
            due.append(MeasureResources(pid=payload.pid, started=payload.started))
        one_more_s = min(self.ranges.one_more_s, self.settings.grace_s)
        stop_at = self.limits.stop_at(one_more_s, self.ranges.stageout.unsaved_s())
        if self.grace.ends_at == NEVER and self._rings(stop_at):
            due.append(Note(fact=self.limits.out_of_time(self._now)))
        return due

    def _rings(self, when: float) -> bool:
        """Whether a time has come; if not, we wake up then."""
        if when > self._now:
            self._next_due = min(self._next_due, when)
        return when <= self._now

    def _due_for_ranges(self) -> list[Action]:
        feeding = runs_payload(self.outstanding.get(self._doing))
        alive = feeding or bool(self.outstanding.payloads())
        due: list[Action] = []
        if self._hurries:
            due += self.ranges.hurry(self._now, self.grace.stored_by)
            self._hurries = False
        due += self.ranges.due(self._now, feeding=feeding, flush=self._flush or not alive)
        self._flush = False
        removes = any(isinstance(action, RemoveFiles) for action in (*due, *self.outstanding))
        if not alive and self._doing == 0 and not removes:
            due += self.ranges.settle()
        self._next_due = min(self._next_due, self.ranges.alarm(feeding=feeding))
        return due

    def _due_at_end(self) -> list[Action]:
        """The final report once more, as long as there is time for it."""
        final = self.final
        waits = self._is_doing or final.again_at is not None
        if waits and self._rings(self.grace.over_at(final.since)):
            self.outstanding.end(self._doing)
            final.give_up()
        if final.again_at is not None and self._rings(final.again_at):
            final.again_at = None
            return self._enter()
        return [self.outstanding.ask(alarm) for alarm in self._alarm(self._next_due)] if not self.ended else []

    def _alarm(self, when: float) -> list[Action]:
        """An alarm, unless there is none to set or one that rings by then."""
        set_already = any(isinstance(action, SetAlarm) and action.when <= when for action in self.outstanding)
        return [] if when == NEVER or set_already else [SetAlarm(when=when)]
