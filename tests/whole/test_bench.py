"""The benchmark measures what it says, on a small job."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_benchmark_prints_each_figure_with_its_spread() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "noop.py"), "--ranges", "20", "--repeats", "1"]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100).stdout
    rows = [line.split("│")[1:-1] for line in told.splitlines() if line.startswith("│")]
    assert len(rows) == 10
    for what, ours, bare, ratio in rows:
        assert re.fullmatch(r" *[\d,.]+ \([\d,.]+ - [\d,.]+\) ", ours), what
        assert bool(bare.strip()) == bool(ratio.strip()) == ("request" in what)
