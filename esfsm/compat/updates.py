"""Reports about event ranges in the form that pilot3's `update_events` takes, read into ours."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from esfsm.errors import UnusableInput
from esfsm.model.report import FAILED, ArchiveRecord, Report

__all__ = ["read_updates"]


def read_updates(messages: Mapping[str, Any]) -> list[Report]:
    """`{"version": 0 or 1, "eventRanges": JSON text}`, which PanDA takes, as reports in its order.

    Raises `UnusableInput` for what PanDA does not take, and for finished ranges that are in no archive (`esOutput`).
    """
    try:
        return list(_reports(json.loads(messages["eventRanges"])))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnusableInput(f"event ranges cannot be updated with that: {error!r}") from error


def _reports(updates: list[dict[str, Any]]) -> Iterator[Report]:
    for update in updates:
        if "zipFile" in update:
            event_range_ids = tuple(each["eventRangeID"] for each in update["eventRanges"])
            yield Report(event_range_ids, _archive(update["zipFile"]))
        elif update.get("eventStatus") in FAILED:
            error_code, error_diag = int(update.get("errorCode") or 0), str(update.get("errorDiag") or "")
            yield Report((update["eventRangeID"],), None, error_code, error_diag)
        else:
            raise ValueError("finished event ranges are reported with their archive")


def _archive(told: Mapping[str, Any]) -> ArchiveRecord:
    rse_id, convention = int(told["objstoreID"]), told.get("pathConvention")
    return ArchiveRecord(str(told["lfn"]), int(told["fsize"]), str(told["adler32"]), rse_id, convention)
