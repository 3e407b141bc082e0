"""Hostile clients of the real daemon: damaged requests of all protocols, in any pieces, with rude ends."""

import contextlib
import fcntl
import os
import random
import re
import socket
import struct
import termios
import threading
import time
from pathlib import Path

import pytest

from .daemon import TOP
from .test_binary import without_cas
from .wire import Client, eventually, stored

SECONDS = float(os.environ.get("HOSTILE_SECONDS", "8"))
SEED = int(os.environ.get("HOSTILE_SEED", "20261125"))
ATTACKERS = 8
KEPT_OPEN = 12  # connections that each attacker leaves hanging at a time
MEMORY = 64 << 20
# 1.05 times -m, and for each hanging connection the replies that it does not take or half a value.
PEAK = MEMORY * 105 // 100 + ATTACKERS * KEPT_OPEN * (2 << 20) + (64 << 20)
# They change what is checked afterwards: the limit of memory, the log, the counters.
LEFT_OUT = re.compile(rb"cache_memlimit|verbosity|stats +r|rese|shutdown")
# What two runs say differently: times, counters, the order of items.
VARIES = re.compile(rb"stats|lru_crawler|watch|mdump|\bme |\x80\x10")
# A CAS, in text.
NUMBER = re.compile(rb"\d{9,}")


def corpus(*targets):
    """What the fuzzers found worth keeping, text or frames."""
    files = [path for target in targets for path in sorted((TOP / "tests/fuzz/corpus" / target).iterdir())]
    assert len(files) > 50
    return [path.read_bytes() for path in files]


@pytest.fixture
def ours(launch, binary):
    if binary.resolve().name != "paircached":
        pytest.skip("it's about paircached")
    return launch("-m", str(MEMORY >> 20), "-t", "2")


