"""Journals that are whole and make no sense: each ends in one sentence, and nothing in it is overwritten."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shell.disks import FileInMemory
from shell.journals import FORMAT_1, sealed

from esfsm import plugins
from esfsm.core.engine import Engine
from esfsm.core.facts import FACTS
from esfsm.errors import EsfsmError, ReplayDiverged, UnusableJournal
from esfsm.inbox import Clock, Inbox
from esfsm.journal.formats import FORMAT, SHORT
from esfsm.journal.writer import Journal
from esfsm.loop import Loop
from esfsm.replayer import replay

RECORDED = Path(__file__).parents[1] / "recorded"
FAILOVER = RECORDED / "failover.jsonl"
"""A journal with nearly every fact of a good job."""
KILLED = RECORDED / "killed-again-and-again.jsonl"
"""One that was taken up again."""

GONE = object()
"""In place of a value: the key is not there."""
DEEP = json.loads("[" * 900 + "]" * 900)
"""More than Python can print."""


def taken_up(file: FileInMemory) -> None:
    """What an engine does with the journal of one that has died, before it goes on."""
    journal = Journal(file, None)
    engine = Engine(plugins.workflow(journal.header.workflow), plugins.held(), journal.header.settings)
    Loop(journal, engine, Inbox(Clock())).remember()


def told_by(journal: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in journal.read_bytes().splitlines()]


def line_of(told: list[dict[str, Any]], what: str) -> int:
    """The first line with this key, or this fact."""
    return next(at for at, each in enumerate(told) if what in each or each.get("fact") == what)


def absurd(journal: Path, what: str, change: Mapping[str, object]) -> bytes:
    """The journal with other values in its first line with this key, or this fact."""
    told = told_by(journal)
    at = line_of(told, what)
    told[at] = {key: value for key, value in {**told[at], **change}.items() if key != "crc" and value is not GONE}
    lines = journal.read_bytes().splitlines(keepends=True)
    return b"".join([*lines[:at], sealed(told[at]), *lines[at + 1 :]])


def refused(content: bytes, path: Path, kind: type[EsfsmError] = UnusableJournal) -> str:
    """What a reader and an engine say of a journal that both refuse; neither may write into it."""
    path.write_bytes(content)
    file = FileInMemory(content)
    with pytest.raises(kind) as replayed:
        replay(path)
    with pytest.raises(kind) as opened:
        taken_up(file)
    assert path.read_bytes() == file.content == content
    sentence = str(replayed.value).removeprefix(f"journal {path}: ")
    assert str(opened.value).removeprefix(f"journal {file.path}: ") == sentence
    assert sentence.isprintable()
    return sentence


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


# --- lines ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"", b"hello", b"{", b"[]", b'{"at":NaN', b'{"why":"\xff"', b'{"x":' + b"[" * 2000])
def test_a_line_that_is_whole_and_no_json_is_named(path: Path, body: bytes) -> None:
    lines = FAILOVER.read_bytes().splitlines(keepends=True)
    lines[3] = sealed(body)
    assert refused(b"".join(lines), path).startswith("line 4 is whole, but it is no JSON: ")


@pytest.mark.parametrize("synced", [-1, 10**9, "3", None, [], {}, DEEP])
def test_damage_before_an_odd_word_about_what_was_on_the_disk_is_no_end(path: Path, synced: object) -> None:
    lines = absurd(FAILOVER, "decided", {"synced": synced}).splitlines(keepends=True)
    lines[1] = lines[1].replace(b"at", b"ta", 1)
    assert refused(b"".join(lines), path) == "line 2 is damaged; restore it or choose another work directory"


# --- whose it is ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "shown"),
    [
        (True, "True"),
        (0, "0"),
        (FORMAT + 1, str(FORMAT + 1)),
        (1.0, "1.0"),
        ("2", "2"),
        (None, "a NoneType"),
        (DEEP, "a list"),
    ],
)
def test_a_format_that_is_none_is_refused(path: Path, version: object, shown: str) -> None:
    sentence = f"format {shown} is not known to this version, which reads 1 to {FORMAT}"
    assert refused(absurd(FAILOVER, "esfsm_journal", {"esfsm_journal": version}), path) == sentence


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("panda_id", [GONE, None, True, "7000000123", 0, -1, 1e300]),
        ("run", [GONE, 1, "", "a/b", "..", "a\0b", "x" * 65]),
        ("workflow", [GONE, None, {}, "", "\0.toml", "x" * 5000]),
        ("tables", [GONE, None, [], "\x1b[2J"]),
        ("job", [GONE, None, "7000000123", [{}]]),
        ("settings", [GONE, None, [], DEEP]),
    ],
)
def test_a_first_line_that_does_not_say_whose_it_is_is_refused(path: Path, key: str, values: list[object]) -> None:
    sentence = f"its first line is of another version; finish it with that one ({key}: "
    for value in values:
        assert refused(absurd(FAILOVER, "esfsm_journal", {key: value}), path).startswith(sentence), value


def test_a_first_line_that_says_more_is_refused(path: Path) -> None:
    assert "(server: " in refused(absurd(FAILOVER, "esfsm_journal", {"server": "x"}), path)


# --- what was decided -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        *(({"decided": value}, "decided: ") for value in (None, True, "1", 1.5, 0, -1, DEEP)),
        *(({"then": value}, "then: ") for value in (GONE, None, 1, "x", [], DEEP)),
        *(({"then": {key: ["x"]}}, "then.a str.[key]: ") for key in ("", "\0")),
        *(({"then": {"1": value}}, "then.1: ") for value in (None, 1, "x", {})),
        *(({"then": {"1": ["x", value]}}, "then.1.1: ") for value in (None, 1, DEEP)),
        *(({"synced": value}, "synced: ") for value in (None, True, "0", -1, 0.5, DEEP)),
        ({"why": "x"}, "why: "),
    ],
)
def test_a_decision_that_is_none_is_refused(path: Path, change: Mapping[str, object], fault: str) -> None:
    sentence = refused(absurd(FAILOVER, "decided", change), path)
    assert sentence.startswith(f"what is decided behind fact 1: {fault}")


@pytest.mark.parametrize("number", [0, 2, 10**30])
def test_a_decision_about_a_fact_that_does_not_stand_before_it_is_refused(path: Path, number: int) -> None:
    then = {"1": ["-> classified", "select_executor 2"], str(number): []}
    sentence = f"what fact {number} led to is told behind fact 1"
    assert refused(absurd(FAILOVER, "decided", {"then": then}), path) == sentence


def test_more_facts_on_the_disk_than_there_are_are_refused(path: Path) -> None:
    sentence = "2 facts are said to be on the disk behind fact 1"
    assert refused(absurd(FAILOVER, "decided", {"synced": 2}), path) == sentence


def test_a_decision_that_cannot_be_printed_is_shown_as_python_writes_it(path: Path) -> None:
    sentence = refused(absurd(FAILOVER, "decided", {"then": {"1": ["\x1b[2J"]}}), path, ReplayDiverged)
    assert "the journal has '\\x1b[2J', this code decides -> classified; select_executor 2" in sentence


# --- facts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("journal", [FAILOVER, FORMAT_1], ids=["newest", "format 1"])
@pytest.mark.parametrize(
    ("name", "shown"),
    [("", "a str"), ("fact", "fact"), (1, "1"), (None, "a NoneType"), ({}, "a dict"), (DEEP, "a list")],
)
def test_a_fact_without_a_name_is_refused(path: Path, journal: Path, name: object, shown: str) -> None:
    sentence = f"fact 1 is {shown}, which this version does not know"
    assert refused(absurd(journal, "fact", {"fact": name}), path) == sentence


@pytest.mark.parametrize(("nr", "shown"), [(True, "True"), ("1", "1"), (2, "2"), (None, "a NoneType"), ([], "a list")])
def test_a_fact_with_an_odd_number_is_refused(path: Path, nr: object, shown: str) -> None:
    assert refused(absurd(FAILOVER, "fact", {"nr": nr}), path) == f"fact {shown} stands where 1 should"


RANGE = {"eventRangeID": "1-2-3-4-5", "startEvent": 1, "lastEvent": 2}


@pytest.mark.parametrize(
    ("fact", "key", "values"),
    [
        ("job_classified", "at", [None, "x", -1, "nan", "inf", DEEP]),
        ("job_classified", "answers", [-1, 2**64 - 1, 1.5, None]),
        ("job_classified", "kind", [GONE, 1]),
        ("job_classified", "server", ["what a fact does not hold"]),
        ("inputs_staged", "files", [1, [None], [{}], [{"lfn": "../x", "size_bytes": 1, "adler32": "1", "url": "x"}]]),
        ("payload_started", "pid", [0, -1, 2**31, "x"]),
        ("ranges_wanted", "n", [GONE, -5, 2**63, 1e300]),
        ("ranges_granted", "event_ranges", [GONE, None, 5, {}, "x", [None], [{}], [RANGE, ["1-2-3-6-5", 3]]]),
        ("ranges_granted", "event_ranges", [[["1-2-3-4-5", 1, 2]], [RANGE, None, ["1-2-3-6-5", 3, 4]]]),
        ("ranges_granted", "total", [-1, 0.5]),
        ("output_produced", "size_bytes", [-1, None]),
        ("outputs_packed", "size_bytes", [GONE, -1]),
    ],
)
def test_a_fact_with_a_content_that_it_cannot_have_is_named(
    path: Path, fact: str, key: str, values: list[object]
) -> None:
    number = [told.get("fact") for told in told_by(FAILOVER) if "fact" in told].index(fact) + 1
    for value in values:
        sentence = refused(absurd(FAILOVER, fact, {SHORT.get(key, key): value}), path)
        assert sentence.startswith(f"fact {number} ({fact}): {key}"), value


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"paths": []}, "1 stamps of 0 files"),
        ({"paths": ["a", "b"]}, "1 stamps of 2 files"),
        ({"stamps": [1, 2]}, "2 stamps of 1 files"),
    ],
)
def test_a_result_has_one_stamp_for_each_file_or_none(path: Path, change: Mapping[str, object], fault: str) -> None:
    assert refused(absurd(FAILOVER, "output_produced", change), path) == f"fact 8 (output_produced): {fault}"


@pytest.mark.parametrize(
    ("change", "fault"),
    [({"cores": -1}, "cores: "), ({"sync": []}, "sync: "), ({"server": 1}, "server: "), ({"\0": 1}, "a str: ")],
)
def test_settings_that_no_engine_takes_are_named_with_their_fact(
    path: Path, change: Mapping[str, object], fault: str
) -> None:
    sentence = refused(absurd(KILLED, "job_resumed", {"settings": change}), path, ReplayDiverged)
    assert f"(job_resumed): the journal has settings that it could take, this code decides {fault}" in sentence


# --- any journal, anything in it --------------------------------------------------------------------------------

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)
KEYS = st.sampled_from(
    ["at", "answers", "fact", "decided", "then", "synced", "nr", "esfsm_journal", "paths", "n", "id"]
)


def places(value: object) -> list[tuple[str | int, ...]]:
    """Where there is something inside."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [(key, *place) for key, inner in inside for place in [(), *places(inner)]]


