"""An event range is what PanDA sends, and is passed on unchanged."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from esfsm.model.event_range import EventRange

SENT = {
    "eventRangeID": "1001-5001-100101-1-10",
    "startEvent": 1,
    "lastEvent": 5,
    "LFN": "EVNT.1001._000001.pool.root.1",
    "GUID": "000003E9-0000-0000-0000-000000000001",
    "scope": "test",
}


def test_a_range_that_panda_sends() -> None:
    event_range = EventRange.model_validate(SENT)
    assert event_range.event_range_id == "1001-5001-100101-1-10"
    assert (event_range.start_event, event_range.last_event, event_range.events) == (1, 5, 5)
    assert (event_range.lfn, event_range.scope) == ("EVNT.1001._000001.pool.root.1", "test")


def test_a_range_is_passed_on_with_keys_that_nobody_knows() -> None:
    assert EventRange.model_validate({**SENT, "jumbo": [1]}).as_panda() == {**SENT, "jumbo": [1]}


def test_a_range_may_be_made_by_the_names_of_its_fields() -> None:
    event_range = EventRange(event_range_id="1-2-3-4-5", start_event=0, last_event=0)
    assert event_range.events == 1
    assert (event_range.lfn, event_range.guid, event_range.scope) == (None, None, None)


@pytest.mark.parametrize("wrong", ["", "-1", ".", "a b", "a,b", "a:b", "a/b", "a\n", "a\0", "[1]", "ä", "1" * 201, 5])
def test_an_id_that_the_payload_or_a_file_name_cannot_carry_is_refused(wrong: object) -> None:
    with pytest.raises(ValidationError, match="eventRangeID"):
        EventRange.model_validate({**SENT, "eventRangeID": wrong})


@pytest.mark.parametrize("key", ["startEvent", "lastEvent"])
@pytest.mark.parametrize("wrong", ["1", 1.0, True, None, -1])
def test_an_event_number_is_a_whole_number(key: str, wrong: object) -> None:
    with pytest.raises(ValidationError, match=key):
        EventRange.model_validate({**SENT, key: wrong})


@pytest.mark.parametrize("key", ["eventRangeID", "startEvent", "lastEvent"])
def test_a_range_without_its_number_or_its_span_is_refused(key: str) -> None:
    with pytest.raises(ValidationError, match=key):
        EventRange.model_validate({name: value for name, value in SENT.items() if name != key})


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_the_last_event_is_not_before_the_first(start: int, last: int) -> None:
    content = {**SENT, "startEvent": start, "lastEvent": last}
    if last >= start:
        assert EventRange.model_validate(content).events == len(range(start, last + 1))
    else:
        with pytest.raises(ValidationError, match=f"lastEvent {last} is before startEvent {start}"):
            EventRange.model_validate(content)


def test_a_range_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        EventRange.model_validate(SENT).start_event = 2  # type: ignore[misc]
