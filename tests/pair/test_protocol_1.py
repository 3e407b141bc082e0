"""A peer of 0.1.0, which speaks version 1 of the link's protocol, played byte by byte: what it says is understood, and it
is told nothing that it does not know."""

import contextlib
import itertools
import socket
import struct
import time
from collections import Counter

import pytest

from conftest import Node, eventually, free_port

HELLO, BATCH, ACK, PING, PONG, CAUGHT_UP, FETCH = 1, 3, 4, 5, 6, 8, 10
SET, DELETE, TOUCH, FLUSH, SET_MARKED = 1, 2, 3, 4, 5
EPOCH_MS = 1_704_067_200_000
PATIENCE = 20  # seconds


def now_ms():
    return int(time.time() * 1000)


def frame(kind, payload=b""):
    return struct.pack("<IB", len(payload), kind) + payload


def hello(incarnation):
    """As 0.1.0 says it: it ends with the cluster's name."""
    numbers = struct.pack("<6Q", incarnation, now_ms(), 0, 0, 1 << 20, 1 << 20)
    return frame(HELLO, b"paircach" + bytes([1, 1, 1, 1]) + numbers + bytes([7]) + b"default")


class Peer:
    """Node B of the pair, by a connection to node A that is open already."""

    def __init__(self, stream, dialled):
        self.stream, self.input = stream, b""
        self.batches, self.kinds, self.caught_up = [], Counter(), False
        self.numbers = itertools.count(1)
        stream.settimeout(PATIENCE)
        if dialled:
            stream.sendall(hello(7))
        kind, self.introduction = self.read()
        assert kind == HELLO
        if not dialled:
            stream.sendall(hello(7))
        stream.sendall(frame(PING, struct.pack("<Q", now_ms())))

    def read(self):
        """The next frame, as 0.1.0 takes it apart."""
        while len(self.input) < 5 or len(self.input) < 5 + struct.unpack_from("<I", self.input)[0]:
            piece = self.stream.recv(1 << 16)
            assert piece, "the node hung up"
            self.input += piece
        length, kind = struct.unpack_from("<IB", self.input)
        payload, self.input = self.input[5 : 5 + length], self.input[5 + length :]
        return kind, payload

    def hear(self, what, condition):
        """Takes what comes, and answers it, until the condition holds."""
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, f"never came: {what}, but {self.batches}"
            kind, payload = self.read()
            self.kinds[kind] += 1
            if kind == PING:
                self.stream.sendall(frame(PONG, payload + struct.pack("<Q", now_ms())))
            elif kind == BATCH:
                self.batches.append(payload[8:])
                self.stream.sendall(frame(ACK, payload[:8]))
            elif kind == CAUGHT_UP:
                self.caught_up = True
            elif kind == ACK:
                self.acknowledged = payload

    def change(self, start, size):
        """The change that begins with these bytes."""
        found = lambda: [batch[at : at + size] for batch in self.batches if (at := batch.find(start)) >= 0]  # noqa: E731
        self.hear(start, found)
        return found()[-1]

    def say(self, *changes):
        """Sends a batch and waits until it was acknowledged, with these very bytes."""
        number = struct.pack("<Q", next(self.numbers))
        self.acknowledged = b""
        self.stream.sendall(frame(BATCH, number + b"".join(changes)))
        self.hear("an acknowledgement", lambda: self.acknowledged == number)


def version(milliseconds):
    """One of node B's."""
    return (milliseconds - EPOCH_MS) << 22 | 1


