"""What can have happened: every fact, in the past tense, as it is written into the journal.

A fact is an input of the core: what was said, answered or seen, never what was decided from it. Facts about many
event ranges are one fact. Where the ranges follow from the answered action, they are not repeated: `archive_stored`
answers a `store_archive`, and that knows its archive.
"""

# ruff: noqa: F403 - this room shows whatever its drawers list
from esfsm.core.facts.fact import FACTS as FACTS
from esfsm.core.facts.fact import Fact as Fact
from esfsm.core.facts.fact import FileCopy as FileCopy
from esfsm.core.facts.fact import word as word
from esfsm.core.facts.granting import *
from esfsm.core.facts.job import *
from esfsm.core.facts.merging import *
from esfsm.core.facts.payload import *
from esfsm.core.facts.stopping import *
from esfsm.core.facts.storing import *
