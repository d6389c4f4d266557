"""What is built can be installed, and finds its declarations wherever they then lie."""

import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
from email.message import Message
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]
NOT_TO_BUILD = shutil.ignore_patterns(
    ".*_cache", "__pycache__", ".git", ".venv", ".hypothesis", "demo", "*.jsonl", "dist"
)
TABLES = {"event-range.toml", "eventservice.toml", "eventservicemerge.toml", "generic.toml", "pilot.toml"}


def run(*command: object, cwd: Path) -> str:
    ran = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project: building must not write into ours."""
    return Path(shutil.copytree(ROOT, tmp_path_factory.mktemp("tree") / "esfsm", ignore=NOT_TO_BUILD))


@pytest.fixture(scope="module")
def built(tree: Path) -> dict[str, Path]:
    """The wheel, the sdist, and the tree for an editable install."""
    run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--sdist", cwd=tree)
    (wheel,), (sdist,) = tree.glob("dist/*.whl"), tree.glob("dist/*.tar.gz")
    return {"wheel": wheel, "sdist": sdist, "editable": tree}


@pytest.fixture(scope="module")
def metadata(built: dict[str, Path]) -> Message:
    with ZipFile(built["wheel"]) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(wheel.read(name).decode())


@pytest.mark.parametrize("form", ["wheel", "sdist", "editable"])
def test_what_is_installed_finds_its_workflows_from_anywhere(form: str, built: dict[str, Path], tmp_path: Path) -> None:
    venv.create(tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip())
    # What we need is installed here; a path that a .pth file adds is not searched for others, so we are not.
    (site / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    options = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check")
    editable = ("--editable",) if form == "editable" else ()
    run(sys.executable, "-m", "pip", "--python", python, "install", *options, *editable, built[form], cwd=tmp_path)

    home = built["editable"] if form == "editable" else site
    assert run(python, "-c", "import esfsm; print(esfsm.__file__)", cwd=tmp_path) == f"{home}/esfsm/__init__.py\n"
    program = tmp_path / "venv" / "bin" / "esfsm"
    assert "generic: sound" in run(program, "check", cwd=tmp_path)
    assert "payload-running" in run(program, "draw", "generic", cwd=tmp_path)
    assert "payload-running" in run(python, "-m", "esfsm", "draw", "generic", cwd=tmp_path)


def test_a_wheel_holds_the_package_and_its_tables_and_no_other_name(built: dict[str, Path]) -> None:
    with ZipFile(built["wheel"]) as wheel:
        names = wheel.namelist()
    assert {name.partition("/")[0] for name in names} == {"esfsm", "esfsm-0.1.0.dist-info"}
    assert {Path(name).name for name in names if name.startswith("esfsm/workflows/")} == TABLES
    assert "esfsm/py.typed" in names
    assert "esfsm-0.1.0.dist-info/licenses/LICENSE" in names


def test_an_sdist_holds_what_is_needed_to_build_and_to_test(built: dict[str, Path]) -> None:
    with tarfile.open(built["sdist"]) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"pyproject.toml", "LICENSE", "README.md", "tests/test_house.py", "examples/zmumu/demo.py"} <= names
    assert {f"workflows/{table}" for table in TABLES} <= names
    assert not [name for name in names if "__pycache__" in name or name.startswith(".git/")]


def test_the_metadata_say_licence_and_extras(metadata: Message) -> None:
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["License-File"] == "LICENSE"
    assert metadata["Requires-Python"] == ">=3.11"
    assert set(metadata.get_all("Provides-Extra", [])) == {"root", "plot", "s3", "gcs", "rucio", "test"}