@pytest.fixture(params=["dials", "is dialled"])
def pair(request, tmp_path):
    """The node, and a peer of 0.1.0 that has just met it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        dials = request.param == "dials"
        node = Node(tmp_path / "a", free_port(), free_port() if dials else listener.getsockname()[1])
        node.start()
        try:
            listener.settimeout(PATIENCE)
            stream = socket.create_connection(("127.0.0.1", node.link), PATIENCE) if dials else listener.accept()[0]
            with stream:
                yield node, Peer(stream, dials)
        finally:
            node.stop()


def test_the_node_introduces_itself_so_that_the_older_one_reads_it(pair):
    _, peer = pair
    said = peer.introduction
    assert said[:8] == b"paircach"
    assert (said[8], said[9]) == (1, 2), "oldest and newest version"
    _, clock, seen, batch, window, item_size_max = struct.unpack_from("<6Q", said, 12)
    assert abs(clock - now_ms()) < 60_000
    assert (seen, batch, item_size_max) == (0, 0, 1 << 20) and window > 0
    assert said[60] == 7 and said[61:68] == b"default"
    assert len(said) <= 1024


def test_what_is_written_on_the_node_reaches_the_older_one_in_its_words(pair):
    node, peer = pair
    flags = 0x8000_0001
    node.ask(b"set key %d 0 5\r\nvalue\r\n" % flags, b"STORED\r\n")
    cas = int(node.ask(b"gets key\r\n").split(b"\r\n")[0].split()[-1])
    expected = bytes([SET]) + struct.pack("<QQIIBI", cas, 0, 0, flags, 3, 5) + b"keyvalue"
    assert peer.change(expected, len(expected)) == expected
    peer.hear("that it is all", lambda: peer.caught_up)

    node.ask(b"touch key 100\r\n", b"TOUCHED\r\n")
    start = bytes([TOUCH]) + struct.pack("<Q", cas)
    touch = peer.change(start, 25)
    touched, exptime, length = struct.unpack_from("<QIB", touch, 9)
    assert touched > cas and touched & 1 == 0 and abs(exptime - time.time() - 100) < 30
    assert length == 3 and touch[22:] == b"key"

    node.ask(b"delete key\r\n", b"DELETED\r\n")
    peer.hear("the delete", lambda: any(batch.endswith(b"\x03key") and batch[-13] == DELETE for batch in peer.batches))

    node.ask(b"flush_all\r\n", b"OK\r\n")
    flushes = lambda: [batch for batch in peer.batches if batch[:1] == bytes([FLUSH])]  # noqa: E731
    peer.hear("the flush", flushes)
    horizon, issued, at = struct.unpack("<QQQ", flushes()[0][1:])
    assert horizon == issued > cas and at == 0


def test_an_item_with_a_mark_is_a_delete_of_the_same_version_for_the_older_one(pair):
    node, peer = pair
    node.ask(b"ms key 5\r\nvalue\r\n", b"HD\r\n")
    node.ask(b"md key I\r\n", b"HD\r\n")
    cas = int(node.ask(b"mg key c\r\n", b"\r\n").split()[1][1:])
    expected = bytes([DELETE]) + struct.pack("<QB", cas, 3) + b"key"
    assert peer.change(expected, len(expected)) == expected


def test_what_the_older_one_says_is_done(pair):
    node, peer = pair
    first, second = version(now_ms()), version(now_ms()) + (1 << 7)
    peer.say(bytes([SET]) + struct.pack("<QQIIBI", first, 0, 0, 0x8000_0001, 3, 5) + b"keyvalue")
    assert node.ask(b"gets key\r\n") == b"VALUE key %d 5 %d\r\nvalue\r\nEND\r\n" % (0x8000_0001, first)
    exptime = int(time.time()) + 1000
    peer.say(bytes([TOUCH]) + struct.pack("<QQIB", first, second, exptime, 3) + b"key")
    assert 900 < int(node.ask(b"mg key t\r\n", b"\r\n").split()[1][1:]) <= 1001
    # Older than what is there: nothing.
    peer.say(bytes([DELETE]) + struct.pack("<QB", first - (1 << 22), 3) + b"key")
    assert node.get(b"key") == b"value"
    peer.say(bytes([DELETE]) + struct.pack("<QB", second, 3) + b"key")
    assert node.get(b"key") is None
    third = second + (1 << 7)
    peer.say(bytes([SET]) + struct.pack("<QQIIBI", third, 0, 0, 0, 3, 5) + b"keyvalue")
    peer.say(bytes([FLUSH]) + struct.pack("<QQQ", third + (1 << 7), third + (1 << 7), 0))
    assert node.get(b"key") is None
    peer.stream.sendall(frame(CAUGHT_UP))
    peer.hear("that it is all", lambda: peer.caught_up)
    eventually("they are in sync", node.in_sync)


def test_the_older_one_is_sent_no_frame_that_it_does_not_know(pair):
    node, peer = pair
    peer.stream.sendall(frame(CAUGHT_UP))
    node.set(b"key", b"value")
    peer.hear("the two in sync", node.in_sync)
    pings = peer.kinds[PING]
    # A newer peer would be told of some keys at each of them.
    peer.hear("some signs of life", lambda: peer.kinds[PING] >= pings + 3)
    assert peer.kinds.keys() <= {BATCH, ACK, PING, PONG, CAUGHT_UP}
    assert node.replication("checked_keys") == "0"


@pytest.mark.parametrize(
    "words",
    [
        frame(FETCH, b"key"),
        frame(BATCH, struct.pack("<Q", 1) + bytes([SET_MARKED, 1]) + struct.pack("<QQQIIBI", 0, 1, 0, 0, 0, 1, 1) + b"kv"),
    ],
    ids=["a key fetched", "a mark"],
)
def test_the_older_one_cannot_say_what_came_later(pair, words):
    node, peer = pair
    peer.stream.sendall(words)
    with pytest.raises((AssertionError, ConnectionError)):
        peer.hear("the end", lambda: False)
    eventually("the link ended for that", lambda: "of unknown kind" in node.log())
    assert node.get(b"k") is None


def test_strangers_that_take_the_peers_place_again_and_again_do_not_fill_the_log(tmp_path):
    node = Node(tmp_path / "a", free_port(), free_port())
    node.start()
    began = time.monotonic()
    try:
        taken = 0
        while taken < 150:
            with socket.create_connection(("127.0.0.1", node.link), PATIENCE) as stream:
                # Who dials as well may be told that it was quicker, and then is heard the next time.
                with contextlib.suppress(OSError, AssertionError):
                    Peer(stream, dialled=True)
                    taken += 1
        eventually("all were taken for the peer", lambda: int(node.replication("resyncs_full")) > 100)
        eventually("the last one is gone", lambda: node.replication("state") == "connecting")
    finally:
        node.stop()
    lines = node.log().count("event=link ")
    # As many as the log takes at once, and one a minute; each stranger would take at least two.
    assert 50 < lines <= 100 + (time.monotonic() - began) / 60
