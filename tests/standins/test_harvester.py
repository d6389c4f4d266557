"""A Harvester that stands in does with each file what the real one was seen to do, word for word."""

import json
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest

from esfsm.standins.harvester import FAULTS, Harvester, Messenger

TRANSCRIPT = Path(__file__).with_name("transcripts") / "harvester-edge-cases.txt"
EXCHANGES = re.findall(r"^## (.*)\n   (.*)$", TRANSCRIPT.read_text(), re.MULTILINE)
SEEN = dict(EXCHANGES)

R1, R2, R3 = "1-2-3-4-5", "1-2-3-5-5", "1-2-3-9-5"
NOW = datetime(2026, 11, 22, 14, 52, tzinfo=UTC)


def ended(name: str, status: str = "finished", **more: object) -> dict[str, object]:
    return {"eventRangeID": name, "eventStatus": status, **more}


def output(kind: str = "es_output", path: str = "o.root") -> dict[str, object]:
    return {"path": path, "type": kind}


DUMPS: dict[str, object] = {
    "es_output without chksum/fsize/guid: Harvester computes them": {"7000": [ended(R1, **output())]},
    "zip_output, two ranges in one file": {
        "7000": [ended(R1, **output("zip_output")), ended(R2, **output("zip_output"))]
    },
    "failed range without path": {"7000": [ended(R1, "failed")]},
    "type output: file, but no event": {"7000": [output("output")]},
    "path does not exist, no fsize given: range silently lost": {
        "7000": [ended(R1, **output(path="missing")), ended(R2, "failed")]
    },
    "path does not exist, fsize and chksum given: accepted unseen": {
        "7000": [ended(R1, **output(path="missing"), fsize=1, chksum="00000001")]
    },
    "type missing: range silently lost": {"7000": [ended(R1, path="o.root")]},
    "eventStatus missing: file staged out, event lost": {"7000": [{"eventRangeID": R1, **output()}]},
    "unknown status / extra keys (coreCount, cpuConsumptionTime, errorCode) are dropped: only id and status survive": {
        "7000": [ended(R1, "weird", coreCount=8, cpuConsumptionTime=1, errorCode=1)]
    },
    "truncated JSON (non-atomic writer): the file is DELETED": '{"7000": [{"eventRangeID"',
    "a list instead of a dict: deleted": [ended(R1)],
    "value not a list: deleted": {"7000": ended(R1)},
    "other PandaID than the worker's: passed on by the messenger": {"7777": [ended(R1, **output())]},
    "two PandaIDs in OneToOne": {"7000": [ended(R1)], "7001": [ended(R1)]},
    "same range twice in one dump: both passed on": {"7000": [ended(R1, "failed"), ended(R1)]},
}
"""By what is wrong with it, what a worker dumps."""


@pytest.fixture
def messenger(tmp_path: Path) -> Messenger:
    (tmp_path / "o.root").write_bytes(b"output")
    return Messenger(tmp_path)


def dump(messenger: Messenger, said: object) -> None:
    """Paths become those of the access point."""
    text = said if isinstance(said, str) else json.dumps(said)
    text = re.sub(r'"path": "', f'"path": "{messenger.directory}/', text)
    (messenger.directory / "event_status.dump.json").write_text(text)


def left(messenger: Messenger) -> list[str]:
    return sorted(path.name for path in messenger.directory.iterdir())


def looked(messenger: Messenger) -> str:
    """What comes of a look, as the transcript says it."""
    files = {
        panda_id: {
            lfn: [(entry.get("eventRangeID"), entry["type"], entry["isZip"]) for entry in entries]
            for lfn, entries in by_lfn.items()
        }
        for panda_id, by_lfn in messenger.files_to_stage_out().items()
    }
    return f"files={files} events={messenger.events_to_update()}"


@pytest.mark.parametrize("case", DUMPS)
def test_a_dump_is_read_as_it_was_seen(messenger: Messenger, case: str) -> None:
    dump(messenger, DUMPS[case])
    assert f"{looked(messenger)} left={left(messenger)}" == SEEN[case]


def key_is_no_integer(messenger: Messenger) -> str:
    dump(messenger, {"job7000": [ended(R1)]})
    with pytest.raises(ValueError, match="invalid literal") as raised:
        messenger.files_to_stage_out()
    assert left(messenger) == ["event_status.dump.json.read", "o.root"]
    return f"RAISED ValueError: {raised.value}"


def updates_of_the_worker_itself(messenger: Messenger) -> str:
    (messenger.directory / "worker_updateevents.json").write_text(json.dumps({"7000": [ended(R3)]}))
    dump(messenger, {"7000": [ended(R1)]})
    return f"{looked(messenger)} left={left(messenger)}"


