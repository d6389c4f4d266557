"""The merge job that PanDA would make of a finished ES job.

On a real server this happens when all events of an input file are done. What the parts look like is PanDA's
(panda-server, `job_complex_module.py`): every archive is an input `zip://LFN`, and `writeToFile` names the file of
every event range inside them.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from esfsm.model.outcome import OutputFile

__all__ = ["merge_job"]

OUTPUT = "HITS_MRG.zmumu.pool.root"
LOG = "log.zmumu.merge.job.log.tgz"
TOKEN = "1/1000"
"""objstoreID 1, the first storage of a local run; path convention 1000: the scope is `transient`."""


def merge_job(
    es_job: Mapping[str, object], archives: Sequence[OutputFile], event_range_ids: Iterable[str]
) -> dict[str, object]:
    """The definition of the merge job, in PanDA's form, for one ES job with one output.

    `event_range_ids` are the finished ranges, all of them inside the archives; PanDA does not say which is in which.
    """
    output_lfn = str(es_job["outFiles"]).partition(",")[0]
    hits = re.sub(r"\.\d+$", ".1", output_lfn)
    names = [f"{hits}.{event_range_id}" for event_range_id in sorted(event_range_ids, key=_job_process_id)]
    return {
        "PandaID": 7000000456,
        "jobsetID": es_job["jobsetID"],
        "taskID": es_job["taskID"],
        "attemptNr": 1,
        "prodSourceLabel": es_job["prodSourceLabel"],
        "processingType": "merge",
        "eventServiceMerge": "True",
        "coreCount": 1,
        "transformation": "merge.py",
        "jobPars": f"--inputHITSFile=@inputFor_{hits} --outputHITS_MRGFile={OUTPUT}",
        "inFiles": ",".join(f"zip://{archive.lfn}" for archive in archives),
        "prodDBlockToken": ",".join(TOKEN for _ in archives),
        "scopeIn": ",".join("transient" for _ in archives),
        "fsize": ",".join(str(archive.size_bytes) for archive in archives),
        "checksum": ",".join(f"ad:{archive.adler32}" for archive in archives),
        "writeToFile": f"inputFor_{hits}:{','.join(names)}",
        "outFiles": f"{OUTPUT},{LOG}",
        "logFile": LOG,
        "scopeOut": es_job["scopeOut"],
        "scopeLog": es_job["scopeLog"],
    }


def _job_process_id(event_range_id: str) -> int:
    """The position in the input file: the fourth number of task-PandaID-file-position-attempt."""
    return int(event_range_id.split("-")[3])
