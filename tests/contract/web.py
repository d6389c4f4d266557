"""A web server for tests: it answers each request as a function says, in clear or over TLS."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

__all__ = ["Asked", "Handle", "reply", "serving"]

Asked = BaseHTTPRequestHandler
Handle = Callable[[Asked], object]


@contextmanager
def serving(handle: Handle, context: ssl.SSLContext | None = None) -> Iterator[str]:
    """Serve on loopback; the URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            handle(self)

        def do_POST(self) -> None:
            handle(self)

        def log_message(self, *_: Any) -> None:
            """Nobody reads it."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """Clients go away, and some are not let in."""

    with Server(("127.0.0.1", 0), Handler) as server:
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"{'https' if context else 'http'}://localhost:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def reply(asked: Asked, body: bytes, status: int = 200, **headers: str) -> bytes:
    """Answer with all of it; the body that was sent."""
    sent = asked.rfile.read(int(asked.headers.get("Content-Length", 0)))
    asked.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        asked.send_header(name.replace("_", "-"), value)
    asked.end_headers()
    asked.wfile.write(body)
    return sent
