"""Outcome: how a job ended. What `run_workflow` returns and `esfsm run --json` prints."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Outcome", "OutputFile", "PilotOutcome"]


class OutputFile(BaseModel):
    """A file that was stored and verified: size in bytes, adler32 as 8 hex digits, and where it is."""

    model_config = ConfigDict(frozen=True)

    lfn: str
    size_bytes: int
    adler32: str
    url: str


class Outcome(BaseModel):
    """How a job ended."""

    model_config = ConfigDict(frozen=True)

    panda_id: int
    state: str
    """The state that the job is in: done, failed or stopped."""
    path: tuple[str, ...]
    """The states entered, in order."""
    sentence: str
    """What happened, for people."""
    exit_code: int
    """0 done, 1 failed, 3 stopped on request, with what was finished stored as far as there was time."""
    pilot_error_code: int = 0
    payload_exit_code: int | None = None
    """None when no payload has run to its end."""
    ranges: Mapping[str, int] = Field(default_factory=dict)
    """Event ranges by their final state: finished, failed, released, refused."""
    events: int = 0
    """Events in the finished ranges."""
    outputs: tuple[OutputFile, ...] = ()
    journal: Path


class PilotOutcome(BaseModel):
    """How a pilot ended."""

    model_config = ConfigDict(frozen=True)

    state: str
    """done, stopped or failed."""
    path: tuple[str, ...]
    """The states entered, in order."""
    sentence: str
    """What happened, for people."""
    exit_code: int
    """0 done, 1 failed, 3 stopped on request; however its jobs ended."""
    jobs: int
    """How many it has fetched."""
