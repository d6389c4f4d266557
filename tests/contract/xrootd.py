"""A real XRootD server on the loopback interface, and its directory seen without it."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PATIENCE_S = 20.0


class Server:
    """Begun and ended as a test wants; its files outlive it."""

    def __init__(self, home: Path, settings: str) -> None:
        self.home, self.files = home, home / "files"
        self.files.mkdir(parents=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"root://127.0.0.1:{self.port}"
        (home / "xrootd.cfg").write_text(
            f"oss.localroot {self.files}\nxrd.port {self.port}\n"
            f"all.adminpath {home}\nall.pidpath {home}\nxrd.network nodnr\n{settings}"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        """Returns as soon as it listens."""
        for path in (self.home, *self.home.rglob("*")):
            if not path.is_symlink():
                shutil.chown(path, "nobody")
        command = ["xrootd", "-R", "nobody", "-c", str(self.home / "xrootd.cfg"), "-l", str(self.home / "log")]
        told = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(command, cwd=self.home, start_new_session=True, **told)
        environment = {**os.environ, "XRD_CONNECTIONWINDOW": "1", "XRD_CONNECTIONRETRY": "100"}
        asked = ["xrdfs", self.url, "query", "config", "version"]
        subprocess.run(asked, env=environment, check=True, capture_output=True, timeout=PATIENCE_S)

    def end(self) -> None:
        """At once, as a crash would."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def send(self, number: signal.Signals) -> None:
        """For one that is to stand still, and go on."""
        assert self._process is not None
        os.killpg(self._process.pid, number)

    def contents(self) -> dict[str, bytes]:
        """Everything that it has, by path."""
        return {str(p.relative_to(self.files)): p.read_bytes() for p in self.files.rglob("*") if p.is_file()}

    def write(self, name: str, content: bytes) -> str:
        """A file that others have put there; its URL."""
        path = self.files / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        for each in (path, *path.relative_to(self.files).parents):
            shutil.chown(self.files / each, "nobody")
        return f"{self.url}//{name}"


@contextmanager
def server(home: Path, settings: str) -> Iterator[Server]:
    """One that runs; skipped where it is not installed."""
    for program in ("xrootd", "xrdcp"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: apt install xrootd-server xrootd-client")
    if os.getuid() != 0:
        pytest.skip("who is not root cannot give a server's files to nobody")
    running = Server(home, settings)
    running.begin()
    try:
        yield running
    finally:
        running.end()
