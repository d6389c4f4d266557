"""A declared table: parsed, checked, asked for the next state, and made into a `transitions` machine.

Two interpreters read the same table. A job is a `transitions.Machine` (`machine`), for its events are few; an event
range is a word in a dictionary and `Workflow.targets`, for there may be a million of them. That both agree is a test.
"""

import logging
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, Protocol, cast
from zlib import crc32

from transitions import Machine

from esfsm.errors import UnsoundWorkflow

__all__ = ["Arrow", "Position", "State", "Workflow", "all_arrows", "line_of", "machine"]

logging.getLogger("transitions").setLevel(logging.WARNING)  # at INFO it runs at half the speed


class Arrow(NamedTuple):
    """In the state `source`, on `fact`, go to `target`; `held`: told to the held table, the state stays."""

    source: str
    fact: str
    target: str
    held: bool = False


@dataclass(frozen=True, slots=True)
class State:
    """One state: what is done on entering it, which table's facts it also hears, and where each fact leads."""

    name: str
    does: str | None = None
    holds: str | None = None
    on: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Workflow:
    """A table; `anywhere` are the arrows of `[any]`, for every state that is no end and says nothing itself."""

    name: str
    title: str
    starts: str
    ends: tuple[str, ...]
    states: Mapping[str, State]
    anywhere: Mapping[str, str]
    drives: str
    """What goes through it: a job or a pilot."""
    digest: str
    """Changes when a state, an action or an arrow changes; comments and order do not count."""

    @classmethod
    def parse(cls, text: str, name: str) -> "Workflow":
        """Read a table that `check` finds sound in its form; raises `UnsoundWorkflow` with line and sentence."""
        try:
            content = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise UnsoundWorkflow([_toml_fault(error, text, name)]) from None
        except RecursionError:
            raise UnsoundWorkflow([f"{name}:1: it is nested too deeply"]) from None
        faults = [f"{name}:{line_of(text, key)}: {sentence}" for key, sentence in _form_faults(content)]
        if faults:
            raise UnsoundWorkflow(faults)
        states = {
            key: State(key, table.get("does"), table.get("holds"), dict(table.get("on", {})))
            for key, table in content.items()
            if isinstance(table, dict) and key != "any"
        }
        states |= {end: State(end) for end in content["ends"] if end not in states}
        anywhere = dict(content.get("any", {}).get("on", {}))
        told = sorted((s.name, s.does, s.holds, sorted(s.on.items())) for s in states.values())
        digest = f"{crc32(repr((content['starts'], content['ends'], told, sorted(anywhere.items()))).encode()):08x}"
        ends, drives = tuple(content["ends"]), content.get("drives", "job")
        return cls(name, content["title"], content["starts"], ends, states, anywhere, drives, digest)

    @cached_property
    def targets(self) -> Mapping[tuple[str, str], str]:
        """Where each fact leads from each state, the arrows of `[any]` written out, but not the held ones."""
        on = {
            state.name: state.on if state.name in self.ends else {**self.anywhere, **state.on}
            for state in self.states.values()
        }
        return {(state, fact): target for state, heard in on.items() for fact, target in heard.items()}

    @property
    def feeds(self) -> bool:
        """Whether it hands event ranges to a payload."""
        return any(state.does == "run_es_payload" for state in self.states.values())

    def arrows(self) -> Iterator[Arrow]:
        """Every arrow, those of `[any]` written out, but not the held ones."""
        for (source, fact), target in self.targets.items():
            yield Arrow(source, fact, target)

    def facts(self) -> frozenset[str]:
        """Every fact that the table hears somewhere."""
        return frozenset(arrow.fact for arrow in self.arrows())


class Position(Protocol):
    """The model of a machine: where it stands, and how it is told a fact (`MachineError` where none is heard)."""

    state: str

    def trigger(self, fact: str) -> bool:
        """Take the arrow of this fact."""
        ...


class _Model:
    """`transitions` gives it `state` and `trigger`."""


