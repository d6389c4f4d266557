"""ESProcess: a payload that is fed event ranges over a channel, as a thread with two hooks.

One thread serves the channel: it answers each request once, from a stock in memory. A second one keeps the stock
filled by calling `get_event_ranges_hook`. Each result and each failed range, the payload's last words after it has
gone included, goes to `handle_out_message_hook`.
"""

import signal
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock, Thread
from time import monotonic
from typing import Any
from uuid import uuid4

from esfsm.adapters.executors.process import KILL_PATIENCE_S, Process, Verdict, Watched, meaning, not_started
from esfsm.adapters.executors.sent import LastSent
from esfsm.adapters.executors.stock import GetEventRanges, Stock
from esfsm.errors import ChannelError, PilotErrorCode, UnreadableMessage, UnusableInput, WireError
from esfsm.ports import Channel, Hooks, Message, OpenChannel, Payload
from esfsm.wire import athenamp
from esfsm.wire.transform import VARIABLE, shell_with_channel, with_channel

__all__ = ["ESProcess"]

FOREVER = float("inf")
QUIET_S = 0.1
"""A channel is read to the end when the payload has gone and nothing has come for this long: all that it sent
lies in this machine's memory by then."""
BURST = 256
"""Messages that are heard before those who wait are answered."""
TEXT_LIMIT = 2000
"""Characters of an unreadable message that are kept."""

HandleOutMessage = Callable[[dict[str, Any]], None]


