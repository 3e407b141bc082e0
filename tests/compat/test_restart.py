"""Keeping the cache over a restart: -e, SIGUSR1 and `shutdown graceful`."""

import os
import shutil
import signal
import tempfile
import time
from pathlib import Path

import pytest

from . import daemon
from .wire import eventually, stored

OS_ERROR = 71


@pytest.fixture
def place(binary):
    """A folder that memcached can map memory from."""
    folder = Path(tempfile.mkdtemp(dir="/dev/shm"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def ours(binary):
    if binary.resolve().name != "paircached":
        pytest.skip("it is about files of our own")


@pytest.fixture
def started(launch, place):
    """Starts a daemon that keeps its items in the one file."""

    def start(*args, file="memory", folder=None):
        return launch("-m", "128", "-e", str(place / file), "-A", *args, folder=folder)

    return start


def stop(server, how=signal.SIGUSR1):
    server.signal(how)
    ended(server)


def ended(server):
    assert server.wait() == 0, server.log.read_text()
    if server.version < (1, 6, 45):
        # memcached's clock starts some seconds early: it would take its own file for one of the future.
        begun = time.monotonic()
        eventually("it may start again", lambda: time.monotonic() > begun + 3)


def filled(server, data=stored("k", "value", flags=7), answer=b"STORED\r\n"):
    with server.client() as client:
        client.ask(data, answer)
    return server


def held(server, key="k"):
    with server.client() as client:
        return client.talk(f"get {key}\r\n".encode())


VALUE = b"VALUE k 7 5\r\nvalue\r\nEND\r\n"
NOTHING = b"END\r\n"


def test_items_survive_a_graceful_stop(started):
    data = b"".join(stored(f"k{number}", "x" * number, flags=number) for number in range(1000))
    server = filled(started(), data, b"STORED\r\n" * 1000)
    with server.client() as client:
        cas = client.talk(b"gets k999\r\n")
    stop(server)
    with started().client() as client:
        for number in range(1000):
            value = b"VALUE k%d %d %d\r\n%b\r\nEND\r\n" % (number, number, number, b"x" * number)
            client.ask(b"get k%d\r\n" % number, value)
        client.ask(b"gets k999\r\n", cas)
        assert client.stats()["curr_items"] == "1000"
        assert client.stats()["total_items"] == "1000"


def test_they_survive_shutdown_graceful_too(started):
    server = filled(started())
    with server.client() as client:
        client.send(b"shutdown graceful\r\n")
        ended(server)
    assert held(started()) == VALUE


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_other_stops_keep_nothing(started, how):
    stop(filled(started()), how)
    assert held(started()) == NOTHING


def test_shutdown_alone_keeps_nothing(started):
    server = filled(started())
    with server.client() as client:
        client.send(b"shutdown\r\n")
        assert server.wait() == 0
    assert held(started()) == NOTHING


def test_after_a_crash_nothing_old_is_back(started):
    server = filled(started())
    stop(server)
    server = started()
    assert held(server) == VALUE
    server.stop()
    assert held(started()) == NOTHING


def test_time_passes_while_nobody_serves(started):
    server = started()
    data = stored("short", "a", exptime=2) + stored("long", "b", exptime=1000)
    begun = time.monotonic()
    stop(filled(server, data, b"STORED\r\n" * 2))
    eventually("the short one is over", lambda: time.monotonic() > begun + 3.1)
    server = started()
    assert held(server, "short") == NOTHING
    assert held(server, "long") == b"VALUE long 0 1\r\nb\r\nEND\r\n"


def test_a_new_cas_is_newer_than_the_old_ones(started):
    def cas(server):
        with server.client() as client:
            client.ask(stored("new", "v"), b"STORED\r\n")
            return int(client.talk(b"gets new\r\n").split()[4])

    server = started()
    before = cas(server)
    stop(server)
    assert cas(started()) > before


def test_what_was_flushed_stays_so(started):
    stop(filled(started(), stored("k", "value") + b"flush_all\r\n", b"STORED\r\nOK\r\n"))
    assert held(started()) == NOTHING


def test_a_smaller_largest_item_is_another_configuration(started):
    stop(filled(started("-I", "2m")))
    assert held(started("-I", "1m")) == NOTHING


def test_the_file_is_named_in_the_settings(started, place):
    with started().client() as client:
        assert client.stats(b"settings")["memory_file"] == str(place / "memory")


def test_a_file_in_a_missing_folder_ends_the_start(binary, place):
    user = ["-u", "root"] if os.geteuid() == 0 else []
    done = daemon.run(binary, *user, "-l", "127.0.0.1", "-p", "-1", "-e", place / "no" / "such")
    assert done.returncode != 0
    assert "No such file or directory" in done.stderr


def test_marks_of_the_meta_commands_survive(ours, started):
    data = b"ms k 1 E77\r\na\r\nms YQ== 1 b\r\nb\r\nms s 1\r\nc\r\nmd s I T100\r\nmg s v\r\n"
    server = started()
    with server.client() as client:
        client.ask(data, b"HD\r\nHD\r\nHD\r\nHD\r\nVA 1 X W\r\nc\r\n")
    stop(server)
    with started().client() as client:
        client.ask(b"mg k v c\r\nmg YQ== b k\r\nmg s v\r\n", b"VA 1 c77\r\na\r\nHD kYQ== b\r\nVA 1 Z X\r\nc\r\n")


def test_a_damaged_file_is_put_aside_and_the_cache_is_empty(ours, started, place):
    stop(filled(started()))
    file = place / "memory"
    whole = file.read_bytes()
    for broken in (whole[:-1], whole[: len(whole) // 2], whole + b"x", whole[:-6] + b"x" + whole[-5:]):
        file.write_bytes(broken)
        server = started()
        assert held(server) == NOTHING
        assert "event=memory_file_refused" in server.log.read_text()
        assert "it is damaged" in server.log.read_text()
        assert not file.exists() and (place / "memory.refused").read_bytes() == broken
        server.stop()


def test_what_is_no_memory_file_is_put_aside_too(ours, started, place):
    (place / "memory").write_bytes(b"precious data")
    server = filled(started())
    assert "it is no memory file of paircached" in server.log.read_text()
    assert (place / "memory.refused").read_bytes() == b"precious data"
    stop(server)
    assert held(started()) == VALUE


def test_only_the_owner_may_read_the_file(ours, started, place):
    nobody = ["-u", "nobody"] if os.geteuid() == 0 else []
    (place / "ports").mkdir(mode=0o777)
    (place / "ports").chmod(0o777)
    stop(filled(started(*nobody, folder=place / "ports")))
    found = (place / "memory").stat()
    assert found.st_mode & 0o777 == 0o600
    if os.geteuid() == 0:
        assert found.st_uid != 0
    assert sorted(each.name for each in place.iterdir()) == ["memory", "ports"]


def test_a_folder_that_cannot_be_written_to_any_more_ends_in_an_error(ours, started, place):
    folder = place / "folder"
    folder.mkdir()
    server = filled(started(file="folder/memory"))
    shutil.rmtree(folder)
    server.signal(signal.SIGUSR1)
    assert server.wait() == OS_ERROR
    said = server.log.read_text()
    assert f"failed to save to {folder}/memory: No such file or directory" in said
    assert "event=memory_file_failed" in said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_full_disk_ends_in_an_error_and_leaves_what_was_there(ours, started, place):
    disk = place / "disk"
    disk.mkdir()
    if os.system(f"mount -t tmpfs -o size=256k tmpfs {disk}"):
        pytest.skip("nothing can be mounted here")
    try:
        server = filled(started(file="disk/memory"), stored("k", "x" * 500_000))
        (disk / "memory").write_bytes(b"from somebody else")
        server.signal(signal.SIGUSR1)
        assert server.wait() == OS_ERROR
        assert "No space left on device" in server.log.read_text()
        assert {each.name: each.read_bytes() for each in disk.iterdir()} == {"memory": b"from somebody else"}
    finally:
        os.system(f"umount {disk}")


def test_a_start_that_fails_leaves_the_file_as_it_is(binary, ours, started, place):
    server = filled(started())
    stop(server)
    other = filled(started(file="other"))
    user = ["-u", "root"] if os.geteuid() == 0 else []
    for args in (["-p", other.port], ["-s", "/nonexistent/socket"]):
        done = daemon.run(binary, *user, "-l", "127.0.0.1", *args, "-e", place / "memory")
        assert done.returncode != 0
    assert held(started()) == VALUE


def test_the_file_is_found_again_by_a_daemon_that_left_its_folder(binary, ours, place, tmp_path):
    """-d goes to /, and a relative name stays what it was."""
    pid_file, port_file = place / "pid", place / "port"
    user = ["-u", "root"] if os.geteuid() == 0 else []
    before = os.getcwd()
    os.chdir(place)
    try:
        args = [*user, "-d", "-l", "127.0.0.1", "-p", "-1", "-P", pid_file, "-e", "memory"]
        daemon.run(binary, *args, env={**os.environ, "MEMCACHED_PORT_FILENAME": str(port_file)})
    finally:
        os.chdir(before)
    pid = int(pid_file.read_text())
    os.kill(pid, signal.SIGUSR1)
    eventually("it has ended", lambda: not pid_file.exists())
    assert (place / "memory").exists()
