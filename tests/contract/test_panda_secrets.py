"""A server that gives our token back: nobody is told, in whatever words it does so."""

import json
import os
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pytest
from contract.web import Asked, reply, serving

from esfsm.adapters.communicators.address import read_address
from esfsm.adapters.communicators.connection import Connection
from esfsm.adapters.communicators.identity import Token, find_identity, without_secret
from esfsm.adapters.communicators.server import PandaServer
from esfsm.errors import UnusableInput, WireError
from esfsm.wire.panda.jobs import read_jobs

HEADER, CLAIMS, SIGNATURE = "eyJhbGciOiJSUzI1NiJ9", "eyJzdWIiOiJwaWxvdCJ9", "c2lnbmVk+b3Zlcg/aWQ="
TOKEN = f"{HEADER}.{CLAIMS}.{SIGNATURE}"
TOLD = {"Authorization": f"Bearer {TOKEN}", "Origin": "atlas.pilot"}


@pytest.fixture
def identity(tmp_path: Path) -> Token:
    file = tmp_path / "token"
    file.touch(0o600)
    file.write_text(TOKEN)
    return Token(file, "atlas.pilot")


def status(asked: Asked, token: str) -> None:
    reply(asked, f"echo: A={token} {'x' * 300}".encode(), 500)


def at_the_edge(asked: Asked, token: str) -> None:
    """A quotation may end in the middle of it."""
    reply(asked, f"{'x' * 150} {token}".encode(), 500)


def message(asked: Asked, token: str) -> None:
    reply(asked, json.dumps({"success": False, "message": f"bad token {token}"}).encode())


def no_json(asked: Asked, token: str) -> None:
    reply(asked, f"bad token {token}".encode())


def no_http(asked: Asked, token: str) -> None:
    asked.wfile.write(f"bad token {token}\r\n".encode())
    asked.close_connection = True


@pytest.fixture(params=[status, at_the_edge, message, no_json, no_http], ids=lambda echo: echo.__name__)
def server(request: pytest.FixtureRequest, identity: Token) -> Iterator[PandaServer]:
    """It says who it thinks we are."""
    with (
        serving(lambda asked: request.param(asked, asked.headers["Authorization"])) as url,
        closing(Connection(read_address("server", url), identity)) as connection,
    ):
        yield PandaServer(connection)


def test_a_quoted_reply_holds_no_token(server: PandaServer) -> None:
    with pytest.raises(WireError) as refused:
        server.call(lambda generation: generation.acquire_jobs({}), read_jobs)
    for part in (TOKEN, CLAIMS, SIGNATURE):
        assert part[:12] not in str(refused.value)
    assert "***" in str(refused.value)


@pytest.mark.parametrize(
    "spelt",
    [
        TOKEN.encode(),
        CLAIMS.encode(),
        SIGNATURE.encode(),
        quote(TOKEN).encode(),
        quote(TOKEN, safe="").encode(),
        TOKEN.replace("/", "\\/").encode(),
        *(b64encode(before + TOKEN.encode() + b"?>") for before in (b"", b"a", b"ab")),
        *(urlsafe_b64encode(before + TOKEN.encode()) for before in (b"", b"a", b"ab")),
    ],
)
def test_a_token_is_found_however_it_is_spelt(spelt: bytes) -> None:
    said = without_secret(b"it was " + spelt + b" indeed", TOLD)
    assert said.startswith(b"it was ")
    assert said.endswith(b" indeed")
    assert b"***" in said
    assert len(said) < 40, "nothing but the ends, which hold bits of its neighbours, is left"


@pytest.mark.parametrize("told", [{}, {"Authorization": "Bearer first"}, TOLD])
def test_what_is_no_secret_stays(told: dict[str, str]) -> None:
    said = f"at first {HEADER}, atlas.pilot".encode()
    assert without_secret(said, told) == said


def test_a_reply_without_the_token_is_not_copied() -> None:
    said = b"[]" * 1000
    assert without_secret(said, TOLD) is said


@pytest.mark.parametrize("origin", ["a\nb", "a\x7f", "ä"])
def test_an_origin_that_no_header_can_carry_is_refused(origin: str) -> None:
    with pytest.raises(UnusableInput, match=r"<vo>\.<role> is expected"):
        find_identity({"OIDC_AUTH_TOKEN": "/t", "OIDC_AUTH_ORIGIN": origin})


def test_a_token_in_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "token", 0o600)
    with pytest.raises(UnusableInput, match="not a regular file"):
        Token(tmp_path / "token", "atlas").headers()