class ESProcess(Thread):
    """A payload that is fed event ranges.

    `payload` is a `Payload`, or a mapping as pilots pass it: `executable` (a list of arguments, or a pilot's own
    shell text), `workdir`, `output_file`, `error_file`, and optionally `job` (its core count is used).
    With `hooks` all is told there; else results go to the hook set by `set_handle_out_message_hook`.
    Raises `UnusableInput` for a mapping that lacks something.
    """

    def __init__(
        self,
        payload: Payload | Mapping[str, Any],
        *,
        open_channel: OpenChannel,
        hooks: Hooks | None = None,
        end_patience_s: float = 1800.0,
    ) -> None:
        super().__init__(name="ESProcess", daemon=True)
        self._payload = payload if isinstance(payload, Payload) else _payload(payload)
        self._open_channel, self._hooks = open_channel, hooks
        self._end_patience_s = end_patience_s
        self._get_event_ranges: GetEventRanges | None = None
        self._handle_out_message: HandleOutMessage | None = None
        self._channel: Channel | None = None
        self._process: Watched | None = None
        self._sent: LastSent | None = None
        self._stock = Stock(self._payload.cores)
        self._asking: deque[bytes] = deque()
        self._in_hand: set[str] = set()
        self._kill_patience_s = KILL_PATIENCE_S
        """What the payload was sent and has said nothing about."""
        self._dismissed = self._stopped_early = False
        self._deadlines: dict[str, float] = {}
        self._lock = Lock()
        self._cause: Verdict | None = None
        self._exit_code: int | None = None
        self.error = ""
        """What went wrong, in a sentence, once the payload has ended."""

    def set_get_event_ranges_hook(self, hook: GetEventRanges) -> None:
        """`hook(num_ranges)` returns at most so many ranges in PanDA's form; an empty list: there are no more."""
        self._get_event_ranges = hook

    def set_handle_out_message_hook(self, hook: HandleOutMessage) -> None:
        """`hook(message)` hears each result, as `parse_out_message` gives it."""
        self._handle_out_message = hook

    def start(self) -> None:
        """Start payload and thread; returns at once. Raises `UnusableInput` when a hook is missing."""
        if self._get_event_ranges is None or (self._hooks is None and self._handle_out_message is None):
            raise UnusableInput("ESProcess: both hooks must be set before it is started")
        super().start()

    @property
    def pid(self) -> int | None:
        """Of the payload; None before it has started."""
        return self._process.identity.pid if self._process else None

    def poll(self) -> int | None:
        """The exit code of the payload; None until all that it said has been handled, -1 where it was never there."""
        return self._exit_code

    def stop(self, grace_s: float = 0.0) -> None:
        """Hand out nothing more; what runs may take `grace_s` seconds to finish, then the payload is ended.

        At once, if it sets itself up still: then nothing runs. Who has little time has less between SIGTERM and
        SIGKILL, too; 0 is no time for what runs, and says nothing of that.
        """
        if self._sets_itself_up:
            grace_s = 0.0
        with self._lock:
            if "kill" not in self._deadlines:
                self._deadlines["stop"] = min(self._deadlines.get("stop", FOREVER), monotonic() + grace_s)
            if grace_s:
                self._kill_patience_s = min(self._kill_patience_s, grace_s / 2)
        self._stock.close()
        self._wake()

    @property
    def _sets_itself_up(self) -> bool:
        """Whether it has not asked for anything yet."""
        return not self._stock.asked

    def terminate(self) -> None:
        """End the payload now; what it had announced is still handled."""
        self.stop(0.0)

    @staticmethod
    def parse_out_message(message: str) -> dict[str, Any]:
        """A message of the payload: id, status (finished or failed), output, outputs, cpu, wall (s), message.

        Raises `UnreadableMessage` for what is neither a result nor an error.
        """
        said = athenamp.parse(message)
        if isinstance(said, athenamp.Result):
            told = {"status": "finished", "output": said.paths[0], "outputs": list(said.paths)}
            return {"id": said.event_range_id, **told, "cpu": said.cpu_s, "wall": said.wall_s, "message": message}
        if isinstance(said, athenamp.RangeError):
            return {"id": said.event_range_id, "status": "failed", "message": message, "error": said.why}
        raise UnreadableMessage(message, "a result or an error")

    def run(self) -> None:
        """The thread: channel, payload, service, last words, end. Whatever happens, the end is told."""
        verdict: Verdict = (PilotErrorCode.INTERNALPILOTPROBLEM, "the thread that serves the payload broke")
        try:
            try:
                channel, process = self._begin()
            except OSError as error:
                verdict = (PilotErrorCode.PAYLOADEXECUTIONEXCEPTION, not_started(self._payload, error))
            else:
                verdict = self._run(channel, process)
        except ChannelError as error:
            verdict = (error.pilot_error_code, str(error))
        finally:
            for opened in (self._channel, self._sent):
                if opened is not None:
                    opened.close()
            self._exit_code = -1 if self._exit_code is None else self._exit_code
            self.error = verdict[1]
            self._tell_end(verdict)

    def _begin(self) -> tuple[Channel, Watched]:
        """Open the channel and start the payload. Raises `ChannelError` and OSError.

        All payloads of a mark have one channel: so the socket file that a killed engine left is found, and removed.
        """
        name = self._payload.channel or None
        if self._payload.mark:  # another engine may find it
            self._sent = LastSent.begin(self._payload.workdir)
        channel = self._channel = self._open_channel(name, self._payload.channel_directory)
        process = self._process = Process(self._payload, {VARIABLE: channel.address})
        return channel, process

    def _tell_start(self, channel: Channel, process: Watched) -> None:
        if self._hooks is not None:
            self._hooks.payload_started(process.identity, channel.address)

    def _tell_end(self, verdict: Verdict) -> None:
        if self._hooks is None:
            return
        exit_code = self._process.exit_code if self._process else None
        if exit_code and self._sets_itself_up and not self._stopped_early and self._cause is None:
            self._hooks.setup_failed(exit_code, *verdict)
        else:
            self._hooks.payload_ended(exit_code, *verdict)

    def _run(self, channel: Channel, process: Watched) -> Verdict:
        """Serve a payload that runs; what is to be said of its end."""
        assert self._get_event_ranges is not None, "start() has made sure"
        try:
            process.watch(lambda _: self._wake())
            self._tell_start(channel, process)
            self._stock.fill(self._get_event_ranges, self._wake)
            self._serve(channel, process)
            self._stopped_early = self._stock.closed
        finally:  # a hook that raised ends the payload, too
            process.signal(signal.SIGKILL)
            process.wait(KILL_PATIENCE_S)
            self.stop()
            self._exit_code = -1 if process.exit_code is None else process.exit_code
        return self._verdict(self._exit_code)

    def _serve(self, channel: Channel, process: Watched) -> None:
        """Speak with the payload until it and its children have gone and their last words are heard."""
        while process.exit_code is None:
            _, deadline = self._next_deadline()
            message = channel.receive(None if deadline == FOREVER else max(0.0, deadline - monotonic()))
            heard = 0
            while message is not None:
                self._hear(message)
                heard += 1
                message = channel.receive(0) if heard < BURST else None
            self._answer(channel)
            self._enforce(process)
        quiet_since = monotonic()
        while (patience := quiet_since + QUIET_S - monotonic()) > 0:
            if (message := channel.receive(patience)) is not None:
                self._hear(message)
                quiet_since = monotonic()

    def _hear(self, message: Message) -> None:
        """One message of the payload."""
        try:
            said = athenamp.parse(message.text)
        except UnreadableMessage as error:
            self._unreadable(message.text, str(error))
            return
        if isinstance(said, athenamp.ReadyForEvents):
            self._asking.append(message.peer)
            self._stock.ask()
        elif isinstance(said, athenamp.RangeError) and said.event_range_id is None:
            self._unreadable(message.text, f"an error that names no event range: {said.why}")
        else:
            self._tell_result(message.text, said)

    def _tell_result(self, text: str, said: athenamp.Result | athenamp.RangeError) -> None:
        """An output, or a range that was given up."""
        event_range_id = str(said.event_range_id)
        self._in_hand.discard(event_range_id)
        if self._hooks is None:
            assert self._handle_out_message is not None, "start() has made sure"
            self._handle_out_message(self.parse_out_message(text))
        elif isinstance(said, athenamp.Result):
            self._hooks.output_produced(event_range_id, said.paths, said.cpu_s, said.wall_s)
        else:
            self._hooks.range_errored(event_range_id, said.why)

    def _unreadable(self, text: str, why: str) -> None:
        if self._hooks is not None:
            self._hooks.message_unreadable(text[:TEXT_LIMIT], why[:TEXT_LIMIT])

    def _answer(self, channel: Channel) -> None:
        """Answer who waits: with a range from the stock, with the end, or later."""
        sent: list[str] = []
        unspeakable: list[tuple[str, str]] = []
        while self._asking and (event_range := self._stock.take()) is not None:
            event_range_id = str(event_range.get("eventRangeID"))
            try:
                text = athenamp.range_message(event_range)
            except WireError as error:
                unspeakable.append((event_range_id, str(error)))
                self._stock.ask()  # who asked waits on
                continue
            if self._sent is not None:
                self._sent.write(event_range_id)
            channel.send(self._asking.popleft(), text)
            sent.append(event_range_id)
        if self._stock.is_over:
            self._dismiss(channel)
        self._in_hand.update(sent)
        if self._hooks is not None and sent:
            self._hooks.ranges_sent(sent)
        for event_range_id, why in unspeakable:
            self._unspeakable(event_range_id, why)

    def _unspeakable(self, event_range_id: str, why: str) -> None:
        """A range that cannot be handed out has failed; nobody else would say so."""
        if self._hooks is not None:
            self._hooks.range_errored(event_range_id, why)
        elif self._handle_out_message is not None:
            self._handle_out_message({"id": event_range_id, "status": "failed", "message": "", "error": why})

    def _dismiss(self, channel: Channel) -> None:
        """Tell those who ask that nothing more comes; from the first time on the payload has a while to end."""
        while self._asking:
            channel.send(self._asking.popleft(), athenamp.NO_MORE_EVENTS)
            if not self._dismissed:
                self._dismissed = True
                self._set_deadline("end", self._end_patience_s)

    def _wake(self) -> None:
        if self._channel is not None:
            self._channel.wake()

    def _set_deadline(self, name: str, seconds: float) -> None:
        """Until when something must have happened; a payload that is being killed has one deadline only."""
        with self._lock:
            if "kill" not in self._deadlines:
                self._deadlines[name] = monotonic() + seconds

    def _next_deadline(self) -> tuple[str, float]:
        with self._lock:
            return min(self._deadlines.items(), key=lambda item: item[1], default=("", FOREVER))

    def _enforce(self, process: Watched) -> None:
        """End a payload whose time is over: SIGTERM, and SIGKILL after a while."""
        name, deadline = self._next_deadline()
        if monotonic() < deadline:
            return
        process.signal(signal.SIGKILL if name == "kill" else signal.SIGTERM)
        if name == "end":
            why = f"the payload did not end within {self._end_patience_s:g} s after 'No more events'"
            self._cause = (PilotErrorCode.LOOPINGJOB, why)
        with self._lock:
            self._deadlines = {"kill": monotonic() + self._kill_patience_s}

    def _verdict(self, exit_code: int) -> Verdict:
        """What is said of the end; a payload that never spoke has done nothing, whatever it says at its end."""
        if self._cause is not None:
            return self._cause
        if exit_code == 0 and not self._stock.asked and not self._stopped_early:
            return PilotErrorCode.PAYLOADEXECUTIONFAILURE, "the payload ended without asking for an event range"
        return meaning(exit_code)


def _payload(given: Mapping[str, Any]) -> Payload:
    """A payload as pilots pass it; a text as `executable` is their own command line and goes through a shell.

    Either is told its channel as transforms are.
    """
    missing = [key for key in ("executable", "workdir", "output_file", "error_file") if not given.get(key)]
    if missing:
        raise UnusableInput(f"ESProcess: the payload lacks {', '.join(missing)}")
    executable, workdir = given["executable"], Path(given["workdir"]).absolute()
    channel = f"EventService_EventRanges_{uuid4().hex}"
    if isinstance(executable, str):
        arguments = ["/bin/sh", "-c", shell_with_channel(executable, channel)]
    else:
        arguments = with_channel([str(part) for part in executable], channel)
    job = given.get("job")
    cores = job.get("coreCount") if isinstance(job, Mapping) else getattr(job, "corecount", None)
    cores = cores or getattr(job, "core_count", None) or 1
    stdout, stderr = workdir / given["output_file"], workdir / given["error_file"]
    return Payload(arguments, workdir, {}, stdout, stderr, int(cores), channel=channel)
