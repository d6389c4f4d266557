"""The command line of an Event Service payload: a plain one that is told the name of its channel."""

from pathlib import Path

from esfsm.adapters.payloads.generic import payload
from esfsm.model.job import Job
from esfsm.model.settings import Settings
from esfsm.ports import Payload
from esfsm.wire.transform import VARIABLE, with_channel

__all__ = ["prepare"]


def prepare(job: Job, workdir: Path, settings: Settings, mark: str) -> Payload:
    """What is to be run for a job. Raises `UnusableInput` and OSError."""
    channel = f"EventService_EventRanges_{mark}"
    arguments = with_channel([job.transformation, *job.arguments], channel)[1:]
    return payload(job, arguments, workdir, settings, mark, {VARIABLE: channel})._replace(channel=channel)
