"""What every channel promises, and what only the one on ZeroMQ can."""

import os
import secrets
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest
import zmq

from esfsm.adapters.channels.memory import MemoryChannel
from esfsm.adapters.channels.zmq import LARGEST_MESSAGE_BYTES, ZmqChannel
from esfsm.errors import ChannelError
from esfsm.ports import Channel, Message

PATIENCE_S = 20.0


class Client(Protocol):
    def say(self, text: str | bytes) -> None: ...
    def hear(self, timeout_s: float | None) -> str | None: ...
    def leave(self) -> None: ...


class Dealer:
    """A payload's end as yampl makes it: a DEALER that knows nothing of us."""

    def __init__(
        self, name: str, *, directory: Path = Path("/tmp"), kind: int = zmq.DEALER, identity: bytes | None = None
    ) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(kind)
        self._socket.setsockopt(zmq.LINGER, int(PATIENCE_S * 1000))
        if identity:
            self._socket.setsockopt(zmq.IDENTITY, identity)
        self._socket.connect(f"ipc://{directory}/zmq_{name}")

    def say(self, text: str | bytes) -> None:
        self._socket.send(text if isinstance(text, bytes) else text.encode())

    def hear(self, timeout_s: float) -> str | None:
        return self._socket.recv().decode() if self._socket.poll(timeout_s * 1000) else None

    def leave(self) -> None:
        self._socket.close()
        self._context.term()


Connect = Callable[[], Client]


@pytest.fixture(params=[ZmqChannel, MemoryChannel], ids=["zmq", "memory"])
def channel(request: pytest.FixtureRequest) -> Iterator[Channel]:
    channel = request.param()
    yield channel
    channel.close()


@pytest.fixture
def connect(channel: Channel) -> Iterator[Connect]:
    with ExitStack() as stack:

        def connect() -> Client:
            client = channel.connect() if isinstance(channel, MemoryChannel) else Dealer(channel.address)
            stack.callback(client.leave)
            return client

        yield connect


def received(channel: Channel) -> Message:
    message = channel.receive(PATIENCE_S)
    assert message is not None
    return message


# --- the contract ---


def test_it_is_a_channel(channel: Channel) -> None:
    assert isinstance(channel, Channel)


def test_each_channel_has_an_address_of_its_own(channel: Channel) -> None:
    other = type(channel)()
    other.close()
    assert other.address != channel.address


def test_messages_keep_their_order(channel: Channel, connect: Connect) -> None:
    client = connect()
    said = [f"message {number}" for number in range(500)]
    for text in said:
        client.say(text)
    assert [received(channel).text for _ in said] == said


def test_a_payload_is_answered(channel: Channel, connect: Connect) -> None:
    client = connect()
    client.say("Ready for events")
    message = received(channel)
    assert message.text == "Ready for events"
    channel.send(message.peer, "No more events, ä")
    assert client.hear(PATIENCE_S) == "No more events, ä"


def test_a_payload_that_is_not_answered_hears_nothing(channel: Channel, connect: Connect) -> None:
    client = connect()
    client.say("Ready for events")
    received(channel)
    assert client.hear(0.05) is None


def test_two_payloads_are_answered_apart(channel: Channel, connect: Connect) -> None:
    clients = {"first": connect(), "second": connect()}
    for text, client in clients.items():
        client.say(text)
    for message in (received(channel), received(channel)):
        channel.send(message.peer, f"to the {message.text}")
    assert {text: client.hear(PATIENCE_S) for text, client in clients.items()} == {
        "first": "to the first",
        "second": "to the second",
    }


def test_an_answer_is_not_lost_when_the_channel_is_closed_at_once(channel: Channel, connect: Connect) -> None:
    client = connect()
    client.say("Ready for events")
    channel.send(received(channel).peer, "No more events")
    channel.close()
    assert client.hear(PATIENCE_S) == "No more events"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"Ready for events\0\0", "Ready for events"),
        (b"\xff\xfe,ID:1", "\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER},ID:1"),
        ("/w/ä.root".encode(), "/w/ä.root"),
        (b"", ""),
        (b"x" * 10_000_000, "x" * 10_000_000),
    ],
    ids=["trailing NULs", "bad UTF-8", "UTF-8", "empty", "10 MB"],
)
def test_any_bytes_come_out_as_text(channel: Channel, connect: Connect, body: bytes, text: str) -> None:
    connect().say(body)
    assert received(channel).text == text


def test_receive_without_time_returns_at_once(channel: Channel) -> None:
    assert channel.receive(0) is None


def test_receive_returns_when_its_time_is_over(channel: Channel) -> None:
    before = time.monotonic()
    assert channel.receive(0.05) is None
    assert time.monotonic() - before >= 0.05


def test_wake_ends_a_receive_that_waits(channel: Channel) -> None:
    answers: list[Message | None] = []
    waits = threading.Thread(target=lambda: answers.append(channel.receive(None)))
    waits.start()
    channel.wake()
    waits.join(PATIENCE_S)
    assert answers == [None]


