"""python -m esfsm."""

from esfsm.cli import script

script()