def damaged(chance, conversations):
    """Some conversations, with a few bytes changed, cut out or repeated."""
    data = bytearray(b"".join(chance.choice(conversations) for _ in range(chance.randint(1, 4))))
    for _ in range(chance.randint(0, 4)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(4):
            case 0:
                data[at : at + 1] = chance.randbytes(1)
            case 1:
                del data[at : at + chance.randint(1, 8)]
            case 2:
                data[at:at] = data[at : at + 40] * chance.randint(1, 5)
            case 3:
                data[at:at] = chance.choice((b"\r\n", b"\n", b" ", b"\0", b"4294967296", b"set k 0 0 1048000\r\n"))
    return b"" if LEFT_OUT.search(data) else bytes(data)


class Attacker(threading.Thread):
    """Talks to the daemon until the deadline; `failure` is what should not have happened."""

    def __init__(self, server, seed, deadline):
        super().__init__()
        self.server, self.chance, self.deadline = server, random.Random(seed), deadline
        self.conversations = [corpus("text", "meta"), corpus("binary")]
        self.hanging = []
        self.connections = 0
        self.failure = None

    def run(self):
        try:
            while time.monotonic() < self.deadline:
                self.attack()
        except Exception as failure:  # told by the test
            self.failure = failure

    def attack(self):
        end = self.chance.choice((self.leave, self.reset, self.leave_half_open, self.hang, self.never_read))
        made = socket.create_connection(("127.0.0.1", self.server.port), 5)
        self.connections += 1
        # The daemon may hang up, and a daemon that does not read is told nothing more.
        made.settimeout(0.05)
        with contextlib.suppress(OSError):
            for _ in range(self.chance.randint(1, 5)):
                self.send_in_pieces(made, damaged(self.chance, self.chance.choice(self.conversations)))
        with contextlib.suppress(OSError):
            end(made)
        if made not in self.hanging:
            made.close()
        while len(self.hanging) > KEPT_OPEN:
            self.hanging.pop(0).close()

    def send_in_pieces(self, made, data):
        while data:
            size = self.chance.choice((1, 7, 100, 5000))
            made.sendall(data[:size])
            data = data[size:]
            if self.chance.random() < 0.2:
                with contextlib.suppress(BlockingIOError):
                    made.recv(1 << 16, socket.MSG_DONTWAIT)

    def leave(self, made):
        made.recv(1 << 16)

    def reset(self, made):
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def leave_half_open(self, made):
        made.shutdown(socket.SHUT_WR)
        while made.recv(1 << 16):
            pass

    def hang(self, made):
        made.sendall(self.chance.choice((b"set k 0 0 1000000\r\n" + b"x" * 500_000, b"get k", b"\x80\x01")))
        self.hanging.append(made)

    def never_read(self, made):
        self.hanging.append(made)
        made.sendall(b"\r\nset large 0 0 500000\r\n" + b"x" * 500_000 + b"\r\n" + b"get large\r\n" * 200)


def test_what_they_send_harms_nobody_and_leaves_nothing(ours):
    print(f"HOSTILE_SEED={SEED}")
    deadline = time.monotonic() + SECONDS
    attackers = [Attacker(ours, SEED + number, deadline) for number in range(ATTACKERS)]
    for attacker in attackers:
        attacker.start()
    served = 0
    while time.monotonic() < deadline:
        # An attacker may flush, or write this key, but not keep anybody waiting.
        with ours.client() as other:
            assert re.search(rb"STORED\r\n", other.talk(stored("good", str(served)) + b"get good\r\n"))
        served += 1
    for attacker in attackers:
        attacker.join(SECONDS + 30)
        assert not attacker.is_alive() and attacker.failure is None
    assert served > 20
    peak = int(re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{ours.pid}/status").read_text())[1]) << 10
    assert peak < PEAK
    for attacker in attackers:
        for made in attacker.hanging:
            made.close()
    assert ours.process.poll() is None
    with ours.client() as client:
        eventually("they are gone", lambda: client.stats()["curr_connections"] == "1")
        stats = {name: int(value) for name, value in client.stats().items() if value.isdigit()}
        assert stats["total_connections"] >= served + sum(attacker.connections for attacker in attackers)
        assert stats["cmd_get"] == stats["get_hits"] + stats["get_misses"]
        assert stats["cmd_touch"] == stats["touch_hits"] + stats["touch_misses"]
        client.ask(b"flush_all\r\n", b"OK\r\n")
        client.talk(b"lru_crawler enable\r\n")
        eventually("nothing is left", lambda: (client.stats()["curr_items"], client.stats()["bytes"]) == ("0", "0"))
        client.ask(stored("k", "a") + b"get k\r\n", b"STORED\r\nVALUE k 0 1\r\na\r\nEND\r\n")
        assert client.stats()["curr_items"] == "1"


def answer(server, pieces):
    """All that is said to a client that sends these pieces, each when the one before was read."""
    with server.client() as clean:
        clean.ask(b"flush_all\r\n", b"OK\r\n")
    with Client(server) as client:
        try:
            for piece in pieces:
                client.send(piece)
                # A unix socket counts what the other end has not read.
                while struct.unpack("i", fcntl.ioctl(client.socket, termios.TIOCOUTQ, bytes(4)))[0]:
                    pass
            client.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # hung up on
        said = client.rest()
        return without_cas(said) if said.startswith(b"\x81") else NUMBER.sub(b"#", said)


@pytest.mark.parametrize("target", ["text", "meta", "binary"])
def test_conversations_are_answered_the_same_in_any_pieces(launch, binary, tmp_path, target):
    if binary.resolve().name != "paircached":
        pytest.skip("it's about paircached")
    server = launch("-s", str(tmp_path / "socket"), "-o", "relaxed_privileges", listen=())
    with server.client() as client:
        client.ask(b"debugtime p\r\n", b"OK\r\n")
    chance = random.Random(SEED)
    for data in corpus(target):
        if VARIES.search(data) or LEFT_OUT.search(data) or len(data) < 3:
            continue
        at = sorted(chance.sample(range(1, len(data)), min(3, len(data) - 1)))
        pieces = [data[start:end] for start, end in zip([0, *at], [*at, len(data)], strict=True)]
        assert answer(server, pieces) == answer(server, [data]), data