def no_ack(messenger: Messenger) -> str:
    def look() -> str:
        return f"({messenger.files_to_stage_out()}, {messenger.events_to_update()})"

    (messenger.directory / "o.root").unlink()
    dump(messenger, {"7000": [ended(R1, "failed")]})
    first = look()
    dump(messenger, {"7000": [ended(R3, "failed")]})
    second = f"{look()} {left(messenger)}"
    messenger.acknowledge()
    third = look()
    messenger.acknowledge()
    return f"1st {first}; 2nd, before ack, new dump waiting {second}; after ack {third}; left {left(messenger)}"


def asked(messenger: Messenger, text: str) -> str:
    (messenger.directory / "o.root").unlink()
    (messenger.directory / "worker_requestevents.json").write_text(text)
    return f"{messenger.events_requested()} left={left(messenger)}"


def two_feeds(messenger: Messenger) -> str:
    messenger.feed_events({"7000": [1, 2]})
    messenger.feed_events({"7000": [3]})
    return (messenger.directory / "JobsEventRanges.json").read_text()


def jobs_requested(messenger: Messenger) -> str:
    def asked(text: str) -> object:
        (messenger.directory / "worker_requestjob.json").write_text(text)
        return messenger.jobs_requested()

    return str([asked(text) for text in ('{"nJobs": 3}', "{}", "", '{"nJobs": 0}', '{"nJobs": "2"}')])


def alive_and_killed(messenger: Messenger) -> str:
    never, old = (messenger.is_alive(started, NOW, 60.0) for started in (None, NOW - timedelta(hours=1)))
    heartbeat = messenger.directory / "worker_heartbeat.json"
    heartbeat.touch()
    os.utime(heartbeat, (NOW.timestamp(), NOW.timestamp()))
    with_file, killed = messenger.is_alive(None, NOW, 60.0), messenger.kill_requested()
    written = (messenger.directory / "kill_worker.json").touch()
    return str((never, old, with_file, killed, written, messenger.kill_requested()))


def attributes(messenger: Messenger) -> str:
    said = {"jobStatus": "finished", "nEvents": 5, "transExitCode": 0}
    (messenger.directory / "worker_attributes.json").write_text(json.dumps(said))
    (messenger.directory / "jobReport.json").write_text('{"exitCode": 0}')
    return str(messenger.attributes())


NUMBERS = '{"7000": {"pandaID": 7000, "nRanges": 5, "taskID": 1, "jobsetID": 2}}'
OTHERS: dict[str, Callable[[Messenger], str]] = {
    "key not an integer: exception out of the messenger (aborts the monitor cycle of the whole queue), "
    "file stays as .read for ever": key_is_no_integer,
    "worker wrote worker_updateevents.json itself AND a dump: the former is OVERWRITTEN": updates_of_the_worker_itself,
    "no ack: the .read file is delivered again and the new dump waits": no_ack,
    "event request": lambda messenger: asked(messenger, NUMBERS),
    "event request truncated: {} and the file stays (read again next cycle)": lambda m: asked(m, NUMBERS[:20]),
    "event request as list: passed through as is": lambda messenger: asked(messenger, "[1]"),
    "two feeds without the worker taking the first: overwritten": two_feeds,
    "job request {'nJobs': 3} / {} / empty file / nJobs 0 / '2'": jobs_requested,
    "is_alive without file and startTime / with file / kill": alive_and_killed,
    "attributes": attributes,
}
NEVER_ALIKE = {"race: worker reads JobsEventRanges.json and at once puts the next request"}
"""Two processes at once: here Harvester has its turn, and then the worker."""


@pytest.mark.parametrize("case", OTHERS)
def test_each_other_file_is_read_as_it_was_seen(messenger: Messenger, case: str) -> None:
    got, seen = (re.sub(r"read\.\d{4}-[-_.\d]+", "read.<time>", text) for text in (OTHERS[case](messenger), SEEN[case]))
    assert got == seen


@pytest.mark.parametrize("seen", [seen for case, seen in EXCHANGES if case == "feed_events"])
def test_events_are_fed_as_it_was_seen(tmp_path: Path, seen: str) -> None:
    map_type = seen.partition(":")[0]
    messenger = Messenger(tmp_path, map_type=map_type)
    (tmp_path / "worker_requestevents.json").write_text(NUMBERS)
    messenger.feed_events({"7000": []})
    assert f"{map_type}: returned True left={left(messenger)}" == seen


def test_whatever_was_seen_is_compared() -> None:
    assert set(SEEN) == {*DUMPS, *OTHERS, *NEVER_ALIKE, "feed_events"}


# --- turns ---


