"""What a user gives: a job and settings, in whatever form, made into a Job and Settings."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from esfsm.errors import UnreadableJob, UnusableInput
from esfsm.lifetimes import learned_s
from esfsm.model.allowance import allowance
from esfsm.model.job import Job
from esfsm.model.reading import read_file
from esfsm.model.settings import YEAR_S, Settings
from esfsm.queuedata import read_queuedata
from esfsm.storages import read_rses

__all__ = ["change_settings", "read_job", "read_settings"]

PLACES = ("broker", "node_history", "queuedata", "ranges", "storages", "transformations")
"""Settings that are paths."""
KEPT = {
    "workflow": "a job keeps the table that it was begun with",
    "queuedata": "a job keeps what its queue said when it was begun; give the settings that are to be other",
}
"""Settings that are looked at when a job begins and never again, and why another one is refused."""


def read_job(job: Job | Mapping[str, object] | Path | str) -> tuple[Job, Path]:
    """The job, and the directory where its inputs are looked for. Raises `UnreadableJob`."""
    if isinstance(job, Job):
        return job, Path.cwd()
    if isinstance(job, Mapping):
        return Job.read(job), Path.cwd()
    path = Path(job)
    try:
        content = read_file(path)
    except OSError as error:
        raise UnreadableJob(error.strerror or str(error), str(path)) from None
    return Job.read(content, source=str(path)), path.absolute().parent


def read_settings(
    job: Job, settings: Mapping[str, object] | Settings | None, config: Path | None, inputs: Path
) -> tuple[Settings, dict[str, str]]:
    """All layers on each other, and who said what; `inputs` is where the inputs are unless somebody says otherwise.

    Raises `UnusableInput`.
    """
    queuedata = None
    if isinstance(settings, Settings):
        if config is not None:
            raise UnusableInput("a configuration file and whole Settings contradict each other: give one of them")
        given, said_by = settings, dict.fromkeys(settings.model_fields_set, "argument")
    else:
        given, _ = Settings.layered(settings, None, config)
        queuedata = read_queuedata(given.queuedata, job.overwrite_queuedata)
        given, said_by = Settings.layered(settings, queuedata, config)
        follows = {name: value for name, value in allowance(job, queuedata).items() if name not in said_by}
        given = given.model_copy(update=follows)
    if given.storages is not None and "output_url" not in said_by:
        rses = read_rses(given.storages, queuedata.astorages if queuedata else {})
        given = given.model_copy(update={"rses": rses})
    if given.node_history is not None and "node_lifetime_s" not in said_by:
        given = given.model_copy(update={"node_lifetime_s": learned_s(given.node_history, given.node_lifetime_s)})
    given = _absolute(given.model_copy(update={"input_url": given.input_url or str(inputs)}))
    local = str(given.input_url).removeprefix("file://")
    beside = inputs if "://" in local else Path(local)
    found = {"transformations": given.transformations or beside.absolute()}
    job_says = {} if job.looping_check else {"looping_limit_s": YEAR_S}  # as good as no limit
    return _sound(given.model_copy(update={**found, **job_says})), said_by


def _sound(given: Settings) -> Settings:
    """The same, looked at as a reader of the journal will: what follows from others is checked by nobody else."""
    try:
        return Settings.model_validate(given.model_dump())
    except ValidationError as error:
        first = error.errors()[0]
        raise UnusableInput(f"setting {first['loc'][0]}: {first['input']!r} cannot be used: {first['msg']}") from None


def change_settings(settings: Settings, changes: Mapping[str, object]) -> tuple[Settings, dict[str, str]]:
    """Settings of a journal with some changed by an argument, and who said what.

    Raises `UnusableInput`, also for a setting that only the beginning of a job looks at, unless it is as it was.
    """
    named = Settings.by_name(changes)
    given, _ = Settings.layered(named)
    changed = _absolute(settings.model_copy(update={name: getattr(given, name) for name in named}))
    for name, why in KEPT.items():
        if getattr(changed, name) != getattr(settings, name):
            raise UnusableInput(f"setting {name} (argument): {why}")
    return changed, {name: "argument" if name in named else "journal" for name in Settings.model_fields}


def _absolute(settings: Settings) -> Settings:
    """The same places wherever we are: a job may be resumed from elsewhere."""
    files = {name: getattr(settings, name) for name in PLACES}
    urls = {name: getattr(settings, name) for name in ("input_url", "output_url", "failover_url")}
    paths = {name: file.absolute() for name, file in files.items() if file is not None}
    local = {name: str(Path(url).absolute()) for name, url in urls.items() if url is not None and "://" not in url}
    return settings.model_copy(update={**paths, **local})
