"""Settings: argument > environment > queue data > file > default, and who said it.

Every setting can be given as `--set NAME=VALUE`, as `ESFSM_NAME` in the environment and as a key of a TOML file.
Some have a second name that pilots use already (`PILOTS_NAMES`), and it is good in each of these places.
"""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from esfsm.errors import UnknownName, UnusableInput
from esfsm.model.container import ContainerCommand
from esfsm.model.queuedata import GAP_S, YEAR_S, QueueData
from esfsm.model.reading import read_file
from esfsm.model.rse import Rse

__all__ = ["PILOTS_NAMES", "YEAR_S", "Settings"]

PREFIX = "ESFSM_"
PILOTS_NAMES = {
    "PILOT_ES_EXECUTOR_TYPE": "executor_type",
    "COMMUNICATOR_PLUGIN": "communicator",
    "ATHENA_PROC_NUMBER": "cores",
    "PANDA_SERVER_URL": "panda_server",
    "X509_CERT_DIR": "ca_directory",
}
"""What pilots and sites set already, and the setting that it is."""

Seconds = Annotated[float, Field(ge=0, le=YEAR_S)]


class Settings(BaseSettings):
    """What can be chosen; times in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid")

    executor_type: str = "generic"
    """Where an Event Service payload runs: generic (this node), or a plug-in's name."""
    communicator: str = "local"
    """Who hands out event ranges."""
    panda_server: str = "https://pandaserver.cern.ch:25443"
    """The PanDA server."""
    panda_api: Literal["auto", "legacy", "v1"] = "auto"
    """Which generation of servers it is of; auto: its first answer tells."""
    ca_directory: Path | None = None
    """The certificates of authorities that are trusted; None: /etc/grid-security/certificates, or else those of the
    system."""
    queue: str | None = Field(None, min_length=1)
    """The PanDA queue that the job runs at, for the server to know."""
    jobs: Path | None = None
    """Local pilot: a directory of job definitions (`*.json`)."""
    job_label: str = "managed"
    """Pilot: the prodSourceLabel of the jobs that are asked for."""
    job_attempts: int = Field(5, ge=1, le=10_000)
    """Pilot: how often in a row there may be no job, no answer, or a job that comes to nothing, before it ends."""
    job_pause_s: Seconds = 60.0
    """Pilot: the pause before a job is asked for again (as in pilot3)."""
    access_point: Path | None = None
    """Harvester: the directory that it shares with this worker."""
    harvester_look_s: Seconds = Field(5.0, gt=0)
    """... how often its files are looked at."""
    harvester_patience_s: Seconds = Field(1800.0, gt=0)
    """... and how long, until a request or a report counts as unanswered."""
    channel: str = "zmq"
    """The wire to the payload."""
    queuedata: Path | None = None
    """What the queue says: a JSON file in CRIC's form, of one queue."""
    queuedata_url: str | None = None
    """Pilot: where it is fetched from, of one queue or of all; it is kept beside the work directories."""
    workflow: str | None = None
    """A table of your own in place of the one that the job's kind chooses: a path, or a plug-in's name."""
    cores: int | None = Field(None, ge=1, le=100_000)
    """Worker processes of the payload; None: the job's coreCount."""

    events: int | None = Field(None, ge=1, le=10**12)
    """Local broker: events in each input file."""
    events_per_range: int = Field(1, ge=1, le=10**12)
    """Local broker: events a range (PanDA's task split rule ES; its default is 1)."""
    ranges: Path | None = None
    """Local broker: a JSON file with the list of ranges that PanDA would send, in place of `events`."""
    broker: Path | None = None
    """Local broker: its SQLite file; None: `broker.sqlite` in the work directory. Jobs may share one."""
    max_attempt: int = Field(10, ge=1, le=1000)
    """Local broker: how often one range may be handed out (PanDA's default is 10)."""

    payload_setup: str | None = None
    """Shell text that a site runs before each payload (`source ...`), in the same shell. It is trusted: nothing of a
    job is ever put into it."""
    container: str | None = None
    """What a payload runs in: `apptainer`, or a command line with {command}, which stands alone for all arguments of
    the payload, {image}, {workdir}, {transformations} and {channel_directory}. The last one is to be mounted as the
    /tmp of the container; where it is not named, the container must share the /tmp of this machine. None: no
    container."""
    container_image: str | None = None
    """The image for a job that names none."""

    transformations: Path | None = None
    """The directory of the transformations, looked at before the PATH; None: that of the inputs, if it is local,
    or else that of the job file."""
    input_url: str | None = None
    """The directory that holds the inputs; None: the directory of the job file."""
    output_url: str | None = None
    """The directory for stage-out (activity es_events); None: `outputs` in the work directory."""
    failover_url: str | None = None
    """The directory to try when that one fails (activity es_failover)."""
    storage_timeout_s: Seconds = Field(60.0, gt=0)
    """How long a storage may be silent until it counts as away (xrdcp's own: 60 s for a stream)."""
    s3_endpoint: str | None = None
    """S3: where buckets are, as https://HOST:PORT; None: as boto3 says (AWS_ENDPOINT_URL), and else Amazon's."""
    s3_region: str | None = None
    """S3: the region; None: as boto3 says (AWS_DEFAULT_REGION), and else us-east-1."""
    output_rse_id: int = Field(1, ge=0, lt=10**11)
    """PanDA's objstoreID of the one: CRIC's number of the endpoint."""
    failover_rse_id: int = Field(2, ge=0, lt=10**11)
    """... and of the other."""
    path_convention: int | None = Field(None, ge=0, lt=10**11)
    """PanDA's pathConvention of archives: with 1000 they go to Rucio's paths, in scope transient."""
    storages: Path | None = None
    """Storage data, in place of the five above: a JSON file of endpoints in CRIC's form, chosen by the queue's
    astorages, or a TOML file of RSEs. Tried are those of activity es_events or pw, then of es_failover or pw."""
    rses: tuple[Rse, ...] = ()
    """What follows from that: the storages for archives, in the order in which they are tried."""

    archive_format: Literal["tar", "zip"] = "tar"
    """What archives are; a merge job unpacks both."""
    zip_time_gap_s: Seconds = GAP_S
    """How long an output may wait for its archive (queue data: zip_time_gap; pilot3: 7200)."""
    zip_max_ranges: int = Field(100, ge=1, le=10_000)
    """An archive is packed as soon as so many outputs wait; it never holds more. A guess."""
    zip_max_bytes: int = Field(2_000_000_000, ge=1, le=10**15)
    """An archive is packed as soon as the outputs that wait have so many bytes. A guess."""

    keep_outputs: bool = False
    """Whether outputs and archives stay in the work directory when they are stored and the server has said that it
    knows; if not, they are removed then."""
    transfers_at_once: int = Field(8, ge=1, le=8)
    """How many files are staged in, or archives stored, at the same time."""
    store_bytes_per_s: Annotated[float, Field(gt=0, le=1e15)] | None = None
    """How fast archives may leave, in all; None: as fast as they can. When there is no time left for that, the saving
    of what is finished goes before it."""
    stage_out_rounds: int = Field(3, ge=1, le=100)
    """How often all storages are tried for one archive; when nothing else is left to do they are tried once more, and
    then its ranges are reported failed. A guess."""
    report_attempts: int = Field(20, ge=1, le=100)
    """How often a report or a request for ranges is made without an answer that can be believed. A guess: with the
    pauses about a quarter of an hour."""
    empty_answers: int = Field(5, ge=1, le=100)
    """How often in a row a server must have no event ranges before that is believed: PanDA says so to several
    consumers at once while it has some."""
    retry_pause_s: float = Field(1.0, ge=0, le=3600)
    """The pause before something is tried again; it doubles each time, up to 64 times this."""
    retry_jitter: float = Field(0.5, ge=0, le=1)
    """How much of the pause before an archive or a report is tried again chance may take away, so that the jobs of a
    site do not all come back at once."""

    heartbeat_s: Seconds = Field(1800.0, gt=0)
    """How long the server hears nothing of a job that goes on (pilot3: 1800; PanDA takes it for lost after 10800)."""
    grace_s: Seconds = 60.0
    """How long everything may take after a stop request: ranges that run, archives, reports, the last heartbeat. A
    guess between Slurm's KillWait (30 s) and AWS's spot notice (120 s)."""
    grace_for: Literal["all", "workers"] = "all"
    """workers: only ranges that run are bounded by it, and what is finished is stored however long that takes."""
    end_patience_s: Seconds = Field(1800.0, gt=0)
    """How long a payload may live after `No more events` (pilot3: 1800)."""

    notice: str | None = Field(None, pattern="^([^:]|:[^/]|:/[^/]|://.)+$")
    """Where it is told that this place will be taken away: a file that appears (`pilot_kill_payload`), or a cloud's URL
    for spot notices; seen, it is a stop request."""
    notice_look_s: Seconds = Field(5.0, gt=0)
    """How often is looked there (as AWS recommends)."""

    monitor_s: Seconds = 60.0
    """The time between two measurements of what a payload uses (as in pilot3); 0: nothing is measured."""
    looping_limit_s: Seconds = Field(7200.0, gt=0)
    """How long a payload may say nothing and touch no file (pilot3's looping limit: 7200)."""
    memory_limit_bytes: int | None = Field(None, ge=1, le=10**15)
    """What its processes may use (PSS); None: as in pilot3 what follows from the job's resource type (SCORE and MCORE:
    2 GB a core, _LOMEM: 1, _HIMEM: 3, any other: 4.001) or else the queue's maxrss, and pilot_rss_grace (100 %) on
    top."""
    workdir_limit_bytes: int | None = Field(None, ge=1, le=10**15)
    """What a work directory may hold; None: as in pilot3 the queue's maxwdir (16.3 GB where it has none) and
    pilot_maxwdir_grace (20 %) on top; without queue data no limit."""
    free_limit_bytes: int = Field(10**9, ge=0, le=10**15)
    """What must be free on its disk (pilot3: 1 GB)."""
    output_limit_bytes: int = Field(500 * 10**9, ge=1, le=10**15)
    """How large a file there may be (pilot3: 500 GB)."""
    log_limit_bytes: int = Field(2 * 2**30, ge=1, le=10**15)
    """How large the payload's standard output or error may be (pilot3: 2 GiB)."""
    log_rotate_bytes: int = Field(512 * 2**20, ge=0, le=10**15)
    """When one of them is put aside, so that the newest three such parts stay, within the limit; 0: never."""
    cpu_limit_s: Annotated[float, Field(gt=0, le=100_000 * YEAR_S)] | None = None
    """CPU time of the payload; None: no limit (pilot3 only reports it)."""
    proxy_limit_s: Seconds = 3600.0
    """How long the X.509 proxy must be good, or the job stops while it still can report (pilot3: 3600)."""
    walltime_limit_s: Seconds | None = Field(None, gt=0)
    """When the job must have ended; None: maxWalltime of a pushed job (job_maxwalltime) and pilot_walltime_grace, else
    no limit. It is stopped in time to end the ranges that run and to store what waits, 10 s before at the latest."""

    stage_out_by: Literal["risk", "gap"] = "risk"
    """When outputs are packed: at `zip_time_gap_s` at the latest, and by risk as soon as the work that a sudden end
    would cost by then is worth the price of one more archive."""
    node_lifetime_s: Annotated[float, Field(gt=0, le=100 * YEAR_S)] = 86_400.0
    """How long a node lives on average until it vanishes; a guess, where nobody knows better."""
    archive_price_s: Seconds = 30.0
    """What an archive costs beside the time that its storing takes, in seconds of work: each is a file that storage,
    PanDA and a merge job have to deal with; a guess."""
    node_history: Path | None = None
    """Where that is learned: a file in which each job of this node leaves how it ended; `esfsm pilot` has one."""

    setup_retries: int = Field(1, ge=0, le=100)
    """How often a payload is started again that ended badly before it asked for an event range, as one whose set-up, or
    whose container, fails."""
    adopt_patience_s: Seconds = Field(600.0, gt=0)
    """How long a payload that outlived its engine may say nothing before its event ranges run again in a new one. A
    guess."""

    sync: Literal["always", "effects", "never"] = "effects"
    """What a power failure may cost: nothing, nothing with an effect outside, or what the kernel still held."""

    @field_validator("*")
    @classmethod
    def _can_be_printed(cls, value: object, about: ValidationInfo) -> object:
        """No NUL, which no file can be called; no end of a line, and no byte that is no UTF-8, where they are told."""
        text = str(value) if isinstance(value, str | Path) else ""
        lines = text.split() if about.field_name == "payload_setup" else [text]
        if not all(line.isprintable() for line in lines):
            raise ValueError("it holds a character that cannot be printed")
        return value

    @field_validator("container")
    @classmethod
    def _can_be_meant(cls, container: str | None) -> str | None:
        if container is not None:
            ContainerCommand.parse(container)
        return container

    def destinations(self, workdir: Path = Path()) -> tuple[Rse, ...]:
        """The storages for stage-out, in the order in which they are tried; there is at least one."""
        if self.rses:
            return self.rses
        said = (
            (self.output_rse_id, self.output_url or str(workdir / "outputs")),
            (self.failover_rse_id, self.failover_url),
        )
        convention = self.path_convention
        return tuple(Rse(rse_id=n, url=url.rstrip("/"), path_convention=convention) for n, url in said if url)

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is passed in: the layers are put on each other by `layered`, in the open."""
        return (init_settings,)

    @classmethod
    def layered(
        cls,
        arguments: Mapping[str, object] | None = None,
        queuedata: QueueData | None = None,
        config: Path | None = None,
    ) -> tuple["Settings", dict[str, str]]:
        """The settings, and for each that is no default who said it (`argument`, `environment`, ...).

        Raises `UnknownName` for a setting that does not exist, `UnusableInput` for a value that cannot be used.
        """
        layers: dict[str, Mapping[str, object]] = {
            "file": cls._file(config),
            "queue data": queuedata.as_settings() if queuedata else {},
            "environment": cls._environment(),
            "argument": cls.by_name(arguments or {}),
        }
        said: dict[str, object] = {}
        said_by: dict[str, str] = {}
        for who, layer in layers.items():
            for name, value in layer.items():
                if name not in cls.model_fields:
                    raise UnknownName("setting", name, sorted(cls.model_fields))
                said[name], said_by[name] = value, who
        try:
            return cls.model_validate(said), said_by
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0])
            why = str(first.get("ctx", {}).get("error") or first["msg"].replace("Input", "it", 1))
            raise UnusableInput(f"setting {name} ({said_by[name]}): {first['input']!r} cannot be used: {why}") from None

    @classmethod
    def by_name(cls, layer: Mapping[str, object]) -> dict[str, object]:
        """The pilots' names replaced by ours; what is None says nothing."""
        return {PILOTS_NAMES.get(key, key): value for key, value in layer.items() if value is not None}

    @classmethod
    def _environment(cls) -> dict[str, object]:
        """What the variables say, empty ones nothing; our name of a setting wins over the pilots'."""
        variables = EnvSettingsSource(cls, case_sensitive=True, env_ignore_empty=True).env_vars
        ours = {f"{PREFIX}{name.upper()}": name for name in cls.model_fields}
        for variable in variables:
            if variable.startswith(PREFIX) and variable not in ours:
                raise UnknownName("setting", variable, sorted(ours))
        pilots = {variable: variables[variable] for variable in PILOTS_NAMES if variable in variables}
        # Sites set 0 where there are to be no worker processes; pilots run on, with that and with no number at all.
        if not re.fullmatch("0*[1-9][0-9]{0,8}", pilots.get("ATHENA_PROC_NUMBER") or ""):
            pilots.pop("ATHENA_PROC_NUMBER", None)
        said = {name: variables[variable] for variable, name in ours.items() if variable in variables}
        return {**cls.by_name(pilots), **said}

    @classmethod
    def _file(cls, config: Path | None) -> dict[str, object]:
        if config is None:
            return {}
        try:
            return cls.by_name(tomllib.loads(read_file(config).decode()))
        except OSError as error:
            raise UnusableInput(f"configuration file {config}: {error.strerror}") from None
        except ValueError as error:  # no UTF-8, or no TOML
            raise UnusableInput(f"configuration file {config}: {error}") from None
