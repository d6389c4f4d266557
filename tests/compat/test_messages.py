"""MessageThread: what a payload says comes out of a queue, and is answered."""

import os
from collections.abc import Callable, Iterator
from queue import Queue

import pytest
import zmq
from compat import incumbent
from whole.processes import PATIENCE_S, no_thread_left

from esfsm.compat.pilot3 import MessageThread

NAME = f"esfsm_test_{os.getpid()}"


@pytest.fixture
def thread() -> Iterator[tuple[MessageThread, Queue[str]]]:
    heard: Queue[str] = Queue()
    with no_thread_left():
        thread = MessageThread(heard, socket_name=NAME)
        yield thread, heard
        thread.terminate()


@pytest.fixture
def payload() -> Iterator[Callable[[], zmq.Socket]]:
    """The payload's end of the channel."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.connect(f"ipc:///tmp/zmq_{NAME}")
        yield socket


def test_what_a_payload_says_is_put_into_the_queue_and_answered(thread, payload) -> None:
    talking, heard = thread
    talking.start()
    for number in range(3):
        payload.send(b"Ready for events")
        assert heard.get(timeout=PATIENCE_S) == "Ready for events"
        talking.send(f"[{number}]")
        assert payload.poll(PATIENCE_S * 1000)
        assert payload.recv() == b"[%d]" % number


def test_an_answer_that_was_asked_for_before_the_stop_still_leaves(thread, payload) -> None:
    talking, heard = thread
    talking.start()
    payload.send(b"Ready for events")
    heard.get(timeout=PATIENCE_S)
    talking.send("No more events")
    talking.stop()
    assert payload.poll(PATIENCE_S * 1000)
    assert payload.recv() == b"No more events"


def test_it_ends_when_it_is_stopped_and_its_name_is_free_again(thread) -> None:
    talking, heard = thread
    talking.start()
    assert (talking.is_stopped(), talking.is_alive()) == (False, True)
    talking.stop()
    talking.join(PATIENCE_S)
    assert (talking.is_stopped(), talking.is_alive()) == (True, False)
    MessageThread(heard, NAME).terminate()


def test_without_a_name_it_has_that_of_pilot3() -> None:
    thread = MessageThread(Queue())
    assert thread.get_yampl_socket_name() == f"EventService_EventRanges_{os.getpid()}"
    thread.terminate()


def test_nobody_can_be_answered_before_somebody_has_spoken(thread) -> None:
    with pytest.raises(incumbent.failures.MessageFailure, match="nobody has said anything"):
        thread[0].send("No more events")


def test_nobody_can_be_answered_after_the_end(thread, payload) -> None:
    talking, heard = thread
    talking.start()
    payload.send(b"Ready for events")
    heard.get(timeout=PATIENCE_S)
    talking.stop()
    with pytest.raises(incumbent.failures.MessageFailure, match="is closed"):
        talking.send("No more events")


@pytest.mark.parametrize(
    "given", [{"socket_name": NAME}, {"socket_name": "a/b"}, {"context": "shm"}], ids=["taken", "no name", "no context"]
)
def test_a_channel_that_cannot_be_had_is_a_failure(thread, given: dict[str, str]) -> None:
    with pytest.raises(incumbent.failures.MessageFailure):
        MessageThread(Queue(), **given)
