"""FileSpec: one file of a job; and the only place that takes PanDA's comma lists apart.

PanDA sends a list for each attribute of its files (`inFiles`, `GUID`, `scopeIn`, ...). What belongs together stands
at the same index, and a name that is dropped still counts. Names come over the network and become names in the
work directory, so one that leads out of it is refused.
"""

import re
from collections.abc import Callable, Iterator, Mapping

from pydantic import BaseModel, ConfigDict

from esfsm.errors import UnreadableJob

__all__ = ["LIST_KEYS", "FileSpec", "Warn", "input_files", "listed_files", "output_files", "written_files"]

Warn = Callable[[str], object]
"""Takes one sentence about a value that was not usable, and did not matter enough to refuse the job."""

_IN = {
    "guid": "GUID",
    "dataset": "realDatasetsIn",
    "scope": "scopeIn",
    "size_bytes": "fsize",
    "checksum": "checksum",
    "storage_token": "prodDBlockToken",
    "ddm_endpoint": "ddmEndPointIn",
}
_OUT = {"dataset": "realDatasets", "scope": "scopeOut", "ddm_endpoint": "ddmEndPointOut"}

LIST_KEYS = frozenset(
    {"inFiles", *_IN.values(), "outFiles", *_OUT.values(), "logFile", "logGUID", "scopeLog", "allowNoOutput"}
)
"""The keys of a job definition that are read here."""

LONGEST_NAME = 255
"""Bytes in a file name: NAME_MAX of Linux."""

_NOTHING = ("", "NULL")
_STORAGE = re.compile(r"([0-9]{1,9})(?:/([0-9]{1,9}))?")
_DIGITS = {"adler32": re.compile(r"[0-9a-f]{1,8}"), "md5": re.compile(r"[0-9a-f]{32}")}

# What can be a name of writeToFile inside jobPars: it ends where an argument, its value or a quotation ends.
_WORD = re.compile(r"""[^\s=@,:;/'"]+""")
_NAMED = re.compile(rf"""=['"]?@({_WORD.pattern})""")
_OPTION = re.compile(r"""(?<![^\s'"])([^\s='"]+)=""")
_AUTO_CONFIGURATION = re.compile(r"""(?<!\S)(['"]?)--autoConfiguration=everything\1(?!\S)""")


class FileSpec(BaseModel):
    """One input, output or log; what PanDA does not say, or not so that it can be used, is None."""

    model_config = ConfigDict(frozen=True)

    lfn: str
    """Its name in the work directory: without `zip://`, and of a `gs://` URL the last part."""
    guid: str | None = None
    dataset: str | None = None
    scope: str | None = None
    size_bytes: int | None = None
    adler32: str | None = None
    """8 lower-case hex digits."""
    md5: str | None = None
    """32 lower-case hex digits."""
    storage_token: str | None = None
    storage_id: int | None = None
    """The number of the storage in CRIC, when the token is `<id>` or `<id>/<path convention>`."""
    path_convention: int | None = None
    """How the path is made there; 1000 stands for scope `transient`."""
    ddm_endpoint: str | None = None
    is_archive: bool = False
    """An archive of premerged outputs (`zip://`), to be unpacked after stage-in."""
    url: str | None = None
    """The whole URL, for `gs://`."""
    is_log: bool = False
    may_be_missing: bool = False
    """An output that a good payload need not make (`allowNoOutput`)."""


def input_files(content: Mapping[str, object], warn: Warn) -> tuple[FileSpec, ...]:
    """The inputs of a flat job definition, in its order; raises `UnreadableJob`."""
    columns = {attribute: _column(content, key) for attribute, key in _IN.items()}
    inputs: dict[str, FileSpec] = {}
    for name, said in _rows(_column(content, "inFiles"), columns):
        place = _place(name, "inFiles", inputs)
        lfn = str(place["lfn"])
        size = {"size_bytes": _size(said.pop("size_bytes", "0"), lfn, warn)}
        checksum = _checksum(said.pop("checksum"), lfn, warn) if "checksum" in said else {}
        storage = _storage(said.get("storage_token", ""))
        inputs[lfn] = FileSpec.model_validate({**place, **said, **size, **checksum, **storage})
    return tuple(inputs.values())


def output_files(content: Mapping[str, object], warn: Warn) -> tuple[tuple[FileSpec, ...], FileSpec | None]:
    """The outputs of a flat job definition in its order, and apart from them the log; raises `UnreadableJob`."""
    names = _column(content, "outFiles")
    columns = {attribute: _column(content, key) for attribute, key in _OUT.items()}
    may_be_missing = set(_column(content, "allowNoOutput"))
    log_name, log_guid, log_scope = (str(content.get(key) or "") for key in ("logFile", "logGUID", "scopeLog"))
    if log_name in names:
        # scopeOut has no entry for the log: without one, all scopes behind it would belong to the wrong files.
        at, scopes = names.index(log_name), columns["scope"]
        columns["scope"] = [*scopes[:at], *[""] * (at - len(scopes)), log_scope, *scopes[at:]]
    elif log_name not in _NOTHING:
        warn(f"logFile {log_name[:80]!r} is not among outFiles: there will be no log")

    outputs: dict[str, FileSpec] = {}
    log_file = None
    for name, said in _rows(names, columns):
        place = _place(name, "outFiles", outputs)
        lfn = str(place["lfn"])
        about = {"guid": _or_none(log_guid), "is_log": True} if name == log_name else {}
        about["may_be_missing"] = lfn in may_be_missing
        outputs[lfn] = FileSpec.model_validate({**place, **said, **about})
        log_file = outputs[lfn] if name == log_name else log_file
    return tuple(file for file in outputs.values() if not file.is_log), log_file


