"""UDP: requests of one datagram, replies of one or more, each with a header of eight bytes."""

import itertools
import socket
import struct

import pytest

from . import daemon
from .test_listeners import free_port, has_ipv6
from .test_tools import tool
from .wire import PATIENCE, RULES_OF_1_6_45, Case, eventually, stored, table

OS_ERROR = 71
VERSION = b"\x80\x0b" + bytes(22)
NOOP = b"\x80\x0a" + bytes(22)
QUIT = b"\x80\x07" + bytes(22)
LAST = b"mn\r\n"  # asked behind what is tested: its answer shows that nothing else came


# With one worker datagrams are done in their order.
ONE = ("-t", "1")


class Datagrams:
    """A client that shows every datagram."""

    def __init__(self, server, port=None):
        self.server = server
        self.ids = itertools.count(0xFFF0)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(("127.0.0.1", port or server.udp_port))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, body, number=0, total=1, reserved=0):
        """Sends a request, and returns its id."""
        chosen = next(self.ids) % 0x10000
        self.socket.send(struct.pack(">HHHH", chosen, number, total, reserved) + body)
        return chosen

    def message(self, chosen):
        """The body of the next message, which must answer that request."""
        body, number, total = b"", 0, 1
        while number < total:
            datagram = self.socket.recv(1 << 16)
            header = struct.unpack(">HHHH", datagram[:8])
            total = header[2]
            assert header == (chosen, number, total, 0)
            number += 1
            assert len(datagram) == 1400 or number == total and len(datagram) <= 1400, len(datagram)
            body += datagram[8:]
        return body

    def ask(self, body, *messages, **header):
        """Sends a request and another, and requires exactly these messages between."""
        chosen, last = self.send(body, **header), self.send(LAST)
        for expected in messages:
            assert self.message(chosen) == expected, body[:100]
        assert self.message(last) == b"MN\r\n", body[:100]


@pytest.fixture
def server(launch):
    # Of its own, since what memcached makes nothing of it leaves for the next datagram.
    server = launch("-U", "-1", *ONE, "-p", "-1")
    server.udp_port = int(server.port_file.read_text().splitlines()[1].removeprefix("UDP INET: "))
    return server


@pytest.fixture
def datagrams(server):
    with Datagrams(server) as made:
        yield made


@table(
    Case("one request", stored("k", "a"), b"STORED\r\n"),
    Case("a line feed alone", b"mg k v\n", b"EN\r\n"),
    Case("what is no command", b"nothing\r\n", b"ERROR\r\n"),
    Case("noreply", b"set k 0 0 1 noreply\r\na\r\n", b""),
    Case("a quiet meta command", b"mg k v q\r\n", b""),
    Case("a bad key", b"get " + b"k" * 251 + b"\r\n", b"CLIENT_ERROR bad command line format\r\n"),
    Case("a line that does not end", b"get k", b""),
    Case("a line of nothing but keys that does not end", b"get " + b"k " * 3000, b""),
    Case("garbage", bytes(range(129, 256)), b""),
    Case("half a frame", VERSION[:20], b""),
    Case("a frame", NOOP, b"\x81" + NOOP[1:]),
    Case("the end of a client", QUIT, b"\x81" + QUIT[1:]),
    Case("watch", b"watch\r\n", b""),
    Case("a dump", b"lru_crawler metadump all\r\n", b""),
)  # fmt: skip
def test_a_datagram_is_answered_by_one_message_or_none(datagrams, case):
    if case.name in ("watch", "a dump") and datagrams.server.version < RULES_OF_1_6_45:
        pytest.skip("1.6.18 leaves UDP alone for good after that")
    expected, _ = case.for_version(datagrams.server.version)
    datagrams.ask(case.send, *[expected] * bool(expected))


def test_each_of_several_requests_is_answered_by_a_message(datagrams):
    datagrams.ask(stored("k", "a") + b"get k\r\nmn\r\n", b"STORED\r\n", b"VALUE k 0 1\r\na\r\nEND\r\n", b"MN\r\n")
    datagrams.ask(NOOP + NOOP, b"\x81" + NOOP[1:], b"\x81" + NOOP[1:])


def test_the_first_byte_tells_the_protocol_of_a_whole_datagram(datagrams):
    if datagrams.server.version < RULES_OF_1_6_45:
        pytest.skip("what memcached makes nothing of it leaves for the next datagram")
    datagrams.ask(NOOP + b"mn\r\n", b"\x81" + NOOP[1:])
    datagrams.ask(b"mn\r\n" + VERSION, b"MN\r\n")


