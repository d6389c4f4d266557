"""A stage-out with outputs, brought as far as a test needs it."""

from esfsm.core.actions import ReportRanges
from esfsm.core.batch import Output
from esfsm.core.facts import OutputsPacked
from esfsm.core.stageout import StageOut
from esfsm.model.settings import Settings

PACKED = OutputsPacked(size_bytes=1000, adler32="0badcafe")
T = 100.0


def stageout_with(*ids: str, at: float = T, size_bytes: int = 10, **settings: object) -> StageOut:
    plain = {"zip_time_gap_s": 60.0, "stage_out_by": "gap", "retry_jitter": 0, "keep_outputs": True}
    stageout = StageOut(Settings(**{**plain, **settings}))
    for event_range_id in ids:
        stageout.add(event_range_id, Output((f"/w/HITS.{event_range_id}",), size_bytes, at))
    return stageout


def due(stageout: StageOut, now: float = T, flush: bool = False) -> list:
    return list(stageout.due(now, flush=flush, ends=flush))


def packed(*ids: str, **settings: object) -> tuple[StageOut, str]:
    """These are in an archive, of this name, and its first store is asked for."""
    stageout = stageout_with(*ids, **settings)
    (pack,) = due(stageout, flush=True)
    stageout.packed(pack.lfn, PACKED)
    due(stageout)
    return stageout, pack.lfn


def stored(*ids: str, **settings: object) -> tuple[StageOut, str]:
    """... and stored, and their first report is asked for."""
    stageout, lfn = packed(*ids, **settings)
    stageout.stored(lfn, "file:///out/a.tar", 0)
    due(stageout)
    return stageout, lfn


def reported(actions: list) -> dict[str, tuple[str, ...]]:
    """The ranges of each report, by its key."""
    assert all(isinstance(action, ReportRanges) for action in actions)
    return {action.key: action.report.event_range_ids for action in actions}
