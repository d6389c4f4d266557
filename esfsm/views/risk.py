"""What a machine that vanishes would cost, at any time of a job: event ranges in its hands that nobody has booked."""

from dataclasses import dataclass, field

from esfsm.core import facts as f
from esfsm.core.engine import Engine
from esfsm.views.elapsed import Elapsed

__all__ = ["AT_RISK", "Risk"]

AT_RISK = ("running", "produced", "packed", "stored")
"""The states in which the work in a range would have to be done again: an archive that is stored and not reported is
found by nobody."""


@dataclass(slots=True)
class Risk:
    """Figures of one job, as its facts are told."""

    most: int = 0
    """Ranges at risk at the worst time."""
    stores: int = 0
    reports: int = 0
    _weighted: float = 0.0
    _at_risk: int = 0
    _time: Elapsed = field(default_factory=Elapsed)

    @property
    def seconds(self) -> float:
        """From the first fact to the last."""
        return self._time.seconds

    @property
    def mean(self) -> float:
        """Ranges at risk, over the time of the job."""
        return self._weighted / self.seconds if self.seconds else 0.0

    def hear(self, fact: f.Fact, engine: Engine) -> None:
        """The next fact, which the engine has heard already."""
        self._weighted += self._at_risk * self._time.hear(fact.at)
        self.stores += isinstance(fact, f.ArchiveStored)
        self.reports += isinstance(fact, f.RangesAcknowledged)
        counts = engine.ranges.ledger.counts()
        self._at_risk = sum(counts.get(state, 0) for state in AT_RISK)
        self.most = max(self.most, self._at_risk)
