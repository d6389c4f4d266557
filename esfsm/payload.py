"""The payload's end of the channel, for people who write payloads.

A payload that processes one event range after the other:

    with connect() as channel:
        for event_range in channel:
            channel.finished(event_range, simulate(event_range))

One that keeps several processes busy, as AthenaMP does: `run_workers(simulate)`. The pilot says in its environment
where the channel is (`PILOT_EVENTRANGECHANNEL`) and how many workers there shall be (`ATHENA_PROC_NUMBER`).

A payload may outlive its pilot: the one that comes after it at the same channel is asked again and told the rest.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from esfsm.errors import ChannelError, UnreadableMessage
from esfsm.wire.athenamp import (
    READY_FOR_EVENTS,
    RangeError,
    Result,
    decode,
    error_message,
    parse_answer,
    result_message,
)

if TYPE_CHECKING:
    from multiprocessing.connection import Connection as Pipe
    from multiprocessing.process import BaseProcess

    import zmq


__all__ = ["AssignedRange", "Outputs", "PayloadChannel", "connect", "run_workers"]

LINGER_S = 30.0
"""How long a payload that ends waits for a server to take its last results, where it has no patience of its own."""

Outputs = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
"""What was made from one event range: a path, or several."""


@dataclass(frozen=True, slots=True)
class AssignedRange:
    """The events to process: `start_event` to `last_event`, both included, of one input file.

    With `pfn` the file is to be opened by that name, and the numbers count from 1 within it.
    """

    event_range_id: str
    start_event: int
    last_event: int
    lfn: str | None = None
    guid: str | None = None
    scope: str | None = None
    pfn: str | None = None
    extra: Mapping[str, object] = field(default_factory=dict, hash=False)
    """Whatever else the server says about it, by its keys."""

    @classmethod
    def read(cls, text: str) -> Self | None:
        """From the pilot's answer; None for `No more events`. Raises `UnreadableMessage`."""
        said = parse_answer(text)
        if said is None:
            return None
        event_range_id, start, last = (said.pop(key, None) for key in ("eventRangeID", "startEvent", "lastEvent"))
        names = [said.pop(key, None) for key in ("LFN", "GUID", "scope", "PFN")]
        if not isinstance(event_range_id, str) or not isinstance(start, int) or not isinstance(last, int):
            raise UnreadableMessage(text, "an event range with eventRangeID, startEvent and lastEvent")
        lfn, guid, scope, pfn = (name if isinstance(name, str) else None for name in names)
        return cls(event_range_id, start, last, lfn, guid, scope, pfn, extra=said)


class _Clock(NamedTuple):
    """What this process has used up to now, in seconds."""

    cpu_s: float
    """Its own CPU time and that of the children it has waited for."""
    wall_s: float

    @classmethod
    def now(cls) -> Self:
        return cls(sum(os.times()[:4]), time.monotonic())


def _result_text(
    event_range: AssignedRange, outputs: Outputs, began: _Clock, cpu_s: float | None = None, wall_s: float | None = None
) -> str:
    now = _Clock.now()
    paths = [outputs] if isinstance(outputs, str | os.PathLike) else outputs
    result = Result(
        event_range.event_range_id,
        tuple(str(Path(path).absolute()) for path in paths),
        now.cpu_s - began.cpu_s if cpu_s is None else cpu_s,
        now.wall_s - began.wall_s if wall_s is None else wall_s,
    )
    return result_message(result)


def _error_text(event_range: AssignedRange, why: str) -> str:
    one_line = " ".join(why.split())
    return error_message(RangeError(event_range.event_range_id, "ERR_ATHENAMP_PROCESS", one_line))


# --- one process ------------------------------------------------------------------------------------------------


@contextmanager
def connect(name: str | None = None, *, patience_s: float | None = None) -> Iterator["PayloadChannel"]:
    """The channel of that name, by default the one that the pilot has set, until the block is left.

    `patience_s` is how long to wait for an answer before `ChannelError` is raised (None: for ever), and at the end
    for the server to take the last results.
    """
    with _wire(name, patience_s) as wire:
        yield PayloadChannel(wire, patience_s)


@contextmanager
def _wire(name: str | None, patience_s: float | None) -> Iterator["_Wire"]:
    import zmq

    name = name or os.environ.get("PILOT_EVENTRANGECHANNEL")
    if name is None:
        name = "EventService_EventRanges"
        if not os.path.exists(f"/tmp/zmq_{name}"):  # noqa: PTH110 - pathlib takes its time to import
            raise ChannelError("there is no channel: PILOT_EVENTRANGECHANNEL is not set, so no pilot has started this")
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.setsockopt(zmq.LINGER, ceil(1000 * (LINGER_S if patience_s is None else patience_s)))
        losses = dealer.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        try:
            _connect(dealer, name)
            yield _Wire(dealer, losses)
        finally:
            dealer.disable_monitor()  # first, as ZeroMQ waits for ever for somebody who takes what it tells
            losses.close()


