"""What may go wrong in one simulated world, and how often: drawn from its seed."""

from dataclasses import dataclass, fields
from random import Random

__all__ = ["CALM", "Weather", "pick"]


@dataclass(frozen=True, slots=True)
class Weather:
    """Probabilities, each of one thing each time that it could happen."""

    request_lost: float = 0.0
    """A call does not reach the server."""
    answer_lost: float = 0.0
    """A call is booked, and its answer does not come back."""
    doubled: float = 0.0
    """A call reaches the server twice."""
    rolled_back: float = 0.0
    """A report is rolled back, with the answer that PanDA gives then."""
    database_down: float = 0.0
    """The server answers, and books nothing."""
    null: float = 0.0
    """Words of an answer are null, although booked."""
    empty: float = 0.0
    """No range is handed out, although some are ready."""
    killed_by_server: float = 0.0
    """PanDA wants the job to end."""
    payload_dies: float = 0.0
    payload_hangs: float = 0.0
    payload_lingers: float = 0.0
    """It does not end after `No more events`."""
    repeats: float = 0.0
    """A result is announced twice."""
    reorders: float = 0.0
    """A result is announced after the request for the next range."""
    babbles: float = 0.0
    """It says what nobody understands, or speaks of ranges that it never got."""
    gives_up: float = 0.0
    """A range ends in one of AthenaMP's error messages."""
    no_output: float = 0.0
    """A result is announced, and its file is not there."""
    late_words: float = 0.0
    """It keeps its results to itself until it was told the end, and they are on their way when its own end is seen."""
    archive_rots: float = 0.0
    """An archive in the work directory is gone, or is another one, when it is to be stored."""
    pack_fails: float = 0.0
    """There is no room for an archive."""
    store_refused: float = 0.0
    store_lies: float = 0.0
    """All bytes, and a wrong checksum."""
    store_unheard: float = 0.0
    """All bytes, and an error."""
    disk_full: float = 0.0
    disk_broken: float = 0.0
    stop_request: float = 0.0
    """Somebody asks the job to stop, once."""
    engine_killed: float = 0.0
    """An engine is killed somewhere in its life."""
    payload_survives: float = 0.0
    """A payload outlives its engine."""
    power_fails: float = 0.0
    """What kills an engine is the power, not a signal."""
    clock_jumps: float = 0.0
    """The machine's clock is set while no engine is alive."""
    abandoned: float = 0.0
    """A job whose engine was killed is not taken up again: another pilot gets its ranges."""

    @classmethod
    def drawn(cls, chance: Random) -> "Weather":
        """Some troubles of all, each mild or hard: where all are there at once, none is seen clearly."""
        often = chance.choice((0.0, 0.1, 0.3, 0.6))
        drawn = {field.name: chance.choice((0.002, 0.02, 0.1, 0.4)) for field in fields(cls) if chance.random() < often}
        return cls(**({"engine_killed": 0.5} | drawn))


CALM = Weather()


def pick(chance: Random, low: float, high: float) -> float:
    """A time or a size between two, each order of magnitude as likely as any other."""
    return float(low * (high / low) ** chance.random())
