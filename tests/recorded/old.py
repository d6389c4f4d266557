"""Journals as older versions wrote them."""

import json
from pathlib import Path
from typing import Any

from esfsm.journal.formats import RENAMED, unsaid
from esfsm.journal.lines import line

YOUNGER = {"empty_answers", "adopt_patience_s", *unsaid(1)}
"""Settings that did not exist when format 1 was written; nor did these:"""
YOUNGER_FIELDS = {"channel"}


def as_format_1(journal: Path) -> None:
    """Tell a journal of today's format as format 1 told it."""
    told = [json.loads(raw) for raw in journal.read_bytes().splitlines()]
    journal.write_bytes(b"".join(line(old) for each in told if (old := _older(each))))


def _older(told: dict[str, Any]) -> dict[str, Any] | None:
    """The object of a line; None where there was none, as nothing but a state was entered."""
    del told["crc"]
    if "esfsm_journal" in told:
        settings = {name: value for name, value in told["settings"].items() if name not in YOUNGER}
        return {**told, "esfsm_journal": 1, "settings": settings}
    if "fact" in told:
        older = {name: value for name, value in told.items() if name not in YOUNGER_FIELDS}
        return {**older, "fact": _named(told["fact"])}
    then = {number: [_named(each) for each in led_to if each[:3] != "-> "] for number, led_to in told["then"].items()}
    then = {number: led_to for number, led_to in then.items() if led_to}
    return {"decided": told["decided"], "then": then} if then else None


def _named(told: str) -> str:
    """A fact, or an action whose last word is one, by the fact's older name."""
    before, space, name = told.rpartition(" ")
    older = {new: old for old, new in RENAMED[1].items()}
    return before + space + older.get(name, name)
