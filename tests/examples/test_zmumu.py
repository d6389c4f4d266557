"""The demo on real input, without a channel: the physics, the payloads' files, the merge job."""

import itertools
import json
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

import pytest

np = pytest.importorskip("numpy")
ak = pytest.importorskip("awkward")
uproot = pytest.importorskip("uproot")

ZMUMU = Path(__file__).parents[2] / "examples" / "zmumu"
sys.path.insert(0, str(ZMUMU))

import merge  # noqa: E402
from detector import resolution  # noqa: E402
from esfsm.model.job import Job, JobKind  # noqa: E402
from esfsm.model.outcome import OutputFile  # noqa: E402
from esfsm.payload import AssignedRange  # noqa: E402
from events import PARTICLE, TREE, check_merged, dimuon_mass, read_events, write_events  # noqa: E402
from fastsim import FastSimulation, simulate  # noqa: E402
from merge_job import merge_job  # noqa: E402

EVNT = ZMUMU / "EVNT.zmumu.pool.root"
ES_JOB = json.loads((ZMUMU / "es-job.json").read_text())
HITS = "HITS.zmumu.pool.root.1"


@pytest.fixture(scope="module")
def evnt():
    with uproot.open(EVNT) as file:
        yield read_events(file[TREE])


@pytest.fixture(scope="module")
def hits(evnt):
    return simulate(evnt, seed=1)


def event_range(position, events=10):
    """The range at this position of the file: 1, 2, ..."""
    last = position * events
    event_range_id = f"41000456-7000000123-1-{position}-10"
    return AssignedRange(event_range_id, last - events + 1, last)


def in_file(path):
    with uproot.open(path) as file:
        return read_events(file[TREE])


def resolution_of(pdg_id, pt, eta):
    (sigma,) = resolution(np.array([pdg_id]), np.array([pt]), np.array([eta]))
    return sigma


# The input


def test_the_input_has_each_event_number_once(evnt):
    assert evnt.eventNumber.to_list() == list(range(1, 2001))


def test_the_input_is_small_enough_for_a_repository():
    assert EVNT.stat().st_size < 700_000


def test_the_job_tells_the_size_checksum_and_guid_of_the_input():
    content = EVNT.read_bytes()
    with uproot.open(EVNT) as file:
        guid = str(file.file.uuid).upper()
    job = Job.read(ES_JOB)
    (file,) = job.in_files
    assert (job.kind, job.warnings) == (JobKind.EVENTSERVICE, ())
    assert (file.lfn, file.size_bytes, file.guid) == (EVNT.name, len(content), guid)
    assert file.adler32 == f"{zlib.adler32(content):08x}"


def test_the_seed_gives_the_first_events_of_the_input_again(evnt):
    pytest.importorskip("pythia8mc")
    from generate import as_basket, generate

    again = as_basket(1, list(itertools.islice(generate(5), 5)))
    for name in PARTICLE:
        assert again.particle[name].to_list() == evnt.particle[name][:5].to_list()


# The physics


def test_the_generated_peak_is_the_z_boson(evnt):
    mass = dimuon_mass(evnt.particle)
    counts, edges = np.histogram(mass[np.isfinite(mass)], np.arange(60, 121, 1.0))
    assert 90 <= edges[counts.argmax()] < 92


def test_the_measured_peak_is_at_the_same_mass_and_wider(hits):
    masses = hits.truth_mass.to_numpy(), hits.mass.to_numpy()
    near = np.all([(mass > 80) & (mass < 102) for mass in masses], axis=0)
    truth, measured = (mass[near] for mass in masses)
    assert abs(np.median(measured) - np.median(truth)) < 0.3
    truth_width, measured_width = (np.subtract(*np.percentile(mass, (75, 25))) for mass in (truth, measured))
    assert measured_width > 1.2 * truth_width


def test_a_mass_needs_a_muon_of_each_charge():
    muons = [[(13, 45.0, 0.0, 0.0), (-13, 45.0, 0.0, np.pi), (13, 5.0, 0.0, 1.0)], [(13, 45.0, 0.0, 0.0)], []]
    columns = {name: [[muon[i] for muon in event] for event in muons] for i, name in enumerate(PARTICLE[:-1])}
    assert dimuon_mass(ak.zip(columns)).tolist() == pytest.approx([90.0, np.nan, np.nan], nan_ok=True)


