"""What becomes of a job when it has ended in the books of the PanDA stand-in, and of the ranges that it held."""

from random import Random

import pytest
from standins.bookkeeping import JOB, JOBSET, OTHER, TASK, job, say, stands, submit, take

from esfsm.standins.panda.books import SILENCE_S, Books
from esfsm.standins.panda.ends import End


def test_what_a_job_left_goes_to_the_next_job(books: Books) -> None:
    submit(books, 4)
    finished, failed, _sent = take(books, 3)
    say(books, "finished", finished)
    say(books, "failed", failed)
    assert books.end_job(JOB) == End("merging", "es_retry", 111, 10_000_001)
    assert stands(books) == {
        "1001-5001-100101-1-10": "done",
        "1001-5001-100101-2-10": "failed",
        "1001-4001-100101-2-9": "ready",
        "1001-4001-100101-3-9": "ready",
        "1001-4001-100101-4-10": "ready",
    }
    (definition,) = books.acquire_jobs("TEST_ES")
    assert (definition["PandaID"], definition["attemptNr"], definition["jobsetID"]) == (10_000_001, 2, JOBSET)
    assert len(take(books, 10, 10_000_001)) == 3
    assert books.update_job(JOB, "finished") == "tobekilled"


def test_a_job_ends_once(books: Books) -> None:
    submit(books)
    take(books, 2)
    assert books.end_job(JOB)
    before = books.ranges()
    assert books.end_job(JOB) is None
    assert books.end_job(59999) is None
    assert books.ranges() == before


@pytest.mark.parametrize(("accepts_partial", "status"), [(True, "fatal"), (False, "cancelled")])
def test_a_range_without_an_attempt_left_is_fatal_or_fails_its_job(
    books: Books, accepts_partial: bool, status: str
) -> None:
    submit(books, 2, attempts=1, accepts_partial=accepts_partial)
    first, second = take(books, 2)
    say(books, "fatal", first)
    say(books, "finished", second)
    end = books.end_job(JOB)
    assert stands(books)["1001-4001-100101-1-0"] == status
    assert end == (End("merging", "es_merge", 112) if accepts_partial else End("failed", None, 118))
    assert books.count_ready(JOBSET, TASK) == 0


def test_a_job_that_finished_nothing_and_left_all_has_done_nothing(books: Books) -> None:
    submit(books)
    take(books, 2)
    assert books.end_job(JOB) == End("closed", "es_noevent", 123, 10_000_001)


def test_a_job_whose_ranges_all_failed_for_good_has_failed(books: Books) -> None:
    submit(books, 2, attempts=1)
    say(books, "failed", *take(books, 2))
    assert books.end_job(JOB) == End("failed", None, 119)


def test_after_the_last_attempt_at_the_job_what_is_left_is_given_up(books: Books) -> None:
    submit(books, job_attempts=1)
    say(books, "finished", *take(books, 2))
    assert books.end_job(JOB) == End("failed", None, 118)
    assert books.counts() == {"done": 2, "cancelled": 4}


@pytest.mark.parametrize(
    ("n", "end"), [(2, End("merging", "es_wait", 115)), (0, End("closed", "es_inaction", 117))], ids=["some", "none"]
)
def test_a_job_leaves_the_end_to_others_that_still_run(books: Books, n: int, end: End) -> None:
    submit(books, 4, jobs=2)
    say(books, "finished", *take(books, n))
    take(books, 4, OTHER)
    assert books.end_job(JOB) == end
    assert books.acquire_jobs("TEST_ES") == []


def test_after_the_last_attempt_at_a_job_others_may_take_what_is_left(books: Books) -> None:
    submit(books, jobs=2, job_attempts=1)
    say(books, "finished", *take(books, 2))
    assert books.end_job(JOB) == End("closed", "es_inaction", 117)
    assert books.counts() == {"done": 2, "ready": 4}


def test_a_last_job_that_finished_nothing_brings_no_merge(books: Books) -> None:
    submit(books, 2, jobs=2, attempts=1)
    say(books, "failed", *take(books, 1))
    say(books, "finished", *take(books, 1, OTHER))
    assert books.end_job(OTHER) == End("merging", "es_wait", 115)
    assert books.end_job(JOB) == End("closed", "es_inaction", 117)
    assert books.counts() == {"done": 1, "failed": 1, "fatal": 1}


def test_the_last_job_of_a_jobset_brings_the_merge_and_closes_who_has_nothing_to_do(books: Books) -> None:
    submit(books, 2, jobs=2)
    say(books, "finished", *take(books, 2))
    assert books.end_job(JOB) == End("merging", "es_merge", 112)
    assert job(books, OTHER) == ("closed", "es_unused", 116)
    assert books.counts() == {"done": 2}


@pytest.mark.parametrize(("n", "end"), [(0, ("failed", "es_heartbeat", 100)), (1, ("merging", "es_retry", 111))])
def test_a_job_that_is_not_heard_of_is_lost(books: Books, n: int, end: tuple[str, str, int]) -> None:
    submit(books, state="activated")
    books.acquire_jobs("TEST_ES", now_s=100)
    say(books, "finished", *take(books, n))
    assert books.sweep(100 + SILENCE_S) == []
    books.update_job(JOB, "running", now_s=200)
    assert books.sweep(200 + SILENCE_S) == []
    assert books.sweep(201 + SILENCE_S) == [JOB]
    assert job(books) == end
    assert books.acquire_jobs("TEST_ES")[0]["PandaID"] == 10_000_001


def test_a_job_that_has_said_its_last_word_is_ended_by_and_by(books: Books) -> None:
    submit(books, jobs=2)
    books.update_job(JOB, "failed", now_s=5)
    books.update_job(OTHER, "running", now_s=5)
    assert books.sweep(6) == [JOB]
    assert job(books) == ("closed", "es_noevent", 123)


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_each_range_stands_in_one_place(books: Books, seed: int) -> None:
    chance = Random(seed)
    submit(books, 12, jobs=2, files=2, attempts=3)
    held: list[str] = []
    for _ in range(60):
        running = [row.panda_id for row in books.jobs() if row.state == "running"]
        match chance.randrange(5):
            case 0 | 1 if running:
                held += take(books, chance.randrange(4), chance.choice(running))
            case 2 | 3 if held:
                say(books, chance.choice(["finished", "failed", "fatal"]), chance.choice(held))
            case 4 if running and chance.random() < 0.3:
                books.end_job(chance.choice(running))
        for waiting in books.acquire_jobs("TEST_ES"):
            books.set_state(int(str(waiting["PandaID"])), "running")
        live = [row.event_range_id.split("-")[3] for row in books.ranges() if row.status != "failed"]
        failed = {
            row.event_range_id.split("-")[3]
            for row in books.ranges()
            if row.status == "failed" and row.panda_id in running
        }
        assert len(live) == len(set(live))
        assert len(set(live) | failed) == 12
