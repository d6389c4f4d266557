"""ESProcess for those who run one by themselves, as pilots do: the executor's, on the ZeroMQ channel."""

from collections.abc import Mapping
from typing import Any

from esfsm import plugins
from esfsm.adapters.executors import esprocess

__all__ = ["ESProcess"]


class ESProcess(esprocess.ESProcess):
    """A payload that is fed event ranges over AthenaMP's channel.

    `payload`: a mapping with `executable`, `workdir`, `output_file`, `error_file`, optionally `job`. Set both hooks,
    then `start()`; `poll()` gives the exit code once all that the payload said has been handled.
    """

    def __init__(self, payload: Mapping[str, Any]) -> None:
        super().__init__(payload, open_channel=plugins.find("channels", "zmq"))