def changed(line: bytes, data: st.DataObject) -> bytes:
    """A line with one value that is gone, or has another key, or is another."""
    told = json.loads(line)
    del told["crc"]
    *way, last = data.draw(st.sampled_from(places(told)))
    where = told
    for key in way:
        where = where[key]
    other = data.draw(ANYTHING | st.sampled_from([*FACTS]))
    match data.draw(st.sampled_from(["other", "other", "gone", "elsewhere"])):
        case "gone":
            del where[last]
        case "elsewhere" if isinstance(where, dict):
            where[data.draw(KEYS)] = where.pop(last)
        case _:
            where[last] = other
    return sealed(told)


@given(journal=st.sampled_from([*sorted(RECORDED.glob("*.jsonl")), FORMAT_1]), data=st.data())
@settings(max_examples=300, deadline=None)
def test_whatever_stands_in_a_line_a_journal_is_taken_up_or_refused_as_it_is(
    journal: Path, data: st.DataObject
) -> None:
    lines = journal.read_bytes().splitlines(keepends=True)
    at = data.draw(st.integers(0, len(lines) - 1))
    lines[at] = changed(lines[at], data)
    file = FileInMemory(content := b"".join(lines))
    with suppress(EsfsmError):
        taken_up(file)
    assert file.content.startswith(content)