def _connect(dealer: "zmq.Socket[bytes]", name: str) -> None:
    import zmq

    try:
        dealer.connect(f"ipc:///tmp/zmq_{name}")
    except zmq.ZMQError as error:
        raise ChannelError(f"channel {name}: {error}") from error


class _Wire:
    """The payload's socket. ZeroMQ connects it again by itself; here a request that was lost is made again.

    A request that had left is lost with the server that died, so another one waits for the next server. The first may
    have been waiting for it, too: then there are two answers, and the second one is that to the next request.
    """

    def __init__(self, dealer: "zmq.Socket[bytes]", losses: "zmq.Socket[bytes]") -> None:
        self._dealer, self._losses = dealer, losses
        self.waits = False
        """Whether a request has not been answered."""

    def ask(self) -> None:
        """Ask for a range, unless an answer is there already."""
        self.waits = True
        while self._losses.poll(0):  # nobody waited for those servers
            self._losses.recv_multipart()
        if not self._dealer.poll(0):
            self.say(READY_FOR_EVENTS.encode())

    def say(self, body: bytes) -> None:
        """Send a message, now or as soon as there is a server."""
        self._dealer.send(body)

    def answered(self, patience_s: float | None = None, beside: int | None = None) -> bool:
        """Wait for the answer; False if it has not come in time, or before there is something at `beside` to read."""
        import zmq

        deadline = None if patience_s is None else time.monotonic() + patience_s
        poller = zmq.Poller()
        for source in (self._dealer, self._losses, *(() if beside is None else (beside,))):
            poller.register(source, zmq.POLLIN)
        while True:
            left_ms = None if deadline is None else ceil(1000 * max(0.0, deadline - time.monotonic()))
            ready = dict(poller.poll(left_ms))
            if self._dealer in ready or self._losses not in ready:
                return self._dealer in ready
            self._losses.recv_multipart()
            self.say(READY_FOR_EVENTS.encode())

    def hear(self) -> bytes:
        """The answer."""
        self.waits = False
        return self._dealer.recv()


class PayloadChannel:
    """Event ranges, one after the other, and what became of each. Only the thread that made it may use it."""

    def __init__(self, wire: _Wire, patience_s: float | None) -> None:
        self._wire, self._patience_s = wire, patience_s
        self._began: dict[str, _Clock] = {}

    def __iter__(self) -> Iterator[AssignedRange]:
        """Ask for ranges until there are no more. Raises `ChannelError` and `UnreadableMessage`."""
        while event_range := self._ask():
            self._began[event_range.event_range_id] = _Clock.now()
            yield event_range

    def finished(
        self, event_range: AssignedRange, outputs: Outputs, *, cpu_s: float | None = None, wall_s: float | None = None
    ) -> None:
        """Announce the outputs of a range; times are in seconds, by default those since it was handed out.

        The files belong to the pilot from now on. Raises `WireError` for a path that cannot be said.
        """
        began = self._began.get(event_range.event_range_id) or _Clock.now()
        self._say(_result_text(event_range, outputs, began, cpu_s, wall_s))
        self._began.pop(event_range.event_range_id, None)

    def failed(self, event_range: AssignedRange, why: str) -> None:
        """Give a range up; the server may hand it out elsewhere."""
        self._say(_error_text(event_range, why))
        self._began.pop(event_range.event_range_id, None)

    def _say(self, text: str) -> None:
        self._wire.say(text.encode(errors="replace"))

    def _ask(self) -> AssignedRange | None:
        self._wire.ask()
        if not self._wire.answered(self._patience_s):
            raise _unanswered(self._patience_s)
        return AssignedRange.read(decode(self._wire.hear()))


def _unanswered(patience_s: float | None) -> ChannelError:
    return ChannelError(f"the server did not answer within {patience_s} s")


def _lost() -> ChannelError:
    return ChannelError("the process that holds the channel has died")


# --- several processes ------------------------------------------------------------------------------------------


def run_workers(
    function: Callable[[AssignedRange], Outputs],
    *,
    workers: int | None = None,
    name: str | None = None,
    patience_s: float | None = None,
) -> int:
    """Let worker processes call `function(event_range) -> path or paths`; return how many ranges failed.

    A range is asked for when a worker is free, and announced when it is done. An exception, or the death of the
    worker, fails that one range. Processes are forked, as AthenaMP's are: what was read before (geometry,
    conditions) is shared, and any function will do. Raises `ChannelError` when the server does not answer.
    """
    with _Scatterer(function, patience_s) as scatterer:
        # Athena's 0 means no workers, that is one process.
        return scatterer.scatter(max(1, workers or int(os.environ.get("ATHENA_PROC_NUMBER") or 1)), name)


