"""Clients that take more than their share: what they cost is theirs alone to pay."""

import re
import select
import threading
from pathlib import Path

import pytest

from .wire import A_MOMENT, RULES_OF_1_6_45, eventually, stored

MEGABYTE = 1 << 20
MOST_SENT = 64 * MEGABYTE


def memory(server):
    """Bytes that the daemon really holds."""
    status = Path(f"/proc/{server.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024


def stuff(client, request):
    """Sends requests until the server takes no more, and returns how many bytes that were."""
    client.socket.setblocking(False)
    many, sent = request * 1000, 0

    def refuses():
        nonlocal sent
        try:
            while True:
                sent += client.socket.send(many)
                assert sent < MOST_SENT, "the server goes on reading"
        except BlockingIOError:
            # Perhaps it is only slow: then there is room again after a while.
            return not select.select([], [client.socket], [], A_MOMENT)[1]

    eventually("the server stops to read", refuses)
    return sent


@pytest.mark.parametrize("size", [100, 15_000, 20_000, MEGABYTE - 100])
def test_a_client_that_never_reads_costs_bounded_memory(launch, size):
    server = launch("-t", "1", "-m", "64")
    with server.client() as honest:
        honest.ask(stored("k", "v" * size), b"STORED\r\n")
        before = memory(server)
        silent = [server.client() for _ in range(8)]
        for client in silent:
            stuff(client, b"get k\r\n")
            honest.ask(b"mg k s\r\n", f"HD s{size}\r\n".encode())
        # Not more than a few replies each, however many were asked for.
        assert memory(server) - before < 8 * 2 * MEGABYTE
        for client in silent:
            client.close()
        eventually("they are gone", lambda: honest.stats()["curr_connections"] == "1")
        honest.ask(b"mg k s\r\n", f"HD s{size}\r\n".encode())


def test_a_client_that_sends_half_a_value_costs_what_it_sent(launch):
    server = launch("-t", "1", "-m", "1024", "-I", "512m")
    with server.client() as honest:
        honest.ask(b"mn\r\n", b"MN\r\n")
        before = memory(server)
        many = [server.client() for _ in range(20)]
        for number, client in enumerate(many):
            client.send(f"set k{number} 0 0 {256 * MEGABYTE}\r\n".encode() + b"v" * 1000)
        for client in many:
            eventually("it is read", client.digested)
        honest.ask(b"mn\r\n", b"MN\r\n")
        assert memory(server) - before < 20 * MEGABYTE
        for client in many:
            client.close()


def test_clients_that_send_half_a_large_value_displace_little_and_give_it_back(launch):
    """As many as would fill the memory: what they take of it they take together, and the rest is theirs."""
    server = launch("-t", "1", "-m", "64")
    with server.client() as honest:
        for number in range(550):
            honest.ask(stored(f"k{number}", "v" * 100_000), b"STORED\r\n")
        if server.version < RULES_OF_1_6_45:
            pytest.skip("memcached takes the memory that was announced")
        many = [server.client() for _ in range(200)]
        for number, client in enumerate(many):
            client.send(f"set half{number} 0 0 400000\r\n".encode() + b"v" * 70_000)
        for client in many:
            eventually("it is read", client.digested)
        assert sum(honest.talk(b"mg k%d\r\n" % number).startswith(b"HD") for number in range(550)) > 500
        finished = [0, 1, 198, 199]
        for client in (many[number] for number in finished):
            client.send(b"v" * 330_000 + b"\r\n")
            assert client.line() == b"STORED\r\n"
        for client in many:
            client.close()
        eventually("they are gone", lambda: honest.stats()["curr_connections"] == "1")
        for number in finished:
            honest.ask(b"mg half%d s\r\n" % number, b"HD s400000\r\n")
        # As much as ever fits beside them.
        for number in range(550):
            honest.ask(stored(f"k{number}", "v" * 100_000), b"STORED\r\n")
        assert sum(honest.talk(b"mg k%d\r\n" % number).startswith(b"HD") for number in range(550)) > 500


def test_half_a_value_takes_no_room_from_others_when_the_memory_is_made_smaller(launch):
    server = launch("-t", "1", "-m", "1024")
    if server.version < RULES_OF_1_6_45:
        pytest.skip("memcached takes the memory that was announced")
    with server.client() as honest:
        many = [server.client() for _ in range(40)]
        for client in many:
            client.send(b"set half 0 0 1000000\r\n" + b"v" * 70_000)
        for client in many:
            eventually("it is read", client.digested)
        honest.ask(b"cache_memlimit 16\r\n", b"OK\r\n")
        for number in range(200):
            honest.ask(stored(f"k{number}", "v" * 1000), b"STORED\r\n")
        assert sum(honest.talk(b"mg k%d\r\n" % number).startswith(b"HD") for number in range(200)) == 200
        for client in many:
            client.close()


def test_a_client_that_never_pauses_leaves_others_their_turn(launch):
    server = launch("-t", "1")
    stop = threading.Event()

    def greedy():
        with server.client() as client:
            while not stop.is_set():
                client.send(b"get k\r\n" * 1000)
                client.read(len(b"END\r\n") * 1000)

    threads = [threading.Thread(target=greedy) for _ in range(2)]
    with server.client() as honest:
        for thread in threads:
            thread.start()
        try:
            eventually("they are greedy", lambda: int(honest.stats()["conn_yields"]) > 100)
            for _ in range(100):
                honest.ask(b"mn\r\n", b"MN\r\n")
        finally:
            stop.set()
            for thread in threads:
                thread.join()


def test_a_larger_r_makes_a_client_yield_less(launch):
    def yields(*options):
        server = launch("-t", "1", *options)
        with server.client() as client:
            client.send(b"mn\r\n" * 1000)
            assert client.read(4000) == b"MN\r\n" * 1000
            return int(client.stats()["conn_yields"])

    # The bytes may arrive in several pieces, each a turn of its own.
    assert 0 < yields() <= 1000 // 20
    assert yields("-R", "2000") == 0


def test_an_idle_client_costs_little_memory(launch):
    server = launch("-t", "1", "-c", "2000")
    idle = []

    def connect(count):
        for _ in range(count):
            client = server.client()
            client.ask(b"mn\r\n", b"MN\r\n")
            idle.append(client)

    # What the first ones take is kept for those behind them.
    connect(100)
    before = memory(server)
    connect(600)
    each = (memory(server) - before) / 600
    for client in idle:
        client.close()
    assert each <= 1536
