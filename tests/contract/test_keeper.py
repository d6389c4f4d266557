"""What a payload's keeper promises: nobody gets away, nobody is left, and everybody knows how the payload ended."""

import ast
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest
from whole.processes import PATIENCE_S, ends, identity_of, no_thread_left, pipe

from esfsm.adapters.executors import leader, process
from esfsm.adapters.executors.leader import RECORD, Leader, how_it_ended, kept
from esfsm.adapters.executors.marks import MARK
from esfsm.adapters.executors.process import Adopted, Process, end_left
from esfsm.ports import Payload, ProcessIdentity

KEPT = Path(__file__).with_name("kept.py")


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-I", str(KEPT), *map(str, arguments)]


def payload(workdir: Path, arguments: list[str], **environment: str) -> Payload:
    return Payload(arguments, workdir, environment, workdir / "out.txt", workdir / "err.txt", mark=uuid4().hex)


Keep = Callable[..., Process]


@pytest.fixture
def keep(tmp_path: Path) -> Iterator[Keep]:
    """Start and watch a payload; in the end nothing is left of it."""
    kept_ones: list[Process] = []

    def keep(*arguments: object, program: list[str] | None = None, **environment: str) -> Process:
        kept_ones.append(Process(payload(tmp_path, program or command(*arguments), **environment)))
        kept_ones[-1].watch(lambda _: None)
        return kept_ones[-1]

    with no_thread_left():
        yield keep
        for each in kept_ones:
            each.signal(signal.SIGKILL)
            assert each.wait(PATIENCE_S)
            assert not Path(f"/proc/{each.identity.pid}").exists(), "a zombie"


# --- the start ----------------------------------------------------------------------------------------------------


def test_the_keeper_leads_a_session_of_its_own_and_the_payload_another(keep: Keep, tmp_path: Path) -> None:
    there = pipe(tmp_path, "payload")
    keeper = keep("stay", "payload").identity.pid
    pid = int(there.read_text())
    assert os.getsid(keeper) == os.getpgid(keeper) == parent_of(pid) == keeper
    assert os.getsid(pid) == os.getpgid(pid) == pid


def test_a_payload_has_three_open_files_and_no_more(keep: Keep, tmp_path: Path) -> None:
    there = pipe(tmp_path, "payload")
    keep("stay", "payload")
    files = {file.name: str(file.readlink()) for file in Path(f"/proc/{int(there.read_text())}/fd").iterdir()}
    assert files == {"0": "/dev/null", "1": f"{tmp_path}/out.txt", "2": f"{tmp_path}/err.txt"}


def test_a_payload_hears_every_signal_whatever_its_engine_does_with_them(keep: Keep, tmp_path: Path) -> None:
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR2})
    try:
        started = keep(program=["grep", "Sig[BI]", "/proc/self/status"])
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGUSR1, before)
    assert started.wait(PATIENCE_S)
    told = dict(line.split(":\t") for line in (tmp_path / "out.txt").read_text().splitlines())
    libc_s = (
        0b11 << 31
    )  # signals 32 and 33, which the C library keeps for itself and whoever started us may have blocked
    assert {name: int(bits, 16) & ~libc_s for name, bits in told.items()} == {"SigBlk": 0, "SigIgn": 0}


