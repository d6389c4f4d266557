"""ESProcess, ESHook and ESManager as pilot3 has them, over our ESProcess.

pilot3's executors call the constructor, both setters of hooks, `start`, `is_alive`, `poll`, `stop`, `pid` and
`is_payload_started`; its tests call the getters and `parse_out_message`. `terminate`, `kill` and `is_payload_running`
are for whoever wrote an executor of their own. The other methods there are steps of its thread, which ours has not.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from esfsm import plugins
from esfsm.adapters.executors import esprocess
from esfsm.compat.failures import SetupFailure, UnknownException
from esfsm.errors import UnreadableMessage, UnusableInput
from esfsm.wire import athenamp

__all__ = ["ESHook", "ESManager", "ESProcess", "stream_path"]


class ESProcess(esprocess.ESProcess):
    """A payload that is fed event ranges by two hooks.

    `payload`: `executable` (shell text), and optionally `workdir` (here), `output_file`, `error_file` (names or files
    that are open) and `job` (its `corecount` is used). `waiting_time`: how long the payload may live after `No more
    events`, seconds. Raises `SetupFailure` for a payload that cannot be used; pilot3 does so in its thread, unheard.

    The command is never wrapped into a container: pilot3 itself does that for executor type raythena only.
    """

    def __init__(self, payload: Mapping[str, Any], waiting_time: float = 30 * 60) -> None:
        try:
            super().__init__(
                _completed(payload), open_channel=plugins.find("channels", "zmq"), end_patience_s=waiting_time
            )
        except (UnusableInput, OSError) as error:
            raise SetupFailure(str(error)) from error

    def get_get_event_ranges_hook(self) -> object:
        """The hook that was set; None before."""
        return self._get_event_ranges

    def get_handle_out_message_hook(self) -> object:
        """The hook that was set; None before."""
        return self._handle_out_message

    def start(self) -> None:
        """Start payload and thread; returns at once. Raises `SetupFailure` when a hook is missing."""
        try:
            super().start()
        except UnusableInput as error:
            raise SetupFailure(str(error)) from error

    def is_payload_started(self) -> bool:
        """Whether it runs, or has run."""
        return self.pid is not None

    def is_payload_running(self) -> bool:
        """Whether it runs, or something that it said is still to be handled."""
        return self.is_payload_started() and self.poll() is None

    def stop(self, delay: float = 1800.0) -> None:
        """Hand out nothing more; what runs may take `delay` seconds to finish, then the payload is ended."""
        super().stop(delay)

    def terminate(self, time_to_wait: float = 1.0) -> None:
        """End the payload after so many seconds, and wait for its end; what it had announced is still handled."""
        self.stop(time_to_wait)
        if self.is_alive():
            self.join()

    def kill(self) -> None:
        """End the payload now, and return at once."""
        self.stop(0.0)

    @staticmethod
    def parse_out_message(message: str) -> dict[str, Any]:
        """A message of the payload, with pilot3's keys: all values are texts, as the payload wrote them.

        finished: `output`, `id`, `cpu`, `wall`, `status`, and `outputs` where there are several, which pilot3 cannot
        read; failed: `id`, `status`, `message`. Raises `UnknownException` for anything else.
        """
        try:
            said = athenamp.parse(message)
        except UnreadableMessage as error:
            raise UnknownException(str(error)) from error
        if isinstance(said, athenamp.RangeError) and said.event_range_id is not None:
            return {"id": said.event_range_id, "status": "failed", "message": message}
        if not isinstance(said, athenamp.Result):
            raise UnknownException(f"{message!r} is about no event range")
        fields = message.strip().removeprefix(",".join(said.paths)).split(",")[1:]
        told: dict[str, Any] = {"output": said.paths[0], "status": "finished"}
        told |= {name.strip().lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        return told if len(said.paths) == 1 else {**told, "outputs": list(said.paths)}


class ESHook:
    """What an ESManager is given: to be derived from, or to be resembled."""

    def get_payload(self) -> Mapping[str, Any]:
        """The payload, as `ESProcess` takes it."""
        raise NotImplementedError

    def get_event_ranges(self, num_ranges: int = 1) -> list[dict[str, Any]]:
        """At most so many event ranges in PanDA's form; none: there are no more."""
        raise NotImplementedError

    def handle_out_message(self, message: dict[str, Any]) -> None:
        """Hear a result, as `ESProcess.parse_out_message` gives it."""
        raise NotImplementedError


class ESManager:
    """Runs the payload of a hook. Raises TypeError for what is none; pilot3's own `ESHook` is one, too."""

    def __init__(self, hook: ESHook) -> None:
        names = (name for name in vars(ESHook) if not name.startswith("_"))
        if missing := [name for name in names if not callable(getattr(hook, name, None))]:
            raise TypeError(f"{hook!r} is no ESHook: it lacks {', '.join(missing)}")
        self._hook = hook

    def run(self) -> None:
        """Run it to its end. Raises `SetupFailure`."""
        process = ESProcess(self._hook.get_payload())
        process.set_get_event_ranges_hook(self._hook.get_event_ranges)
        process.set_handle_out_message_hook(self._hook.handle_out_message)
        process.start()
        process.join()


def _completed(payload: Mapping[str, Any]) -> dict[str, Any]:
    """With what pilot3 adds: a work directory, and names for output and errors. Raises OSError and `UnusableInput`."""
    workdir = Path(payload.get("workdir") or ".").absolute()
    workdir.mkdir(parents=True, exist_ok=True)
    streams = {"output_file": "ES_payload_output.txt", "error_file": "ES_payload_error.txt"}
    files = {key: stream_path(payload.get(key) or name, workdir) for key, name in streams.items()}
    return {**payload, "workdir": workdir, **files}


def stream_path(file: Any, workdir: Path) -> Path:
    """Where the payload writes to: a file's name in the work directory, a path, or a file that is open.

    Raises `UnusableInput` for a file without a name: the payload opens it itself, as it may outlive us.
    """
    name = getattr(file, "name", file)
    if not isinstance(name, str | Path):
        raise UnusableInput(f"the payload cannot write to {file!r}, which has no name")
    return Path(name).absolute() if "/" in str(name) else workdir / name
