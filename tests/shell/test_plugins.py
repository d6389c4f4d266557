"""Names: those that are built in, those that installed packages add, and those of declared tables."""

from pathlib import Path
from types import ModuleType

import pytest
from shell.jobs import installed

from esfsm import plugins
from esfsm.adapters import archives, channels, communicators, executors, payloads, storage
from esfsm.errors import MissingExtra, UnknownName, UnsoundWorkflow, UnusableInput

DRAWERS = {
    "archives": archives,
    "channels": channels,
    "communicators": communicators,
    "executors": executors,
    "payloads": payloads,
    "storage": storage,
}
TABLE = """\
title = "mine"
starts = "received"
ends = ["done", "failed"]

[received]
does = "classify_job"
on.job_classified = "done"
on.job_refused = "failed"
on.action_broke = "failed"
on.preempted = "failed"
on.job_killed = "failed"
"""


@pytest.mark.parametrize(("drawer", "module"), DRAWERS.items(), ids=list(DRAWERS))
def test_every_built_in_name_is_found_or_says_what_to_install(drawer: str, module: ModuleType) -> None:
    assert plugins.names(drawer) == sorted(module.KNOWN)
    for name, place in module.KNOWN.items():
        if "[" in place:
            continue
        assert plugins.find(drawer, name) is not None


@pytest.mark.parametrize("drawer", DRAWERS)
def test_an_unknown_name_is_refused_with_the_known_ones(drawer: str) -> None:
    with pytest.raises(UnknownName) as refused:
        plugins.find(drawer, "gone")
    assert refused.value.known == plugins.names(drawer)


def test_a_name_whose_packages_are_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(executors.KNOWN, "far", "not_there:Far [ray]")
    with pytest.raises(MissingExtra, match=r"executor type 'far' needs more packages: pip install 'esfsm\[ray\]'"):
        plugins.find("executors", "far")


def test_an_adapter_that_cannot_be_imported_for_another_reason_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(executors.KNOWN, "far", "not_there:Far")
    with pytest.raises(ModuleNotFoundError, match="not_there"):
        plugins.find("executors", "far")


def test_an_installed_package_adds_an_adapter(tmp_path: Path) -> None:
    with installed(tmp_path / "site", {"esfsm.executors:farm": "farm:Farm"}, {"farm.py": "class Farm: pass\n"}):
        assert plugins.names("executors") == sorted([*executors.KNOWN, "farm"])
        assert plugins.find("executors", "farm").__name__ == "Farm"


def test_a_package_that_adds_a_built_in_name_is_an_error_and_no_race(tmp_path: Path) -> None:
    with (
        installed(tmp_path / "site", {"esfsm.executors:generic": "farm:Farm"}),
        pytest.raises(UnusableInput, match="executor type 'generic' is built in, and a package installed here adds"),
    ):
        plugins.find("executors", "generic")


def test_two_packages_that_add_the_same_name_are_an_error(tmp_path: Path) -> None:
    entry = {"esfsm.executors:farm": "farm:Farm"}
    with (
        installed(tmp_path / "one", entry),
        installed(tmp_path / "two", entry, name="another"),
        pytest.raises(UnusableInput, match=r"two installed packages add 'farm' to esfsm\.executors"),
    ):
        plugins.find("executors", "farm")


def test_the_shipped_tables_are_found_by_name() -> None:
    assert plugins.workflow_names() == ["event-range", "eventservice", "eventservicemerge", "generic", "pilot"]
    assert plugins.machine_names() == ["eventservice", "eventservicemerge", "generic", "pilot"]
    assert [plugins.workflow(name).name for name in plugins.machine_names()] == plugins.machine_names()


def test_an_installed_package_adds_a_table(tmp_path: Path) -> None:
    files = {"tables/__init__.py": "", "tables/mine.toml": TABLE}
    with installed(tmp_path / "site", {"esfsm.workflows:mine": "tables"}, files):
        assert "mine" in plugins.machine_names()
        assert (plugins.workflow("mine").name, plugins.workflow("mine").title) == ("mine", "mine")


def test_a_table_of_your_own_is_found_by_its_path_and_named_so_that_it_is_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.toml").write_text(TABLE)
    monkeypatch.chdir(tmp_path)
    table = plugins.workflow("mine.toml")
    assert table.name == str(tmp_path / "mine.toml")
    assert plugins.workflow(table.name) == table


def test_an_unsound_table_is_refused_with_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(TABLE.replace('"done"\n', '"gone"\n', 1))
    assert plugins.check_workflow(path)[0] == (f"{path}:3: state done cannot be reached")
    assert f"{path}:7: state received: the arrow on job_classified leads to gone, which is no state" in (
        plugins.check_workflow(path)
    )
    with pytest.raises(UnsoundWorkflow, match="leads to gone"):
        plugins.workflow(str(path))


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_table_that_cannot_be_read_is_one_fault(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "mine.toml"
    if content is not None:
        path.write_bytes(content)
    (fault,) = plugins.check_workflow(path)
    assert fault.startswith(f"{path}: it cannot be read: ")
    with pytest.raises(UnsoundWorkflow, match="it cannot be read"):
        plugins.workflow(str(path))


def test_a_table_that_nobody_has_is_refused_with_those_there_are() -> None:
    with pytest.raises(UnknownName, match="no workflow 'gone'; known are: event-range, eventservice"):
        plugins.workflow("gone")
