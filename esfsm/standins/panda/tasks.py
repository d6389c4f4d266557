"""What a task brings: its files, its event ranges, its jobs, and the definition that a pilot gets of each."""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field

from esfsm.standins.panda.tables import Kind, Status

__all__ = ["Task", "definition", "log_guid", "submit"]


@dataclass(frozen=True, slots=True)
class Task:
    """One task of one jobset. All numbers of PanDA follow from the three first; so they did where it was recorded."""

    task_id: int
    jobset_id: int
    panda_id: int
    """Of its first job; the others follow."""
    ranges: int
    """Event ranges, dealt out evenly over the files."""
    jobs: int = 1
    files: int = 1
    attempts: int = 10
    """At each range."""
    job_attempts: int = 10
    """After so many jobs in a row nobody takes up what is left."""
    events_per_range: int = 1
    accepts_partial: bool = True
    """Whether a range without an attempt left becomes `fatal` and the others go on."""
    kind: Kind = Kind.EVENT_SERVICE
    state: str = "activated"
    queue: str = "TEST_ES"
    label: str = "managed"
    """PanDA's prodSourceLabel."""
    definition: Mapping[str, object] = field(default_factory=dict)
    """What stands in the definition of each job in place of, or beside, what is there by itself."""


DEFINITION: Mapping[str, str | int] = {
    "PandaID": 0,
    "prodSourceLabel": "{label}",
    "swRelease": "Atlas-21.0.15",
    "homepackage": "AtlasOffline-21.0.15",
    "transformation": "Sim_tf.py",
    "jobName": "{name}.{panda_id}",
    "jobDefinitionID": 1,
    "cloud": "TEST",
    "inFiles": "{inputs}",
    "dispatchDblock": "{nulls}",
    "dispatchDBlockToken": "{nulls}",
    "dispatchDBlockTokenForOut": "NULL,NULL",
    "outFiles": "{hits},{log}",
    "destinationDblock": "test:{name}.out,test:{name}.log",
    "destinationDBlockToken": "NULL,NULL",
    "prodDBlocks": "{datasets}",
    "prodDBlockToken": "{nulls}",
    "realDatasets": "test:{name}.out,test:{name}.log",
    "realDatasetsIn": "{datasets}",
    "fileDestinationSE": "NULL,NULL",
    "logFile": "{log}",
    "logGUID": "{log_guid}",
    "jobPars": "--inputEVNTFile={inputs} --maxEvents={events} --outputHITSFile={hits}",
    "attemptNr": 1,
    "GUID": "{guids}",
    "checksum": "{checksums}",
    "fsize": "{sizes}",
    "scopeIn": "{scopes}",
    "scopeOut": "test",
    "scopeLog": "test",
    "ddmEndPointIn": "{nothings}",
    "ddmEndPointOut": ",",
    "destinationSE": "nucleus:TEST",
    "prodUserID": "/DC=ch/DC=cern/CN=tester",
    "maxCpuCount": 86400,
    "minRamCount": 2000,
    "maxDiskCount": 1000,
    "cmtConfig": "x86_64-slc6-gcc49-opt",
    "processingType": "simul",
    "transferType": "NULL",
    "sourceSite": "NULL",
    "currentPriority": 900,
    "taskID": 0,
    "coreCount": 1,
    "jobsetID": 0,
    "reqID": 0,
    "nucleus": "NULL",
    "maxWalltime": "NULL",
    "resource_type": "SCORE",
    "eventService": "True",
    "prodDBlockTokenForOutput": "NULL,NULL",
    "ioIntensity": 100,
    "ioIntensityUnit": "kBPerS",
    "nSent": 1,
}
"""What PanDA says of an Event Service job, in its order; the numbers 0 and the words in braces are the job's own."""

FILE = "INSERT INTO files VALUES (?, ?, ?, ?, ?, ?)"
JOB = """
    INSERT INTO jobs (panda_id, jobset_id, task_id, attempt_nr, max_attempt, kind, queue, label, definition, state)
    VALUES (?, ?, ?, 1, ?, ?, ?, ?, ?, ?)
"""
EVENT_RANGE = f"""
    INSERT INTO event_ranges
        (task_id, panda_id, jobset_id, file_id, position, attempt, first_event, last_event, status)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, {Status.READY})
"""


def submit(db: sqlite3.Connection, task: Task) -> None:
    """Put it into the books. Raises `sqlite3.IntegrityError` where one of its numbers is taken."""
    db.execute("INSERT INTO tasks VALUES (?, ?, ?)", (task.task_id, task.events_per_range, task.accepts_partial))
    for n in range(1, task.files + 1):
        # 1001 has dataset 10011 and files 100101, 100102, ...
        numbers = (task.task_id, task.task_id * 100 + n, task.task_id * 10 + 1)
        db.execute(FILE, (*numbers, _lfn(task, n), _guid(task, n), "test"))
    for panda_id in range(task.panda_id, task.panda_id + task.jobs):
        said = json.dumps(definition(task, panda_id))
        numbers = (panda_id, task.jobset_id, task.task_id)
        db.execute(JOB, (*numbers, task.job_attempts, task.kind, task.queue, task.label, said, task.state))
    db.executemany(EVENT_RANGE, (_event_range(task, index) for index in range(task.ranges)))


def _event_range(task: Task, index: int) -> tuple[int, ...]:
    """Position and events are counted on from file to file."""
    file_id = task.task_id * 100 + 1 + index * task.files // task.ranges
    first = 1 + index * task.events_per_range
    owner = (task.task_id, task.jobset_id, task.jobset_id)
    return (*owner, file_id, first, task.attempts, first, first + task.events_per_range - 1)


def definition(task: Task, panda_id: int) -> dict[str, object]:
    """What PanDA says of a job, in its order."""
    name = f"test.es.{task.task_id}"
    files = range(1, task.files + 1)
    words = {
        "name": name,
        "label": task.label,
        "panda_id": str(panda_id),
        "log_guid": log_guid(panda_id),
        "hits": f"HITS.{task.task_id}._{panda_id}.pool.root.1",
        "log": f"log.{task.task_id}._{panda_id}.job.log.tgz.1",
        "events": str(task.ranges * task.events_per_range),
        "inputs": ",".join(_lfn(task, n) for n in files),
        "guids": ",".join(_guid(task, n) for n in files),
        **{
            key: ",".join([text] * task.files)
            for key, text in {
                "nulls": "NULL",
                "datasets": f"test:{name}.in",
                "checksums": "ad:00000001",
                "sizes": "1000000",
                "scopes": "test",
                "nothings": "",
            }.items()
        },
    }
    said = {key: text.format_map(words) if isinstance(text, str) else text for key, text in DEFINITION.items()}
    numbers = {"PandaID": panda_id, "taskID": task.task_id, "reqID": task.task_id, "jobsetID": task.jobset_id}
    return said | numbers | dict(task.definition)


def log_guid(panda_id: int) -> str:
    """The real one draws it, for each job anew."""
    return f"{panda_id:08X}-1111-0000-0000-000000000000"


def _lfn(task: Task, n: int) -> str:
    return f"EVNT.{task.task_id}._{n:06d}.pool.root.1"


def _guid(task: Task, n: int) -> str:
    return f"{task.task_id:08X}-0000-0000-0000-{n:012d}"
