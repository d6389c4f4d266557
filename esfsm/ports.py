"""The doors: what the house asks of a channel, a communicator, a storage and an executor.

They are Protocols, so an adapter imports nothing to comply. What each promises beyond its types is written
under it and executed for every adapter by `tests/contract/`. Adapters raise the exceptions of `errors.py`.
"""

from collections.abc import Callable, Collection, Container, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from esfsm.model.event_range import EventRange
from esfsm.model.job import Job
from esfsm.model.report import Answer, Booked, Grant, JobReport, Report
from esfsm.model.resources import Resources
from esfsm.model.settings import Settings

__all__ = [
    "Archiver",
    "Channel",
    "Communicator",
    "Executor",
    "FetchQueueData",
    "Hooks",
    "Jobs",
    "Message",
    "Monitor",
    "Notice",
    "OpenChannel",
    "OpenCommunicator",
    "OpenJobs",
    "OpenMonitor",
    "Orphan",
    "Payload",
    "ProcessIdentity",
    "Running",
    "Storage",
    "Stored",
]


class Message(NamedTuple):
    """One message of a payload: who said it (opaque; answer with it), and the text."""

    peer: bytes
    text: str


@runtime_checkable
class Channel(Protocol):
    """The server's end of the wire to one payload. One thread uses it; only `wake` may be called by others."""

    @property
    def address(self) -> str:
        """The channel name for the payload (`PILOT_EVENTRANGECHANNEL`)."""
        ...

    def receive(self, timeout_s: float | None) -> Message | None:
        """The next message, in order; None when the time is over or `wake` was called. None as time: no limit.

        Bytes that are no UTF-8 are replaced, not refused; trailing NULs are stripped.
        """
        ...

    def send(self, peer: bytes, text: str) -> None:
        """Answer a peer; one that has gone is ignored, as its ranges run again anyway."""
        ...

    def wake(self) -> None:
        """Make a `receive` that waits, or the next one, look up and return. Any thread may call it."""
        ...

    def close(self) -> None:
        """Give the address back and remove its socket file; a second call does nothing."""
        ...


@runtime_checkable
class Communicator(Protocol):
    """Whoever hands out event ranges and books what became of them: a broker, PanDA, Harvester.

    Any thread may call it. Raises `WireError` when the answer is unknown; then it is asked again, under the same name.
    Until it has joined it may raise `UnusableInput`, too, where no other answer can come.
    """

    def join(self) -> None:
        """From now on this process acts for the job, so what the job holds is not a dead one's. Twice is harmless."""
        ...

    def get_event_ranges(self, n: int, request: str) -> Grant:
        """At most `n` ranges. The same `request` again gets the same ranges, where the server can do so."""
        ...

    def update_event_ranges(self, report: Report) -> Answer:
        """Book a report; once more is harmless: the first final word about a range stays."""
        ...

    def update_job(self, report: JobReport) -> str | None:
        """Say how the job stands; the answer is a command (`tobekilled`, `softkill`, ...) or None."""
        ...

    def booked(self) -> Mapping[str, Booked] | None:
        """By eventRangeID, how each range stands that was ever handed out to this job; None if nobody can say.

        It changes nothing and may be asked while another process runs the job.
        """
        ...

    def close(self) -> None:
        """Let go of connections; nothing that was booked is lost."""
        ...


class Jobs(Protocol):
    """Where a pilot gets its jobs from."""

    def fetch(self) -> Mapping[str, object] | None:
        """The definition of a job that is ours from now on; None where there is none now.

        Raises `WireError` where that is not known, `UnusableInput` where it never will be.
        """
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


class Stored(NamedTuple):
    """What a storage has after a copy: size in bytes, adler32 as 8 hex digits, and the URL."""

    size_bytes: int
    adler32: str
    url: str


@runtime_checkable
class Storage(Protocol):
    """Where inputs come from and outputs go. Any thread may call it. Raises `TransferError`."""

    def put(self, path: Path, url: str) -> Stored:
        """Copy a file there and read back what is there.

        Half a copy never bears the name. If the name exists with the same bytes, that is a success; with other
        bytes it is a TransferError, and they are not touched.
        """
        ...

    def get(self, url: str, path: Path) -> Stored:
        """Copy a file here; half a copy never bears the name."""
        ...

    def names(self, url: str) -> list[str]:
        """The names of the files in a directory, none where there is no directory."""
        ...


class Archiver(Protocol):
    """Writes and reads archives: flat, regular files only, the same members give the same bytes."""

    def missing(self, members: Mapping[str, Path]) -> list[str]:
        """The members that could not be read."""
        ...

    def pack(self, members: Mapping[str, Path], archive: Path) -> tuple[int, str]:
        """Write them under the names they get inside; returns size in bytes and adler32."""
        ...

    def names(self, archive: Path) -> list[str]:
        """The names of its members. Raises `TransferError`."""
        ...

    def unpack(
        self, archive: Path, directory: Path, *, limit_bytes: int | None = None, only: Container[str] | None = None
    ) -> list[str]:
        """Every member is checked before the first is written, and those of these names, or all, are; returns theirs.

        Raises `TransferError`.
        """
        ...


class ProcessIdentity(NamedTuple):
    """A process that cannot be mistaken for a later one of the same pid."""

    pid: int
    started: int
    """Clock ticks from boot to its start (field 22 of /proc/PID/stat)."""


