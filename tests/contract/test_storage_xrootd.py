"""What every storage promises, for XRootD, against a real server; and what happens when that is not well."""

import signal
import socket
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from contract.xrootd import Server, server
from shell.jobs import es_job, es_settings, write_inputs

import esfsm
from esfsm import plugins
from esfsm.adapters.storage.xrootd import XrootdStorage, open_storage
from esfsm.errors import MissingProgram, PilotErrorCode, TransferError
from esfsm.model.settings import Settings
from esfsm.ports import Stored

CONTENT = bytes(range(256)) * 40
STORED = (len(CONTENT), f"{zlib.adler32(CONTENT):08x}")
KINDS = {
    "with checksums": "all.export /\nxrootd.chksum max 2 adler32\n",
    "without checksums": "all.export /\n",
}


@pytest.fixture(scope="module", params=KINDS.values(), ids=KINDS.keys())
def running(request: pytest.FixtureRequest) -> Iterator[Server]:
    with TemporaryDirectory(prefix="esfsm-xrootd-") as home, server(Path(home), request.param) as made:
        yield made


@pytest.fixture
def there(running: Server) -> Iterator[Server]:
    yield running
    for path in sorted(running.files.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


@pytest.fixture
def storage() -> XrootdStorage:
    return XrootdStorage(2.0)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (path := tmp_path / "EventService_premerge_1.tar").write_bytes(CONTENT)
    return path


def refused(do: object, *given: object) -> TransferError:
    with pytest.raises(TransferError) as raised:
        do(*given)  # type: ignore[operator]
    assert "\n" not in str(raised.value)
    return raised.value


@pytest.mark.parametrize("content", [b"", b"x", CONTENT, CONTENT * 500], ids=["nothing", "1 B", "10 kB", "5 MB"])
def test_what_was_put_can_be_got_and_nothing_else_is_left(
    there: Server, storage: XrootdStorage, tmp_path: Path, content: bytes
) -> None:
    (source := tmp_path / "a.tar").write_bytes(content)
    url = f"{there.url}//es/deep/a.tar"
    stored = Stored(len(content), f"{zlib.adler32(content):08x}", url)
    assert storage.put(source, url) == stored
    assert storage.get(url, tmp_path / "in" / "b.tar") == stored
    assert (tmp_path / "in" / "b.tar").read_bytes() == content
    assert list((tmp_path / "in").iterdir()) == [tmp_path / "in" / "b.tar"]
    assert there.contents() == {"es/deep/a.tar": content}


@pytest.mark.parametrize("name", ["a b.tar", "%41+.tar", "ü.tar", "a#b.tar", "-f", "a'b.tar"])
def test_any_file_name_can_be_stored(
    there: Server, storage: XrootdStorage, source: Path, tmp_path: Path, name: str
) -> None:
    url = f"{there.url}//es/{name}"
    assert storage.put(source, url)[:2] == STORED
    assert storage.get(url, tmp_path / "got")[:2] == STORED
    assert storage.names(f"{there.url}//es") == [name]


def test_a_repeat_is_a_success_and_sends_nothing(there: Server, storage: XrootdStorage, source: Path) -> None:
    url = there.write("es/a.tar", CONTENT)
    before = (there.files / "es/a.tar").stat()
    assert storage.put(source, url)[:2] == STORED
    after = (there.files / "es/a.tar").stat()
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)


@pytest.mark.parametrize("other", [b"", CONTENT[:-1], CONTENT[:-1] + b"x"], ids=["nothing", "shorter", "as long"])
def test_other_contents_are_never_overwritten(
    there: Server, storage: XrootdStorage, source: Path, tmp_path: Path, other: bytes
) -> None:
    url = there.write("es/a.tar", other)
    error = refused(storage.put, source, url)
    assert (error.pilot_error_code, error.final) == (PilotErrorCode.STAGEOUTFAILED, True)
    refused(storage.get, url, source)
    assert (there.contents(), source.read_bytes()) == ({"es/a.tar": other}, CONTENT)


def test_what_is_not_there_is_said_to_be_so(
    there: Server, storage: XrootdStorage, source: Path, tmp_path: Path
) -> None:
    url = f"{there.url}//es/a.tar"
    assert refused(storage.put, tmp_path / "none", url).pilot_error_code == PilotErrorCode.MISSINGOUTPUTFILE
    assert refused(storage.get, url, tmp_path / "x").pilot_error_code == PilotErrorCode.NOSUCHFILE
    assert storage.names(f"{there.url}//es") == []


