"""The wire to a PanDA server: who we are, whom we trust, and what is no reply."""

import gzip
import os
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import trustme
from contract.web import Asked, reply, serving

from esfsm.adapters.communicators import line
from esfsm.adapters.communicators.address import read_address
from esfsm.adapters.communicators.connection import Connection
from esfsm.adapters.communicators.identity import Identity, Proxy, Token, find_identity
from esfsm.errors import UnusableInput, WireError
from esfsm.wire.panda.calls import Call, Reply

CALL = Call("POST", "/server/panda/getEventRanges", {"Accept": "application/json"}, b"nRanges=2")
NOBODY = Proxy(None)
Connect = Callable[..., Connection]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def authorities(authority: trustme.CA, tmp_path: Path) -> Path:
    """A directory of them, as OpenSSL looks for one: by a hash of its name."""
    directory = tmp_path / "certificates"
    directory.mkdir()
    file = directory / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    digest = subprocess.run(
        ["openssl", "x509", "-hash", "-noout", "-in", file], capture_output=True, text=True, check=True
    )
    file.rename(directory / f"{digest.stdout.strip()}.0")
    return directory


@pytest.fixture
def tls(authority: trustme.CA) -> ssl.SSLContext:
    """Of a server that asks who its clients are."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


@pytest.fixture
def connect() -> Iterator[Connect]:
    opened: list[Connection] = []

    def connect(url: str, identity: Identity = NOBODY, **options: object) -> Connection:
        opened.append(Connection(read_address("server", url), identity, **options))
        return opened[-1]

    yield connect
    for each in opened:
        each.close()


def write_proxy(authority: trustme.CA, path: Path, name: str) -> Path:
    """Certificate and key in one file, as voms-proxy-init makes it."""
    issued = authority.issue_cert(name)
    path.touch(0o600)
    path.write_bytes(b"".join([issued.private_key_pem.bytes(), *(each.bytes() for each in issued.cert_chain_pems)]))
    return path


def who(asked: Asked) -> None:
    """Tell a client who it is."""
    certificate = asked.connection.getpeercert() if isinstance(asked.connection, ssl.SSLSocket) else None
    names = dict(certificate).get("subjectAltName", ()) if certificate else ()
    reply(asked, ",".join(name for _, name in names).encode())


# --- what is carried ----------------------------------------------------------------------------------------------


def test_a_call_is_made_as_it_is(connect: Connect) -> None:
    seen: list[object] = []

    def handle(asked: Asked) -> None:
        seen.append((asked.command, asked.path, asked.headers["Accept"], reply(asked, b"{}")))

    with serving(handle) as url:
        assert connect(url)(CALL) == Reply(200, b"{}")
        assert connect(url + "/")(Call("GET", "/api/v1/system/is_alive?x=%5B", {"Accept": "a"})) == Reply(200, b"{}")
    assert seen == [
        ("POST", CALL.path, "application/json", CALL.body),
        ("GET", "/api/v1/system/is_alive?x=%5B", "a", b""),
    ]


@pytest.mark.parametrize("status", [200, 403, 404, 500, 502])
def test_a_status_is_for_others_to_judge(connect: Connect, status: int) -> None:
    with serving(lambda asked: reply(asked, b"ERROR", status)) as url:
        assert connect(url)(CALL) == Reply(status, b"ERROR")


def test_what_was_packed_is_unpacked(connect: Connect) -> None:
    with serving(lambda asked: reply(asked, gzip.compress(b"{}" * 9), Content_Encoding="gzip")) as url:
        assert connect(url)(CALL).body == b"{}" * 9


def test_nobody_is_sent_elsewhere_with_our_secrets(connect: Connect) -> None:
    with serving(lambda asked: reply(asked, b"", 302, Location="http://localhost:1/")) as url:
        assert connect(url)(CALL).status == 302


# --- whom we trust, and who we are --------------------------------------------------------------------------------


def test_a_server_is_believed_whose_certificate_is_of_an_authority_that_we_trust(
    connect: Connect, tls: ssl.SSLContext, authorities: Path
) -> None:
    with serving(who, tls) as url:
        assert connect(url, ca_directory=authorities)(CALL) == Reply(200, b"")


@pytest.mark.parametrize("fault", ["another authority", "another name", "no TLS"])
def test_any_other_server_is_told_nothing(
    connect: Connect, tls: ssl.SSLContext, authorities: Path, tmp_path: Path, fault: str
) -> None:
    asked: list[Asked] = []
    (tmp_path / "none").mkdir()
    trusted = tmp_path / "none" if fault == "another authority" else authorities
    with serving(asked.append, None if fault == "no TLS" else tls) as served:
        url = served.replace("http:", "https:")
        url = url.replace("localhost", "127.0.0.1") if fault == "another name" else url
        with pytest.raises(WireError, match=f"{url}: "):
            connect(url, ca_directory=trusted)(CALL)
    assert asked == []


def test_a_proxy_says_who_we_are_and_a_new_one_says_it_anew(
    connect: Connect, tls: ssl.SSLContext, authority: trustme.CA, authorities: Path, tmp_path: Path
) -> None:
    proxy = write_proxy(authority, tmp_path / "proxy", "me.first")
    with serving(who, tls) as url:
        connection = connect(url, Proxy(proxy), ca_directory=authorities)
        assert connection(CALL).body == b"me.first"
        write_proxy(authority, proxy, "me.second")
        os.utime(proxy, ns=(1, 1))
        assert connection(CALL).body == b"me.second"


def test_a_proxy_that_is_none_is_no_reply(
    connect: Connect, tls: ssl.SSLContext, authorities: Path, tmp_path: Path
) -> None:
    proxy = tmp_path / "proxy"
    proxy.touch(0o600)
    with serving(who, tls) as url, pytest.raises(WireError, match=url):
        connect(url, Proxy(proxy), ca_directory=authorities)(CALL)


def test_a_token_says_who_we_are_and_a_new_one_says_it_anew(connect: Connect, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.touch(0o600)
    file.write_text("first\n")
    seen: list[tuple[str, str]] = []

    def handle(asked: Asked) -> None:
        seen.append((asked.headers["Authorization"], asked.headers["Origin"]))
        reply(asked, b"")

    with serving(handle) as url:
        connection = connect(url, Token(file, "atlas.pilot"))
        connection(CALL)
        connection(CALL)
        file.write_text("second, longer".partition(",")[0])
        connection(CALL)
    assert seen == [("Bearer first", "atlas.pilot")] * 2 + [("Bearer second", "atlas.pilot")]


@pytest.mark.parametrize("kind", ["token", "proxy"])
def test_who_we_are_is_told_only_as_long_as_nobody_else_may_read_it(
    connect: Connect, tmp_path: Path, kind: str
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hidden")
    secret.chmod(0o640)
    identity = Token(secret, "atlas") if kind == "token" else Proxy(secret)
    with serving(who) as url, pytest.raises(WireError, match=f"{kind} {secret}: others may read it") as refused:
        connect(url, identity)(CALL)
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "No such file"),
        (b"", "no token"),
        (b"a b", "no token"),
        (b"\xff", "no token"),
        (b"x" * 70_000, "no token"),
        (b"a\nb", "no token"),
    ],
)
def test_what_is_no_token_is_not_told(tmp_path: Path, content: bytes | None, why: str) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.touch(0o600)
        file.write_bytes(content)
    with pytest.raises(UnusableInput, match=why):
        Token(file, "atlas").headers()


def test_a_token_is_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.touch(0o600)
    file.write_text("hidden")
    token = Token(file, "atlas")
    token.headers()
    assert "hidden" not in repr(token)


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({"PANDA_AUTH_TOKEN": "/t", "PANDA_AUTH_ORIGIN": "atlas"}, Token(Path("/t"), "atlas")),
        (
            {"OIDC_AUTH_TOKEN": "t", "OIDC_AUTH_ORIGIN": "a", "OIDC_AUTH_DIR": "/d", "PANDA_AUTH_TOKEN": "x"},
            Token(Path("/d/t"), "a"),
        ),
        ({"PANDA_AUTH_TOKEN": "/t", "PANDA_AUTH_ORIGIN": "a", "X509_USER_PROXY": "/p"}, Token(Path("/t"), "a")),
        ({"X509_USER_PROXY": "/p"}, Proxy(Path("/p"))),
        ({"OIDC_AUTH_TOKEN": "", "X509_USER_PROXY": "/p"}, Proxy(Path("/p"))),
    ],
)
def test_who_we_are_is_where_sites_put_it(environment: dict[str, str], found: Identity) -> None:
    assert find_identity(environment) == found


def test_a_token_without_its_origin_is_half_a_token() -> None:
    with pytest.raises(UnusableInput, match="neither OIDC_AUTH_ORIGIN nor PANDA_AUTH_ORIGIN is set"):
        find_identity({"PANDA_AUTH_TOKEN": "/t"})


# --- no reply -----------------------------------------------------------------------------------------------------


def test_a_server_that_is_not_there(connect: Connect) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(WireError, match=f"http://127.0.0.1:{port}: .*[Cc]onnection refused"):
        connect(f"http://127.0.0.1:{port}")(CALL)


@pytest.mark.parametrize(
    ("body", "headers"),
    [(b" " * 2000, {}), (gzip.compress(b" " * 2000), {"Content_Encoding": "gzip"})],
    ids=["as it is", "packed"],
)
def test_a_reply_without_an_end(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, body: bytes, headers: dict[str, str]
) -> None:
    monkeypatch.setattr(line, "LARGEST_REPLY_BYTES", 1000)
    with (
        serving(lambda asked: reply(asked, body, **headers)) as url,
        pytest.raises(WireError, match="larger than 1000 bytes"),
    ):
        connect(url)(CALL)


@pytest.mark.parametrize("body", [b"{}", gzip.compress(b"{}")[:-1]], ids=["not packed", "broken off"])
def test_what_cannot_be_unpacked_is_no_reply(connect: Connect, body: bytes) -> None:
    with serving(lambda asked: reply(asked, body, Content_Encoding="gzip")) as url, pytest.raises(WireError, match=url):
        connect(url)(CALL)


def test_a_reply_that_breaks_off(connect: Connect) -> None:
    def half(asked: Asked) -> None:
        asked.send_response(200)
        asked.send_header("Content-Length", "1000")
        asked.end_headers()
        asked.wfile.write(b"{")
        asked.close_connection = True

    with serving(half) as url, pytest.raises(WireError, match="IncompleteRead"):
        connect(url)(CALL)


def test_a_server_that_talks_another_language(connect: Connect) -> None:
    with serving(lambda asked: asked.wfile.write(b"SSH-2.0-OpenSSH\r\n")) as url, pytest.raises(WireError, match=url):
        connect(url)(CALL)
