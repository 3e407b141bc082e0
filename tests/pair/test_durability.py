"""What an acknowledged write is worth, shown with real daemons whose peer stops, dies and returns."""

import signal
import socket
import struct
import threading
import time

import pytest

from conftest import eventually, free_port

REFUSED = b"SERVER_ERROR not written: the peer is away\r\n"
NOT_CONFIRMED = b"SERVER_ERROR not replicated: the peer did not confirm in time\r\n"


@pytest.fixture
def durable(nodes, tmp_path):
    """A pair in sync with a durability and a time for it."""

    def make(mode, seconds=1.0, *options):
        file = tmp_path / "durability.toml"
        file.write_text(f'[replication]\ndurability = "{mode}"\ndurability_timeout = {seconds}\n')
        made = nodes([f"--config={file}", *options], [f"--config={file}"])
        for node in made:
            eventually("both are in sync", node.in_sync)
        return made

    return make


def frame(opcode, key, value=b"", extras=b"", opaque=7):
    body = extras + key + value
    return struct.pack(">BBHBBHIIQ", 0x80, opcode, len(key), len(extras), 0, 0, len(body), opaque, 0) + body


def answer_of(node, request, timeout=10):
    """What the first read of an answer brings."""
    with socket.create_connection(node.address, timeout) as client:
        client.sendall(request)
        return client.recv(1 << 16)


# Each writes something when x holds 1, y and z hold text, and w is not there.
TEXT = [
    b"set a 0 0 1\r\n1\r\n",
    b"add w 0 0 1\r\n1\r\n",
    b"replace x 0 0 1\r\n2\r\n",
    b"append y 0 0 1\r\nz\r\n",
    b"prepend y 0 0 1\r\nz\r\n",
    b"incr x 1\r\n",
    b"decr x 1\r\n",
    b"touch x 100\r\n",
    b"gat 100 x\r\n",
    b"gats 100 x\r\n",
    b"delete x\r\n",
    b"ms b 1\r\n1\r\n",
    b"ms b 1 q\r\n1\r\n",
    b"ma x\r\n",
    b"mg x T100 v\r\n",
    b"mg w N100 v\r\n",
    b"md x\r\n",
    b"md y I T30\r\n",
    b"md z q\r\n",
    b"flush_all\r\n",
    b"flush_all 100\r\n",
]
BINARY = [
    frame(0x01, b"a", b"1", b"\0" * 8),
    frame(0x11, b"a", b"1", b"\0" * 8),
    frame(0x02, b"w", b"1", b"\0" * 8),
    frame(0x03, b"x", b"2", b"\0" * 8),
    frame(0x04, b"x"),
    frame(0x05, b"x", extras=struct.pack(">QQI", 1, 0, 0)),
    frame(0x08, b""),
    frame(0x0E, b"y", b"z"),
    frame(0x1C, b"x", extras=struct.pack(">I", 100)),
    frame(0x1D, b"x", extras=struct.pack(">I", 100)),
]


def prepare(node):
    node.set(b"x", b"1")
    node.set(b"y", b"text")
    node.set(b"z", b"text")


@pytest.mark.parametrize("mode", ["semi-sync", "strict"])
def test_an_acknowledged_write_is_on_both_nodes_at_that_moment(durable, mode):
    a, b = durable(mode)
    for number in range(300):
        a.set(b"k%d" % number, b"v")
        assert b.get(b"k%d" % number) == b"v"
    assert a.replication("unconfirmed_writes") == a.replication("refused_writes") == "0"
    assert a.replication("fuse") == "closed"


