"""EventRange: the span of events that a payload gets at a time.

The keys on the wire are PanDA's (`eventRangeID`, `startEvent`, ...); unknown keys are kept and passed on.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StringConstraints, model_validator

__all__ = ["EventRange", "EventRangeID"]

# AthenaMP's reader cuts at a newline, splits at commas and strips brackets, so an id may hold none of these;
# as an id also becomes part of a file name, nothing else is let in either (protocol: five numbers and dashes).
EventRangeID = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z][0-9A-Za-z._-]{0,199}$")]


class EventRange(BaseModel):
    """One event range: `start_event` to `last_event`, both included, of one input file.

    LFN, GUID and scope are None where PanDA does not know the input file.
    """

    model_config = ConfigDict(frozen=True, populate_by_name=True, extra="allow")

    event_range_id: EventRangeID = Field(alias="eventRangeID")
    start_event: StrictInt = Field(alias="startEvent", ge=0)
    last_event: StrictInt = Field(alias="lastEvent")
    lfn: str | None = Field(default=None, alias="LFN")
    guid: str | None = Field(default=None, alias="GUID")
    scope: str | None = None

    @model_validator(mode="after")
    def _last_is_not_before_first(self) -> "EventRange":
        if self.last_event < self.start_event:
            raise ValueError(f"lastEvent {self.last_event} is before startEvent {self.start_event}")
        return self

    @property
    def events(self) -> int:
        """How many events it spans."""
        return self.last_event - self.start_event + 1

    def as_panda(self) -> dict[str, object]:
        """The dictionary that PanDA would send: `{"eventRangeID": ..., "startEvent": ..., ...}`."""
        return self.model_dump(by_alias=True)
