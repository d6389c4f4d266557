"""jobPars are split as a shell would, and what is meant for the pilot is taken out."""

import base64
import shlex
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esfsm.errors import UnreadableJob
from esfsm.model.job_pars import read_job_pars


def why(text: str, *, encoded: bool = False) -> str:
    """The one sentence with which it is refused."""
    with pytest.raises(UnreadableJob) as refusal:
        read_job_pars(text, encoded=encoded)
    assert "\n" not in str(refusal.value)
    return refusal.value.why


def test_job_pars_are_split_as_a_shell_would() -> None:
    read = read_job_pars(" --a 'b c' --d=\"e'f\" g\\ h ''\n$HOME `x` # ")
    assert read.arguments == ("--a", "b c", "--d=e'f", "g h", "", "$HOME", "`x`", "#")


@given(st.text("ab \t\n\r\x0b\xa0'\"\\", max_size=15))
def test_job_pars_are_split_as_pilots_split_them(text: str) -> None:
    try:
        expected = shlex.split(text)
    except ValueError as error:
        sentence = f"jobPars cannot be split into arguments: {error}"
    else:
        sentence = ""
    if sentence:
        assert why(text) == sentence
    else:
        assert list(read_job_pars(text).arguments) == expected


@pytest.mark.parametrize("text", ["--a='b", '"', "--a \\"])
def test_job_pars_with_open_quotes_are_refused(text: str) -> None:
    assert why(text).startswith("jobPars cannot be split into arguments: ")


@pytest.mark.parametrize(
    "text",
    [
        "--a --overwriteQueueData={'zip_time_gap': 300} --b",
        "--a --overwriteQueueData {'zip_time_gap': 300} --b",
        "--a --overwriteQueueData=\"{'zip_time_gap': 300}\" --b",
        "--a --overwriteQueueData '{\"zip_time_gap\": 300}' --b",
        "--overwriteQueueData={'zip_time_gap': 300} --a --b",
        "--a --b --overwriteQueueData={'zip_time_gap':300}",
        "--a --overwriteQueueData={'zip_time_gap': 1} --b --overwriteQueueData={'zip_time_gap': 300}",
    ],
)
def test_overwrites_of_queue_data_are_taken_out(text: str) -> None:
    read = read_job_pars(text)
    assert read.overwrite_queuedata == {"zip_time_gap": 300}
    assert read.arguments == ("--a", "--b")
    assert read.overwrite_storagedata == {}


def test_an_overwrite_may_have_braces_in_it() -> None:
    read = read_job_pars(
        """--overwriteStorageData={'X': {'a': '}', "b": ["{'", 'it\\'s']}} --overwriteQueueData={} z"""
    )
    assert read.overwrite_storagedata == {"X": {"a": "}", "b": ["{'", "it's"]}}
    assert read.overwrite_queuedata == {}
    assert read.arguments == ("z",)


@pytest.mark.parametrize("value", ["{'a': 1}", "{allowfax=True,x={1}}"])
def test_the_older_overwrite_is_taken_out_and_not_read(value: str) -> None:
    read = read_job_pars(f"a --overwriteQueuedata={value} b")
    assert read.arguments == ("a", "b")
    assert read.overwrite_queuedata == {}


@pytest.mark.parametrize("option", ["--overwriteQueueData", "--overwriteStorageData", "--overwriteQueuedata"])
@pytest.mark.parametrize("value", ["", "x", "x {'a': 1}", "{'a': 1", "}{"])
def test_an_overwrite_without_a_dictionary_is_refused(option: str, value: str) -> None:
    assert why(f"{option}={value}") == f"jobPars: {option} has no dictionary"


@pytest.mark.parametrize("value", ["{1: 2}", "{'a'}", "{a: 1}", "{'a' 1}", "{[]: 1}", "'x'", "'[1]'", "{'a': f()}"])
def test_an_overwrite_that_is_no_dictionary_of_literals_is_refused(value: str) -> None:
    sentence = "jobPars: --overwriteQueueData is no Python dictionary with texts as keys"
    assert why(f"--overwriteQueueData={value}") == sentence


def test_what_looks_like_an_overwrite_inside_of_one_is_none() -> None:
    read = read_job_pars("""--overwriteStorageData={'X': ' --overwriteQueueData={} '} z""")
    assert read.overwrite_storagedata == {"X": " --overwriteQueueData={} "}
    assert read.arguments == ("z",)


@pytest.mark.parametrize(
    "text",
    [
        "--overwriteQueueData={" + "'\\" * 100_000,
        "--overwriteQueueData={" + "{" * 100_000,
        "--overwriteQueueData={} " * 20_000,
        "<ZIP_MAP>" * 50_000,
        "x" * 3_000_000,
        "''" * 100_000,
    ],
    ids=["quotes", "braces", "overwrites", "zip maps", "one long argument", "many quotations"],
)
def test_no_job_pars_keep_the_reader_busy(text: str) -> None:
    with suppress(UnreadableJob):
        read_job_pars("x" * 100_000 + " " + text)  # minutes, were any text read again and again


def test_an_overwrite_is_an_argument_of_its_own() -> None:
    assert read_job_pars("x--overwriteQueueData=y").arguments == ("x--overwriteQueueData=y",)


@pytest.mark.parametrize("quote", ["", "'", '"'])
def test_a_zip_map_is_taken_out(quote: str) -> None:
    read = read_job_pars(f"--a {quote}<ZIP_MAP>x:y,\nz</ZIP_MAP>{quote} --b")
    assert read.text == "--a  --b"
    assert read.zip_map == "x:y,\nz"
    assert read.arguments == ("--a", "--b")


@pytest.mark.parametrize("separator", [" ", "=", "  "])
def test_a_container_image_is_taken_out(separator: str) -> None:
    read = read_job_pars(f"--a --containerImage{separator}docker://x:1 --b")
    assert read.container_image == "docker://x:1"
    assert read.arguments == ("--a", "--b")


def test_encoded_job_pars_are_decoded() -> None:
    read = read_job_pars(base64.b64encode(b"--a='b c' --containerImage X").decode(), encoded=True)
    assert (read.text, read.arguments, read.container_image) == ("--a='b c' ", ("--a=b c",), "X")


def test_job_pars_that_only_look_encoded_are_left_alone() -> None:
    assert read_job_pars("YQ==").text == "YQ=="


@pytest.mark.parametrize("text", ["?", "YQ=", "/w==", "\u00e4"])
def test_job_pars_that_are_not_encoded_as_promised_are_refused(text: str) -> None:
    assert why(text, encoded=True) == "jobPars is not the base64 that specialHandling ej promises"
