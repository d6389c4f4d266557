"""Addresses of HTTP: what can be asked, and what is refused before anybody is."""

from pathlib import Path

import pytest

from esfsm.adapters.communicators.address import Address, read_address
from esfsm.adapters.communicators.jobs.panda import open_jobs
from esfsm.adapters.communicators.panda import open_panda
from esfsm.adapters.communicators.queuedata.web import fetch
from esfsm.errors import UnusableInput
from esfsm.model.job import Job
from esfsm.model.settings import Settings


@pytest.mark.parametrize(
    ("url", "address", "server"),
    [
        ("https://panda.cern.ch:25443", ("https", "panda.cern.ch", 25443, "/"), "https://panda.cern.ch:25443"),
        ("https://panda/", ("https", "panda", 443, "/"), "https://panda:443"),
        ("http://localhost:80/a?b=c", ("http", "localhost", 80, "/a?b=c"), "http://localhost:80"),
        ("http://127.0.0.1", ("http", "127.0.0.1", 80, "/"), "http://127.0.0.1:80"),
        ("https://[2001:db8::1]:1", ("https", "2001:db8::1", 1, "/"), "https://[2001:db8::1]:1"),
        ("https://Panda_1.cern.ch.", ("https", "panda_1.cern.ch.", 443, "/"), "https://panda_1.cern.ch.:443"),
        ("https://exämple.org", ("https", "xn--exmple-cua.org", 443, "/"), "https://xn--exmple-cua.org:443"),
        ("http://h/a b/ü%20?q=[1]", ("http", "h", 80, "/a%20b/%C3%BC%20?q=%5B1%5D"), "http://h:80"),
    ],
)
def test_an_address_is_taken_apart(url: str, address: Address, server: str) -> None:
    read = read_address("server", url)
    assert read == address
    assert read.server == server


@pytest.mark.parametrize(
    "url",
    [
        *("", "panda:25443", "//panda", "ftp://panda", "https://", "https://:1", "https:///path", "https://["),
        *("https://host:abc", "https://host:999999", "https://host:0", "https://host:-1", "https://[1.2.3.4]"),
        *("https://h ost", "https://..:1", "https://a..b", "https://.a", "https://a*b", "https://a\udcffb"),
        *(
            f"https://{'a' * 64}.org",
            f"https://{'a.' * 127}org",
            "https://exämple.ü..x",
            "https://h/#x",
            "https://h/\n",
        ),
    ],
)
def test_what_is_no_address_is_refused_by_its_name(url: str) -> None:
    with pytest.raises(UnusableInput, match=r"^notice board '.*https://host:port/path is expected$") as refused:
        read_address("notice board", url)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("who", ["me:hidden", ":hidden", "hidden"])
def test_no_secret_stands_in_an_address_and_none_is_told(who: str) -> None:
    with pytest.raises(UnusableInput, match="no user and no password") as refused:
        read_address("server", f"https://{who}@panda")
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "is_private"),
    [
        ("https://panda", True),
        ("http://localhost", True),
        ("http://127.0.0.1:1", True),
        ("http://[::1]:1", True),
        ("http://panda", False),
        ("http://127.0.0.1.org", False),
    ],
)
def test_nobody_listens_over_tls_or_inside_this_machine(url: str, is_private: bool) -> None:
    assert read_address("server", url).is_private is is_private


# --- who asks whom ---


def open_communicator(settings: Settings, directory: Path) -> None:
    open_panda(Job.read({"PandaID": 1, "taskID": 2, "jobsetID": 3}), settings, directory, "r1").close()


def open_source(settings: Settings, directory: Path) -> None:
    open_jobs(settings, directory).close()


@pytest.mark.parametrize("open_it", [open_communicator, open_source])
@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("https://[", "https://host:port/path is expected"),
        ("https://panda/server", "without a path"),
        ("https://panda:1?x=1", "without a path"),
        ("http://panda.cern.ch:25080", "secrets would be told in clear"),
    ],
)
def test_what_is_no_address_of_a_server_is_refused_at_the_start(
    tmp_path: Path, open_it: object, url: str, why: str
) -> None:
    with pytest.raises(UnusableInput, match=f"^PanDA server .*{why}"):
        open_it(Settings(panda_server=url, queue="Q"), tmp_path)


@pytest.mark.parametrize("open_it", [open_communicator, open_source])
def test_authorities_that_are_nowhere_are_refused_at_the_start(tmp_path: Path, open_it: object) -> None:
    settings = Settings(panda_server="https://panda", queue="Q", ca_directory=tmp_path / "none")
    with pytest.raises(UnusableInput, match=f"{tmp_path}/none is no directory"):
        open_it(settings, tmp_path)


@pytest.mark.parametrize("url", ["http://[", "http://localhost:abc/x", "https://h ost/x"])
def test_what_is_no_address_of_queue_data_is_refused(url: str) -> None:
    with pytest.raises(UnusableInput, match=r"^queue data '"):
        fetch(url, Settings())
