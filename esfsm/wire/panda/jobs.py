"""Jobs: how they are asked for, what a heartbeat says, and what is replied."""

from collections.abc import Mapping
from dataclasses import dataclass

from esfsm.errors import WireError
from esfsm.model.report import FINAL, JobReport
from esfsm.wire.panda.replies import command_of, read_json, success

__all__ = ["Consumer", "heartbeat", "read_job_answer", "read_jobs"]

LONGEST_DIAG = 500
"""Characters of PanDA's argument pilot_error_diag."""
NO_JOBS = (20, "No jobs in PanDA")
"""How the older and the newer generation say that there is none now."""


@dataclass(frozen=True, slots=True)
class Consumer:
    """The job that asks, by the numbers that PanDA knows it by, and where it runs."""

    panda_id: int
    jobset_id: int
    task_id: int
    attempt_nr: int = 0
    """Checked by the server when it is positive: another attempt than its own is told `tobekilled`."""
    site: str = ""
    node: str = ""
    cores: int = 0


def heartbeat(consumer: Consumer, report: JobReport) -> dict[str, object]:
    """What `update_job` is told, by the names of `/api/v1`; numbers are whole, as it takes no others."""
    said: dict[str, object] = {
        "job_id": consumer.panda_id,
        "job_status": report.state,
        "attempt_nr": consumer.attempt_nr or None,
        "site_name": consumer.site or None,
        "node": consumer.node or None,
        "n_events": report.events or None,
        "core_count": consumer.cores or None,
        "cpu_consumption_time": int(report.cpu_s) or None,
        "job_metrics": _metrics(coreCount=consumer.cores, nEvents=report.events) or None,
    }
    if report.state in FINAL:
        said |= {
            "pilot_error_code": report.error_code,
            "pilot_error_diag": report.error_diag.replace("\0", "")[:LONGEST_DIAG],
            "trans_exit_code": report.exit_code,
        }
    return {name: value for name, value in said.items() if value is not None}


def _metrics(**numbers: int) -> str:
    """As they stand on the pages of a PanDA monitor: `coreCount=8 nEvents=120`."""
    return " ".join(f"{name}={number}" for name, number in numbers.items() if number)


def read_job_answer(reply: bytes | str) -> str | None:
    """The command in the reply to a heartbeat: `tobekilled`, `softkill`, `alreadydone`, `debug`, .., or None.

    Raises `WireError` for any other reply, as for one without a command: so a server passes over a job state that it
    does not know.
    """
    match success(read_json(reply)):
        case {"command": command}:
            return command_of(command)
    raise WireError("PanDA replied to a heartbeat without a command")


def read_jobs(reply: bytes | str) -> tuple[Mapping[str, object], ...]:
    """The definitions of the jobs that a request got; none at all where PanDA says that it has none now.

    Raises `WireError` for any other reply.
    """
    match read_json(reply):
        case {"StatusCode": code} if code == NO_JOBS[0]:
            return ()
        case {"success": False, "message": message} if message == NO_JOBS[1]:
            return ()
        case answer:
            said = success(answer)
    match said:
        case {"jobs": list(jobs)}:
            pass
        case {"PandaID": _}:
            jobs = [said]
        case _:
            raise WireError("PanDA replied to a request for jobs without any")
    if not all(isinstance(job, dict) and "PandaID" in job for job in jobs):
        raise WireError("PanDA replied to a request for jobs with what is none")
    return tuple({key: value for key, value in job.items() if key != "StatusCode"} for job in jobs)
