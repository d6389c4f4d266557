"""Argument > environment > queue data > file > default, and who said it."""

import os
from pathlib import Path

import pytest

from esfsm.errors import UnknownName, UnusableInput
from esfsm.model.queuedata import QueueData
from esfsm.model.settings import PILOTS_NAMES, Settings


@pytest.fixture(autouse=True)
def _nothing_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*(f"ESFSM_{name.upper()}" for name in Settings.model_fields), *PILOTS_NAMES):
        monkeypatch.delenv(name, raising=False)


def config(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "esfsm.toml"
    path.write_text(text)
    return path


def test_without_anybody_saying_anything_the_defaults_hold() -> None:
    settings, said_by = Settings.layered()
    assert settings == Settings()
    assert (settings.executor_type, settings.communicator, settings.zip_time_gap_s) == ("generic", "local", 7200)
    assert said_by == {}


def test_each_layer_wins_over_the_ones_below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = config(tmp_path, "zip_time_gap_s = 1\nexecutor_type = 'file'\nretry_pause_s = 1.5\n")
    layers: dict[str, object] = {"config": path}
    assert Settings.layered(**layers)[0].zip_time_gap_s == 1
    layers["queuedata"] = QueueData(zip_time_gap=2, params={"es_executor_type": "queue"})
    assert Settings.layered(**layers)[0].zip_time_gap_s == 2
    monkeypatch.setenv("ESFSM_ZIP_TIME_GAP_S", "3")
    assert Settings.layered(**layers)[0].zip_time_gap_s == 3
    settings, said_by = Settings.layered({"zip_time_gap_s": 4}, **layers)
    assert (settings.zip_time_gap_s, settings.executor_type, settings.retry_pause_s) == (4, "queue", 1.5)
    assert said_by == {"zip_time_gap_s": "argument", "executor_type": "queue data", "retry_pause_s": "file"}


@pytest.mark.parametrize(
    ("key", "value"),
    [("PILOT_ES_EXECUTOR_TYPE", "raythena"), ("COMMUNICATOR_PLUGIN", "panda"), ("ATHENA_PROC_NUMBER", 4)],
)
def test_a_name_that_pilots_know_works_in_every_layer(
    key: str, value: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = PILOTS_NAMES[key]
    for settings, said_by, who in (
        (*Settings.layered(config=config(tmp_path, f"{key} = {value!r}\n")), "file"),
        (*Settings.layered({key: value}), "argument"),
    ):
        assert (getattr(settings, name), said_by) == (value, {name: who})
    monkeypatch.setenv(key, str(value))
    settings, said_by = Settings.layered()
    assert (getattr(settings, name), said_by) == (value, {name: "environment"})


def test_our_own_name_wins_over_the_pilots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATHENA_PROC_NUMBER", "4")
    monkeypatch.setenv("ESFSM_CORES", "2")
    assert Settings.layered()[0].cores == 2


def test_an_argument_of_none_and_an_empty_variable_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESFSM_CORES", "")
    settings, said_by = Settings.layered({"executor_type": None})
    assert (settings.cores, settings.executor_type, said_by) == (None, "generic", {})


def test_a_setting_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match=r"there is no setting .core.; of [0-9]+ the nearest are: cores, "):
        Settings.layered({"core": 1})
    with pytest.raises(UnknownName, match="there is no setting 'core'"):
        Settings.layered(config=config(tmp_path, "core = 1\n"))


def test_an_empty_notice_is_not_the_directory_that_is_there() -> None:
    with pytest.raises(UnusableInput, match="setting notice"):
        Settings.layered({"notice": ""})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cores", 0),
        ("notice", "file://"),
        ("zip_time_gap_s", -1),
        ("sync", "sometimes"),
        ("zip_max_ranges", 10_001),
        ("events", "many"),
    ],
)
def test_a_value_that_cannot_be_used_names_its_setting_and_who_said_it(
    name: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnusableInput, match=rf"setting {name} \(argument\): "):
        Settings.layered({name: value})
    monkeypatch.setenv(f"ESFSM_{name.upper()}", str(value))
    with pytest.raises(UnusableInput, match=rf"setting {name} \(environment\): "):
        Settings.layered()


