"""What every storage promises, for WebDAV, against real servers; and what happens when the wire to them is bad."""

import zlib
from base64 import b64encode
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import trustme
from contract.s3 import Request, wire
from contract.webdav import Nginx, XrdHttp, server, url_of
from shell.jobs import es_job, es_settings, write_inputs

import esfsm
from esfsm import plugins
from esfsm.adapters.storage import webdav
from esfsm.adapters.storage.webdav import WebdavStorage
from esfsm.errors import PilotErrorCode, TransferError
from esfsm.model.settings import Settings
from esfsm.ports import Stored

CONTENT = bytes(range(256)) * 40
ADLER32 = f"{zlib.adler32(CONTENT):08x}"
STORED = (len(CONTENT), ADLER32)
PATIENCE_S = 20.0
Dav = Nginx | XrdHttp


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """We are nobody, unless a test says who."""
    for name in ("BEARER_TOKEN", "BEARER_TOKEN_FILE", "X509_USER_PROXY", "X509_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module", params=[Nginx, XrdHttp], ids=["nginx", "XrdHttp"])
def running(request: pytest.FixtureRequest) -> Iterator[Dav]:
    with TemporaryDirectory(prefix="esfsm-dav-") as home, server(request.param, Path(home)) as made:
        yield made


@pytest.fixture
def there(running: Dav) -> Iterator[Dav]:
    yield running
    for path in sorted(running.files.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


@pytest.fixture(scope="module")
def nginx() -> Iterator[Nginx]:
    with TemporaryDirectory(prefix="esfsm-dav-") as home, server(Nginx, Path(home)) as made:
        assert isinstance(made, Nginx)
        yield made


@pytest.fixture
def plain(nginx: Nginx) -> Iterator[Nginx]:
    yield nginx
    for path in sorted(nginx.files.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


@pytest.fixture
def storage() -> WebdavStorage:
    return WebdavStorage(PATIENCE_S)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (path := tmp_path / "EventService_premerge_1.tar").write_bytes(CONTENT)
    return path


def refused(do: Callable[..., object], *given: object) -> TransferError:
    with pytest.raises(TransferError) as raised:
        do(*given)
    assert "\n" not in str(raised.value)
    return raised.value


def over(endpoint: str, name: str = "es/a.tar") -> str:
    return f"{endpoint.replace('http', 'dav', 1)}/{name}"


# --- promises -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"x", CONTENT, CONTENT * 500], ids=["nothing", "1 B", "10 kB", "5 MB"])
def test_what_was_put_can_be_got_and_nothing_else_is_left(
    there: Dav, storage: WebdavStorage, tmp_path: Path, content: bytes
) -> None:
    (source := tmp_path / "a.tar").write_bytes(content)
    url = f"{url_of(there)}/es/deep/down/a.tar"
    stored = Stored(len(content), f"{zlib.adler32(content):08x}", url)
    assert storage.put(source, url) == stored
    assert storage.get(url, tmp_path / "in" / "b.tar") == stored
    assert (tmp_path / "in" / "b.tar").read_bytes() == content
    assert list((tmp_path / "in").iterdir()) == [tmp_path / "in" / "b.tar"]
    assert there.contents() == {"es/deep/down/a.tar": content}


@pytest.mark.parametrize("name", ["a b.tar", "+.tar", "ü.tar", "a#b.tar", "a'b&c=d.tar", "<a>.tar"])
def test_any_file_name_can_be_stored(
    there: Dav, storage: WebdavStorage, source: Path, tmp_path: Path, name: str
) -> None:
    url = f"{url_of(there)}/es/{name}"
    assert storage.put(source, url)[:2] == STORED
    assert list(there.contents()) == [f"es/{name}"]
    assert storage.names(f"{url_of(there)}/es") == [name]
    assert storage.get(url, tmp_path / "got")[:2] == STORED


@pytest.mark.parametrize("name", ["%41.tar", "a?b.tar"])
def test_names_that_xrdhttp_mistakes_are_none_of_our_mistakes(
    plain: Nginx, storage: WebdavStorage, source: Path, name: str
) -> None:
    assert storage.put(source, f"{plain.url}/es/{name}")[:2] == STORED
    assert list(plain.contents()) == [f"es/{name}"]
    assert storage.names(f"{plain.url}/es") == [name]


def test_what_is_there_already_is_a_success_and_is_not_sent_again(plain: Nginx, source: Path) -> None:
    plain.write("es/a.tar", CONTENT)
    sent: list[str] = []
    with wire(plain, lambda request: sent.append(request.command)) as endpoint:
        assert WebdavStorage(PATIENCE_S).put(source, over(endpoint))[:2] == STORED
    assert set(sent) <= {"HEAD", "GET"}


@pytest.mark.parametrize("other", [b"", CONTENT[:-1], CONTENT[:-1] + b"!"], ids=["empty", "shorter", "one byte"])
def test_other_bytes_of_that_name_are_never_touched(
    there: Dav, storage: WebdavStorage, source: Path, other: bytes
) -> None:
    error = refused(storage.put, source, there.write("es/a.tar", other))
    assert (error.pilot_error_code, error.final) == (PilotErrorCode.STAGEOUTFAILED, True)
    assert there.contents() == {"es/a.tar": other}


def test_a_file_that_is_not_there_is_a_missing_output(there: Dav, storage: WebdavStorage, tmp_path: Path) -> None:
    error = refused(storage.put, tmp_path / "gone", f"{url_of(there)}/a.tar")
    assert error.pilot_error_code == PilotErrorCode.MISSINGOUTPUTFILE


def test_a_remote_file_that_is_not_there_is_no_such_file(there: Dav, storage: WebdavStorage, tmp_path: Path) -> None:
    error = refused(storage.get, f"{url_of(there)}/es/gone.tar", tmp_path / "got")
    assert error.pilot_error_code == PilotErrorCode.NOSUCHFILE
    assert not list(tmp_path.iterdir())


def test_a_local_file_with_other_bytes_is_never_touched(there: Dav, storage: WebdavStorage, tmp_path: Path) -> None:
    (tmp_path / "got").write_bytes(b"mine")
    error = refused(storage.get, there.write("es/a.tar", CONTENT), tmp_path / "got")
    assert error.pilot_error_code == PilotErrorCode.STAGEINFAILED
    assert (tmp_path / "got").read_bytes() == b"mine"


def test_the_files_of_a_directory_are_listed_without_those_further_below(there: Dav, storage: WebdavStorage) -> None:
    for name in ("es/b", "es/a", "es/below/c", "other/d"):
        there.write(name, b"x")
    assert storage.names(f"{url_of(there)}/es") == storage.names(f"{url_of(there)}/es/") == ["a", "b"]
    assert storage.names(f"{url_of(there)}/nowhere") == []


def test_many_files_are_listed(plain: Nginx, storage: WebdavStorage) -> None:
    for number in range(1_500):
        plain.write(f"many/{number:04}", b"")
    assert storage.names(f"{plain.url}/many") == [f"{number:04}" for number in range(1_500)]


def test_what_a_killed_writer_left_is_replaced(there: Dav, storage: WebdavStorage, source: Path) -> None:
    url = f"{url_of(there)}/es/a.tar"
    part = webdav._place(url).part(str(source.absolute())).url.rpartition("/")[2]
    there.write(f"es/{part}", b"half of")
    assert storage.put(source, url)[:2] == STORED
    assert there.contents() == {"es/a.tar": CONTENT}


def test_a_server_that_is_killed_and_comes_back_takes_what_is_put_again(source: Path) -> None:
    with TemporaryDirectory(prefix="esfsm-dav-") as home, server(Nginx, Path(home)) as made:
        storage, url = WebdavStorage(2.0), f"{url_of(made)}/es/a.tar"
        made.end()
        assert not refused(storage.put, source, url).final
        made.begin()
        assert storage.put(source, url)[:2] == STORED
        made.end()
        made.begin()
        assert storage.put(source, url)[:2] == STORED


# --- a bad wire ---------------------------------------------------------------------------------------------------


def first(fault: str, method: str) -> Callable[[Request], str | None]:
    """A fault of the first request of its kind."""
    left = [fault]
    return lambda request: left.pop() if left and request.command == method else None


@pytest.mark.parametrize("fault", ["slow down", "cut", "silent", "flip", "answer lost"])
def test_whatever_the_wire_does_to_a_file_it_is_sent_again_later(plain: Nginx, source: Path, fault: str) -> None:
    with wire(plain, first(fault, "PUT")) as endpoint:
        storage = WebdavStorage(0.5)
        error = refused(storage.put, source, over(endpoint))
        assert (error.pilot_error_code, error.final) == (PilotErrorCode.STAGEOUTFAILED, False)
        assert "es/a.tar" not in plain.contents()
        assert storage.put(source, over(endpoint))[:2] == STORED
    assert plain.contents() == {"es/a.tar": CONTENT}


@pytest.mark.parametrize("fault", ["slow down", "cut", "silent", "answer lost"])
def test_whatever_the_wire_does_to_a_renaming_the_next_try_finds_what_there_is(
    plain: Nginx, source: Path, fault: str
) -> None:
    with wire(plain, first(fault, "MOVE")) as endpoint:
        storage = WebdavStorage(0.5)
        assert not refused(storage.put, source, over(endpoint)).final
        assert storage.put(source, over(endpoint))[:2] == STORED
    assert plain.contents() == {"es/a.tar": CONTENT}


@pytest.mark.parametrize("fault", ["slow down", "cut", "silent"])
def test_a_file_of_which_a_part_was_got_bears_no_name(plain: Nginx, tmp_path: Path, fault: str) -> None:
    plain.write("es/a.tar", CONTENT)
    with wire(plain, first(fault, "GET")) as endpoint:
        storage = WebdavStorage(0.5)
        error = refused(storage.get, over(endpoint), tmp_path / "got")
        assert (error.pilot_error_code, error.final) == (PilotErrorCode.STAGEINFAILED, False)
        assert not list(tmp_path.iterdir())
        assert storage.get(over(endpoint), tmp_path / "got")[:2] == STORED


def test_who_has_no_permission_is_told_for_good(plain: Nginx, source: Path) -> None:
    with wire(plain, lambda request: "denied") as endpoint:
        error = refused(WebdavStorage(PATIENCE_S).put, source, over(endpoint))
    assert (error.final, error.why) == (True, "HEAD: 403 Forbidden")


def test_a_server_that_cannot_rename_takes_the_file_while_nobody_has_its_name(plain: Nginx, source: Path) -> None:
    with wire(plain, lambda request: "denied" if request.command == "MOVE" else None) as endpoint:
        assert WebdavStorage(PATIENCE_S).put(source, over(endpoint))[:2] == STORED
    assert plain.contents() == {"es/a.tar": CONTENT}


def test_who_was_first_keeps_the_name(plain: Nginx, source: Path) -> None:
    def other_is_faster(request: Request) -> None:
        if request.command == "MOVE":
            plain.write("es/a.tar", b"other")

    with wire(plain, other_is_faster) as endpoint:
        assert refused(WebdavStorage(PATIENCE_S).put, source, over(endpoint)).final
    assert plain.contents() == {"es/a.tar": b"other"}


@pytest.mark.parametrize(
    ("digest", "is_good"),
    [
        (f"adler32={ADLER32}", True),
        (f"ADLER32={ADLER32.upper()}, md5=x", True),
        (f"adler32={b64encode(bytes.fromhex(ADLER32)).decode()}", True),
        (f"adler32={b64encode(ADLER32.encode()).decode()}", True),
        ("adler32=00000007", False),
        ("adler32=!!", True),
        ("md5=x", True),
    ],
)
def test_a_checksum_of_the_server_is_believed_and_none_means_that_it_is_read_back(
    plain: Nginx, source: Path, digest: str, is_good: bool
) -> None:
    class Told(Request):
        def end_headers(self) -> None:
            if self.command == "HEAD":
                self.send_header("Digest", digest)
            super().end_headers()

    with wire(plain, lambda _: None, Told) as endpoint:
        storage = WebdavStorage(PATIENCE_S)
        if is_good:
            assert storage.put(source, over(endpoint))[:2] == STORED
        else:
            assert not refused(storage.put, source, over(endpoint)).final
    assert plain.contents() == ({"es/a.tar": CONTENT} if is_good else {})


@pytest.mark.parametrize("url", ["dav://", "dav://me:secret@host/a", "gopher://host/a", "dav:///a"])
def test_a_url_that_is_none_is_final(source: Path, url: str) -> None:
    error = refused(WebdavStorage(1.0).put, source, url)
    assert (error.final, "secret" in error.why) == (True, False)


def test_where_nobody_listens_is_not(source: Path) -> None:
    assert not refused(WebdavStorage(1.0).put, source, "dav://127.0.0.1:1/a").final


# --- redirections, tokens, TLS ------------------------------------------------------------------------------------


class Redirected(Request):
    """A door that sends each file on to a disk server, as dCache does."""

    elsewhere: str

    def _carry(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer(307, {"Location": f"{self.elsewhere}{self.path}?ticket=1"}, b"")

    do_PUT = do_GET = _carry  # noqa: N815 - as http.server wants it


def test_a_file_goes_where_it_is_sent_to(plain: Nginx, source: Path, tmp_path: Path) -> None:
    sent: list[str] = []
    with wire(plain, lambda request: sent.append(request.path)) as disk:
        door = type("Door", (Redirected,), {"elsewhere": disk})
        (plain.files / "es").mkdir()
        with wire(plain, lambda _: None, door) as endpoint:
            assert WebdavStorage(PATIENCE_S).put(source, over(endpoint))[:2] == STORED
            assert WebdavStorage(PATIENCE_S).get(over(endpoint), tmp_path / "got")[:2] == STORED
    assert sent
    assert all(path.endswith("?ticket=1") for path in sent)


def test_redirections_without_end_end(plain: Nginx, source: Path) -> None:
    class Circle(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(302)
            self.send_header("Location", self.path)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    with wire(plain, lambda _: None, Circle) as endpoint:
        assert "302" in refused(WebdavStorage(PATIENCE_S).put, source, over(endpoint)).why


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secure(authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Nginx]:
    """Over TLS, for who shows this token."""
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "host.pem"))
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    tls = f"ssl_certificate {tmp_path}/host.pem; ssl_certificate_key {tmp_path}/host.pem; "
    only = 'if ($http_authorization != "Bearer t0ken") { return 401; }'
    with (
        TemporaryDirectory(prefix="esfsm-dav-") as home,
        server(partial(Nginx, tls=tls, more=only), Path(home)) as made,
    ):
        assert isinstance(made, Nginx)
        yield made


def test_who_shows_a_token_may_and_who_does_not_may_not(
    secure: Nginx, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    url = f"{secure.url}/es/a.tar"
    error = refused(WebdavStorage(3.0).put, source, url)
    assert (error.final, error.why) == (True, "HEAD: 401 Unauthorized")
    (tmp_path / "token").write_text("t0ken\n")
    monkeypatch.setenv("BEARER_TOKEN_FILE", str(tmp_path / "token"))
    assert WebdavStorage(3.0).put(source, url)[:2] == STORED
    monkeypatch.setenv("BEARER_TOKEN", "another")
    assert "another" not in refused(WebdavStorage(3.0).put, source, url).why


def test_a_server_that_nobody_vouches_for_is_told_nothing(
    secure: Nginx, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEARER_TOKEN", "t0ken")
    error = refused(WebdavStorage(4.0).put, source, f"{secure.url}/es/a.tar")
    assert "certificate verify failed" in error.why.lower()


def test_a_token_is_not_told_without_tls(plain: Nginx, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEARER_TOKEN", "t0ken")
    told: list[str | None] = []
    with wire(plain, lambda request: told.append(request.headers.get("Authorization"))) as endpoint:
        WebdavStorage(PATIENCE_S).put(source, over(endpoint))
    assert set(told) == {None}


# --- a whole job --------------------------------------------------------------------------------------------------


def test_a_job_stores_its_archives_there_and_its_books_agree(there: Dav, tmp_path: Path) -> None:
    settings = es_settings(write_inputs(tmp_path / "inputs"), 10, output_url=f"{url_of(there)}/job")
    outcome = esfsm.run_workflow(es_job(), workdir=tmp_path / "work", settings=settings)
    assert (outcome.state, outcome.ranges) == ("done", {"finished": 10})
    assert {f"job/{file.lfn}" for file in outcome.outputs} == there.contents().keys()
    assert esfsm.audit(tmp_path / "work").differences == ()


@pytest.mark.parametrize("scheme", ["dav", "davs", "http", "https"])
def test_it_is_the_storage_of_its_schemes(scheme: str) -> None:
    assert isinstance(plugins.storage(f"{scheme}://host/a", Settings()), WebdavStorage)
