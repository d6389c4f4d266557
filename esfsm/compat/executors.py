"""GenericExecutor and RaythenaExecutor: what pilot3's WorkExecutor loads by class path, over our engine.

pilot3 calls `set_payload`, `start`, `is_alive`, `is_payload_started`, `get_pid`, `stop`, `get_exit_code`, and for
others `get_event_ranges` and `update_events`. A payload must be set: pilot3 never has an executor fetch one, and its
`WorkExecutor` could not.
"""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from threading import Event, Thread
from typing import Any
from uuid import uuid4

from esfsm.compat.esprocess import stream_path
from esfsm.compat.failures import SetupFailure
from esfsm.compat.jobs import Command, PilotsEquipment, PilotsJob, read_job, run_job, settings_of
from esfsm.compat.updates import read_updates
from esfsm.core import facts as f
from esfsm.core.engine import Engine
from esfsm.errors import EsfsmError
from esfsm.inbox import Clock, Inbox
from esfsm.model.outcome import Outcome
from esfsm.ports import Communicator

__all__ = ["GenericExecutor", "RaythenaExecutor"]

log = logging.getLogger(__name__)
"""Python's own, as that is a pilot's log."""

RAYTHENA_PATIENCE_S = 999_999.0
"""How long a payload of executor type raythena may live after `No more events` (as in pilot3)."""


class GenericExecutor(Thread):
    """An Event Service job on this node; `args` and whatever else is given become attributes.

    Its work directory, with the journal, is the job's. Ranges come from PanDA, ahead of demand; outputs are packed and
    stored by settings of ours in the environment (`ESFSM_OUTPUT_URL`, `ESFSM_OUTPUT_RSE_ID`), and reported until PanDA
    acknowledges them. The current directory of the process is left alone.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(name=type(self).__name__)
        self.args: object = None
        vars(self).update(kwargs)
        self.payload: Mapping[str, Any] | None = None
        self.exit_code: int | None = None
        self.outcome: Outcome | None = None
        """How the job ended; None before, or when it could not be run."""
        self._inbox = Inbox(Clock())
        self._stop_asked = Event()
        self._equipment: PilotsEquipment | None = None
        self._pid: int | None = None
        self._state = ""
        self._payload_began = False

    def set_payload(self, payload: Mapping[str, Any]) -> None:
        """What is to be run: `executable`, `workdir`, `output_file`, `error_file`, and `job`, the pilot's own."""
        self.payload = payload

    def is_set_payload(self) -> bool:
        """Whether it was set."""
        return self.payload is not None

    def get_payload(self) -> Mapping[str, Any] | None:
        """What was set."""
        return self.payload

    def get_job(self) -> PilotsJob | None:
        """The pilot's job."""
        return self.payload.get("job") if self.payload else None

    def is_payload_started(self) -> bool:
        """Whether it runs, or has run."""
        return self._payload_began

    def get_pid(self) -> int | None:
        """Of the process that leads the payload, and its process group; None when none runs."""
        return self._pid

    def get_exit_code(self) -> int | None:
        """None until the job has ended; 0 when it is done, or was stopped on request.

        Else the payload's, or the pilot error code where the payload is not at fault; -1 when it could not be run.
        """
        return self.exit_code

    def stop(self) -> None:
        """Hand out nothing more; what runs may finish, for `grace_s` seconds, and all finished work is stored."""
        if not self._stop_asked.is_set():
            self._stop_asked.set()
            self._inbox.put(f.Preempted(why="the pilot asked for a stop"))

    def is_stop(self) -> bool:
        """Whether it is to stop."""
        return self._stop_asked.is_set()

    def get_event_ranges(self, num_event_ranges: int = 1, queue_factor: int = 2) -> list[dict[str, object]]:
        """At most so many ranges in PanDA's form, for whoever processes some beside the payload and reports them.

        They are no part of the journal; `queue_factor` says nothing, as only the payload has a stock. Raises
        `SetupFailure` before the job runs, `WireError` when PanDA does not answer.
        """
        grant = self._communicator.get_event_ranges(num_event_ranges, uuid4().hex)
        return [event_range.as_panda() for event_range in grant.event_ranges]

    def update_events(self, messages: Mapping[str, Any]) -> dict[str, object]:
        """Report such ranges: `{"version": 0 or 1, "eventRanges": JSON text}`; the answer has PanDA's form.

        Raises `SetupFailure` before the job runs, `UnusableInput`, `WireError` when PanDA does not answer.
        """
        returns: list[bool] = []
        for report in read_updates(messages):
            accepted = self._communicator.update_event_ranges(report).accepted
            returns += [event_range_id in accepted for event_range_id in report.event_range_ids]
        return {"StatusCode": 0, "Returns": returns}

    def run(self) -> None:
        """The thread: the job, from its beginning or from where its journal is, to its end."""
        try:
            self.outcome = self._run()
        except (EsfsmError, SetupFailure) as error:
            log.error("the job cannot be run: %s", error)
        finally:  # whatever happens, the pilot is told
            self._pid = None
            self.exit_code = _exit_code(self.outcome)

    def _run(self) -> Outcome:
        job, payload = self.get_job(), self.payload
        if job is None or payload is None:
            raise SetupFailure("no payload with a job was set")
        workdir = Path(payload.get("workdir") or job.workdir).absolute()
        ours = read_job(job)
        settings, said_by = settings_of(ours, job, workdir, self._wishes())
        streams = {"output_file": "payload.stdout", "error_file": "payload.stderr"}
        stdout, stderr = (stream_path(payload.get(key) or name, workdir) for key, name in streams.items())
        command = Command(payload["executable"], stdout, stderr, settings.cores or int(job.corecount or 1))

        def equip(run: str) -> PilotsEquipment:
            self._equipment = PilotsEquipment(ours, workdir, settings, said_by, run, command)
            return self._equipment

        ended = run_job(ours, workdir, settings, equip, self._inbox, self._heard)
        log.info("%s; journal %s", ended.sentence, ended.journal)
        return ended

    def _wishes(self) -> dict[str, object]:
        """Settings of this executor, unless the environment says otherwise."""
        return {}

    def _heard(self, _: f.Fact, engine: Engine) -> None:
        """After each fact: what the pilot asks, and what its heartbeats say, is kept up to date."""
        job = self.get_job()
        assert job is not None, "it was there when the job began"
        self._pid = engine.started.pid if engine.started else None
        if self._pid is not None:
            job.pid, self._payload_began = self._pid, True
        job.nevents = engine.ranges.ledger.events_finished
        if engine.state != self._state:
            self._state = engine.state
            log.info("the job is %s", engine.state)

    @property
    def _communicator(self) -> Communicator:
        if self._equipment is None:
            raise SetupFailure("the job does not run yet")
        return self._equipment.communicator


class RaythenaExecutor(GenericExecutor):
    """The same for a worker of Raythena: archives are moved to the directory `PILOT_OUTPUT_DIR`.

    It waits for Raythena's executor type in the engine: single outputs in place of archives, and their report with
    `esOutput`. Until then whoever merges finds the outputs inside of archives, which PanDA knows.
    """

    def _wishes(self) -> dict[str, object]:
        return {"end_patience_s": RAYTHENA_PATIENCE_S, "output_url": os.environ.get("PILOT_OUTPUT_DIR")}


def _exit_code(outcome: Outcome | None) -> int:
    if outcome is None:
        return -1
    if outcome.state != "failed":
        return 0
    return outcome.payload_exit_code or outcome.pilot_error_code or -1
