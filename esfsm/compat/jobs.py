"""One job of a pilot, run by the engine: what its pilot does is left out.

The pilot has staged in, has made the command line, and tells the server how the job stands. So the job has no inputs
here, the payload is the pilot's own shell text, and the communicator hears about event ranges only. All else is as in
`run_workflow`: tables, journal, stage-out, reports.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from esfsm import plugins
from esfsm.equipment import Equipment
from esfsm.errors import UnusableInput
from esfsm.given import read_settings
from esfsm.inbox import Inbox
from esfsm.loop import Watch
from esfsm.model.files import LIST_KEYS
from esfsm.model.job import Job, JobKind
from esfsm.model.outcome import Outcome
from esfsm.model.settings import Settings
from esfsm.ports import Payload
from esfsm.run import Equip, run_with
from esfsm.wire.transform import shell_with_channel

__all__ = ["Command", "PilotsEquipment", "PilotsJob", "read_job", "run_job", "settings_of"]

KEYS = {field.alias for field in Job.model_fields.values() if field.alias} - LIST_KEYS
"""What is taken of a definition: files are the pilot's business."""


class PilotsJob(Protocol):
    """What is used of pilot3's `JobData`."""

    workdir: str
    corecount: int
    infosys: Any
    nevents: int
    """For its heartbeats (PanDA's nEvents)."""
    pid: int | None

    def __contains__(self, key: str) -> bool:
        """Whether PanDA's definition has the key."""
        ...

    def __getitem__(self, key: str) -> object:
        """What PanDA's definition says."""
        ...


class Command(NamedTuple):
    """What a pilot wants to be run: its shell text, which is trusted, and where output and errors go."""

    text: str
    stdout: Path
    stderr: Path
    cores: int


class PilotsEquipment(Equipment):
    """The tools of a job whose pilot lives."""

    def __init__(
        self, job: Job, workdir: Path, settings: Settings, said_by: Mapping[str, str], run: str, command: Command
    ) -> None:
        super().__init__(job, workdir, settings, said_by, run)
        self._command = command

    @property
    def books_jobs(self) -> bool:
        """Never: a final report of ours would end the job before its pilot has stored the log."""
        return False

    def prepare_payload(self) -> Payload:
        """The pilot's command, which is told its channel, with the mark of this place. Raises `UnusableInput`."""
        channel = f"EventService_EventRanges_{self.mark}"
        text, stdout, stderr, cores = self._command
        environment = {"ATHENA_PROC_NUMBER": str(cores), "ATHENA_CORE_NUMBER": str(cores)}
        arguments = ["/bin/sh", "-c", shell_with_channel(text, channel)]
        return Payload(arguments, self.workdir, environment, stdout, stderr, cores, mark=self.mark, channel=channel)


def read_job(job: PilotsJob) -> Job:
    """The job as we know jobs. Raises `UnreadableJob`, and `UnusableInput` for one of another kind."""
    ours = Job.read({key: job[key] for key in KEYS if key in job}, source="the pilot's job")
    if ours.kind is not JobKind.EVENTSERVICE:
        raise UnusableInput(f"job {ours.panda_id} is of kind {ours.kind.value}, and needs no event ranges")
    return ours


def settings_of(
    job: Job, pilots: PilotsJob, workdir: Path, wishes: Mapping[str, object]
) -> tuple[Settings, dict[str, str]]:
    """The settings, and who said what: the environment wins over what the pilot knows, and that over `wishes`.

    The class that was loaded says where the payload runs, so pilot3's executor type says nothing.

    Raises `UnusableInput`, also when no storage is named: the pilot removes its work directory, and PanDA has to know
    where an archive is.
    """
    _, said_by = Settings.layered()
    gap_s = pilots.infosys.queuedata.es_stageout_gap if pilots.infosys else None
    known = {"communicator": "panda", **wishes, "zip_time_gap_s": gap_s or None}
    unsaid = {name: value for name, value in known.items() if name not in said_by}
    given, said_by = read_settings(job, {**unsaid, "executor_type": "generic"}, None, workdir)
    if not given.rses and (given.output_url is None or "output_rse_id" not in said_by):
        where = "set ESFSM_OUTPUT_URL and ESFSM_OUTPUT_RSE_ID, or ESFSM_STORAGES"
        raise UnusableInput(f"there is no storage for archives: {where}")
    return given, said_by


def run_job(job: Job, workdir: Path, settings: Settings, equip: Equip, inbox: Inbox, watch: Watch) -> Outcome:
    """Run the job to its end, or go on with it. Whoever wants it to end says so to the inbox.

    Raises `UnusableInput`, `JournalError`, `ReplayDiverged`.
    """
    table = plugins.workflow(settings.workflow or job.kind.value)
    return run_with(equip, job, workdir, settings, table, inbox, watch)
