#!/usr/bin/env python3
"""Merge the HITS files of the event ranges into one: the payload of the merge job.

    merge.py --inputHITSFile A B ... --outputHITS_MRGFile C      or the arguments in a file: merge.py @FILE ...

It writes C, sorted by event number, and `jobReport.json` in the form of an ATLAS transform, which names every input
file that was read, with its number of events: that C is complete can be checked by who did not read any of them.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import awkward as ak
import numpy as np
import uproot

from events import TREE, read_events, write_events

__all__ = ["job_report", "merge"]


def merge(inputs: Sequence[Path], output: Path) -> dict[str, int]:
    """Write `output`; the answer says how many events each input, by its name, gave.

    Raises `ValueError` when an event number comes twice; then nothing was written.
    """
    parts = {}
    for path in inputs:
        with uproot.open(path) as file:
            parts[path.name] = read_events(file[TREE])
    events = ak.concatenate(list(parts.values()))
    order = np.argsort(events.eventNumber)
    numbers = events.eventNumber[order].to_numpy()
    repeated = np.unique(numbers[1:][numbers[1:] == numbers[:-1]])
    if repeated.size:
        raise ValueError(f"event numbers that come twice: {repeated.tolist()}")
    write_events(output, [events[order]])
    return {name: len(part) for name, part in parts.items()}


def job_report(arguments: Sequence[str], entries: Mapping[str, int], output: Path) -> dict[str, object]:
    """What ATLAS transforms leave for the pilot (report version 2.0.0), as far as it applies."""
    total = sum(entries.values())
    read = [{"name": name, "nentries": n} for name, n in entries.items()]
    with uproot.open(output) as file:
        guid = str(file.file.uuid).upper()
    written = [{"name": output.name, "file_guid": guid, "file_size": output.stat().st_size, "nentries": total}]
    return {
        "reportVersion": "2.0.0",
        "name": "merge.py",
        "cmdLine": " ".join(["merge.py", *arguments]),
        "created": datetime.now().astimezone().isoformat(timespec="seconds"),
        "exitCode": 0,
        "exitAcronym": "OK",
        "exitMsg": "OK",
        "exitMsgExtra": "",
        "files": {
            "input": [{"type": "HITS", "dataset": None, "nentries": total, "subFiles": read}],
            "output": [
                {"type": "HITS_MRG", "argName": "outputHITS_MRGFile", "dataset": None, "subFiles": written},
            ],
        },
    }


def main(arguments: Sequence[str]) -> int:
    """Merge, then report; without a report the merge did not succeed."""
    parser = argparse.ArgumentParser(description=__doc__, fromfile_prefix_chars="@")
    parser.add_argument("--inputHITSFile", type=Path, nargs="+", required=True, dest="inputs")
    parser.add_argument("--outputHITS_MRGFile", type=Path, required=True, dest="output")
    asked = parser.parse_args(arguments)
    entries = merge(asked.inputs, asked.output.absolute())
    report = job_report(arguments, entries, asked.output.absolute())
    asked.output.with_name("jobReport.json").write_text(json.dumps(report, indent=1))
    print(f"{asked.output}: {sum(entries.values())} events of {len(entries)} files")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
