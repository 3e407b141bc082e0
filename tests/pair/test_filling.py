"""A node that returns empty is useful at once: what it lacks it has from its peer."""

import signal
import socket
import struct
import threading
import time

import pytest

from conftest import eventually, free_port

MANY, SIZE = 10_000, 3_000
SPARE = 500  # numbers, of which each attempt takes another


def name(number):
    return b"key-%d" % number


class SlowRoad:
    """Passes connections on to a node, each piece 20 ms late, until it is widened."""

    def __init__(self, target):
        self.delay = 0.02
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.target = target
        self.streams = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near = self.listener.accept()[0]
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self.target))
            except OSError:  # it does not listen now
                near.close()
                continue
            self.streams += [near, far]
            for stream in (near, far):
                stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self.pump, args=(one, other), daemon=True).start()

    def pump(self, one, other):
        try:
            while data := one.recv(1 << 15):
                time.sleep(self.delay)  # the length of the road
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
    file.write_text('[replication]\nwindow = "32k"\n')
    a, b = nodes([f"--config={file}"], [f"--config={file}"], start=False)
    road = SlowRoad(a.link)
    a.command[a.command.index("-X") + 1] = f"{a.link}:{free_port()}"
    b.command[b.command.index("-X") + 1] = f"{b.link}:{road.port}"
    a.start()
    a.ask(
        b"".join(b"set %b 7 0 %d noreply\r\n%b\r\n" % (name(n), SIZE, b"%0*d" % (SIZE, n)) for n in range(MANY))
        + b"".join(b"set spare-%d 0 0 1 noreply\r\n5\r\n" % n for n in range(SPARE))
        + b"get x\r\n"
    )
    b.start()
    eventually("it is being filled", lambda: b.replication("state") == "catching-up")
    a.road = road
    yield a, b
    road.close()


def still_filling(node):
    assert (node.replication("state"), node.replication("filled")) == ("catching-up", "0")


def in_time(what, node, request, expected, end=b"\r\n"):
    """What the peer did not send within 100 ms is a miss, and may be on a busy machine: then it is tried again."""
    eventually(what, lambda: node.ask(request() if callable(request) else request, end) == expected)


def test_what_is_not_here_yet_is_had_from_the_peer(filling):
    _, b = filling
    for number in range(0, MANY, 397):
        expected = b"VALUE %b 7 %d\r\n%0*d\r\nEND\r\n" % (name(number), SIZE, SIZE, number)
        in_time("it is had from the peer", b, b"get %b\r\n" % name(number), expected, b"END\r\n")
    assert b.get(b"nowhere") is None
    assert int(b.replication("fetched_found")) > 5
    still_filling(b)


def test_many_keys_at_once_are_had_together(filling):
    _, b = filling
    keys = [name(number) for number in range(0, MANY, 100)]
    request = b"get " + b" ".join(keys) + b"\r\n"
    eventually("all are had", lambda: b.ask(request).count(b"VALUE ") == len(keys))
    still_filling(b)


def test_many_that_want_the_same_key_make_one_errand(filling):
    a, b = filling
    before = int(b.replication("fetched"))
    # A peer that does not answer yet: whoever asks meanwhile waits for the same.
    a.send(signal.SIGSTOP)
    found = []
    clients = [threading.Thread(target=lambda: found.append(b.get(b"nowhere"))) for _ in range(30)]
    for client in clients:
        client.start()
    for client in clients:
        client.join(20)
    assert found == [None] * 30
    assert int(b.replication("fetched")) - before == 1


def test_every_command_that_depends_on_what_is_there_sees_what_the_peer_has(filling):
    a, b = filling
    spare = iter(range(SPARE))
    conversation = [
        (b"add %b 0 0 1\r\n1\r\n", b"NOT_STORED\r\n"),
        (b"incr %b 2\r\n", b"7\r\n"),
        (b"append %b 0 0 1\r\n0\r\n", b"STORED\r\n"),
        (b"touch %b 100\r\n", b"TOUCHED\r\n"),
        (b"ma %b\r\n", b"HD\r\n"),
        (b"mg %b v\r\n", b"VA 1\r\n5\r\n"),
        (b"delete %b\r\n", b"DELETED\r\n"),
        (b"md %b\r\n", b"HD\r\n"),
    ]
    for request, expected in conversation:
        # Each time another key: what was taken for a miss may have been written by the request.
        in_time(f"{request} sees it", b, lambda request=request: request % b"spare-%d" % next(spare), expected)
    for request, expected in [(b"delete %b\r\n", b"DELETED\r\n"), (b"md %b\r\n", b"HD\r\n")]:
        number = MANY - 1 if request.startswith(b"d") else MANY - 2
        in_time(f"{request} sees it", b, request % name(number), expected)
    key = name(MANY - 3)
    with socket.create_connection(b.address, 10) as client:

        def status():
            client.sendall(struct.pack(">BBHBBHIIQ", 0x80, 0, len(key), 0, 0, 0, len(key), 0, 0) + key)
            head = client.recv(24, socket.MSG_WAITALL)
            client.recv(struct.unpack(">I", head[8:12])[0], socket.MSG_WAITALL)
            return struct.unpack(">H", head[6:8])[0]

        eventually("the binary protocol sees it", lambda: status() == 0)
    still_filling(b)
    a.road.delay = 0
    eventually("it is full", lambda: b.in_sync() and b.replication("filled") == "1", 120)
    for node in filling:
        for number in (MANY - 1, MANY - 2):
            eventually("the deleted stay deleted", lambda node=node, number=number: node.get(name(number)) is None)
    eventually("both hold the same", lambda: b.stats()["curr_items"] == a.stats()["curr_items"])


def test_a_peer_that_stops_makes_nobody_wait_long(filling):
    a, b = filling
    a.send(signal.SIGSTOP)
    began = time.monotonic()
    assert b.get(b"nowhere") is None
    assert time.monotonic() - began < 4, "the link is given up after 5 s"