def written_files(write_to_file: str, job_pars: str) -> tuple[dict[str, tuple[str, ...]], str]:
    """What `writeToFile` asks for: the lines of each file by its name, and the jobPars that name these files.

    `--in=@A --x=1` with `A:f1,f2` makes the file `A.txt` of the lines `--in`, `f1`, `f2`, and `@A.txt --x=1`. A name
    that no argument has behind `=@` gets no line with an option. Raises `UnreadableJob`.
    """
    groups = listed_files(write_to_file)
    if not groups:
        return {}, job_pars
    options: dict[str, tuple[str, ...]] = {}
    for argument in job_pars.split():
        if option := _OPTION.match(argument.lstrip("'\"")):
            for name in _NAMED.findall(argument):
                options.setdefault(name, option.groups())
    moved = {option for name in groups for option in options.get(name, ())}
    # Whole words only: were every occurrence of `A` replaced, the argument that names `A.root` would be damaged too.
    job_pars = _WORD.sub(lambda word: f"{word[0]}.txt" if word[0] in groups else word[0], job_pars)
    job_pars = _OPTION.sub(lambda option: "" if option[1] in moved else option[0], job_pars)
    job_pars = _AUTO_CONFIGURATION.sub("", job_pars)
    return {f"{name}.txt": (*options.get(name, ()), *lfns) for name, lfns in groups.items()}, job_pars


def listed_files(write_to_file: str) -> dict[str, tuple[str, ...]]:
    """The LFNs of `name1:lfn1,lfn2^name2:lfn3` by name; nothing is skipped, for its events would be lost."""
    groups: dict[str, tuple[str, ...]] = {}
    for group in write_to_file.split("^") if write_to_file not in _NOTHING else ():
        if group.count(":") != 1:
            raise UnreadableJob(f"writeToFile: {group[:80]!r} is not NAME:LFN,LFN,...")
        name, lfns = group.split(":")
        _file_name(f"{_file_name(name, 'writeToFile')}.txt", "writeToFile")
        if not _WORD.fullmatch(name):
            raise UnreadableJob(f"writeToFile: {name[:80]!r} cannot be found in jobPars")
        if name in groups:
            raise UnreadableJob(f"writeToFile: {name[:80]!r} is there twice")
        groups[name] = tuple(_file_name(lfn, "writeToFile") for lfn in lfns.split(","))
    return groups


def _column(content: Mapping[str, object], key: str) -> list[str]:
    """A comma list; one number alone may come as a number."""
    value = content.get(key)
    if value is None:
        return []
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise UnreadableJob(f"{key}: a text with commas is expected, not {str(value)[:80]!r}")
    return str(value).split(",")


def _rows(names: list[str], columns: Mapping[str, list[str]]) -> Iterator[tuple[str, dict[str, str]]]:
    """Each name once, with what the columns say at its index; columns may be short."""
    seen = set(_NOTHING)
    for index, name in enumerate(names):
        if name not in seen:
            seen.add(name)
            row = {attribute: column[index] for attribute, column in columns.items() if index < len(column)}
            yield name, {attribute: text for attribute, text in row.items() if text not in _NOTHING}


def _place(name: str, key: str, others: Mapping[str, FileSpec]) -> dict[str, object]:
    """What the name says itself. Two files of one name cannot both lie in the work directory."""
    lfn = name.removeprefix("zip://")
    url = name if name.startswith("gs://") else None
    lfn = _file_name(name.rpartition("/")[2] if url else lfn, key)
    if lfn in others:
        raise UnreadableJob(f"{key}: {lfn!r} is the name of two files")
    return {"lfn": lfn, "is_archive": name.startswith("zip://"), "url": url}


def _file_name(text: str, key: str) -> str:
    """`text`, if it can name a file in the work directory."""
    if text in ("", ".", "..") or "/" in text or not text.isprintable() or len(text.encode()) > LONGEST_NAME:
        raise UnreadableJob(f"{key}: {text[:80]!r} cannot be the name of a file")
    return text


def _or_none(text: str) -> str | None:
    return None if text in _NOTHING else text


def _size(text: str, lfn: str, warn: Warn) -> int | None:
    """Bytes; 0 is what PanDA has for a size that it does not know."""
    if re.fullmatch("[0-9]{1,18}", text):
        return int(text) or None
    warn(f"fsize {text[:80]!r} of {lfn} is not a number of bytes: its size is taken as unknown")
    return None


def _checksum(text: str, lfn: str, warn: Warn) -> dict[str, str]:
    """`ad:`, `md:` or bare, which is adler32.

    One that cannot be a checksum is taken as unknown: it could match no file at all, so refusing the job for it
    would lose the job, and with the size alone nothing is lost.
    """
    prefix, _, digits = text.lower().rpartition(":")
    kind = "md5" if prefix == "md" else "adler32"
    if not _DIGITS[kind].fullmatch(digits):
        warn(f"checksum {text[:80]!r} of {lfn} is no {kind}: its checksum is taken as unknown")
        return {}
    return {kind: digits.zfill(8)}


def _storage(token: str) -> dict[str, int]:
    found = _STORAGE.fullmatch(token)
    if not found:
        return {}
    storage_id, path_convention = found.groups()
    return {"storage_id": int(storage_id)} | ({"path_convention": int(path_convention)} if path_convention else {})
