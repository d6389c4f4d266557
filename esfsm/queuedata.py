"""What the queue says, fetched for a pilot and kept in a file: the only place that reads and writes it."""

import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from math import inf
from pathlib import Path
from time import time

import orjson
from loguru import logger

from esfsm import plugins
from esfsm.errors import UnusableInput, WireError
from esfsm.model.queuedata import QueueData
from esfsm.model.reading import read_file
from esfsm.model.settings import Settings

__all__ = ["keep_queuedata", "read_queuedata"]

FILE = "queuedata.json"
FRESH_S = 3600.0
"""So long nobody is asked again; queues change by the day, and a site starts many pilots at once."""


def read_queuedata(path: Path | None, overwrites: Mapping[str, object] | None = None) -> QueueData | None:
    """What the queue says, from a file in CRIC's form, and what the job puts over it; None where neither is there.

    Raises `UnusableInput`.
    """
    if path is None and not overwrites:
        return None
    try:
        content = {} if path is None else orjson.loads(read_file(path))
    except OSError as error:
        raise UnusableInput(f"queue data {path}: {error.strerror}") from None
    except orjson.JSONDecodeError as error:
        raise UnusableInput(f"queue data {path}: not JSON: {error}") from None
    return QueueData.read(content, overwrites)


def keep_queuedata(settings: Settings, directory: Path) -> Path | None:
    """The file that says what the queue says, fetched if it is not there or old; None where no URL is set.

    An old one is better than none. Raises `UnusableInput` where there is none, the queue is not in it, or it cannot be
    kept.
    """
    if settings.queuedata_url is None:
        return settings.queuedata
    kept = directory / FILE
    age_s = _age_s(kept)
    if age_s > FRESH_S:
        try:
            _write(kept, _queue(_fetch(settings, settings.queuedata_url), settings))
        except (WireError, OSError) as error:
            if age_s == inf:
                raise UnusableInput(f"queue data {settings.queuedata_url}: {error}") from None
            logger.warning("an old description of the queue is used: {}", error)
    return kept


def _age_s(kept: Path) -> float:
    """Since a file was written; infinite where there is none."""
    try:
        found = kept.stat()
    except OSError:
        return inf
    return time() - found.st_mtime if stat.S_ISREG(found.st_mode) else inf


def _fetch(settings: Settings, url: str) -> bytes:
    content: bytes = plugins.find("communicators.queuedata", url.partition("://")[0])(url, settings)
    return content


def _queue(content: bytes, settings: Settings) -> object:
    """The one queue. Raises `WireError` for what is no description of any, `UnusableInput` where ours is not in it."""
    try:
        queues = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise WireError(f"it is no JSON: {error}") from None
    if not isinstance(queues, dict):
        raise WireError("it holds no queues")
    is_one = not all(isinstance(each, dict) for each in queues.values())
    if not is_one and settings.queue is not None and settings.queue not in queues:
        raise UnusableInput(f"queue data {settings.queuedata_url}: there is no queue {settings.queue}")
    queue: object = queues if is_one or settings.queue is None else queues[settings.queue]
    QueueData.read(queue)
    return queue


def _write(path: Path, queue: object) -> None:
    """Others may read it at the same time. Raises OSError, and leaves nothing behind."""
    written = path.with_name(f"{FILE}.{os.getpid()}")
    try:
        written.write_bytes(orjson.dumps(queue))
        written.replace(path)
    except OSError:
        with suppress(OSError):
            written.unlink(missing_ok=True)
        raise
