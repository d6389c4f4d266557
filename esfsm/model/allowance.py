"""What a job may use where nobody says so in the settings: the rule by which it follows from the job and its queue.

The rule and its numbers are pilot3's (its modules user/atlas/memory, util/monitoring, info/queuedata).
"""

from esfsm.model.job import Job
from esfsm.model.queuedata import YEAR_S, QueueData

__all__ = ["allowance"]

MB = 10**6
MB_A_CORE = {"_LOMEM": 1000, "_HIMEM": 3000, "SCORE": 2000, "MCORE": 2000}
"""Memory for each core by the end of the job's resource type ..."""
MB_ANY_OTHER = 4001
"""... and that of any other."""
MB_OF_QUEUE = "_VHIMEM"
"""The resource type whose memory the queue says."""
MOST_BYTES = 10**15
"""What a setting can say; who is allowed more has no limit that means anything."""
WORKDIR_MB = 14_336 + 2000
"""The largest inputs and the standard output, where a queue does not say what a work directory may hold."""


def allowance(job: Job, queuedata: QueueData | None) -> dict[str, object]:
    """Settings that follow from a job and its queue, by their names."""
    said: dict[str, object] = {}
    queue = queuedata or QueueData()
    memory_mb = _memory_mb(job, queue)
    if memory_mb:
        said["memory_limit_bytes"] = _bytes(memory_mb, queue.grace("pilot_rss_grace", 100.0))
    if queuedata is not None:
        workdir_mb = queue.maxwdir or WORKDIR_MB
        said["workdir_limit_bytes"] = _bytes(workdir_mb, queue.grace("pilot_maxwdir_grace", 20.0))
    if job.max_walltime_s and queue.params.get("job_maxwalltime"):
        walltime_s = job.max_walltime_s * (1 + queue.grace("pilot_walltime_grace", 0.0))
        said["walltime_limit_s"] = min(walltime_s, YEAR_S)
    return said


def _bytes(size_mb: float, grace: float) -> int:
    return int(min(size_mb * MB * (1 + grace), MOST_BYTES))


def _memory_mb(job: Job, queue: QueueData) -> float:
    """Of the whole job; 0: no limit."""
    kind = job.resource_type.upper()
    if not kind or (kind.endswith(MB_OF_QUEUE) and not queue.maxrss):
        return queue.maxrss or job.min_ram_mb
    if kind.endswith(MB_OF_QUEUE):
        return queue.maxrss
    a_core = next((mb for ending, mb in MB_A_CORE.items() if kind.endswith(ending)), MB_ANY_OTHER)
    return a_core * job.core_count
