"""Whether a declared table is sound: what `esfsm check` says.

The last rule is the one that finds most: whatever a state's action may report, the state must hear. It is exhaustive
matching, which no type checker gives on a table.
"""

from collections.abc import Collection, Iterator, Mapping

from esfsm.core.actions import ACTIONS
from esfsm.core.facts import FACTS
from esfsm.core.pilot import PILOT_ACTIONS, PILOT_FACTS
from esfsm.core.workflow import State, Workflow, line_of
from esfsm.errors import UnsoundWorkflow

__all__ = ["check", "sound"]

ENDS = ("done", "stopped", "failed")
"""The ends of a job that the outcome and the final report know."""
HOLDING = ("run_es_payload", "drain_ranges")

ANSWERS: Mapping[str, Mapping[str, Collection[str]]] = {
    "job": {name: action.answered_by | action.ended_by for name, action in ACTIONS.items()},
    "pilot": PILOT_ACTIONS,
}
"""By what a table drives: every action, and the facts that it may report."""
MEANT = {"job": {name for name, action in ACTIONS.items() if action.for_state}, "pilot": PILOT_ACTIONS.keys()}
"""... and the actions that a state can name."""
HEARD = {"job": FACTS.keys(), "pilot": PILOT_FACTS.keys()}
"""... and every fact."""
NEEDED = {"job": ("action_broke", "preempted", "job_killed"), "pilot": ("action_broke", "preempted")}
"""... and the facts that no state may pass over that does something."""

LEADS_OUT = {"run_es_payload": ("limit_exceeded", "preempted"), "drain_ranges": ("grace_ended",)}
"""By action, the facts that end the state that does it, whatever it is waiting for."""

Fault = tuple[tuple[str, ...], str]


def check(text: str, name: str, held: Mapping[str, Workflow]) -> list[str]:
    """Every fault of a table as `name:line: sentence`; none when it is sound.

    `held` are the tables that a state may hold, by name.
    """
    try:
        workflow = Workflow.parse(text, name)
    except UnsoundWorkflow as unsound:
        return unsound.faults
    if workflow.drives not in HEARD:
        return [
            f"{name}:{line_of(text, ('drives',))}: it drives {workflow.drives}, which is none of {', '.join(HEARD)}"
        ]
    found = [*_names(workflow, held), *_shape(workflow), *_deafness(workflow, held), *_duties(workflow)]
    return [f"{name}:{line}: {sentence}" for line, sentence in sorted((line_of(text, key), s) for key, s in found)]


def sound(text: str, name: str, held: Mapping[str, Workflow]) -> Workflow:
    """The table, if `check` finds nothing; raises `UnsoundWorkflow`."""
    faults = check(text, name, held)
    if faults:
        raise UnsoundWorkflow(faults)
    return Workflow.parse(text, name)


def _names(workflow: Workflow, held: Mapping[str, Workflow]) -> Iterator[Fault]:
    """Names that stand for nothing."""
    if workflow.starts not in workflow.states:
        yield ("starts",), f"it starts in {workflow.starts}, which is no state"
    for state in workflow.states.values():
        if state.does is not None and state.does not in MEANT[workflow.drives]:
            yield (state.name, "does"), f"state {state.name}: there is no action {state.does}"
        if state.holds is not None and state.holds not in held:
            yield (state.name, "holds"), f"state {state.name}: there is no table {state.holds} to hold"
        yield from _arrow_names(workflow, state.name, state.on)
    yield from _arrow_names(workflow, "any", workflow.anywhere)


def _arrow_names(workflow: Workflow, state: str, on: Mapping[str, str]) -> Iterator[Fault]:
    for fact, target in on.items():
        if fact not in HEARD[workflow.drives]:
            yield (state, "on", fact), f"state {state}: there is no fact {fact}"
        if target not in workflow.states:
            yield (state, "on", fact), f"state {state}: the arrow on {fact} leads to {target}, which is no state"


def _shape(workflow: Workflow) -> Iterator[Fault]:
    """States that cannot be reached, and states without a way out."""
    ahead: dict[str, set[str]] = {}
    back: dict[str, set[str]] = {}
    for arrow in workflow.arrows():
        ahead.setdefault(arrow.source, set()).add(arrow.target)
        back.setdefault(arrow.target, set()).add(arrow.source)
    reached = _closure({workflow.starts}, ahead)
    ending = _closure(set(workflow.ends), back)
    for name in workflow.states:
        if name not in reached:
            named_only = name in workflow.ends and workflow.states[name] == State(name)
            yield ("ends",) if named_only else (name,), f"state {name} cannot be reached"
        elif name not in ending:
            yield (name,), f"from state {name} no end can be reached"


def _closure(start: set[str], steps: Mapping[str, set[str]]) -> set[str]:
    """Everything that can be reached from `start`."""
    found, todo = set(start), list(start)
    while todo:
        for name in steps.get(todo.pop(), ()):
            if name not in found:
                found.add(name)
                todo.append(name)
    return found


def _duties(workflow: Workflow) -> Iterator[Fault]:
    """What the engine counts on: whatever is done can break and be stopped, and ranges are brought to their ends."""
    doing = [state for state in workflow.states.values() if state.does is not None]
    for end in workflow.ends if doing else ():
        if end not in ENDS:
            yield ("ends",), f"the end {end} is none of {', '.join(ENDS)}"
    for state in doing:
        on = {**workflow.anywhere, **state.on}
        for fact in NEEDED[workflow.drives] if state.name not in workflow.ends else ():
            if fact not in on:
                yield (state.name,), f"state {state.name}: it does not hear {fact}"
        if state.does in HOLDING and state.holds is None:
            yield (state.name,), f"state {state.name}: {state.does} needs a table of ranges to hold"
        for fact in LEADS_OUT.get(str(state.does), ()):
            if on.get(fact, state.name) == state.name:
                yield (state.name,), f"state {state.name}: {fact} must lead out of it"
    for state in workflow.states.values():
        if state.holds is not None and state.does not in HOLDING:
            yield (state.name,), f"state {state.name}: it holds ranges, so it must do one of {', '.join(HOLDING)}"


def _deafness(workflow: Workflow, held: Mapping[str, Workflow]) -> Iterator[Fault]:
    """Facts that a state's action may report and the state does not hear."""
    for state in workflow.states.values():
        heard = set(state.on) | (set() if state.name in workflow.ends else set(workflow.anywhere))
        if state.holds is not None and state.holds in held:
            heard |= held[state.holds].facts()
        for fact in sorted({*ANSWERS[workflow.drives].get(state.does or "", ())} - heard):
            yield (state.name,), f"state {state.name}: {state.does} may report {fact}, which it does not hear"
