"""What a user gives: a job and settings, in whatever form, made into a Job and Settings."""

from collections.abc import Mapping
from pathlib import Path

import orjson

from esfsm.errors import UnreadableJob, UnusableInput
from esfsm.model.job import Job
from esfsm.model.queuedata import QueueData
from esfsm.model.settings import YEAR_S, Settings

__all__ = ["change_settings", "read_job", "read_settings"]


def read_job(job: Job | Mapping[str, object] | Path | str) -> tuple[Job, Path]:
    """The job, and the directory where its inputs are looked for. Raises `UnreadableJob`."""
    if isinstance(job, Job):
        return job, Path.cwd()
    if isinstance(job, Mapping):
        return Job.read(job), Path.cwd()
    path = Path(job)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UnreadableJob(error.strerror or str(error), str(path)) from None
    return Job.read(content, source=str(path)), path.absolute().parent


def read_settings(
    job: Job, settings: Mapping[str, object] | Settings | None, config: Path | None, inputs: Path
) -> tuple[Settings, dict[str, str]]:
    """All layers on each other, and who said what; `inputs` is where the inputs are unless somebody says otherwise.

    Raises `UnusableInput`.
    """
    if isinstance(settings, Settings):
        if config is not None:
            raise UnusableInput("a configuration file and whole Settings contradict each other: give one of them")
        given, said_by = settings, dict.fromkeys(settings.model_fields_set, "argument")
    else:
        given, _ = Settings.layered(settings, None, config)
        queuedata = _queuedata(given.queuedata, job.overwrite_queuedata)
        given, said_by = Settings.layered(settings, queuedata, config)
    local_files = {
        name: getattr(given, name).absolute() for name in ("broker", "ranges", "queuedata") if getattr(given, name)
    }
    urls = {"input_url": given.input_url or str(inputs), "output_url": given.output_url}
    urls["failover_url"] = given.failover_url
    absolute = {  # a job may be resumed from elsewhere
        name: url if "://" in url else str(Path(url).absolute()) for name, url in urls.items() if url is not None
    }
    job_says = {} if job.looping_check else {"looping_limit_s": YEAR_S}  # as good as no limit
    local = absolute["input_url"].removeprefix("file://")
    beside = inputs if "://" in local else Path(local)
    found = {"transformations": (given.transformations or beside).absolute()}
    return given.model_copy(update={**absolute, **local_files, **found, **job_says}), said_by


def change_settings(settings: Settings, changes: Mapping[str, object]) -> tuple[Settings, dict[str, str]]:
    """Settings of a journal with some changed by an argument, and who said what. Raises `UnusableInput`."""
    changed, said_by = Settings.layered({**settings.model_dump(), **Settings.by_name(changes)})
    return changed, {name: "argument" if name in changes else "journal" for name in said_by}


def _queuedata(path: Path | None, overwrites: Mapping[str, object]) -> QueueData | None:
    """What the queue says, from a file in CRIC's form, and what the job puts over it."""
    if path is None and not overwrites:
        return None
    try:
        content = {} if path is None else orjson.loads(path.read_bytes())
    except OSError as error:
        raise UnusableInput(f"queue data {path}: {error.strerror}") from None
    except orjson.JSONDecodeError as error:
        raise UnusableInput(f"queue data {path}: not JSON: {error}") from None
    return QueueData.read(content, overwrites)
