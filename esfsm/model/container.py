"""The command line that puts a payload into a container: a site's template, and what its placeholders stand for."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

__all__ = ["ContainerCommand"]

TEMPLATES = {
    # In this order: what lies in /tmp outside is bound into the /tmp that is already there.
    "apptainer": "apptainer exec --contain --bind {channel_directory}:/tmp --bind {workdir} --bind {transformations} "
    "--pwd {workdir} {image} {command}",
}
"""By name."""
PLACEHOLDER = re.compile(r"\{([^{}\s]*)\}")
COMMAND = "{command}"
KNOWN = ("image", "workdir", "channel_directory", "transformations", "command")


@dataclass(frozen=True)
class ContainerCommand:
    """A template that can be meant; `{command}` stands alone, for all arguments of the payload."""

    words: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `apptainer`, or a command line with placeholders. Raises ValueError with one sentence."""
        template = TEMPLATES.get(text, text)
        try:
            words = tuple(shlex.split(template))
        except ValueError as error:
            raise ValueError(f"it is no command line: {error}") from None
        for name in PLACEHOLDER.findall(template):
            if name not in KNOWN:
                raise ValueError(f"there is no {{{name}}}; known are: {', '.join(KNOWN)}")
        if words.count(COMMAND) != 1 or template.count(COMMAND) != 1:
            raise ValueError(f"it needs {COMMAND} once, as a word of its own")
        return cls(words)

    @cached_property
    def names(self) -> frozenset[str]:
        """Of the placeholders that it has."""
        return frozenset(name for word in self.words for name in PLACEHOLDER.findall(word))

    def around(self, command: Sequence[str], known: Mapping[str, str]) -> list[str]:
        """The arguments that run a command inside; `known`: what every placeholder but `{command}` stands for."""
        filled: list[str] = []
        for word in self.words:
            filled += command if word == COMMAND else [PLACEHOLDER.sub(lambda found: known[found[1]], word)]
        return filled
