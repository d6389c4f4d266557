"""How far a job is: one line of plain text, the same for a terminal and a log."""

from dataclasses import dataclass

from esfsm.core.engine import Engine

__all__ = ["Progress"]

DONE = ("produced", "packed", "stored", "finished", "errored", "failed", "refused")
"""What the payload has no more work with."""


@dataclass(slots=True)
class Progress:
    """Remembers when it looked first, for the rate."""

    began: float = 0.0
    first_done: int = 0

    def line(self, engine: Engine, now: float) -> str:
        """State, ranges done of total, rate and time left, as far as they are known."""
        counts = engine.ranges.ledger.counts()
        done = sum(counts.get(state, 0) for state in DONE)
        if not self.began:
            self.began, self.first_done = now, done
        if not counts:
            return engine.state
        total = engine.ranges.total
        of = f"/{total}" if total else ""
        told = f"{engine.state}: {done}{of} event ranges"
        told += "".join(f", {n} {state}" for state, n in counts.items() if state != "released")
        rate = (done - self.first_done) / (now - self.began) if now > self.began else 0.0
        if rate:
            told += f", {rate:.1f}/s"
            if total and total > done and engine.state not in engine.workflow.ends:
                told += f", {(total - done) / rate:.0f} s left"
        return told
