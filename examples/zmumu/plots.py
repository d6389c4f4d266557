"""The two pictures of the demo: what came out, and what each event range waited for."""

import heapq
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from events import FloatArray

__all__ = ["RangeTimes", "by_worker", "plot_dimuon_mass", "plot_timeline"]

GREY, BLUE, ORANGE, GREEN, PURPLE = "#c8c8c8", "#0072b2", "#e69f00", "#009e73", "#cc79a7"

BIN_GEV = 1.0
WINDOW_GEV = (66.0, 116.0)


class RangeTimes(Protocol):
    """When an event range came how far: seconds since the start of the job, None if it never did."""

    @property
    def granted_s(self) -> float | None:
        """PanDA gave it."""

    @property
    def sent_s(self) -> float | None:
        """A worker has it."""

    @property
    def produced_s(self) -> float | None:
        """The worker announced its output."""

    @property
    def packed_s(self) -> float | None:
        """The output is in an archive."""

    @property
    def stored_s(self) -> float | None:
        """The archive is on a storage."""

    @property
    def acknowledged_s(self) -> float | None:
        """PanDA booked it as finished."""


PHASES = (
    ("waiting for a worker", "granted_s", "sent_s", GREY),
    ("running", "sent_s", "produced_s", BLUE),
    ("until packed", "produced_s", "packed_s", ORANGE),
    ("until stored", "packed_s", "stored_s", GREEN),
    ("until reported", "stored_s", "acknowledged_s", PURPLE),
)


def plot_dimuon_mass(truth: FloatArray, smeared: FloatArray, path: Path) -> None:
    """The Z peak, generated and smeared; masses in GeV, NaN where no muon pair was seen.

    Only events with both masses are shown, so the two spectra differ by the resolution alone.
    """
    both = np.isfinite(truth) & np.isfinite(smeared)
    truth, smeared = truth[both], smeared[both]
    edges = np.arange(WINDOW_GEV[0], WINDOW_GEV[1] + BIN_GEV, BIN_GEV)
    counts, _ = np.histogram(smeared, edges)
    low, high = np.percentile(smeared / truth - 1, (16, 84))

    figure = Figure(figsize=(8, 5.5), layout="constrained")
    axes = figure.subplots()
    axes.hist(
        truth, edges.tolist(), histtype="stepfilled", color=BLUE, alpha=0.35, label="generated (Pythia 8, with FSR)"
    )
    label = rf"smeared, $\sigma_m/m$ = {(high - low) / 2:.1%}"
    axes.errorbar(edges[:-1] + BIN_GEV / 2, counts, np.sqrt(counts), fmt="ko", ms=4, lw=1, label=label)
    axes.set(xlim=WINDOW_GEV, ylim=(0, None), xlabel=r"$m_{\mu\mu}$ [GeV]", ylabel=f"Events / {BIN_GEV:g} GeV")
    seen = f"{both.sum():,} of {both.size:,} events, both muons seen"
    axes.set_title(rf"pp $\to$ Z/$\gamma^*\to\mu^+\mu^-$, 13 TeV: {seen}")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


def plot_timeline(ranges: Sequence[RangeTimes], path: Path, workers: int) -> None:
    """One bar an event range, below one another in the order of their start, in one panel a worker."""
    figure = Figure(figsize=(10, 9), layout="constrained")
    panels = figure.subplots(workers, sharex=True, squeeze=False)[:, 0]
    for number, (axes, mine) in enumerate(zip(panels, by_worker(ranges, workers), strict=True), start=1):
        _draw_worker(axes, mine)
        axes.set_ylabel(f"worker {number}: {len(mine)} ranges")
    panels[-1].set_xlabel("seconds since the start of the job")
    patches = [Patch(color=colour, label=label) for label, _, _, colour in PHASES]
    figure.legend(handles=patches, loc="outside upper center", ncols=len(PHASES), frameon=False)
    figure.savefig(path, dpi=150)


def by_worker(ranges: Sequence[RangeTimes], workers: int) -> list[list[RangeTimes]]:
    """Which worker ran which ranges, in order: each goes to the worker that was free first.

    The channel does not say who ran what, so this is inferred; a range that was never sent belongs to nobody.
    """
    lanes: list[list[RangeTimes]] = [[] for _ in range(workers)]
    free = [(0.0, number) for number in range(workers)]  # a heap: (free since, worker)
    for one in sorted((r for r in ranges if r.sent_s is not None), key=lambda r: r.sent_s or 0.0):
        _, number = heapq.heappop(free)
        lanes[number].append(one)
        ended = one.produced_s if one.produced_s is not None else float("inf")
        heapq.heappush(free, (ended, number))
    return lanes


def _draw_worker(axes: Axes, ranges: Sequence[RangeTimes]) -> None:
    for _, start, end, colour in PHASES:
        spans = [(row, getattr(r, start), getattr(r, end)) for row, r in enumerate(ranges)]
        known = [(row, left, right - left) for row, left, right in spans if left is not None and right is not None]
        if known:
            rows, lefts, widths = zip(*known, strict=True)
            axes.barh(rows, widths, left=lefts, height=1.0, color=colour)
    axes.set_ylim(max(len(ranges), 1) - 0.5, -0.5)  # the first on top
    axes.set_xlim(left=0)
    axes.set_yticks([])
