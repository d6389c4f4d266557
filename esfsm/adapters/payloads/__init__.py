"""Payload executors: what is run. Each makes the command line of a job; an executor type runs it somewhere."""

KNOWN = {
    "generic": "generic",
    "eventservice": "eventservice",
    "eventservicemerge": "eventservicemerge",
}
"""Kind of job -> module in this drawer, with a function `prepare(job, workdir, settings, mark) -> Payload`."""
