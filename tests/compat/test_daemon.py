"""The process: detaching, pid file, privileges, signals."""

import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from . import daemon
from .wire import PATIENCE, Client, eventually, stored


class Detached:
    """A daemon started with -d, known by its pid file and its port file."""

    path = tls = None

    def __init__(self, binary, folder, *args):
        self.pid_file, self.port_file = folder / "pid", folder / "port"
        user = ["-u", "root"] if os.geteuid() == 0 else []
        self.done = daemon.run(
            *(binary, *user, "-d", "-l", "127.0.0.1", "-p", "-1", "-P", self.pid_file, *args),
            env={**os.environ, "MEMCACHED_PORT_FILENAME": str(self.port_file)},
        )

    @property
    def pid(self):
        return int(self.pid_file.read_text())

    def running(self):
        """A zombie is no longer: nobody may be there to reap it."""
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except FileNotFoundError:
            return False

    def settled(self):
        """memcached's parent leaves before its child listens, so look again."""
        eventually("both files are written", lambda: self.port_file.exists() and self.pid_file.exists())
        return self

    connect = daemon.Server.connect
    port = daemon.Server.port


@pytest.fixture
def detached(binary, tmp_path):
    made = Detached(binary, tmp_path)
    made.settled()
    pid = made.pid
    yield made
    if Path(f"/proc/{pid}").exists():
        os.kill(pid, signal.SIGKILL)


def test_d_leaves_the_terminal_and_the_folder(detached):
    assert detached.done.returncode == 0
    assert detached.done.stdout == ""
    assert os.getsid(detached.pid) == detached.pid
    process = Path(f"/proc/{detached.pid}")
    assert os.readlink(process / "cwd") == "/"
    for number in range(3):
        assert os.readlink(process / "fd" / str(number)) == "/dev/null"


def test_d_serves(detached):
    with Client(detached) as client:
        client.send(stored("k", "a") + b"get k\r\n")
        assert client.read_until(b"END\r\n") == b"STORED\r\nVALUE k 0 1\r\na\r\nEND\r\n"
        assert client.stats()["pid"] == str(detached.pid)


def test_d_comes_back_only_when_it_listens(binary, tmp_path):
    if binary.resolve().name != "paircached":
        pytest.skip("memcached's parent does not wait for its child")
    made = Detached(binary, tmp_path)
    try:
        assert made.done.returncode == 0
        with Client(made) as client:
            client.send(b"get k\r\n")
            assert client.line() == b"END\r\n"
    finally:
        os.kill(made.settled().pid, signal.SIGKILL)


def test_d_tells_of_a_failed_start(binary, tmp_path):
    if binary.resolve().name != "paircached":
        pytest.skip("memcached's parent does not wait for its child and says 0")
    done = Detached(binary, tmp_path, "-l", "192.0.2.1").done
    assert done.returncode == 71
    assert "192.0.2.1" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_removes_the_pid_file_of_d(detached, number):
    assert detached.pid_file.read_text() == f"{detached.pid}\n"
    os.kill(detached.pid, number)
    eventually("the pid file is gone", lambda: not detached.pid_file.exists())


def test_P_writes_the_pid_without_d_too(launch, tmp_path):
    path = tmp_path / "pid"
    server = launch("-P", path)
    eventually("the pid file is written", path.exists)
    assert path.read_text() == f"{server.pid}\n"
    assert [name for name in os.listdir(tmp_path) if name.startswith("pid")] == ["pid"]


def test_P_warns_of_a_process_that_lives(launch, tmp_path):
    path = tmp_path / "pid"
    path.write_text(f"{os.getpid()}\n")
    server = launch("-P", path)
    eventually("the new pid is written", lambda: path.read_text() == f"{server.pid}\n")
    warnings = [line for line in server.log.read_text().splitlines() if line.lower().startswith("warn")]
    assert [line for line in warnings if "running" in line and str(os.getpid()) in line]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_stops_with_code_0(launch, number):
    server = launch()
    with server.client() as client:
        client.ask(stored("k", "a"), b"STORED\r\n")
        server.signal(number)
        assert server.wait() == 0
        assert client.rest() == b""


