"""What every storage promises, for Rucio: its real client, a stand-in for its server, and an RSE in a directory."""

import sys
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

pytest.importorskip("rucio.client", reason="Rucio's client is not installed: pip install 'esfsm[rucio]'")

from contract.rucio import CONTENT, RSE, SCOPE, STORED, Server, fresh, known, refused, server
from contract.test_storage import full_disk
from shell.jobs import es_job, es_settings, write_inputs

import esfsm
from esfsm import plugins
from esfsm.adapters.storage import KNOWN
from esfsm.adapters.storage.rucio import RucioStorage, open_storage
from esfsm.errors import MissingExtra, PilotErrorCode
from esfsm.model.settings import Settings
from esfsm.ports import Storage, Stored

OTHERS = pytest.mark.parametrize("other", [b"", CONTENT[:-1], CONTENT[:-1] + b"x"], ids=["empty", "short", "as long"])


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    with TemporaryDirectory(prefix="esfsm-rucio-") as home, server(Path(home)) as made:
        yield made


@pytest.fixture
def there(running: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with fresh(running, monkeypatch):
        yield running


@pytest.fixture
def storage() -> RucioStorage:
    return RucioStorage(2.0)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (path := tmp_path / "EventService_premerge_1.tar").write_bytes(CONTENT)
    return path


def test_a_rucio_storage_is_a_storage(storage: RucioStorage) -> None:
    assert isinstance(storage, Storage)


@pytest.mark.parametrize("content", [b"", b"x", CONTENT, CONTENT * 500], ids=["nothing", "1 B", "10 kB", "5 MB"])
def test_what_was_put_can_be_got_and_nothing_else_is_left(
    there: Server, storage: RucioStorage, tmp_path: Path, content: bytes
) -> None:
    (source := tmp_path / "there.tar").write_bytes(content)
    stored = storage.put(source, there.url("a.tar"))
    assert stored == Stored(len(content), f"{zlib.adler32(content):08x}", there.url("a.tar"))
    assert storage.get(there.url("a.tar"), tmp_path / "in" / "b.tar") == stored
    assert (tmp_path / "in" / "b.tar").read_bytes() == content
    assert list((tmp_path / "in").iterdir()) == [tmp_path / "in" / "b.tar"]
    assert there.contents() == {"a.tar": content}


def test_what_was_put_is_registered_with_its_size_and_adler32_and_kept_by_a_rule(
    there: Server, storage: RucioStorage, source: Path
) -> None:
    storage.put(source, there.url("a.tar"))
    assert there.dids == {"a.tar": {"bytes": STORED[0], "adler32": STORED[1]}}
    assert (there.replicas, there.rules) == ({"a.tar": "AVAILABLE"}, ["a.tar"])


@pytest.mark.parametrize("name", ["N" * 200, "a b.tar", "%41+.tar", "ü.tar", "a[1].tar"])
def test_any_file_name_can_be_stored(
    there: Server, storage: RucioStorage, source: Path, tmp_path: Path, name: str
) -> None:
    assert storage.put(source, there.url(name))[:2] == STORED
    assert storage.get(there.url(name), tmp_path / "got")[:2] == STORED
    assert storage.names(f"rucio://{RSE}/{SCOPE}") == [name]
    assert there.contents() == {name: CONTENT}


def test_a_repeat_is_a_success_and_sends_nothing(there: Server, storage: RucioStorage, source: Path) -> None:
    url = known(there, source, "a.tar", CONTENT)
    before = there.path("a.tar").stat()
    assert storage.put(source, url)[:2] == STORED
    after = there.path("a.tar").stat()
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)
    assert there.asked == ["POST replicas/list", f"GET rses/{RSE}"]


@OTHERS
def test_other_contents_are_never_overwritten(there: Server, storage: RucioStorage, source: Path, other: bytes) -> None:
    url = known(there, source, "a.tar", other)
    error = refused(storage.put, source, url)
    assert (error.pilot_error_code, error.final) == (PilotErrorCode.STAGEOUTFAILED, True)
    refused(storage.get, url, source)
    assert (there.contents(), source.read_bytes()) == ({"a.tar": other}, CONTENT)


def test_a_name_that_stands_for_other_contents_elsewhere_is_refused_for_good(
    there: Server, storage: RucioStorage, source: Path
) -> None:
    there.dids["a.tar"] = {"bytes": 1, "adler32": "00780079"}  # at another RSE
    assert refused(storage.put, source, there.url("a.tar")).final
    assert (there.contents(), there.replicas) == ({}, {})


def test_what_others_have_claimed_is_not_made_available(there: Server, storage: RucioStorage, source: Path) -> None:
    url = known(there, source, "a.tar", CONTENT)
    there.dids["a.tar"], there.replicas["a.tar"] = {"bytes": 1, "adler32": "00780079"}, "COPYING"
    assert refused(storage.put, source, url).final
    assert there.replicas == {"a.tar": "COPYING"}


