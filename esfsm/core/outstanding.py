"""What was asked for and has not ended: the numbered actions, and which fact may still answer them."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from esfsm.core.actions import Action, Note
from esfsm.core.facts import ActionBroke, Fact
from esfsm.errors import WorkflowError

__all__ = ["Outstanding", "runs_payload"]

PAYLOADS = frozenset({"run_payload", "run_es_payload"})


class Outstanding:
    """Actions by their numbers, in the order in which they were asked for."""

    def __init__(self) -> None:
        self._actions: dict[int, Action] = {}
        self._last = 0

    def __iter__(self) -> Iterator[Action]:
        return iter(tuple(self._actions.values()))

    def __contains__(self, number: int) -> bool:
        return number in self._actions

    def get(self, number: int) -> Action | None:
        """The action of that number; None if it has ended, or has no end."""
        return self._actions.get(number)

    def ask(self, action: Action) -> Action:
        """Number an action, and wait for its end if it has one."""
        self._last += 1
        asked = replace(action, number=self._last)
        if asked.ended_by or isinstance(asked, Note):
            self._actions[self._last] = asked
        return asked

    def answered(self, fact: Fact) -> Action | None:
        """The action that a fact answers; None when it answers none, or one that has ended already.

        Raises `WorkflowError` for an answer that nobody asked for.
        """
        if fact.answers > self._last:
            raise WorkflowError(f"action {fact.answers}", "never asked for", fact.name)
        action = self._actions.get(fact.answers)
        if action is None:
            return None
        if isinstance(action, Note):
            expected = fact.name == action.fact.name
        else:
            expected = fact.name in action.answered_by or fact.name in action.ended_by
        if not expected and not isinstance(fact, ActionBroke):
            raise WorkflowError(f"action {action.name}", "asked for", fact.name)
        return action

    def end(self, number: int) -> None:
        """Nothing more is waited for from it, if anything was."""
        self._actions.pop(number, None)

    def end_all(self, which: Callable[[Action], bool]) -> None:
        """Nobody is alive, or has the time, to answer these."""
        self._actions = {number: action for number, action in self._actions.items() if not which(action)}

    def payloads(self) -> list[int]:
        """The numbers of those that run a payload: one that is to end may still be alive when another begins."""
        return [number for number, action in self._actions.items() if runs_payload(action)]

    def noted(self) -> list[Fact]:
        """The decisions that are not yet written down."""
        return [action.fact for action in self._actions.values() if isinstance(action, Note)]


def runs_payload(action: Action | None) -> bool:
    """Whether this is a payload, of whatever kind."""
    return action is not None and action.name in PAYLOADS
