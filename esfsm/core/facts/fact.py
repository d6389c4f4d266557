"""What a fact is: frozen, named, dated; and what can be relied on of its parts.

What is `Annotated` is what the core relies on, and no more. It is made sure of by whoever reads a fact, not here; so
is that a fact holds nothing else.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Annotated, ClassVar, TypeVar, dataclass_transform

from annotated_types import Interval, Predicate

__all__ = ["FACTS", "Count", "EachOnce", "Fact", "FileCopy", "FileName", "Pid", "Time", "fact", "word"]

FACTS: dict[str, type["Fact"]] = {}
"""Every fact by its name in the tables and in the journal."""


def _names_a_file(text: str) -> bool:
    return text not in ("", ".", "..") and not {"/", "\0"} & {*text} and len(text.encode()) <= 255  # NAME_MAX


def _names_each_once(names: Sequence[str]) -> bool:
    return len({*names}) == len(names)


Time = Annotated[float, Interval(ge=0, lt=inf)]
Count = Annotated[int, Interval(ge=0, lt=2**63)]
Pid = Annotated[int, Interval(ge=1, lt=2**31)]
FileName = Annotated[str, Predicate(_names_a_file)]
EachOnce = Annotated[tuple[str, ...], Predicate(_names_each_once)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """Something that has happened.

    `at` is the time that the journal gave it (seconds since 1970), `answers` the number of the action that it answers
    (0: none).
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    name: ClassVar[str] = "fact"
    at: Time = 0.0
    answers: Count = 0


F = TypeVar("F", bound=Fact)


@dataclass_transform(frozen_default=True, kw_only_default=True)
def fact(cls: type[F]) -> type[F]:
    """Make it frozen and known under its name: `RangesSent` is `ranges_sent` in tables and journals."""
    made = dataclass(frozen=True, slots=True, kw_only=True)(cls)
    made.name = word(cls)
    FACTS[made.name] = made
    return made


def word(cls: type) -> str:
    """The name of a class in tables and journals: `RangesSent` is `ranges_sent`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()


@dataclass(frozen=True, slots=True)
class FileCopy:
    """A file that was copied and verified: size in bytes, adler32 as 8 hex digits."""

    lfn: FileName
    size_bytes: Count
    adler32: str
    url: str
