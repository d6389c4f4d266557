"""The tools of one job: each is found by the name in the settings, and what is not there is said before all else."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Barrier, Thread

import pytest
from shell.jobs import es_job, plain_job, write_inputs

from esfsm.core import facts as f
from esfsm.equipment import Equipment, mark_of
from esfsm.errors import UnknownName, UnusableInput
from esfsm.model.job import Job
from esfsm.model.settings import Settings
from esfsm.ports import Communicator

Equip = Callable[..., Equipment]


@pytest.fixture
def equip(tmp_path: Path) -> Iterator[Equip]:
    made: list[Equipment] = []

    def equip(job: dict[str, object], **settings: object) -> Equipment:
        given, said_by = Settings.layered({"transformations": tmp_path, "input_url": str(tmp_path), **settings})
        made.append(Equipment(Job.read(job), tmp_path, given, said_by, "run"))
        return made[-1]

    yield equip
    for equipment in made:
        equipment.close()


def test_without_a_communicator_that_can_be_opened_nothing_begins(equip: Equip) -> None:
    with pytest.raises(UnusableInput, match="no communicator 'gone'"):
        equip(es_job(), communicator="gone").check()
    equip(plain_job(), communicator="gone").check()


@pytest.mark.parametrize(
    ("setting", "known"),
    [
        ({"channel": "gone"}, "no channel 'gone'"),
        ({"input_url": "gopher://there"}, "no storage scheme 'gopher'"),
        ({"output_url": "gopher://there"}, "no storage scheme 'gopher'"),
        ({"failover_url": "gopher://there"}, "no storage scheme 'gopher'"),
    ],
)
def test_a_channel_or_a_storage_that_nobody_knows_is_refused_before_anything_begins(
    equip: Equip, setting: dict[str, object], known: str
) -> None:
    with pytest.raises(UnknownName, match=known):
        equip(plain_job(), **setting).check()


@pytest.mark.parametrize(
    ("job", "communicator", "books"),
    [(es_job(), "local", True), (plain_job(), "local", False), (plain_job(), "panda", True)],
)
def test_a_job_without_event_ranges_is_booked_by_any_but_the_local_broker(
    equip: Equip, job: dict[str, object], communicator: str, books: bool
) -> None:
    assert equip(job, communicator=communicator).books_jobs is books


def test_there_is_one_communicator_whichever_thread_asks_first(equip: Equip) -> None:
    equipment, together = equip(es_job(), events=3), Barrier(4)
    found: list[Communicator] = []

    def ask() -> None:
        together.wait()
        found.append(equipment.communicator)

    threads = [Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [each is equipment.communicator for each in found] == [True] * 4


def test_a_communicator_that_nobody_asked_for_is_not_opened_to_be_closed(equip: Equip, tmp_path: Path) -> None:
    equip(es_job(), events=3).close()
    assert not list(tmp_path.iterdir())


def test_there_is_one_executor(equip: Equip) -> None:
    equipment = equip(es_job())
    assert equipment.executor is equipment.executor


@pytest.mark.parametrize("setting", [{"executor_type": "gone"}, {"channel": "gone"}])
def test_an_executor_that_nobody_knows_is_refused(equip: Equip, setting: dict[str, object]) -> None:
    with pytest.raises(UnknownName, match="gone"):
        assert equip(es_job(), **setting).executor


def test_an_executor_is_selected_only_if_it_is_there(equip: Equip) -> None:
    there, gone = equip(es_job()).select_executor(), equip(es_job(), executor_type="gone").select_executor()
    assert isinstance(there, f.ExecutorSelected)
    assert isinstance(gone, f.ExecutorUnavailable)
    assert "no executor type 'gone'" in gone.why


def test_a_payload_bears_the_mark_of_its_work_directory_wherever_that_is_moved_to(equip: Equip, tmp_path: Path) -> None:
    write_inputs(tmp_path)
    assert equip(es_job()).prepare_payload().mark == mark_of(tmp_path)
    place = tmp_path / "place"
    place.mkdir()
    mark = mark_of(place)
    copy = Path(shutil.copytree(place, tmp_path / "copy"))
    assert mark_of(place.rename(tmp_path / "moved")) == mark
    assert len({mark, mark_of(copy), mark_of(tmp_path)}) == 3


def test_a_payload_that_cannot_be_prepared_is_unusable(equip: Equip) -> None:
    with pytest.raises(UnusableInput, match=r"simulate\.py"):
        equip(es_job()).prepare_payload()


def test_a_file_is_found_with_its_size_and_the_time_of_its_last_change(equip: Equip, tmp_path: Path) -> None:
    (tmp_path / "HITS").write_bytes(b"abc")
    stamp = (tmp_path / "HITS").stat().st_mtime_ns
    assert equip(es_job()).find("HITS") == equip(es_job()).find(str(tmp_path / "HITS")) == ("HITS", 3, stamp)
