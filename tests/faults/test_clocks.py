"""Hosts whose clocks differ, and clocks that are set."""

from pathlib import Path

import pytest
from conftest import synced
from load import Load
from node import Client, eventually

LIBRARY = next(iter(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), None)


def clock(offset, file=None):
    """An environment in which the time of day is off by so many seconds; a file can set it anew."""
    assert LIBRARY, "the Debian package faketime is missing"
    settings = {"LD_PRELOAD": str(LIBRARY), "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    if file is None:
        return {**settings, "FAKETIME": f"{offset:+d}s"}
    file.write_text(f"{offset:+d}s\n")
    return {**settings, "FAKETIME_TIMESTAMP_FILE": str(file), "FAKETIME_NO_CACHE": "1"}


def left(node, key):
    """Seconds that an item has left, None if it is not there."""
    with Client(node) as client:
        words = client.say(b"mg %b t\r\n" % key).split()
    return int(words[1][1:]) if words[0] == b"HD" else None


@pytest.mark.parametrize("offset", [-25, 25])
def test_nodes_whose_clocks_differ_agree_and_nothing_lives_longer_on_one(nodes, whole, offset):
    a, b = nodes(environment_b=clock(offset))
    assert abs(int(a.replication("clock_offset_ms")) - offset * 1000) < 2_000
    for node, where in ((a, "ahead" if offset > 0 else "behind"), (b, "behind" if offset > 0 else "ahead")):
        eventually("the log warns", lambda node=node, where=where: f"the peer's clock is {where}" in node.log())
    with Load((a, b)) as load:
        load.goes_on()
        assert whole(load) == []
    for node, peer, key in ((a, b, b"of-a"), (b, a, b"of-b")):
        with Client(node) as client:
            assert client.say(b"set %b 0 1000 1\r\n1\r\n" % key) == b"STORED\r\n"
        eventually("it arrived", lambda peer=peer, key=key: left(peer, key))
        assert abs(left(node, key) - left(peer, key)) <= 2
    for node, peer in ((a, b), (b, a)):
        # The newer write wins, whichever clock is behind.
        with Client(node) as client, Client(peer) as other:
            value = b"by %d" % id(node)
            assert client.say(b"set k 0 0 %d\r\n%b\r\n" % (len(value), value)) == b"STORED\r\n"

            def arrived(other=other, value=value):
                return other.items([b"k"]).get(b"k", (b"",))[0] == value

            eventually("it arrived", arrived)


def test_a_peer_whose_clock_is_too_far_off_is_refused_and_both_serve_on(nodes):
    a, b = nodes(start=False, environment_b=clock(3_600))
    for node in (a, b):
        node.start()
    for node in (a, b):
        eventually("it is refused", lambda node=node: node.replication("state") == "refused")
        assert "clock" in node.replication("reason")
        with Client(node) as client:
            assert client.say(b"set k 0 0 1\r\n1\r\n") == b"STORED\r\n"


@pytest.mark.parametrize("step", [-7_200, 7_200])
def test_a_clock_that_is_set_by_hours_expires_nothing_and_parts_nobody(nodes, whole, tmp_path, step):
    file = tmp_path / "clock"
    a, b = nodes(environment_b=clock(0, file))
    with Client(b) as client:
        assert client.say(b"set k 0 1000 1\r\n1\r\n") == b"STORED\r\n"
    with Load((a, b)) as load:
        load.goes_on()
        clock(step, file)
        load.goes_on()
        assert whole(load) == []
        for node in (a, b):
            load.served_all_the_while(node)
    eventually("it arrived", lambda: left(a, b"k"))
    for node in (a, b):
        assert 800 < left(node, b"k") <= 1_000
