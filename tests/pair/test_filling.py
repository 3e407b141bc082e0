"""A node that returns empty is useful at once: what it lacks it has from its peer."""

import signal
import socket
import struct
import threading
import time

import pytest

from conftest import eventually, free_port

MANY, SIZE = 10_000, 1_000


def name(number):
    return b"key-%d" % number


class SlowRoad:
    """Passes connections on to a node, each piece 20 ms late."""

    def __init__(self, target):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.target = target
        self.streams = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near = self.listener.accept()[0]
                far = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                return
            self.streams += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self.pump, args=(one, other), daemon=True).start()

    @staticmethod
    def pump(one, other):
        try:
            while data := one.recv(1 << 16):
                time.sleep(0.02)  # the length of the road
                other.sendall(data)
        except OSError:
            pass
        one.close()
        other.close()

    def close(self):
        self.listener.close()
        for stream in self.streams:
            stream.close()


@pytest.fixture
def filling(nodes, tmp_path):
    """A node that is full, and one that has just been started empty, with a long way between them."""
    file = tmp_path / "filling.toml"
    file.write_text('[replication]\nwindow = "64k"\n')
    a, b = nodes([f"--config={file}"], [f"--config={file}"], start=False)
    road = SlowRoad(a.link)
    a.command[a.command.index("-X") + 1] = f"{a.link}:{free_port()}"
    b.command[b.command.index("-X") + 1] = f"{b.link}:{road.port}"
    a.start()
    a.ask(b"".join(b"set %b 7 0 %d noreply\r\n%b\r\n" % (name(n), SIZE, b"%0*d" % (SIZE, n)) for n in range(MANY)) + b"get x\r\n")
    b.start()
    eventually("it is being filled", lambda: b.replication("state") == "catching-up")
    yield a, b
    road.close()


def still_filling(node):
    assert (node.replication("state"), node.replication("filled")) == ("catching-up", "0")


def test_what_is_not_here_yet_is_had_from_the_peer(filling):
    _, b = filling
    for number in range(0, MANY, 97):
        assert b.ask(b"get %b\r\n" % name(number)) == b"VALUE %b 7 %d\r\n%0*d\r\nEND\r\n" % (name(number), SIZE, SIZE, number)
    assert b.get(b"nowhere") is None
    assert int(b.replication("fetched_found")) > 30
    still_filling(b)


def test_many_keys_at_once_are_had_together(filling):
    _, b = filling
    keys = [name(number) for number in range(0, MANY, 100)]
    answer = b.ask(b"get " + b" ".join(keys) + b"\r\n")
    assert answer.count(b"VALUE ") == len(keys)
    still_filling(b)


def test_many_that_want_the_same_key_make_one_errand(filling):
    _, b = filling
    before = int(b.replication("fetched"))
    found = []
    clients = [threading.Thread(target=lambda: found.append(b.get(b"nowhere"))) for _ in range(30)]
    for client in clients:
        client.start()
    for client in clients:
        client.join(20)
    assert found == [None] * 30
    assert int(b.replication("fetched")) - before < 15


def test_every_command_that_depends_on_what_is_there_sees_what_the_peer_has(filling):
    a, b = filling
    for key in (b"x", b"y", b"z", b"w", b"v"):
        a.set(key, b"5")
    conversation = [
        (b"add x 0 0 1\r\n1\r\n", b"NOT_STORED\r\n"),
        (b"incr x 2\r\n", b"7\r\n"),
        (b"append y 0 0 1\r\n0\r\n", b"STORED\r\n"),
        (b"touch z 100\r\n", b"TOUCHED\r\n"),
        (b"ma w\r\n", b"HD\r\n"),
        (b"mg v v\r\n", b"VA 1\r\n5\r\n"),
        (b"mg dg== b v\r\n", b"VA 1\r\n5\r\n"),
        (b"delete %b\r\n" % name(MANY - 1), b"DELETED\r\n"),
        (b"md %b\r\n" % name(MANY - 2), b"HD\r\n"),
    ]
    for request, expected in conversation:
        assert b.ask(request, b"\r\n") == expected
    key = name(MANY - 3)
    with socket.create_connection(b.address, 10) as client:
        client.sendall(struct.pack(">BBHBBHIIQ", 0x80, 0, len(key), 0, 0, 0, len(key), 0, 0) + key)
        assert struct.unpack(">H", client.recv(24, socket.MSG_WAITALL)[6:8])[0] == 0
    still_filling(b)
    eventually("it is full", lambda: b.in_sync() and b.replication("filled") == "1", 60)
    for node in filling:
        eventually("the deleted stay deleted", lambda node=node: node.get(name(MANY - 1)) is None)
        assert node.get(name(MANY - 2)) is None
    assert b.stats()["curr_items"] == a.stats()["curr_items"]


def test_a_peer_that_stops_makes_nobody_wait_long(filling):
    a, b = filling
    a.send(signal.SIGSTOP)
    began = time.monotonic()
    assert b.get(b"nowhere") is None
    assert time.monotonic() - began < 2
