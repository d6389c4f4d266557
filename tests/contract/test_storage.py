"""What every storage promises, for each of them; then what only some can be made to meet."""

import errno
import os
import resource
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from esfsm.adapters.storage.fsspec import FsspecStorage
from esfsm.durable import adler32_of
from esfsm.errors import PilotErrorCode, TransferError
from esfsm.ports import Storage, Stored

CONTENT = bytes(range(256)) * 40
STORED = (len(CONTENT), f"{zlib.adler32(CONTENT):08x}")


class Home:
    """A directory of a storage, seen without the storage."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.fs, self.root = fsspec.url_to_fs(url)

    def __truediv__(self, name: str) -> str:
        return f"{self.url}/{name}"

    def write(self, name: str, content: bytes) -> str:
        self.fs.makedirs(self.root, exist_ok=True)
        self.fs.pipe_file(f"{self.root}/{name}", content)
        return self / name

    def contents(self) -> dict[str, bytes]:
        paths = self.fs.find(self.root) if self.fs.isdir(self.root) else []
        return {path.removeprefix(f"{self.root}/"): self.fs.cat_file(path) for path in paths}


@pytest.fixture(params=["plain path", "file", "memory"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Home]:
    scheme = {"plain path": "", "file": "file://", "memory": "memory://"}[request.param]
    home = Home(f"{scheme}{tmp_path}/storage")
    yield home
    if home.fs.isdir(home.root):
        home.fs.rm(home.root, recursive=True)


@pytest.fixture
def storage() -> Storage:
    return FsspecStorage()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "EventService_premerge_1.tar"
    path.write_bytes(CONTENT)
    return path


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@contextmanager
def full_disk() -> Iterator[None]:
    """A disk on which no file can be longer than 1000 bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_an_fsspec_storage_is_a_storage(storage: Storage) -> None:
    assert isinstance(storage, Storage)


@pytest.mark.parametrize("content", [b"", b"x", CONTENT, CONTENT * 250], ids=["nothing", "1 B", "10 kB", "2.5 MB"])
def test_what_was_put_can_be_got(storage: Storage, home: Home, tmp_path: Path, content: bytes) -> None:
    source, back = tmp_path / "there.tar", tmp_path / "new" / "back.tar"
    source.write_bytes(content)
    stored = storage.put(source, home / "a/b/there.tar")
    assert stored == Stored(len(content), f"{zlib.adler32(content):08x}", home / "a/b/there.tar")
    assert storage.get(home / "a/b/there.tar", back) == stored
    assert back.read_bytes() == content


@pytest.mark.parametrize("name", ["N" * 250, "with space+%20 ü.root", "a[1]*.root", "-rf"])
def test_any_file_name_can_be_stored(storage: Storage, home: Home, source: Path, tmp_path: Path, name: str) -> None:
    storage.put(source, home / name)
    assert home.contents() == {name: CONTENT}
    storage.get(home / name, tmp_path / "back" / name)
    assert (tmp_path / "back" / name).read_bytes() == CONTENT


def test_nothing_but_the_file_is_left_behind(storage: Storage, home: Home, source: Path, tmp_path: Path) -> None:
    storage.put(source, home / "x.tar")
    storage.get(home / "x.tar", tmp_path / "back" / "x.tar")
    assert list(home.contents()) == ["x.tar"]
    assert names_in(tmp_path / "back") == ["x.tar"]


def test_a_repeated_put_is_a_success(storage: Storage, home: Home, source: Path) -> None:
    assert storage.put(source, home / "x.tar") == storage.put(source, home / "x.tar")
    assert home.contents() == {"x.tar": CONTENT}


def test_a_repeated_get_is_a_success(storage: Storage, home: Home, tmp_path: Path) -> None:
    url = home.write("x.tar", CONTENT)
    assert storage.get(url, tmp_path / "x.tar") == storage.get(url, tmp_path / "x.tar")


def test_a_directory_has_the_names_of_its_own_files_and_of_no_others(storage: Storage, home: Home) -> None:
    for name in ("b.tar", "a[1]*.tar"):
        home.write(name, CONTENT)
    Home(home / "below").write("c.tar", CONTENT)
    assert storage.names(home.url) == storage.names(f"{home.url}/") == ["a[1]*.tar", "b.tar"]


