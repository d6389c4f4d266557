"""Whatever lets somebody in is held apart, and no way of showing or keeping a job shows or keeps it."""

import copy
import pickle
from collections.abc import Callable

import orjson
import pytest

from esfsm.errors import UnreadableJob
from esfsm.model.job import Job

SECRET_KEYS = [
    "pilotSecrets",
    "secrets",
    "pandaSecrets",
    "pandaProxySecretKey",
    "proxyKey",
    "userProxy",
    "credname",
    "myproxy",
    "oidcToken",
    "access_token",
    "token",
    "TOKENS",
    "password",
    "dbPasswd",
    "passphrase",
    "credentials",
    "privateKey",
    "private_key",
    "accessKey",
    "api_key",
    "Authorization",
    "bearer",
]
PUBLIC_KEYS = [
    "prodDBlockToken",
    "dispatchDBlockToken",
    "dispatchDBlockTokenForOut",
    "destinationDBlockToken",
    "prodDBlockTokenForOutput",
    "transformation",
    "nucleus",
]
WAYS_OUT: dict[str, Callable[[Job], object]] = {
    "repr": repr,
    "str": str,
    "format": "{}".format,
    "repr of its insides": lambda job: repr(vars(job)),
    "model_dump": lambda job: job.model_dump(),
    "model_dump of secrets": lambda job: job.model_dump(include={"secrets"}),
    "model_dump_json": lambda job: job.model_dump_json(),
    "model_dump by alias": lambda job: job.model_dump(by_alias=True),
    "definition": lambda job: orjson.dumps(job.definition),
    "extra": lambda job: dict(job.extra),
    "warnings": lambda job: job.warnings,
    "pickle": pickle.dumps,
    "pickle of a copy": lambda job: pickle.dumps(copy.deepcopy(job)),
}


@pytest.mark.parametrize("way", WAYS_OUT)
@pytest.mark.parametrize("value", ["hunter2", {"user": "hunter2"}, ["hunter2"]], ids=["text", "object", "list"])
def test_no_way_out_shows_a_secret(way: str, value: object) -> None:
    job = Job.read({"PandaID": 1, **dict.fromkeys(SECRET_KEYS, value)})
    assert "hunter2" not in str(WAYS_OUT[way](job))


@pytest.mark.parametrize("key", SECRET_KEYS)
def test_a_secret_is_told_by_its_key(key: str) -> None:
    job = Job.read({"PandaID": 1, key: "hunter2"})
    assert {name: secret.get_secret_value() for name, secret in job.secrets.items()} == {key: "hunter2"}
    assert key not in job.definition
    assert key not in job.extra


@pytest.mark.parametrize("key", PUBLIC_KEYS)
def test_the_name_of_a_storage_is_no_secret(key: str) -> None:
    job = Job.read({"PandaID": 1, key: "1318/1000"})
    assert job.secrets == {}
    assert job.definition[key] == "1318/1000"


@pytest.mark.parametrize("key", [field.alias for field in Job.model_fields.values() if field.alias])
def test_no_key_that_is_read_is_a_secret(key: str) -> None:
    assert Job.read({"PandaID": 1, key: "1"}).secrets == {}


@pytest.mark.parametrize("value", [{"a": {"b": [{"accessToken": "hunter2"}]}}, [{'"\\secret': "hunter2"}]])
def test_a_value_with_a_secret_deep_inside_is_held_apart_whole(value: object) -> None:
    job = Job.read({"PandaID": 1, "containerOptions": value})
    assert orjson.loads(job.secrets["containerOptions"].get_secret_value()) == value
    assert "hunter2" not in repr(job) + job.model_dump_json()


@pytest.mark.parametrize("value", [{"image": "token"}, ["secret", {"secre": "t"}], {"prodDBlockToken": 1}])
def test_a_value_that_only_speaks_of_secrets_is_none(value: object) -> None:
    assert Job.read({"PandaID": 1, "containerOptions": value}).extra == {"containerOptions": value}


def test_secrets_do_not_tell_jobs_apart() -> None:
    job = Job.read({"PandaID": 1, "pilotSecrets": "hunter2"})
    assert job == Job.read(job.definition) == Job.read({"PandaID": 1, "pilotSecrets": "other"})


def test_a_job_that_was_pickled_is_the_same_without_its_secrets() -> None:
    job = Job.read({"PandaID": 1, "pilotSecrets": "hunter2", "inFiles": "A"})
    again = pickle.loads(pickle.dumps(job))
    assert again == job
    assert again.secrets == {}
    assert job.secrets["pilotSecrets"].get_secret_value() == "hunter2"


def test_a_copy_keeps_its_secrets() -> None:
    job = Job.read({"PandaID": 1, "pilotSecrets": "hunter2"})
    assert copy.deepcopy(job).secrets == copy.copy(job).secrets == job.secrets


@pytest.mark.parametrize(
    "content",
    [
        '{"PandaID": 1, "pilotSecrets": "hunter2"',
        {"PandaID": 0, "pilotSecrets": "hunter2"},
        [[{"PandaID": 1, "pilotSecrets": "hunter2"}]],
        [{"pilotSecrets": "hunter2"}, {"pilotSecrets": "hunter2"}],
        {"7": {"PandaID": 1, "pilotSecrets": "hunter2"}},
        {"PandaID": 1, "pilotSecrets": "hunter2", "x": {1}},
        {"PandaID": 1, "pilotSecrets": "hunter2", "jobPars": "'"},
    ],
)
def test_no_refusal_shows_a_secret(content: object) -> None:
    with pytest.raises(UnreadableJob) as refusal:
        Job.read(content)
    assert "hunter2" not in str(refusal.value)
