"""Finds an adapter or a workflow by its name: the only place that imports by a name held in a variable.

Built-in names stand in the table `KNOWN` of each drawer of `adapters/`, as `module:attribute [extra]`, so they work
from a bare checkout. Installed packages add to it by entry points of the group `esfsm.<drawer>`; a name that is
given twice is an error, not a race.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from esfsm.core.soundness import check, sound
from esfsm.core.workflow import Workflow
from esfsm.errors import MissingExtra, UnknownName, UnsoundWorkflow, UnusableInput
from esfsm.model.settings import Settings

__all__ = [
    "check_workflow",
    "find",
    "held",
    "machine_names",
    "names",
    "shelf",
    "storage",
    "workflow",
    "workflow_names",
]

_KIND = {
    "archives": "archive format",
    "channels": "channel",
    "communicators": "communicator",
    "communicators.jobs": "communicator",
    "communicators.queuedata": "scheme of queue data",
    "executors": "executor type",
    "monitors": "monitor",
    "notices": "kind of notice",
    "payloads": "payload executor",
    "storage": "storage scheme",
}


def names(drawer: str) -> list[str]:
    """All names that `find` knows in a drawer."""
    return sorted({*_known(drawer), *_added(f"esfsm.{drawer}")})


def find(drawer: str, name: str) -> Any:
    """The adapter of that name: a class, a function or a module.

    Raises `UnknownName`, or `MissingExtra` when what it needs is not installed.
    """
    known, added = _known(drawer), _added(f"esfsm.{drawer}")
    if name in known and name in added:
        raise UnusableInput(f"the {_KIND[drawer]} {name!r} is built in, and a package installed here adds another")
    if name in added:
        return added[name].load()
    if name not in known:
        raise UnknownName(_KIND[drawer], name, names(drawer))
    place, _, extra = known[name].partition(" ")
    module, _, attribute = place.partition(":")
    try:
        found = import_module(f"esfsm.adapters.{drawer}.{module}")
    except ImportError as error:
        if extra:
            raise MissingExtra(_KIND[drawer], name, extra.strip("[]")) from error
        raise
    return getattr(found, attribute) if attribute else found


def storage(url: str, settings: Settings) -> Any:
    """The storage for a URL; a path is one of a local file. Raises as `find`."""
    scheme, separator, _ = url.partition("://")
    return find("storage", scheme if separator else "file")(settings)


def archiver(lfn: str) -> Any:
    """The archiver for a file of this name. Raises as `find`."""
    suffix = lfn.rpartition(".")[2]
    return find("archives", suffix if suffix in names("archives") else "tar")


def shelf() -> Traversable:
    """Where the declarations lie: inside the wheel, or beside esfsm/ in a checkout."""
    packed = files("esfsm") / "workflows"
    return packed if packed.is_dir() else Path(__file__).parents[1] / "workflows"


@cache
def held() -> Mapping[str, Workflow]:
    """The tables that a state may hold."""
    return {"event-range": Workflow.parse((shelf() / "event-range.toml").read_text(), "event-range")}


def workflow(name: str) -> Workflow:
    """A sound table by its name or path. Raises `UnknownName` or `UnsoundWorkflow`."""
    if name.endswith(".toml"):
        path = Path(name)
        try:
            return replace(sound(path.read_text(), name, held()), name=str(path.absolute()))
        except (OSError, UnicodeDecodeError) as error:
            raise UnsoundWorkflow([f"{path}: it cannot be read: {error}"]) from None
    if name in workflow_names():
        added = _added("esfsm.workflows")
        place = files(added[name].value) if name in added else shelf()
        return replace(sound((place / f"{name}.toml").read_text(), f"{name}.toml", held()), name=name)
    raise UnknownName("workflow", name, workflow_names())


def check_workflow(path: Path) -> list[str]:
    """Every fault of a table as `file:line: sentence`; none when it is sound."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        return [f"{path}: it cannot be read: {getattr(error, 'strerror', None) or error}"]
    return check(text, str(path), held())


def workflow_names() -> list[str]:
    """The shipped tables and those that installed packages add."""
    shipped = {entry.name.removesuffix(".toml") for entry in shelf().iterdir() if entry.name.endswith(".toml")}
    return sorted(shipped | _added("esfsm.workflows").keys())


def machine_names() -> list[str]:
    """The tables that a job or a pilot goes through: all but those that a state only holds."""
    return [name for name in workflow_names() if name not in held()]


def _known(drawer: str) -> Mapping[str, str]:
    known: Mapping[str, str] = import_module(f"esfsm.adapters.{drawer}").KNOWN
    return known


@cache
def _added(group: str) -> Mapping[str, Any]:
    """What installed packages add; raises `UnusableInput` when two add the same name."""
    found: dict[str, Any] = {}
    for point in entry_points(group=group):
        if point.name in found:
            raise UnusableInput(f"two installed packages add {point.name!r} to {group}")
        found[point.name] = point
    return found
