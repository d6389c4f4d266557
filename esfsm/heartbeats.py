"""Heartbeats: a thread that says how a job stands, at once when that changes and from time to time.

No range waits for it. PanDA takes a job for lost when it has heard nothing for three hours.
"""

from collections.abc import Callable
from threading import Condition, Thread

from esfsm.core.engine import Engine
from esfsm.core.facts import Fact
from esfsm.model.report import JobReport
from esfsm.views.heartbeat import heartbeat

__all__ = ["Heartbeats"]

DEBUG_S = 60.0
"""The time between two heartbeats while the server wants to look closely (as in pilot3)."""

PATIENCE_S = 2.0
"""How long a silent server can keep a job from ending."""


class Heartbeats:
    """The heartbeats of one job, as long as it has not come to an end."""

    def __init__(self, say: Callable[[JobReport], str | None], every_s: float) -> None:
        """`say` tells the server and returns its command; it is called by one thread, at most every `every_s` seconds
        and when the job's status changes."""
        self._say, self._every_s = say, every_s
        self._changed = Condition()
        self._report: JobReport | None = None
        self._is_new = self._closed = False
        self._thread = Thread(target=self._beat, name="heartbeats", daemon=True)
        self._thread.start()

    def heard(self, _: Fact, engine: Engine) -> None:
        """To be called after each fact."""
        report = heartbeat(engine)
        with self._changed:
            before = self._report and self._report.state
            self._report = report
            if report is not None and report.state != before:
                self._is_new = True
                self._changed.notify()

    def close(self) -> None:
        """Say nothing more; waits a while for what is being said."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(PATIENCE_S)

    def _beat(self) -> None:
        every_s = self._every_s
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_new or self._closed, every_s)
                if self._closed:
                    return
                report, self._is_new = self._report, False
            command = None if report is None else self._say(report)
            if command in ("debug", "debugoff"):
                every_s = min(DEBUG_S, self._every_s) if command == "debug" else self._every_s