@pytest.mark.parametrize("name", ["nowhere", "nowhere/at/all", "file.tar/below"])
def test_where_there_is_no_directory_there_are_no_names(storage: Storage, home: Home, name: str) -> None:
    home.write("file.tar", CONTENT)
    assert storage.names(home / name) == []


def test_a_file_has_no_names_in_it(storage: Storage, home: Home) -> None:
    url = home.write("file.tar", CONTENT)
    with pytest.raises(TransferError, match=r"file\.tar is no directory") as caught:
        storage.names(url)
    assert caught.value.url == url


def test_what_was_put_is_named_at_once(storage: Storage, home: Home, source: Path) -> None:
    assert storage.names(home.url) == []
    storage.put(source, home / "x.tar")
    assert storage.names(home.url) == ["x.tar"]


OTHERS = pytest.mark.parametrize(
    "other", [b"", CONTENT[:-1] + b"\0", CONTENT + b"\0"], ids=["empty", "same size", "longer"]
)


@OTHERS
def test_put_never_overwrites_other_contents(storage: Storage, home: Home, source: Path, other: bytes) -> None:
    url = home.write("x.tar", other)
    with pytest.raises(TransferError) as caught:
        storage.put(source, url)
    assert caught.value.url == url
    assert caught.value.pilot_error_code is PilotErrorCode.STAGEOUTFAILED
    assert home.contents() == {"x.tar": other}


@OTHERS
def test_get_never_overwrites_other_contents(storage: Storage, home: Home, tmp_path: Path, other: bytes) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(other)
    with pytest.raises(TransferError) as caught:
        storage.get(home.write("x.tar", CONTENT), path)
    assert caught.value.pilot_error_code is PilotErrorCode.STAGEINFAILED
    assert path.read_bytes() == other


def test_put_of_no_file_says_that_an_output_is_missing(storage: Storage, home: Home, tmp_path: Path) -> None:
    with pytest.raises(TransferError) as caught:
        storage.put(tmp_path / "never_made.tar", home / "x.tar")
    assert caught.value.pilot_error_code is PilotErrorCode.MISSINGOUTPUTFILE
    assert home.contents() == {}


def test_get_of_no_file_says_that_there_is_none(storage: Storage, home: Home, tmp_path: Path) -> None:
    with pytest.raises(TransferError) as caught:
        storage.get(home / "never_stored.tar", tmp_path / "x.tar")
    assert caught.value.pilot_error_code is PilotErrorCode.NOSUCHFILE
    assert not (tmp_path / "x.tar").exists()


def test_put_below_a_file_fails(storage: Storage, home: Home, source: Path) -> None:
    home.write("file", b"in the way")
    with pytest.raises(TransferError) as caught:
        storage.put(source, home / "file/x.tar")
    assert caught.value.pilot_error_code is PilotErrorCode.STAGEOUTFAILED
    assert home.contents() == {"file": b"in the way"}


def test_put_over_a_directory_fails(storage: Storage, home: Home, source: Path) -> None:
    home.write("x.tar", b"")
    storage.put(source, home / "directory/x.tar")
    with pytest.raises(TransferError, match="no regular file"):
        storage.put(source, home / "directory")


def test_get_below_a_file_fails(storage: Storage, home: Home, source: Path) -> None:
    with pytest.raises(TransferError) as caught:
        storage.get(home.write("x.tar", CONTENT), source / "x.tar")
    assert caught.value.pilot_error_code is PilotErrorCode.STAGEINFAILED


def test_get_onto_a_full_disk_leaves_nothing_and_can_be_repeated(storage: Storage, home: Home, tmp_path: Path) -> None:
    url, path = home.write("x.tar", CONTENT), tmp_path / "here" / "x.tar"
    with full_disk(), pytest.raises(TransferError) as caught:
        storage.get(url, path)
    assert caught.value.pilot_error_code is PilotErrorCode.STAGEINFAILED
    assert names_in(path.parent) == []
    storage.get(url, path)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("url", ["nonsense://host/x.tar", "", "simplecache::nonsense://x"])
