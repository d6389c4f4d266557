"""`esfsm testing`: the same as `python -m esfsm.testing`."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("way", [["esfsm", "testing"], ["esfsm.testing"]], ids=" ".join)
def test_there_is_a_server_for_tests_and_a_storm(way: list[str]) -> None:
    told = subprocess.run([sys.executable, "-m", *way, "--help"], capture_output=True, text=True, check=True).stdout
    assert "{storm,serve}" in told


@pytest.mark.parametrize("way", [["esfsm", "testing"], ["esfsm.testing"]], ids=" ".join)
def test_what_cannot_be_served_is_told_with_exit_code_2(way: list[str]) -> None:
    command = [sys.executable, "-m", *way, "serve", "--quirk", "kindness"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (told.returncode, told.stdout) == (2, "")
    assert "kindness" in told.stderr
