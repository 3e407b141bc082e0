"""Locks and counters that hold on both nodes at once, because each key has one that decides."""

import socket
import struct
import threading

import pytest

from conftest import eventually

UNDECIDED = b"SERVER_ERROR undecided: the owner of the key does not answer\r\n"


@pytest.fixture
def owned(nodes, tmp_path):
    def make(atomic_ops="owner"):
        file = tmp_path / "owner.toml"
        file.write_text(f'[replication]\natomic_ops = "{atomic_ops}"\n')
        made = nodes([f"--config={file}"], [f"--config={file}"])
        for node in made:
            eventually("the owners decide", lambda node=node: node.replication("owners_decide") == "1")
        return made

    return make


class Client:
    """One connection, one line of answer at a time."""

    def __init__(self, node):
        self.socket = socket.create_connection(node.address, 10)
        self.file = self.socket.makefile("rb")

    def say(self, request):
        self.socket.sendall(request)
        return self.file.readline()

    def close(self):
        self.file.close()
        self.socket.close()


def at_once(*jobs):
    threads = [threading.Thread(target=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)


def test_a_lock_taken_on_both_nodes_at_once_is_granted_once(owned):
    pair = owned()
    granted = [[], []]
    start = threading.Barrier(2)

    def take(side):
        client = Client(pair[side])
        for number in range(500):
            start.wait(20)
            granted[side].append(client.say(b"add lock-%d 0 0 1\r\n%d\r\n" % (number, side)))
        client.close()

    at_once(lambda: take(0), lambda: take(1))
    for one, other in zip(*granted, strict=True):
        assert {one, other} == {b"STORED\r\n", b"NOT_STORED\r\n"}


@pytest.mark.parametrize("request_", [b"incr n 1\r\n", b"ma n v\r\n"])
def test_nothing_counted_on_either_node_is_lost(owned, request_):
    pair = owned()
    pair[0].set(b"n", b"0")
    eventually("it arrived", lambda: pair[1].get(b"n"))
    seen = []

    def count(node):
        client = Client(node)
        for _ in range(200):
            line = client.say(request_)
            seen.append(int(client.file.readline() if line.startswith(b"VA") else line))
        client.close()

    at_once(*(lambda node=node: count(node) for node in pair * 3))
    assert sorted(seen) == list(range(1, 1_201))
    for node in pair:
        eventually("both have it", lambda node=node: node.get(b"n") == b"1200")


def test_what_was_decided_elsewhere_can_be_read_at_once(owned):
    pair = owned()
    for number in range(200):
        client = Client(pair[number % 2])
        assert client.say(b"add k-%d 0 0 1\r\n5\r\n" % number) == b"STORED\r\n"
        assert client.say(b"incr k-%d 2\r\n" % number) == b"7\r\n"
        assert client.say(b"append k-%d 0 0 1\r\n0\r\n" % number) == b"STORED\r\n"
        assert client.say(b"get k-%d\r\n" % number).startswith(b"VALUE")
        assert client.file.readline() == b"70\r\n"
        client.file.readline()
        assert client.say(b"delete k-%d\r\n" % number) == b"DELETED\r\n"
        assert client.say(b"add k-%d 0 0 1\r\n1\r\n" % number) == b"STORED\r\n"
        client.close()
    assert int(pair[0].replication("forwarded")) > 100
    assert int(pair[1].replication("forwarded")) > 100


def test_gets_on_one_node_and_cas_on_the_other_go_together(owned):
    a, b = owned()
    for number in range(20):
        key = b"k%d" % number
        a.set(key, b"1")
        eventually("it arrived", lambda key=key: b.get(key))
        unique = int(a.ask(b"gets %b\r\n" % key).split()[4])
        request = b"cas %b 0 0 1 %d\r\n2\r\n" % (key, unique)
        assert b.ask(request, b"\r\n") == b"STORED\r\n"
        assert a.ask(request, b"\r\n") == b"EXISTS\r\n"
        assert b.ask(b"ms %b 1 C%d\r\n3\r\n" % (key, unique), b"\r\n") == b"EX\r\n"


def test_the_binary_protocol_is_decided_by_the_owner_too(owned):
    pair = owned()
    for number in range(40):
        key = b"b%d" % number
        body = b"\0" * 8 + key + b"1"
        add = struct.pack(">BBHBBHIIQ", 0x80, 2, len(key), 8, 0, 0, len(body), 9, 0) + body
        results = []
        for node in pair:
            with socket.create_connection(node.address, 10) as client:
                client.sendall(add)
                answer = client.recv(24, socket.MSG_WAITALL)
                assert answer[12:16] == struct.pack(">I", 9)
                results.append(struct.unpack(">H", answer[6:8])[0])
        assert results == [0, 2]


@pytest.mark.parametrize("atomic_ops, expected", [("owner", b"STORED\r\n"), ("owner-or-error", UNDECIDED)])
def test_without_the_link_it_is_done_here_or_refused_as_configured(owned, atomic_ops, expected):
    a, b = owned(atomic_ops)
    b.kill()
    eventually("the link is gone", lambda: a.replication("state") == "connecting")
    for number in range(20):
        assert a.ask(b"add k%d 0 0 1\r\n1\r\n" % number, b"\r\n") == expected
    a.set(b"k", b"plain writes go on")
    b.start()
    eventually("both are in sync", a.in_sync)
    for node in (a, b):
        eventually(
            "it is decided again",
            lambda node=node: node.ask(b"incr k 1\r\n", b"\r\n").startswith(b"CLIENT_ERROR cannot"),
        )
