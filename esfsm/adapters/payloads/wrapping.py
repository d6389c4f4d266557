"""What stands around a payload's command: the site's set-up, and a container. A job's words are always arguments.

The set-up is a site's own shell text, and trusted. It runs in the same shell, and then gives its place to the payload.
A container has a /tmp of its own, where a payload looks for the socket file of its channel: a directory of ours.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from esfsm.errors import UnusableInput
from esfsm.model.job import Job
from esfsm.model.settings import Settings
from esfsm.ports import Payload

__all__ = ["after_set_up", "in_container"]

# A script that is sourced without arguments sees those of its shell, so they are put away meanwhile.
SET_UP = 'payload=("$@"); set --; {{ {set_up}\n}} || exit\nexec -- "${{payload[@]}}"'
TMP = Path("/tmp")
TEMPLATES = {
    # In this order: what lies in /tmp outside is bound into the /tmp that is already there.
    "apptainer": "apptainer exec --contain --bind {channel_directory}:/tmp --bind {workdir} --bind {transformations} "
    "--pwd {workdir} {image} {command}",
}
"""Command lines by name."""
PLACEHOLDER = re.compile(r"\{([^{}\s]*)\}")
COMMAND = "{command}"
PASSED_ON = ("", "APPTAINERENV_", "SINGULARITYENV_")
"""How a variable reaches the inside of a container, whatever that does with the environment."""


def after_set_up(command: Sequence[str], settings: Settings) -> Sequence[str]:
    """The command in a shell that the site has set up; it ends with the exit code of a set-up that fails."""
    if settings.payload_setup is None:
        return command
    return ["/bin/bash", "-c", SET_UP.format(set_up=settings.payload_setup), "payload", *command]


def in_container(payload: Payload, job: Job, settings: Settings, transformations: Path) -> Payload:
    """The payload inside of `settings.container`; `transformations`: the directory that its program lies in.

    Raises `UnusableInput` for a container that cannot be meant, and OSError.
    """
    image = job.container_image or job.container_name or settings.container_image
    if not image:
        raise UnusableInput("the payload is to run in a container, and neither job nor settings name an image")
    if image.startswith("-"):
        raise UnusableInput(f"{image!r} is an option, not an image of a container")
    directory = payload.workdir / "tmp"
    known = {
        "image": image,
        "workdir": str(payload.workdir),
        "channel_directory": str(directory),
        "transformations": str(transformations),
    }
    template = str(settings.container)
    command = _filled(TEMPLATES.get(template, template), known, payload.arguments)
    environment = {f"{way}{name}": value for name, value in payload.environment.items() for way in PASSED_ON}
    directory.mkdir(mode=0o700, exist_ok=True)
    for bound in (payload.workdir, transformations):
        if bound.is_relative_to(TMP):  # nobody else would make the place for it
            (directory / bound.relative_to(TMP)).mkdir(parents=True, exist_ok=True)
    return payload._replace(arguments=command, environment=environment, channel_directory=directory)


def _filled(template: str, known: Mapping[str, str], command: Sequence[str]) -> list[str]:
    """The words of a template, each with what its placeholders stand for; `{command}` stands for all arguments."""
    try:
        words = shlex.split(template)
    except ValueError as error:
        raise UnusableInput(f"setting container: {template!r}: {error}") from None
    for name in PLACEHOLDER.findall(template):
        if name not in {*known, "command"}:
            raise UnusableInput(f"setting container: there is no {{{name}}}; known are: {', '.join(known)}, command")
    if words.count(COMMAND) != 1 or template.count(COMMAND) != 1:
        raise UnusableInput(f"setting container: {template!r} needs {COMMAND} once, as a word of its own")
    filled: list[str] = []
    for word in words:
        filled += command if word == COMMAND else [PLACEHOLDER.sub(lambda found: known[found[1]], word)]
    return filled
