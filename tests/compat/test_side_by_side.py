"""Our names beside pilot3's: what it calls is there, with its arguments, and says the same."""

import ast
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from compat import incumbent
from compat.incumbent import CLASSES, old_ways

from esfsm.compat import pilot3

STEPS = {
    "ESProcess": {
        *("clean", "get_event_range_to_payload", "get_event_ranges", "get_executable", "get_file", "get_workdir"),
        *("handle_messages", "handle_out_message", "has_running_children", "init", "init_message_thread"),
        *("init_payload_process", "init_yampl_socket", "monitor", "send_event_ranges_to_payload"),
        "stop_message_thread",
    },
    "GenericExecutor": {
        *("clean", "handle_out_message", "is_retrieve_payload", "retrieve_payload", "set_retrieve_payload"),
        *("stageout_es", "stageout_es_real", "stop_communicator", "tarzip_output_es"),
        *("update_failed_event_ranges", "update_finished_event_ranges", "update_jobs"),
    },
}
"""What a class of pilot3 calls itself, and nobody else does."""
STEPS["RaythenaExecutor"] = {*STEPS["GenericExecutor"], "create_file_spec", "move_output"}
NEVER_CALLED = {"set_retrieve_payload"}
"""By a name of WorkExecutor that nothing sets (`is_retrieve_payload`)."""


def methods(name: str) -> dict[str, Callable[..., object]]:
    """The public methods of a class of pilot3, without Python's own and those of its plug-in factory."""
    return {
        method: member
        for method, member in inspect.getmembers(CLASSES[name], inspect.isfunction)
        if not method.startswith("_") and member.__module__.startswith("pilot.eventservice")
    }


def parameters(method: Callable[..., object]) -> list[tuple[str, object, object]]:
    found = inspect.signature(method).parameters.values()
    return [(each.name, each.kind, each.default) for each in found if each.name != "self"]


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_is_made_with_the_same_arguments(name: str) -> None:
    assert parameters(getattr(pilot3, name).__init__) == parameters(CLASSES[name].__init__)


@pytest.mark.parametrize(("name", "method"), [(name, each) for name in CLASSES for each in methods(name)])
def test_a_method_takes_the_same_arguments_or_is_a_step_that_nobody_else_calls(name: str, method: str) -> None:
    ours = getattr(getattr(pilot3, name), method, None)
    if method in STEPS.get(name, ()):
        assert ours is None
    else:
        assert ours is not None
        assert parameters(ours) == parameters(methods(name)[method])


def used(module: ModuleType, owner: str) -> set[str]:
    """The attributes that a module of pilot3 takes of an object, by its name there (`proc`, `self.plugin`)."""
    tree = ast.walk(ast.parse(Path(str(module.__file__)).read_text()))
    return {node.attr for node in tree if isinstance(node, ast.Attribute) and ast.unparse(node.value) == owner}


def users() -> Iterator[tuple[ModuleType, str, type, int]]:
    for module in (incumbent.generic, incumbent.raythena):
        yield module, "proc", pilot3.ESProcess, 6
    for executor in (pilot3.GenericExecutor, pilot3.RaythenaExecutor):
        yield incumbent.work, "self.plugin", executor, 8


@pytest.mark.parametrize(("module", "owner", "ours", "least"), [*users()])
def test_whatever_pilot3_takes_of_an_object_ours_has(module: ModuleType, owner: str, ours: type, least: int) -> None:
    wanted = used(module, owner) - NEVER_CALLED
    assert len(wanted) >= least
    assert {name for name in wanted if not hasattr(ours, name)} == set()


# --- what a payload says ------------------------------------------------------------------------------------------

ID = "41000456-7000000123-990001-11-10"
OUTPUT = f"/scratch/w/PanDA_Pilot-7000000123/HITS.42._000001.pool.root.1.{ID}"
READ = [
    f"{OUTPUT},ID:{ID},CPU:212,WALL:230",
    f"{OUTPUT},ID:{ID},CPU:1.5,WALL:1234567",
    f"{OUTPUT},ID:{ID}",
    f"ERR_ATHENAMP_PROCESS {ID}: Failed to process event range",
    f"ERR_ATHENAMP_PROCESS {ID}: Not found in the input file",
    f"ERR_ATHENAMP_PROCESS {ID}: Seek failed",
    f"ERR_ATHENAMP_PROCESS {ID}: Failed to make output file",
    f"ERR_ATHENAMP_PROCESS {ID}: Failed to set input file",
    f"ERR_ATHENAMP_PROCESS {ID}: ",
    f"ERR_TE_RANGE {ID}: no token",
    f"ERR_TE_FATAL {ID}: no tokens",
    f"ERR_ATHENAMP_PARSE \"u'LFN': u'a.root',u'eventRangeID': u'{ID}', u'startEvent': 5\": Wrong format",
    f"ERR_ATHENAMP_PARSE \"'eventRangeID': '{ID}'\": Wrong values of range fields",
]
UNREAD = [
    f"/w/a.root,/w/b.root,ID:{ID},CPU:198,WALL:201",
    f"ERR_ATHENAMP_PROCESS {ID}:",
    f'ERR_ATHENAMP_PARSE "eventRangeID:{ID},lastEvent:x": Wrong format',
    f'ERR_ATHENAMP_PARSE ""eventRangeID": "{ID}", "LFN": "a"": Wrong values of range fields',
    f"a.root,ID:{ID},CPU:1,WALL:2",
]
"""What pilot3 cannot read, and ours can."""


@pytest.fixture
def theirs() -> object:
    with old_ways():
        return CLASSES["ESProcess"]({})


@pytest.mark.parametrize("message", READ)
def test_what_pilot3_can_read_is_read_as_it_does(theirs, message: str) -> None:
    assert pilot3.ESProcess.parse_out_message(message) == theirs.parse_out_message(message)


@pytest.mark.parametrize("message", UNREAD)
def test_a_message_that_stops_a_job_of_pilot3_is_read(theirs, message: str) -> None:
    with pytest.raises(incumbent.failures.UnknownException):
        theirs.parse_out_message(message)
    assert pilot3.ESProcess.parse_out_message(message)["id"] == ID


def test_all_files_of_a_result_are_told() -> None:
    told = pilot3.ESProcess.parse_out_message(UNREAD[0])
    assert (told["output"], told["outputs"]) == ("/w/a.root", ["/w/a.root", "/w/b.root"])


@pytest.mark.parametrize("message", ["", "hello", "Ready for events", "ERR", 'ERR_ATHENAMP_PARSE "lastEvent:x": Wrong'])
def test_what_neither_can_read_is_refused_in_the_same_way(theirs, message: str) -> None:
    for process in (theirs, pilot3.ESProcess):
        with pytest.raises(incumbent.failures.UnknownException):
            process.parse_out_message(message)
