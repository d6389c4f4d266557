"""python -m esfsm."""

from esfsm.cli import main

main()
