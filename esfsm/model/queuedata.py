"""QueueData: what the description of a PanDA queue says, as far as it matters here.

Keys are those of CRIC (protocol: `zip_time_gap`, `pledgedcpu`, `params`, ...). Unknown keys are kept.
"""

from collections.abc import Mapping
from math import isfinite

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from esfsm.errors import UnusableInput

__all__ = ["GAP_S", "YEAR_S", "QueueData"]

GAP_S = 7200.0
"""Seconds between two archives when the queue says nothing (pilot3 `info/queuedata.py`)."""
GAP_OPPORTUNISTIC_S = 600.0
"""The same where nothing is pledged and a node may vanish at any time (`pledgedcpu` = -1)."""


YEAR_S = 31_536_000.0
"""No job lives so long. Python's and ZeroMQ's clocks cannot wait much longer, and not for ever."""
MOST_MB = 10**9


class QueueData(BaseModel):
    """One queue, frozen; what is absent is None or empty."""

    model_config = ConfigDict(frozen=True, extra="allow")

    zip_time_gap: float | None = Field(default=None, ge=0, le=YEAR_S)
    """Seconds between two archives; 0 says nothing, as None does."""
    pledgedcpu: int | None = None
    maxrss: float = Field(default=0, ge=0, le=MOST_MB)
    """MB; 0, as in the next one, says nothing."""
    maxwdir: float = Field(default=0, ge=0, le=MOST_MB)
    """MB."""
    maxtime: float = Field(default=0, ge=0, le=YEAR_S)
    """Seconds that a pilot may live here; 0 says nothing."""
    astorages: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    """Names of storage endpoints by activity."""
    params: Mapping[str, object] = Field(default_factory=dict)

    @field_validator("params")
    @classmethod
    def _names_an_executor_type(cls, params: Mapping[str, object]) -> Mapping[str, object]:
        if not isinstance(params.get("es_executor_type", ""), str):
            raise ValueError("es_executor_type is no text")
        return params

    @classmethod
    def read(cls, content: object, overwrites: Mapping[str, object] | None = None) -> "QueueData":
        """From CRIC's JSON, flat or below the one queue's name; `overwrites` come from the job and win.

        Raises `UnusableInput` with the first key that cannot be used.
        """
        if isinstance(content, Mapping) and len(content) == 1 and not content.keys() & cls.model_fields.keys():
            (inner,) = content.values()
            content = inner if isinstance(inner, Mapping) else content
        if not isinstance(content, Mapping):
            raise UnusableInput("queue data: a JSON object is expected")
        try:
            return cls.model_validate({**content, **(overwrites or {})})
        except ValidationError as error:
            first = error.errors()[0]
            raise UnusableInput(f"queue data: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None

    def grace(self, name: str, default: float) -> float:
        """A percentage among the `params`, as a fraction; one that is no number says nothing."""
        said = self.params.get(name)
        try:
            percentage = float(said) if isinstance(said, int | float | str) else default
        except ValueError:
            percentage = default
        return max(0.0, percentage if isfinite(percentage) else default) / 100

    def as_settings(self) -> dict[str, object]:
        """The settings that a queue decides, by their names in `Settings`."""
        said: dict[str, object] = {}
        if self.zip_time_gap:
            said["zip_time_gap_s"] = self.zip_time_gap
        elif self.pledgedcpu == -1:
            said["zip_time_gap_s"] = GAP_OPPORTUNISTIC_S
        if "es_executor_type" in self.params:
            said["executor_type"] = self.params["es_executor_type"]
        return said
