#!/usr/bin/env python3
"""Make EVNT.zmumu.pool.root: 2,000 events pp -> Z/gamma* -> mu+ mu- at 13 TeV, by Pythia 8.

The same seed and the same Pythia give the same events. The file is in the repository, so this script is needed
only to make it again: `pip install pythia8mc==8.317.2`, then `./generate.py`.
"""

import itertools
import zlib
from collections.abc import Iterator
from pathlib import Path

import awkward as ak
import numpy as np
import pythia8mc
import uproot

from events import PARTICLE, write_events

__all__ = ["EVENTS", "EVNT", "SEED", "generate"]

EVNT = Path(__file__).with_name("EVNT.zmumu.pool.root")
EVENTS = 2000
SEED = 20130704
BASKET = 100
"""Events a basket: a range of 10 events costs a reader the decompression of 100."""

MIN_PT_GEV = 2.0
"""Softer particles are not kept, muons excepted: it keeps the file at a few hundred kB."""
MAX_ETA = 4.9
"""The end of the forward calorimeter (ATLAS, JINST 3 (2008) S08003)."""

SETTINGS = (
    "Beams:eCM = 13000",
    "WeakSingleBoson:ffbar2gmZ = on",
    "23:onMode = off",
    "23:onIfAny = 13",
    "PhaseSpace:mHatMin = 60",  # GeV; the photon pole is not what this example is about
    "Random:setSeed = on",
    f"Random:seed = {SEED}",
    "Print:quiet = on",
)

Row = tuple[int, float, float, float, float]


def generate(events: int) -> Iterator[list[Row]]:
    """The kept final-state particles of each event: (pdgId, pt, eta, phi, m), in the order of Pythia's record."""
    pythia = pythia8mc.Pythia("", False)
    for setting in SETTINGS:
        if not pythia.readString(setting):
            raise ValueError(f"Pythia does not know the setting {setting!r}")
    if not pythia.init():
        raise RuntimeError("Pythia cannot be initialised")
    for _ in range(events):
        if not pythia.next():
            raise RuntimeError("Pythia gave an event up")
        yield [(p.id(), p.pT(), p.eta(), p.phi(), p.m()) for p in pythia.event if _kept(p)]


def _kept(particle: pythia8mc.Particle) -> bool:
    hard = particle.pT() > MIN_PT_GEV or particle.idAbs() == 13
    return bool(particle.isFinal() and hard and abs(particle.eta()) < MAX_ETA)


def as_basket(first_number: int, rows: list[list[Row]]) -> ak.Array:
    """Events numbered from `first_number`, in the form of the file."""
    counts = [len(row) for row in rows]
    columns = np.array([particle for row in rows for particle in row]).reshape(-1, len(PARTICLE)).T
    kinds = (np.int32, *[np.float32] * 4)
    fields = {name: ak.unflatten(c.astype(t), counts) for name, c, t in zip(PARTICLE, columns, kinds, strict=True)}
    numbers = np.arange(first_number, first_number + len(rows), dtype=np.int64)
    return ak.zip({"eventNumber": numbers, "particle": ak.zip(fields)}, depth_limit=1)


def main() -> None:
    """Write the file next to this script and say what a job definition must tell of it."""
    events = generate(EVENTS)
    firsts = range(1, EVENTS + 1, BASKET)
    baskets = [as_basket(first, list(itertools.islice(events, BASKET))) for first in firsts]
    write_events(EVNT, baskets, compression=uproot.LZMA(9))
    content = EVNT.read_bytes()
    with uproot.open(EVNT) as file:
        guid = str(file.file.uuid).upper()
    print(f"{EVENTS} events; GUID {guid}, fsize {len(content)}, checksum ad:{zlib.adler32(content):08x}")


if __name__ == "__main__":
    main()
