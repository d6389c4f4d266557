"""The one job is found in whatever was given; what cannot be used is refused with one sentence."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

import orjson
import pytest

from esfsm.errors import UnreadableJob
from esfsm.model.definition import flat_definition, shown, without_secrets

ACQUIRED = (Path(__file__).parent / "data" / "acquired_jobs.json").read_bytes()


def found(content: object, panda_id: int | None = None) -> dict[str, object]:
    """What anybody may see of the job in there."""
    return without_secrets(flat_definition(content, panda_id))[0]


def why(content: object, panda_id: int | None = None) -> str:
    """The one sentence with which it is refused."""
    with pytest.raises(UnreadableJob) as refusal:
        found(content, panda_id)
    assert "\n" not in str(refusal.value)
    return refusal.value.why


@pytest.mark.parametrize(
    "wrapped",
    [
        {"PandaID": 7},
        {"7": {"PandaID": 7}},
        {"7": {"PandaID": "7"}},
        {"7": {}},
        {"7": {"PandaID": None}},
        {"7": {}, "8": {}},
        [{"PandaID": 7}],
        {"StatusCode": 0, "PandaID": 7},
        {"StatusCode": 0, "jobs": [{"PandaID": 7}]},
        {"success": True, "message": "", "data": {"StatusCode": 0, "jobs": [{"PandaID": 7}]}},
        {"success": True, "message": "", "data": {"StatusCode": 0, "PandaID": 7}},
        {"success": True, "message": "", "data": {"7": {}}},
        {"success": True, "message": "fine", "data": {"PandaID": 7, "message": "x", "jobs": []}},
        {"PandaID": 7, "data": {"PandaID": 8}, "jobs": [], "message": "x"},
    ],
)
def test_a_job_is_found_in_its_wrapping(wrapped: object) -> None:
    as_bytes = orjson.dumps(wrapped)
    for carried in (wrapped, as_bytes, as_bytes.decode()):
        assert str(found(carried)["PandaID"]) == "7"


@pytest.mark.parametrize(
    "wrapped",
    [
        {"7": {}, "8": {}},
        [{"PandaID": 7}, {"PandaID": "8"}],
        [None, 8, {"PandaID": 8}],
        {"StatusCode": 0, "jobs": [{"PandaID": 7}, {"PandaID": 8}]},
        {"PandaID": 8},
    ],
)
def test_a_panda_id_chooses_among_several(wrapped: object) -> None:
    assert str(found(wrapped, panda_id=8)["PandaID"]) == "8"


@pytest.mark.parametrize(
    ("content", "panda_id", "sentence"),
    [
        ({"7": {"PandaID": 8}}, None, "the job below '7' has PandaID 8"),
        ({"7": {}}, 8, "there is no job 8, only ['7']"),
        ([], None, "one job is expected, there are 0"),
        ([{"PandaID": 7}, {"PandaID": 8}], None, "one job is expected, there are 2"),
        ([{"PandaID": 7}], 8, "one job with PandaID 8 is expected, there are 0"),
        ({"StatusCode": 0, "jobs": []}, None, "one job is expected, there are 0"),
        ({"jobs": None}, None, "a JSON object is expected, not NoneType"),
        ([[]], None, "a JSON object is expected, not list"),
        ("5", None, "a JSON object is expected, not int"),
        (None, None, "a JSON object is expected, not NoneType"),
        (
            {"StatusCode": 20, "errorDialog": "no jobs in PanDA"},
            None,
            "there is no job, the server says 'no jobs in PanDA'",
        ),
        (
            {"success": False, "message": "No jobs in PanDA", "data": None},
            None,
            "there is no job, the server says 'No jobs in PanDA'",
        ),
        ({"success": False, "message": "no", "data": {}}, None, "there is no job, the server says 'no'"),
        ("", None, "not JSON at line 1, column 1: Input is a zero-length, empty document"),
        ('{"PandaID": 7,\n"a', None, "not JSON at line 2, column 3: unexpected end of data"),
        ("{'PandaID': 7}", None, "not JSON at line 1, column 2: unexpected character"),
        ("a=1&b=2", None, "not JSON at line 1, column 1: unexpected character"),
        (b"PandaID=\xff", None, "not JSON at line 1, column 1"),
        ("PandaID=7&a=%ff", None, "not JSON at line 1, column 1"),
        ("PandaID=7&a=\ud800", None, "not JSON at line 1, column 1"),
        ('{"jobPars": "x?a=1&PandaID=7', None, "not JSON at line 1, column"),
        ({"PandaID": 7, "x": {1, 2}}, None, "JSON cannot carry it: Type is not JSON serializable: set"),
        ({"PandaID": 2**70}, None, "JSON cannot carry it: "),
        ({"PandaID": 7, "x": "\ud800"}, None, "JSON cannot carry it: "),
        ('{"PandaID": 7, "x": ' + "[" * 300 + "]" * 300 + "}", None, "JSON cannot carry it: "),
        ("[" * 5000, None, "not JSON at line 1"),
    ],
)
def test_what_cannot_be_used_is_refused_with_one_sentence(content: object, panda_id: int | None, sentence: str) -> None:
    assert why(content, panda_id).startswith(sentence)


@pytest.mark.parametrize("cut", range(1, len(ACQUIRED) - 2, 97))
def test_a_truncated_definition_is_refused(cut: int) -> None:
    assert why(ACQUIRED[:cut]).startswith("not JSON at line")


@pytest.mark.parametrize("carried", [str, str.encode, lambda form: f" {form}\n"])
def test_a_url_encoded_form_is_read_like_json(carried: Callable[[str], str | bytes]) -> None:
    content = {"PandaID": "7", "jobPars": "--x='a b' --y=%1&c", "eventService": "True", "inFiles": "A,B", "scopeIn": ""}
    assert found(carried(urlencode(content))) == content


def test_a_mapping_is_read_as_json_carries_it() -> None:
    content = {"PandaID": 7, "x": (1, 2)}
    assert found(content) == {"PandaID": 7, "x": [1, 2]}


def test_secrets_are_held_apart_with_their_text() -> None:
    content = {"PandaID": 7, "pilotSecrets": "hunter2", "containerOptions": {"token": [1]}, "prodDBlockToken": "1318"}
    public, secrets = without_secrets(flat_definition(content, None))
    assert public == {"PandaID": 7, "prodDBlockToken": "1318"}
    told = {key: secret.get_secret_value() for key, secret in secrets.items()}
    assert told == {"pilotSecrets": "hunter2", "containerOptions": '{"token":[1]}'}


@pytest.mark.parametrize(
    ("value", "text"),
    [(7, "7"), ("x", "'x'"), ("x" * 78, f"'{'x' * 78}'"), ("x" * 79, f"'{'x' * 76}...")],
)
def test_a_long_value_is_shown_by_its_beginning(value: object, text: str) -> None:
    assert shown(value) == text
    assert len(text) <= 80
