"""What kind of job it is, what runs it, and why."""

import pytest

from esfsm.core.classify import classify, select_executor
from esfsm.core.facts import ExecutorSelected, JobClassified, JobRefused
from esfsm.model.job import Job
from esfsm.model.settings import Settings

ES = {"PandaID": 7, "taskID": 5, "jobsetID": 6, "eventService": "True", "transformation": "AtlasG4_tf.py"}
ARCHIVE = {"inFiles": "zip://a.tar", "realDatasetsIn": "d", "GUID": "g"}
MERGE = {"PandaID": 7, "eventServiceMerge": "True", "transformation": "HITSMerge_tf.py"}


@pytest.mark.parametrize(
    ("job", "kind", "why"),
    [
        (ES, "eventservice", "eventService is set"),
        (
            ES | {"eventServiceMerge": "True"},
            "eventservice",
            "eventService is set (as is eventServiceMerge, which is looked at second)",
        ),
        (MERGE | ARCHIVE, "eventservicemerge", "eventServiceMerge is set"),
        (
            {"PandaID": 7, "transformation": "Sim_tf.py"},
            "generic",
            "neither eventService nor eventServiceMerge is set",
        ),
    ],
)
def test_the_two_flags_decide_the_kind(job, kind, why):
    assert classify(Job.read(job)) == JobClassified(kind=kind, why=why)


@pytest.mark.parametrize(
    ("job", "lacks"),
    [
        ({**ES, "taskID": None}, "taskID"),
        ({**ES, "jobsetID": None}, "jobsetID"),
        ({**ES, "transformation": ""}, "transformation"),
        (MERGE, "archives"),
        (MERGE | ARCHIVE | {"inFiles": "plain.root"}, "archives"),
    ],
)
def test_a_job_that_lacks_what_its_kind_needs_is_refused(job, lacks):
    refused = classify(Job.read(job))
    assert isinstance(refused, JobRefused)
    assert lacks in refused.why


@pytest.mark.parametrize(("said_by", "who"), [({}, "default"), ({"executor_type": "environment"}, "environment")])
def test_the_executor_type_is_chosen_by_the_settings_and_it_is_said_who_chose(said_by, who):
    chosen = select_executor(Job.read(ES), Settings(executor_type="raythena"), said_by)
    assert chosen == ExecutorSelected(
        payload_executor="eventservice",
        executor_type="raythena",
        why=f"the job is of kind eventservice; executor type raythena is from: {who}",
    )
