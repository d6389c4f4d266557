"""What every storage promises, for Google Cloud Storage: the real gcsfs, and a stand-in for its server."""

import os
import socket
import sys
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Event

import pytest

pytest.importorskip("gcsfs", reason="gcsfs is not installed: pip install 'esfsm[gcs]'")

from contract.gcs import BUCKET, Refusal, Server, server
from contract.test_storage import full_disk
from shell.jobs import es_job, es_settings, write_inputs

import esfsm
from esfsm import plugins
from esfsm.adapters.storage import KNOWN, gcs
from esfsm.adapters.storage.gcs import GcsStorage, open_storage
from esfsm.errors import MissingExtra, PilotErrorCode, TransferError
from esfsm.model.settings import Settings
from esfsm.ports import Storage, Stored

CONTENT = bytes(range(256)) * 40
STORED = (len(CONTENT), f"{zlib.adler32(CONTENT):08x}")
OTHERS = pytest.mark.parametrize("other", [b"", CONTENT[:-1], CONTENT[:-1] + b"x"], ids=["empty", "short", "as long"])
HERE = f"gs://{BUCKET}"


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    with server() as made:
        yield made


@pytest.fixture
def there(running: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", running.url)
    running.forget()
    return running


@pytest.fixture
def storage() -> GcsStorage:
    return GcsStorage(2.0)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (path := tmp_path / "EventService_premerge_1.tar").write_bytes(CONTENT)
    return path


def refused(do: Callable[..., object], *given: object) -> TransferError:
    with pytest.raises(TransferError) as raised:
        do(*given)
    assert "\n" not in str(raised.value)
    return raised.value


def test_a_gcs_storage_is_a_storage(storage: GcsStorage) -> None:
    assert isinstance(storage, Storage)


SIZES = pytest.mark.parametrize(
    "content", [b"", b"x", CONTENT, CONTENT * 600, CONTENT * 1000], ids=["nothing", "1 B", "10 kB", "6 MB", "10 MB"]
)


@SIZES
@pytest.mark.parametrize("scheme", ["gs", "gcs"])
def test_what_was_put_can_be_got_and_nothing_else_is_left(
    there: Server, storage: GcsStorage, tmp_path: Path, content: bytes, scheme: str
) -> None:
    (source := tmp_path / "a.tar").write_bytes(content)
    url = f"{scheme}://{BUCKET}/es/deep/a.tar"
    stored = Stored(len(content), f"{zlib.adler32(content):08x}", url)
    assert storage.put(source, url) == stored
    assert storage.get(url, tmp_path / "in" / "b.tar") == stored
    assert (tmp_path / "in" / "b.tar").read_bytes() == content
    assert list((tmp_path / "in").iterdir()) == [tmp_path / "in" / "b.tar"]
    assert there.objects == {"es/deep/a.tar": content}


@pytest.mark.parametrize("name", ["N" * 250, "a b.tar", "%41+.tar", "ü.tar", "a[1]*.tar", "a#1", "a?b", "-f"])
def test_any_file_name_can_be_stored(
    there: Server, storage: GcsStorage, source: Path, tmp_path: Path, name: str
) -> None:
    assert storage.put(source, f"{HERE}/es/{name}")[:2] == STORED
    assert storage.get(f"{HERE}/es/{name}", tmp_path / "got")[:2] == STORED
    assert storage.names(f"{HERE}/es") == [name]
    assert there.objects == {f"es/{name}": CONTENT}


def test_a_repeat_is_a_success_and_sends_nothing(there: Server, storage: GcsStorage, source: Path) -> None:
    assert storage.put(source, there.write("a.tar", CONTENT))[:2] == STORED
    assert {request.partition(" ")[0] for request in there.asked} == {"GET"}


@OTHERS
def test_other_contents_are_never_overwritten(there: Server, storage: GcsStorage, source: Path, other: bytes) -> None:
    url = there.write("a.tar", other)
    error = refused(storage.put, source, url)
    assert (error.pilot_error_code, error.final) == (PilotErrorCode.STAGEOUTFAILED, True)
    refused(storage.get, url, source)
    assert (there.objects, source.read_bytes()) == ({"a.tar": other}, CONTENT)


@pytest.mark.parametrize("content", [CONTENT, CONTENT * 600], ids=["in one request", "in several"])
@pytest.mark.parametrize("same", [True, False], ids=["same", "other"])
def test_the_second_of_two_writers_never_takes_the_name(
    there: Server, storage: GcsStorage, source: Path, content: bytes, same: bool
) -> None:
    source.write_bytes(content)
    first = content if same else b"other"

    def meanwhile(request: str) -> None:
        if request.startswith("POST"):
            there.objects["a.tar"] = first

    there.fault = meanwhile
    if same:
        assert storage.put(source, f"{HERE}/a.tar").size_bytes == len(content)
    else:
        assert refused(storage.put, source, f"{HERE}/a.tar").final
    assert there.objects == {"a.tar": first}


@pytest.mark.parametrize("forgotten", [False, True], ids=["given up", "forgotten"])
def test_half_a_copy_never_bears_the_name(there: Server, storage: GcsStorage, source: Path, forgotten: bool) -> None:
    source.write_bytes(CONTENT * 1000)

    def cut(request: str) -> None:
        if [asked.partition(" ")[0] for asked in there.asked].count("POST") == 3:
            raise Refusal(404 if forgotten and request.startswith("DELETE") else 503, "backend error")

    there.fault = cut
    error = refused(storage.put, source, f"{HERE}/a.tar")
    assert ("backend error" in error.why, error.final, there.objects) == (True, False, {})
    there.fault = lambda request: None
    assert storage.put(source, f"{HERE}/a.tar").size_bytes == len(CONTENT) * 1000


def test_what_is_not_there_is_said_to_be_so(there: Server, storage: GcsStorage, tmp_path: Path) -> None:
    url = f"{HERE}/es/a.tar"
    assert refused(storage.put, tmp_path / "none", url).pilot_error_code == PilotErrorCode.MISSINGOUTPUTFILE
    assert refused(storage.get, url, tmp_path / "x").pilot_error_code == PilotErrorCode.NOSUCHFILE
    assert storage.names(f"{HERE}/es") == []
    assert list(tmp_path.iterdir()) == []


def test_a_bucket_that_nobody_made_is_refused_for_good(there: Server, storage: GcsStorage, source: Path) -> None:
    error = refused(storage.put, source, "gs://elsewhere/a.tar")
    assert (error.why, error.final) == ("there is no bucket elsewhere", True)


def test_a_directory_is_no_file_and_a_file_no_directory(there: Server, storage: GcsStorage, source: Path) -> None:
    there.write("es/sub/a.tar", CONTENT)
    assert "no regular file" in refused(storage.put, source, f"{HERE}/es/sub").why
    assert "no directory" in refused(storage.names, f"{HERE}/es/sub/a.tar").why


def test_a_directory_has_the_names_of_its_own_files_and_of_no_others(there: Server, storage: GcsStorage) -> None:
    for name in (*(f"es/{number:04}" for number in range(1500)), "es/sub/other"):
        there.write(name, b"")
    names = [f"{number:04}" for number in range(1500)]
    assert storage.names(f"{HERE}/es") == storage.names(f"{HERE}/es/") == names


def test_a_repeated_get_is_a_success(there: Server, storage: GcsStorage, tmp_path: Path) -> None:
    url = there.write("a.tar", CONTENT)
    assert storage.get(url, tmp_path / "x") == storage.get(url, tmp_path / "x")


def test_get_onto_a_full_disk_leaves_nothing_and_can_be_repeated(
    there: Server, storage: GcsStorage, tmp_path: Path
) -> None:
    url, path = there.write("a.tar", CONTENT), tmp_path / "here" / "x.tar"
    with full_disk():
        assert refused(storage.get, url, path).pilot_error_code is PilotErrorCode.STAGEINFAILED
    assert list(path.parent.iterdir()) == []
    assert storage.get(url, path)[:2] == STORED


def test_many_threads_may_store_at_a_time(there: Server, storage: GcsStorage, source: Path) -> None:
    urls = [f"{HERE}/es/{number}" for number in range(40)]
    with ThreadPoolExecutor(8) as threads:
        assert {stored[:2] for stored in threads.map(lambda url: storage.put(source, url), urls)} == {STORED}
    assert len(there.objects) == 40


def test_what_was_put_is_named_at_once(there: Server, storage: GcsStorage, source: Path) -> None:
    assert storage.names(f"{HERE}/es") == []
    storage.put(source, f"{HERE}/es/a.tar")
    assert storage.names(f"{HERE}/es") == ["a.tar"]


ROT = pytest.mark.parametrize(
    "rot",
    [lambda content: b"?" + content[1:], lambda content: content[:-1], lambda _: b""],
    ids=["bit", "cut", "lost"],
)


@ROT
@pytest.mark.parametrize("with_md5", [True, False], ids=["md5", "no md5"])
def test_a_copy_that_the_server_corrupts_is_removed(
    there: Server, storage: GcsStorage, source: Path, rot: Callable[[bytes], bytes], with_md5: bool
) -> None:
    there.rot, there.md5 = rot, with_md5
    error = refused(storage.put, source, f"{HERE}/a.tar")
    assert (error.pilot_error_code, error.final) == (PilotErrorCode.STAGEOUTFAILED, False)
    assert there.objects == {}


def test_a_server_that_keeps_no_md5_has_the_copy_read_back(there: Server, storage: GcsStorage, source: Path) -> None:
    there.md5 = False
    assert storage.put(source, f"{HERE}/a.tar")[:2] == STORED
    assert any("/download/" in request for request in there.asked)


def test_bytes_that_are_corrupted_on_their_way_here_never_bear_the_name(
    there: Server, storage: GcsStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, entry = there.write("a.tar", CONTENT), there._entry("a.tar")
    monkeypatch.setattr(there, "_entry", lambda name: entry)
    there.write("a.tar", b"?" + CONTENT[1:])
    assert refused(storage.get, url, tmp_path / "in" / "x").pilot_error_code == PilotErrorCode.STAGEINFAILED
    assert list((tmp_path / "in").iterdir()) == []


@pytest.mark.parametrize(
    ("status", "final"), [(401, False), (403, True), (408, False), (429, False), (500, False), (503, False)]
)
def test_what_the_server_refuses_is_told_in_its_own_words_at_once(
    there: Server, storage: GcsStorage, source: Path, status: int, final: bool
) -> None:
    def fault(request: str) -> None:
        if request.startswith("POST"):
            raise Refusal(status, "es@cern.ch may not create that")

    there.fault = fault
    error = refused(storage.put, source, f"{HERE}/a.tar")
    assert "es@cern.ch may not create that" in error.why
    assert (error.pilot_error_code, error.final) == (PilotErrorCode.STAGEOUTFAILED, final)
    assert len([request for request in there.asked if request.startswith("POST")]) == 1


def test_the_url_of_an_upload_that_has_begun_is_never_told(there: Server, storage: GcsStorage, source: Path) -> None:
    def fault(request: str) -> None:
        if there.asked.count(request) == 2 and request.startswith("POST"):
            raise Refusal(403, "es@cern.ch may not create that")

    source.write_bytes(CONTENT * 1000)
    there.fault = fault
    error = refused(storage.put, source, f"{HERE}/a.tar")
    assert (error.final, "upload_id" in error.why) == (True, False)


@pytest.mark.parametrize("answer", [b"<html>Sorry</html>", b"", b"{}", b"null"])
def test_an_answer_that_is_none_of_a_storage_may_be_another_the_next_time(
    there: Server, storage: GcsStorage, source: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    monkeypatch.setattr(there, "_do", lambda *_: answer)
    assert not refused(storage.put, source, f"{HERE}/a.tar").final


def test_a_trouble_of_the_server_is_not_taken_for_a_missing_file(
    there: Server, storage: GcsStorage, tmp_path: Path
) -> None:
    def fault(request: str) -> None:
        raise Refusal(503, "backend error")

    there.fault = fault
    error = refused(storage.get, f"{HERE}/a.tar", tmp_path / "x")
    assert error.pilot_error_code == PilotErrorCode.STAGEINFAILED
    assert "backend error" in refused(storage.names, HERE + "/es").why


def test_a_download_that_the_server_breaks_off_is_not_repeated(
    there: Server, storage: GcsStorage, tmp_path: Path
) -> None:
    def fault(request: str) -> None:
        if "/download/" in request:
            raise Refusal(503, "backend error")

    url, there.fault = there.write("a.tar", CONTENT), fault
    error = refused(storage.get, url, tmp_path / "x")
    assert (error.why, error.final) == ("backend error, 503", False)
    assert len([request for request in there.asked if "/download/" in request]) == 1


def test_a_server_that_is_away_may_come_back(there: Server, storage: GcsStorage, source: Path) -> None:
    there.end()
    try:
        error = refused(storage.put, source, f"{HERE}/a.tar")
        assert (error.pilot_error_code, error.final) == (PilotErrorCode.STAGEOUTFAILED, False)
        refused(storage.names, f"{HERE}/es")
    finally:
        there.begin()
    assert storage.put(source, f"{HERE}/a.tar")[:2] == STORED


def test_a_server_that_says_nothing_is_not_waited_for(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert not refused(GcsStorage(0.5).put, source, f"{HERE}/a.tar").final


@pytest.mark.parametrize("content", [CONTENT, CONTENT * 600], ids=["in one request", "in several"])
def test_a_server_that_falls_silent_is_not_waited_for(there: Server, source: Path, content: bytes) -> None:
    over = Event()

    def fall_silent(request: str) -> None:
        if request.startswith("POST"):
            over.wait()
            raise Refusal(503, "too late")

    source.write_bytes(content)
    there.fault = fall_silent
    try:
        error = refused(GcsStorage(0.2).put, source, f"{HERE}/a.tar")
    finally:
        over.set()
    assert (error.pilot_error_code, error.final) == (PilotErrorCode.STAGEOUTFAILED, False)


def test_a_server_that_reads_nothing_is_not_waited_for(
    there: Server, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size_bytes = 1 << 26  # more than the sockets of both sides hold
    os.truncate(source, size_bytes)
    monkeypatch.setattr(gcs, "SLOWEST_BYTES_PER_S", 1 << 32)
    monkeypatch.setattr(gcs, "SENT_BYTES", size_bytes)
    there.reading = lambda request: "/upload/" not in request or request not in there.asked
    assert not refused(GcsStorage(0.5).put, source, f"{HERE}/a.tar").final
    assert there.objects == {}


@pytest.mark.parametrize("url", ["gs://", "gs://bucket", "gs://bucket/", "gs:///a.tar"])
def test_a_url_that_cannot_be_used_is_refused_for_good(storage: GcsStorage, source: Path, url: str) -> None:
    assert refused(storage.put, source, url).final


def test_a_storage_is_opened_without_a_word_to_the_server(there: Server) -> None:
    assert isinstance(open_storage(Settings()), GcsStorage)
    assert there.asked == []


def test_without_its_package_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KNOWN, "gs", "gcs:open_storage [gcs]")
    monkeypatch.delitem(sys.modules, "esfsm.adapters.storage.gcs")
    monkeypatch.setitem(sys.modules, "gcsfs.core", None)
    with pytest.raises(MissingExtra, match=r"pip install 'esfsm\[gcs\]'"):
        plugins.storage(f"{HERE}/a.tar", Settings())


def test_a_job_stores_its_archives_there_and_an_audit_finds_them(
    there: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(KNOWN, "gs", "gcs:open_storage [gcs]")
    settings = es_settings(write_inputs(tmp_path / "inputs"), 30, output_url=f"{HERE}/es", zip_max_ranges=10)
    outcome = esfsm.run_workflow(es_job(), workdir=tmp_path / "work", settings=settings)
    assert (outcome.state, outcome.ranges) == ("done", {"finished": 30})
    assert {f"es/{copy.lfn}" for copy in outcome.outputs} == there.objects.keys()
    assert esfsm.audit(tmp_path / "work").differences == ()
