"""Job: a job definition, read once and strictly; nobody else looks into PanDA's dictionary.

`Job.read` takes it as PanDA, Harvester or aCT give it. Values that PanDA lets slip (a boolean that is none, a number
that is none) become their default and a sentence in `warnings`; whatever cannot be run is refused.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
)

from esfsm.errors import UnreadableJob
from esfsm.model.definition import flat_definition, shown, without_secrets
from esfsm.model.files import LIST_KEYS, FileSpec, input_files, listed_files, output_files, written_files
from esfsm.model.job_pars import read_job_pars

__all__ = ["Job", "JobKind"]

_YES = frozenset({"1", "true", "yes"})
_NO = frozenset({"", "none", "false", "no", "0"})


class JobKind(StrEnum):
    """What is to be run; decided by `eventService` and `eventServiceMerge` and by nothing else."""

    GENERIC = "generic"
    """Runs once over its inputs."""
    EVENTSERVICE = "eventservice"
    """Asks for event ranges until there are none left."""
    EVENTSERVICEMERGE = "eventservicemerge"
    """Makes the outputs of event ranges into those of the job."""


def _panda_id(value: object) -> int:
    if value is None:
        raise ValueError("is missing")
    if not re.fullmatch("0*[1-9][0-9]{0,17}", str(value)):
        raise ValueError(f"is {shown(value)}, not a positive whole number")
    return int(str(value))


def _as_text(value: object) -> str:
    return "" if value is None else str(value)


def _text(value: object) -> str:
    text = _as_text(value)
    if "\0" in text:
        raise ValueError("holds a NUL character, which no argument and no environment can")
    return text


def _yes_or_no(value: object, info: ValidationInfo) -> object:
    word = str(value).strip().lower()
    if value is None or word not in _YES | _NO:
        return _default(value, info, "yes or no")
    return word in _YES


def _count(value: object, info: ValidationInfo) -> object:
    if value == "NULL":
        return _default(None, info)
    try:
        number = int(value if isinstance(value, int | float) else str(value))
    except (ValueError, OverflowError):
        number = -1
    return number if 0 <= number < 2**63 else _default(value, info, "a whole number from 0 on, of 63 bits")


def _default(value: object, info: ValidationInfo, expected: str = "") -> object:
    """PanDA's rule: what cannot be used is taken as not given. `read` listens (the context); else it is refused."""
    field = Job.model_fields[str(info.field_name)]
    if value is not None:
        sentence = f"{field.alias} is {shown(value)}, not {expected}: {field.default} is taken"
        if info.context is None:
            raise ValueError(sentence)
        info.context(sentence)
    return field.default


Text = Annotated[str, BeforeValidator(_text)]
YesOrNo = Annotated[bool, BeforeValidator(_yes_or_no)]
Count = Annotated[int, BeforeValidator(_count)]
Number = Annotated[int | None, BeforeValidator(_count)]


