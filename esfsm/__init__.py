"""The PanDA Event Service as a finite-state machine.

    >>> import esfsm
    >>> outcome = esfsm.run_workflow("job.json", settings={"events": 2000})  # doctest: +SKIP
    >>> outcome.state, outcome.ranges                                       # doctest: +SKIP
    ('done', {'finished': 2000})

What is public is in `__all__`. Each name is loaded when it is first used, so that a payload that needs only
`esfsm.payload` starts in milliseconds.

PYTEST_DONT_REWRITE: the package has a plug-in for pytest, which would else rewrite, or warn about, all of its modules.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from esfsm._face import draw
    from esfsm.auditor import audit
    from esfsm.errors import EsfsmError, JournalError, PilotErrorCode, ReplayDiverged, UnusableInput, UnusableJournal
    from esfsm.esprocess import ESProcess
    from esfsm.model.job import Job
    from esfsm.model.outcome import Outcome, PilotOutcome
    from esfsm.model.settings import Settings
    from esfsm.pilot import run_pilot
    from esfsm.plugins import check_workflow as check
    from esfsm.replayer import replay
    from esfsm.run import resume, run_workflow
    from esfsm.supposing import WhatIf, what_if
    from esfsm.views.audit import Audit
    from esfsm.views.story import Story

__version__ = "0.1.0"
__all__ = [
    "Audit",
    "ESProcess",
    "EsfsmError",
    "Job",
    "JournalError",
    "Outcome",
    "PilotErrorCode",
    "PilotOutcome",
    "ReplayDiverged",
    "Settings",
    "Story",
    "UnusableInput",
    "UnusableJournal",
    "WhatIf",
    "audit",
    "check",
    "draw",
    "replay",
    "resume",
    "run_pilot",
    "run_workflow",
    "what_if",
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
