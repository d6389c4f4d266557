"""A payload that outlived its engine, served to its end by another one.

It finds the channel of the same name by itself, and what it said meanwhile lies in its socket. If it waits for an
answer that the dead engine never gave, it says nothing and cannot be addressed; then it is ended after a while.
"""

from collections.abc import Collection

from esfsm.adapters.executors.esprocess import ESProcess
from esfsm.adapters.executors.process import Adopted, Verdict, Watched
from esfsm.adapters.executors.sent import LastSent
from esfsm.ports import Channel, Hooks, Message, Payload

__all__ = ["AdoptedESProcess"]


class AdoptedESProcess(ESProcess):
    """An ESProcess whose payload runs already; channel and process are its own from now on.

    Its last word is `payload_ended` if it was stopped, or was told the end and owes no range; else
    `payload_gone`. A first word is waited for `adopt_patience_s` seconds.
    """

    def __init__(
        self,
        payload: Payload,
        channel: Channel,
        process: Adopted,
        sent: LastSent,
        *,
        hooks: Hooks,
        in_hand: Collection[str],
        adopt_patience_s: float,
        end_patience_s: float,
    ) -> None:
        super().__init__(
            payload,
            open_channel=lambda *_: channel,
            hooks=hooks,
            end_patience_s=end_patience_s,
        )
        self._adopted, self._adopter, self._wire, self._sent = process, hooks, channel, sent
        self._set_deadline("speak", adopt_patience_s)
        self._in_hand.update(in_hand)

    @property
    def _sets_itself_up(self) -> bool:
        return False

    def _begin(self) -> tuple[Channel, Watched]:
        self._channel, self._process = self._wire, self._adopted
        return self._wire, self._adopted

    def _hear(self, message: Message) -> None:
        with self._lock:
            self._deadlines.pop("speak", None)
        super()._hear(message)

    def _tell_start(self, channel: Channel, process: Watched) -> None:
        """It was told when it happened."""

    def _tell_end(self, verdict: Verdict) -> None:
        if self._stopped_early or (self._dismissed and not self._in_hand):
            self._adopter.payload_ended(self._adopted.known_exit_code, *verdict)
        else:
            self._adopter.payload_gone()