def test_a_stop_frees_the_port(launch):
    first = launch()
    port = first.port
    with first.client() as client:
        client.ask(b"get k\r\n", b"END\r\n")
        first.signal(signal.SIGTERM)
        assert first.wait() == 0
        assert launch(listen=("-l", "127.0.0.1", "-p", str(port))).port == port


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGPIPE])
def test_other_signals_harm_nothing(launch, number):
    server = launch()
    with server.client() as client:
        client.ask(stored("k", "a"), b"STORED\r\n")
        start = int(client.stats()["uptime"])
        server.signal(number)
        # memcached looks at its signals once a second.
        eventually("seconds pass", lambda: int(client.stats()["uptime"]) > start + 1, PATIENCE, 0.1)
        client.ask(b"get k\r\n", b"VALUE k 0 1\r\na\r\nEND\r\n")
    with server.client() as client:
        client.ask(b"get k\r\n", b"VALUE k 0 1\r\na\r\nEND\r\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up privileges")
def test_u_gives_up_root(launch):
    nobody = pwd.getpwnam("nobody")
    folder = tempfile.mkdtemp()  # for the port file: memcached writes it as the new user
    try:
        os.chmod(folder, 0o777)
        server = launch("-u", "nobody", "-m", "64", folder=Path(folder))
        status = Path(f"/proc/{server.pid}/status").read_text()
        lines = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert lines["Uid"].split() == [str(nobody.pw_uid)] * 4
        assert lines["Gid"].split() == [str(nobody.pw_gid)] * 4
        assert lines["Groups"].split() == []
        for kind in ("CapEff", "CapPrm"):
            assert int(lines[kind], 16) == 0
    finally:
        shutil.rmtree(folder)


def test_c_raises_the_limit_of_open_files(launch):
    server = launch("-c", "600")
    limits = Path(f"/proc/{server.pid}/limits").read_text()
    (line,) = [line for line in limits.splitlines() if line.startswith("Max open files")]
    assert int(line.split()[3]) >= 600


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1], ids=lambda number: number.name)
def test_a_signal_during_the_start_does_not_kill(binary, tmp_path, number):
    if binary.resolve().name != "paircached":
        pytest.skip("memcached ends where SIGUSR1 comes before it looks for it")
    pid_file, users = tmp_path / "pid", tmp_path / "users"
    users.write_text("u:p\n")
    for _ in range(5):
        command = [binary, *daemon.own_files(binary), "-u", "root", "-l", "127.0.0.1", "-p", "-1", "-Y", users]
        started = subprocess.Popen([*command, "-P", pid_file], stderr=subprocess.DEVNULL)
        try:
            # It is written before anything else is ready.
            eventually("the process id is written", lambda: pid_file.exists() and pid_file.read_text() == f"{started.pid}\n", pause=0)
            started.send_signal(number)
            if number == signal.SIGHUP:
                started.send_signal(signal.SIGUSR1)
            assert started.wait(PATIENCE) == 0
        finally:
            started.kill()
            started.wait()


def test_vv_shows_the_conversation(launch):
    server = launch("-vv", "-o", "no_lru_crawler,no_lru_maintainer")
    with server.client() as client:
        client.send(stored("key-to-see", "a") + stored("other", "b" * 20_000) + b"get key-to-see nosuch other\r\nfoo\r\n")
        client.read_until(b"ERROR\r\n")
        client.send(b"quit\r\n")
        assert client.rest() == b""
    with server.client() as client:
        client.send(b"\x80\x0a" + bytes(22))
        client.read(24)

    def shown():
        lines = re.findall(r"^([<>]?)\d+([: ].*)$", server.log.read_text(), re.MULTILINE)
        return [sign + text for sign, text in lines]

    eventually("both are gone", lambda: shown().count("< connection closed.") == 2)
    zeros = [" 0x00 0x00 0x00 0x00"] * 5
    assert shown() == [
        *("< server listening (auto-negotiate)", "< new auto-negotiating client connection"),
        *(": Client using the ascii protocol", "< set key-to-see 0 0 1", "> STORED", "< set other 0 0 20000", "> STORED"),
        *("< get key-to-see nosuch other", "> sending key key-to-see", "> sending key other", "> END"),
        *("< foo", "> ERROR", "< quit", "< connection closed.", "< new auto-negotiating client connection"),
        *(": Client using the binary protocol", "< Read binary protocol data:"),
        *["<   " + row for row in [" 0x80 0x0a 0x00 0x00", *zeros]],
        "> Writing bin response:",
        *[">  " + row for row in [" 0x81 0x0a 0x00 0x00", *zeros]],
        "< connection closed.",
    ]
    classes = re.findall(r"^slab class +\d+: chunk size +\d+ perslab +\d+$", server.log.read_text(), re.MULTILINE)
    assert len(classes) == 39
    assert (classes[0], classes[9]) == (
        "slab class   1: chunk size        96 perslab   10922",
        "slab class  10: chunk size       752 perslab    1394",
    )