class Orphan(NamedTuple):
    """A payload that outlived its engine, as far as the journal knows."""

    identity: ProcessIdentity
    channel: str
    in_hand: Collection[str] = ()
    """The event ranges that it was sent and has said nothing about."""
    queue: Sequence[str] = ()
    """Those that follow; it may have been sent the first of them, too."""


class Payload(NamedTuple):
    """What is to be run: an argument list (never a shell line), where, with what in its environment."""

    arguments: Sequence[str]
    workdir: Path
    environment: Mapping[str, str]
    stdout: Path
    stderr: Path
    cores: int = 1
    mark: str = ""
    """By which its processes are found again when its engine has died; it goes to whatever they start.

    One work directory, one mark.
    """
    channel: str = ""
    """The name of its channel, which the arguments may hold; empty: any, told by `PILOT_EVENTRANGECHANNEL` alone."""
    channel_directory: Path = Path("/tmp")
    """Where the socket file of its channel lies on this side; the payload itself sees it in /tmp."""


class Hooks(Protocol):
    """How an executor tells what happens. Any thread may call them; each may wait while the house is busy."""

    def payload_started(self, identity: ProcessIdentity, channel: str = "") -> None:
        """The process runs; `channel` is the address of its wire, if it has one."""

    def ranges_wanted(self, n: int) -> None:
        """The payload will soon need `n` more ranges than it was given."""

    def ranges_sent(self, event_range_ids: Sequence[str]) -> None:
        """These are with the payload now."""

    def output_produced(self, event_range_id: str, paths: Sequence[str], cpu_s: float, wall_s: float) -> None:
        """The payload announced a result."""

    def range_errored(self, event_range_id: str, why: str) -> None:
        """The payload gave a range up."""

    def message_unreadable(self, text: str, why: str) -> None:
        """The payload said what nobody understands."""

    def payload_ended(self, exit_code: int | None, error_code: int, why: str) -> None:
        """The process and the channel have ended; nothing follows. `error_code` is 0 for a good end.

        `exit_code` is None for a payload that could not be started, and for an adopted one that has kept no word of
        its end.
        """

    def setup_failed(self, exit_code: int, error_code: int, why: str) -> None:
        """In place of `payload_ended`: it ended badly before it asked for any range, so it has spent none."""

    def payload_gone(self) -> None:
        """An adopted payload has gone too early, or without a word about some of its ranges; nothing follows.

        What it said to the engine that died may be lost, so they may run in another.
        """


class Running(Protocol):
    """A payload that was started."""

    def stock(self, event_ranges: Sequence[EventRange], last: bool) -> None:
        """More ranges to hand out; `last` when no more will come."""

    def stop(self, grace_s: float) -> None:
        """Hand out nothing more, give what runs `grace_s` seconds to finish, then end it with all its children."""

    def wait(self, timeout_s: float) -> bool:
        """Wait until it has ended; False when it had not after `timeout_s` seconds."""
        ...


class Monitor(Protocol):
    """Whoever measures something about a payload and its machine; it decides nothing."""

    def measure(self, payload: ProcessIdentity) -> Resources:
        """What can be measured now, the rest None; `payload`: the process that leads it.

        Whatever cannot be read is None; nothing is raised.
        """
        ...


class Notice(Protocol):
    """Where it is told some time before that this place will be taken away."""

    def look(self) -> str | None:
        """A sentence, once it is told; None before, and where nobody can be asked."""
        ...


class Executor(Protocol):
    """Where a payload runs: on this node, on Ray, ..."""

    def start(self, payload: Payload, hooks: Hooks, *, event_service: bool) -> Running:
        """Start it and return at once; all else is told through the hooks, `payload_ended` last and always."""
        ...

    def adopt(self, orphan: Orphan, payload: Payload, hooks: Hooks) -> Running | None:
        """Go on with an Event Service payload whose engine has died, at the same channel; None if that cannot be.

        That is: it does not live any more, it bears another mark than `payload`, or the channel is another's by now.
        The hooks tell first which ranges of its queue it has (`ranges_sent`), and then all but its start. One that says
        nothing for `Settings.adopt_patience_s` is ended.
        """
        ...

    def put_logs_aside(self, workdir: Path) -> None:
        """Keep standard output and error of the payload small while it runs. What cannot be done is left."""

    def end_orphan(self, mark: str, workdir: Path, identity: ProcessIdentity | None = None) -> bool:
        """End what is left of the payload of this mark, whose engine has died; False when nothing was.

        `identity`: of the one that the journal tells of, which may have dropped the mark with its environment.
        """
        ...


OpenChannel = Callable[[str | None, Path], Channel]
"""(channel name; None: a new one, directory of its socket file) -> channel"""
OpenCommunicator = Callable[[Job, Settings, Path, str], Communicator]
"""(job, settings, work directory, name of this run) -> communicator"""
FetchQueueData = Callable[[str, Settings], bytes]
"""(URL, settings) -> what lies there; raises `WireError`"""
OpenMonitor = Callable[[Settings, Path, Collection[str]], Monitor]
"""(settings, work directory, names of our own files in it) -> monitor"""
OpenJobs = Callable[[Settings, Path], Jobs]
"""(settings, directory that holds the work directories) -> where jobs come from"""
