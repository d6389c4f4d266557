#!/usr/bin/env python3
"""What packing costs: `python benchmarks/packing.py --files 100 1000 3000 30000`.

So many outputs of 100 kB become one archive, in six ways that take turns in one run: ours (size and adler32 in the same
pass), `tar cf` without and with a sync, that with the adler32 read afterwards, Python's tarfile, and a plain copy of
the same bytes. All but the one that says so are synced. Each reads files that were just read: the page cache is the
same for all.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from esfsm.adapters.archives import tar
from esfsm.durable import BUFFER_BYTES, adler32_of

__all__ = ["main"]

SIZE_BYTES = 100_000


def ours(members: Mapping[str, Path], archive: Path) -> None:
    """As a job does it."""
    tar.pack(members, archive)


def gnu_tar(members: Mapping[str, Path], archive: Path) -> None:
    """The names in a file, as a command line cannot hold 30,000."""
    directory = next(iter(members.values())).parent
    names = archive.with_suffix(".names")
    names.write_text("\n".join(members))
    subprocess.run(["tar", "cf", archive, "-C", directory, "-T", names], check=True)


def gnu_tar_synced(members: Mapping[str, Path], archive: Path) -> None:
    """The same, and on the disk."""
    gnu_tar(members, archive)
    sync(archive)


def gnu_tar_and_adler32(members: Mapping[str, Path], archive: Path) -> None:
    """What a report needs."""
    gnu_tar_synced(members, archive)
    adler32_of(archive)


def python_tarfile(members: Mapping[str, Path], archive: Path) -> None:
    """The standard library's, synced."""
    with tarfile.open(archive, "w") as file:
        for name, path in members.items():
            file.add(path, name)
    sync(archive)


def copy(members: Mapping[str, Path], archive: Path) -> None:
    """The bytes and nothing else, synced."""
    with archive.open("wb") as target:
        for path in members.values():
            with path.open("rb") as source:
                shutil.copyfileobj(source, target, BUFFER_BYTES)
    sync(archive)


def sync(file: Path) -> None:
    """What was written is on the disk."""
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


WAYS: dict[str, Callable[[Mapping[str, Path], Path], None]] = {
    "ours": ours,
    "tar cf, not synced": gnu_tar,
    "tar cf": gnu_tar_synced,
    "tar cf, adler32": gnu_tar_and_adler32,
    "tarfile": python_tarfile,
    "copy": copy,
}


def measure(directory: Path, files: int, rounds: int) -> None:
    """One line for each way."""
    members = {f"HITS.{number:05d}": directory / f"HITS.{number:05d}" for number in range(files)}
    for path in members.values():
        path.write_bytes(os.urandom(SIZE_BYTES))
    os.sync()
    took_s: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(rounds):
        for name, way in WAYS.items():
            archive = directory / "archive.tar"
            began = time.monotonic()
            way(members, archive)
            took_s[name].append(time.monotonic() - began)
            archive.unlink()
    base = median(took_s["tar cf"])
    print(f"{files} files of {SIZE_BYTES // 1000} kB, {rounds} rounds")
    for name, seconds in took_s.items():
        middle, spread = median(seconds), f"({min(seconds):.2f} - {max(seconds):.2f})"
        each_us = 1e6 * middle / files
        print(f"  {name:20} {middle:7.2f} s {spread:17} {middle / base:5.2f} x tar cf {each_us:6.0f} us a file")


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, nargs="+", default=[100, 1000, 3000])
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    for files in asked.files:
        with TemporaryDirectory(prefix="esfsm-packing-") as directory:
            measure(Path(directory), files, asked.rounds)
            sys.stdout.flush()


if __name__ == "__main__":
    main()