def test_a_url_that_cannot_be_used_is_a_failed_transfer(
    storage: Storage, source: Path, tmp_path: Path, url: str
) -> None:
    with pytest.raises(TransferError) as caught:
        storage.put(source, url)
    assert caught.value.pilot_error_code is PilotErrorCode.STAGEOUTFAILED
    with pytest.raises(TransferError):
        storage.get(url, tmp_path / "x.tar")


def test_a_fifo_is_no_output(storage: Storage, home: Home, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(TransferError, match="no regular file"):
        storage.put(tmp_path / "fifo", home / "x.tar")


def test_the_adler32_of_a_file_has_eight_digits(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert adler32_of(tmp_path / "empty") == "00000001"


# --- what the disk, the server and other writers can do ---------------------------------------------------------


def test_put_onto_a_full_disk_leaves_nothing_and_can_be_repeated(
    storage: Storage, source: Path, tmp_path: Path
) -> None:
    target = tmp_path / "storage" / "x.tar"
    with full_disk(), pytest.raises(TransferError) as caught:
        storage.put(source, str(target))
    assert caught.value.pilot_error_code is PilotErrorCode.STAGEOUTFAILED
    assert names_in(target.parent) == []
    storage.put(source, str(target))
    assert target.read_bytes() == CONTENT


def test_a_put_that_is_killed_leaves_no_name_and_the_next_one_removes_its_remains(
    storage: Storage, source: Path, tmp_path: Path
) -> None:
    target = tmp_path / "storage" / "x.tar"
    put_until_the_disk_is_full = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from esfsm.adapters.storage.fsspec import FsspecStorage\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_DFL)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "FsspecStorage().put(Path(sys.argv[1]), sys.argv[2])\n"
    )
    killed = subprocess.run([sys.executable, "-c", put_until_the_disk_is_full, source, target], check=False)
    assert killed.returncode == -signal.SIGXFSZ
    (remains,) = target.parent.iterdir()
    assert remains.suffix == ".part"
    assert remains.stat().st_size == 1000
    assert storage.put(source, str(target))[:2] == STORED
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("linked", [True, False], ids=["after the copy was named", "before"])
def test_a_put_that_died_beside_its_last_step_is_ended_by_the_next(
    storage: Storage, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linked: bool
) -> None:
    target = tmp_path / "x.tar"
    with monkeypatch.context() as dying:
        dying.setattr(os, "link", os.link if linked else lambda part, name: None)
        dying.setattr(os, "remove", lambda path: None)
        storage.put(source, str(target))
    assert target.exists() is linked
    assert len(list(tmp_path.glob(".*.part"))) == 1
    storage.put(source, str(target))
    assert target.read_bytes() == CONTENT
    assert list(tmp_path.glob(".*.part")) == []


def at_the_first_sync(monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[int], object]) -> None:
    """Let something happen when a copy is complete and not yet read back."""
    fsync, todo = os.fsync, [meanwhile]

    def busy_fsync(descriptor: int) -> None:
        if todo:
            todo.pop()(descriptor)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", busy_fsync)


@pytest.mark.parametrize(
    ("other", "outcome"), [(CONTENT, nullcontext()), (b"other", pytest.raises(TransferError))], ids=["same", "other"]
)
def test_the_second_of_two_writers_never_takes_the_name(
    storage: Storage,
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    other: bytes,
    outcome: AbstractContextManager[object],
) -> None:
    target = tmp_path / "storage" / "x.tar"
    target.parent.mkdir()
    at_the_first_sync(monkeypatch, lambda _: target.write_bytes(other))
    with outcome:
        storage.put(source, str(target))
    assert target.read_bytes() == other
    assert names_in(target.parent) == ["x.tar"]


