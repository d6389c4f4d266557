"""Every move in the local broker's table, and its archives."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import ClassVar

import pytest
from contract.brokers import Open, archive, fail, finish, finish_elsewhere, forget_process_of, job, take
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from esfsm.adapters.communicators.local import LocalCommunicator, open_local
from esfsm.model.report import Answer, JobReport, Report
from esfsm.model.settings import Settings

Word = Callable[..., Answer]
"""communicator, event range ids -> what the broker said to that report"""

# The moves


def test_a_finished_range_is_done_when_its_job_ends(opened: Open) -> None:
    communicator = opened(events=1)
    assert finish(communicator, *take(communicator, 1)) == Answer(("1001-5001-1-1-10",))
    assert communicator.counts() == {"finished": 1}
    communicator.update_job(JobReport("finished"))
    (only,) = communicator.attempts()
    assert (only.event_range_id, only.status, only.panda_id) == ("1001-5001-1-1-10", "done", 5001)
    assert only.zip_lfn == "premerge.5001.1.tar"


def test_a_failed_range_waits_for_the_end_of_its_job_and_comes_again_with_one_attempt_fewer(opened: Open) -> None:
    first, second = opened(5001, events=1), opened(5002, events=1)
    fail(first, *take(first, 1))
    assert first.get_event_ranges(1, "1.2").event_ranges == second.get_event_ranges(1, "1.1").event_ranges == ()
    first.update_job(JobReport("finished"))
    assert take(second, 1, "1.2") == ("1001-5002-1-1-9",)
    assert [attempt.status for attempt in second.attempts()] == ["failed", "sent"]


def test_a_left_over_range_comes_again_with_one_attempt_fewer(opened: Open) -> None:
    first, second = opened(5001, events=1), opened(5002, events=1)
    take(first, 1)
    first.update_job(JobReport("failed"))
    assert take(second, 1) == ("1001-5002-1-1-9",)
    assert [attempt.status for attempt in second.attempts()] == ["cancelled", "sent"]


@pytest.mark.parametrize("reported", [True, False], ids=["failed", "left over"])
def test_a_range_without_attempts_is_fatal_and_never_handed_out(opened: Open, reported: bool) -> None:
    communicator = opened(events=1, max_attempt=1)
    names = take(communicator, 1)
    if reported:
        fail(communicator, *names)
    communicator.update_job(JobReport("finished"))
    assert communicator.counts() == {"fatal": 1}
    communicator.update_job(JobReport("running"))
    grant = communicator.get_event_ranges(1, "2.1")
    assert (grant.event_ranges, grant.exhausted) == ((), True)


def end_and_resume(communicator: LocalCommunicator) -> None:
    communicator.update_job(JobReport("finished"))
    communicator.update_job(JobReport("running"))


after_an_end = pytest.mark.parametrize("ended", [False, True], ids=["its job runs", "its job had ended"])


@after_an_end
@pytest.mark.parametrize("word", [finish, fail])
def test_a_repeated_report_is_accepted_and_changes_nothing(opened: Open, word: Word, ended: bool) -> None:
    communicator = opened(events=1)
    names = take(communicator, 1)
    word(communicator, *names)
    if ended:
        end_and_resume(communicator)
    before = communicator.attempts()
    assert word(communicator, *names) == Answer(names)
    assert communicator.attempts() == before


@after_an_end
@pytest.mark.parametrize(
    ("first", "second", "why"),
    [
        (finish, fail, "booked as finished, in archive premerge.5001.1.tar"),
        (finish, finish_elsewhere, "booked as finished, in archive premerge.5001.1.tar"),
        (finish_elsewhere, finish, "booked as finished, in archive premerge.5001.2.tar"),
        (fail, finish, "booked as failed"),
    ],
)
def test_another_final_word_about_a_range_is_refused_and_the_first_stays(
    opened: Open, first: Word, second: Word, why: str, ended: bool
) -> None:
    communicator = opened(events=1)
    names = take(communicator, 1)
    first(communicator, *names)
    if ended:
        end_and_resume(communicator)
    before = communicator.attempts()
    assert second(communicator, *names) == Answer(refused=names, why=f"{names[0]}: {why}")
    assert communicator.attempts() == before


def test_another_error_of_a_failed_range_is_no_other_word(opened: Open) -> None:
    communicator = opened(events=1)
    names = take(communicator, 1)
    fail(communicator, *names)
    assert communicator.update_event_ranges(Report(names, error_code=1305, error_diag="it ended")) == Answer(names)


def test_each_range_of_a_report_is_answered_by_itself_and_each_refusal_has_an_example(opened: Open) -> None:
    communicator = opened(events=5)
    one, two, three, four, five = take(communicator, 5)
    finish(communicator, one, two)
    fail(communicator, three)
    answer = finish_elsewhere(communicator, five, one, two, three, four)
    assert (answer.accepted, answer.refused) == ((five, four), (one, two, three))
    assert answer.why == f"{one}: booked as finished, in archive premerge.5001.1.tar; {three}: booked as failed"
    assert communicator.counts() == {"finished": 4, "failed": 1}


def test_a_range_of_another_run_or_of_nobody_is_refused_and_unchanged(opened: Open) -> None:
    mine, other = opened(5001, events=3), opened(5001, "r2", events=3)
    (granted,), (others,) = take(mine, 1), take(other, 1)
    answer = finish(mine, granted, others, "1001-5001-1-3-10")
    assert (answer.accepted, answer.refused) == ((granted,), (others, "1001-5001-1-3-10"))
    assert answer.why == f"{others}: never handed out to this run"
    assert mine.counts() == {"finished": 1, "sent": 1, "ready": 1}


def test_a_range_that_was_taken_back_is_refused_although_it_was_ours(opened: Open) -> None:
    communicator = opened(events=2)
    names = take(communicator, 1)
    communicator.update_job(JobReport("failed"))
    communicator.update_job(JobReport("running"))
    answer = finish(communicator, *names, "1-2-3-4-5")
    assert answer.refused == (*names, "1-2-3-4-5")
    assert answer.why == (
        f"{names[0]}: taken back, and maybe another's by now; 1-2-3-4-5: never handed out to this run"
    )
    assert communicator.counts() == {"ready": 2}


def test_a_report_after_the_end_of_the_job_changes_nothing(opened: Open) -> None:
    communicator = opened(events=1)
    names = take(communicator, 1)
    communicator.update_job(JobReport("finished"))
    assert finish(communicator, *names) == Answer((), names, why="job 5001 has ended: finished")
    assert communicator.counts() == {"ready": 1}


def test_a_job_that_is_resumed_after_its_end_goes_on(opened: Open) -> None:
    communicator = opened(events=2)
    fail(communicator, *take(communicator, 1))
    communicator.update_job(JobReport("failed"))
    assert communicator.get_event_ranges(2, "1.2").exhausted
    communicator.update_job(JobReport("starting"))
    names = take(communicator, 2, "2.1")
    assert names == ("1001-5001-1-1-9", "1001-5001-1-2-10")
    finish(communicator, *names)
    communicator.update_job(JobReport("finished"))
    assert communicator.counts() == {"done": 2}


def test_who_joins_for_a_job_that_has_ended_opens_it_again_whether_a_heartbeat_is_heard_or_not(opened: Open) -> None:
    first = opened(events=2)
    take(first, 1)
    first.update_job(JobReport("failed"))
    again = opened(events=2)
    again.join()
    assert take(again, 2, "2.1") == ("1001-5001-1-1-9", "1001-5001-1-2-10")


@pytest.mark.parametrize(
    ("command", "exhausted"), [("tobekilled", True), ("softkill", True), ("debug", False), (None, False)]
)
def test_a_command_is_told_with_every_job_report_and_a_kill_ends_the_supply(
    opened: Open, command: str | None, exhausted: bool
) -> None:
    communicator = opened(events=2)
    communicator.broker.set_command(5001, "tobekilled")
    communicator.broker.set_command(5001, command)
    assert [communicator.update_job(JobReport("running")) for _ in range(2)] == [command, command]
    grant = communicator.get_event_ranges(1, "1.1")
    assert (grant.exhausted, len(grant.event_ranges)) == (exhausted, 0 if exhausted else 1)


def test_the_grant_that_takes_the_last_range_says_exhausted(opened: Open) -> None:
    communicator = opened(events=6)
    assert [communicator.get_event_ranges(2, f"1.{number}").exhausted for number in (1, 2, 3)] == [False, False, True]


@pytest.mark.parametrize("n", [0, -3])
def test_a_request_for_nothing_gets_nothing(opened: Open, n: int) -> None:
    grant = opened(events=5).get_event_ranges(n, "1.1")
    assert (grant.event_ranges, grant.exhausted) == ((), False)


def test_a_request_made_again_leaves_out_what_was_reported(opened: Open) -> None:
    communicator = opened(events=5)
    names = take(communicator, 3)
    finish(communicator, names[0])
    assert take(communicator, 3) == names[1:]
    finish(communicator, *names)
    grant = communicator.get_event_ranges(3, "1.1")
    assert (grant.event_ranges, grant.exhausted) == ((), False)


def test_the_same_request_of_another_run_is_another_request(opened: Open) -> None:
    assert not set(take(opened(run="r1", events=4), 2)) & set(take(opened(run="r2", events=4), 2))


# Archives


def test_an_archive_is_found_again_and_takes_more_ranges(opened: Open) -> None:
    communicator = opened(events=2)
    one, two = take(communicator, 2)
    finish(communicator, one)
    finish(communicator, two)
    assert {attempt.zip_lfn for attempt in communicator.attempts()} == {"premerge.5001.1.tar"}


@pytest.mark.parametrize("other", [{"size_bytes": 20481}, {"adler32": "0a1b2c3e"}])
def test_an_archive_that_changed_its_bytes_is_refused(opened: Open, other: dict[str, object]) -> None:
    communicator = opened(events=2)
    one, two = take(communicator, 2)
    finish(communicator, one)
    answer = communicator.update_event_ranges(Report((two,), archive(**other)))
    assert (answer.accepted, answer.refused) == ((), (two,))
    assert answer.why.startswith("archive premerge.5001.1.tar has 20480 bytes and adler32 0a1b2c3d, not ")
    assert communicator.counts() == {"finished": 1, "sent": 1}


def test_jobs_may_have_archives_of_one_name(opened: Open) -> None:
    first, second = opened(5001, events=2), opened(5002, events=2)
    finish(first, *take(first, 1))
    names = take(second, 1)
    assert second.update_event_ranges(Report(names, archive(size_bytes=1))).accepted == names


# Any order of moves


class AnyOrder(RuleBasedStateMachine):
    """Three jobs that share a broker, and whatever they may do; every range is accounted for at any time."""

    EVENTS, ATTEMPTS, JOBS = 6, 3, (5001, 5002, 5003)
    ENDS: ClassVar = {
        finish: ({"finished", "done"}, "premerge.5001.1.tar"),
        finish_elsewhere: ({"finished", "done"}, "premerge.5001.2.tar"),
        fail: ({"failed"}, None),
    }

    def __init__(self) -> None:
        super().__init__()
        self.directory = TemporaryDirectory()
        self.runs = {panda_id: self.open_run(panda_id) for panda_id in self.JOBS}
        self.granted: dict[str, int] = {}
        self.said: dict[str, Word] = {}
        self.requests = 0

    def open_run(self, panda_id: int) -> LocalCommunicator:
        path = Path(self.directory.name)
        return open_local(job(panda_id), Settings(events=self.EVENTS, max_attempt=self.ATTEMPTS), path, "r1")

    def teardown(self) -> None:
        for run in self.runs.values():
            run.close()
        self.directory.cleanup()

    @rule(panda_id=st.sampled_from(JOBS), n=st.integers(1, 4))
    def ask(self, panda_id: int, n: int) -> None:
        self.requests += 1
        names = take(self.runs[panda_id], n, f"1.{self.requests}")
        assert not set(names) & set(self.granted), "handed out twice"
        self.granted |= dict.fromkeys(names, panda_id)
        assert take(self.runs[panda_id], n, f"1.{self.requests}") == names

    @rule(panda_id=st.sampled_from(JOBS), which=st.randoms(use_true_random=False), word=st.sampled_from([*ENDS]))
    def report(self, panda_id: int, which: Random, word: Word) -> None:
        names = which.sample(sorted(self.granted), min(3, len(self.granted)))
        answer = word(self.runs[panda_id], *names)
        assert Counter(answer.accepted + answer.refused) == Counter(names)
        for name in answer.accepted:
            assert self.granted[name] == panda_id, "accepted from a job that never had it"
            assert self.said.setdefault(name, word) is word, "accepted, and booked otherwise"

    @rule(panda_id=st.sampled_from(JOBS), state=st.sampled_from(["running", "finished", "failed"]))
    def tell(self, panda_id: int, state: str) -> None:
        self.runs[panda_id].update_job(JobReport(state))

    @rule(panda_id=st.sampled_from(JOBS))
    def die(self, panda_id: int) -> None:
        forget_process_of(self.runs[panda_id], panda_id)

    @rule(panda_id=st.sampled_from(JOBS))
    def resume(self, panda_id: int) -> None:
        self.runs[panda_id].close()
        self.runs[panda_id] = self.open_run(panda_id)

    @invariant()
    def every_range_is_accounted_for(self) -> None:
        attempts = self.runs[self.JOBS[0]].attempts()
        held = {each.event_range_id: (each.status, each.zip_lfn) for each in attempts if each.event_range_id}
        assert held.keys() == self.granted.keys()
        for name, (status, zip_lfn) in held.items():
            ends = self.ENDS[self.said[name]] if name in self.said else ({"sent", "cancelled"}, None)
            assert status in ends[0]
            assert zip_lfn == ends[1]
        assert sum(self.runs[self.JOBS[0]].counts().values()) == self.EVENTS
        open_ends = [attempt.start_event for attempt in attempts if attempt.status not in {"failed", "cancelled"}]
        assert len(open_ends) == len(set(open_ends)), "two may work on one range"


AnyOrder.TestCase.settings = hypothesis_settings(max_examples=40, stateful_step_count=30, deadline=None)
test_any_order_of_moves_accounts_for_every_range = AnyOrder.TestCase