def machine(workflow: Workflow, held: Mapping[str, "Workflow"], initial: str) -> Position:
    """A flat `transitions.Machine` over the table, in `initial`; returned is its model.

    Arrows to the same state, and the facts of a held table, are internal: nothing is left and entered again.
    """
    model = _Model()
    made = Machine(
        model=model,
        states=list(workflow.states),
        initial=initial,
        auto_transitions=False,
        send_event=True,
        ignore_invalid_triggers=False,
    )
    for arrow in all_arrows(workflow, held):
        made.add_transition(arrow.fact, arrow.source, None if arrow.target == arrow.source else arrow.target)
    return cast(Position, model)


def all_arrows(workflow: Workflow, held: Mapping[str, "Workflow"]) -> Iterator[Arrow]:
    """Every arrow, with the facts that a state only hears for the table it holds as arrows to itself."""
    said = set()
    for arrow in workflow.arrows():
        said.add((arrow.source, arrow.fact))
        yield arrow
    for state in workflow.states.values():
        if state.holds:
            for fact in sorted(held[state.holds].facts()):
                if (state.name, fact) not in said:
                    yield Arrow(state.name, fact, state.name, held=True)


def line_of(text: str, key: tuple[str, ...]) -> int:
    """The line where a key is given: `("title",)`, `("es-running",)`, `("es-running", "on", "preempted")`.

    tomllib keeps no line numbers, so this looks for the key's text; not found, it is its state's line, or 1.
    """
    inside: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        code = line.split("#", 1)[0].strip()
        here = None
        if code.startswith("["):
            here = inside = _split(code.strip("[]"))
        elif "=" in code:
            here = inside + _split(code.split("=", 1)[0])
        if here == key:
            return number
    return line_of(text, key[:1]) if len(key) > 1 else 1


def _split(key: str) -> tuple[str, ...]:
    """The parts of a dotted key, without quotes."""
    return tuple(part.strip().strip("\"'") for part in key.split("."))


def _toml_fault(error: tomllib.TOMLDecodeError, text: str, name: str) -> str:
    """tomllib's message as `file:line: sentence`; a key given twice is an arrow given twice."""
    message = str(error)
    before, _, place = message.rpartition(" (at ")
    words = place.replace(",", "").rstrip(")").split()
    line = int(words[1]) if len(words) > 1 and words[1].isdigit() else len(text.splitlines())
    if "Cannot overwrite a value" in message:
        before = "this arrow is drawn twice"
    elif "Cannot declare" in message:
        before = "this state is declared twice"
    return f"{name}:{line}: {before or message}"


_STATE_KEYS = {"does": str, "holds": str, "on": dict}


def _form_faults(content: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """What is wrong with the form of a table, as (key, sentence)."""
    for key, kind in (("title", str), ("starts", str), ("ends", list)):
        if not isinstance(content.get(key), kind):
            yield (key,), f"`{key}` is missing or no {'list' if kind is list else 'text'}"
    if isinstance(content.get("ends"), list) and not all(isinstance(end, str) for end in content["ends"]):
        yield ("ends",), "`ends` holds something that is no text"
    for key, table in content.items():
        if key == "drives" and not isinstance(table, str):
            yield (key,), "`drives` is no text"
        if key in ("title", "drives", "starts", "ends"):
            continue
        if not isinstance(table, dict):
            yield (key,), f"`{key}` is neither title, drives, starts, ends nor a state"
            continue
        allowed = {"on": dict} if key == "any" else _STATE_KEYS
        for inner, value in table.items():
            if inner not in allowed:
                yield (key, inner), f"state {key}: `{inner}` is none of {', '.join(allowed)}"
            elif not isinstance(value, allowed[inner]):
                yield (key, inner), f"state {key}: `{inner}` has the wrong type"
        on = table.get("on", {})
        for fact, target in on.items() if isinstance(on, dict) else ():
            if not isinstance(target, str):
                yield (key, "on", fact), f"state {key}: the arrow on {fact} leads to no name"
