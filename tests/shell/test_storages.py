"""Which storages a job may use: CRIC's endpoints by the queue's activities, or a TOML file."""

import json
from pathlib import Path
from typing import Any

import pytest

from esfsm.errors import UnusableInput
from esfsm.given import read_settings
from esfsm.model.job import Job
from esfsm.model.rse import Rse
from esfsm.storages import read_rses

LOCAL = {"id": 7, "endpoint": "/pnfs", "flavour": "POSIX", "path": "/es/"}
"""A protocol as CRIC has it."""


def endpoint(number: int, *protocols: dict[str, object], **said: Any) -> dict[str, object]:
    """An endpoint as CRIC has it, with keys that are of no use here."""
    by = {"write_lan": list(protocols), "read_lan": [], "delete_wan": [LOCAL]}
    return {"id": number, "type": "OS_ES", "arprotocols": by, "token": "", "rprotocols": {}, **said}


def cric(directory: Path, **endpoints: dict[str, object]) -> Path:
    (file := directory / "storages.json").write_text(json.dumps(endpoints))
    return file


def toml(directory: Path, text: str) -> Path:
    (file := directory / "storages.toml").write_text(text)
    return file


def test_the_first_activity_that_is_served_says_where_archives_go_and_another_where_they_go_if_that_fails(
    tmp_path: Path,
) -> None:
    file = cric(tmp_path, **{name: endpoint(n, LOCAL) for n, name in enumerate("ABCD")})
    served = {"es_failover": ["C"], "es_events": ["B", "A"], "pw": ["D"]}
    assert [rse.name for rse in read_rses(file, served)] == ["B", "A", "C"]
    assert [rse.name for rse in read_rses(file, {"pw": ["D", "A"], "es_failover": ["A", "C"]})] == ["D", "A", "C"]
    assert [rse.name for rse in read_rses(file, {"es_events": ["A"], "pw": ["D", "A"]})] == ["A", "D"]


@pytest.mark.parametrize(
    ("said", "url", "archive"),
    [
        ({"type": "OS_ES"}, "/pnfs/es", "/pnfs/es/EventService_premerge_1.tar"),
        (
            {"type": "DATADISK", "is_deterministic": True},
            "/pnfs/es",
            "/pnfs/es/transient/b3/cb/EventService_premerge_1.tar",  # md5 of transient:EventService_premerge_1.tar
        ),
    ],
)
def test_an_endpoint_has_all_files_in_one_directory_or_at_the_paths_of_rucio(
    tmp_path: Path, said: dict[str, object], url: str, archive: str
) -> None:
    (rse,) = read_rses(cric(tmp_path, A=endpoint(1318, LOCAL, **said)), {"es_events": ["A"]})
    convention = 1000 if said.get("is_deterministic") else None
    assert rse == Rse(name="A", rse_id=1318, url=url, path_convention=convention)
    assert rse.url_of("EventService_premerge_1.tar") == archive


def test_a_file_of_a_scope_lies_below_its_parts() -> None:
    rse = Rse(rse_id=1, url="file:///d", path_convention=1000)
    # md5 of mc16_13TeV.user:HITS.1
    assert rse.url_of("HITS.1", "mc16_13TeV.user") == "file:///d/mc16_13TeV/user/21/e4/HITS.1"


def test_the_first_protocol_that_we_speak_is_taken(tmp_path: Path) -> None:
    srm = {"endpoint": "srm://se.cern.ch:8446", "path": "/es"}
    file = cric(tmp_path, A=endpoint(1, srm, LOCAL), B=endpoint(2, srm))
    assert [rse.url for rse in read_rses(file, {"es_events": ["A"]})] == ["/pnfs/es"]
    with pytest.raises(
        UnusableInput, match=r"endpoint B: there is no protocol to write by; it has: srm://se\.cern\.ch"
    ):
        read_rses(file, {"es_events": ["B"]})


@pytest.mark.parametrize(
    ("endpoints", "served", "why"),
    [
        ({"A": endpoint(1, LOCAL)}, {}, "no storage serves es_events or pw"),
        ({"A": endpoint(1, LOCAL)}, {"es_failover": ["A"]}, "no storage serves es_events or pw"),
        ({"A": endpoint(1, LOCAL)}, {"es_events": ["B"]}, "there is no endpoint B"),
        ({"A": endpoint(1, LOCAL, type="DATADISK")}, {"es_events": ["A"]}, "endpoint A: it has no rule for paths"),
        ({"A": endpoint(1)}, {"es_events": ["A"]}, "there is no protocol to write by; it has: none"),
        ({"A": {"arprotocols": {}}}, {"es_events": ["A"]}, "id: Field required"),
        ({"A": endpoint(1, {"path": "/x"})}, {"es_events": ["A"]}, r"arprotocols\.write_lan\.0\.endpoint: Field"),
    ],
)
def test_storage_data_that_cannot_be_used_are_refused_with_a_sentence(
    tmp_path: Path, endpoints: dict[str, Any], served: dict[str, list[str]], why: str
) -> None:
    with pytest.raises(UnusableInput, match=why):
        read_rses(cric(tmp_path, **endpoints), served)


def test_a_toml_file_says_all_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = """
        [SECOND]
        id = 2
        url = "file:///second/"
        activities = ["es_failover"]
        [FIRST]
        id = 1
        url = "es"
        rucio_paths = true
    """
    assert read_rses(toml(tmp_path, text), {}) == (
        Rse(name="FIRST", rse_id=1, url=f"{tmp_path}/es", path_convention=1000),
        Rse(name="SECOND", rse_id=2, url="file:///second"),
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[A", "storages.toml: "),
        ("A = 1", "A: Input should be|Input should be a valid dictionary"),
        ("[A]\nid = 1\nurl = 'x'\nactivity = 'y'", "activity: Extra inputs"),
        ("[A]\nid = -1\nurl = 'x'", "id: "),
    ],
)
def test_a_toml_file_that_cannot_be_used_is_refused(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(UnusableInput, match=why):
        read_rses(toml(tmp_path, text), {})


@pytest.mark.parametrize(("content", "why"), [("[]", "a JSON object is expected"), ("{", "storage data ")])
def test_a_file_that_holds_no_storages_is_refused(tmp_path: Path, content: str, why: str) -> None:
    (file := tmp_path / "x.json").write_text(content)
    with pytest.raises(UnusableInput, match=why):
        read_rses(file, {})
    with pytest.raises(UnusableInput, match="No such file"):
        read_rses(tmp_path / "gone.json", {})


def test_settings_take_the_storages_of_the_queue_unless_an_output_url_is_given(tmp_path: Path) -> None:
    (queue := tmp_path / "queue.json").write_text(json.dumps({"astorages": {"es_events": ["A"]}}))
    job = Job.read({"PandaID": 1, "eventService": "True", "transformation": "x"})
    said = {"queuedata": queue, "storages": cric(tmp_path, A=endpoint(1318, LOCAL))}
    given, _ = read_settings(job, said, None, tmp_path)
    assert [(rse.rse_id, rse.url) for rse in given.destinations()] == [(1318, "/pnfs/es")]
    given, _ = read_settings(job, {**said, "output_url": "/mine", "failover_url": "/other"}, None, tmp_path)
    assert [(rse.rse_id, rse.url) for rse in given.destinations()] == [(1, "/mine"), (2, "/other")]