@OTHERS
def test_bytes_that_nobody_registered_are_not_overwritten(
    there: Server, storage: RucioStorage, source: Path, other: bytes
) -> None:
    url = known(there, source, "a.tar", other)
    there.forget()
    assert refused(storage.put, source, url).final
    assert (there.contents(), there.replicas) == ({"a.tar": other}, {})


def test_what_is_not_there_is_said_to_be_so(there: Server, storage: RucioStorage, tmp_path: Path) -> None:
    url = there.url("a.tar")
    assert refused(storage.put, tmp_path / "none", url).pilot_error_code == PilotErrorCode.MISSINGOUTPUTFILE
    assert refused(storage.get, url, tmp_path / "x").pilot_error_code == PilotErrorCode.NOSUCHFILE
    assert storage.names(f"rucio://{RSE}/{SCOPE}/no.dataset") == []
    assert storage.names(f"rucio://{RSE}/{SCOPE}/") == []
    assert list(tmp_path.iterdir()) == []


def test_a_dataset_has_the_names_of_its_files_that_are_at_the_rse(
    there: Server, storage: RucioStorage, source: Path
) -> None:
    names = [f"{number:04}" for number in range(1500)]
    for name in [*names, "other"]:
        there.dids[name], there.replicas[name] = {"bytes": 0, "adler32": "00000001"}, "AVAILABLE"
    there.replicas["0007"] = "COPYING"
    there.datasets["set"] = names
    at_the_rse = [name for name in names if name != "0007"]
    assert storage.names(f"rucio://{RSE}/{SCOPE}/set") == at_the_rse
    assert storage.names(f"rucio://{RSE}/{SCOPE}") == [*at_the_rse, "other"]


def test_a_repeated_get_is_a_success(there: Server, storage: RucioStorage, source: Path, tmp_path: Path) -> None:
    url = known(there, source, "a.tar", CONTENT)
    assert storage.get(url, tmp_path / "x") == storage.get(url, tmp_path / "x")


def test_get_onto_a_full_disk_leaves_nothing_and_can_be_repeated(
    there: Server, storage: RucioStorage, source: Path, tmp_path: Path
) -> None:
    url, path = known(there, source, "a.tar", CONTENT), tmp_path / "here" / "x.tar"
    with full_disk():
        assert refused(storage.get, url, path).pilot_error_code is PilotErrorCode.STAGEINFAILED
    assert list(path.parent.iterdir()) == []
    assert storage.get(url, path)[:2] == STORED


def test_a_pool_file_needs_the_program_that_reads_its_guid(
    there: Server, storage: RucioStorage, tmp_path: Path
) -> None:
    (source := tmp_path / "HITS.pool.root.1").write_bytes(CONTENT)
    assert "pool_extractFileIdentifier" in refused(storage.put, source, there.url("HITS.pool.root.1")).why
    assert there.contents() == {}


def test_a_file_has_no_names_in_it(there: Server, storage: RucioStorage, source: Path) -> None:
    error = refused(storage.names, known(there, source, "a.tar", CONTENT))
    assert (error.pilot_error_code, error.why) == (PilotErrorCode.STAGEINFAILED, "user.es:a.tar is no dataset")


def test_many_threads_may_store_at_a_time(there: Server, storage: RucioStorage, source: Path) -> None:
    urls = [there.url(str(number)) for number in range(40)]
    with ThreadPoolExecutor(8) as threads:
        assert {stored[:2] for stored in threads.map(lambda url: storage.put(source, url), urls)} == {STORED}
    assert there.contents() == {str(number): CONTENT for number in range(40)}


@pytest.mark.parametrize(
    "url", ["rucio://", "rucio://RSE", "rucio://RSE/scope", "rucio://RSE/scope/a*", "rucio://RSE/scope/a?b"]
)
def test_a_url_that_cannot_be_used_is_refused_for_good(storage: RucioStorage, source: Path, url: str) -> None:
    assert refused(storage.put, source, url).final
    refused(storage.get, url, source)


def test_a_storage_is_opened_without_a_word_to_the_server(there: Server) -> None:
    assert isinstance(open_storage(Settings()), RucioStorage)
    assert there.asked == []


def test_without_its_package_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KNOWN, "rucio", "rucio:open_storage [rucio]")
    monkeypatch.delitem(sys.modules, "esfsm.adapters.storage.rucio")
    monkeypatch.setitem(sys.modules, "rucio.client.client", None)
    with pytest.raises(MissingExtra, match=r"pip install 'esfsm\[rucio\]'"):
        plugins.storage("rucio://RSE/scope/a.tar", Settings())


def test_a_job_stores_its_archives_there_and_an_audit_finds_them(
    there: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(KNOWN, "rucio", "rucio:open_storage [rucio]")
    url = f"rucio://{RSE}/{SCOPE}"
    settings = es_settings(write_inputs(tmp_path / "inputs"), 30, output_url=url, zip_max_ranges=10)
    outcome = esfsm.run_workflow(es_job(), workdir=tmp_path / "work", settings=settings)
    assert (outcome.state, outcome.ranges) == ("done", {"finished": 30})
    assert {copy.lfn for copy in outcome.outputs} == there.contents().keys()
    assert esfsm.audit(tmp_path / "work").differences == ()
