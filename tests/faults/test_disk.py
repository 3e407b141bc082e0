"""A disk that is full."""

import subprocess

import pytest
from conftest import synced
from load import Load
from node import Client, eventually


@pytest.fixture
def disk(tmp_path):
    """A small one, and what fills it."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def fill(disk):
    with (disk / "ballast").open("wb", buffering=0) as ballast:
        try:
            while ballast.write(b"x" * 4096):
                pass
        except OSError:
            return


def test_a_log_that_can_not_be_written_stops_nobody(nodes, disk, whole):
    a, b = nodes(start=False)
    a.log_file = disk / "log"
    for node in (a, b):
        node.spawn()
    synced((a, b))
    fill(disk)
    size = a.log_file.stat().st_size
    with Load((a, b)) as load:
        load.goes_on()
        b.kill()
        eventually("it has something to say", lambda: a.replication("state") == "connecting")
        b.start()
        synced((a, b))
        load.end()
        load.served_all_the_while(a)
    assert a.log_file.stat().st_size - size < 4096, "there was room"
    with Load((a, b), name=b"later-") as load:
        load.goes_on()
        assert whole(load) == []


def test_a_memory_file_that_does_not_fit_is_said_and_the_peer_has_it_all(nodes, disk, whole):
    a, b = nodes("", ["-A", f"--memory-file={disk}/memory"])
    with Load((a, b)) as load:
        load.goes_on()
        load.end()
    fill(disk)
    with Client(a) as client:
        client.socket.sendall(b"shutdown graceful\r\n")
    assert a.process.wait(60) != 0
    assert "event=memory_file_failed" in a.log()
    assert [file.name for file in disk.iterdir()] == ["ballast"], "nothing half is left behind"
    (disk / "ballast").unlink()
    a.start()
    synced((a, b))
    assert whole(load) == []
