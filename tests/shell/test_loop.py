"""The loop: written down, then decided, then synced where it matters, and only then done."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import groupby

import pytest
from core.worlds import BEGAN, GOOD_ANSWERS, HELD, TABLES
from shell.disks import FileInMemory
from shell.journals import HEADER

from esfsm.core import actions as a
from esfsm.core import facts as f
from esfsm.core.engine import Engine
from esfsm.core.ledger import Ledger
from esfsm.errors import JournalError, ReplayDiverged
from esfsm.journal.file import UNSYNCED_LIMIT_BYTES
from esfsm.journal.formats import Entry
from esfsm.journal.writer import Journal
from esfsm.loop import Loop
from esfsm.model.settings import Settings

SETTINGS = Settings().model_dump(mode="json")
OUTSIDE = ["stage_out", "report_job"]
"""What a plain job does that others can see."""
STARTED = f.PayloadStarted(answers=4, pid=17, started=42, channel="EventService_x")


class World:
    """Incoming and hands of a job in memory: the payload says what is `said`, all else goes as one would wish.

    So many facts are taken at a time as a `group` has.
    """

    def __init__(
        self, file: FileInMemory, said: Iterable[f.Fact] = (), *, adopts: bool = False, group: int = 1
    ) -> None:
        self.file, self.said, self.adopts, self.group = file, list(said), adopts, group
        self.waiting: list[f.Fact] = []
        self.began: list[a.Action] = []
        self.unsynced_bytes: list[int] = []
        """What was not on the disk when each action was begun."""
        self.most_unsynced_bytes = 0
        """... and when facts were waited for."""
        self.asked: list[str] = []
        """What was asked about the payload of the engine before, in order."""

    def take(self) -> list[f.Fact]:
        self.most_unsynced_bytes = max(self.most_unsynced_bytes, self.file.unsynced_bytes)
        facts, self.waiting = self.waiting[: self.group], self.waiting[self.group :]
        return facts

    def now(self) -> float:
        return BEGAN

    def start(self, action: a.Action) -> None:
        self.began.append(action)
        self.unsynced_bytes.append(self.file.unsynced_bytes)
        if isinstance(action, a.RunEsPayload | a.RunPayload):
            self.waiting += [replace(fact, answers=action.number) for fact in self.said]
        if isinstance(action, a.Note):
            self.waiting.append(replace(action.fact, answers=action.number))
        elif action.name in GOOD_ANSWERS:
            self.waiting.append(replace(GOOD_ANSWERS[action.name], answers=action.number))

    def adopt(self, started: f.PayloadStarted, ledger: Ledger) -> bool:
        self.asked.append(f"adopt {started.pid} at {started.channel} with {len(ledger)}")
        return self.adopts

    def end_orphans(self, started: f.PayloadStarted | None) -> None:
        self.asked.append("end_orphans")

    def run(self, workflow: str = "eventservice", sync: str = "effects", upto: int | None = None) -> Engine:
        """One life of the job; with `upto` it ends behind so many facts."""
        heard = 0

        def watch(_: f.Fact, __: Engine) -> None:
            nonlocal heard
            heard += 1
            if heard == upto:
                self.file.broken = ("write", "sync")

        engine = Engine(TABLES[workflow], HELD, Settings(monitor_s=0))
        loop = Loop(Journal(self.file, HEADER), engine, self, watch)
        loop.remember()
        loop.run(self, Settings(sync=sync))
        return engine

    @property
    def entries(self) -> list[Entry]:
        return list(Journal(FileInMemory(self.file.content), HEADER).take_entries())


def killed(upto: int, said: Iterable[f.Fact] = (STARTED,), sync: str = "effects") -> FileInMemory:
    """The journal of an engine that died after so many facts."""
    world = World(FileInMemory(), said)
    with pytest.raises(JournalError):
        world.run(sync=sync, upto=upto)
    return FileInMemory(world.file.content)


# --- one life -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workflow", ["generic", "eventservice", "eventservicemerge"])
def test_a_job_goes_from_its_first_action_to_its_end(workflow: str) -> None:
    world = World(FileInMemory())
    assert world.run(workflow).state == "done"
    assert world.asked == ["end_orphans"], "somebody may have removed the journal of an engine before"
    assert [entry.fact.name for entry in world.entries][-1] == "job_reported"


def test_what_facts_led_to_is_written_behind_them() -> None:
    world = World(FileInMemory())
    world.run("generic")
    assert [entry.then for entry in world.entries] == [
        ("-> classified", "select_executor 2"),
        ("-> executor-selected", "stage_in 3"),
        ("-> payload-running", "run_payload 4"),
        ("-> staging-out", "stage_out 5"),
        ("-> done", "report_job 6: finished, 0 events"),
        None,
    ]


def test_where_facts_lead_to_nothing_nothing_is_written_behind_them() -> None:
    babble = [f.MessageUnreadable(text="?", why="no AthenaMP")] * 2
    world = World(FileInMemory(), [STARTED, *babble], group=3)
    world.run()
    lines = world.file.content.splitlines()
    first = next(number for number, line in enumerate(lines) if b"payload_started" in line)
    assert [b'"fact"' in line for line in lines[first : first + 4]] == [True] * 4


def test_facts_that_come_together_are_written_together() -> None:
    world = World(FileInMemory(), [STARTED, f.MessageUnreadable(text="?", why="no AthenaMP")], group=9)
    world.run()
    kinds = [b'"fact"' in line for line in world.file.content.splitlines()[1:]]
    assert [len(list(group)) for is_fact, group in groupby(kinds) if is_fact] == [1, 1, 1, 3, 1, 1]


def test_a_fact_that_answers_what_nobody_asked_is_left_out() -> None:
    stray = [f.JobReported(), f.InputsStaged()]
    world = World(FileInMemory(), stray)
    assert world.run("generic").state == "done"
    assert [entry.fact.name for entry in world.entries].count("inputs_staged") == 1


@pytest.mark.parametrize(("sync", "safe"), [("never", []), ("effects", OUTSIDE), ("always", OUTSIDE)])
def test_what_others_can_see_is_begun_when_all_that_led_to_it_is_on_the_disk(sync: str, safe: list[str]) -> None:
    world = World(FileInMemory())
    world.run("generic", sync)
    begun = zip(world.began, world.unsynced_bytes, strict=True)
    assert [action.name for action, unsynced_bytes in begun if not unsynced_bytes][1:] == safe


def test_every_fact_is_on_the_disk_before_it_is_decided_where_always_is_said() -> None:
    world, unsynced = World(FileInMemory(), [STARTED]), []
    engine = Engine(TABLES["eventservice"], HELD, Settings())
    loop = Loop(Journal(world.file, HEADER), engine, world, lambda *_: unsynced.append(world.file.unsynced_bytes))
    loop.remember()
    loop.run(world, Settings(sync="always"))
    assert set(unsynced) == {0}


@pytest.mark.parametrize(("sync", "bounded"), [("effects", True), ("never", False)])
def test_so_much_at_most_is_unsynced_however_long_nobody_sees_anything(sync: str, bounded: bool) -> None:
    chatter = [f.MessageUnreadable(text="x" * 1000, why="no AthenaMP")] * 3000
    world = World(FileInMemory(), [STARTED, *chatter], group=100)
    world.run(sync=sync)
    assert (world.most_unsynced_bytes <= UNSYNCED_LIMIT_BYTES) is bounded


# --- the next life ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("upto", range(1, 7))
def test_a_job_is_finished_by_the_next_engine_wherever_the_one_before_died(upto: int) -> None:
    world = World(killed(upto))
    assert world.run().state == "done"
    assert [entry.fact.name for entry in world.entries].count("job_resumed") == 1


@pytest.mark.parametrize(("sync", "unsynced"), [("effects", False), ("always", False), ("never", True)])
def test_what_was_asked_for_is_begun_again_when_all_that_led_to_it_is_on_the_disk(sync: str, unsynced: bool) -> None:
    world = World(killed(3))
    world.run(sync=sync)
    assert world.began[0].name == "run_es_payload"
    assert (world.unsynced_bytes[0] > 0) is unsynced


def test_what_was_decided_and_not_written_down_is_written_down_by_the_next_engine() -> None:
    file = killed(3)
    assert b'"decided":3' not in file.content
    world = World(file)
    world.run()
    assert world.entries[2].then == ("-> es-running", "run_es_payload 4")


def test_a_job_that_is_taken_up_says_with_which_settings() -> None:
    world = World(killed(2))
    world.run()
    (resumed,) = (entry.fact for entry in world.entries if isinstance(entry.fact, f.JobResumed))
    assert (resumed.settings, resumed.adopted, resumed.at) == (SETTINGS, False, BEGAN)


def test_a_journal_in_which_something_else_was_decided_is_not_gone_on_with() -> None:
    file = FileInMemory()
    journal = Journal(file, HEADER)
    journal.append([f.JobClassified(answers=1, kind="eventservice", why="")], BEGAN)
    journal.decided({1: ("-> classified", "stage_in 2")})
    with pytest.raises(ReplayDiverged, match="the journal has -> classified; stage_in 2, this code decides"):
        World(FileInMemory(file.content)).run()


@pytest.mark.parametrize("upto", [1, 2, 3])
def test_where_no_payload_is_known_orphans_are_ended(upto: int) -> None:
    world = World(killed(upto))
    world.run()
    assert world.asked == ["end_orphans"]


def test_a_payload_that_cannot_be_adopted_is_ended_and_another_is_begun() -> None:
    world = World(killed(4))
    world.run()
    assert world.asked == ["adopt 17 at EventService_x with 0", "end_orphans"]
    assert [entry.fact.adopted for entry in world.entries if isinstance(entry.fact, f.JobResumed)] == [False]


def test_a_payload_that_is_adopted_is_not_ended_and_the_journal_says_so() -> None:
    world = World(killed(4), adopts=True)
    world.run()
    assert world.asked == ["adopt 17 at EventService_x with 0"]
    assert [entry.fact.adopted for entry in world.entries if isinstance(entry.fact, f.JobResumed)] == [True]


def test_a_payload_that_said_its_end_is_not_adopted() -> None:
    world = World(killed(5), adopts=True)
    world.run()
    assert world.asked == ["end_orphans"]
