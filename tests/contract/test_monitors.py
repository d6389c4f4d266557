"""What every monitor promises, and what they measure of real processes, control groups and proxies."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from esfsm import plugins
from esfsm.adapters.monitors import KNOWN
from esfsm.adapters.monitors.cgroup import CgroupMonitor
from esfsm.adapters.monitors.process import ProcessMonitor
from esfsm.adapters.monitors.proxy import ProxyMonitor
from esfsm.model.resources import Resources
from esfsm.model.settings import Settings
from esfsm.ports import OpenMonitor, ProcessIdentity
from esfsm.proxy import TOKEN

NOTHING = Resources()
MIB = 1 << 20
NOBODY = 65534
GONE = ProcessIdentity(1 << 22, 1)
"""No pid is so large."""


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_where_there_is_nothing_to_measure_nothing_is_raised(name: str, tmp_path: Path) -> None:
    open_monitor: OpenMonitor = plugins.find("monitors", name)
    told = open_monitor(Settings(communicator="panda"), tmp_path / "nowhere", ()).measure(GONE)
    assert (told.memory_bytes, told.workdir_bytes) == (None, None)


def test_a_proxy_is_looked_at_by_who_shows_it_to_panda(
    monkeypatch: pytest.MonkeyPatch, authority: trustme.CA, tmp_path: Path
) -> None:
    certificate(authority, SOON).cert_chain_pems[0].write_to_path(str(tmp_path / "proxy"))
    monkeypatch.setenv("X509_USER_PROXY", str(tmp_path / "proxy"))
    for name in TOKEN:
        monkeypatch.delenv(name, raising=False)
    open_monitor: OpenMonitor = plugins.find("monitors", "proxy")
    told = {name: open_monitor(Settings(communicator=name), tmp_path, ()).measure(GONE) for name in ("local", "panda")}
    assert told["local"] == NOTHING
    assert told["panda"].proxy_left_s == pytest.approx(SOON.total_seconds(), abs=60)


# --- processes ---


class Leader:
    """A process that does what it is told, a line of Python at a time."""

    PROGRAM = "import contextlib, mmap, os, signal, sys\nfor line in sys.stdin: exec(line); print(flush=True)"

    def __init__(self) -> None:
        self._popen = subprocess.Popen(
            [sys.executable, "-c", self.PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started = Path(f"/proc/{self._popen.pid}/stat").read_text().split()[21]
        self.identity = ProcessIdentity(self._popen.pid, int(started))
        self.does("told, tell = os.pipe(); up = os.pipe()")

    def does(self, line: str) -> str:
        """What it has printed when it was done."""
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self._popen.stdin.write(f"{line}\n")
        self._popen.stdin.flush()
        return self._popen.stdout.readline()

    def has_children(self, did: str) -> None:
        """Three of them, which did something and then live until they are told."""
        child = f"(os.close(tell), {did}, os.write(up[1], b'.'), os.read(told, 1), os._exit(0))"
        self.does(f"children = [os.fork() or {child} for _ in range(3)]; [os.read(up[0], 1) for _ in children]")

    def waits_for_children(self) -> None:
        """Tell them, and wait until they have ended."""
        self.does("os.close(tell)")
        self.does("with contextlib.suppress(ChildProcessError): [os.waitpid(child, 0) for child in children]")

    def end(self) -> None:
        """It is a zombie then, as nobody waits for it."""
        self._popen.kill()
        os.waitid(os.P_PID, self._popen.pid, os.WEXITED | os.WNOWAIT)

    def close(self) -> None:
        self._popen.kill()
        self._popen.communicate()


@pytest.fixture
def leader() -> Iterator[Leader]:
    one = Leader()
    yield one
    one.close()


SHARED = f"shared = mmap.mmap(-1, {64 * MIB}); shared.write(b'x' * {64 * MIB})"
TO_HAVE_READ_IT = "shared[::mmap.PAGESIZE]"
TO_HAVE_COMPUTED = "any(sum(os.times()[:2]) > 0.2 for _ in iter(int, 1))"
"""For 0.2 s of CPU time."""


def measured(leader: Leader, monitor: ProcessMonitor | None = None) -> tuple[int, float, int]:
    """Memory in bytes, CPU time in seconds, number of processes."""
    told = (monitor or ProcessMonitor()).measure(leader.identity)
    assert told.memory_bytes is not None
    assert told.cpu_s is not None
    assert told.processes is not None
    return told.memory_bytes, told.cpu_s, told.processes


def test_the_leader_and_all_its_descendants_are_counted(leader: Leader) -> None:
    assert measured(leader)[2] == 1
    leader.has_children("os.fork()")
    assert measured(leader)[2] == 7


def test_memory_is_told_as_it_is_now(leader: Leader) -> None:
    before, *_ = measured(leader)
    leader.does(f"taken = bytearray(b'x') * {64 * MIB}")
    taken = measured(leader)[0] - before
    leader.does("del taken")
    given_back = measured(leader)[0] - before
    assert 60 * MIB < taken < 80 * MIB
    assert given_back < 20 * MIB


def test_memory_that_processes_share_counts_once(leader: Leader) -> None:
    leader.does(SHARED)
    leader.has_children(TO_HAVE_READ_IT)
    assert 64 * MIB < measured(leader)[0] < 2 * 64 * MIB


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody whom the kernel does not tell")
def test_where_the_kernel_does_not_tell_what_is_shared_it_counts_for_each_process(leader: Leader) -> None:
    leader.does(SHARED)
    leader.has_children(TO_HAVE_READ_IT)
    os.seteuid(NOBODY)
    try:
        memory_bytes, *_ = measured(leader)
    finally:
        os.seteuid(0)
    assert memory_bytes > 4 * 64 * MIB


def test_cpu_time_of_children_counts_once_whether_they_live_or_were_waited_for(leader: Leader) -> None:
    _, before, _ = measured(leader)
    leader.has_children(TO_HAVE_COMPUTED)
    _, while_they_live, _ = measured(leader)
    leader.waits_for_children()
    _, afterwards, processes = measured(leader)
    assert processes == 1
    assert 0.55 < while_they_live - before < 0.9
    assert afterwards == pytest.approx(while_they_live, abs=0.2)


def test_cpu_time_of_children_for_whom_nobody_waited_is_not_forgotten(leader: Leader) -> None:
    monitor = ProcessMonitor()
    leader.does("signal.signal(signal.SIGCHLD, signal.SIG_IGN)")
    leader.has_children(TO_HAVE_COMPUTED)
    _, while_they_live, _ = measured(leader, monitor)
    leader.waits_for_children()
    assert measured(leader)[1] < while_they_live, "who looks for the first time cannot know of them"
    assert measured(leader, monitor)[1] >= while_they_live


def test_cpu_time_of_one_payload_is_not_anothers(leader: Leader) -> None:
    monitor = ProcessMonitor()
    leader.does(TO_HAVE_COMPUTED)
    assert measured(leader, monitor)[1] > 0.15
    other = Leader()
    try:
        assert measured(other, monitor)[1] < 0.15
    finally:
        other.close()


def test_of_a_payload_that_has_gone_nothing_is_told() -> None:
    assert ProcessMonitor().measure(GONE) == NOTHING


def test_a_later_process_of_the_same_pid_is_not_the_payload(leader: Leader) -> None:
    later = leader.identity._replace(started=leader.identity.started + 1)
    assert ProcessMonitor().measure(later) == NOTHING


def test_a_zombie_has_no_memory_but_has_used_its_time(leader: Leader) -> None:
    leader.does(TO_HAVE_COMPUTED)
    leader.end()
    told = ProcessMonitor().measure(leader.identity)
    assert not told.memory_bytes
    assert told.processes == 1
    assert told.cpu_s is not None
    assert told.cpu_s > 0.15


# --- control groups ---


def group(directory: Path, limit: str = "max", *, current: int = 0, inactive_file: int = 0) -> None:
    """A control group as the kernel shows it."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "memory.max").write_text(f"{limit}\n")
    (directory / "memory.current").write_text(f"{current}\n")
    (directory / "memory.stat").write_text(f"anon 1\ninactive_file {inactive_file}\nactive_file 7\n")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where control groups are mounted; as on a host, its highest one has no limit and tells nothing."""
    root = tmp_path / "cgroup"
    root.mkdir()
    return root


def in_group(root: Path, *lines: str) -> tuple[int | None, int | None]:
    """Used and limit in bytes, for a process of which the kernel says these lines."""
    member = root.with_name("member")
    member.write_text("".join(f"{line}\n" for line in lines))
    told = CgroupMonitor(root, member).measure(GONE)
    assert told == Resources(cgroup_bytes=told.cgroup_bytes, cgroup_limit_bytes=told.cgroup_limit_bytes)
    return told.cgroup_bytes, told.cgroup_limit_bytes


def test_a_group_has_what_it_holds_without_page_cache_that_can_be_dropped(root: Path) -> None:
    group(root / "job", "1000", current=700, inactive_file=300)
    assert in_group(root, "0::/job") == (400, 1000)


def test_what_was_read_a_moment_later_does_not_make_it_less_than_nothing(root: Path) -> None:
    group(root / "job", "1000", current=300, inactive_file=301)
    assert in_group(root, "0::/job") == (0, 1000)


def test_the_group_that_is_nearest_to_its_limit_is_told(root: Path) -> None:
    group(root / "slice", "5000", current=4900)
    group(root / "slice/job", "1000", current=700)
    assert in_group(root, "0::/slice/job") == (4900, 5000)
    group(root / "slice/job", "1000", current=950)
    assert in_group(root, "0::/slice/job") == (950, 1000)


def test_a_limit_of_a_group_above_counts_where_its_own_has_none(root: Path) -> None:
    group(root / "slice", "5000", current=100)
    group(root / "slice/job", current=70)
    assert in_group(root, "0::/slice/job") == (100, 5000)


def test_a_group_without_any_limit_has_none(root: Path) -> None:
    group(root / "slice", current=100)
    group(root / "slice/job", current=70)
    assert in_group(root, "0::/slice/job") == (70, None)


def test_in_a_container_the_group_is_the_root(root: Path) -> None:
    group(root, "1000", current=700)
    assert in_group(root, "0::/") == (700, 1000)
    assert in_group(root, "0::/kubepods/burstable/pod1/container1") == (700, 1000)


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([], id="no groups"),
        pytest.param(["4:memory:/job", "1:cpu:/job"], id="version 1"),
        pytest.param(["0::/../job"], id="outside of what is shown"),
        pytest.param(["0::job"], id="no path"),
    ],
)
def test_of_no_group_nothing_is_told(lines: list[str], root: Path) -> None:
    group(root, "1000", current=700)
    group(root / "job", "1000", current=700)
    group(root.parent / "job", "1000", current=700)
    assert in_group(root, *lines) == (None, None)


@pytest.mark.parametrize("file", ["memory.max", "memory.current", "memory.stat"])
@pytest.mark.parametrize("text", [None, "", "many\n", "inactive_file\n", "a b c\n"])
def test_a_group_that_cannot_be_read_is_passed_over(file: str, text: str | None, root: Path) -> None:
    group(root / "slice", "5000", current=100)
    group(root / "slice/job", "1000", current=999)
    (root / "slice/job" / file).unlink()
    if text is not None:
        (root / "slice/job" / file).write_text(text)
    assert in_group(root, "0::/slice/job") == (100, 5000)


# --- the proxy ---

PAST, SOON, LATER = timedelta(hours=-1), timedelta(hours=1), timedelta(hours=2)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def certificate(authority: trustme.CA, left: timedelta) -> trustme.LeafCert:
    now = datetime.now(UTC)
    return authority.issue_cert("pilot", not_before=now - timedelta(days=1), not_after=now + left)


def left_s(path: Path) -> float | None:
    told = ProxyMonitor(path).measure(GONE)
    assert told == Resources(proxy_left_s=told.proxy_left_s)
    return told.proxy_left_s


@pytest.mark.parametrize("left", [PAST, SOON, LATER])
def test_a_proxy_is_good_until_its_certificate_ends(left: timedelta, authority: trustme.CA, tmp_path: Path) -> None:
    proxy = tmp_path / "proxy"
    proxy.write_bytes(certificate(authority, left).private_key_and_cert_chain_pem.bytes())
    assert left_s(proxy) == pytest.approx(left.total_seconds(), abs=60)


@pytest.mark.parametrize("chain", [(SOON, LATER), (LATER, SOON)])
def test_a_proxy_is_good_until_the_first_of_its_chain_ends(
    chain: tuple[timedelta, ...], authority: trustme.CA, tmp_path: Path
) -> None:
    proxy = tmp_path / "proxy"
    first, second = (certificate(authority, left) for left in chain)
    key = first.private_key_pem.bytes()
    proxy.write_bytes(first.cert_chain_pems[0].bytes() + key + second.cert_chain_pems[0].bytes())
    assert left_s(proxy) == pytest.approx(SOON.total_seconds(), abs=60)


def test_a_proxy_that_is_renewed_is_seen(authority: trustme.CA, tmp_path: Path) -> None:
    proxy, monitor = tmp_path / "proxy", ProxyMonitor(tmp_path / "proxy")
    for left in (SOON, LATER):
        certificate(authority, left).cert_chain_pems[0].write_to_path(str(proxy))
        assert monitor.measure(GONE).proxy_left_s == pytest.approx(left.total_seconds(), abs=60)


@pytest.mark.parametrize(
    "contents",
    [
        b"",
        b"a token",
        b"\xff\0",
        b"-----BEGIN CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        b"-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n",
    ],
)
def test_what_is_no_proxy_has_no_end(contents: bytes, tmp_path: Path) -> None:
    proxy = tmp_path / "proxy"
    proxy.write_bytes(contents)
    assert left_s(proxy) is None


@pytest.mark.parametrize("place", ["", "nowhere"])
def test_without_a_file_there_is_no_proxy(place: str, tmp_path: Path) -> None:
    assert left_s(tmp_path / place) is None
