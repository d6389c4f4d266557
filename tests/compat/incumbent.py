"""pilot3 itself, from PyPI, beside which our names are laid.

Its ESProcess cannot run, as yampl is not to be had: what that would do is compared by its source. Modules of pilot3 are
imported here only: it uses parts of Python that are on their way out, and warnings are errors.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

__all__ = ["CLASSES", "failures", "generic", "jobs", "old_ways", "raythena", "work"]


@contextmanager
def old_ways() -> Iterator[None]:
    """Let pilot3 do what Python warns of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


pytest.importorskip("pilot", reason="pip install panda-pilot")
with old_ways():
    import pilot.common.exception as failures
    import pilot.eventservice.esprocess.eshook as hooks
    import pilot.eventservice.esprocess.esmanager as managers
    import pilot.eventservice.esprocess.esmessage as messages
    import pilot.eventservice.esprocess.esprocess as processes
    import pilot.eventservice.workexecutor.plugins.genericexecutor as generic
    import pilot.eventservice.workexecutor.plugins.raythenaexecutor as raythena
    import pilot.eventservice.workexecutor.workexecutor as work
    import pilot.info.jobdata as jobs

CLASSES = {
    "ESHook": hooks.ESHook,
    "ESManager": managers.ESManager,
    "ESProcess": processes.ESProcess,
    "GenericExecutor": generic.GenericExecutor,
    "MessageThread": messages.MessageThread,
    "RaythenaExecutor": raythena.RaythenaExecutor,
}
"""By the name that we offer."""
