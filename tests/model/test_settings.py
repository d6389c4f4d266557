"""Argument > environment > queue data > file > default, and who said it."""

from pathlib import Path

import pytest

from esfsm.errors import UnknownName, UnusableInput
from esfsm.model.queuedata import QueueData
from esfsm.model.settings import Settings

PILOTS_NAMES = {
    "executor_type": ("PILOT_ES_EXECUTOR_TYPE", "raythena"),
    "communicator": ("COMMUNICATOR_PLUGIN", "panda"),
    "cores": ("ATHENA_PROC_NUMBER", "4"),
}


@pytest.fixture(autouse=True)
def _nothing_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*(f"ESFSM_{name.upper()}" for name in Settings.model_fields), *dict(PILOTS_NAMES.values())):
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


@pytest.mark.parametrize(("name", "pilots"), PILOTS_NAMES.items())
def test_a_name_that_pilots_know_works_in_every_layer(
    name: str, pilots: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, value = pilots
    expected = getattr(Settings(**{key: value}), name)
    assert expected != getattr(Settings(), name)
    layered = Settings.layered(config=config(tmp_path, f"{key} = '{value}'\n"))
    assert (getattr(layered[0], name), layered[1]) == (expected, {name: "file"})
    layered = Settings.layered({key: value})
    assert (getattr(layered[0], name), layered[1]) == (expected, {name: "argument"})
    monkeypatch.setenv(key, value)
    layered = Settings.layered()
    assert (getattr(layered[0], name), layered[1]) == (expected, {name: "environment"})


def test_our_own_name_wins_over_the_pilots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATHENA_PROC_NUMBER", "4")
    monkeypatch.setenv("ESFSM_CORES", "2")
    assert Settings.layered()[0].cores == 2


def test_an_argument_of_none_and_an_empty_variable_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESFSM_CORES", "")
    settings, said_by = Settings.layered({"executor_type": None})
    assert (settings.cores, settings.executor_type, said_by) == (None, "generic", {})


def test_a_setting_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match=r"there is no setting .core.; known are: .*cores"):
        Settings.layered({"core": 1})
    with pytest.raises(UnknownName, match="there is no setting 'core'"):
        Settings.layered(config=config(tmp_path, "core = 1\n"))


@pytest.mark.parametrize(
    ("name", "value"),
    [("cores", 0), ("zip_time_gap_s", -1), ("sync", "sometimes"), ("zip_max_ranges", 10_001), ("events", "many")],
)
def test_a_value_that_cannot_be_used_names_its_setting_and_who_said_it(
    name: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnusableInput, match=rf"setting {name} \(argument\): "):
        Settings.layered({name: value})
    monkeypatch.setenv(f"ESFSM_{name.upper()}", str(value))
    with pytest.raises(UnusableInput, match=rf"setting {name} \(environment\): "):
        Settings.layered()


def test_a_value_under_the_pilots_name_is_refused_under_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATHENA_PROC_NUMBER", "x")
    with pytest.raises(UnusableInput, match=r"setting cores \(environment\): "):
        Settings.layered()


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusableInput, match="there is no such file"):
        Settings.layered(config=tmp_path / "none.toml")


def test_a_file_that_is_not_toml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusableInput, match=r"configuration file .*esfsm\.toml: "):
        Settings.layered(config=config(tmp_path, "cores = [1\n"))


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().cores = 2  # type: ignore[misc]
