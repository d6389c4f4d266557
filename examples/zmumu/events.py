"""The event files of this example: the only place that knows what is in them.

EVNT, HITS and HITS_MRG hold one TTree, `CollectionTree`, with one entry an event:

    eventNumber                    int64
    nparticle                      int32    how many particles follow
    particle_pdgId                 int32    number of the PDG's Monte Carlo scheme
    particle_pt, particle_m        float32  GeV
    particle_eta, particle_phi     float32
    mass, truth_mass               float32  GeV, not in EVNT: the dimuon mass, smeared and generated
"""

from collections.abc import Sequence
from pathlib import Path

import awkward as ak
import numpy as np
import numpy.typing as npt
import uproot
from uproot.compression import Compression

__all__ = ["PARTICLE", "TREE", "FloatArray", "check_merged", "dimuon_mass", "read_events", "write_events"]

TREE = "CollectionTree"
PARTICLE = ("pdgId", "pt", "eta", "phi", "m")
FAST = uproot.ZLIB(1)

FloatArray = npt.NDArray[np.floating]


def read_events(tree: uproot.TTree, start: int = 0, stop: int | None = None) -> ak.Array:
    """Entries `start` up to, not including, `stop`: records with the fields of the file.

    `particle` is one jagged array of records, `particle.pt` and so on.
    """
    arrays = tree.arrays(entry_start=start, entry_stop=stop)
    particles = ak.zip({name: arrays[f"particle_{name}"] for name in PARTICLE})
    flat = [name for name in arrays.fields if "particle" not in name]
    return ak.zip({**{name: arrays[name] for name in flat}, "particle": particles}, depth_limit=1)


def write_events(path: Path, baskets: Sequence[ak.Array], compression: Compression = FAST) -> None:
    """Write the events under a temporary name and rename it: half a file never bears the name.

    Each item of `baskets` becomes one basket a branch, the least that a reader has to decompress.
    """
    unfinished = path.with_name(f"{path.name}.part")
    with uproot.recreate(unfinished, compression=compression) as file:
        first, *others = ({name: basket[name] for name in basket.fields} for basket in baskets)
        tree = file.mktree(TREE, first)
        for basket in others:
            tree.extend(basket)
    unfinished.replace(path)


def check_merged(path: Path, events: int) -> str | None:
    """What is wrong with the merged file: None when it has each of the numbers 1 to `events` exactly once."""
    with uproot.open(path) as file:
        numbers = file[TREE]["eventNumber"].array(library="np")
    times = np.bincount(numbers, minlength=events + 1)
    if len(numbers) == events and np.all(times[1 : events + 1] == 1):
        return None
    missing, repeated = np.sum(times[1 : events + 1] == 0), np.sum(times > 1)
    strange = np.sum((numbers < 1) | (numbers > events))
    return f"{path}: {len(numbers)} events; missing: {missing}, repeated: {repeated}, not of the input: {strange}"


def dimuon_mass(particles: ak.Array) -> FloatArray:
    """The mass in GeV of the leading mu- and the leading mu+ of each event; NaN where one is missing.

    The muon mass is neglected: m^2 = 2 pt1 pt2 (cosh(eta1 - eta2) - cos(phi1 - phi2)).
    """
    negative, positive = _leading(particles, 13), _leading(particles, -13)
    angles = np.cosh(negative.eta - positive.eta) - np.cos(negative.phi - positive.phi)
    mass = np.sqrt(2 * negative.pt * positive.pt * angles)
    return np.asarray(ak.to_numpy(ak.fill_none(mass, np.nan)), np.float32)


def _leading(particles: ak.Array, pdg_id: int) -> ak.Array:
    """The particle of this kind with the highest pT in each event, or None."""
    candidates = particles[particles.pdgId == pdg_id]
    return ak.firsts(candidates[ak.argsort(candidates.pt, ascending=False)])
