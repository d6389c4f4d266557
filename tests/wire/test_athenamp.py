"""The language of AthenaMP: every form that a payload is known to use, and whatever else may come."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esfsm.errors import UnreadableMessage, WireError
from esfsm.wire.athenamp import (
    LONGEST_S,
    NO_MORE_EVENTS,
    RangeError,
    ReadyForEvents,
    Result,
    decode,
    error_message,
    parse,
    parse_answer,
    range_message,
    result_message,
)

ID = "41000456-7000000123-990001-11-10"
RANGE = {
    "eventRangeID": ID,
    "startEvent": 11,
    "lastEvent": 12,
    "LFN": "EVNT.41._000001.pool.root",
    "GUID": "8D6A2F0C-7F11-4C7C-9B3A-0123456789AB",
    "scope": "mc23_13p6TeV",
}

ids = st.text(string.ascii_letters + string.digits + "._-", min_size=1)
paths = st.text().map("/w/".__add__).filter(lambda path: ",/" not in path)
times = st.floats(0, LONGEST_S)
results = st.builds(Result, ids, st.lists(paths, min_size=1).map(tuple), times, times)
errors = st.builds(
    RangeError,
    ids.filter(lambda event_range_id: event_range_id != "eventRangeID"),
    st.sampled_from(["ERR_ATHENAMP_PROCESS", "ERR_ATHENAMP_PARSE", "ERR_TE_RANGE", "ERR_TE_FATAL"]),
    st.text().map(str.strip),
)
numbers = st.integers(0, 10**12)
plain = st.text(string.ascii_letters + string.digits + "._-:/ äß{}[]", min_size=1).map(str.strip).filter(bool)
ranges = st.builds(
    lambda said, extra: {**extra, **said},
    st.fixed_dictionaries(
        {"eventRangeID": ids, "startEvent": numbers, "lastEvent": numbers, "GUID": plain},
        optional={"LFN": plain | st.none(), "scope": plain | st.none(), "PFN": plain},
    ),
    st.dictionaries(ids, plain | numbers),
)


# --- what a payload says ---


@pytest.mark.parametrize("text", ["Ready for events", " Ready for events\n", "worker 3: Ready for events"])
def test_a_payload_asks_for_a_range(text: str) -> None:
    assert parse(text) == ReadyForEvents()


@pytest.mark.parametrize(
    ("said", "outputs"),
    [
        ("/w/a.root", ["/w/a.root"]),
        ("/w/a.root,/w/b.root", ["/w/a.root", "/w/b.root"]),
        ("/w/a,b.root,/w/c.root", ["/w/a,b.root", "/w/c.root"]),
        ("/w/two words.root", ["/w/two words.root"]),
        ("/w/a,ID:7,CPU:8.root", ["/w/a,ID:7,CPU:8.root"]),
        ("/w/a,ID:7", ["/w/a,ID:7"]),
        ("/w/Ready for events", ["/w/Ready for events"]),
        ("a.root,b.root", ["a.root", "b.root"]),
    ],
)
def test_a_result_names_its_outputs(said: str, outputs: list[str]) -> None:
    assert parse(f"{said},ID:{ID},CPU:212,WALL:230") == Result(ID, tuple(outputs), 212.0, 230.0)


@pytest.mark.parametrize(
    "tail", ["ID:1-2,CPU:5,WALL:6", "CPU:5,WALL:6,ID:1-2", "id:1-2,wall:6,cpu:5", "ID: 1-2, CPU: 5 ,WALL:6 \n"]
)
def test_the_fields_of_a_result_come_in_any_order_and_case(tail: str) -> None:
    assert parse(f"/w/a.root,{tail}") == Result("1-2", ("/w/a.root",), 5.0, 6.0)


@pytest.mark.parametrize(
    ("tail", "cpu_s", "wall_s"),
    [
        ("", 0.0, 0.0),
        (",CPU:5", 5.0, 0.0),
        (",WALL:6", 0.0, 6.0),
        (",CPU:1e3,WALL:0.5", 1000.0, 0.5),
        (",CPU:,WALL:soon", 0.0, 0.0),
        (",CPU:nan,WALL:inf", 0.0, 0.0),
        (",CPU:1e308,WALL:31536001", 0.0, 0.0),
        (",CPU:-1,WALL:1e999", 0.0, 0.0),
    ],
)
def test_a_result_is_not_lost_for_a_time_that_is_none(tail: str, cpu_s: float, wall_s: float) -> None:
    assert parse(f"/w/a.root,ID:{ID}{tail}") == Result(ID, ("/w/a.root",), cpu_s, wall_s)


@pytest.mark.parametrize("why", ["Failed to process event range", "Not found in the input file", "Seek failed: 7", ""])
@pytest.mark.parametrize("code", ["ERR_ATHENAMP_PROCESS", "ERR_TE_RANGE", "ERR_TE_FATAL"])
@pytest.mark.parametrize("event_range_id", [ID, "r_1.b", "Range-07"])
def test_an_error_names_its_range(code: str, event_range_id: str, why: str) -> None:
    assert parse(f"{code} {event_range_id}: {why}") == RangeError(event_range_id, code, why)


@pytest.mark.parametrize(
    ("event_range_id", "quoted"),
    [
        (ID, f"eventRangeID:{ID},lastEvent:x"),
        (ID, f"'eventRangeID': '{ID}', 'lastEvent': 'x'"),
        (ID, f"u'eventRangeID': u'{ID}', u'lastEvent': u'x'"),
        (ID, f'"lastEvent": "x", "eventRangeID": "{ID}"'),
        ("r_1", '"eventRangeID": "r_1", "lastEvent": "x"'),
        ("under", "eventRangeID:under"),
        (ID, f"range {ID}"),
        (None, "eventRangeID"),
        (None, "1-2-3-4-5-6"),
        (None, ""),
    ],
)
@pytest.mark.parametrize("why", ["Wrong format", "Wrong values of range fields", ""])
def test_a_parse_error_quotes_the_range_in_its_own_way(event_range_id: str | None, quoted: str, why: str) -> None:
    assert parse(f'ERR_ATHENAMP_PARSE "{quoted}": {why}') == RangeError(event_range_id, "ERR_ATHENAMP_PARSE", why)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("ERR_TE_FATAL", RangeError(None, "ERR_TE_FATAL", "")),
        ("ERR_TE_FATAL out of memory", RangeError(None, "ERR_TE_FATAL", "out of memory")),
        (f"ERR_TE_FATAL at {ID}", RangeError(ID, "ERR_TE_FATAL", f"at {ID}")),
        (f"ERR_ATHENAMP_PARSE eventRangeID:{ID}: x", RangeError(ID, "ERR_ATHENAMP_PARSE", f"eventRangeID:{ID}: x")),
        ("ERR_TE_RANGE r1:\nline\nline", RangeError("r1", "ERR_TE_RANGE", "line\nline")),
    ],
)
def test_an_error_of_another_form_is_still_an_error(text: str, error: RangeError) -> None:
    assert parse(text) == error


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "ERROR something",
        "No more events",
        "/w/a.root",
        "/w/a.root,CPU:5,WALL:6",
        "/w/a.root,ID:,CPU:5,WALL:6",
        "/w/a.root,ID:two words",
        "/w/a.root,ID:1-2,MEM:5",
        f",ID:{ID},CPU:5,WALL:6",
        f"ID:{ID}",
        f"a.root,,ID:{ID}",
    ],
)
def test_what_athenamp_does_not_say_is_unreadable(text: str) -> None:
    with pytest.raises(UnreadableMessage, match="expected 'Ready for events'") as caught:
        parse(text)
    assert caught.value.text == text


def assert_read_or_refused(text: str) -> None:
    try:
        said = parse(text)
    except UnreadableMessage:
        return
    assert isinstance(said, ReadyForEvents | Result | RangeError)


@given(st.text() | st.text("ERR_:,ID CPUWALL/\"'0a\n"))
def test_any_text_is_read_or_refused(text: str) -> None:
    assert_read_or_refused(text)


@pytest.mark.timeout(10)
@pytest.mark.parametrize("piece", ["x", " ", ",", ",ID:1", ",CPU:1", "ERR_A ", "1-", "1", ":", '":', "eventRangeID"])
@pytest.mark.parametrize("start", ["", "ERR_A ", "/w/a,ID:1"])
def test_a_megabyte_of_garbage_takes_no_time(start: str, piece: str) -> None:
    assert_read_or_refused(start + piece * (10**6 // len(piece)) + ";")


# --- what a payload of ours says ---


@given(results)
def test_a_result_is_read_as_it_was_said(result: Result) -> None:
    assert parse(result_message(result)) == result


@given(errors)
def test_an_error_is_read_as_it_was_said(error: RangeError) -> None:
    assert parse(error_message(error)) == error


@pytest.mark.parametrize(
    "result",
    [
        Result("two words", ("/w/a.root",), 5.0, 6.0),
        Result(ID, ("/w/a,/b.root",), 5.0, 6.0),
        Result(ID, ("/w/a.root", "b.root"), 5.0, 6.0),
        Result(ID, ("/w/a.root",), -5.0, 6.0),
        Result(ID, ("/w/a.root",), 5.0, float("nan")),
        Result(ID, (), 5.0, 6.0),
        Result(ID, ("",), 5.0, 6.0),
    ],
)
def test_a_result_that_would_be_misread_is_not_said(result: Result) -> None:
    with pytest.raises(WireError):
        result_message(result)


@pytest.mark.parametrize(
    "error",
    [
        RangeError(None, "ERR_ATHENAMP_PARSE", "Wrong format"),
        RangeError("two words", "ERR_ATHENAMP_PROCESS", "Seek failed"),
        RangeError(ID, "FAILED", "Seek failed"),
        RangeError(ID, "ERR_ATHENAMP_PROCESS", " Seek failed"),
    ],
)
def test_an_error_that_would_be_misread_is_not_said(error: RangeError) -> None:
    with pytest.raises(WireError):
        error_message(error)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"Ready for events", "Ready for events"),
        (b"Ready for events\0\0", "Ready for events"),
        (b"/w/\xff.root", "/w/\N{REPLACEMENT CHARACTER}.root"),
        ("/w/ä.root".encode(), "/w/ä.root"),
        (b"", ""),
    ],
)
def test_bytes_become_text(body: bytes, text: str) -> None:
    assert decode(body) == text


# --- what a pilot answers ---


def athenamp_reads(message: str) -> dict[str, str] | None:
    """A model of AthenaMP's own reader, which knows no JSON: trim, strip, split at commas and at first colons."""
    line, _, _ = message.partition("\n")
    if line == NO_MORE_EVENTS:
        return None
    fields = line.removeprefix("[{").removesuffix("}]").split(",")
    names_and_values = (field.split(":", 1) for field in fields)
    return {bare(name): bare(value) for name, value in names_and_values}


