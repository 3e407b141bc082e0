"""A peer that stands still."""

import signal

from conftest import caught_up, synced
from load import Load
from node import Client, eventually

MB = 1 << 20


def test_a_peer_that_stops_and_goes_on_stops_nobody_else(nodes, whole):
    a, b = nodes()
    with Load((a, b)) as load:
        load.goes_on()
        b.send(signal.SIGSTOP)
        load.goes_on(a, writes=500)
        eventually("the link is given up", lambda: a.replication("state") == "connecting")
        load.goes_on(a)
        b.send(signal.SIGCONT)
        load.goes_on()
        assert whole(load) == []
        load.served_all_the_while(a)


def test_a_peer_that_stops_for_less_than_the_silence_allowed_costs_no_link(nodes, whole):
    a, b = nodes()
    with Load((a, b)) as load:
        for _ in range(5):
            b.send(signal.SIGSTOP)
            load.goes_on(a, writes=50)
            b.send(signal.SIGCONT)
            load.goes_on(writes=20)
        assert whole(load) == []
        load.served_all_the_while(a)


def test_what_a_stopped_peer_misses_takes_no_memory(nodes, whole):
    a, b = nodes('window = "1m"\n', ["-m", "32"], ["-m", "32"])
    value = b"x" * 100_000

    def write(rounds):
        with Client(a, timeout=60) as client:
            for number in range(rounds * 500):
                assert client.say(b"set big-%d 0 0 %d\r\n%b\r\n" % (number % 500, len(value), value)) == b"STORED\r\n"

    write(2)  # 100 MB: a has all the memory that its items may have
    synced((a, b))
    before = a.memory()
    b.send(signal.SIGSTOP)
    write(5)
    assert a.memory() - before < 12 * MB, "250 MB that the peer has not taken"
    assert int(a.replication("lag_bytes")) < 3 * MB
    b.send(signal.SIGCONT)
    with Load((a, b)) as load:
        load.goes_on()
    eventually("nothing is on its way", lambda: caught_up((a, b)))
    # Both evict, each for itself: what both still hold is the same.
    keys = [b"big-%d" % number for number in range(500)]
    with Client(a) as one, Client(b) as other:
        held = one.items(keys), other.items(keys)
    for key in held[0].keys() & held[1].keys():
        assert held[0][key] == held[1][key]


def test_deletes_that_nobody_can_remember_any_more_bring_nothing_back(nodes, hosts):
    a, b = nodes('tombstone_memory = "1m"\n')
    count = 60_000
    keys = [b"key-%d" % number for number in range(count)]

    def all_at_once(requests):
        with Client(a, timeout=60) as client:
            client.socket.sendall(b"".join(requests))
            assert client.say(b"mn\r\n") == b"MN\r\n"

    all_at_once(b"set %b 0 0 1 noreply\r\n1\r\n" % key for key in keys)
    eventually("b has them all", lambda: b.stats()["curr_items"] == str(count))
    for host in hosts:
        host.deafen()
    all_at_once(b"delete %b noreply\r\n" % key for key in keys[1:])
    assert int(a.replication("tombstone_floor")) > 0
    for host in hosts:
        host.hear()
    # A cut that nobody noticed would have the whole stream repeated; this one has to be.
    eventually("b has heard of it", lambda: int(b.stats()["curr_items"]) <= 1)
    # In sync is who has sent everything; what is walked again while deletes go on must arrive, too.
    eventually("nothing is on its way", lambda: caught_up((a, b)))
    for node in (a, b):
        with Client(node) as client:
            assert client.items(keys[1:]) == {}