class _Scatterer:
    """Hands ranges to forked workers.

    It forks again when a worker has died, which is only safe without threads. So ZeroMQ, which has some, lives in a
    child of its own (`_relay`), and this process waits on pipes alone. A child is known by our end of its pipe; as
    nobody else holds the other end, the child's death is the pipe's end, and is read after all that it said.
    """

    def __init__(self, function: Callable[[AssignedRange], Outputs], patience_s: float | None) -> None:
        self._function, self._patience_s = function, patience_s
        self._children: dict[Pipe, BaseProcess] = {}
        self._idle: list[Pipe] = []
        self._busy: dict[Pipe, AssignedRange] = {}
        self._failed = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._busy:  # there are some after an error only
            self._children[worker].terminate()
        for pipe in self._children:
            pipe.close()
        for child in self._children.values():
            child.join()

    def scatter(self, workers: int, name: str | None) -> int:
        """Hand out ranges until there are no more and all are done; return how many failed."""
        self._idle = [self._fork(_work, self._function) for _ in range(workers)]
        channel = self._fork(_relay, name, self._patience_s)
        asked_at = None
        more = True
        while more or self._busy:
            if more and self._idle and asked_at is None:
                _tell(channel, READY_FOR_EVENTS)
                asked_at = time.monotonic()
            for pipe in self._ready(channel, asked_at):
                if pipe is not channel:
                    self._collect(pipe, channel)
                    continue
                asked_at = None
                event_range = AssignedRange.read(_hear(channel))
                more = event_range is not None
                if event_range:
                    self._hand_out(event_range)
        return self._failed

    def _ready(self, channel: "Pipe", asked_at: float | None) -> list["Pipe"]:
        """Wait for whoever has something to say; the channel is heard only when it was asked."""
        from multiprocessing.connection import wait

        pipes = [*self._idle, *self._busy]
        left_s = None
        if asked_at is not None:
            pipes.append(channel)
            if self._patience_s is not None:
                left_s = max(0.0, asked_at + self._patience_s - time.monotonic())
        ready = wait(pipes, left_s)
        if not ready:
            raise _unanswered(self._patience_s)
        return [pipe for pipe in pipes if pipe in ready]

    def _hand_out(self, event_range: AssignedRange) -> None:
        worker = self._idle.pop()
        self._busy[worker] = event_range
        with suppress(BrokenPipeError):  # it died just now; we shall read the end of its pipe
            worker.send(event_range)

    def _collect(self, worker: "Pipe", channel: "Pipe") -> None:
        """Announce what a worker has made of its range; a worker that died gets a successor."""
        event_range = self._busy.pop(worker, None)
        try:
            text, failed = worker.recv()
            self._idle.append(worker)
        except (EOFError, ConnectionError):
            exit_code = self._replace(worker)
            if event_range is None:
                return
            text, failed = _error_text(event_range, f"worker died with exit code {exit_code}"), True
        self._failed += failed
        _tell(channel, text)

    def _replace(self, worker: "Pipe") -> int | None:
        worker.close()
        dead = self._children.pop(worker)
        dead.join()
        self._idle = [other for other in self._idle if other is not worker]
        self._idle.append(self._fork(_work, self._function))
        return dead.exitcode

    def _fork(self, target: Callable[..., None], *arguments: object) -> "Pipe":
        import multiprocessing

        forked = multiprocessing.get_context("fork")
        ours, theirs = forked.Pipe()
        # A child that kept our ends would keep its brothers alive after our death.
        child = forked.Process(target=_child, args=([*self._children, ours], target, theirs, *arguments))
        child.start()
        theirs.close()
        self._children[ours] = child
        return ours


def _child(parents: list["Pipe"], target: Callable[..., None], pipe: "Pipe", *arguments: object) -> None:
    for end in parents:
        end.close()
    with suppress(EOFError, ConnectionError):  # the parent needs us no more, or has died
        target(pipe, *arguments)


def _work(pipe: "Pipe", function: Callable[[AssignedRange], Outputs]) -> None:
    while True:
        pipe.send(_process(function, pipe.recv()))


def _process(function: Callable[[AssignedRange], Outputs], event_range: AssignedRange) -> tuple[str, bool]:
    """The message about a range, and whether it failed."""
    began = _Clock.now()
    try:
        return _result_text(event_range, function(event_range), began), False
    except Exception as error:  # noqa: BLE001 - the function is a stranger's, and must not take other ranges along
        sys.excepthook(type(error), error, error.__traceback__)
        return _error_text(event_range, f"{type(error).__name__}: {error}"), True


def _relay(pipe: "Pipe", name: str | None, patience_s: float | None) -> None:
    """Carry texts between the pipe and the channel, until the pipe's end has been read."""
    with _wire(name, patience_s) as wire:
        while True:
            if wire.waits and wire.answered(beside=pipe.fileno()):
                with suppress(BrokenPipeError):  # what the parent said last is still in the pipe
                    pipe.send_bytes(wire.hear())
            elif (body := pipe.recv_bytes()) == READY_FOR_EVENTS.encode():
                wire.ask()
            else:
                wire.say(body)


def _tell(channel: "Pipe", text: str) -> None:
    try:
        channel.send_bytes(text.encode(errors="replace"))
    except BrokenPipeError:
        raise _lost() from None


def _hear(channel: "Pipe") -> str:
    try:
        return decode(channel.recv_bytes())
    except (EOFError, ConnectionError):
        raise _lost() from None