class Server:
    """Grants what it is given; says a word to each range."""

    def __init__(self, *granted: list[str], words: tuple[bool | None, ...] = ()) -> None:
        self.granted, self.words = list(granted), list(words)
        self.heard: list[object] = []

    def acquire(self, panda_id: int, jobset_id: int, task_id: int, n: int) -> list[dict[str, object]]:
        if not self.granted:
            raise ConnectionError
        return [{"eventRangeID": name} for name in self.granted.pop(0)]

    def update(self, items: list[dict[str, object]], version: int) -> list[bool | None]:
        self.heard.append((items, version))
        return [self.words.pop(0) if self.words else True for item in items for _ in item["eventRanges"]]


def fed(messenger: Messenger) -> list[str]:
    file = messenger.directory / "JobsEventRanges.json"
    return [event["eventRangeID"] for event in json.loads(file.read_text())["7000"]] if file.exists() else []


def test_a_request_is_fed_in_one_turn_and_then_it_is_gone(messenger: Messenger) -> None:
    asked(messenger, NUMBERS)
    Harvester(messenger, Server([R1, R2])).turn()
    assert fed(messenger) == [R1, R2]
    assert left(messenger) == ["JobsEventRanges.json"]


def test_a_server_that_cannot_be_reached_is_asked_again(messenger: Messenger) -> None:
    asked(messenger, NUMBERS)
    server = Server()
    harvester = Harvester(messenger, server)
    harvester.turn()
    assert left(messenger) == ["worker_requestevents.json"]
    server.granted.append([R1])
    harvester.turn()
    assert fed(messenger) == [R1]


def test_what_panda_says_null_to_is_told_again_and_no_other(messenger: Messenger) -> None:
    dump(messenger, {"7000": [ended(R1, "failed"), ended(R2, "failed"), ended(R3, "failed")]})
    server = Server(words=(True, None, False))
    harvester = Harvester(messenger, server)
    harvester.turn()
    harvester.turn()
    harvester.turn()
    assert [items for items, _ in server.heard][1:] == [[{"eventRanges": [ended(R2, "failed")]}]]
    assert harvester.reported == dict.fromkeys((R1, R2, R3), "failed")


def test_an_archive_is_told_once_with_all_its_ranges(messenger: Messenger) -> None:
    file = {**output("zip_output"), "fsize": 6, "chksum": "0a1b2c3d"}
    dump(messenger, {"7000": [ended(R1, **file), ended(R2, **file), ended(R3, "failed")]})
    server = Server()
    Harvester(messenger, server).turn()
    zip_file = {"lfn": "o.root", "objstoreID": "117", "fsize": 6, "adler32": "0a1b2c3d"}
    together = {"eventRanges": [ended(R1), ended(R2)], "zipFile": zip_file}
    assert server.heard == [([together, {"eventRanges": [ended(R3, "failed")]}], 1)]


@pytest.mark.parametrize(
    ("fault", "feeds", "pending"),
    [
        ("no-ack", [[]], True),
        ("slow", [[], [], [R1]], False),
        ("overwrites-unread-feed", [[R1], [R2]], False),
        ("crash-after-feed", [[R1], [R2]], True),
    ],
)
def test_each_fault_is_what_it_is_called(
    messenger: Messenger, fault: str, feeds: list[list[str]], pending: bool
) -> None:
    asked(messenger, NUMBERS)
    harvester = Harvester(messenger, Server([R1], [R2]), faults=[fault], chance=Random(1), probability=1.0)
    assert [harvester.turn() or fed(messenger) for _ in feeds] == feeds
    assert (messenger.directory / "worker_requestevents.json").exists() == pending
    assert fault in FAULTS


def test_without_an_ack_nobody_hears_of_a_dump_and_it_is_read_again(messenger: Messenger) -> None:
    dump(messenger, {"7000": [ended(R1, "failed")]})
    server = Server()
    Harvester(messenger, server, faults=["no-ack"], probability=1.0).turn()
    assert not server.heard
    Harvester(messenger, server).turn()
    assert len(server.heard) == 1


@pytest.mark.parametrize(("map_type", "place"), [("OneToOne", ""), ("ManyToOne", "7001/")])
def test_a_job_that_was_asked_for_is_fed(tmp_path: Path, map_type: str, place: str) -> None:
    harvester = Harvester(Messenger(tmp_path, map_type=map_type), Server())
    harvester.jobs += [{"PandaID": 7001}, {"PandaID": 7002}]
    harvester.turn()
    assert not list(tmp_path.iterdir())
    (tmp_path / "worker_requestjob.json").write_text('{"nJobs": 1}')
    harvester.turn()
    assert json.loads((tmp_path / f"{place}HPCJobs.json").read_text()) == {"7001": {"PandaID": 7001}}
    assert json.loads((tmp_path / "worker_pandaids.json").read_text()) == [7001]
    assert harvester.jobs == [{"PandaID": 7002}]