def test_pipelined_writes_of_many_connections_are_all_acknowledged_and_all_on_the_peer(durable):
    a, b = durable("semi-sync", 20)
    count, keys = 20, 500

    def write(writer):
        data = b"".join(b"set w%d-%d 0 0 3000\r\n%b\r\n" % (writer, key % 50, b"x" * 3000) for key in range(keys))
        with socket.create_connection(a.address, 60) as client:
            sender = threading.Thread(target=client.sendall, args=(data,))
            sender.start()
            got = b""
            while len(got) < keys * len(b"STORED\r\n"):
                got += client.recv(1 << 16)
            sender.join()
        assert got == b"STORED\r\n" * keys

    writers = [threading.Thread(target=write, args=(number,)) for number in range(count)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    a.kill()
    assert b.stats()["curr_items"] == str(count * 50)
    for writer in range(count):
        assert b.get(b"w%d-49" % writer) == b"x" * 3000


def test_of_a_killed_node_no_acknowledged_write_is_lost_although_it_wrote_the_same_keys_again_and_again(durable):
    a, b = durable("strict")
    acknowledged = [0] * 8

    def count_up(writer):
        with socket.create_connection(a.address, 10) as client:
            for number in range(1, 1_000_000):
                try:
                    client.sendall(b"set n%d 0 0 %d\r\n%d\r\n" % (writer, len(str(number)), number))
                    if client.recv(100) != b"STORED\r\n":
                        return
                except OSError:
                    return
                acknowledged[writer] = number

    writers = [threading.Thread(target=count_up, args=(number,)) for number in range(8)]
    for writer in writers:
        writer.start()
    eventually("some were acknowledged", lambda: min(acknowledged) > 200)
    a.kill()
    for writer in writers:
        writer.join(20)
    for writer, number in enumerate(acknowledged):
        assert int(b.get(b"n%d" % writer)) in (number, number + 1)


def test_semi_sync_goes_on_without_the_peer_and_counts_and_returns_to_waiting(durable):
    a, b = durable("semi-sync", 0.5)
    b.send(signal.SIGSTOP)
    began = time.monotonic()
    a.set(b"k", b"1")
    assert 0.4 < time.monotonic() - began < 5
    assert a.replication("fuse") == "open"
    began = time.monotonic()
    for number in range(50):
        a.set(b"k%d" % number, b"1")
    assert time.monotonic() - began < 0.5
    assert (a.replication("unconfirmed_writes"), a.replication("fuse_opened")) == ("51", "1")
    b.send(signal.SIGCONT)
    eventually("the fuse is closed again", lambda: a.replication("fuse") == "closed")
    a.set(b"k", b"2")
    assert b.get(b"k") == b"2"
    assert a.replication("unconfirmed_writes") == "51"
    assert "event=fuse state=open durability=semi-sync" in a.log()
    assert "event=fuse state=closed" in a.log()


@pytest.mark.parametrize("request_", TEXT, ids=lambda request: request.split(b"\r")[0].decode())
def test_strict_answers_every_writing_line_with_an_error_if_the_peer_does_not_confirm(durable, request_):
    a, b = durable("strict", 0.3)
    prepare(a)
    b.send(signal.SIGSTOP)
    assert answer_of(a, request_) == NOT_CONFIRMED
    assert answer_of(a, request_) == REFUSED
    assert answer_of(a, b"get z\r\nversion\r\n").endswith(b"VERSION 1.6.45\r\n")


@pytest.mark.parametrize("request_", BINARY, ids=lambda request: f"opcode {request[1]:#x}")
def test_strict_answers_every_writing_frame_with_an_error_if_the_peer_does_not_confirm(durable, request_):
    a, b = durable("strict", 0.3)
    prepare(a)
    b.send(signal.SIGSTOP)
    for _ in range(2):
        answer = answer_of(a, request_)
        assert (answer[0], answer[1]) == (0x81, request_[1])
        assert struct.unpack(">H", answer[6:8])[0] == 0x86
        assert answer[12:16] == request_[12:16]


def test_strict_holds_over_udp_too(durable):
    port = free_port()
    a, b = durable("strict", 0.5, "-U", str(port))
    a.set(b"x", b"1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.1", port))
        client.settimeout(10)

        def ask(body):
            client.send(b"\0\1\0\0\0\1\0\0" + body)
            return client.recv(1 << 16)[8:]

        assert ask(b"set x 0 0 1\r\n2\r\n") == b"STORED\r\n"
        assert b.get(b"x") == b"2"
        b.send(signal.SIGSTOP)
        assert ask(b"gat 100 x\r\n") == NOT_CONFIRMED
        assert ask(b"incr x 1\r\n") == REFUSED
        assert ask(b"get x\r\n") == b"VALUE x 0 1\r\n2\r\nEND\r\n"


def test_in_a_pipeline_only_the_writes_become_errors_and_noreply_stays_silent(durable):
    a, b = durable("strict", 0.3)
    prepare(a)
    b.send(signal.SIGSTOP)
    request = b"get y\r\nset a 0 0 1\r\n1\r\nget nothing\r\nset b 0 0 1 noreply\r\n1\r\nincr x 5\r\nmn\r\n"
    expected = b"VALUE y 0 4\r\ntext\r\nEND\r\n" + NOT_CONFIRMED + b"END\r\n" + NOT_CONFIRMED + b"MN\r\n"
    assert a.ask(request, b"MN\r\n") == expected


def test_strict_accepts_nothing_before_the_pair_is_whole_and_everything_after(nodes, tmp_path):
    file = tmp_path / "strict.toml"
    file.write_text('[replication]\ndurability = "strict"\n')
    a, b = nodes([f"--config={file}"], [f"--config={file}"], start=False)
    a.start()
    assert a.ask(b"set k 0 0 1\r\n1\r\n", b"\r\n") == REFUSED
    assert a.get(b"k") is None
    b.start()
    eventually("it accepts writes", lambda: a.ask(b"set k 0 0 1\r\n1\r\n", b"\r\n") == b"STORED\r\n")
    assert b.get(b"k") == b"1"
    assert int(a.replication("refused_writes")) >= 1


def test_async_waits_for_nobody(pair):
    a, b = pair
    b.send(signal.SIGSTOP)
    a.set(b"k", b"1")
    assert a.replication("durability") == "async"
