"""The final word about a job: how it ended and why, said again while nobody answers."""

from esfsm.core.batch import DIAG_LENGTH, pause_s
from esfsm.core.facts import (
    Fact,
    FileCopy,
    JobClassified,
    JobReported,
    LogPacked,
    PayloadFailed,
    PayloadFinished,
    PayloadStarted,
    Preempted,
    SetupFailed,
)
from esfsm.core.ranges import Ranges
from esfsm.errors import PilotErrorCode
from esfsm.model.report import JobReport
from esfsm.model.settings import Settings

__all__ = ["FinalWord"]

NO_TROUBLE = (int(PilotErrorCode.NONE), "")


class FinalWord:
    """What is known for it, and how often it was said."""

    def __init__(self) -> None:
        self.trouble = NO_TROUBLE
        """Pilot error code and sentence of what the job failed of, or was stopped by."""
        self.exit_code: int | None = None
        """Of the payload, once it has ended."""
        self.outputs: tuple[FileCopy, ...] = ()
        self.unreported = False
        """Whether nobody answered, however often it was said."""
        self.again_at: float | None = None
        """When it is to be said once more."""
        self.log = ""
        """The LFN of the log that the server wants, if it wants one."""
        self.waits_for_log = False
        """Whether it is to be made first."""
        self.since = 0.0
        """When there was something to say first."""
        self._said = 0
        self._logs: dict[str, dict[str, object]] = {}

    def hear(self, fact: Fact) -> None:
        """The exit code belongs to the last payload."""
        match fact:
            case JobClassified():
                self.log = fact.log
            case LogPacked():
                self._logs = {fact.file.lfn: {**_as_told(fact.file), "guid": fact.guid}}
            case PayloadStarted():
                self.exit_code = None
            case PayloadFinished() | PayloadFailed() | SetupFailed():
                self.exit_code = fact.exit_code

    def led_by(self, fact: Fact) -> None:
        """A fact led from one state to another: the first trouble is what the job fails of, unless it is stopped."""
        self._said, self.again_at, self.since = 0, None, fact.at
        self.waits_for_log = bool(self.log)
        if isinstance(fact, Preempted) or (hasattr(fact, "error_code") and not self.trouble[0]):
            self.trouble = (int(getattr(fact, "error_code", 0)), getattr(fact, "why", ""))

    def answered(self, fact: Fact, settings: Settings) -> None:
        """It is said again after a pause while nobody answers, a bounded number of times."""
        self._said = 0 if isinstance(fact, JobReported) else self._said + 1
        again = 0 < self._said < settings.report_attempts
        self.unreported = self._said > 0 and not again
        self.again_at = fact.at + pause_s(settings.retry_pause_s, self._said) if again else None

    def resume(self, *, leaves_end: bool) -> None:
        """The job is taken up again: it leaves its end, and what led there is over; or the word is still to be said."""
        if leaves_end:
            self.trouble = NO_TROUBLE
        elif self.again_at is not None or self.unreported:
            self._said, self.again_at = 0, 0.0
        self.unreported = False

    def give_up(self) -> None:
        """There is no time left to say it."""
        self.unreported, self.again_at = True, None

    def report(self, state: str, ranges: Ranges, *, feeds: bool) -> JobReport:
        """As PanDA wants to hear it. A stop is no failure of an Event Service job: the rest is handed out again.

        The archives of a job that feeds event ranges were reported with them; PanDA knows no other output of it.
        """
        finished = state == "done" or (state == "stopped" and bool(ranges.ledger))
        error_code, why = NO_TROUBLE if finished else self.trouble
        if not finished and not error_code:  # stopped on request
            error_code = PilotErrorCode.KILLSIGNAL
        return JobReport(
            "finished" if finished else "failed",
            events=ranges.ledger.events_finished,
            error_code=error_code,
            error_diag=why[:DIAG_LENGTH],
            exit_code=self.exit_code,
            cpu_s=ranges.cpu_s,
            outputs=({} if feeds else {copy.lfn: _as_told(copy) for copy in self.outputs}) | self._logs,
            log=self.log if self._logs else "",
        )


def _as_told(copy: FileCopy) -> dict[str, object]:
    return {"fsize": copy.size_bytes, "adler32": copy.adler32, "surl": copy.url}
