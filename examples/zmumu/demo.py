#!/usr/bin/env python3
"""The demo: 2,000 events through an Event Service job of 200 event ranges, then through its merge job.

    demo.py [DIRECTORY]         default: demo

Everything is written below DIRECTORY; what an earlier demo left there is removed first.
"""

import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import uproot
from rich.console import Console
from rich.table import Table

import esfsm
from events import TREE, check_merged, read_events
from merge_job import merge_job
from plots import plot_dimuon_mass, plot_timeline

__all__ = ["main"]

HERE = Path(__file__).parent
EVENTS, EVENTS_PER_RANGE, RANGES_PER_ARCHIVE = 2000, 10, 25


class Run(NamedTuple):
    """A job that has ended, and how long it took."""

    outcome: esfsm.Outcome
    wall_s: float


def run(job: Path, workdir: Path, **settings: object) -> Run:
    """Run one job; ends the demo with the job's own exit code when the job failed."""
    began = time.monotonic()
    outcome = esfsm.run_workflow(job, workdir=workdir, settings=settings)
    print(f"job {outcome.panda_id} {outcome.sentence}")
    if outcome.exit_code:
        sys.exit(outcome.exit_code)
    return Run(outcome, time.monotonic() - began)


def main(directory: Path) -> int:
    """Run both jobs, check the merged file, draw, and say where everything is; 0 when all of it is right."""
    for name in ("es", "merge", "storage", "merged"):
        shutil.rmtree(directory / name, ignore_errors=True)
    directory.mkdir(parents=True, exist_ok=True)
    # As a release's setup does it: the transformations of a job are found on the path.
    os.environ["PATH"] = f"{HERE}{os.pathsep}{os.environ['PATH']}"

    es_job = json.loads((HERE / "es-job.json").read_text())
    es = run(
        HERE / "es-job.json",
        directory / "es",
        events=EVENTS,
        events_per_range=EVENTS_PER_RANGE,
        zip_max_ranges=RANGES_PER_ARCHIVE,
        output_url=str(directory / "storage"),
    )
    archives = [output for output in es.outcome.outputs if output.lfn.startswith("EventService_premerge_")]
    ranges = esfsm.replay(es.outcome.journal).ranges.values()
    finished = [one.event_range_id for one in ranges if one.stored_s is not None]
    merge_file = directory / "merge-job.json"
    merge_file.write_text(json.dumps(merge_job(es_job, archives, finished), indent=2))
    merge = run(
        merge_file,
        directory / "merge",
        input_url=str(directory / "storage"),
        output_url=str(directory / "merged"),
    )

    merged = next(output for output in merge.outcome.outputs if output.lfn.startswith("HITS_MRG"))
    merged_path = Path(urlsplit(merged.url).path)
    if fault := check_merged(merged_path, EVENTS):
        print(fault)
        return 1
    show_table(es, merge, [archive.size_bytes for archive in archives], merged.size_bytes)
    for title, path in draw(directory, es.outcome.journal, merged_path, workers=es_job["coreCount"]).items():
        print(f"{title:>14}  {path}")
    return 0


def show_table(es: Run, merge: Run, archive_bytes: list[int], merged_bytes: int) -> None:
    """One line a job."""
    table = Table("job", "event ranges", "events", "files", "bytes", "seconds")
    for column in table.columns[1:]:
        column.justify = "right"
    finished = es.outcome.ranges["finished"]
    for name, ranges, files, size_bytes, wall_s in (
        ("Event Service", f"{finished:,}", len(archive_bytes), sum(archive_bytes), es.wall_s),
        ("merge", "", 1, merged_bytes, merge.wall_s),
    ):
        table.add_row(name, ranges, f"{EVENTS:,}", f"{files}", f"{size_bytes:,}", f"{wall_s:.1f}")
    Console().print(table)


def draw(directory: Path, journal: Path, merged: Path, workers: int) -> dict[str, Path]:
    """Draw what came out and how; the paths by their titles."""
    with uproot.open(merged) as file:
        events = read_events(file[TREE])
    paths = {
        "merged events": merged,
        "dimuon mass": directory / "dimuon-mass.png",
        "timeline": directory / "timeline.png",
        "path taken": directory / "path-taken.mmd",
    }
    plot_dimuon_mass(events.truth_mass.to_numpy(), events.mass.to_numpy(), paths["dimuon mass"])
    plot_timeline(esfsm.replay(journal).ranges.values(), paths["timeline"], workers)
    paths["path taken"].write_text(str(esfsm.draw(journal=journal)))
    if shutil.which("dot"):
        paths["... as SVG"] = directory / "path-taken.svg"
        paths["... as SVG"].write_text(str(esfsm.draw(journal=journal, form="svg")))
    return paths


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo").absolute()))