def test_more_requests_than_R_in_a_datagram_are_all_done(datagrams):
    with datagrams.server.client() as client:
        before = int(client.stats()["conn_yields"])
        chosen = datagrams.send(b"mn\r\n" * 100)
        assert [datagrams.message(chosen) for _ in range(100)] == [b"MN\r\n"] * 100
        assert int(client.stats()["conn_yields"]) > before


def test_each_value_read_is_a_message_and_the_end_is_in_the_last(datagrams):
    datagrams.ask(stored("a", "1") + stored("b", "2"), b"STORED\r\n", b"STORED\r\n")
    a, b, end = b"VALUE a 0 1\r\n1\r\n", b"VALUE b 0 1\r\n2\r\n", b"END\r\n"
    datagrams.ask(b"get a b\r\n", a, b + end)
    datagrams.ask(b"get a nothing b\r\n", a, b + end)
    datagrams.ask(b"get a nothing\r\n", a, end)
    datagrams.ask(b"gat 0 b a\r\n", b, a + end)
    datagrams.ask(b"get nothing\r\n", end)


def test_misses_in_front_are_no_messages(datagrams):
    if datagrams.server.version < RULES_OF_1_6_45:
        pytest.skip("memcached sends a header that speaks of no datagram at all")
    datagrams.ask(b"get none nothing\r\n", b"END\r\n")


@pytest.mark.parametrize("size", [1392 - 25, 1392 - 24, 3000, 60_000, 500_000])
def test_a_long_reply_comes_in_numbered_datagrams(datagrams, size):
    with datagrams.server.client() as client:
        client.ask(stored("k", "v" * size), b"STORED\r\n")
    header = f"VALUE k 0 {size}\r\n".encode()
    datagrams.ask(b"get k\r\n", header + b"v" * size + b"\r\nEND\r\n")
    datagrams.ask(b"get k k\r\n", header + b"v" * size + b"\r\n", header + b"v" * size + b"\r\nEND\r\n")


def test_a_long_request_fits_one_datagram(datagrams):
    datagrams.ask(stored("k", "v" * 60_000), b"STORED\r\n")
    with datagrams.server.client() as client:
        client.ask(b"mg k s\r\n", b"HD s60000\r\n")


def test_statistics_are_one_message(datagrams):
    chosen = datagrams.send(b"stats\r\n")
    lines = datagrams.message(chosen).splitlines()
    assert lines[0].startswith(b"STAT pid ") and lines[-1] == b"END"


def test_only_the_id_and_the_total_of_a_header_count(datagrams):
    datagrams.ask(b"mn\r\n", b"MN\r\n", number=7, reserved=9)
    datagrams.ask(b"mn\r\n", total=2)
    datagrams.ask(b"mn\r\n", total=0)
    datagrams.ask(b"mn\r\n", number=1, total=2)
    datagrams.ask(b"")
    for short in (b"", b"abc", b"\0\0\0\0\0\x01\0"):
        datagrams.socket.send(short)
    datagrams.ask(b"mn\r\n", b"MN\r\n")


def test_what_a_datagram_leaves_unfinished_is_forgotten(datagrams):
    if datagrams.server.version < RULES_OF_1_6_45:
        pytest.skip("memcached takes the next datagram, header and all, for the rest of the value")
    datagrams.ask(b"mn\r\nset k 0 0 10\r\nabc", b"MN\r\n")
    datagrams.ask(b"set k 0 0 99999999\r\nabc", b"SERVER_ERROR object too large for cache\r\n")
    datagrams.ask(b"defghij\r\n", b"ERROR\r\n")
    datagrams.ask(b"get k\r\n", b"END\r\n")


def test_quit_is_not_answered(datagrams):
    if datagrams.server.version < RULES_OF_1_6_45:
        pytest.skip("memcached sends a header that speaks of no datagram at all")
    datagrams.ask(b"mn\r\nquit\r\nmn\r\n", b"MN\r\n")


def test_a_reply_of_another_server_is_not_answered(server):
    """With a forged sender two servers would answer each other for ever."""
    if server.version < RULES_OF_1_6_45:
        pytest.skip("memcached answers")
    with Datagrams(server) as datagrams:
        datagrams.ask(b"ERROR\r\n")
        datagrams.ask(b"STORED\r\n", b"ERROR\r\n")


def test_bytes_are_counted_with_their_headers(datagrams):
    with datagrams.server.client() as client:
        before = client.stats()
        datagrams.ask(b"mn\r\n", b"MN\r\n")
        after = client.stats()
    # Two requests and two replies of twelve bytes each; a line `stats`, and a reply to that.
    assert int(after["bytes_read"]) - int(before["bytes_read"]) == 2 * 12 + len(b"stats\r\n")
    assert int(after["bytes_written"]) - int(before["bytes_written"]) > 2 * 12


