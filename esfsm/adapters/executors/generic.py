"""Executor type generic: the payload runs on this node, as a process of our own."""

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from esfsm.adapters.executors.adopted import AdoptedESProcess
from esfsm.adapters.executors.esprocess import ESProcess
from esfsm.adapters.executors.logs import rotate
from esfsm.adapters.executors.process import (
    KILL_PATIENCE_S,
    Adopted,
    Process,
    end_left,
    meaning,
    not_started,
)
from esfsm.adapters.executors.sent import LastSent, sent_of
from esfsm.errors import ChannelError, PilotErrorCode
from esfsm.model.event_range import EventRange
from esfsm.model.settings import Settings
from esfsm.ports import Hooks, OpenChannel, Orphan, Payload, ProcessIdentity, Running

__all__ = ["GenericExecutor"]

LOGS, LOGS_KEPT = ("payload.stdout", "payload.stderr"), 3


class GenericExecutor:
    """Starts payloads on this node; `open_channel` makes the wire to one that speaks AthenaMP."""

    def __init__(self, settings: Settings, open_channel: OpenChannel) -> None:
        self._settings, self._open_channel = settings, open_channel

    def start(self, payload: Payload, hooks: Hooks, *, event_service: bool) -> Running:
        """Start it and return at once."""
        if not event_service:
            return _RunningPlain(payload, hooks)
        process = ESProcess(
            payload, open_channel=self._open_channel, hooks=hooks, end_patience_s=self._settings.end_patience_s
        )
        return _RunningEventService(process, hooks)

    def adopt(self, orphan: Orphan, payload: Payload, hooks: Hooks) -> Running | None:
        """Go on with a payload whose engine has died; None if that cannot be.

        The channel of one that is alive and not ours is not touched; that of one that has ended is cleared away.
        """
        with ExitStack() as undo:
            try:
                adopted = Adopted(orphan.identity, payload.mark, payload.workdir)
                undo.callback(adopted.let_go)
                wire = self._open_channel(orphan.channel, payload.channel_directory)
                undo.callback(wire.close)
                last = LastSent.open(payload.workdir)
                undo.callback(last.close)
                sent = sent_of(orphan.queue, last.read())
            except ProcessLookupError:
                self._clear(orphan.channel, payload.channel_directory)
                return None
            except (ChannelError, OSError):
                return None
            undo.pop_all()
        if sent:
            hooks.ranges_sent(sent)
        in_hand = {*orphan.in_hand, *sent}
        process = AdoptedESProcess(
            payload,
            wire,
            adopted,
            last,
            hooks=hooks,
            in_hand=in_hand,
            adopt_patience_s=self._settings.adopt_patience_s,
            end_patience_s=self._settings.end_patience_s,
        )
        return _RunningEventService(process, hooks)

    def put_logs_aside(self, workdir: Path) -> None:
        """Keep standard output and error of the payload small while it runs. What cannot be done is left.

        So is one beyond its limit: its payload is about to be ended, and a copy might be what fills the disk.
        """
        if self._settings.log_rotate_bytes:
            for name in LOGS:
                with suppress(OSError):
                    rotate(workdir / name, self._settings.log_rotate_bytes, LOGS_KEPT, self._settings.log_limit_bytes)

    def end_orphan(self, mark: str, workdir: Path, identity: ProcessIdentity | None = None) -> bool:
        """End what is left of a payload whose engine has died; False when nothing was."""
        return end_left(mark, workdir, identity)

    def _clear(self, channel: str, directory: Path) -> None:
        """Remove the socket file that a killed engine left."""
        with suppress(ChannelError):
            self._open_channel(channel, directory).close()


class _RunningEventService:
    """An ESProcess whose hook waits for what the core puts into stock."""

    def __init__(self, process: ESProcess, hooks: Hooks) -> None:
        self._process, self._hooks = process, hooks
        self._stock: SimpleQueue[list[dict[str, Any]]] = SimpleQueue()
        self._process.set_get_event_ranges_hook(self._get_event_ranges)
        self._process.start()

    def _get_event_ranges(self, num_ranges: int) -> list[dict[str, Any]]:
        self._hooks.ranges_wanted(num_ranges)
        return self._stock.get()

    def stock(self, event_ranges: Sequence[EventRange], last: bool) -> None:
        """More ranges to hand out; `last` when no more will come."""
        self._stock.put([event_range.as_panda() for event_range in event_ranges])
        if last and event_ranges:
            self._stock.put([])

    def stop(self, grace_s: float) -> None:
        """Hand out nothing more; end it after `grace_s` seconds."""
        self._process.stop(grace_s)
        self._stock.put([])

    def wait(self, timeout_s: float) -> bool:
        """Wait until it has ended and all that it said is told."""
        self._process.join(timeout_s)
        return not self._process.is_alive()


class _RunningPlain:
    """A payload without a channel."""

    def __init__(self, payload: Payload, hooks: Hooks) -> None:
        self._hooks = hooks
        self._process: Process | None = None
        try:
            process = Process(payload)
        except OSError as error:
            hooks.payload_ended(None, PilotErrorCode.PAYLOADEXECUTIONEXCEPTION, not_started(payload, error))
            return
        self._process = process
        hooks.payload_started(process.identity)
        process.watch(self._ended)

    def stock(self, event_ranges: Sequence[EventRange], last: bool) -> None:
        """A plain payload asks for nothing."""

    def stop(self, grace_s: float) -> None:
        """End it, by force after `grace_s` seconds."""
        if self._process is not None:
            self._process.end(min(grace_s, KILL_PATIENCE_S))

    def wait(self, timeout_s: float) -> bool:
        """Wait until it has ended."""
        return self._process is None or self._process.wait(timeout_s)

    def _ended(self, exit_code: int) -> None:
        self._hooks.payload_ended(exit_code, *meaning(exit_code))
