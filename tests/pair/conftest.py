"""Real daemons on loopback, in pairs."""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("PAIRCACHED", str(TOP / "target/release/paircached"))


def eventually(what, condition, seconds=20):
    """Waits until the condition holds; what it is about is named when it does not."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < end, f"in {seconds} s never came true: {what}"
        time.sleep(0.02)


def free_port():
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Node:
    """One daemon; it can be killed, frozen and started again on the same ports."""

    def __init__(self, folder, link, peer_link, *options):
        self.folder = folder
        folder.mkdir()
        self.port = free_port()
        self.address = ("127.0.0.1", self.port)
        self.link = link
        user = ["-u", "root"] if os.geteuid() == 0 else []
        self.command = [
            PROGRAM, "--sysconfig=-/nonexistent", "--config=-/nonexistent", *user,
            "-l", "127.0.0.1", "-p", str(self.port), "-t", "2",
            "-x", "127.0.0.1", "-X", f"{link}:{peer_link}", *options,
        ]  # fmt: skip
        self.process = None

    def start(self):
        self.process = subprocess.Popen(self.command, stderr=(self.folder / "log").open("a"))
        eventually("the node serves", self.serves)

    def serves(self):
        assert self.process.poll() is None, self.log()
        try:
            socket.create_connection(self.address, 1).close()
            return True
        except OSError:
            return False

    def send(self, number):
        self.process.send_signal(number)

    def kill(self, number=signal.SIGKILL):
        self.process.send_signal(number)
        return self.process.wait(20)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.kill()

    def log(self):
        return (self.folder / "log").read_text()

    def ask(self, data, end=b"END\r\n", timeout=10):
        """Says something and returns the answer up to its end."""
        with socket.create_connection(self.address, timeout) as client:
            client.sendall(data)
            answer = b""
            while not answer.endswith(end):
                piece = client.recv(1 << 16)
                assert piece, f"{answer!r} ends early"
                answer += piece
        return answer

    def set(self, key, value):
        data = b"set %b 0 0 %d\r\n%b\r\n" % (key, len(value), value)
        assert self.ask(data, b"\r\n") == b"STORED\r\n"

    def get(self, key):
        answer = self.ask(b"get %b\r\n" % key)
        if answer == b"END\r\n":
            return None
        return answer.split(b"\r\n", 1)[1][: -len(b"\r\nEND\r\n")]

    def stats(self, kind=b""):
        lines = self.ask(b"stats %b\r\n" % kind).decode().splitlines()[:-1]
        return dict(line.split(" ", 2)[1:] for line in lines)

    def replication(self, name):
        return self.stats(b"replication")[f"replication_{name}"]

    def in_sync(self):
        """What holds again and again, not once and for all: of two links made at once one gives way within 2 s."""
        figures = self.stats(b"replication")
        return figures["replication_state"] == "in-sync" and figures["replication_filled"] == "1"


@pytest.fixture
def nodes(tmp_path):
    """Makes two nodes that name each other, each with options of its own, and starts them."""
    made = []

    def make(options_a=(), options_b=(), start=True):
        links = free_port(), free_port()
        made.append(Node(tmp_path / "a", *links, *options_a))
        made.append(Node(tmp_path / "b", *reversed(links), *options_b))
        if start:
            for node in made:
                node.start()
        return tuple(made)

    yield make
    for node in made:
        node.stop()


@pytest.fixture
def pair(nodes):
    """Two nodes in sync."""
    made = nodes()
    for node in made:
        eventually("both are in sync", node.in_sync)
    return made


@pytest.fixture
def manager(tmp_path, monkeypatch):
    """A service manager's ear: what was said so far, a message an entry."""
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(path)
        ear.setblocking(False)
        os.chmod(path, 0o777)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        monkeypatch.setenv("WATCHDOG_USEC", "2000000")
        said = []

        def hear():
            while True:
                try:
                    said.append(ear.recv(4096).decode())
                except BlockingIOError:
                    return said

        yield hear


@pytest.fixture
def programs():
    return Path(PROGRAM).parent


def has(program):
    return shutil.which(program) is not None
