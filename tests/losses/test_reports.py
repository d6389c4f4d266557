"""Only the server's own word ends a range; whatever is not confirmed is said again."""

from pathlib import Path

import pytest
from core.worlds import Teller, names
from shell.jobs import es_job

from esfsm.core import facts as f
from esfsm.core.actions import Action
from esfsm.equipment import Equipment
from esfsm.errors import PilotErrorCode
from esfsm.inbox import Clock, Inbox
from esfsm.model.job import Job
from esfsm.model.report import Answer, Report
from esfsm.model.settings import Settings
from esfsm.perform import Performer
from esfsm.wire.panda.ranges import read_command, read_update


class Server:
    """One that replies to every report with the same bytes."""

    def __init__(self, reply: bytes) -> None:
        self._reply = reply

    def update_event_ranges(self, report: Report) -> Answer:
        return read_update(self._reply, report.event_range_ids)

    def close(self) -> None:
        """Nothing to let go of."""


def answered(action: Action, reply: bytes, workdir: Path) -> f.Fact:
    """What becomes of a report with this reply."""
    equipment, inbox = Equipment(Job.read(es_job()), workdir, Settings(), {}, "run"), Inbox(Clock())
    equipment._opened = Server(reply)  # type: ignore[assignment]
    performer = Performer(equipment, inbox)
    performer.start(action)
    (fact,) = inbox.take()
    performer.close()
    return fact


UNCONFIRMED = {
    "nothing": b"",
    "a page of a proxy": b"<html>502 Bad Gateway</html>",
    "a text": b'"ok"',
    "a code": b'{"StatusCode": 10, "Returns": [true, true]}',
    "no success": b'{"success": false, "message": "database is down"}',
    "no word": b'{"StatusCode": 0}',
    "no word but a command": b'{"StatusCode": 0, "Commands": {"7000000123": "tobekilled"}}',
    "a word for both": b'{"StatusCode": 0, "Returns": true}',
    "a word too few": b'{"StatusCode": 0, "Returns": [true]}',
    "a word too many": b'{"StatusCode": 0, "Returns": [true, true, false]}',
    "false for one": b'{"StatusCode": 0, "Returns": [true, false]}',
    "false for the other": b'{"StatusCode": 0, "Returns": [false, true]}',
    "null for one": b'{"StatusCode": 0, "Returns": [true, null]}',
}


@pytest.mark.parametrize("reply", UNCONFIRMED.values(), ids=UNCONFIRMED)
def test_a_reply_that_confirms_nothing_ends_no_range(tmp_path: Path, reply: bytes) -> None:
    """Pilot3: the reply to a report was not looked at; whatever came was counted as success."""
    job = Teller().stored("r1", "r2")
    again = job.tell(answered(job.asked("report_ranges"), reply, tmp_path))
    assert job.ledger.counts() == {"stored": 2}
    if "report_ranges" not in names(again):
        job.ring_until("report_ranges")
    assert "report_ranges" in job.waits_for()
    assert job.drained().ledger.counts() == {"finished": 2}


def test_a_reply_that_says_true_to_each_range_ends_them(tmp_path: Path) -> None:
    """Pilot3: this one reply was indistinguishable from all those above."""
    job = Teller().stored("r1", "r2")
    job.tell(answered(job.asked("report_ranges"), b'{"StatusCode": 0, "Returns": [true, true]}', tmp_path))
    assert job.ledger.counts() == {"finished": 2}


def test_a_command_that_comes_with_the_reply_to_a_report_is_read() -> None:
    """Pilot3: commands in the reply to a report were ignored."""
    assert read_command(b'{"StatusCode": 0, "Returns": [true], "Command": {"7": "tobekilled"}}', 7) == "tobekilled"


VAIN = pytest.mark.parametrize(
    "vain",
    [f.ReportUnanswered(why="HTTP 502"), f.ActionBroke(why="nobody foresaw it"), f.RangesAcknowledged(unheard=("r1",))],
    ids=["unanswered", "broke", "silent"],
)


@VAIN
def test_an_archive_whose_report_was_in_vain_is_reported_again_and_not_stored_again(vain: f.Fact) -> None:
    """Pilot3: trouble after the upload was taken for a failed upload; all was tarred again under another name."""
    job = Teller().stored("r1")
    first = job.asked("report_ranges").report
    asked = names((*job.answer("report_ranges", vain), *job.ring_until("report_ranges")))
    assert {"pack_outputs", "store_archive"}.isdisjoint(asked)
    assert job.asked("report_ranges").report == first


def test_a_stored_range_that_nobody_confirms_is_never_reported_failed() -> None:
    """Pilot3: at the end of a job, results that were staged and not confirmed were reported failed."""
    job = Teller(report_attempts=2).stored("r1")
    first = job.asked("report_ranges").report
    job.answer("report_ranges", f.ReportUnanswered(why="HTTP 502"))
    job.ring_until("report_ranges")
    job.answer("report_ranges", f.ReportUnanswered(why="HTTP 502"))
    job.ring_until("note")
    job.drained()
    assert (job.state, job.ledger["r1"]) == ("failed", "unanswered")
    later = job.resumed()
    later.goes_well("classify_job", "select_executor", "stage_in")
    assert later.asked("report_ranges").report == first


@VAIN
def test_a_report_of_a_failed_range_that_was_in_vain_is_made_again(vain: f.Fact) -> None:
    """Pilot3: the queue was emptied before an update call that was not protected; what it held was gone."""
    job = Teller().running("r1")
    job.says(f.RangeErrored(event_range_id="r1", why="Seek failed"))
    first = job.asked("report_ranges").report
    job.answer("report_ranges", vain)
    assert job.ledger["r1"] == "errored"
    job.ring_until("report_ranges")
    assert job.asked("report_ranges").report == first


def test_a_failed_range_is_reported_with_its_code_and_the_payloads_own_words() -> None:
    """Pilot3: of every failed range the server was told the same code; the payload's words were dropped."""
    job = Teller().running("r1", "r2")
    job.says(f.RangeErrored(event_range_id="r2", why="Seek failed"))
    report = Report(("r2",), error_code=PilotErrorCode.UNKNOWNPAYLOADFAILURE, error_diag="Seek failed")
    assert job.asked("report_ranges").report == report


def test_events_are_counted_when_the_server_has_confirmed_them() -> None:
    """Pilot3: the count went up with the report, confirmed or not, and counted ranges while servers count events."""
    job = Teller().stored("r1", "r2", "r3")
    assert job.ledger.events_finished == 0
    job.answer("report_ranges", f.RangesAcknowledged(refused=("r2",)))
    assert job.drained().report.events == 20
