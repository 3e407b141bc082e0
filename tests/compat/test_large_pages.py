"""-L: huge pages behind the items and their index, where the system has some."""

import re
from pathlib import Path

import pytest

from .test_greed import memory
from .wire import eventually

MEGABYTE = 1 << 20
STATE = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@pytest.fixture
def own(binary):
    if binary.resolve().name != "paircached":
        pytest.skip("how memory is got")
    if not STATE.exists():
        pytest.skip("a kernel without huge pages")


def advised(server):
    """The sizes, in bytes, of the parts of memory that are to be of huge pages, and what of them is."""
    parts = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", Path(f"/proc/{server.pid}/smaps").read_text(), flags=re.MULTILINE)
    for part in parts:
        if re.search(r"^VmFlags:.* hg\b", part, re.MULTILINE):
            size, huge = (re.search(rf"^{name}: +(\d+) kB", part, re.MULTILINE)[1] for name in ("Size", "AnonHugePages"))
            yield int(size) * 1024, int(huge) * 1024


def test_large_pages_are_asked_for_and_taken_as_they_are_needed(own, launch):
    server = launch("-L", "-m", "1024")
    # 64 parts of the index, and the items.
    assert len(list(advised(server))) > 64
    assert memory(server) < 64 * MEGABYTE
    with server.client() as client:
        for number in range(64):
            client.ask(f"set k{number} 0 0 10000\r\n{'v' * 10000}\r\n".encode() * 10, b"STORED\r\n" * 10)
        client.ask(b"cache_memlimit 64\r\n", b"OK\r\n")
    if "[never]" in STATE.read_text():
        eventually("the log warns", lambda: "event=large_pages_unavailable" in server.log.read_text())
    else:
        assert "large_pages" not in server.log.read_text()


def test_without_the_option_no_large_pages_are_asked_for(own, launch):
    assert not list(advised(launch("-m", "1024")))


def test_items_stand_in_large_pages(own, launch):
    if "[never]" in STATE.read_text():
        pytest.skip("huge pages are off")
    server = launch("-L", "-m", "64")
    with server.client() as client:
        for number in range(2000):
            client.send(f"set k{number} 0 0 10000 noreply\r\n{'v' * 10000}\r\n".encode())
        client.ask(b"mn\r\n", b"MN\r\n")
    # The system may be short of some; of ten it will have one.
    assert sum(huge for _, huge in advised(server)) >= 2 * MEGABYTE
