"""What a queue says, and which settings it decides by that."""

import pytest

from esfsm.errors import UnusableInput
from esfsm.model.queuedata import QueueData


@pytest.mark.parametrize(
    "content",
    [{"zip_time_gap": 300, "name": "Q"}, {"Q": {"zip_time_gap": 300}}, {"zip_time_gap": 300}, {"zip_time_gap": "300"}],
)
def test_a_queue_may_stand_below_its_name(content: object) -> None:
    assert QueueData.read(content).zip_time_gap == 300


def test_a_key_of_a_queue_is_no_name_of_a_queue() -> None:
    assert QueueData.read({"params": {"es_executor_type": "raythena"}}).params == {"es_executor_type": "raythena"}


def test_keys_that_nobody_knows_are_kept() -> None:
    assert QueueData.read({"maxwidth": 5, "x": {"y": 1}}).model_extra == {"maxwidth": 5, "x": {"y": 1}}


@pytest.mark.parametrize("content", [{}, {"Q": {}}])
def test_a_queue_may_say_nothing(content: object) -> None:
    queue = QueueData.read(content)
    assert (queue.zip_time_gap, queue.pledgedcpu, queue.params) == (None, None, {})
    assert queue.as_settings() == {}


def test_what_the_job_overwrites_wins() -> None:
    queue = QueueData.read({"Q": {"zip_time_gap": 300, "pledgedcpu": 5}}, {"zip_time_gap": 10})
    assert (queue.zip_time_gap, queue.pledgedcpu) == (10, 5)


@pytest.mark.parametrize("content", [None, [], "x", [{"zip_time_gap": 1}]])
def test_what_is_no_object_is_refused(content: object) -> None:
    with pytest.raises(UnusableInput, match="queue data: a JSON object is expected"):
        QueueData.read(content)


@pytest.mark.parametrize(
    ("content", "key"),
    [
        ({"zip_time_gap": -1}, "zip_time_gap"),
        *(({key: value}, key) for key in ("zip_time_gap", "maxrss", "maxwdir") for value in (1e300, "inf", "nan")),
        ({"pledgedcpu": "x"}, "pledgedcpu"),
        ({"params": 5}, "params"),
        ({"params": {"es_executor_type": ["x"]}}, "params"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_its_key(content: object, key: str) -> None:
    with pytest.raises(UnusableInput, match=f"queue data: {key}: "):
        QueueData.read(content)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"zip_time_gap": 300}, {"zip_time_gap_s": 300}),
        ({"zip_time_gap": 300, "pledgedcpu": -1}, {"zip_time_gap_s": 300}),
        ({"zip_time_gap": 0}, {}),
        ({"zip_time_gap": 0, "pledgedcpu": -1}, {"zip_time_gap_s": 600}),
        ({"pledgedcpu": -1}, {"zip_time_gap_s": 600}),
        ({"pledgedcpu": 100}, {}),
        ({"params": {"es_executor_type": "raythena", "x": 1}}, {"executor_type": "raythena"}),
    ],
)
def test_a_queue_decides_settings(content: object, said: dict[str, object]) -> None:
    assert QueueData.read(content).as_settings() == said