@pytest.mark.parametrize(
    ("pdg_id", "pt", "eta", "sigma"),
    [
        (13, 10.0, 0.5, 0.017),  # ATLAS: muons from J/psi
        (13, 45.0, -0.5, 0.023),  # ... from Z
        (-13, 45.0, 2.4, 0.029),  # ... from Z beyond |eta| = 2.2
        (11, 100.0, 0.0, np.hypot(0.01, 0.007)),
        (22, 100.0, 0.0, np.hypot(0.01, 0.007)),
        (211, 20.0, 1.0, np.hypot(0.01, 0.01)),
        (2112, 25.0, 0.0, np.hypot(0.10, 0.03)),
        (211, 25.0 / np.cosh(3.0), 3.0, np.hypot(0.10, 0.03)),
        (22, 100.0 / np.cosh(4.0), 4.0, np.hypot(0.10, 0.10)),
    ],
)
def test_the_resolution_is_the_cited_one(pdg_id, pt, eta, sigma):
    assert resolution_of(pdg_id, pt, eta) == pytest.approx(sigma, rel=0.01)


@pytest.mark.parametrize(("pdg_id", "eta"), [(12, 0.0), (-14, 0.0), (16, 4.0), (13, 2.8), (-13, -4.0)])
def test_neutrinos_and_muons_beyond_the_spectrometer_are_not_seen(pdg_id, eta):
    assert np.isnan(resolution_of(pdg_id, 50.0, eta))


def test_only_seen_particles_are_in_the_hits(hits):
    particles = ak.flatten(hits.particle)
    assert np.all(particles.pt > 0)
    assert not set(np.abs(particles.pdgId)) & {12, 14, 16}


# The payload


def test_a_range_becomes_a_file_with_the_name_that_the_merge_job_expects(tmp_path):
    path = FastSimulation(EVNT, tmp_path / HITS, seed=1)(event_range(3))
    assert path == tmp_path / f"{HITS}.41000456-7000000123-1-3-10"
    assert in_file(path).eventNumber.to_list() == list(range(21, 31))
    assert list(tmp_path.iterdir()) == [path]


def test_a_range_that_runs_twice_gives_the_same_events(tmp_path, hits):
    simulation = FastSimulation(EVNT, tmp_path / HITS, seed=1)
    wide, narrow = in_file(simulation(event_range(1, events=20))), in_file(simulation(event_range(2)))
    for name in PARTICLE:
        assert narrow.particle[name].to_list() == wide.particle[name][10:].to_list()
        assert narrow.particle[name].to_list() == hits.particle[name][10:20].to_list()


def test_another_seed_gives_other_events(evnt, hits):
    assert simulate(evnt[:10], seed=2).mass.to_list() != hits.mass[:10].to_list()


def test_a_range_beyond_the_input_is_refused_and_leaves_no_file(tmp_path):
    with pytest.raises(ValueError, match="Not found in the input file"):
        FastSimulation(EVNT, tmp_path / HITS, seed=1)(event_range(201))
    assert not list(tmp_path.iterdir())


# The merge


@pytest.fixture
def range_files(tmp_path, hits):
    """200 HITS files of 10 events, the last first."""
    paths = []
    for position in reversed(range(1, 201)):
        paths.append(tmp_path / f"{HITS}.41000456-7000000123-1-{position}-10")
        write_events(paths[-1], [hits[position * 10 - 10 : position * 10]])
    return paths


def test_the_merged_file_has_each_event_once_and_in_order(range_files, tmp_path, hits):
    merged = tmp_path / "HITS_MRG.zmumu.pool.root"
    merge.merge(range_files, merged)
    events = in_file(merged)
    assert events.eventNumber.to_list() == list(range(1, 2001))
    assert events.particle.pt.to_list() == hits.particle.pt.to_list()


