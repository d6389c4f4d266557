"""A stand-in for a Rucio server on the loopback interface: its catalogue, and one RSE in a directory.

It knows the requests that Rucio's own client makes for a copy, found by reading that client. The client moves the
bytes itself, by its protocol `file`; so what is tested here is that client with our use of it, not the catalogue.
"""

import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlsplit

import pytest
from rucio.common.config import clean_cached_config
from rucio.rse.translation import RSEDeterministicTranslation

from esfsm.adapters.storage.rucio import RucioStorage
from esfsm.errors import TransferError

RSE, SCOPE, ACCOUNT = "CERN-PROD_ES", "user.es", "es"
STATES = {"A": "AVAILABLE", "C": "COPYING"}
CONTENT = bytes(range(256)) * 40
STORED = (len(CONTENT), f"{zlib.adler32(CONTENT):08x}")
ANYTHING = {"read": 1, "write": 1, "delete": 1}


class Refusal(Exception):
    """What a Rucio server answers when it does not do a thing: a status, and the name of one of its exceptions."""

    def __init__(self, status: int, name: str, message: str) -> None:
        super().__init__(message)
        self.status, self.name, self.message = status, name, message


class Server:
    """Begun and ended as a test wants; its catalogue and its files outlive it."""

    def __init__(self, home: Path) -> None:
        self.files = home / "files"
        self.files.mkdir()
        self.asked: list[str] = []
        self.forget()
        self.port = 0
        self._lock = Lock()
        self.begin()
        self.configuration = home / "rucio.cfg"
        host = f"http://127.0.0.1:{self.port}"
        self.configuration.write_text(
            f"[client]\nrucio_host = {host}\nauth_host = {host}\nauth_type = userpass\naccount = {ACCOUNT}\n"
            f"username = es\npassword = open sesame\nauth_token_file_path = {home}/tokens/token\n"
        )

    def forget(self) -> None:
        """As on its first day."""
        self.dids: dict[str, dict[str, Any]] = {}
        self.replicas: dict[str, str] = {}  # LFN: state
        self.rules: list[str] = []
        self.datasets: dict[str, list[str]] = {}
        self.settings: dict[str, Any] = {"availability_write": True}
        self.fault: Callable[[str], object] = lambda request: None
        self.token = "a.token"
        self.asked.clear()

    def begin(self) -> None:
        """Listen, on the same port each time."""
        answer = self._answer

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer(self)

            do_POST = do_PUT = do_GET  # noqa: N815

            def log_message(self, *_: Any) -> None:
                """Nobody reads it."""

        self._listener = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.port = self._listener.server_port
        self._thread = Thread(target=self._listener.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def end(self) -> None:
        """Nobody listens any more."""
        self._listener.shutdown()
        self._thread.join()
        self._listener.server_close()

    def url(self, name: str) -> str:
        return f"rucio://{RSE}/{SCOPE}/{name}"

    def contents(self) -> dict[str, bytes]:
        """Everything that the RSE has, by the last part of its path."""
        return {path.name: path.read_bytes() for path in self.files.rglob("*") if path.is_file()}

    def path(self, name: str) -> Path:
        """Of a file at the RSE."""
        (found,) = self.files.rglob(name)
        return found

    def _answer(self, asked: BaseHTTPRequestHandler) -> None:
        url, body = urlsplit(asked.path), asked.rfile.read(int(asked.headers.get("Content-Length", 0)))
        request = f"{asked.command} {url.path.strip('/')}"
        headers: dict[str, str] = {}
        try:
            self.asked.append(request)
            self.fault(request)
            if not request.startswith("GET auth/") and asked.headers["X-Rucio-Auth-Token"] != self.token:
                raise Refusal(401, "CannotAuthenticate", "Cannot authenticate with given credentials")
            parts = [unquote_plus(part) for part in request.split(" ")[1].split("/")]
            with self._lock:
                told = self._do(asked.command, parts, parse_qs(url.query), json.loads(body or b"null"))
            status, text = (201 if asked.command == "POST" and parts != ["replicas", "list"] else 200), told
            headers["X-Rucio-Auth-Token"] = self.token
        except Refusal as refusal:
            status, text = refusal.status, {"ExceptionClass": refusal.name, "ExceptionMessage": refusal.message}
            headers["ExceptionClass"], headers["ExceptionMessage"] = refusal.name, refusal.message
        stream = isinstance(text, list)
        lines = "\n".join(json.dumps(line) for line in text) if stream else json.dumps(text)
        headers["Content-Type"] = "application/x-json-stream" if stream else "application/json"
        with suppress(ConnectionError):  # who asked may be dead
            asked.send_response(status)
            for name, value in headers.items():
                asked.send_header(name, value)
            asked.end_headers()
            asked.wfile.write(lines.encode())

    def _do(self, method: str, parts: list[str], query: dict[str, list[str]], given: Any) -> Any:
        match method, parts:
            case "GET", ["auth", "userpass"]:
                return {}
            case "GET", ["accounts", _, "scopes"]:
                return (SCOPE,)  # a list in one piece; of a list, each item is sent as a line
            case "GET", ["rses"]:
                return [{"rse": name} for name in query["expression"] if name == RSE]
            case "GET", ["rses", name] if name == RSE:
                return self._rse()
            case "GET", ["rses", _, "attr"]:
                return {}
            case "GET", ["rses", name]:
                raise Refusal(404, "RSENotFound", f"RSE {name} does not exist")
            case "GET", ["dids", _, "dids", "search"]:
                return list(self.dids)
            case "GET", ["dids", _, name]:
                return {"type": "DATASET"} if name in self.datasets else {"type": "FILE", **self._did(name)}
            case "GET", ["dids", _, name, "meta"]:
                return self._did(name)
            case "POST", ["replicas", "list"]:
                return self._list(given)
            case "POST", ["replicas"]:
                return self._add(given["files"])
            case "PUT", ["replicas"]:
                self.replicas |= {file["name"]: STATES[file["state"]] for file in given["files"]}
                return {}
            case "POST", ["rules"]:
                return self._rule([did["name"] for did in given["dids"]])
        raise AssertionError(f"the stand-in does not know {method} {parts}")

    def _rse(self) -> dict[str, Any]:
        protocol = {"scheme": "file", "hostname": "localhost", "port": 0, "prefix": str(self.files)}
        protocol |= {"impl": "rucio.rse.protocols.posix.Default", "domains": {"wan": ANYTHING, "lan": ANYTHING}}
        settings = {"rse": RSE, "id": "1", "deterministic": True, "domain": ["lan", "wan"], "sign_url": None}
        settings |= {"verify_checksum": True, "lfn2pfn_algorithm": "hash", "protocols": [protocol]}
        return settings | self.settings

    def _did(self, name: str) -> dict[str, Any]:
        if name not in self.dids:
            raise Refusal(404, "DataIdentifierNotFound", f"Data identifier '{SCOPE}:{name}' not found")
        return self.dids[name]

    def _list(self, given: dict[str, Any]) -> list[dict[str, Any]]:
        asked = [did["name"] for did in given["dids"]]
        files = [file for name in asked for file in self.datasets.get(name, [name]) if file in self.dids]
        return [self._entry(name, all_states=given["all_states"]) for name in files]

    def _entry(self, name: str, *, all_states: bool) -> dict[str, Any]:
        path = RSEDeterministicTranslation(RSE, self._rse(), {}).path(SCOPE, name)
        entry: dict[str, Any] = {"scope": SCOPE, "name": name, **self.dids[name], "rses": {}, "states": {}}
        if (state := self.replicas.get(name)) == "AVAILABLE" or (state and all_states):
            entry |= {"rses": {RSE: [f"file://localhost{self.files}/{path}"]}, "states": {RSE: state}}
        return entry

    def _add(self, files: list[dict[str, Any]]) -> dict[str, Any]:
        for file in files:
            name, told = file["name"], {"bytes": file["bytes"], "adler32": file["adler32"]}
            if self.dids.setdefault(name, told) != told:
                raise Refusal(409, "FileConsistencyMismatch", f"({SCOPE}, {name}) is known with other contents")
            if name in self.replicas:
                raise Refusal(409, "Duplicate", "File replica already exists!")
            self.replicas[name] = STATES[file["state"]]
        return {}

    def _rule(self, names: list[str]) -> tuple[str]:
        if set(names) & set(self.rules):
            raise Refusal(409, "DuplicateRule", "A duplicate rule already exists")
        self.rules += names
        return ("a rule",)


@contextmanager
def server(home: Path) -> Iterator[Server]:
    """One that runs."""
    running = Server(home)
    try:
        yield running
    finally:
        running.end()
        clean_cached_config()


@contextmanager
def fresh(running: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One that knows nothing yet, and is the one that Rucio's client finds."""
    for name in [name for name in os.environ if name.startswith("RUCIO_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("RUCIO_CONFIG", str(running.configuration))
    clean_cached_config()
    running.forget()
    yield
    shutil.rmtree(running.files)
    running.files.mkdir()


def known(there: Server, source: Path, name: str, content: bytes) -> str:
    """A file that others have stored; its URL."""
    (before := source.with_name("before")).write_bytes(content)
    url = RucioStorage(2.0).put(before, there.url(name)).url
    there.asked.clear()
    return url


def refused(do: Callable[..., object], *given: object) -> TransferError:
    """What is said, in one line and without a secret."""
    with pytest.raises(TransferError) as raised:
        do(*given)
    assert "\n" not in str(raised.value)
    assert "open sesame" not in str(raised.value)
    return raised.value