def test_a_directory_is_no_file_and_a_file_no_directory(there: Server, storage: XrootdStorage, source: Path) -> None:
    there.write("es/sub/a.tar", CONTENT)
    assert refused(storage.put, source, f"{there.url}//es/sub").final
    assert refused(storage.names, f"{there.url}//es/sub/a.tar").pilot_error_code == PilotErrorCode.STAGEINFAILED


def test_a_directory_has_the_names_of_its_own_files_and_of_no_others(there: Server, storage: XrootdStorage) -> None:
    for name in (*(f"es/{number:04}" for number in range(1500)), "es/sub/other"):
        there.write(name, b"")
    assert storage.names(f"{there.url}//es") == [f"{number:04}" for number in range(1500)]


def test_the_remains_of_a_try_that_was_killed_are_replaced(
    there: Server, storage: XrootdStorage, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{there.url}//es/a.tar"
    with monkeypatch.context() as patched:
        patched.setattr(XrootdStorage, "_must_hold", _die)
        patched.setattr(XrootdStorage, "_remove", lambda *_: None)
        with pytest.raises(KeyboardInterrupt):
            storage.put(source, url)
    assert len(there.contents()) == 1
    assert storage.put(source, url)[:2] == STORED
    assert there.contents() == {"es/a.tar": CONTENT}


def _die(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_copy_that_the_server_corrupts_is_removed(
    there: Server, storage: XrootdStorage, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = XrootdStorage._must_hold

    def corrupt(self: XrootdStorage, place: object, expected: object) -> None:
        for part in there.files.rglob("*.part"):
            part.write_bytes(b"?" + CONTENT[1:])
        real(self, place, expected)  # type: ignore[arg-type]

    monkeypatch.setattr(XrootdStorage, "_must_hold", corrupt)
    assert "has not the 10240 bytes" in str(refused(storage.put, source, f"{there.url}//es/a.tar"))
    assert there.contents() == {}


def test_a_server_that_is_away_may_come_back(there: Server, storage: XrootdStorage, source: Path) -> None:
    there.end()
    try:
        error = refused(storage.put, source, f"{there.url}//es/a.tar")
        assert (error.pilot_error_code, error.final) == (PilotErrorCode.STAGEOUTFAILED, False)
        refused(storage.names, f"{there.url}//es")
    finally:
        there.begin()
    assert storage.put(source, f"{there.url}//es/a.tar")[:2] == STORED


def test_a_server_that_says_nothing_is_not_waited_for(source: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        error = refused(XrootdStorage(1.0).put, source, f"root://127.0.0.1:{silent.getsockname()[1]}//es/a.tar")
    assert not error.final


def test_a_server_that_stands_still_is_not_waited_for(there: Server, source: Path) -> None:
    there.send(signal.SIGSTOP)
    try:
        assert not refused(XrootdStorage(1.0).put, source, f"{there.url}//es/a.tar").final
    finally:
        there.send(signal.SIGCONT)


def test_who_may_not_write_is_told_so_for_good(storage: XrootdStorage, source: Path, tmp_path: Path) -> None:
    with TemporaryDirectory(prefix="esfsm-xrootd-") as home, server(Path(home), "all.export / r/o\n") as readable:
        error = refused(storage.put, source, f"{readable.url}//a.tar")
        assert (error.final, readable.contents()) == (True, {})
        assert storage.get(readable.write("b.tar", CONTENT), tmp_path / "b.tar")[:2] == STORED


@pytest.mark.parametrize("url", ["root://", "root:///x", "root://host", "root://host/x"])
def test_a_url_that_cannot_be_used_is_refused_for_good(storage: XrootdStorage, source: Path, url: str) -> None:
    assert refused(storage.put, source, url).final


def test_where_the_commands_are_missing_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MissingProgram, match="apt install xrootd-client"):
        plugins.storage("root://host//x", Settings())


def test_a_storage_of_root_urls_speaks_xrootd(running: Server) -> None:
    assert isinstance(plugins.storage(f"{running.url}//x", Settings()), type(open_storage(Settings())))


def test_a_job_stores_its_archives_there_and_an_audit_finds_them(there: Server, tmp_path: Path) -> None:
    settings = es_settings(write_inputs(tmp_path / "inputs"), 30, output_url=f"{there.url}//es", zip_max_ranges=10)
    outcome = esfsm.run_workflow(es_job(), workdir=tmp_path / "work", settings=settings)
    assert (outcome.state, outcome.ranges) == ("done", {"finished": 30})
    assert {f"es/{copy.lfn}" for copy in outcome.outputs} == there.contents().keys()
    assert esfsm.audit(tmp_path / "work").differences == ()
