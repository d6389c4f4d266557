"""What can be found out when outputs are merged."""

from esfsm.core.facts.fact import Count, Fact, fact

__all__ = ["ArchivesUnpacked", "MergeIncomplete", "MergeProven"]


@fact
class ArchivesUnpacked(Fact):
    """All members of all archives lie in the work directory, and none that is needed is missing."""

    files: Count


@fact
class MergeIncomplete(Fact):
    """Event ranges that should be merged are missing; `corrupted` names the archives to blame, where known."""

    error_code: int
    why: str
    missing: tuple[str, ...] = ()
    corrupted: tuple[str, ...] = ()


@fact
class MergeProven(Fact):
    """The set of event ranges that went in is the set that came out; `by` says how that is known."""

    event_ranges: Count
    by: str