def test_a_payload_has_the_environment_that_it_was_given_byte_by_byte(
    keep: Keep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Python that starts in the locale C sets LC_CTYPE for its children."""
    for name in ("LANG", "LC_ALL", "LC_CTYPE"):
        monkeypatch.delenv(name, raising=False)
    started = keep(program=["cat", "/proc/self/environ"], SPECIAL="a=b\n\udcff")
    assert started.wait(PATIENCE_S)
    *said, rest = (tmp_path / "out.txt").read_bytes().split(b"\0")
    mark = next(line for line in said if line.startswith(MARK.encode()))
    given = {**os.environb, b"SPECIAL": b"a=b\n\xff"}
    assert sorted(said) == sorted([mark, *(name + b"=" + value for name, value in given.items())])
    assert rest == b""


@pytest.mark.parametrize("word", ["", "a b\n'", "\udcff"], ids=["empty", "blanks", "no UTF-8"])
def test_a_payload_has_the_arguments_that_it_was_given_byte_by_byte(keep: Keep, tmp_path: Path, word: str) -> None:
    assert keep(program=["printf", "%s|", word, "end"]).wait(PATIENCE_S)
    assert (tmp_path / "out.txt").read_bytes() == os.fsencode(word) + b"|end|"


def test_a_program_is_looked_for_in_the_path_of_the_payload_and_works_in_its_directory(
    keep: Keep, tmp_path: Path
) -> None:
    program = tmp_path / "bin" / "where-am-i"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\npwd\n")
    program.chmod(0o755)
    assert keep(program=["where-am-i"], PATH=f"/nowhere:{program.parent}:/usr/bin:/bin").wait(PATIENCE_S)
    assert (tmp_path / "out.txt").read_text() == f"{tmp_path}\n"


@pytest.mark.parametrize(
    ("program", "workdir", "error"),
    [
        ("/no/such/payload", "", FileNotFoundError(2, "No such file or directory", "/no/such/payload")),
        ("no-such-payload", "", FileNotFoundError(2, "No such file or directory", "no-such-payload")),
        ("/etc/passwd", "", PermissionError(13, "Permission denied", "/etc/passwd")),
        ("/etc", "", PermissionError(13, "Permission denied", "/etc")),
        ("true", "nowhere", FileNotFoundError(2, "No such file or directory", "nowhere")),
        ("true", "taken", IsADirectoryError(21, "Is a directory", RECORD)),
    ],
    ids=["no program", "not in the path", "no permission", "a directory", "no work directory", "no place for a record"],
)
def test_what_cannot_be_started_raises_what_the_system_says(
    tmp_path: Path, program: str, workdir: str, error: OSError
) -> None:
    (tmp_path / "taken" / RECORD).mkdir(parents=True)
    before = descriptors()
    with pytest.raises(type(error)) as raised:
        Process(payload(tmp_path, [program])._replace(workdir=tmp_path / workdir))
    assert (raised.value.errno, raised.value.strerror) == (error.errno, error.strerror)
    assert Path(raised.value.filename).name == Path(str(error.filename)).name
    assert descriptors() == before
    assert children() == []


def test_a_keeper_that_breaks_is_no_payload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "KEEPER", "/no/such/keeper.py")
    with pytest.raises(ChildProcessError, match="its keeper has ended: 'sleep'"):
        Process(payload(tmp_path, ["sleep", "600"]))
    assert children() == []


def test_a_keeper_that_does_not_answer_in_time_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "START_PATIENCE_S", 0.0)
    with pytest.raises(TimeoutError):
        Process(payload(tmp_path, ["sleep", "600"]))
    assert children() == []


def test_a_keeper_is_small_and_knows_nothing_of_this_package() -> None:
    """It is there for each payload, and its start is waited for."""
    names = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(leader.KEEPER.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [str(node.module)])
    }
    assert names == {"contextlib", "ctypes", "os", "signal", "sys", "time"}


def descriptors() -> list[str]:
    return sorted(entry.name for entry in os.scandir("/proc/self/fd"))


def children() -> list[int]:
    """The processes that we have started, zombies included."""
    return [pid for pid in processes() if parent_of(pid) == os.getpid()]


def processes() -> list[int]:
    return [int(entry.name) for entry in os.scandir("/proc") if entry.name.isdecimal()]


def parent_of(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


# --- the end ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exit_code", [0, 1, 2, 3, 65, 126, 127, 128, 137, 143, 251, 254, 255])
def test_an_exit_code_arrives_and_is_written_down(keep: Keep, tmp_path: Path, exit_code: int) -> None:
    started = keep(program=["sh", "-c", f"exit {exit_code}"])
    assert started.wait(PATIENCE_S)
    assert started.exit_code == how_it_ended(started.identity, tmp_path) == exit_code


@pytest.mark.parametrize("name", ["HUP", "INT", "QUIT", "ABRT", "KILL", "SEGV", "PIPE", "TERM", "XCPU", "RTMIN"])
def test_a_signal_that_ends_a_payload_arrives_and_is_written_down(keep: Keep, tmp_path: Path, name: str) -> None:
    number = signal.Signals[f"SIG{name}"]
    started = keep(program=["sh", "-c", f"ulimit -c 0; kill -{number:d} $$"])
    assert started.wait(PATIENCE_S)
    assert started.exit_code == how_it_ended(started.identity, tmp_path) == -number


def test_as_long_as_a_payload_runs_its_record_names_its_keeper_and_no_end(keep: Keep, tmp_path: Path) -> None:
    there = pipe(tmp_path, "payload")
    started = keep("stay", "payload")
    there.read_text()
    assert kept(tmp_path) == (started.identity, None)


@pytest.mark.parametrize(
    "program",
    [
        ["sh", "-c", "setsid sleep 600 & echo $$ $! > payload; wait"],
        ["env", "-i", "sh", "-c", "echo $$ > payload; exec sleep 600"],
    ],
    ids=["with a child in another session", "without the mark"],
)
def test_a_payload_whose_keeper_is_killed_goes_with_it_and_so_do_all_that_bear_its_mark(
    keep: Keep, tmp_path: Path, program: list[str]
) -> None:
    there = pipe(tmp_path, "payload")
    started = keep(program=program)
    pids = [int(pid) for pid in there.read_text().split()]
    os.kill(started.identity.pid, signal.SIGKILL)
    assert started.wait(PATIENCE_S)
    assert all(ends(pid) for pid in pids)
    assert started.exit_code == how_it_ended(started.identity, tmp_path) == -signal.SIGKILL


# --- who gets away ------------------------------------------------------------------------------------------------


@pytest.fixture
def lost(keep: Keep, tmp_path: Path) -> Callable[..., tuple[Process, int]]:
    """Start a payload with a child that has left its group, session, environment and parent; both."""

    def lost(child: str, *then: object) -> tuple[Process, int]:
        there = pipe(tmp_path, "child")
        started = keep("lose", child, *then)
        pid = int(there.read_text())
        assert Path(f"/proc/{pid}/environ").read_bytes() == b""
        return started, pid

    return lost


Lost = Callable[..., tuple[Process, int]]


def test_who_got_away_is_ended_before_the_end_is_told(lost: Lost, tmp_path: Path) -> None:
    go = pipe(tmp_path, "go")
    started, child = lost("hear", "end", 7)
    go.write_text("")
    assert started.wait(PATIENCE_S)
    assert not Path(f"/proc/{child}").exists()
    assert started.exit_code == 7


def test_who_got_away_hears_a_sigterm_too(lost: Lost, tmp_path: Path) -> None:
    heard = [pipe(tmp_path, f"heard by {name}") for name in ("child", "payload")]
    there = pipe(tmp_path, "payload")
    started, _ = lost("hear", "hear", "payload")
    there.read_text()
    started.signal(signal.SIGTERM)
    assert [each.read_text() for each in heard] == ["", ""]


def test_every_generation_hears_a_sigterm(keep: Keep, tmp_path: Path) -> None:
    there, heard = zip(*((pipe(tmp_path, name), pipe(tmp_path, f"heard by {name}")) for name in "210"), strict=True)
    started = keep("nest", 2)
    assert all(each.read_text() for each in there)
    started.signal(signal.SIGTERM)
    assert [each.read_text() for each in heard] == ["", "", ""]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_who_got_away_is_ended_by_what_ends_the_payload(lost: Lost, tmp_path: Path, number: signal.Signals) -> None:
    there = pipe(tmp_path, "payload")
    started, child = lost("hear", "stay", "payload")
    there.read_text()
    started.signal(number)
    assert started.wait(PATIENCE_S)
    assert not Path(f"/proc/{child}").exists()
    assert started.exit_code == -number


def test_no_zombie_stays_while_a_payload_runs(keep: Keep, tmp_path: Path) -> None:
    """The keeper lets go of the dead before it passes on a second signal."""
    there, heard = pipe(tmp_path, "payload"), pipe(tmp_path, "heard by payload")
    started = keep("orphan")
    payload_pid = int(there.read_text())
    for _ in range(2):
        started.signal(signal.SIGTERM)
        heard.read_text()
    assert [pid for pid in processes() if parent_of(pid) == started.identity.pid] == [payload_pid]


# --- who stands still ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["keeper", "payload"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_who_stands_still_is_ended(keep: Keep, tmp_path: Path, who: str, number: signal.Signals) -> None:
    there = pipe(tmp_path, "payload")
    started = keep("stay", "payload")
    pids = {"keeper": started.identity.pid, "payload": int(there.read_text())}
    os.kill(pids[who], signal.SIGSTOP)
    started.signal(number)
    assert started.wait(PATIENCE_S)
    assert started.exit_code == -number


def test_a_keeper_that_hears_nothing_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leader, "KILL_PATIENCE_S", 0.05)
    there = pipe(tmp_path, "keeper")
    with subprocess.Popen(command("deaf"), cwd=tmp_path) as deaf:
        there.read_text()
        with closing(Leader(deaf.pid, is_keeper=True)) as held:
            held.send(signal.SIGKILL)
            assert held.wait(PATIENCE_S)
    assert deaf.returncode == -signal.SIGKILL


# --- another engine -----------------------------------------------------------------------------------------------

Outlive = Callable[..., tuple[ProcessIdentity, str]]


@pytest.fixture
def outlive(tmp_path: Path) -> Iterator[Outlive]:
    """Start a payload in an engine, and kill that; the payload's keeper and mark."""
    marks: list[str] = []

    def outlive(*arguments: object) -> tuple[ProcessIdentity, str]:
        marks.append(uuid4().hex)
        environment = {**os.environ, "PYTHONPATH": str(KEPT.parents[2])}
        started = [sys.executable, str(KEPT), "engine", str(tmp_path), marks[-1], *command(*arguments)]
        with subprocess.Popen(started, env=environment, stdout=subprocess.PIPE, text=True) as dying:
            identity = ProcessIdentity(*json.loads(dying.stdout.readline()))
            dying.kill()
        return identity, marks[-1]

    yield outlive
    for mark in marks:
        end_left(mark, tmp_path)


def test_who_adopts_a_payload_is_told_how_it_ends(outlive: Outlive, tmp_path: Path) -> None:
    go = pipe(tmp_path, "go")
    identity, mark = outlive("end", 3)
    adopted = Adopted(identity, mark, tmp_path)
    adopted.watch(lambda _: None)
    go.write_text("")
    assert adopted.wait(PATIENCE_S)
    assert adopted.exit_code == adopted.known_exit_code == 3


def test_who_comes_after_the_end_of_a_payload_knows_how_it_ended(outlive: Outlive, tmp_path: Path) -> None:
    go = pipe(tmp_path, "go")
    identity, _ = outlive("end", 3)
    go.write_text("")
    assert ends(identity.pid)
    assert how_it_ended(identity, tmp_path) == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_who_adopts_a_payload_can_end_it(outlive: Outlive, tmp_path: Path, number: signal.Signals) -> None:
    there = pipe(tmp_path, "payload")
    adopted = Adopted(*outlive("stay", "payload"), tmp_path)
    there.read_text()
    adopted.watch(lambda _: None)
    adopted.signal(number)
    assert adopted.wait(PATIENCE_S)
    assert adopted.known_exit_code == -number


@pytest.mark.parametrize("told", [True, False], ids=["of which the journal tells", "that is in no journal"])
def test_what_is_left_of_a_payload_is_ended_with_whoever_got_away(outlive: Outlive, tmp_path: Path, told: bool) -> None:
    there, child = pipe(tmp_path, "payload"), pipe(tmp_path, "child")
    identity, mark = outlive("lose", "hear", "stay", "payload")
    pids = [int(child.read_text()), int(there.read_text())]
    assert end_left(mark, tmp_path, identity if told else None)
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []
    assert not end_left(mark, tmp_path, identity if told else None)


def test_a_payload_without_a_keeper_is_adopted_and_its_exit_code_is_not_known(tmp_path: Path) -> None:
    mark, there = uuid4().hex, pipe(tmp_path, "payload")
    environment = {**os.environ, MARK: mark}
    with subprocess.Popen(command("stay", "payload"), cwd=tmp_path, env=environment, start_new_session=True) as older:
        there.read_text()
        adopted = Adopted(identity_of(older.pid), mark, tmp_path)
        adopted.watch(lambda _: None)
        adopted.signal(signal.SIGTERM)
        assert adopted.wait(PATIENCE_S)
    assert (adopted.exit_code, adopted.known_exit_code) == (-signal.SIGTERM, None)


@pytest.mark.parametrize(
    "record", [b"", b"1 2 3 4", b"1", b"one two", b"\xff 1 0", b"9" * 5000, b"9999999999 1", b"0 1", None]
)
def test_what_is_no_record_tells_nothing(tmp_path: Path, record: bytes | None) -> None:
    if record is None:
        pipe(tmp_path, RECORD)
    else:
        (tmp_path / RECORD).write_bytes(record)
    assert kept(tmp_path) is None
    assert how_it_ended(ProcessIdentity(1, 2), tmp_path) is None


def test_the_record_of_another_payload_tells_nothing_of_this_one(tmp_path: Path) -> None:
    (tmp_path / RECORD).write_text("1 2 0")
    assert how_it_ended(ProcessIdentity(1, 3), tmp_path) is None
    assert how_it_ended(ProcessIdentity(1, 2), tmp_path) == 0