def bare(text: str) -> str:
    text = text.strip(" ")
    for opening, closing in (("u'", "'"), ("'", "'"), ('"', '"')):
        if text.startswith(opening) and text.endswith(closing):
            return text[len(opening) : -len(closing)]
    return text


@given(ranges)
def test_athenamp_and_a_json_reader_read_the_same_range(event_range: dict[str, object]) -> None:
    said = {key: value for key, value in event_range.items() if value is not None}
    message = range_message(event_range)
    assert athenamp_reads(message) == {key: str(value) for key, value in said.items()}
    assert parse_answer(message) == said


def test_a_range_is_a_list_of_one_flat_object() -> None:
    assert range_message({"eventRangeID": "r1", "startEvent": 1, "lastEvent": 2, "GUID": "G", "scope": None}) == (
        '[{"eventRangeID": "r1", "startEvent": 1, "lastEvent": 2, "GUID": "G"}]'
    )


@pytest.mark.parametrize("guid", [{}, {"GUID": None}])
def test_an_unknown_guid_is_said_as_athenamp_refuses_a_range_without(guid: dict[str, object]) -> None:
    message = range_message({"eventRangeID": "r1", "startEvent": 1, "lastEvent": 2, "PFN": "/w/in.root", **guid})
    fields = athenamp_reads(message)
    assert fields is not None
    assert fields["GUID"] == "null"


