"""What the detector does to a particle: a parametrisation in the manner of ATLAS, no simulation of it.

    particle                       measured by               resolution                              source
    muon, |eta| < 2.2              tracker and spectrometer  pT: 1.66 % + 0.035 % pT                 [1]
    muon, 2.2 < |eta| < 2.7        the same                  ... times 2.9 / 2.3                     [1]
    electron, photon, |eta| < 3.2  EM calorimeter            E:  10 % / sqrt(E) + 0.7 %              [2]
    charged hadron, |eta| < 2.5    tracker                   pT: 1 % + 0.05 % pT                     [2]
    other hadron, |eta| < 3.2      hadron calorimeter        E:  50 % / sqrt(E) + 3 %                [2]
    anything else up to 4.9        forward calorimeter       E:  100 % / sqrt(E) + 10 %              [2]
    neutrino, muon beyond 2.7      nothing

E and pT in GeV, `+` in quadrature. Directions are kept as they are: their resolution is far finer.

[1] ATLAS, Muon reconstruction performance, Eur. Phys. J. C 76 (2016) 292: in the central region sigma(pT)/pT is 1.7 %
    for muons from J/psi and 2.3 % for muons from Z, beyond |eta| = 2.2 it is 2.9 % for muons from Z. Our two numbers
    are the curve a + b pT through the central ones, taken at pT = 10 and 45 GeV, which is our choice.
[2] ATLAS, The ATLAS experiment at the LHC, JINST 3 (2008) S08003, table 1.1 (general performance goals).
"""

from collections.abc import Sequence

import awkward as ak
import numpy as np
import numpy.typing as npt

from events import FloatArray

__all__ = ["resolution", "smear"]

ELECTRON, MUON, PHOTON = 11, 13, 22
NEUTRINOS = (12, 14, 16)
NEUTRAL_HADRONS = (130, 2112)
"""K0L and neutron: those that Pythia leaves undecayed."""


def resolution(pdg_id: npt.NDArray[np.integer], pt: FloatArray, eta: FloatArray) -> FloatArray:
    """The relative resolution of the pT of each particle; NaN where nothing measures it. Three arrays of one length."""
    kind, eta = np.abs(pdg_id), np.abs(eta)
    energy = pt * np.cosh(eta)  # masses are neglected
    muon = np.hypot(0.0166, 0.00035 * pt)
    cases = [
        (np.isin(kind, NEUTRINOS) | ((kind == MUON) & (eta > 2.7)), np.nan),
        ((kind == MUON) & (eta > 2.2), muon * 2.9 / 2.3),
        (kind == MUON, muon),
        (eta > 3.2, np.hypot(1.0 / np.sqrt(energy), 0.10)),
        (np.isin(kind, (ELECTRON, PHOTON)), np.hypot(0.10 / np.sqrt(energy), 0.007)),
        (np.isin(kind, NEUTRAL_HADRONS) | (eta > 2.5), np.hypot(0.50 / np.sqrt(energy), 0.03)),
    ]
    charged_hadron = np.hypot(0.01, 0.0005 * pt)
    where, values = zip(*cases, strict=True)
    return np.select(where, values, charged_hadron)


def smear(particles: ak.Array, seeds: Sequence[Sequence[int]]) -> ak.Array:
    """The particles as measured: their pT by a Gaussian factor, without those that are not seen.

    `particles` is jagged, with the fields of `events.py`; `seeds` has one seed for each event.
    """
    counts = ak.num(particles)
    flat = ak.flatten(particles)
    sigma = resolution(*(flat[name].to_numpy() for name in ("pdgId", "pt", "eta")))
    draws = [np.random.default_rng(seed).standard_normal(n) for seed, n in zip(seeds, counts, strict=True)]
    factor = 1 + sigma * np.concatenate(draws)
    measured = ak.with_field(flat, (flat.pt * factor).to_numpy().astype(np.float32), "pt")
    # NaN is not above zero either; a Gaussian tail below zero is a particle that left no signal.
    return ak.unflatten(measured, counts)[ak.unflatten(factor > 0, counts)]
