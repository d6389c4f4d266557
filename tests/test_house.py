"""The architecture, executed: who may import whom, what may stand where. CONTRIBUTING.md draws this table."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import esfsm

ROOT = Path(__file__).parents[1]
HOUSE = ROOT / "esfsm"

ARROWS = {
    "errors": set(),
    "durable": set(),
    "proxy": set(),
    "model": {"errors"},
    "core": {"model", "errors"},
    "wire": {"model", "errors"},
    "payload": {"wire", "errors"},
    "ports": {"model"},
    "processes": {"ports"},
    "adapters": {"ports", "wire", "model", "errors", "durable", "processes", "proxy"},
    "inbox": {"core"},
    "pools": {"core", "errors"},
    "stops": {"core", "inbox", "ports", "model", "errors"},
    "journal": {"core", "model", "errors", "durable"},
    "retelling": {"core", "journal", "errors"},
    "views": {"core", "model", "errors"},
    "plugins": {"core", "model", "errors"},
    "drawings": {"views", "core", "errors"},
    "transfers": {"core", "durable", "plugins", "pools", "ports", "model", "errors"},
    "equipment": {"core", "plugins", "ports", "transfers", "model", "errors"},
    "heartbeats": {"core", "views", "model"},
    "hooks": {"core", "equipment", "ports", "errors"},
    "perform": {"core", "equipment", "hooks", "inbox", "pools", "ports", "model", "errors"},
    "replayer": {"core", "journal", "plugins", "retelling", "views", "model"},
    "auditor": {"journal", "plugins", "ports", "replayer", "views", "model", "errors"},
    "simulation": {
        *("adapters", "core", "equipment", "inbox", "journal", "loop", "perform", "ports", "retelling", "transfers"),
        *("views", "wire", "model", "errors"),
    },
    "supposing": {"given", "replayer", "simulation", "views", "errors"},
    "standins": {"wire", "errors"},
    "testing": {"plugins", "replayer", "simulation", "standins", "views", "wire", "errors"},
    "lifetimes": {"model"},
    "given": {"lifetimes", "queuedata", "storages", "model", "errors"},
    "storages": {"plugins", "model", "errors"},
    "loop": {"core", "journal", "retelling", "model", "errors"},
    "run": {
        *("core", "equipment", "given", "heartbeats", "inbox", "journal", "lifetimes", "loop"),
        *("perform", "plugins", "stops", "views", "model", "errors"),
    },
    "workplaces": {"equipment", "journal", "plugins", "ports", "replayer", "durable", "model", "errors"},
    "queuedata": {"plugins", "model", "errors"},
    "pilot": {
        *("core", "inbox", "plugins", "ports", "queuedata", "run", "stops", "views", "workplaces", "model"),
        "errors",
    },
    "esprocess": {"adapters", "plugins"},
    "compat": {
        "adapters",
        "core",
        "equipment",
        "given",
        "inbox",
        "loop",
        "plugins",
        "ports",
        "run",
        "wire",
        "model",
        "errors",
    },
    "_face": {
        *("auditor", "drawings", "esprocess", "pilot", "replayer", "run", "supposing"),
        *("views", "plugins", "model", "errors"),
    },
    "cli": {
        *("", "core", "drawings", "given", "inbox", "loop", "pilot", "plugins", "run", "stops", "testing", "views"),
        *("model", "errors"),
    },
    "__init__": {
        "_face",
        "auditor",
        "esprocess",
        "pilot",
        "replayer",
        "run",
        "supposing",
        "views",
        "plugins",
        "model",
        "errors",
    },
    "__main__": {"cli"},
}
"""Room -> the rooms that it may import; every room may import from itself. "" is the face, `import esfsm`."""

WITHOUT_WORLD = {"os", "time", "random", "socket", "subprocess", "threading", "pathlib", "loguru", "uuid", "datetime"}
FORBIDDEN = {
    "core": WITHOUT_WORLD | {"pydantic"},
    "wire": WITHOUT_WORLD | {"pydantic"},
    "model": WITHOUT_WORLD - {"pathlib"},
    "views": WITHOUT_WORLD - {"pathlib"},
    "simulation": WITHOUT_WORLD - {"pathlib", "random"},
    "ports": WITHOUT_WORLD - {"pathlib"},
}
"""Rooms that take time, sizes and names as arguments, and what they must not import."""


def modules() -> list[Path]:
    return sorted(HOUSE.rglob("*.py"))


def room(module: Path) -> str:
    return module.relative_to(HOUSE).parts[0].removesuffix(".py")


def imports(module: Path) -> Iterator[str]:
    """Every name that a module imports, written out: `esfsm.core.facts`, `os`."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: a relative import"
            packages = (
                node.module == "esfsm" or (HOUSE / str(node.module).removeprefix("esfsm.").replace(".", "/")).is_dir()
            )
            if str(node.module).startswith("esfsm") and packages:
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            else:
                yield str(node.module)


