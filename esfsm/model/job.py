"""Job: a job definition, read once and strictly; nobody else looks into PanDA's dictionary.

`Job.read` takes it as PanDA, Harvester or aCT give it. Values that PanDA lets slip (a boolean that is none, a number
that is none) become their default and a sentence in `warnings`; whatever cannot be run is refused.
"""

import ast
import base64
import re
import shlex
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated
from urllib.parse import parse_qsl

import orjson
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
from esfsm.model.files import LIST_KEYS, FileSpec, input_files, listed_files, output_files, written_files

__all__ = ["Job", "JobKind"]

_YES = frozenset({"1", "true", "yes"})
_NO = frozenset({"", "none", "false", "no", "0"})

# Space tokens (prodDBlockToken, ...) are names of storages; every other token lets somebody in.
_SECRET = re.compile(
    r"secret|passw|passphrase|credential|credname|proxy|(private|access|api).?key|authorization|bearer|(?<!dblock)token",
    re.IGNORECASE,
)
_JSON_KEY = re.compile(r'"((?:[^"\\]|\\.)*)":')

# A form begins so; JSON that was cut off may have `&PandaID=` in it, but does not.
_FORM = re.compile(r"\s*\w+=")
_OVERWRITE = re.compile(r"(?<!\S)--overwrite(Queuedata|QueueData|StorageData)(?:=|\s+)")
# A quotation that is not closed goes to the end, and a map holds no other map: so no text is read twice.
_QUOTED_OR_BRACE = re.compile(
    r"""'(?:\\.|[^'\\])*+(?:'|\\?\Z)|"(?:\\.|[^"\\])*+(?:"|\\?\Z)|[{}]""",
    re.DOTALL,
)
_ZIP_MAP = re.compile(
    r"""(?P<quote>['"]?)<ZIP_MAP>(?P<what>(?:(?!</?ZIP_MAP>).)*+)</ZIP_MAP>(?P=quote)""",
    re.DOTALL,
)
_QUOTES = frozenset("'\"\\")
# The last alternative is a quotation that is not closed.
_ARGUMENT = re.compile(r"""(?:[^ \t\r\n'"\\]+|'[^']*'|"(?:\\.|[^"\\])*+"|\\.|['"\\].*)++""", re.DOTALL)
_CONTAINER_IMAGE = re.compile(r"(?<!\S)--containerImage(?:=|\s+)(?P<what>\S+)")


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
        raise ValueError(f"is {_shown(value)}, not a positive whole number")
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
    return number if number >= 0 else _default(value, info, "a whole number from 0 on")


def _default(value: object, info: ValidationInfo, expected: str = "") -> object:
    """PanDA's rule: what cannot be used is taken as not given. `read` listens (the context); else it is refused."""
    field = Job.model_fields[str(info.field_name)]
    if value is not None:
        sentence = f"{field.alias} is {_shown(value)}, not {expected}: {field.default} is taken"
        if info.context is None:
            raise ValueError(sentence)
        info.context(sentence)
    return field.default


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


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

    core_count: Annotated[Count, AfterValidator(lambda cores: max(1, cores))] = Field(1, alias="coreCount")
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

    @classmethod
    def read(cls, content: object, *, source: str = "job definition", panda_id: int | None = None) -> "Job":
        """The job in a flat dictionary, Harvester's `{"<PandaID>": {...}}`, a server's reply, or the text of one.

        Text is JSON, or URL-encoded as aCT has it. Of several jobs `panda_id` chooses; without it Harvester's first
        is taken. Raises `UnreadableJob` with one sentence.
        """
        try:
            job = cls._of(_flat(content, panda_id))
            if panda_id not in (None, job.panda_id):
                raise UnreadableJob(f"PandaID is {job.panda_id}, not {panda_id}")
            if job.kind is JobKind.EVENTSERVICEMERGE:
                job.written_files()
        except UnreadableJob as error:
            raise UnreadableJob(error.why, source) from None
        return job

    @classmethod
    def _of(cls, flat: dict[str, object]) -> "Job":
        definition, secrets = _without_secrets(flat)
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


def _flat(content: object, panda_id: int | None) -> dict[str, object]:
    """The one job in whatever was given."""
    content = _unwrapped(_parsed(content), panda_id)
    if isinstance(content, list):
        jobs = [job for job in content if panda_id is None or _has(job, panda_id)]
        if len(jobs) != 1:
            named = "" if panda_id is None else f" with PandaID {panda_id}"
            raise UnreadableJob(f"one job{named} is expected, there are {len(jobs)}")
        content = jobs[0]
    if not isinstance(content, dict):
        raise UnreadableJob(f"a JSON object is expected, not {type(content).__name__}")
    return content


def _parsed(content: object) -> object:
    """As JSON carries it; a mapping goes through JSON too, so that what is journalled is what was read."""
    text = content if isinstance(content, str | bytes) else _json(content)
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        form = _form(text)
        if "PandaID" not in form:
            raise UnreadableJob(f"not JSON at line {error.lineno}, column {error.colno}: {error.msg}") from None
        return form


def _form(text: str | bytes) -> dict[str, str]:
    """aCT's URL-encoded form; empty if it is none."""
    try:
        text = text.decode() if isinstance(text, bytes) else text.encode().decode()
        pairs = parse_qsl(text.strip(), keep_blank_values=True, errors="strict") if _FORM.match(text) else ()
    except UnicodeError:
        return {}
    return dict(pairs)


