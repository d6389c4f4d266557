"""How the time between a stop request and the end is shared out: ranges that run, storing, the last word."""

from dataclasses import dataclass
from math import inf

__all__ = ["LAST_WORD_S", "Grace"]

KILL_S = 5.0
"""What a payload may need to end that does not want to."""
LAST_WORD_S = 2.0
"""What the final report may need."""
ONE_WORD_S = 1.0
"""What it gets in any case: an answer that is under way is not hung up on, however short the time was."""


@dataclass(slots=True)
class Grace:
    """The one deadline of a stop; times in seconds since 1970."""

    ends_at: float = inf
    stored_by: float = inf
    """When all must be stored and reported, so that the last word can be said."""

    def asked(self, at: float, within_s: float) -> None:
        """A stop was asked for; once more, and half of what is left is over."""
        again = inf if self.ends_at == inf else at + max(0.0, self.ends_at - at) / 2
        self.ends_at = min(at + within_s, again)
        self.stored_by = self.ends_at - min(LAST_WORD_S, max(0.0, self.ends_at - at) / 4)

    def over_at(self, since: float) -> float:
        """When nobody is waited for any more who was told the last word first at `since`."""
        return max(self.ends_at, since + ONE_WORD_S)

    def for_workers(self, now: float, unsaved_s: float) -> float:
        """How long ranges that run may go on, in seconds, where storing what waits takes `unsaved_s`; half at most
        is kept from them."""
        left_s = max(0.0, self.ends_at - now)
        return left_s - min(left_s / 2, KILL_S + LAST_WORD_S + unsaved_s)
