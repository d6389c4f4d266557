"""What a heartbeat says: how a job that goes on stands, in PanDA's words."""

from esfsm.core.engine import Engine
from esfsm.model.report import JobReport

__all__ = ["heartbeat"]

BEFORE = ("classify_job", "select_executor", "stage_in", "unpack_archives")
RUN = ("run_payload", "run_es_payload", "prove_merge")


def heartbeat(engine: Engine) -> JobReport | None:
    """How it stands: starting, running or transferring; None at its end, about which the core has the last word.

    PanDA takes reports of event ranges in each of these states; `holding`, which refuses them, is left to the server.
    """
    if engine.state in engine.workflow.ends:
        return None
    does = engine.workflow.states[engine.state].does
    status = "starting" if does in BEFORE else "running" if does in RUN else "transferring"
    return JobReport(status, engine.ranges.ledger.events_finished, cpu_s=engine.ranges.cpu_s)