def test_wake_before_a_receive_is_not_lost(channel: Channel) -> None:
    channel.wake()
    channel.wake()
    before = time.monotonic()
    assert channel.receive(PATIENCE_S) is None
    assert time.monotonic() - before < PATIENCE_S


def test_wakes_are_forgotten_when_they_were_heard(channel: Channel) -> None:
    channel.wake()
    channel.wake()
    assert channel.receive(PATIENCE_S) is None
    before = time.monotonic()
    assert channel.receive(0.05) is None
    assert time.monotonic() - before >= 0.05


def test_wake_does_not_hide_a_message_that_has_come(channel: Channel, connect: Connect) -> None:
    connect().say("last words")
    if isinstance(channel, ZmqChannel):
        assert channel._router.poll(PATIENCE_S * 1000)  # it has come, and nobody has taken it
    channel.wake()
    assert received(channel).text == "last words"
    assert channel.receive(PATIENCE_S) is None


def test_a_payload_that_has_gone_is_not_answered(channel: Channel, connect: Connect) -> None:
    gone, here = connect(), connect()
    gone.say("goodbye")
    peer = received(channel).peer
    gone.leave()
    here.say("still here")
    message = received(channel)
    channel.send(peer, "lost")
    channel.send(b"nobody", "lost")
    channel.send(message.peer, "found")
    assert here.hear(PATIENCE_S) == "found"


def test_what_was_said_before_the_payload_died_is_received(channel: Channel, connect: Connect) -> None:
    client = connect()
    for text in ("last", "words"):
        client.say(text)
    client.leave()
    assert [received(channel).text, received(channel).text] == ["last", "words"]


def test_close_twice_is_close_once(channel: Channel) -> None:
    channel.close()
    channel.close()


def test_a_closed_channel_can_be_woken_but_not_used(channel: Channel) -> None:
    channel.close()
    channel.wake()
    with pytest.raises(ChannelError, match="closed"):
        channel.receive(0)
    with pytest.raises(ChannelError, match="closed"):
        channel.send(b"peer", "No more events")


# --- ZeroMQ and its socket file ---


@pytest.fixture
def wire() -> Iterator[ZmqChannel]:
    channel = ZmqChannel()
    yield channel
    channel.close()


@pytest.fixture
def dealer(wire: ZmqChannel) -> Iterator[Dealer]:
    dealer = Dealer(wire.address)
    yield dealer
    dealer.leave()


def socket_file(channel: Channel) -> Path:
    return Path(f"/tmp/zmq_{channel.address}")


def test_the_socket_file_is_the_owners_alone(wire: ZmqChannel) -> None:
    status = socket_file(wire).stat()
    assert stat.S_ISSOCK(status.st_mode)
    assert status.st_mode & 0o077 == 0
    assert status.st_uid == os.getuid()


def test_the_umask_is_given_back() -> None:
    before = os.umask(0o027)
    try:
        ZmqChannel().close()
        assert os.umask(before) == 0o027
    finally:
        os.umask(before)


def test_the_socket_file_is_removed_at_close(wire: ZmqChannel) -> None:
    wire.close()
    assert not socket_file(wire).exists()


def test_a_directory_can_be_chosen() -> None:
    directory = Path(f"/tmp/esfsm-{secrets.token_hex(4)}")
    directory.mkdir()
    try:
        channel = ZmqChannel("chosen", directory)
        assert [path.name for path in directory.iterdir()] == ["zmq_chosen"]
        channel.close()
    finally:
        directory.rmdir()


