"""The log that the server wants: made at the end of a job, before the final word about it."""

import pytest

from esfsm.core import facts as f

from .worlds import Teller, names

WANTED = f.JobClassified(kind="eventservice", why="eventService is set", log="log.tgz")
SIGTERM = f.Preempted(error_code=1201, why="a stop was asked for by SIGTERM")


def job(workflow: str = "eventservice", **settings: object) -> Teller:
    told = Teller(workflow, **settings)
    told.answer("classify_job", WANTED)
    return told


def running(**settings: object) -> Teller:
    told = job(**settings).goes_well("select_executor", "stage_in")
    told.says(f.PayloadStarted(pid=17, started=42))
    return told


def test_the_log_is_made_when_all_has_ended_and_reported_with_checksum_and_guid():
    told = running()
    told.says(f.PayloadFinished())
    assert names(told.note()) == ["pack_log"]
    (report,) = told.answer("pack_log", f.LogPacked(file=f.FileCopy("log.tgz", 9, "0b", "file:///w/l"), guid="1B2C"))
    assert report.report.outputs == {"log.tgz": {"fsize": 9, "adler32": "0b", "surl": "file:///w/l", "guid": "1B2C"}}
    assert (report.report.log, told.goes_well("report_job").engine.ended) == ("log.tgz", True)


@pytest.mark.parametrize("trouble", [f.LogFailed(error_code=1320, why="full"), f.ActionBroke(why="input/output error")])
def test_a_job_without_its_log_is_reported_all_the_same(trouble):
    told = running()
    told.says(f.PayloadFinished())
    told.note()
    (report,) = told.answer("pack_log", trouble)
    assert (report.name, report.report.state, report.report.log) == ("report_job", "finished", "")


def test_the_log_of_a_plain_job_is_beside_its_outputs():
    told = job("generic").goes_well("select_executor", "stage_in", "run_payload")
    told.answer("stage_out", f.OutputsStaged(files=(f.FileCopy("HITS", 5, "0c", "file:///out/HITS"),)))
    (report,) = told.answer("pack_log", f.LogPacked(file=f.FileCopy("log.tgz", 9, "0b", "file:///w/l"), guid="1B2C"))
    assert [*report.report.outputs] == ["HITS", "log.tgz"]


def test_a_job_that_failed_has_a_log_too():
    told = job()
    assert names(told.answer("select_executor", f.ExecutorUnavailable(why="no such executor"))) == ["pack_log"]


def test_a_word_that_is_said_again_has_the_same_log():
    told = running(report_attempts=2)
    told.says(f.PayloadFinished())
    told.note()
    told.goes_well("pack_log").answer("report_job", f.JobUnreported(why="timeout"))
    (report,) = told.ring_until("report_job")
    assert report.report.log == "log.tgz"


def test_a_new_engine_makes_the_log_that_the_old_one_had_begun():
    told = running()
    told.says(f.PayloadFinished())
    told.note()
    again = told.resumed()
    assert again.waits_for() == ["pack_log"]
    assert again.goes_well("pack_log", "report_job").engine.ended


def test_a_failed_job_that_is_taken_up_while_its_log_is_made_makes_another_one_at_its_end():
    told = job()
    told.answer("select_executor", f.ExecutorUnavailable(why="no such executor"))
    again = told.resumed()
    assert (again.state, again.waits_for()) == ("received", ["classify_job"])
    again.answer("classify_job", WANTED)
    assert names(again.answer("select_executor", f.ExecutorUnavailable(why="still none"))) == ["pack_log"]


@pytest.mark.parametrize(("grace_s", "asked"), [(60.0, "pack_log"), (1.0, "report_job")])
def test_where_there_is_hardly_time_for_the_last_word_there_is_none_for_a_log(grace_s, asked):
    told = running(grace_s=grace_s, grace_for="all")
    told.tell(SIGTERM)
    told.says(f.PayloadFinished())
    assert names(told.note()) == [asked]
