"""A local broker that is closed when the test ends."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from contract.brokers import Open, job

from esfsm.adapters.communicators.local import LocalCommunicator, open_local
from esfsm.model.settings import Settings


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    communicators: list[LocalCommunicator] = []

    def open_it(panda_id: int = 5001, run: str = "r1", more: dict[str, object] | None = None, **chosen: object):
        chosen.setdefault("broker", tmp_path / "shared.sqlite")
        communicators.append(open_local(job(panda_id, **(more or {})), Settings(**chosen), tmp_path, run))
        return communicators[-1]

    yield open_it
    for communicator in communicators:
        communicator.close()
