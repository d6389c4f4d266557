"""What every storage promises, for S3, against real servers; and what happens when the wire to them is bad."""

import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Barrier, Thread
from typing import Any

import pytest
from contract.s3 import BUCKET, KEYS, MOTO, PATIENCE_S, RCLONE, SECRET, Request, Server, server, wire
from shell.jobs import es_job, es_settings, write_inputs

import esfsm
from esfsm import plugins
from esfsm.adapters.storage import s3
from esfsm.adapters.storage.s3 import S3Storage
from esfsm.errors import PilotErrorCode, TransferError
from esfsm.model.settings import Settings
from esfsm.ports import Stored

CONTENT = bytes(range(256)) * 40
STORED = (len(CONTENT), f"{zlib.adler32(CONTENT):08x}")
LARGE = CONTENT * 1300
"""13 MB: three parts, where a part has five."""
KINDS = {"moto": MOTO, "rclone": RCLONE}


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    s3._client.cache_clear()


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As small as a store takes them."""
    monkeypatch.setattr(s3, "PART_BYTES", 5 << 20)


@pytest.fixture(scope="module", params=KINDS.values(), ids=KINDS.keys())
def running(request: pytest.FixtureRequest) -> Iterator[Server]:
    with TemporaryDirectory(prefix="esfsm-s3-") as home, server(request.param, Path(home)) as made:
        yield made


@pytest.fixture(scope="module")
def moto() -> Iterator[Server]:
    with TemporaryDirectory(prefix="esfsm-s3-") as home, server(MOTO, Path(home)) as made:
        yield made


@pytest.fixture
def there(running: Server) -> Iterator[Server]:
    yield running
    running.clear()


@pytest.fixture
def strict(moto: Server) -> Iterator[Server]:
    """A store that knows conditional requests."""
    yield moto
    moto.clear()


def storage_at(endpoint: str, timeout_s: float = PATIENCE_S) -> S3Storage:
    return S3Storage(endpoint, None, timeout_s)


@pytest.fixture
def storage(running: Server) -> S3Storage:
    return storage_at(running.endpoint)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (path := tmp_path / "EventService_premerge_1.tar").write_bytes(CONTENT)
    return path


@pytest.fixture
def large(tmp_path: Path) -> Path:
    (path := tmp_path / "large.tar").write_bytes(LARGE)
    return path


def refused(do: object, *given: object) -> TransferError:
    with pytest.raises(TransferError) as raised:
        do(*given)  # type: ignore[operator]
    assert "\n" not in str(raised.value)
    assert SECRET not in str(raised.value)
    return raised.value


URL = f"s3://{BUCKET}/es/a.tar"

# --- promises -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"x", CONTENT, LARGE], ids=["nothing", "1 B", "10 kB", "13 MB"])
def test_what_was_put_can_be_got_and_nothing_else_is_left(
    there: Server, storage: S3Storage, tmp_path: Path, content: bytes
) -> None:
    (source := tmp_path / "a.tar").write_bytes(content)
    stored = Stored(len(content), f"{zlib.adler32(content):08x}", URL)
    assert storage.put(source, URL) == stored
    assert storage.get(URL, tmp_path / "in" / "b.tar") == stored
    assert (tmp_path / "in" / "b.tar").read_bytes() == content
    assert list((tmp_path / "in").iterdir()) == [tmp_path / "in" / "b.tar"]
    assert (there.contents(), there.uploads()) == ({"es/a.tar": content}, [])


@pytest.mark.parametrize("name", ["a b.tar", "%41+.tar", "ü.tar", "a#b.tar", "a'b&c=d.tar"])
def test_any_file_name_can_be_stored(
    there: Server, storage: S3Storage, source: Path, tmp_path: Path, name: str
) -> None:
    url = f"s3://{BUCKET}/es/{name}"
    assert storage.put(source, url)[:2] == STORED
    assert list(there.contents()) == [f"es/{name}"]
    assert storage.names(f"s3://{BUCKET}/es") == [name]
    assert storage.get(url, tmp_path / "got")[:2] == STORED


@pytest.mark.parametrize("content", [CONTENT, LARGE], ids=["one part", "several"])
def test_what_is_there_already_is_a_success_and_is_not_sent_again(
    there: Server, storage: S3Storage, tmp_path: Path, content: bytes
) -> None:
    there.write("es/a.tar", content)
    (source := tmp_path / "a.tar").write_bytes(content)
    sent: list[str] = []
    with wire(there, lambda request: sent.append(request.command)) as endpoint:
        assert storage_at(endpoint).put(source, URL).url == URL
    assert {"PUT", "POST"}.isdisjoint(sent)


@pytest.mark.parametrize("other", [b"", CONTENT[:-1], CONTENT[:-1] + b"!"], ids=["empty", "shorter", "one byte"])
def test_other_bytes_of_that_name_are_never_touched(
    there: Server, storage: S3Storage, source: Path, other: bytes
) -> None:
    there.write("es/a.tar", other)
    error = refused(storage.put, source, URL)
    assert (error.pilot_error_code, error.final) == (PilotErrorCode.STAGEOUTFAILED, True)
    assert there.contents() == {"es/a.tar": other}


def test_a_file_that_is_not_there_is_a_missing_output(storage: S3Storage, tmp_path: Path) -> None:
    assert refused(storage.put, tmp_path / "gone", URL).pilot_error_code == PilotErrorCode.MISSINGOUTPUTFILE


def test_an_object_that_is_not_there_is_no_such_file(there: Server, storage: S3Storage, tmp_path: Path) -> None:
    error = refused(storage.get, URL, tmp_path / "got")
    assert error.pilot_error_code == PilotErrorCode.NOSUCHFILE
    assert not list(tmp_path.iterdir())


def test_a_local_file_with_other_bytes_is_never_touched(there: Server, storage: S3Storage, tmp_path: Path) -> None:
    there.write("es/a.tar", CONTENT)
    (tmp_path / "got").write_bytes(b"mine")
    assert refused(storage.get, URL, tmp_path / "got").pilot_error_code == PilotErrorCode.STAGEINFAILED
    assert (tmp_path / "got").read_bytes() == b"mine"


def test_what_was_got_before_is_not_got_again(there: Server, storage: S3Storage, tmp_path: Path) -> None:
    there.write("es/a.tar", CONTENT)
    (tmp_path / "got").write_bytes(CONTENT)
    asked: list[str] = []
    with wire(there, lambda request: asked.append(request.command)) as endpoint:
        assert storage_at(endpoint).get(URL, tmp_path / "got")[:2] == STORED
    assert set(asked) == {"HEAD"}


def test_the_objects_of_a_directory_are_listed_without_those_further_below(there: Server, storage: S3Storage) -> None:
    for key in ("es/b", "es/a", "es/below/c", "essential", "other/d"):
        there.write(key, b"x")
    assert storage.names(f"s3://{BUCKET}/es") == storage.names(f"s3://{BUCKET}/es/") == ["a", "b"]
    assert storage.names(f"s3://{BUCKET}/nowhere") == []


def test_more_objects_than_a_page_has_are_listed(strict: Server) -> None:
    def of_two(request: Request) -> None:
        request.path = re.sub("list-type=2", "list-type=2&max-keys=2", request.path)

    for number in range(5):
        strict.write(f"many/{number}", b"x")
    with wire(strict, of_two) as endpoint:
        assert storage_at(endpoint).names(f"s3://{BUCKET}/many") == ["0", "1", "2", "3", "4"]


def test_of_two_writers_the_first_keeps_the_name_and_the_second_is_told(strict: Server, tmp_path: Path) -> None:
    """Both have looked, and nobody was there; what a store without conditions does then is its own."""
    looked, stored, told = Barrier(2), [], []

    def both_look(request: Request) -> None:
        if request.command == "PUT":
            looked.wait(PATIENCE_S)

    def put(content: bytes) -> None:
        (path := tmp_path / content.decode()).write_bytes(content)
        try:
            stored.append((storage_at(endpoint).put(path, URL), content))
        except TransferError as error:
            told.append(error)

    with wire(strict, both_look) as endpoint:
        writers = [Thread(target=put, args=[content]) for content in (b"one", b"two")]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(PATIENCE_S)
    ((_, content),) = stored
    assert [error.final for error in told] == [True]
    assert strict.contents() == {"es/a.tar": content}


def test_a_host_with_a_port_is_an_endpoint(strict: Server, source: Path, tmp_path: Path) -> None:
    url = f"s3://127.0.0.1:{strict.port}/{BUCKET}/es/a.tar"
    assert storage_at(strict.endpoint).put(source, url) == Stored(*STORED, url)
    assert storage_at(f"{strict.endpoint}/").get(url, tmp_path / "got")[:2] == STORED
    assert not refused(storage_at("http://elsewhere:1", 2.0).put, source, url).final, "https, at a server without it"


# --- what a killed writer leaves ----------------------------------------------------------------------------------


def test_an_upload_that_was_begun_and_never_ended_is_removed_by_the_next_one(
    there: Server, storage: S3Storage, large: Path
) -> None:
    for key in ("es/a.tar", "es/a.tar.other"):
        there.client.create_multipart_upload(Bucket=BUCKET, Key=key)
    storage.put(large, URL)
    assert there.uploads() == ["es/a.tar.other"]
    for each in there.client.list_multipart_uploads(Bucket=BUCKET)["Uploads"]:
        there.client.abort_multipart_upload(Bucket=BUCKET, Key=each["Key"], UploadId=each["UploadId"])


def test_a_store_that_is_killed_and_comes_back_takes_what_is_put_again(source: Path, large: Path) -> None:
    with TemporaryDirectory(prefix="esfsm-s3-") as home, server(RCLONE, Path(home)) as running:
        storage = storage_at(running.endpoint, 2.0)
        storage.put(source, URL)
        running.end()
        assert not refused(storage.put, large, f"s3://{BUCKET}/es/b.tar").final
        running.begin()
        assert storage.put(source, URL)[:2] == STORED
        assert storage.put(large, f"s3://{BUCKET}/es/b.tar").size_bytes == len(LARGE)
        assert running.contents() == {"es/a.tar": CONTENT, "es/b.tar": LARGE}


# --- a bad wire ---------------------------------------------------------------------------------------------------


def first(method: str, fault: str, asked: str = "") -> Any:
    """A fault of the first request of its kind."""
    left = [fault]

    def judge(request: Request) -> str | None:
        return left.pop() if left and request.command == method and asked in request.path else None

    return judge


@pytest.mark.parametrize("fault", ["slow down", "cut", "silent", "flip", "answer lost"])
@pytest.mark.parametrize("content", [CONTENT, LARGE], ids=["one part", "several"])
def test_whatever_the_wire_does_to_a_request_it_is_tried_again_later_and_half_of_it_is_never_there(
    strict: Server, tmp_path: Path, fault: str, content: bytes
) -> None:
    (source := tmp_path / "a.tar").write_bytes(content)
    with wire(strict, first("PUT", fault)) as endpoint:
        storage = storage_at(endpoint, 0.5)
        error = refused(storage.put, source, URL)
        assert (error.pilot_error_code, error.final) == (PilotErrorCode.STAGEOUTFAILED, False)
        assert strict.contents().get("es/a.tar", content) == content
        assert storage.put(source, URL).size_bytes == len(content)
    assert (strict.contents(), strict.uploads()) == ({"es/a.tar": content}, [])


@pytest.mark.parametrize("fault", ["slow down", "cut", "silent", "answer lost"])
def test_whatever_the_wire_does_at_the_end_of_an_upload_the_next_try_finds_what_there_is(
    strict: Server, large: Path, fault: str
) -> None:
    with wire(strict, first("POST", fault, "uploadId=")) as endpoint:
        assert not refused(storage_at(endpoint, 0.5).put, large, URL).final
        assert storage_at(endpoint, 0.5).put(large, URL).size_bytes == len(LARGE)
    assert (strict.contents(), strict.uploads()) == ({"es/a.tar": LARGE}, [])


@pytest.mark.parametrize("fault", ["slow down", "cut", "silent"])
def test_a_file_of_which_a_part_was_got_bears_no_name(strict: Server, tmp_path: Path, fault: str) -> None:
    strict.write("es/a.tar", CONTENT)
    with wire(strict, first("GET", fault)) as endpoint:
        error = refused(storage_at(endpoint, 0.5).get, URL, tmp_path / "got")
        assert (error.pilot_error_code, error.final) == (PilotErrorCode.STAGEINFAILED, False)
        assert not list(tmp_path.iterdir())
        assert storage_at(endpoint, 0.5).get(URL, tmp_path / "got")[:2] == STORED


@pytest.mark.parametrize("method", ["HEAD", "PUT"])
def test_an_etag_that_tells_nothing_means_that_the_object_is_read_back(
    strict: Server, source: Path, method: str
) -> None:
    with wire(strict, lambda request: "lie" if request.command == method else None) as endpoint:
        for _ in range(2):
            assert storage_at(endpoint).put(source, URL)[:2] == STORED


def test_bytes_that_changed_on_their_way_are_removed(strict: Server, source: Path) -> None:
    with wire(strict, first("PUT", "flip")) as endpoint:
        assert "it was damaged on its way" in str(refused(storage_at(endpoint).put, source, URL))
    assert strict.contents() == {}


def test_who_has_no_permission_is_told_for_good(strict: Server, source: Path) -> None:
    with wire(strict, lambda request: "denied") as endpoint:
        assert refused(storage_at(endpoint).put, source, URL).final


def test_wrong_keys_are_final_and_never_told(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with TemporaryDirectory(prefix="esfsm-s3-") as home, server(RCLONE, Path(home)) as running:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET + "!")
        assert refused(storage_at(running.endpoint).put, source, URL).final


def test_who_has_no_keys_is_told_so(strict: Server, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    error = refused(storage_at(strict.endpoint).put, source, URL)
    assert error.final
    assert "Unable to locate credentials" in str(error)


@pytest.mark.parametrize("url", ["s3://no-such-bucket/a.tar", "s3://atlas-es", "s3:///a", "s3://host:1/"])
def test_where_there_is_no_bucket_is_final(strict: Server, source: Path, url: str) -> None:
    assert refused(storage_at(strict.endpoint, 1.0).put, source, url).final


def test_where_nobody_listens_is_not(source: Path) -> None:
    assert not refused(storage_at("http://127.0.0.1:1", 1.0).put, source, URL).final


# --- a whole job --------------------------------------------------------------------------------------------------


def test_a_job_stores_its_archives_there_and_its_books_agree(there: Server, tmp_path: Path) -> None:
    said = {"output_url": f"s3://{BUCKET}/job", "s3_endpoint": there.endpoint}
    settings = es_settings(write_inputs(tmp_path / "inputs"), 10, **said)
    outcome = esfsm.run_workflow(es_job(), workdir=tmp_path / "work", settings=settings)
    assert (outcome.state, outcome.ranges) == ("done", {"finished": 10})
    assert {f"job/{file.lfn}" for file in outcome.outputs} == there.contents().keys()
    assert esfsm.audit(tmp_path / "work").differences == ()
    assert SECRET not in (tmp_path / "work/journal.jsonl").read_text()


def test_it_is_the_storage_of_its_scheme(strict: Server, source: Path) -> None:
    storage = plugins.storage(URL, Settings(s3_endpoint=strict.endpoint, s3_region="eu-west-1"))
    assert storage.put(source, URL)[:2] == STORED