def _json(content: object) -> bytes:
    try:
        return orjson.dumps(dict(content) if isinstance(content, Mapping) else content)
    except orjson.JSONEncodeError as error:
        raise UnreadableJob(f"JSON cannot carry it: {error}") from None


def _has(job: object, panda_id: int) -> bool:
    return isinstance(job, dict) and str(job.get("PandaID")) == str(panda_id)


def _unwrapped(content: object, panda_id: int | None) -> object:
    """What a server's reply or Harvester's file has inside: a job, or a list of them."""
    if not isinstance(content, dict) or "PandaID" in content:
        return content
    reply = content["data"] if isinstance(content.get("data"), dict) else content
    if "PandaID" in reply:
        return reply
    if "jobs" in reply:
        return reply["jobs"]
    if refusal := reply.get("errorDialog") or content.get("message"):
        raise UnreadableJob(f"there is no job, the server says {_shown(refusal)}")
    is_harvesters = reply and all(isinstance(job, dict) for job in reply.values())
    return _harvesters(reply, panda_id) if is_harvesters else reply


def _harvesters(jobs: dict[str, dict[str, object]], panda_id: int | None) -> dict[str, object]:
    """One of `{"<PandaID>": {...}, ...}`; the key stands in for a PandaID that is not inside."""
    key = next(iter(jobs)) if panda_id is None else str(panda_id)
    if key not in jobs:
        raise UnreadableJob(f"there is no job {key}, only {_shown(list(jobs))}")
    inside = jobs[key].get("PandaID")
    if inside is not None and str(inside) != key:
        raise UnreadableJob(f"the job below {_shown(key)} has PandaID {_shown(inside)}")
    return jobs[key] | {"PandaID": key if inside is None else inside}


def _without_secrets(flat: dict[str, object]) -> tuple[dict[str, object], dict[str, SecretStr]]:
    """The definition that anybody may see, and what nobody may."""
    hidden = {key: value for key, value in flat.items() if _is_secret(key, value)}
    secrets = {key: value if isinstance(value, str) else _json(value).decode() for key, value in hidden.items()}
    public = {key: value for key, value in flat.items() if key not in hidden}
    return public, {key: SecretStr(text) for key, text in secrets.items()}


def _is_secret(key: str, value: object) -> bool:
    """By its key, or by any key inside it."""
    keys = _JSON_KEY.findall(_json({key: value}).decode()) if isinstance(value, dict | list) else [key]
    return any(_SECRET.search(key) for key in keys)


def _platforms(definition: Mapping[str, object]) -> dict[str, str]:
    platform, _, container_platform = str(definition.get("cmtConfig")).partition("@")
    return {
        "cmtConfig": "" if platform.lower() in ("null", "none") else platform,
        "container_platform": container_platform,
    }


def _job_pars(definition: Mapping[str, object]) -> dict[str, object]:
    """jobPars without what is meant for the pilot, and that by the names of its fields."""
    text = _as_text(definition.get("jobPars"))
    if "ej" in _as_text(definition.get("specialHandling")).split(","):
        try:
            text = base64.b64decode(text, validate=True).decode()
        except ValueError:
            raise UnreadableJob("jobPars is not the base64 that specialHandling ej promises") from None
    overwrites: dict[str, dict[str, object]] = {"Queuedata": {}, "QueueData": {}, "StorageData": {}}
    kept, end = [], 0
    for found in _OVERWRITE.finditer(text):
        if found.start() >= end:
            kept.append(text[end : found.start()])
            end = _end_of_dictionary(text, found)
            # The values of the older --overwriteQueuedata are no Python literals, and no pilot reads them any more.
            if found[1] != "Queuedata":
                overwrites[found[1]] |= _dictionary(text[found.end() : end], found)
    zip_map, text = _taken(_ZIP_MAP, "".join(kept) + text[end:])
    container_image, text = _taken(_CONTAINER_IMAGE, text)
    return {
        "jobPars": text,
        "arguments": tuple(_arguments(text)),
        "overwrite_queuedata": overwrites["QueueData"],
        "overwrite_storagedata": overwrites["StorageData"],
        "zip_map": zip_map,
        "container_image": container_image,
    }


def _arguments(text: str) -> list[str]:
    """As `shlex.split` does it, which needs a second for a list of 10,000 LFNs and four for one of 20,000."""
    words = _ARGUMENT.findall(text)
    try:
        return [word if _QUOTES.isdisjoint(word) else shlex.split(word)[0] for word in words]
    except ValueError as error:
        raise UnreadableJob(f"jobPars cannot be split into arguments: {error}") from None


def _taken(pattern: re.Pattern[str], text: str) -> tuple[str, str]:
    """What the pattern finds, and the text without it."""
    found = pattern.search(text)
    return found["what"] if found else "", pattern.sub("", text)


def _end_of_dictionary(text: str, option: re.Match[str]) -> int:
    """Where the value of an option ends that is a dictionary, as it is or quoted; braces in texts do not count."""
    depth = 0
    for token in _QUOTED_OR_BRACE.finditer(text, option.end()):
        depth += {"{": 1, "}": -1}.get(token[0], 0)
        if depth == 0 and text[option.end()] in "{'\"":
            return token.end()
    raise UnreadableJob(f"jobPars: {option[0].strip(' =')} has no dictionary")


def _dictionary(text: str, option: re.Match[str]) -> dict[str, object]:
    try:
        value = ast.literal_eval(text)
        value = ast.literal_eval(value) if isinstance(value, str) else value
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        value = None
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise UnreadableJob(f"jobPars: {option[0].strip(' =')} is no Python dictionary with texts as keys")
    return value
