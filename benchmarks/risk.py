#!/usr/bin/env python3
"""What a machine that vanishes costs, by the way outputs are stored: `python benchmarks/risk.py docs/risk.svg`.

Nodes with 8 workers live for a time that is drawn from an exponential distribution, and then everything is killed. Each
worker makes an event range in 60 s, and the stage-out decisions are the core's own: by risk, or by the fixed gaps of
600 s and 7,200 s. Lost is finished work that nobody has stored; what it costs to store is counted as well, at the same
price for all. An archive takes 2 s.
"""

import argparse
import heapq
from pathlib import Path
from random import Random
from statistics import fmean
from typing import NamedTuple

from esfsm.core.actions import PackOutputs, ReportRanges, StoreArchive
from esfsm.core.batch import Output
from esfsm.core.facts import OutputsPacked
from esfsm.core.stageout import StageOut
from esfsm.model.settings import Settings

__all__ = ["main"]

WORKERS, RANGE_S, STORE_S, HOUR = 8, 60.0, 2.0, 3600.0
LIFETIMES_H = (0.5, 1, 2, 4, 8, 16, 32, 64)
LONGEST_H = 48.0
"""A job that lives so long is over."""
WAYS = {
    "by risk": {"stage_out_by": "risk"},
    "every 600 s": {"stage_out_by": "gap", "zip_time_gap_s": 600},
    "every 7,200 s": {"stage_out_by": "gap", "zip_time_gap_s": 7200},
}


class Node(NamedTuple):
    """What became of one node."""

    done_s: float
    """Work that was finished."""
    lost_s: float
    """... and not stored."""
    archives: int


def live(stageout: StageOut, life_s: float, chance: Random) -> Node:
    """Make and store outputs until the node vanishes."""
    workers = [chance.uniform(0, RANGE_S) for _ in range(WORKERS)]
    heapq.heapify(workers)
    done = archives = 0
    saved_s = 0.0
    while True:
        now = min(workers[0], stageout.alarm())
        if now > life_s:
            return Node(done * RANGE_S, done * RANGE_S - saved_s, archives)
        if now == workers[0]:
            stageout.add(f"r{done}", Output((f"/w/r{done}",), 100_000, now, value_s=RANGE_S))
            done += 1
            heapq.heapreplace(workers, now + RANGE_S * chance.uniform(0.5, 1.5))
        for action in stageout.due(now, flush=False, ends=False):
            assert isinstance(action, PackOutputs)
            if now + STORE_S <= life_s:
                saved_s += _stored(stageout, action, now + STORE_S)
                archives += 1


def _stored(stageout: StageOut, action: PackOutputs, at: float) -> float:
    """It goes all the way; the work in it."""
    stageout.packed(action.lfn, OutputsPacked(size_bytes=len(action.members) * 100_000, adler32="0badcafe"))
    (store,) = stageout.due(at, flush=False, ends=False)
    assert isinstance(store, StoreArchive)
    stageout.stored(action.lfn, "file:///there", 0)
    (report,) = stageout.due(at, flush=False, ends=False)
    assert isinstance(report, ReportRanges)
    stageout.booked(action.lfn, at, report.report.event_range_ids)
    stageout.answered(action.lfn, at, (), (), "")
    return len(action.members) * RANGE_S


def figures(way: str, lifetime_h: float, nodes: int) -> tuple[float, float]:
    """In percent of the finished work: what is lost, and that with what storing costs."""
    chance = Random(f"{lifetime_h}")
    settings = Settings(node_lifetime_s=lifetime_h * HOUR, keep_outputs=True, zip_max_ranges=10_000, **WAYS[way])
    price_s = STORE_S + settings.archive_price_s
    lost, cost = [], []
    for _ in range(nodes):
        life_s = min(chance.expovariate(1 / (lifetime_h * HOUR)), LONGEST_H * HOUR)
        node = live(StageOut(settings), life_s, chance)
        lost.append((node.lost_s, node.done_s))
        cost.append(node.archives * price_s)
    done_s = fmean(done for _, done in lost) or 1.0
    lost_s = fmean(each for each, _ in lost)
    return 100 * lost_s / done_s, 100 * (lost_s + fmean(cost)) / done_s


def main() -> None:
    """Print the table, and draw it if a file is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", nargs="?", type=Path)
    parser.add_argument("--nodes", type=int, default=200)
    given = parser.parse_args()
    told = {way: [figures(way, hours, given.nodes) for hours in LIFETIMES_H] for way in WAYS}
    print("mean lifetime, h  " + "".join(f"{hours:>14}" for hours in LIFETIMES_H))
    for way, row in told.items():
        print(f"{way:18}" + "".join(f"{lost:7.2f}/{cost:5.2f}%" for lost, cost in row))
    if given.picture:
        draw(told, given.picture)


def draw(told: dict[str, list[tuple[float, float]]], picture: Path) -> None:
    """Two pictures: what is lost, and that with what storing costs."""
    from matplotlib import pyplot

    pyplot.rcParams["svg.hashsalt"] = "esfsm"
    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    for number, (axis, title) in enumerate(
        zip(axes, ("work lost", "work lost, and the price of storing"), strict=True)
    ):
        for way, row in told.items():
            axis.plot(LIFETIMES_H, [values[number] for values in row], marker="o", label=way)
        axis.set(xscale="log", yscale="log", title=title, xlabel="mean lifetime of a node in hours")
        axis.set_xticks(LIFETIMES_H, [f"{hours:g}" for hours in LIFETIMES_H])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("% of the finished work")
    axes[0].legend()
    figure.savefig(picture, metadata={"Date": None})


if __name__ == "__main__":
    main()