@pytest.mark.parametrize("args, workers", [((), 4), (("-t", "2"), 2), (("-l", "127.0.0.2"), 1)])
def test_each_workers_end_counts_as_a_connection(launch, args, workers):
    port = free_port()
    server = launch("-U", str(port), *args)
    addresses = 1 + args.count("-l")
    with server.client() as client:
        settings, stats = client.stats(b"settings"), client.stats()
        assert settings["udpport"] == str(port) and settings["num_threads_per_udp"] == str(workers)
        assert int(stats["curr_connections"]) == addresses * (1 + workers) - 1 + 1
        assert int(stats["connection_structures"]) == addresses * (1 + workers) + 1


def test_the_tcp_port_follows_the_udp_port(launch):
    port = free_port()
    server = launch("-U", str(port), *ONE, listen=("-l", "127.0.0.1"))
    assert server.port_file.read_text() == f"TCP INET: {port}\nUDP INET: {port}\n"
    with Datagrams(server, port) as datagrams:
        datagrams.ask(b"mn\r\n", b"MN\r\n")


def test_each_workers_end_is_listed_among_the_connections(launch):
    port = free_port()
    server = launch("-U", str(port), "-t", "2")
    with server.client() as client:
        shown = [line for line in client.talk(b"stats conns\r\n").splitlines() if b"UDP UDP" in line or b"udp" in line]
    ends = [line.split(b":")[0] for line in shown if b"UDP UDP" in line]
    assert shown == [line for end in ends for line in (end + b":UDP UDP", end + f":addr udp:127.0.0.1:{port}".encode())]
    assert len(ends) == 2


def test_u_0_is_off_and_so_is_the_default(launch):
    port = free_port()
    for args in ((), ("-U", "0")):
        server = launch("-p", str(port), *args, listen=("-l", "127.0.0.1"))
        assert server.port_file.read_text() == f"TCP INET: {port}\n"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", port))
        server.stop()


def test_an_ephemeral_udp_port_is_a_port_of_its_own(launch):
    server = launch("-U", "-1", *ONE)
    tcp, udp = server.port_file.read_text().splitlines()
    port = int(udp.removeprefix("UDP INET: "))
    assert tcp.startswith("TCP INET: ")
    with Datagrams(server, port) as datagrams:
        datagrams.ask(b"mn\r\n", b"MN\r\n")
    with server.client() as client:
        assert client.stats(b"settings")["udpport"] == "-1"


def test_the_port_of_l_is_that_of_udp_too(launch):
    own, common = free_port(), free_port()
    server = launch("-p", str(common), "-U", str(common), *ONE, listen=("-l", f"127.0.0.1:{own},127.0.0.2"))
    expected = [f"{transport} INET: {port}" for transport in ("TCP", "UDP") for port in (own, common)]
    assert server.port_file.read_text().splitlines() == expected
    with Datagrams(server, own) as datagrams:
        datagrams.ask(b"mn\r\n", b"MN\r\n")


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")
def test_udp_is_served_on_ipv6(launch):
    port = free_port()
    server = launch("-U", str(port), listen=("-l", "127.0.0.1,[::1]"))
    assert f"UDP INET6: {port}\n" in server.port_file.read_text()
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE)
        client.sendto(b"\0\1\0\0\0\1\0\0mn\r\n", ("::1", port))
        assert client.recv(100) == b"\0\1\0\0\0\1\0\0MN\r\n"


def test_b_says_nothing_about_udp(launch):
    port = free_port()
    server = launch("-U", str(port), "-B", "ascii", *ONE)
    with Datagrams(server, port) as datagrams:
        datagrams.ask(NOOP, b"\x81" + NOOP[1:])


def test_with_a_unix_socket_there_is_no_udp(launch, tmp_path):
    port = free_port()
    launch("-s", str(tmp_path / "socket"), "-U", str(port), listen=())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", port))


def test_an_occupied_udp_port_ends_the_start(binary):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        done = daemon.run(binary, "-u", "root", "-l", "127.0.0.1", "-p", "-1", "-U", str(port))
    assert done.returncode == OS_ERROR
    assert "failed to listen on one of interface(s) 127.0.0.1: Address already in use" in done.stderr


def test_memccp_stores_over_udp(launch, tmp_path):
    port = free_port()
    server = launch("-U", str(port), listen=("-l", "127.0.0.1"))
    (tmp_path / "name").write_text("hello")
    assert tool("cp", "--udp", f"--servers={server.address}", tmp_path / "name").returncode == 0
    with server.client() as client:
        # Nobody waits for an answer there.
        eventually("it is stored", lambda: client.talk(b"mg name s\r\n") == b"HD s5\r\n")
