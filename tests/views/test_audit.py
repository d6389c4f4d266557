"""Journal, server and storage compared: books that agree, and each way in which they may not."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from core.worlds import HELD, Teller, granted, produced

from esfsm.core import facts as f
from esfsm.core.batch import archive_name
from esfsm.core.engine import Engine
from esfsm.model.report import Booked
from esfsm.views.audit import Archive, Audit, Bookkeeper, Found, JournalBook, StorageBook, compare, summary

ENDS = HELD["event-range"].ends
FIRST, SECOND = archive_name("r1"), archive_name("r5")


def archive(lfn: str, *ids: str, url: str | None = None) -> Archive:
    members = {f"HITS.{event_range_id}": event_range_id for event_range_id in ids}
    return Archive(lfn, members, 20480, "0a1b2c3d", f"/out/{lfn}" if url is None else url)


def found(*ids: str, **said: object) -> Found:
    return replace(Found(20480, "0a1b2c3d", [f"HITS.{event_range_id}" for event_range_id in ids]), **said)


JOURNAL = JournalBook(
    ended=True,
    ranges={"r1": "finished", "r2": "finished", "r3": "failed", "r4": "released"},
    ends=ENDS,
    archives={FIRST: archive(FIRST, "r1", "r2")},
)
SERVER = {
    "r1": Booked("done", FIRST),
    "r2": Booked("done", FIRST),
    "r3": Booked("failed"),
    "r4": Booked("cancelled"),
}
STORAGE = StorageBook({FIRST: found("r1", "r2")}, {FIRST, "HITS_MRG.root", "EventService_premerge_r99.tar"})


def journal(ended: bool = True, archives: Mapping[str, Archive] = JOURNAL.archives, **ranges: str) -> JournalBook:
    """The journal with other states of these ranges; `___` leaves one out."""
    states = {name: state for name, state in {**JOURNAL.ranges, **ranges}.items() if state != "___"}
    return replace(JOURNAL, ended=ended, ranges=states, archives=archives)


def server(**booked: Booked | None) -> dict[str, Booked]:
    """The server with other words about these ranges; None: it does not know the range."""
    return {name: said for name, said in {**SERVER, **booked}.items() if said is not None}


def differences(
    told: JournalBook = JOURNAL, booked: Mapping[str, Booked] | None = SERVER, storage: StorageBook = STORAGE
) -> list[str]:
    return list(compare(told, booked, storage))


def test_books_that_agree_have_no_difference() -> None:
    assert differences() == []


# --- what the server says of a range that the journal has


@pytest.mark.parametrize("status", ["finished", "done", "merged"])
@pytest.mark.parametrize("archive_lfn", [FIRST, None], ids=["in its archive", "the server does not say where"])
def test_a_finished_range_is_finished_in_any_of_the_servers_words(status: str, archive_lfn: str | None) -> None:
    assert differences(booked=server(r1=Booked(status, archive_lfn))) == []


@pytest.mark.parametrize(
    "status", ["ready", "sent", "running", "cancelled", "discarded", "corrupted", "failed", "fatal"]
)
@pytest.mark.parametrize("ended", [True, False])
def test_a_finished_range_that_the_server_does_not_have_finished_is_named(status: str, ended: bool) -> None:
    told = differences(journal(ended), server(r1=Booked(status)))
    assert told == [f"event range r1: finished in the journal, {status} at the server"]


def test_a_range_that_the_server_has_in_another_archive_is_named() -> None:
    told = differences(booked=server(r2=Booked("done", "other.tar")))
    assert told == [f"event range r2: in {FIRST} in the journal, in other.tar at the server"]


@pytest.mark.parametrize("status", ["failed", "fatal"])
def test_a_failed_range_is_failed_in_any_of_the_servers_words(status: str) -> None:
    assert differences(booked=server(r3=Booked(status))) == []


@pytest.mark.parametrize("status", ["sent", "finished", "done", "cancelled"])
def test_a_failed_range_that_the_server_does_not_have_failed_is_named(status: str) -> None:
    told = differences(booked=server(r3=Booked(status)))
    assert told == [f"event range r3: failed in the journal, {status} at the server"]


@pytest.mark.parametrize(
    ("state", "status"), [("stored", "finished"), ("stored", "done"), ("errored", "failed"), ("errored", "fatal")]
)
def test_a_report_that_was_not_answered_may_be_booked_already_while_the_job_goes_on(state: str, status: str) -> None:
    assert differences(journal(ended=False, r4=state), server(r4=Booked(status))) == []


@pytest.mark.parametrize("state", ["granted", "running", "produced", "packed", "errored", "released"])
@pytest.mark.parametrize("ended", [True, False])
def test_a_range_that_was_never_reported_finished_and_is_at_the_server_is_named(state: str, ended: bool) -> None:
    told = differences(journal(ended, r4=state), server(r4=Booked("finished")))
    assert f"event range r4: {state} in the journal, finished at the server" in told


@pytest.mark.parametrize(
    ("state", "status"),
    [("unanswered", "done"), ("unanswered", "sent"), ("released", "failed"), ("released", "cancelled")],
)
@pytest.mark.parametrize("ended", [True, False])
def test_a_range_whose_reports_nobody_answered_may_be_booked_or_not(state: str, status: str, ended: bool) -> None:
    assert differences(journal(ended, r4=state), server(r4=Booked(status))) == []


@pytest.mark.parametrize("state", ["granted", "running", "produced", "packed", "stored", "refused"])
@pytest.mark.parametrize("ended", [True, False])
def test_a_range_that_was_never_reported_failed_and_is_at_the_server_is_named(state: str, ended: bool) -> None:
    told = differences(journal(ended, r4=state), server(r4=Booked("failed")))
    assert f"event range r4: {state} in the journal, failed at the server" in told


@pytest.mark.parametrize(("state", "status"), [("stored", "finished"), ("errored", "failed")])
def test_what_was_not_answered_is_a_difference_once_the_job_has_ended(state: str, status: str) -> None:
    assert differences(journal(r4=state), server(r4=Booked(status))) == [
        f"event range r4: the job has ended, and it is {state}",
        f"event range r4: {state} in the journal, {status} at the server",
    ]


@pytest.mark.parametrize("state", ["granted", "running", "produced", "packed", "stored", "errored"])
def test_a_range_on_its_way_is_sent_or_taken_back_at_the_server(state: str) -> None:
    for status in ("sent", "running", "ready", "cancelled"):
        assert differences(journal(ended=False, r4=state), server(r4=Booked(status))) == []


# --- ranges that only one of the two knows


@pytest.mark.parametrize("state", ["finished", "failed", "granted", "stored", "unanswered"])
def test_a_range_that_the_server_does_not_know_for_this_job_is_named(state: str) -> None:
    told = differences(journal(ended=False, r3=state), server(r3=None))
    assert f"event range r3: {state} in the journal, unknown to the server" in told


@pytest.mark.parametrize("state", ["released", "refused"])
def test_a_range_that_was_given_back_may_be_another_jobs_by_now(state: str) -> None:
    assert differences(journal(r4=state), server(r4=None)) == []


@pytest.mark.parametrize("status", ["sent", "running"])
def test_a_lost_grant_is_named_when_the_job_has_ended_and_the_server_waits_for_it(status: str) -> None:
    booked = server(r9=Booked(status))
    assert differences(booked=booked) == [
        f"event range r9: unknown in the journal, and the job has ended; {status} at the server"
    ]
    assert differences(journal(ended=False), booked) == []


@pytest.mark.parametrize("status", ["cancelled", "ready", "discarded"])
def test_a_lost_grant_that_was_taken_back_is_no_difference(status: str) -> None:
    assert differences(booked=server(r9=Booked(status))) == []


@pytest.mark.parametrize("status", ["finished", "done", "merged", "failed", "fatal"])
@pytest.mark.parametrize("ended", [True, False])
def test_a_final_word_about_a_range_that_the_journal_never_heard_of_is_named(status: str, ended: bool) -> None:
    told = differences(journal(ended), server(r9=Booked(status)))
    assert told == [f"event range r9: unknown in the journal, {status} at the server"]


def test_without_a_word_of_the_server_journal_and_storage_are_compared() -> None:
    assert differences(booked=None) == []
    assert len(differences(booked=None, storage=StorageBook())) == 1


# --- the journal by itself


@pytest.mark.parametrize("state", sorted(set(HELD["event-range"].states) - set(ENDS)))
def test_a_range_of_an_ended_job_that_has_reached_no_end_is_named(state: str) -> None:
    booked = server(r4=Booked("sent"))
    assert differences(journal(r4=state), booked) == [f"event range r4: the job has ended, and it is {state}"]
    assert differences(journal(ended=False, r4=state), booked) == []


def test_a_finished_range_without_a_stored_archive_is_named() -> None:
    archives = {FIRST: archive(FIRST, "r1"), SECOND: archive(SECOND, "r2", url="")}
    told = differences(journal(archives=archives), storage=StorageBook({FIRST: found("r1")}))
    assert told == ["event range r2: finished in the journal, and in no archive that is stored"]


def test_a_range_with_outputs_in_two_archives_is_named_once() -> None:
    second = replace(archive(SECOND, "r2"), members={"HITS.r2": "r2", "AOD.r2": "r2"})
    archives = {FIRST: archive(FIRST, "r1", "r2"), SECOND: second}
    files = {FIRST: found("r1", "r2"), SECOND: found(members=["HITS.r2", "AOD.r2"])}
    told = differences(journal(archives=archives), storage=StorageBook(files))
    assert told == [f"event range r2: its outputs are in two archives, {FIRST} and {SECOND}"]


def test_two_outputs_of_a_range_in_one_archive_are_as_they_should_be() -> None:
    both = replace(archive(FIRST, "r1"), members={"HITS.r1": "r1", "AOD.r1": "r1", "HITS.r2": "r2"})
    files = {FIRST: found(members=["AOD.r1", "HITS.r1", "HITS.r2"])}
    assert differences(journal(archives={FIRST: both}), storage=StorageBook(files)) == []


# --- the storage


def stored(one: Found | None) -> StorageBook:
    return StorageBook({} if one is None else {FIRST: one})


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (None, f"missing at /out/{FIRST}"),
        (Found(fault="cannot be read: it burns"), "cannot be read: it burns"),
        (found("r1", "r2", members=None, fault="cannot be unpacked"), "cannot be unpacked"),
        (
            found("r1", "r2", size_bytes=20481),
            "20480 bytes of adler32 0a1b2c3d in the journal, 20481 of 0a1b2c3d in the storage",
        ),
        (
            found("r1", "r2", adler32="0a1b2c3e"),
            "20480 bytes of adler32 0a1b2c3d in the journal, 20480 of 0a1b2c3e in the storage",
        ),
        (found("r1"), "lacks HITS.r2 of event range r2, which is finished"),
        (found("r1", "r2", "r7"), "has HITS.r7, which is of none of its event ranges"),
    ],
)
def test_an_archive_that_is_not_what_was_stored_is_named(one: Found | None, why: str) -> None:
    assert differences(storage=stored(one)) == [f"archive {FIRST}: {why}"]


def test_an_archive_may_lack_the_output_of_a_range_that_is_not_finished() -> None:
    assert differences(journal(r2="refused"), server(r2=None), stored(found("r1"))) == []


def test_an_archive_that_was_packed_and_not_stored_is_missed_by_nobody() -> None:
    archives = {FIRST: archive(FIRST, "r1", "r2"), SECOND: archive(SECOND, "r3", url="")}
    assert differences(journal(archives=archives)) == []


@pytest.mark.parametrize("ended", [True, False])
def test_an_archive_of_ours_that_the_journal_never_heard_of_is_named(ended: bool) -> None:
    lfn = archive_name("r3")
    told = differences(journal(ended), storage=replace(STORAGE, names={FIRST, lfn}))
    assert told == [f"archive {lfn}: in the storage, unknown in the journal"]


@pytest.mark.parametrize("name", ["r3", "r3.tar", "EventService_premerge_r3", "EventService_premerge_r99.tar", "x.tar"])
def test_a_file_that_does_not_bear_the_name_of_one_of_our_archives_is_not_ours(name: str) -> None:
    assert differences(storage=replace(STORAGE, names={name})) == []


def test_an_archive_that_was_to_be_packed_is_no_orphan() -> None:
    lfn = archive_name("r3")
    told = journal(ended=False, archives={**JOURNAL.archives, lfn: Archive(lfn, {"HITS.r3": "r3"})})
    assert differences(told, storage=replace(STORAGE, names={FIRST, lfn})) == []


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"out.root": Found(9, "00000001")}, []),
        ({}, ["output out.root: missing at /out/out.root"]),
        (
            {"out.root": Found(8, "00000001")},
            ["output out.root: 9 bytes of adler32 00000001 in the journal, 8 of 00000001 in the storage"],
        ),
    ],
)
def test_the_outputs_of_a_job_without_event_ranges_are_compared(files: Mapping[str, Found], said: list[str]) -> None:
    output = Archive("out.root", {}, 9, "00000001", "/out/out.root")
    told = JournalBook(ended=True, ends=ENDS, archives={"out.root": output})
    assert differences(told, None, StorageBook(files)) == said


def test_every_difference_is_listed() -> None:
    told = differences(journal(r4="granted"), server(r1=None, r3=Booked("sent")), StorageBook())
    assert [line.split(":")[0] for line in told] == [
        "event range r4",
        "event range r1",
        "event range r3",
        f"archive {FIRST}",
    ]


# --- the journal's book, made from facts


def book_of(job: Teller) -> JournalBook:
    engine = Engine(job.workflow, HELD, job.settings)
    engine.begin()
    keeper = Bookkeeper(engine)
    for fact in job.facts:
        keeper.hear(fact, engine.decide(fact).actions)
    return keeper.book(ENDS)


STORED = Archive(FIRST, {"HITS.root.r1": "r1", "HITS.root.r2": "r2"}, 1000, "0badcafe", url="file:///out/archive.tar")


def test_a_job_that_went_well_has_each_range_finished_and_in_its_archive() -> None:
    book = book_of(Teller().stored("r1", "r2").drained())
    assert book == JournalBook(True, {"r1": "finished", "r2": "finished"}, ENDS, {FIRST: STORED})
    assert book.stored == [STORED]


@pytest.mark.parametrize(
    ("job", "state", "one"),
    [
        (Teller().running("r1", "r2"), "running", None),
        (Teller().packed("r1", "r2"), "packed", replace(STORED, url="")),
        (Teller().stored("r1", "r2"), "stored", STORED),
    ],
    ids=["running", "packed", "stored"],
)
def test_a_job_that_has_not_ended_has_what_was_done_so_far(job: Teller, state: str, one: Archive | None) -> None:
    book = book_of(job)
    assert (book.ended, book.ranges) == (False, {"r1": state, "r2": state})
    assert book.archives == ({} if one is None else {FIRST: one})
    assert book.stored == [archive for archive in (one,) if archive and archive.url]


def test_an_archive_is_known_from_when_it_was_asked_for() -> None:
    job = Teller().produced("r1", "r2")
    job.says(f.PayloadFinished())
    assert book_of(job).archives == {FIRST: Archive(FIRST, STORED.members)}


def test_an_output_that_was_lost_before_it_was_packed_is_in_no_archive() -> None:
    job = Teller().produced("r1", "r2")
    job.says(f.PayloadFinished())
    job.answer("pack_outputs", f.OutputsPacked(size_bytes=500, adler32="0000000a", lost=("r1",)))
    assert book_of(job.drained()).archives == {
        FIRST: Archive(FIRST, {"HITS.root.r2": "r2"}, 500, "0000000a", "file:///out/archive.tar")
    }


def test_a_range_of_a_late_grant_is_in_the_book_and_one_that_nobody_granted_is_not() -> None:
    job = Teller().running()
    job.says(f.RangesWanted(n=2), produced("stranger"), f.PayloadFinished())
    job.answer("request_ranges", granted("late"))
    assert dict(book_of(job.drained()).ranges) == {"late": "released"}


def test_a_grant_that_answers_a_request_once_more_is_not_in_the_book() -> None:
    job = Teller().running()
    job.says(f.RangesWanted(n=1))
    request = job.asked("request_ranges").number
    for event_range_id in ("r1", "r2"):
        job.tell(replace(granted(event_range_id), answers=request))
    assert dict(book_of(job).ranges) == {"r1": "granted"}


def test_the_outputs_of_a_plain_job_are_in_the_book() -> None:
    job = Teller("generic").goes_well("classify_job", "select_executor", "stage_in", "run_payload")
    job.answer("stage_out", f.OutputsStaged(files=(f.FileCopy("out.root", 9, "00000001", "/out/out.root"),)))
    output = Archive("out.root", {}, 9, "00000001", "/out/out.root")
    assert book_of(job.drained()) == JournalBook(True, {}, ENDS, {"out.root": output})


# --- for people


def test_what_each_book_says_fits_in_a_line() -> None:
    assert summary(JOURNAL, SERVER, STORAGE) == (
        "journal: event ranges: 2 finished, 1 failed, 1 released; files stored: 1",
        "server: event ranges: 2 done, 1 failed, 1 cancelled",
        "storage: files: 1, 20480 bytes",
    )


def test_a_job_that_goes_on_and_a_server_that_cannot_say_are_told_as_such() -> None:
    assert summary(JournalBook(ended=False), None, StorageBook()) == (
        "journal: no event ranges; files stored: 0; the job has not ended",
        "server: cannot say",
        "storage: files: 0, 0 bytes",
    )


@pytest.mark.parametrize(
    ("found_differences", "verdict"),
    [
        ((), "the books agree"),
        (("a: b",), "1 difference:"),
        (("a: b", "c: d"), "2 differences:"),
    ],
)
def test_an_audit_begins_with_its_verdict_and_lists_differences_before_books(
    found_differences: tuple[str, ...], verdict: str
) -> None:
    told = Audit(5001, ("journal: ...",), found_differences).lines()
    assert told == [f"job 5001: {verdict}", *(f"  {line}" for line in found_differences), "  journal: ..."]
