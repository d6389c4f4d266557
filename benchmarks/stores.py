#!/usr/bin/env python3
"""How fast archives are stored: `python benchmarks/stores.py --megabytes 2000`.

One ready archive goes to an XRootD server and to an S3 server (rclone's), both on the loopback interface and on the
same disk, by our storages and by what the field uses: `xrdcp`, also with the checksum asked for, and `upload_file` of
boto3. They take turns in one run. Ours has looked whether the name is taken, computed size and adler32, and asked them
back.
The servers are those of the tests.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from uuid import uuid4

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from contract import s3 as s3_servers
from contract import xrootd as xrootd_servers

from esfsm.adapters.storage.s3 import S3Storage
from esfsm.adapters.storage.xrootd import XrootdStorage

__all__ = ["main"]

Store = Callable[[Path, str], object]
"""archive, name of its copy"""
CHECKSUMS = "all.export /\nxrootd.chksum max 2 adler32\n"
PATIENCE_S = 60.0


def xrootd_ways(server: xrootd_servers.Server) -> dict[str, Store]:
    """To one server."""
    ours = XrootdStorage(PATIENCE_S)

    def xrdcp(*options: str) -> Store:
        def store(archive: Path, name: str) -> object:
            command = ["xrdcp", "--nopbar", *options, str(archive), f"{server.url}//{name}"]
            return subprocess.run(command, check=True, capture_output=True)

        return store

    return {
        "xrdcp": xrdcp(),
        "xrdcp --cksum adler32": xrdcp("--cksum", "adler32:source"),
        "ours, XRootD": lambda archive, name: ours.put(archive, f"{server.url}//{name}"),
    }


def s3_ways(server: s3_servers.Server) -> dict[str, Store]:
    """To one server."""
    ours = S3Storage(server.endpoint, None, PATIENCE_S)
    return {
        "boto3 upload_file": lambda archive, name: server.client.upload_file(str(archive), s3_servers.BUCKET, name),
        "ours, S3": lambda archive, name: ours.put(archive, f"s3://{s3_servers.BUCKET}/{name}"),
    }


def measure(ways: Mapping[str, Store], archive: Path, files: Path, rounds: int) -> None:
    """One line for each way; the first one is what the others are compared with."""
    took_s: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for way, store in ways.items():
            name = uuid4().hex
            began = time.monotonic()
            store(archive, name)
            took_s[way].append(time.monotonic() - began)
            for path in files.rglob(name):
                path.unlink()
            os.sync()
    base = median(next(iter(took_s.values())))
    for way, seconds in took_s.items():
        middle, spread = median(seconds), f"({min(seconds):.2f} - {max(seconds):.2f})"
        rate = archive.stat().st_size / 1e6 / middle
        print(f"  {way:24} {middle:7.2f} s {spread:17} {rate:6.0f} MB/s {middle / base:5.2f} x", flush=True)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    os.environ |= s3_servers.KEYS
    with TemporaryDirectory(prefix="esfsm-stores-") as home:
        archive = Path(home, "archive.tar")
        with archive.open("wb") as file:
            for _ in range(asked.megabytes):
                file.write(os.urandom(1_000_000))
        print(f"an archive of {asked.megabytes} MB, {asked.rounds} rounds")
        with TemporaryDirectory() as place, xrootd_servers.server(Path(place), CHECKSUMS) as xrootd:
            measure(xrootd_ways(xrootd), archive, xrootd.files, asked.rounds)
        with TemporaryDirectory() as place, s3_servers.server(s3_servers.RCLONE, Path(place)) as s3:
            measure(s3_ways(s3), archive, Path(place, "files"), asked.rounds)


if __name__ == "__main__":
    main()
