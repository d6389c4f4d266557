"""What an executor tells of a payload, made into facts that answer the action that began it."""

from collections.abc import Callable, Sequence

from esfsm.core import facts as f
from esfsm.equipment import SeenFile
from esfsm.errors import PilotErrorCode
from esfsm.ports import ProcessIdentity

__all__ = ["FactHooks"]


class FactHooks:
    """The hooks of one payload; `put` takes a fact, `find` looks for a file that the payload names."""

    def __init__(self, number: int, put: Callable[[f.Fact], None], find: Callable[[str], SeenFile]) -> None:
        self._number, self._put, self._find = number, put, find

    def payload_started(self, identity: ProcessIdentity, channel: str = "") -> None:
        """The process runs."""
        self._put(f.PayloadStarted(answers=self._number, pid=identity.pid, started=identity.started, channel=channel))

    def ranges_wanted(self, n: int) -> None:
        """It will soon need more."""
        self._put(f.RangesWanted(answers=self._number, n=n))

    def ranges_sent(self, event_range_ids: Sequence[str]) -> None:
        """It has these."""
        self._put(f.RangesSent(answers=self._number, event_range_ids=tuple(event_range_ids)))

    def output_produced(self, event_range_id: str, paths: Sequence[str], cpu_s: float, wall_s: float) -> None:
        """What is announced and not there is a failed range, not an output."""
        try:
            files = [self._find(path) for path in paths]
        except (OSError, ValueError) as error:
            why = f"the output that the payload announced is not there: {error}"
            code = PilotErrorCode.MISSINGOUTPUTFILE
            fact = f.RangeErrored(answers=self._number, event_range_id=event_range_id, error_code=code, why=why)
            self._put(fact)
            return
        self._put(
            f.OutputProduced(
                answers=self._number,
                event_range_id=event_range_id,
                paths=tuple(file.name for file in files),
                stamps=tuple(file.stamp for file in files),
                size_bytes=sum(file.size_bytes for file in files),
                cpu_s=cpu_s,
                wall_s=wall_s,
            )
        )

    def range_errored(self, event_range_id: str, why: str) -> None:
        """It gave a range up."""
        self._put(f.RangeErrored(answers=self._number, event_range_id=event_range_id, why=why))

    def message_unreadable(self, text: str, why: str) -> None:
        """It said what nobody understands."""
        self._put(f.MessageUnreadable(answers=self._number, text=text, why=why))

    def payload_ended(self, exit_code: int | None, error_code: int, why: str) -> None:
        """Process and channel have ended."""
        if error_code:
            self._put(f.PayloadFailed(answers=self._number, exit_code=exit_code, error_code=error_code, why=why))
        else:
            self._put(f.PayloadFinished(answers=self._number, exit_code=exit_code))

    def setup_failed(self, exit_code: int, error_code: int, why: str) -> None:
        """It never came so far as to ask for a range."""
        self._put(f.SetupFailed(answers=self._number, exit_code=exit_code, error_code=error_code, why=why))

    def payload_gone(self) -> None:
        """An adopted one is lost."""
        self._put(f.PayloadGone(answers=self._number))
