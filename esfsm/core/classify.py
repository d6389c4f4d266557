"""What kind of job it is, and what runs it where: choices with their reasons.

A kind is decided by PanDA's two flags alone (pilot3 looks at eventService first); the executor type by argument,
environment, queue data, file or default, in this order.
"""

from collections.abc import Mapping

from esfsm.core.facts import ExecutorSelected, JobClassified, JobRefused
from esfsm.model.job import Job, JobKind
from esfsm.model.settings import Settings

__all__ = ["classify", "select_executor"]

_WHY = {
    JobKind.EVENTSERVICE: "eventService is set",
    JobKind.EVENTSERVICEMERGE: "eventServiceMerge is set",
    JobKind.GENERIC: "neither eventService nor eventServiceMerge is set",
}


def classify(job: Job) -> JobClassified | JobRefused:
    """The kind of a job, or why it cannot be run as what it claims to be."""
    if job.kind is JobKind.EVENTSERVICE and (job.task_id is None or job.jobset_id is None):
        missing = "taskID" if job.task_id is None else "jobsetID"
        return JobRefused(why=f"an Event Service job needs {missing} to ask for event ranges, and it has none")
    if not job.transformation:
        return JobRefused(why="the job has no transformation to run")
    if job.kind is JobKind.EVENTSERVICEMERGE and not any(file.is_archive for file in job.in_files):
        return JobRefused(why="a merge job needs archives (zip://...) among its inFiles, and it has none")
    both = (
        " (as is eventServiceMerge, which is looked at second)" if job.event_service and job.event_service_merge else ""
    )
    log = job.log_file.lfn if job.log_file else ""
    return JobClassified(kind=job.kind.value, why=_WHY[job.kind] + both, log=log)


def select_executor(job: Job, settings: Settings, said_by: Mapping[str, str]) -> ExecutorSelected:
    """Payload executor and executor type, and who chose them."""
    who = said_by.get("executor_type", "default")
    return ExecutorSelected(
        payload_executor=job.kind.value,
        executor_type=settings.executor_type,
        why=f"the job is of kind {job.kind.value}; executor type {settings.executor_type} is from: {who}",
    )
