"""Whatever a server, or what stands between, may say: an answer or a WireError, and nothing accepted that was not."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire.data.said import SAID

from esfsm.errors import WireError
from esfsm.model.report import Answer, ArchiveRecord, Booked, Report
from esfsm.wire.panda.ranges import (
    range_updates,
    read_command,
    read_grant,
    read_statuses,
    read_update,
    settle,
)

IDS = ("1001-5001-100101-1-10", "1001-5001-100101-2-10", "1001-5001-100101-3-10")

ENVELOPE_KEYS = ["success", "message", "data", "StatusCode", "Returns", "Command", "Commands", "command", "eventRanges"]
keys = st.sampled_from([*ENVELOPE_KEYS, "5001", "eventRangeID", "startEvent", "lastEvent", "status"]) | st.text()
finite = st.floats(allow_nan=False, allow_infinity=False)
said = st.none() | st.booleans() | st.integers() | finite | st.text() | st.sampled_from([0, "0", "NULL", *IDS])
values = st.recursive(
    said | st.floats(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)
words = st.lists(st.just(True) | st.just(True) | said, max_size=5)


@st.composite
def nearly_right(draw: st.DrawFn) -> str:
    """A reply to a report that has the right form, or misses it narrowly."""
    returns = draw(words | values)
    body = {"Returns": draw(st.sampled_from([returns, json.dumps(returns)])), "Command": draw(values)}
    code = draw(st.sampled_from([0, 0, "0", 30, False, 0.0, None]))
    success = draw(st.sampled_from([True, True, False, 1, "true", None]))
    return json.dumps(draw(st.sampled_from([{"StatusCode": code, **body}, {"success": success, "data": body}])))


@st.composite
def disturbed(draw: st.DrawFn) -> bytes:
    """What a server really said, with a piece of it replaced."""
    reply = draw(st.sampled_from([reply for call in SAID.values() for reply in call.values()])).encode()
    start = draw(st.integers(0, len(reply)))
    end = draw(st.integers(start, min(len(reply), start + 20)))
    piece = draw(
        st.sampled_from([b"", b"[", b"]", b"true", b"false", b"null", b"0", b'"', b"\\", b"{", b"}"]) | st.binary()
    )
    return reply[:start] + piece + reply[end:]


replies = st.binary() | st.text() | values.map(json.dumps) | nearly_right() | disturbed()

READERS: list[Callable[[bytes | str], object]] = [
    lambda reply: read_command(reply, 5001),
    lambda reply: read_statuses(reply, 5001),
    read_grant,
]


DISTURBED = {
    "nothing": b"",
    "no UTF-8": b'{"StatusCode": 0, "Returns": [true], "x": "\xff"}',
    "a byte order mark": b'\xef\xbb\xbf{"StatusCode": 0, "Returns": [true]}',
    "a page": b"<html><head><title>502 Bad Gateway</title></head></html>",
    "half a list": b'{"StatusCode": 0, "Returns": [true',
    "two replies": b'{"StatusCode": 0, "Returns": [true]}{"StatusCode": 0, "Returns": [true]}',
    "NaN": b'{"StatusCode": 0, "Returns": [true], "x": NaN}',
    "half a character": b'{"StatusCode": 0, "Returns": [true], "x": "\\ud800"}',
    "half a character in a str": '{"StatusCode": 0, "Returns": [true], "x": "\ud800"}',
    "deep nesting": b"[" * 10**5 + b"]" * 10**5,
    "deep nesting inside": b'{"StatusCode": 0, "Returns": ' + b"[" * 10**5 + b"]" * 10**5 + b"}",
    "a long number": b'{"StatusCode": ' + b"1" * 10**5 + b', "Returns": [true]}',
    "no object": b"[true]",
    "null": b"null",
    "Returns that are a map": b'{"StatusCode": 0, "Returns": {"0": true}}',
    "Returns that are a bare true": b'{"StatusCode": 0, "Returns": true}',
    "Returns that are text twice": b'{"StatusCode": 0, "Returns": "\\"[true]\\""}',
    "Returns that are null": b'{"StatusCode": 0, "Returns": null}',
    "no StatusCode": b'{"Returns": [true]}',
    "a StatusCode of failure": b'{"StatusCode": 30, "Returns": [true]}',
    "a StatusCode that is false": b'{"StatusCode": false, "Returns": [true]}',
    "a StatusCode that is a fraction": b'{"StatusCode": 0.0, "Returns": [true]}',
    "a StatusCode that is null": b'{"StatusCode": null, "Returns": [true]}',
    "a StatusCode that is a deep list": b'{"StatusCode": ' + b"[" * 1000 + b"]" * 1000 + b', "Returns": [true]}',
    "success that is text": b'{"success": "true", "message": "", "data": {"Returns": [true]}}',
    "success that is 1": b'{"success": 1, "message": "", "data": {"Returns": [true]}}',
    "success without data": b'{"success": true, "message": "", "Returns": [true]}',
    "no success but data": b'{"success": false, "message": "no", "data": {"Returns": [true]}}',
    "no success but a StatusCode": b'{"success": false, "StatusCode": 0, "Returns": [true]}',
    "success with a StatusCode of failure": b'{"success": true, "data": {"StatusCode": 10, "Returns": [true]}}',
    "a long message": b'{"success": false, "message": "' + b"no " * 1000 + b'", "data": null}',
    "a message of many lines": b'{"success": false, "message": "no\\n\\nno", "data": null}',
    "data that are text": b'{"success": true, "message": "", "data": "{\\"Returns\\": [true]}"}',
    "data that are a list": b'{"success": true, "message": "", "data": [true]}',
}


@pytest.mark.parametrize("reply", DISTURBED.values(), ids=DISTURBED)
@pytest.mark.parametrize("read", [lambda reply: read_update(reply, IDS[:1]), *READERS])
def test_a_disturbed_reply_is_believed_by_nobody(reply: bytes | str, read) -> None:
    with pytest.raises(WireError) as raised:
        read(reply)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 400


# --- replies that nobody thought of ---


def words_of(reply: bytes | str) -> object:
    """`Returns`, looked up in the plainest way."""
    body = json.loads(reply)
    returns = (body["data"] if "success" in body else body)["Returns"]
    return json.loads(returns) if isinstance(returns, str) else returns


@given(replies, st.integers(0, 3))
def test_no_reply_to_a_report_accepts_a_range_that_got_no_true(reply: bytes | str, n: int) -> None:
    try:
        answer = read_update(reply, IDS[:n])
    except WireError:
        return
    got = words_of(reply)
    assert isinstance(got, list)
    assert answer.refused == ()
    assert answer.doubted == tuple(name for name, word in zip(IDS[:n], got, strict=True) if word is not True)
    assert answer.accepted == (() if answer.doubted else IDS[:n])


@given(words, st.sampled_from([list, json.dumps]), st.sampled_from([0, "0"]))
def test_a_reply_with_a_word_for_each_range_is_understood(got: list[object], form, code: object) -> None:
    ids = tuple(f"1-2-3-{number}-10" for number in range(len(got)))
    answer = read_update(json.dumps({"StatusCode": code, "Returns": form(got)}), ids)
    assert answer.accepted == (ids if all(word is True for word in got) else ())


@given(replies, st.sampled_from(READERS))
def test_whatever_is_replied_is_read_or_raises_a_wire_error_of_one_short_line(
    reply: bytes | str, read: Callable[[bytes | str], object]
) -> None:
    why = "none"
    try:
        read(reply)
    except WireError as error:
        why = str(error)
    assert len(why.splitlines()) == 1
    assert len(why) < 400


@given(
    st.sets(st.sampled_from(IDS)),
    st.dictionaries(
        st.sampled_from(IDS),
        st.builds(
            Booked, st.sampled_from(["sent", "finished", "failed", "cancelled"]) | st.text(), st.none() | st.text()
        ),
    ),
    st.booleans(),
)
def test_settling_puts_no_range_into_two_lists_and_accepts_only_what_is_booked_as_reported(
    ids: set[str], books: dict[str, Booked], finished: bool
) -> None:
    report = Report(tuple(ids), ArchiveRecord("a.tar", 1, "00000001", 1) if finished else None)
    answer = settle(report, books)
    assert isinstance(answer, Answer)
    assert set(answer.accepted) | set(answer.refused) <= ids
    assert not set(answer.accepted) & set(answer.refused)
    assert bool(answer.why) == bool(answer.refused)
    reported = {"finished", "done", "merged"} if finished else {"failed", "fatal"}
    assert all(books[name].status in reported for name in answer.accepted)


@given(st.text(), st.integers())
def test_any_failure_is_told_so_that_the_server_can_store_it(diag: str, code: int) -> None:
    (update,) = range_updates(Report(IDS[:1], error_code=code, error_diag=diag))
    told = json.loads(json.dumps(update))
    assert told == update
    assert len(told["errorDiag"].encode()) <= 500
    assert "\0" not in told["errorDiag"]
    assert 0 <= told["errorCode"] < 2**31
