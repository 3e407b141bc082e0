"""A real daemon on a host of its own."""

import ctypes
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

from network import LIBC

TOP = Path(__file__).resolve().parents[2]
PROGRAM = Path(os.environ.get("PAIRCACHED", TOP / "target/release/paircached"))
PORT, LINK = 11211, 11212
PR_SET_PDEATHSIG = 1


def eventually(what, condition, seconds=60):
    """Waits until the condition holds; what it is about is named when it does not, by then if it is a function."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < end, f"in {seconds} s never came true: {what() if callable(what) else what}"
        time.sleep(0.02)


def die_with_me():
    LIBC.prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))


class Client:
    """One connection, one request at a time."""

    def __init__(self, node, timeout=10):
        self.socket = node.connect(timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def say(self, request):
        """Sends it and returns the first line of the answer."""
        self.socket.sendall(request)
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the daemon hung up")
        return line

    def ask(self, request):
        """Sends what is answered by lines up to END, and returns those."""
        lines = [self.say(request)]
        while lines[-1] != b"END\r\n":
            lines.append(self.file.readline())
            if not lines[-1]:
                raise ConnectionError("the daemon hung up")
        return lines[:-1]

    def items(self, keys):
        """What the node holds of the keys: value, flags and CAS. It leaves no trace."""
        found = {}
        for start in range(0, len(keys), 500):
            some = keys[start : start + 500]
            self.socket.sendall(b"".join(b"mg %b k v f c u\r\n" % key for key in some) + b"mn\r\n")
            while (line := self.file.readline()) != b"MN\r\n":
                if line.startswith(b"EN"):
                    continue
                assert line.startswith(b"VA "), line
                words = line.split()
                value = self.file.read(int(words[1]) + 2)[:-2]
                key, flags, cas = (next(word[1:] for word in words[2:] if word[:1] == sign) for sign in (b"k", b"f", b"c"))
                found[key] = value, int(flags), int(cas)
        return found

    def close(self):
        self.file.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Node:
    """It can be killed, frozen and started again; its clients are on its host."""

    alone = None  # a node without a peer on the same machine, to measure by

    def __init__(self, host, peer, folder, options=(), environment=None, port=PORT):
        self.host = host
        self.port = port
        self.folder = folder
        folder.mkdir()
        self.log_file = folder / "log"
        self.environment = environment
        self.command = [
            str(PROGRAM), "--sysconfig=-/nonexistent", "--config=-/nonexistent", "-u", "root", "-t", "2",
            "-p", str(port), *(["-x", peer.address, "-X", str(LINK)] if peer else []), *options,
        ]  # fmt: skip
        self.process = None

    def spawn(self):
        with self.host.inside(), self.log_file.open("ab") as log:
            environment = {**os.environ, **(self.environment or {})}
            self.process = subprocess.Popen(self.command, stderr=log, env=environment, preexec_fn=die_with_me)

    def start(self):
        self.spawn()
        eventually("the node serves", self.serves)

    def serves(self):
        assert self.process.poll() is None, self.log()
        try:
            self.connect(5).close()
            return True
        except OSError:
            return False

    def connect(self, timeout):
        return self.host.connect(("127.0.0.1", self.port), timeout)

    def send(self, number):
        self.process.send_signal(number)

    def kill(self, number=signal.SIGKILL):
        self.process.send_signal(number)
        return self.process.wait(60)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.kill()

    def log(self):
        return self.log_file.read_text(errors="replace")

    def stats(self, kind=b""):
        with Client(self) as client:
            lines = client.ask(b"stats %b\r\n" % kind)
        return dict(line.decode().rstrip("\r\n").split(" ", 2)[1:] for line in lines)

    def replication(self, name):
        return self.stats(b"replication")[f"replication_{name}"]

    def in_sync(self):
        return self.replication("state") == "in-sync"

    def memory(self):
        """Bytes of memory it has taken."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) * 1024
