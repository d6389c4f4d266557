"""What stands around a payload's command: the site's set-up, and a container. A job's words are always arguments.

The set-up is a site's own shell text, and trusted. It runs in the same shell, and then gives its place to the payload.
A payload looks for the socket file of its channel in /tmp. A container that is given a directory of ours as its /tmp
({channel_directory}) finds it there; any other one is taken to share the /tmp of this machine.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from esfsm.errors import UnusableInput
from esfsm.model.container import ContainerCommand
from esfsm.model.job import Job
from esfsm.model.settings import Settings
from esfsm.ports import Payload

__all__ = ["after_set_up", "in_container"]

# A script that is sourced without arguments sees those of its shell, so they are put away meanwhile. One that ends the
# shell has kept the payload from running, even if it says that all is well.
SET_UP = """\
__payload=("$@"); set --
trap '__ended=$?; echo "payload_setup ended with exit code $__ended" >&2; exit $((__ended ? __ended : 1))' EXIT
{{ :; {set_up}
}} || exit
trap - EXIT
builtin exec -- "${{__payload[@]}}"
"""
TMP = Path("/tmp")
PASSED_ON = ("", "APPTAINERENV_", "SINGULARITYENV_")
"""How a variable reaches the inside of a container, whatever that does with the environment."""


def after_set_up(command: Sequence[str], settings: Settings) -> Sequence[str]:
    """The command in a shell that the site has set up; it ends with the exit code of a set-up that fails."""
    if settings.payload_setup is None:
        return command
    return ["/bin/bash", "-c", SET_UP.format(set_up=settings.payload_setup), "payload", *command]


def in_container(payload: Payload, job: Job, settings: Settings, transformations: Path) -> Payload:
    """The payload inside of `settings.container`; `transformations`: the directory that its program lies in.

    Raises `UnusableInput` for an image that cannot be meant, and OSError.
    """
    container = ContainerCommand.parse(str(settings.container))
    image = job.container_image or job.container_name or settings.container_image or ""
    if not image and "image" in container.names:
        raise UnusableInput("the payload is to run in a container, and neither job nor settings name an image")
    if image.startswith("-"):
        raise UnusableInput(f"{image!r} is an option, not an image of a container")
    has_tmp = "channel_directory" in container.names
    directory = payload.workdir / "tmp" if has_tmp else payload.channel_directory
    known = {
        "image": image,
        "workdir": str(payload.workdir),
        "channel_directory": str(directory),
        "transformations": str(transformations),
    }
    environment = {f"{way}{name}": value for name, value in payload.environment.items() for way in PASSED_ON}
    if has_tmp:
        _make_tmp(directory, (payload.workdir, transformations))
    command = container.around(payload.arguments, known)
    return payload._replace(arguments=command, environment=environment, channel_directory=directory)


def _make_tmp(directory: Path, bound: Iterable[Path]) -> None:
    """The /tmp of a container, with a place for what is bound into it: nobody else would make one."""
    directory.mkdir(mode=0o700, exist_ok=True)
    for outside in bound:
        if outside.is_relative_to(TMP):
            (directory / outside.relative_to(TMP)).mkdir(parents=True, exist_ok=True)
