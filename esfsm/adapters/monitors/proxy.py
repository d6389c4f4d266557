"""How long an X.509 proxy is good. What else is in its file is not kept, told or logged."""

import os
from collections.abc import Collection
from pathlib import Path
from time import time

from esfsm.model.reading import read_file
from esfsm.model.resources import Resources
from esfsm.model.settings import Settings
from esfsm.ports import ProcessIdentity
from esfsm.proxy import proxy_path

__all__ = ["ProxyMonitor", "open_monitor"]


class ProxyMonitor:
    """Measures the proxy in a PEM file, as it is now: whoever renews a proxy replaces its file."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def measure(self, payload: ProcessIdentity) -> Resources:
        """Seconds until the first certificate of its chain ends, less than 0 after that."""
        return Resources(proxy_left_s=None if self._path is None else _left_s(self._path))


def open_monitor(settings: Settings, workdir: Path, ours: Collection[str]) -> ProxyMonitor:
    """For the proxy that is shown to PanDA; nobody else of ours needs one."""
    return ProxyMonitor(proxy_path(os.environ) if settings.communicator == "panda" else None)


def _left_s(path: Path) -> float | None:
    """None for a file that cannot be read or holds no certificate."""
    from cryptography import x509  # 0.06 s (measured), for who has a proxy

    try:
        chain = x509.load_pem_x509_certificates(read_file(path))
        return min(certificate.not_valid_after_utc.timestamp() for certificate in chain) - time()
    except (OSError, ValueError, x509.InvalidVersion):
        return None
