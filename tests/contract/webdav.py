"""WebDAV servers on the loopback interface: nginx, which keeps no checksums, and XRootD's, which does."""

import os
import select
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from contract import xrootd

PATIENCE_S = 20.0
MODULE = Path("/usr/lib/nginx/modules/ngx_http_dav_ext_module.so")
NGINX = """\
load_module {module};
user root;
pid {home}/nginx.pid;
error_log {home}/error.log;
worker_processes 1;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_max_body_size 0;
    client_body_temp_path {home}/body;
    server {{
        listen 127.0.0.1:{port}{tls};
        root {home}/files;
        dav_methods PUT DELETE MKCOL MOVE;
        dav_ext_methods PROPFIND OPTIONS;
        {more}
    }}
}}
"""


class Nginx:
    """Begun and ended as a test wants; its files outlive it."""

    checksums = False

    def __init__(self, home: Path, tls: str = "", more: str = "") -> None:
        self.home, self.files = home, home / "files"
        self.files.mkdir(parents=True)
        self.port = _free_port()
        self.url = f"{'davs' if tls else 'dav'}://127.0.0.1:{self.port}"
        told = NGINX.format(module=MODULE, home=home, port=self.port, tls=" ssl" if tls else "", more=f"{tls}{more}")
        (home / "nginx.conf").write_text(told)

    def begin(self) -> None:
        """Returns when its worker answers."""
        subprocess.run(["nginx", "-p", str(self.home), "-c", str(self.home / "nginx.conf")], check=True)
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE_S) as asks:
            asks.sendall(b"no request\r\n\r\n")
            assert asks.recv(1)

    def end(self) -> None:
        """At once, as a crash would; its workers, too."""
        if (self.home / "nginx.pid").exists():
            master = int((self.home / "nginx.pid").read_text())
            workers = Path(f"/proc/{master}/task/{master}/children").read_text().split()
            (self.home / "nginx.pid").unlink()
            for pid in (master, *map(int, workers)):
                waits = os.pidfd_open(pid)
                os.kill(pid, signal.SIGKILL)
                select.select([waits], [], [], PATIENCE_S)
                os.close(waits)

    def contents(self) -> dict[str, bytes]:
        """Everything that it has, by path."""
        return {str(p.relative_to(self.files)): p.read_bytes() for p in self.files.rglob("*") if p.is_file()}

    def write(self, name: str, content: bytes) -> str:
        """A file that others have put there; its URL."""
        (self.files / name).parent.mkdir(parents=True, exist_ok=True)
        (self.files / name).write_bytes(content)
        return f"{self.url}/{name}"


class XrdHttp(xrootd.Server):
    """XRootD's server, as HTTP clients see it."""

    checksums = True

    def __init__(self, home: Path) -> None:
        port = _free_port()
        settings = f"all.export /\nxrootd.chksum max 2 adler32\nxrd.protocol http:{port} libXrdHttp.so\n"
        super().__init__(home, settings)
        self.dav_url = f"dav://127.0.0.1:{port}"

    def write(self, name: str, content: bytes) -> str:
        """A file that others have put there; its URL."""
        super().write(name, content)
        return f"{self.dav_url}/{name}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def url_of(server: Nginx | XrdHttp) -> str:
    return server.dav_url if isinstance(server, XrdHttp) else server.url


@contextmanager
def server(make: Callable[[Path], Nginx | XrdHttp], home: Path) -> Iterator[Nginx | XrdHttp]:
    """One that runs; skipped where it is not installed."""
    if os.getuid() != 0:
        pytest.skip("who is not root cannot give a server its files")
    if make is XrdHttp and shutil.which("xrootd") is None:
        pytest.skip("xrootd is not installed: apt install xrootd-server xrootd-client")
    if make is not XrdHttp and not (shutil.which("nginx") and MODULE.exists()):
        pytest.skip("nginx with WebDAV is not installed: apt install nginx-extras")
    running = make(home)
    running.begin()
    try:
        yield running
    finally:
        running.end()