def test_the_merge_reads_its_inputs_from_a_file_and_reports_each(range_files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [path.name for path in range_files]
    Path("inputFor_HITS.txt").write_text("\n".join(["--inputHITSFile", *names]) + "\n")
    assert merge.main(["@inputFor_HITS.txt", "--outputHITS_MRGFile=merged.root"]) == 0

    files = json.loads(Path("jobReport.json").read_text())["files"]
    assert files["input"][0]["subFiles"] == [{"name": name, "nentries": 10} for name in names]
    (written,) = files["output"][0]["subFiles"]
    assert (written["name"], written["nentries"]) == ("merged.root", 2000)
    assert written["file_size"] == Path("merged.root").stat().st_size


def test_an_event_that_comes_twice_is_refused_and_nothing_is_written(tmp_path, hits):
    paths = [tmp_path / "a.root", tmp_path / "b.root"]
    write_events(paths[0], [hits[:10]])
    write_events(paths[1], [hits[9:20]])
    with pytest.raises(ValueError, match=r"twice: \[10\]"):
        merge.merge(paths, tmp_path / "merged.root")
    assert sorted(tmp_path.iterdir()) == paths


@pytest.mark.parametrize(
    ("numbers", "fault"),
    [
        ([3, 1, 2], None),
        ([1, 2], "2 events; missing: 1, repeated: 0, not of the input: 0"),
        ([1, 2, 2], "3 events; missing: 1, repeated: 1, not of the input: 0"),
        ([1, 2, 3, 3], "4 events; missing: 0, repeated: 1, not of the input: 0"),
        ([1, 2, 3, 4], "4 events; missing: 0, repeated: 0, not of the input: 1"),
    ],
)
def test_a_merged_file_is_right_when_it_has_each_number_once(tmp_path, evnt, numbers, fault):
    events = ak.with_field(evnt[: len(numbers)], np.array(numbers), "eventNumber")
    write_events(tmp_path / "merged.root", [events])
    found = check_merged(tmp_path / "merged.root", 3)
    assert found is None if fault is None else found.endswith(fault)


def test_the_merge_job_names_the_archives_and_the_files_inside_in_the_order_of_the_input():
    archives = [
        OutputFile(lfn="EventService_premerge_b.tar", size_bytes=20480, adler32="0a1b2c3d", url="file:///s/b"),
        OutputFile(lfn="EventService_premerge_a.tar", size_bytes=10240, adler32="11223344", url="file:///s/a"),
    ]
    definition = merge_job(ES_JOB, archives, ["1-7-1-10-10", "1-7-1-2-10", "1-7-1-1-9"])
    job = Job.read(definition)
    assert job.kind is JobKind.EVENTSERVICEMERGE
    assert [(file.lfn, file.size_bytes, file.adler32) for file in job.in_files if file.is_archive] == [
        ("EventService_premerge_b.tar", 20480, "0a1b2c3d"),
        ("EventService_premerge_a.tar", 10240, "11223344"),
    ]
    assert definition["writeToFile"] == f"inputFor_{HITS}:{HITS}.1-7-1-1-9,{HITS}.1-7-1-2-10,{HITS}.1-7-1-10-10"
    assert f"--inputHITSFile=@inputFor_{HITS} " in definition["jobPars"]


# The pictures


@dataclass(frozen=True)
class Times:
    granted_s: float | None = 0.0
    sent_s: float | None = None
    produced_s: float | None = None
    packed_s: float | None = None
    stored_s: float | None = None
    acknowledged_s: float | None = None


def test_a_range_belongs_to_the_worker_that_was_free_first():
    plots = pytest.importorskip("plots", exc_type=ImportError)
    long, short, next_one = Times(0, 1, 9), Times(0, 2, 3), Times(0, 3, 4)
    assert plots.by_worker([next_one, long, Times(), short], workers=2) == [[long], [short, next_one]]


def test_a_range_whose_output_never_came_keeps_its_worker():
    plots = pytest.importorskip("plots", exc_type=ImportError)
    lost, first, second = Times(0, 1), Times(0, 1, 2), Times(0, 2, 3)
    assert plots.by_worker([lost, first, second], workers=2) == [[lost], [first, second]]


def test_the_pictures_can_be_drawn(tmp_path, hits):
    plots = pytest.importorskip("plots", exc_type=ImportError)
    plots.plot_dimuon_mass(hits.truth_mass.to_numpy(), hits.mass.to_numpy(), tmp_path / "mass.png")
    plots.plot_timeline([Times(0, 1, 2, 3, 4, 5), Times(0, 1), Times()], tmp_path / "timeline.png", workers=2)
    for name in ("mass.png", "timeline.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