def by_name(path: Path) -> str:
    return str(path.relative_to(HOUSE))


@pytest.mark.parametrize("module", modules(), ids=by_name)
def test_a_module_imports_only_from_the_rooms_that_its_room_may(module: Path) -> None:
    mine = room(module)
    theirs = {name.split(".")[1] if "." in name else "" for name in imports(module) if name.split(".")[0] == "esfsm"}
    assert theirs - {mine} <= ARROWS[mine]


@pytest.mark.parametrize("module", modules(), ids=by_name)
def test_a_pure_room_imports_nothing_of_the_world(module: Path) -> None:
    assert not {name.split(".")[0] for name in imports(module)} & FORBIDDEN.get(room(module), set())


@pytest.mark.parametrize("module", sorted((HOUSE / "adapters").rglob("*.py")), ids=by_name)
def test_an_adapter_never_imports_from_another_drawer(module: Path) -> None:
    drawers = {name.split(".")[2] for name in imports(module) if name.startswith("esfsm.adapters.")}
    assert drawers <= {module.relative_to(HOUSE).parts[1]}


def test_only_plugins_imports_by_a_name_held_in_a_variable() -> None:
    guilty = {room(module) for module in modules() if any(name.startswith("importlib") for name in imports(module))}
    assert guilty == {"plugins"}
    assert not [module for module in modules() if "__import__(" in module.read_text()]


def test_only_perform_catches_whatever_comes_and_a_payload_what_its_own_function_raises() -> None:
    guilty = [
        by_name(module) for module in modules() for node in ast.walk(ast.parse(module.read_text())) if blind(node)
    ]
    assert guilty == ["payload.py", "perform.py"]


def blind(node: ast.AST) -> bool:
    if not isinstance(node, ast.ExceptHandler):
        return False
    swallows = not any(isinstance(inner, ast.Raise) and inner.exc is None for inner in ast.walk(node))
    return swallows and (node.type is None or ast.unparse(node.type) in ("Exception", "BaseException"))


@pytest.mark.parametrize("module", modules(), ids=by_name)
def test_nothing_sleeps_or_runs_a_shell(module: Path) -> None:
    assert "sleep(" not in module.read_text()
    assert "shell=True" not in module.read_text()


@pytest.mark.parametrize("module", modules(), ids=by_name)
def test_the_first_line_says_what_a_module_is_the_only_place_of(module: Path) -> None:
    assert module.read_text().startswith('"""')


@pytest.mark.parametrize("module", modules(), ids=by_name)
def test_walls_of_files_and_functions_stand(module: Path) -> None:
    text = module.read_text()
    assert len(text.splitlines()) <= 500
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < 70, node.name


def test_the_face_shows_what_it_lists_and_its_type_checker_sees_the_same() -> None:
    for name in esfsm.__all__:
        assert getattr(esfsm, name) is not None
    text = ast.parse((HOUSE / "__init__.py").read_text())
    seen = {alias.asname or alias.name for node in text.body if isinstance(node, ast.If) for alias in names(node)}
    assert seen == set(esfsm.__all__)


def names(node: ast.If) -> Iterator[ast.alias]:
    for inner in node.body:
        assert isinstance(inner, ast.ImportFrom)
        yield from inner.names


@pytest.mark.parametrize(
    ("statement", "unwanted"),
    [
        ("import esfsm", "typer rich fsspec zmq uproot matplotlib ray"),
        ("import esfsm; esfsm.run_workflow", "typer rich fsspec zmq uproot matplotlib ray"),
        ("import esfsm.payload", "pydantic transitions zmq loguru typer rich fsspec orjson"),
    ],
)
def test_an_import_does_not_bring_what_it_does_not_need(statement: str, unwanted: str) -> None:
    code = f"{statement}\nimport sys\nprint(sorted(set(sys.modules) & set({unwanted.split()})))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_no_module_hides_a_name_of_the_face() -> None:
    assert not {module.stem for module in HOUSE.glob("*.py")} & set(esfsm.__all__)


@pytest.mark.parametrize("module", sorted((ROOT / "tests").rglob("*.py")), ids=lambda path: path.name)
def test_the_walls_of_test_files_stand(module: Path) -> None:
    assert len(module.read_text().splitlines()) <= 500


def test_every_arrow_that_is_allowed_is_used() -> None:
    used: dict[str, set[str]] = {name: set() for name in ARROWS}
    for module in modules():
        for name in imports(module):
            if name.split(".")[0] == "esfsm":
                used[room(module)].add(name.split(".")[1] if "." in name else "")
    assert {name: theirs - used[name] for name, theirs in ARROWS.items() if theirs - used[name]} == {}
