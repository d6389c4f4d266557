"""The PanDA Event Service as a finite-state machine.

    >>> import esfsm
    >>> outcome = esfsm.run_workflow("job.json", settings={"events": 2000})  # doctest: +SKIP
    >>> outcome.state, outcome.ranges                                       # doctest: +SKIP
    ('done', {'finished': 2000})

What is public is in `__all__`. Each name is loaded when it is first used, so that a payload that needs only
`esfsm.payload` starts in milliseconds.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from esfsm._face import draw
    from esfsm.errors import EsfsmError, JournalError, PilotErrorCode, ReplayDiverged, UnusableInput, UnusableJournal
    from esfsm.esprocess import ESProcess
    from esfsm.model.job import Job
    from esfsm.model.outcome import Outcome
    from esfsm.model.settings import Settings
    from esfsm.plugins import check_workflow as check
    from esfsm.replayer import replay
    from esfsm.run import run_workflow
    from esfsm.views.story import Story

__version__ = "0.1.0"
__all__ = [
    "ESProcess",
    "EsfsmError",
    "Job",
    "JournalError",
    "Outcome",
    "PilotErrorCode",
    "ReplayDiverged",
    "Settings",
    "Story",
    "UnusableInput",
    "UnusableJournal",
    "check",
    "draw",
    "replay",
    "run_workflow",
]


def __getattr__(name: str) -> object:
    """Load a public name when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module 'esfsm' has no attribute {name!r}")
    from esfsm import _face

    value: object = getattr(_face, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