@pytest.mark.parametrize("key", ["eventRangeID", "startEvent", "lastEvent"])
def test_a_range_without_what_athenamp_needs_is_not_handed_out(key: str) -> None:
    with pytest.raises(WireError, match=key):
        range_message({**RANGE, key: None})


@pytest.mark.parametrize(
    "value",
    ["a,b", "a\nb", 'a"b', "a\\b", "it's", " a", "a ", "a\tb", "\ud800", 1.5, ["a"], {"a": 1}, b"a"],
)
def test_a_value_that_athenamp_would_misread_is_not_handed_out(value: object) -> None:
    with pytest.raises(WireError, match="AthenaMP cannot read 'LFN'"):
        range_message({**RANGE, "LFN": value})


@pytest.mark.parametrize("key", ["a:b", "a,b", " a"])
def test_a_key_that_athenamp_would_misread_is_not_handed_out(key: str) -> None:
    with pytest.raises(WireError, match="AthenaMP cannot read"):
        range_message({**RANGE, key: 1})


@pytest.mark.parametrize("text", ["No more events", " No more events\n"])
def test_no_more_events_is_no_range(text: str) -> None:
    assert parse_answer(text) is None


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "[1]", "null", "[{}, {}]", "[{", "[" * 10**5, "no more events", f"[{'9' * 5000}]"]
)
def test_an_answer_without_one_range_is_unreadable(text: str) -> None:
    with pytest.raises(UnreadableMessage, match="a list of one event range"):
        parse_answer(text)


@given(st.text() | st.text('[{"a":1}],'))
def test_any_answer_is_read_or_refused(text: str) -> None:
    try:
        event_range = parse_answer(text)
    except UnreadableMessage:
        return
    assert event_range is None or isinstance(event_range, dict)
