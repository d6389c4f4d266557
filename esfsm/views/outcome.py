"""The outcome of a job, or of a pilot, as its engine stands at the end."""

from pathlib import Path

from esfsm.core.engine import Engine
from esfsm.core.pilot import Pilot
from esfsm.model.outcome import Outcome, OutputFile, PilotOutcome

__all__ = ["EXIT_CODES", "outcome", "pilot_outcome"]

EXIT_CODES = {"done": 0, "failed": 1, "stopped": 3}
"""By the end that a job has reached; 2 is for input that cannot be used."""


def outcome(panda_id: int, engine: Engine, journal: Path) -> Outcome:
    """What there is to say."""
    error_code, why = engine.final.trouble
    counts = engine.ranges.ledger.counts()
    sentence = f"{engine.state}: {why}" if why else engine.state
    if not counts and engine.state == "done" and engine.workflow.feeds:
        sentence += ": the broker had no event ranges left"
    if counts:
        sentence += "; event ranges: " + ", ".join(f"{n} {state}" for state, n in counts.items())
    if engine.ranges.strange:
        sentence += f"; {engine.ranges.strange} results were for ranges that the payload did not have"
    if engine.ranges.unsaved:
        sentence += f"; the time was too short to store {engine.ranges.unsaved} finished event ranges"
    if engine.final.unreported:
        sentence += "; the server did not answer the final report: run the same command again to repeat it"
    return Outcome(
        panda_id=panda_id,
        state=engine.state,
        path=engine.path,
        sentence=sentence,
        exit_code=EXIT_CODES.get(engine.state, 1),
        pilot_error_code=error_code,
        payload_exit_code=engine.final.exit_code,
        ranges=counts,
        events=engine.ranges.ledger.events_finished,
        outputs=tuple(
            OutputFile(lfn=copy.lfn, size_bytes=copy.size_bytes, adler32=copy.adler32, url=copy.url)
            for copy in engine.final.outputs
        ),
        journal=journal,
    )


def pilot_outcome(pilot: Pilot) -> PilotOutcome:
    """What there is to say."""
    return PilotOutcome(
        state=pilot.state,
        path=tuple(pilot.path),
        sentence=f"{pilot.state}: {pilot.why}; jobs fetched: {pilot.jobs}",
        exit_code=EXIT_CODES[pilot.state],
        jobs=pilot.jobs,
    )
