"""Pairs to be measured: two daemons on this machine, the link between them counted and cut where that is asked for."""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
TICK = os.sysconf("SC_CLK_TCK")
PATIENCE = 120  # seconds until whatever is waited for must have happened


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Node:
    def __init__(self, programs, config, link, peer_link, memory):
        self.programs, self.port = programs, free_port()
        user = ["-u", "root"] if os.geteuid() == 0 else []
        self.command = [
            str(programs / "paircached"), "--sysconfig=-/nonexistent", f"--config={config}", *user,
            "-l", "127.0.0.1", "-p", str(self.port), "-t", "2", "-m", str(memory),
            "-x", "127.0.0.1", "-X", f"{link}:{peer_link}",
        ]  # fmt: skip
        self.process = None

    def start(self):
        self.process = subprocess.Popen(self.command, stderr=subprocess.DEVNULL)

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()

    def cpu(self):
        """Seconds of CPU so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def connect(self):
        client = socket.create_connection(("127.0.0.1", self.port), 10)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return client

    def stats(self, kind):
        with self.connect() as client:
            client.sendall(f"stats {kind}\r\nquit\r\n".encode())
            return dict(re.findall(r"STAT (\S+) (.*)\r", client.makefile("rb").read().decode()))

    def replication(self):
        try:
            return {name.removeprefix("replication_"): value for name, value in self.stats("replication").items()}
        except OSError:
            return {}

    def wait(self, **wanted):
        end = time.monotonic() + PATIENCE
        while not wanted.items() <= self.replication().items():
            if time.monotonic() > end:
                sys.exit(f"never came true: {wanted}, but {self.replication()}")
            time.sleep(0.005)

    def begin_load(self, *words):
        words = map(str, words)
        command = [str(self.programs / "pairctl"), "-s", f"127.0.0.1:{self.port}", "bench", "--json", *words]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def load(self, *words):
        return result(self.begin_load(*words))

    def fill(self, items):
        """Sets keys of 5 bytes and more to values of 100 B."""
        self.load("--fill", "--keys", items, "--pipeline", 64, "--requests", 1000, "--ratio", "1:0")


def result(load):
    """What a load that was begun has measured."""
    output, _ = load.communicate(timeout=600)
    return json.loads(output)


class Pair:
    """Two nodes that are not started yet; with a proxy, the first one dials through it and the second one in vain."""

    def __init__(self, options, settings="", memory=1024, proxy=None):
        self.folder = tempfile.TemporaryDirectory()
        folder = Path(self.folder.name)
        secret = folder / "secret"
        secret.write_text("0123456789abcdef" * 4)
        secret.chmod(0o600)
        one, other = free_port(), free_port()
        if proxy:
            proxy.target = other
        ways = [(one, proxy.port if proxy else other), (other, free_port() if proxy else one)]
        self.nodes = ()
        for name, way in zip("ab", ways, strict=True):
            # Which node it is can't be told from addresses where a proxy stands between.
            config = folder / f"{name}.toml"
            config.write_text(f'[replication]\nnode = "{name}"\n{settings.replace("SECRET", str(secret))}')
            self.nodes += (Node(options.programs, config, *way, memory),)

    def __enter__(self):
        return self.nodes

    def __exit__(self, *_):
        for node in self.nodes:
            node.stop()
        self.folder.cleanup()


class Proxy:
    """A link that counts what passes, and that can be cut and joined again."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.target, self.passed, self.joined, self.streams = None, 0, None, []
        self.whole = threading.Event()
        self.whole.set()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            near, _ = self.listener.accept()
            if not self.whole.is_set():
                near.close()
                continue
            try:
                far = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                near.close()
                continue
            self.joined, self.streams = time.monotonic(), [near, far]
            for one, other in [(near, far), (far, near)]:
                for stream in (one, other):
                    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self.pass_on, args=(one, other), daemon=True).start()

    def pass_on(self, one, other):
        room = memoryview(bytearray(1 << 18))
        with contextlib.suppress(OSError):
            while read := one.recv_into(room):
                other.sendall(room[:read])
                self.passed += read
        for stream in (one, other):
            with contextlib.suppress(OSError):
                stream.shutdown(socket.SHUT_RDWR)

    def cut(self):
        self.whole.clear()
        for stream in self.streams:
            with contextlib.suppress(OSError):
                stream.shutdown(socket.SHUT_RDWR)

    def join(self):
        self.passed, self.joined = 0, None
        self.whole.set()