class Job(BaseModel):
    """One job, frozen. `Job.read` makes it; the aliases are PanDA's keys.

    Two jobs are equal when PanDA said the same about them; secrets do not count, as they are never written down.
    """

    model_config = ConfigDict(frozen=True)

    panda_id: Annotated[int, BeforeValidator(_panda_id)] = Field(alias="PandaID")
    task_id: Number = Field(None, alias="taskID")
    """JEDI's number of the task; without it and `jobset_id` PanDA gives no event ranges."""
    jobset_id: Number = Field(None, alias="jobsetID")
    """Event ranges that nobody has belong to this number."""
    attempt_nr: Count = Field(0, alias="attemptNr")
    event_service: YesOrNo = Field(False, alias="eventService")
    event_service_merge: YesOrNo = Field(False, alias="eventServiceMerge")
    in_file_pos_evt_num: YesOrNo = Field(False, alias="inFilePosEvtNum")
    """Event numbers are positions inside the file, not those of all inputs together."""

    transformation: Text = Field("", alias="transformation")
    """The program, or the URL of a script."""
    job_pars: Text = Field("", alias="jobPars")
    """Its arguments, without what is meant for the pilot (the next five fields)."""
    arguments: tuple[str, ...]
    """`job_pars` as a shell would split it; no shell is needed."""
    overwrite_queuedata: Mapping[str, object]
    """`--overwriteQueueData`: wins over the queue's own data; keys are CRIC's."""
    overwrite_storagedata: Mapping[str, object]
    zip_map: str
    container_image: str
    """`--containerImage`; what the definition itself says is `container_name`."""
    write_to_file: Text = Field("", alias="writeToFile")

    in_files: tuple[FileSpec, ...]
    out_files: tuple[FileSpec, ...]
    """Without the log."""
    log_file: FileSpec | None

    core_count: Annotated[Count, AfterValidator(lambda cores: min(max(1, cores), 100_000))] = Field(
        1, alias="coreCount"
    )
    max_walltime_s: Count = Field(0, alias="maxWalltime")
    """0, as in the next three: no limit."""
    max_cpu_s: Count = Field(0, alias="maxCpuCount")
    min_ram_mb: Count = Field(0, alias="minRamCount")
    max_disk_mb: Count = Field(0, alias="maxDiskCount")
    looping_check: YesOrNo = Field(True, alias="loopingCheck")
    sw_release: Text = Field("", alias="swRelease")
    home_package: Text = Field("", alias="homepackage")
    platform: Text = Field("", alias="cmtConfig")
    container_platform: str
    """What cmtConfig has behind `@`."""
    container_name: Text = Field("", alias="container_name")
    prod_source_label: Text = Field("", alias="prodSourceLabel")
    processing_type: Text = Field("", alias="processingType")
    transfer_type: Text = Field("", alias="transferType")
    resource_type: Text = Field("", alias="resource_type")
    special_handling: Text = Field("", alias="specialHandling")
    """Tags with commas; `ej`: jobPars come in base64."""

    definition: Mapping[str, object] = Field(repr=False)
    """The flat dictionary without secrets, as JSON can carry it; `Job.read` makes the same job of it."""
    extra: Mapping[str, object]
    """What it has besides the fields above."""
    secrets: Mapping[str, SecretStr] = Field(exclude=True, repr=False)
    """Credentials by PanDA's key; texts as they are, all else as JSON. Never shown, dumped, pickled or journalled."""
    warnings: tuple[str, ...] = ()
    """One sentence for each value that could not be used and became its default."""

    @property
    def place(self) -> str:
        """The name of its work directory, where nobody gives another."""
        return f"PanDA_Pilot-{self.panda_id}"

    @classmethod
    def read(cls, content: object, *, source: str = "job definition", panda_id: int | None = None) -> "Job":
        """The job in a flat dictionary, Harvester's `{"<PandaID>": {...}}`, a server's reply, or the text of one.

        Text is JSON, or URL-encoded as aCT has it. Of several jobs `panda_id` chooses; without it Harvester's first
        is taken. Raises `UnreadableJob` with one sentence.
        """
        try:
            job = cls._of(flat_definition(content, panda_id))
            if panda_id not in (None, job.panda_id):
                raise UnreadableJob(f"PandaID is {job.panda_id}, not {panda_id}")
            if job.kind is JobKind.EVENTSERVICEMERGE:
                job.written_files()
        except UnreadableJob as error:
            raise UnreadableJob(error.why, source) from None
        return job

    @classmethod
    def _of(cls, flat: dict[str, object]) -> "Job":
        definition, secrets = without_secrets(flat)
        keys = [field.alias for field in cls.model_fields.values() if field.alias]
        read_here = LIST_KEYS.union(keys)
        warnings: list[str] = []
        out_files, log_file = output_files(definition, warnings.append)
        said = {
            **{key: definition.get(key) for key in keys},
            **_job_pars(definition),
            **_platforms(definition),
            "in_files": input_files(definition, warnings.append),
            "out_files": out_files,
            "log_file": log_file,
            "definition": definition,
            "extra": {key: value for key, value in definition.items() if key not in read_here},
            "secrets": secrets,
        }
        try:
            job = cls.model_validate(said, context=warnings.append)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise UnreadableJob(f"{first['loc'][0]} {first['msg'].removeprefix('Value error, ')}") from None
        return job.model_copy(update={"warnings": tuple(warnings)})

    @property
    def kind(self) -> JobKind:
        """Which workflow it needs; `eventService` is looked at first."""
        if self.event_service:
            return JobKind.EVENTSERVICE
        return JobKind.EVENTSERVICEMERGE if self.event_service_merge else JobKind.GENERIC

    def written_files(self) -> tuple[Mapping[str, tuple[str, ...]], str]:
        """The files of `writeToFile`, lines by name, and the jobPars to be used with them; raises `UnreadableJob`."""
        return written_files(self.write_to_file, self.job_pars)

    @property
    def listed_files(self) -> tuple[str, ...]:
        """The files that `writeToFile` names, each once, in its order: what a merge job has to merge."""
        return tuple(dict.fromkeys(lfn for lfns in listed_files(self.write_to_file).values() for lfn in lfns))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Job) and {**vars(self), "secrets": None} == {**vars(other), "secrets": None}

    def __hash__(self) -> int:
        return hash(self.panda_id)

    def __getstate__(self) -> dict[object, object]:
        state = super().__getstate__()
        return {**state, "__dict__": {**state["__dict__"], "secrets": {}}}


def _platforms(definition: Mapping[str, object]) -> dict[str, str]:
    platform, _, container_platform = str(definition.get("cmtConfig")).partition("@")
    return {
        "cmtConfig": "" if platform.lower() in ("null", "none") else platform,
        "container_platform": container_platform,
    }


def _job_pars(definition: Mapping[str, object]) -> dict[str, object]:
    """jobPars, and what they tell the pilot, by the names of their fields."""
    tags = _as_text(definition.get("specialHandling")).split(",")
    said = read_job_pars(_as_text(definition.get("jobPars")), encoded="ej" in tags)._asdict()
    return {"jobPars": said.pop("text"), **said}
