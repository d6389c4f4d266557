"""Where a pilot gets its jobs from, by the name of the communicator that they speak to."""

__all__ = ["KNOWN"]

KNOWN = {"harvester": "harvester:open_jobs", "local": "local:open_jobs", "panda": "panda:open_jobs"}
"""By name: the module in this drawer and, behind the colon, its `ports.OpenJobs`."""