def test_two_writers_do_not_share_an_unfinished_copy(
    storage: Storage, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, second = tmp_path / "storage" / "x.tar", tmp_path / "second.tar"
    target.parent.mkdir()
    second.write_bytes(b"other")
    at_the_first_sync(monkeypatch, lambda _: storage.put(second, str(target)))
    with pytest.raises(TransferError):
        storage.put(source, str(target))
    assert target.read_bytes() == b"other"
    assert names_in(target.parent) == ["x.tar"]


@pytest.mark.parametrize("direction", ["put", "get"])
def test_a_copy_that_the_disk_corrupts_never_bears_the_name(
    storage: Storage, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, direction: str
) -> None:
    target = tmp_path / "storage" / "x.tar"
    target.parent.mkdir()
    at_the_first_sync(monkeypatch, lambda copy: os.pwrite(copy, b"\xff", 0))
    with pytest.raises(TransferError, match=STORED[1]):
        storage.put(source, str(target)) if direction == "put" else storage.get(str(source), target)
    assert names_in(target.parent) == []


class RottingFileSystem(MemoryFileSystem):
    """A server that copies to rename, and does it badly."""

    protocol = "rotting"
    store: ClassVar[dict[str, object]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    rot: ClassVar[Callable[[bytes], bytes]] = staticmethod(bytes)

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.replace("rotting://", "memory://"))

    def cp_file(self, path1: str, path2: str, **kwargs: object) -> None:
        self.pipe_file(path2, self.rot(self.cat_file(path1)))


@pytest.mark.parametrize(
    "rot",
    [lambda content: b"\xff" + content[1:], lambda content: content[:-1], lambda _: b""],
    ids=["bit", "cut", "lost"],
)
def test_a_copy_that_the_server_corrupts_is_removed(
    storage: Storage, source: Path, monkeypatch: pytest.MonkeyPatch, rot: Callable[[bytes], bytes]
) -> None:
    fsspec.register_implementation("rotting", RottingFileSystem, clobber=True)
    monkeypatch.setattr(RottingFileSystem, "rot", staticmethod(rot))
    with pytest.raises(TransferError, match=STORED[1]) as caught:
        storage.put(source, "rotting://storage/x.tar")
    assert caught.value.pilot_error_code is PilotErrorCode.STAGEOUTFAILED
    assert Home("rotting://storage").contents() == {}


@pytest.mark.parametrize("direction", ["put", "get"])
def test_a_disk_without_hard_links_is_used_all_the_same(
    storage: Storage, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, direction: str
) -> None:
    def refuse(part: str, name: str) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    target = tmp_path / "storage" / "x.tar"
    storage.put(source, str(target)) if direction == "put" else storage.get(str(source), target)
    assert target.read_bytes() == CONTENT
    assert names_in(target.parent) == ["x.tar"]


def test_a_dangling_link_at_the_destination_is_not_followed(storage: Storage, source: Path, tmp_path: Path) -> None:
    target, elsewhere = tmp_path / "x.tar", tmp_path / "elsewhere"
    target.symlink_to(elsewhere)
    with pytest.raises(TransferError):
        storage.put(source, str(target))
    assert not elsewhere.exists()


def test_a_remote_trouble_is_not_taken_for_a_missing_file(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(self: MemoryFileSystem, path: str, **kwargs: object) -> None:
        raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")

    monkeypatch.setattr(MemoryFileSystem, "info", unreachable)
    with pytest.raises(TransferError) as caught:
        storage.get("memory://storage/x.tar", tmp_path / "x.tar")
    assert caught.value.pilot_error_code is PilotErrorCode.STAGEINFAILED


def test_a_remote_trouble_is_not_taken_for_an_empty_directory(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(self: MemoryFileSystem, path: str, **kwargs: object) -> None:
        raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")

    monkeypatch.setattr(MemoryFileSystem, "ls", unreachable)
    with pytest.raises(TransferError, match="Connection reset by peer") as caught:
        storage.names("memory://storage")
    assert caught.value.pilot_error_code is PilotErrorCode.STAGEINFAILED


@pytest.mark.parametrize("url", ["noscheme://storage", "file://elsewhere/x\0y"])
def test_a_url_that_nobody_can_list_is_a_trouble_of_the_storage(storage: Storage, url: str) -> None:
    with pytest.raises(TransferError):
        storage.names(url)


def test_links_and_pipes_are_not_files_of_a_directory(storage: Storage, source: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")
    assert storage.names(str(tmp_path)) == [source.name]
