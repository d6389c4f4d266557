"""Which storages a job may use: read from storage data in CRIC's form, or from a short TOML; chosen by activity.

CRIC says of each queue which endpoints serve an activity (`astorages`), and of each endpoint its number, its protocols
by what is done there (`arprotocols`), and whether Rucio's rule gives the path of a file (`is_deterministic`). The TOML
has one table for each endpoint, in the order in which they are tried:

    [CERN-PROD_ES]
    id = 1318
    url = "s3://cs3.cern.ch:443/atlas-eventservice"
    activities = ["es_events"]
    rucio_paths = false
"""

import tomllib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from esfsm import plugins
from esfsm.errors import UnusableInput
from esfsm.model.reading import read_file
from esfsm.model.rse import RUCIO_PATHS, Rse

__all__ = ["read_rses"]

STORED_BY = (("es_events", "pw"), ("es_failover", "pw"))
"""Activities of a stage-out, and of what is tried when that fails: of each group the first that is served (pilot3)."""
WRITTEN_BY = ("write_lan", "w")
"""What is done at an endpoint, by which its protocols are told apart: the first that there is (pilot3)."""


class _Protocol(BaseModel):
    """One way to an endpoint."""

    endpoint: str
    path: str = ""

    @property
    def url(self) -> str:
        path = self.path if not self.path or self.endpoint.endswith("/") else f"/{self.path.lstrip('/')}"
        return f"{self.endpoint}{path}".rstrip("/")

    @property
    def scheme(self) -> str:
        scheme, separator, _ = self.endpoint.partition("://")
        return scheme if separator else "file"


class _Endpoint(BaseModel):
    """One endpoint as CRIC describes it; what is not named here is left alone."""

    id: int = Field(ge=0, lt=10**11)
    type: str = ""
    is_deterministic: bool | None = None
    arprotocols: Mapping[str, list[_Protocol]] = Field(default_factory=dict)

    def as_rse(self, name: str, schemes: Collection[str]) -> Rse:
        """Raises `UnusableInput` where nothing can be written there by us."""
        if not self.is_deterministic and not self.type.startswith("OS_"):
            raise UnusableInput(f"endpoint {name}: it has no rule for paths (is_deterministic)")
        protocols = next(filter(None, (self.arprotocols.get(activity) for activity in WRITTEN_BY)), [])
        for protocol in protocols:
            if protocol.scheme in schemes:
                convention = RUCIO_PATHS if self.is_deterministic else None
                return Rse(name=name, rse_id=self.id, url=protocol.url, path_convention=convention)
        found = ", ".join(protocol.endpoint for protocol in protocols) or "none"
        raise UnusableInput(f"endpoint {name}: there is no protocol to write by; it has: {found}")


class _Table(BaseModel):
    """One endpoint as the TOML has it."""

    model_config = ConfigDict(extra="forbid")

    id: int = Field(ge=0, lt=10**11)
    url: str
    activities: list[str] = Field(default_factory=lambda: ["es_events"])
    rucio_paths: bool = False

    def as_rse(self, name: str, schemes: Collection[str]) -> Rse:
        """An unknown scheme is said by whoever opens the storage."""
        convention = RUCIO_PATHS if self.rucio_paths else None
        url = self.url if "://" in self.url else str(Path(self.url).absolute())
        return Rse(name=name, rse_id=self.id, url=url.rstrip("/"), path_convention=convention)


def read_rses(path: Path, astorages: Mapping[str, Iterable[str]]) -> tuple[Rse, ...]:
    """The storages for archives, in the order in which they are tried.

    `astorages`: names of endpoints by activity, as the queue has them; a TOML says them itself. Raises `UnusableInput`
    for a file that cannot be used, and where no storage serves `es_events` (PanDA's NOSTORAGE).
    """
    kind: type[_Endpoint] | type[_Table] = _Table if path.suffix == ".toml" else _Endpoint
    content = _content(path)
    try:
        known = {name: kind.model_validate(said) for name, said in content.items()}
    except ValidationError as error:
        first = error.errors()[0]
        raise UnusableInput(f"storage data {path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    by_activity: dict[str, list[str]] = {activity: list(names) for activity, names in astorages.items()}
    for name, table in known.items():
        for activity in table.activities if isinstance(table, _Table) else ():
            by_activity.setdefault(activity, []).append(name)
    names = dict.fromkeys(name for group in STORED_BY for name in _served(group, by_activity))
    if not _served(STORED_BY[0], by_activity):
        raise UnusableInput(f"storage data {path}: no storage serves {' or '.join(STORED_BY[0])}")
    if unknown := [name for name in names if name not in known]:
        raise UnusableInput(f"storage data {path}: there is no endpoint {unknown[0]}")
    schemes = plugins.names("storage")
    return tuple(known[name].as_rse(name, schemes) for name in names)


def _served(activities: Iterable[str], by_activity: Mapping[str, list[str]]) -> list[str]:
    return next(filter(None, (by_activity.get(activity) for activity in activities)), [])


def _content(path: Path) -> Mapping[str, object]:
    try:
        raw = read_file(path)
        content = tomllib.loads(raw.decode()) if path.suffix == ".toml" else orjson.loads(raw)
    except OSError as error:
        raise UnusableInput(f"storage data {path}: {error.strerror}") from None
    except ValueError as error:  # no UTF-8, no TOML, no JSON
        raise UnusableInput(f"storage data {path}: {error}") from None
    if not isinstance(content, dict):
        raise UnusableInput(f"storage data {path}: a JSON object is expected")
    return content
