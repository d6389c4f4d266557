"""A pilot in a process of its own, to be killed: `dying.py JOB WORKDIR`, JOB with `definition` and `executable`."""

import json
import sys
from types import SimpleNamespace

from compat.incumbent import jobs, old_ways

from esfsm.compat.pilot3 import GenericExecutor

told = json.loads(sys.argv[1])
with old_ways():
    job = jobs.JobData(told["definition"])
job.workdir, job.infosys = sys.argv[2], SimpleNamespace(queuedata=SimpleNamespace(es_stageout_gap=600))
executor = GenericExecutor()
executor.set_payload({"executable": told["executable"], "workdir": job.workdir, "job": job})
executor.start()
executor.join()