@pytest.mark.parametrize("value", ["0", "00", "-1", "1.5", "x", " ", "1" * 5000])
def test_a_number_of_processes_that_is_none_says_nothing(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATHENA_PROC_NUMBER", value)
    settings, said_by = Settings.layered()
    assert (settings.cores, said_by) == (None, {})


def test_a_number_of_processes_that_somebody_gives_us_is_read_strictly() -> None:
    with pytest.raises(UnusableInput, match=r"setting cores \(argument\): "):
        Settings.layered({"ATHENA_PROC_NUMBER": 0})


@pytest.mark.parametrize("variable", ["ESFSM_CORE", "ESFSM_", "ESFSM_cores", "ESFSM_ZIP_TIME_GAP"])
def test_a_variable_of_ours_that_is_misspelt_is_refused(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "1")
    with pytest.raises(UnknownName, match=f"there is no setting '{variable}'; of [0-9]+ the nearest are: ESFSM_"):
        Settings.layered()


@pytest.mark.parametrize("variable", ["CORES", "cores", "COMMUNICATOR", "esfsm_cores"])
def test_a_variable_of_somebody_else_says_nothing(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "7")
    assert Settings.layered() == (Settings(), {})


@pytest.mark.parametrize("name", ["zip_time_gap_s", "retry_pause_s", "grace_s", "end_patience_s", "looping_limit_s"])
@pytest.mark.parametrize("value", ["inf", "nan", "-inf", 1e12])
def test_a_time_that_nobody_can_wait_for_is_refused(name: str, value: object) -> None:
    with pytest.raises(UnusableInput, match=rf"setting {name} \(argument\): "):
        Settings.layered({name: value})


@pytest.mark.parametrize(("name", "most"), [("cores", 10**5), ("events", 10**12), ("events_per_range", 10**12)])
def test_a_number_beyond_all_reason_is_refused(name: str, most: int) -> None:
    assert getattr(Settings.layered({name: most})[0], name) == most
    with pytest.raises(UnusableInput, match=name):
        Settings.layered({name: most + 1})


@pytest.mark.parametrize("name", ["queuedata", "transformations"])
def test_a_place_may_be_said(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert getattr(Settings(), name) is None
    monkeypatch.setenv(f"ESFSM_{name.upper()}", "/some/where")
    assert getattr(Settings.layered()[0], name) == Path("/some/where")


@pytest.mark.parametrize("name", ["broker", "ranges", "output_url", "workflow", "queue", "queuedata_url"])
@pytest.mark.parametrize("text", ["a\0b", "a\nb", "a\tb", "a\udcffb", "\x1b[2J"])
def test_what_cannot_be_printed_is_refused(name: str, text: str) -> None:
    with pytest.raises(UnusableInput, match=rf"setting {name} \(argument\): ") as refused:
        Settings.layered({name: text})
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("text", ["/a b/ü", ""])
def test_all_else_may_be_said(text: str) -> None:
    assert Settings.layered({"output_url": text})[0].output_url == text


def test_what_a_site_runs_before_each_payload_may_have_lines() -> None:
    assert Settings.layered({"payload_setup": "source a\n\tb"})[0].payload_setup == "source a\n\tb"
    with pytest.raises(UnusableInput, match="cannot be printed"):
        Settings.layered({"payload_setup": "source a\0"})


def test_a_queue_has_a_name() -> None:
    with pytest.raises(UnusableInput, match=r"setting queue \(argument\): "):
        Settings.layered({"queue": ""})


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusableInput, match=r"configuration file .*none\.toml: No such file or directory"):
        Settings.layered(config=tmp_path / "none.toml")


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UnusableInput, match=r"configuration file .*: not a regular file"):
        Settings.layered(config=tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    path = config(tmp_path, "cores = 1\n")
    path.chmod(0)
    with pytest.raises(UnusableInput, match=r"configuration file .*esfsm\.toml: Permission denied"):
        Settings.layered(config=path)


@pytest.mark.parametrize("content", [b"cores = [1\n", b"# \xff\n"])
def test_a_file_that_is_not_toml_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "esfsm.toml"
    path.write_bytes(content)
    with pytest.raises(UnusableInput, match=r"configuration file .*esfsm\.toml: ") as refusal:
        Settings.layered(config=path)
    assert "\n" not in str(refusal.value)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().cores = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("chosen", "urls"),
    [
        ({}, ("/w/outputs",)),
        ({"output_url": "s3://b/x/"}, ("s3://b/x",)),
        ({"output_url": "/a", "failover_url": "/b/"}, ("/a", "/b")),
        ({"failover_url": "/b"}, ("/w/outputs", "/b")),
    ],
)
def test_outputs_go_to_the_output_url_and_then_to_the_failover_url(
    chosen: dict[str, str], urls: tuple[str, ...]
) -> None:
    assert tuple(rse.url for rse in Settings(**chosen).destinations(Path("/w"))) == urls
