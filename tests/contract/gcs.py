"""A stand-in for Google Cloud Storage on the loopback interface: its JSON requests, as gcsfs makes them.

Objects are whole or not there, their size and md5 are computed from what came, and `ifGenerationMatch=0` is kept.
"""

import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

BUCKET = "atlas-es"
PAGE = 1000
"""Names in one answer, as at the real one."""


class Refusal(Exception):
    """A status that is not a success, and what is said with it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class Server:
    """Begun and ended as a test wants; its objects outlive it."""

    def __init__(self) -> None:
        self.port = 0
        self._lock, self.ended = Lock(), Event()
        self.forget()
        self.begin()

    def forget(self) -> None:
        """As on its first day."""
        self.objects: dict[str, bytes] = {}
        self.parts: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.fault: Callable[[str], object] = lambda request: None
        self.reading: Callable[[str], bool] = lambda request: True
        self.rot: Callable[[bytes], bytes] = bytes
        self.md5 = True

    def begin(self) -> None:
        """Listen, on the same port each time."""
        answer = self._answer

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer(self)

            do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815

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

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def write(self, name: str, content: bytes) -> str:
        """A file that others have put there; its URL."""
        self.objects[name] = content
        return f"gs://{BUCKET}/{name}"

    def _answer(self, asked: BaseHTTPRequestHandler) -> None:
        url = urlsplit(asked.path)
        request = f"{asked.command} {url.path}"
        if not self.reading(request):
            self.ended.wait()
            return
        body = asked.rfile.read(int(asked.headers.get("Content-Length", 0)))
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        status, headers = 200, {}
        try:
            self.asked.append(request)
            self.fault(request)
            with self._lock:
                told = self._do(asked, url.path.strip("/").split("/"), query, body)
            if isinstance(told, str):
                headers["Location"], told = told, {}
        except Refusal as refusal:
            status, told = refusal.status, {"error": {"code": refusal.status, "message": refusal.message}}
        text = told if isinstance(told, bytes) else json.dumps(told).encode()
        with suppress(ConnectionError):  # who asked may be dead
            asked.send_response(status)
            for name, value in {"Content-Length": str(len(text)), **headers}.items():
                asked.send_header(name, value)
            asked.end_headers()
            asked.wfile.write(text)

    def _do(self, asked: BaseHTTPRequestHandler, parts: list[str], query: dict[str, str], body: bytes) -> Any:
        place = parts[parts.index("b") + 1 :]
        if place[0] != BUCKET:
            raise Refusal(404, "The specified bucket does not exist.")
        name = unquote(place[2]) if len(place) > 2 else ""
        match asked.command, parts[0]:
            case "DELETE", "upload":
                self.parts.clear()
                raise Refusal(499, "")  # how the real one tells that an upload is given up
            case "POST", "upload":
                return self._upload(asked, query, body)
            case "GET", "storage" if not name:
                return self._list(query)
            case _ if name not in self.objects:
                raise Refusal(404, f"No such object: {BUCKET}/{name}")
            case "GET", "storage":
                return self._entry(name)
            case "GET", "download":
                return self.objects[name]
            case "DELETE", "storage":
                del self.objects[name]
                return {}
        raise AssertionError(f"the stand-in does not know {asked.command} {parts}")

    def _upload(self, asked: BaseHTTPRequestHandler, query: dict[str, str], body: bytes) -> Any:
        if query["uploadType"] == "multipart":
            _, about, content = body.split(b"--==0==", 2)
            content = content[: -len(b"\n--==0==--")].partition(b"\n\n")[2]
            return self._create(json.loads(about.partition(b"\n\n")[2])["name"], content, query)
        if "upload_id" not in query:
            self.parts[query["name"]] = b""
            return f"{self.url}{asked.path}&upload_id=1"
        name, (_, _, size) = query["name"], asked.headers["Content-Range"].replace("/", "-").split("-")
        self.parts[name] += body
        if len(self.parts[name]) < int(size):
            return {}
        return self._create(name, self.parts.pop(name), query)

    def _create(self, name: str, content: bytes, query: dict[str, str]) -> dict[str, Any]:
        if query.get("ifGenerationMatch") == "0" and name in self.objects:
            raise Refusal(412, "At least one of the pre-conditions you specified did not hold.")
        self.objects[name] = self.rot(content)
        return self._entry(name)

    def _entry(self, name: str) -> dict[str, Any]:
        content = self.objects[name]
        entry = {"name": name, "bucket": BUCKET, "size": str(len(content)), "generation": "1"}
        entry |= {"timeCreated": "2025-01-01T00:00:00Z", "updated": "2025-01-01T00:00:00Z"}
        return entry | ({"md5Hash": b64encode(md5(content).digest()).decode()} if self.md5 else {})

    def _list(self, query: dict[str, str]) -> dict[str, Any]:
        prefix, first = query.get("prefix", ""), int(query.get("pageToken", 0))
        below = sorted(name for name in self.objects if name.startswith(prefix))
        page, rest = below[first : first + PAGE], below[first + PAGE :]
        files = [name for name in page if "/" not in name.removeprefix(prefix) or "delimiter" not in query]
        directories = {prefix + name.removeprefix(prefix).partition("/")[0] + "/" for name in {*page} - {*files}}
        told: dict[str, Any] = {
            "kind": "storage#objects",
            "items": [self._entry(name) for name in files],
            "prefixes": sorted(directories),
        }
        return told | ({"nextPageToken": str(first + PAGE)} if rest else {})


@contextmanager
def server() -> Iterator[Server]:
    """One that runs."""
    running = Server()
    try:
        yield running
    finally:
        running.ended.set()
        running.end()
