"""Payloads that try to get away from their keeper, and an engine: `kept.py NAME ARGUMENT...` runs one, here or there.

Where they wait for the test, or the test for them, there is a named pipe.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path


def tell(name: str, text: object = "") -> None:
    Path(name).write_text(str(text))


def end(exit_code: str) -> None:
    """As soon as the test says so, with this exit code."""
    Path("go").read_text()
    sys.exit(int(exit_code))


def stay(name: str) -> None:
    """Say who it is, and do not end."""
    tell(name, os.getpid())
    while True:
        signal.pause()


def hear(name: str) -> None:
    """Tell of each SIGTERM, and do not end."""
    signal.signal(signal.SIGTERM, lambda *_: tell(f"heard by {name}"))
    stay(name)


def lose(child: str, then: str, *arguments: str) -> None:
    """Start a child that leaves group, session, environment and parent, and go on."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execve(sys.executable, [sys.executable, "-I", __file__, child, "child"], {})
        os._exit(0)
    os.wait()
    globals()[then](*arguments)


def orphan() -> None:
    """Start a grandchild that ends when its parent has, and go on."""
    told, tells = os.pipe()
    if os.fork() == 0:
        os.close(tells)
        if os.fork() == 0:
            os.read(told, 1)  # there is one end only, its parent's parent's
            os._exit(0)
        os._exit(0)
    os.wait()
    os.close(tells)
    hear("payload")


def nest(depth: str) -> None:
    """Hear SIGTERM, with a child in a session of its own that does so, too, and so on."""
    if int(depth):
        subprocess.Popen([sys.executable, "-I", __file__, "nest", str(int(depth) - 1)], start_new_session=True)
    hear(depth)


def deaf() -> None:
    """As a keeper that does not hear that all are to be killed."""
    signal.signal(signal.SIGRTMIN, signal.SIG_IGN)
    stay("keeper")


def engine(workdir: str, mark: str, *arguments: str) -> None:
    """Start a payload, say who leads it, and stay."""
    from esfsm.adapters.executors.process import Process
    from esfsm.ports import Payload

    directory = Path(workdir)
    process = Process(Payload(arguments, directory, {}, directory / "out.txt", directory / "err.txt", mark=mark))
    sys.stdout.write(json.dumps(process.identity) + "\n")
    sys.stdout.flush()
    signal.pause()


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
