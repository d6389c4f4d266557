"""What pilot3 imports or loads by class path, with its names, arguments and return values; docs/pilot3.md says how.

What pilot3 calls from outside of a class is here. What a class there only calls itself is not.
"""

from esfsm.compat.esprocess import ESHook, ESManager, ESProcess
from esfsm.compat.executors import GenericExecutor, RaythenaExecutor
from esfsm.compat.messages import MessageThread

__all__ = ["ESHook", "ESManager", "ESProcess", "GenericExecutor", "MessageThread", "RaythenaExecutor"]
