"""What a payload may use: a measurement and the settings -> exceeded or not, and the sentence for it.

Numbers are PanDA's and pilot3's; where a setting has no number, nothing is exceeded.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf

from esfsm.core.facts import Fact, LimitExceeded, Preempted
from esfsm.errors import PilotErrorCode
from esfsm.model.resources import Resources
from esfsm.model.settings import Settings

__all__ = ["Limits"]

CGROUP_SHARE = 0.95
"""The kernel kills at the limit of a control group, and it may choose the engine: so the payload is ended before."""
TIME_TO_STOP_S = 10.0
"""What a stop takes at least, beside what is to be stored: a payload that does not want to end (5 s until SIGKILL), and
the last word."""
STORING_SLOWS_DOWN = 2
"""At the end of a batch slot everybody stores: it may take twice as long as it did. A guess."""


@dataclass(slots=True)
class Limits:
    """The limits of one job, and what is known of its payload."""

    settings: Settings
    alive_at: float = 0.0
    """When the payload was heard of last, seconds since 1970."""
    measured_at: float = 0.0
    until: float = inf
    """When this place is somebody else's ..."""
    why_until: str = ""
    """... and who says so."""

    def began(self, at: float) -> None:
        """A new engine: the time of the one before is not ours, nor was a payload silent while nobody listened."""
        self.started(at)
        limit_s = self.settings.walltime_limit_s
        self.until = inf if limit_s is None else at + limit_s
        self.why_until = "" if limit_s is None else f"the walltime of {limit_s:g} s"

    def time_limited(self, until: float, why: str) -> None:
        """Somebody else says so; the earlier one counts."""
        if until < self.until:
            self.until, self.why_until = until, why

    def stop_at(self, one_more_s: float, unsaved_s: float) -> float:
        """When to stop so that a range that runs may end, in `one_more_s` seconds, and what waits be stored."""
        return self.until - TIME_TO_STOP_S - one_more_s - STORING_SLOWS_DOWN * unsaved_s

    def out_of_time(self, now: float) -> Preempted:
        """That it is time to stop."""
        within_s = round(max(0.0, self.until - now), 3)
        why = f"{self.why_until} is over in {within_s:.0f} s, and a stop may take so long"
        return Preempted(error_code=PilotErrorCode.REACHEDMAXTIME, why=why, within_s=within_s)

    def started(self, at: float) -> None:
        """A payload runs."""
        self.alive_at = self.measured_at = at

    def measure_at(self) -> float:
        """When it is to be measured again; infinity where that was not asked for."""
        if not self.settings.monitor_s:
            return inf
        return self.measured_at + min(self.settings.monitor_s, self.settings.looping_limit_s)

    def exceeded(self, resources: Resources, at: float, waits_for_us: bool) -> Fact | None:
        """What was measured, held against the limits; `waits_for_us`: the payload's silence is our delay.

        A stop (`Preempted`) where what is finished can be saved in time, else `LimitExceeded`.
        """
        alive_at = at if waits_for_us else max(self.alive_at, min(resources.touched_at or 0.0, at))
        silent_s, settings = at - alive_at, self.settings
        for code, why in self._too_much(resources):
            return LimitExceeded(error_code=code, why=why, at_once=True)
        if silent_s >= settings.looping_limit_s:
            why = f"the payload has said nothing and touched no file for {round(silent_s, 1):g} s"
            return LimitExceeded(error_code=PilotErrorCode.LOOPINGJOB, why=why, at_once=True)
        left_s = resources.proxy_left_s
        if left_s is not None and left_s < settings.proxy_limit_s:
            why = f"the X.509 proxy is good for {max(0.0, left_s):.0f} s only"
            return Preempted(error_code=PilotErrorCode.NOPROXY, why=why)
        return None

    def _too_much(self, r: Resources) -> Iterator[tuple[int, str]]:
        """Error code and sentence of whatever is too large, or too small."""
        s, code = self.settings, PilotErrorCode
        cgroup_bytes = None if r.cgroup_limit_bytes is None else CGROUP_SHARE * r.cgroup_limit_bytes
        for taken, limit, error_code, sentence in (
            (r.memory_bytes, s.memory_limit_bytes, code.PAYLOADEXCEEDMAXMEM, "the payload uses {} of memory, of {}"),
            (r.cgroup_bytes, cgroup_bytes, code.PAYLOADEXCEEDMAXMEM, "the control group holds {} of memory, of {}"),
            (r.workdir_bytes, s.workdir_limit_bytes, code.USERDIRTOOLARGE, "the work directory has {}, of {}"),
            (r.largest_bytes, s.output_limit_bytes, code.OUTPUTFILETOOLARGE, f"{r.largest} has {{}}, of {{}}"),
            (r.log_bytes, s.log_limit_bytes, code.STDOUTTOOBIG, "the payload has written {} of output, of {}"),
        ):
            if taken is not None and limit is not None and taken > limit:
                yield error_code, sentence.format(_size(taken), _size(limit)) + " that it may have"
        if r.free_bytes is not None and r.free_bytes < s.free_limit_bytes:
            free, least = _size(r.free_bytes), _size(s.free_limit_bytes)
            yield code.NOLOCALSPACE, f"only {free} are free on the disk of the work directory, and {least} are to be"
        if s.cpu_limit_s is not None and (r.cpu_s or 0.0) > s.cpu_limit_s:
            why = f"the payload has used {r.cpu_s:.0f} s of CPU time, of {s.cpu_limit_s:g} s that it may have"
            yield code.SIGXCPU, why


def _size(size_bytes: float) -> str:
    """In bytes as long as those can be counted, else in MB."""
    return f"{size_bytes:.0f} bytes" if size_bytes < 1e6 else f"{size_bytes / 1e6:.0f} MB"
