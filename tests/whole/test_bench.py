"""The benchmarks measure what they say, on small jobs."""

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


def test_what_a_journal_costs_is_printed_beside_what_its_lines_cost() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "journal.py"), "--ranges", "50", "--repeats", "1"]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100).stdout.splitlines()
    assert re.fullmatch(r"50 event ranges: [\d,]+ bytes of journal each", told[0])
    assert [line.split()[0] for line in told[1:]] == ["parse", "take_up", "replay"]
    for line in told[1:]:
        assert re.search(r"[\d.]+ s \([\d.]+ - [\d.]+\) +[\d.]+ x parse, \d+ MB", line), line