@pytest.mark.parametrize("depth", [1, 3, 30])
def test_a_directory_with_a_long_path_can_be_chosen(tmp_path: Path, depth: int) -> None:
    """A payload in a container sees it as /tmp; here the same directory has a short name, too."""
    directory = tmp_path.joinpath(*["a-directory-of-a-batch-system-with-a-name-of-some-length"] * depth)
    directory.mkdir(parents=True)
    name = secrets.token_hex(16)
    inside = Path(f"/tmp/esfsm-{name}")
    inside.symlink_to(directory)
    before = len(list(Path("/proc/self/fd").iterdir()))
    channel, dealer = ZmqChannel(name, directory), Dealer(name, directory=inside)
    try:
        assert [path.name for path in directory.iterdir()] == [f"zmq_{name}"]
        dealer.say("Ready for events")
        message = received(channel)
        channel.send(message.peer, "No more events")
        assert dealer.hear(PATIENCE_S) == "No more events"
        with pytest.raises(ChannelError, match=f"{directory}.* in use"):
            ZmqChannel(name, directory)
    finally:
        dealer.leave()
        channel.close()
        inside.unlink()
    assert list(directory.iterdir()) == []
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_the_file_of_a_killed_server_in_a_directory_with_a_long_path_is_taken_over(tmp_path: Path) -> None:
    directory = tmp_path / ("d" * 120)
    directory.mkdir()
    code = (
        "from esfsm.adapters.channels.zmq import ZmqChannel; import os, pathlib, sys;"
        "ZmqChannel('chosen', pathlib.Path(sys.argv[1])); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, str(directory)], check=False)
    assert (directory / "zmq_chosen").is_socket()
    ZmqChannel("chosen", directory).close()
    assert list(directory.iterdir()) == []


@pytest.mark.parametrize("identity", [None, b"\0", b"worker"], ids=["none", "as yampl's Python binding", "named"])
def test_a_dealer_sends_one_frame_and_hears_one(wire: ZmqChannel, identity: bytes | None) -> None:
    dealer = Dealer(wire.address, identity=identity)
    for number in range(3):
        dealer.say(f"question {number}")
        message = received(wire)
        wire.send(message.peer, message.text.replace("question", "answer"))
        assert dealer.hear(PATIENCE_S) == f"answer {number}"
    dealer.leave()


def test_a_req_socket_gets_its_empty_frame_back(wire: ZmqChannel) -> None:
    client = Dealer(wire.address, kind=zmq.REQ)
    client.say("Ready for events")
    message = received(wire)
    assert message.text == "Ready for events"
    wire.send(message.peer, "No more events")
    assert client.hear(PATIENCE_S) == "No more events"
    client.leave()


def test_a_message_beyond_the_limit_costs_the_connection_only(wire: ZmqChannel, dealer: Dealer) -> None:
    dealer.say(b"x" * (LARGEST_MESSAGE_BYTES + 1))
    dealer.say("Ready for events")
    assert received(wire).text == "Ready for events"


def test_a_payload_that_reads_nothing_does_not_block_us(wire: ZmqChannel, dealer: Dealer) -> None:
    dealer.say("Ready for events")
    peer = received(wire).peer
    for _ in range(5_000):
        wire.send(peer, "x" * 10_000)
    assert dealer.hear(PATIENCE_S) == "x" * 10_000


def test_a_payload_comes_back_to_a_new_server_of_the_same_name(wire: ZmqChannel, dealer: Dealer) -> None:
    dealer.say("before")
    assert received(wire).text == "before"
    wire.close()
    successor = ZmqChannel(wire.address)
    dealer.say("after")
    message = received(successor)
    assert message.text == "after"
    successor.send(message.peer, "welcome")
    assert dealer.hear(PATIENCE_S) == "welcome"
    successor.close()


def test_the_address_of_a_killed_server_is_taken_over() -> None:
    code = (
        "from esfsm.adapters.channels.zmq import ZmqChannel; import os; c = ZmqChannel(); print(c.address); os._exit(9)"
    )
    killed = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=False)
    name = killed.stdout.strip()
    assert Path(f"/tmp/zmq_{name}").is_socket()
    successor = ZmqChannel(name)
    successor.close()
    assert not Path(f"/tmp/zmq_{name}").exists()


def test_the_address_of_a_live_server_is_refused(wire: ZmqChannel, dealer: Dealer) -> None:
    with pytest.raises(ChannelError, match="in use"):
        ZmqChannel(wire.address)
    dealer.say("Ready for events")
    assert received(wire).text == "Ready for events"


@pytest.mark.parametrize("name", ["x" * 99, "ä" * 50, "../passwd", ""])
def test_a_name_that_makes_no_socket_file_is_refused(name: str) -> None:
    with pytest.raises(ChannelError, match="cannot be a socket file"):
        ZmqChannel(name)


def test_the_longest_name_that_fits_is_used() -> None:
    channel = ZmqChannel(secrets.token_hex(49))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(socket_file(channel)))
    channel.close()


@pytest.mark.parametrize("directory", ["/nowhere", "/" + "nowhere" * 30])
def test_a_directory_that_is_not_there_is_refused(directory: str) -> None:
    with pytest.raises(ChannelError, match="No such file"):
        ZmqChannel(directory=Path(directory))


FEW_DESCRIPTORS = """\
import os, resource, sys
from esfsm.adapters.channels.zmq import ZmqChannel
from esfsm.errors import ChannelError

used = len(os.listdir("/proc/self/fd")) - 1
resource.setrlimit(resource.RLIMIT_NOFILE, (used + int(sys.argv[1]), 4096))
try:
    ZmqChannel()
except ChannelError as error:
    print(error)
"""


@pytest.mark.parametrize("left", range(8))
def test_a_process_without_descriptors_cannot_open_a_channel_and_lives_on(left: int) -> None:
    """ZeroMQ itself would abort it."""
    command = [sys.executable, "-c", FEW_DESCRIPTORS, str(left)]
    opened = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (opened.returncode, opened.stderr) == (0, "")
    assert "Too many open files" in opened.stdout
