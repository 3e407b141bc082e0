"""A peer, or whoever reaches the port of an unsealed link, that asks for what costs this node much."""

import contextlib
import socket
import struct
from pathlib import Path

import pytest

from conftest import Node, eventually, free_port
from test_protocol_1 import BATCH, HELLO, PING, frame, now_ms

DOUBT, REQUEST, REPLY = 7, 12, 13
PATIENCE = 20  # seconds
MB = 1 << 20


@pytest.fixture
def node(tmp_path):
    node = Node(tmp_path / "a", free_port(), free_port())
    node.start()
    yield node
    node.stop()


@pytest.fixture
def peer(node):
    """A connection over which a peer of this version has introduced itself and said that it is there."""
    numbers = struct.pack("<6Q", 7, now_ms(), 0, 0, MB, MB)
    hello = b"paircach" + bytes([1, 2, 1, 1]) + numbers + bytes([7]) + b"default" + struct.pack("<QQ", 0, 0)
    with socket.create_connection(("127.0.0.1", node.link), PATIENCE) as stream:
        stream.sendall(frame(HELLO, hello) + frame(PING, struct.pack("<Q", now_ms())))
        eventually("they are linked", lambda: node.replication("state") == "catching-up")
        yield stream


def request(number, words):
    return frame(REQUEST, struct.pack("<QB", number, 0) + words)


def memory(node):
    """Bytes that it has taken."""
    status = Path(f"/proc/{node.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def heard(stream, kind):
    """The payload of the next frame of that kind."""
    with stream.makefile("rb") as file:
        while True:
            length, found = struct.unpack("<IB", file.read(5))
            payload = file.read(length)
            if found == kind:
                return payload


def test_what_is_decided_for_the_peer_is_what_a_keys_owner_decides_and_nothing_else(node, peer):
    node.set(b"k", b"1")
    peer.sendall(request(1, b"get k\r\n") + request(2, b"flush_all\r\n") + request(3, b"incr k 1\r\n"))
    number, reply = struct.unpack("<Q", (said := heard(peer, REPLY))[:8])[0], said[8:]
    assert (number, reply) == (3, b"2\r\n"), "what is not for the owner has no answer"
    assert node.get(b"k") == b"2"


def test_who_asks_on_and_takes_no_replies_takes_no_memory_either(node, peer):
    node.set(b"big", b"x" * 1_000_000)
    before = memory(node)
    with contextlib.suppress(OSError):
        for number in range(600):
            peer.sendall(request(number, b"get big\r\n"))
        # As long as it is listened to; what the network itself holds comes on top of what the node does.
        for _ in range(300):
            peer.sendall(request(1, b"incr nothing 1\r\n") * 10_000)
    eventually("the link ends for that", lambda: "does not take the replies" in node.log())
    assert memory(node) - before < 100 * MB


def test_a_doubt_about_what_is_far_ahead_is_not_believed(node, peer):
    node.set(b"k", b"v")
    peer.sendall(frame(DOUBT, struct.pack("<Q", (1 << 63) - 1)))
    eventually("the link ends for that", lambda: "impossible version" in node.log())
    assert node.get(b"k") == b"v"
    cas = int(node.ask(b"gets k\r\n").split()[4])
    node.set(b"k", b"w")
    assert cas < int(node.ask(b"gets k\r\n").split()[4]) < cas + (1_000_000 << 22), "its clock was not dragged along"


def test_a_peer_may_say_it_again(node, peer):
    """The same batch twice is the same once."""
    version = (now_ms() - 1_704_067_200_000) << 22 | 1
    change = bytes([1]) + struct.pack("<QQIIBI", version, 0, 0, 0, 1, 1) + b"kv"
    for _ in range(2):
        peer.sendall(frame(BATCH, struct.pack("<Q", 1) + change))
        eventually("it has it", lambda: node.get(b"k") == b"v")
    assert node.replication("conflicts") == "0"
