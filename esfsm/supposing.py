"""What if: a recorded job once more, in the outside world that its journal tells of, with other settings."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from esfsm.errors import UnusableInput
from esfsm.given import change_settings
from esfsm.replayer import new_engine, retold
from esfsm.simulation.recorded import Recorded
from esfsm.views.risk import Risk

__all__ = ["WhatIf", "what_if"]


class WhatIf(NamedTuple):
    """The figures of three runs of one job."""

    changed: str
    """The other settings, in words."""
    recorded: Risk
    """As it went."""
    simulated: Risk
    """Simulated with the settings that it had: how far the simulation can be believed."""
    other: Risk
    """Simulated with the others."""

    def lines(self) -> list[str]:
        """Side by side, for people."""
        runs = (self.recorded, self.simulated, self.other)
        rows = [
            ("", "recorded", "simulated", self.changed),
            ("event ranges lost at a kill, mean over time", *(f"{run.mean:.1f}" for run in runs)),
            ("event ranges lost at a kill, at worst", *(str(run.most) for run in runs)),
            ("archives stored", *(str(run.stores) for run in runs)),
            ("reports answered", *(str(run.reports) for run in runs)),
            ("time, s", *(f"{run.seconds:.1f}" for run in runs)),
        ]
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        return [
            f"{row[0]:{widths[0]}}"
            + "".join(f"  {cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
            for row in rows
        ]


def what_if(journal: Path | str, settings: Mapping[str, object]) -> WhatIf:
    """What the job of a journal would have cost with other settings; a kill is one of the whole machine.

    Simulated are the payload's times, errors and end, the answers of storage and server, and requests to stop; kills of
    the engine are left out, and so are outputs that were lost and archives that could not be packed.

    Raises `UnusableInput` for a setting that does not exist, its `UnusableJournal`, and `ReplayDiverged` as `replay`.
    """
    header, engine, entries = retold(Path(journal))
    recorded, world = Risk(), Recorded()
    if not engine.workflow.feeds:
        raise UnusableInput(f"journal {journal}: only an Event Service job can be run with other settings")
    other, _ = change_settings(header.settings, settings)
    for entry, decision in entries:
        recorded.hear(entry.fact, engine)
        world.hear(entry.fact, decision.actions)
    if not world.had_payload:
        raise UnusableInput(f"journal {journal}: no payload was started, so there is nothing to simulate")
    simulated, changed = Risk(), Risk()
    world.run(new_engine(header, header.settings), header, header.settings, simulated.hear)
    world.run(new_engine(header, other), header, other, changed.hear)
    said = ", ".join(f"{name}={value}" for name, value in settings.items())
    return WhatIf(said, recorded, simulated, changed)
