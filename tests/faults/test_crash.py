"""Nodes that die under load."""

import time

import pytest
from conftest import caught_up, synced
from load import Load
from node import Client, eventually

MODES = ("async", "semi-sync", "strict")


@pytest.mark.parametrize("mode", MODES)
def test_a_killed_node_comes_back_and_what_is_lost_is_what_the_mode_allows(nodes, whole, mode):
    a, b = nodes(f'durability = "{mode}"\n')
    with Load((a, b), shared=False) as load:
        load.goes_on()
        killed = time.monotonic()
        a.kill()
        if mode != "strict":
            load.goes_on(b)
        a.start()
        load.goes_on()
        lost = whole(load)
    if mode == "async":
        # Only what had not been sent yet: the last moment.
        assert all(killed - 3 < when < killed for when, _ in lost)
    else:
        assert lost == []
    if mode != "strict":
        load.served_all_the_while(b, waits=mode == "semi-sync")


def test_of_a_node_killed_while_cut_off_just_that_is_lost_which_its_counter_said(nodes, hosts):
    a, b = nodes()
    with Client(a) as client:
        for number in range(100):
            assert client.say(b"set before-%d 0 0 1\r\n1\r\n" % number) == b"STORED\r\n"
        eventually("nothing is on its way", lambda: caught_up((a, b)))
        for host in hosts:
            host.deafen()
        for number in range(300):
            assert client.say(b"set after-%d 0 0 1\r\n1\r\n" % number) == b"STORED\r\n"
        assert a.replication("lag_ops") == "300"
    a.kill()
    for host in hosts:
        host.hear()
    a.start()
    synced((a, b))
    for node in (a, b):
        with Client(node) as client:
            assert len(client.items([b"before-%d" % number for number in range(100)])) == 100
            assert len(client.items([b"after-%d" % number for number in range(300)])) == 0


def test_semi_sync_loses_nothing_but_what_it_counted_as_unconfirmed(nodes, hosts):
    a, b = nodes('durability = "semi-sync"\ndurability_timeout = 0.3\n')
    with Client(a) as client:
        for number in range(100):
            assert client.say(b"set before-%d 0 0 1\r\n1\r\n" % number) == b"STORED\r\n"
        for host in hosts:
            host.deafen()
        for number in range(300):
            assert client.say(b"set after-%d 0 0 1\r\n1\r\n" % number) == b"STORED\r\n"
        assert (a.replication("fuse"), a.replication("unconfirmed_writes")) == ("open", "300")
    a.kill()
    with Client(b) as client:
        assert len(client.items([b"before-%d" % number for number in range(100)])) == 100
        assert len(client.items([b"after-%d" % number for number in range(300)])) == 0


def test_two_that_are_killed_at_once_find_each_other_again(nodes, whole):
    pair = nodes()
    with Load(pair, shared=False) as load:
        load.goes_on()
        for node in pair:
            node.kill()
        load.end()
    for node in pair:
        node.spawn()
    synced(pair)
    with Load(pair, name=b"later-") as load:
        load.goes_on()
        assert whole(load) == []


@pytest.mark.parametrize("stop", [(0, 1), (1, 0)], ids=["a-first", "b-first"])
@pytest.mark.parametrize("start", [(0, 1), (1, 0)], ids=["a-back-first", "b-back-first"])
def test_two_that_keep_their_memory_come_back_whole_in_any_order(nodes, whole, tmp_path, stop, start):
    files = [[f"--memory-file={tmp_path}/{side}.memory", "-A"] for side in "ab"]
    pair = nodes("", *files)
    with Load(pair) as load:
        load.goes_on()
        load.end()
    eventually("nothing is on its way", lambda: caught_up(pair))
    for side in stop:
        with Client(pair[side]) as client:
            client.socket.sendall(b"shutdown graceful\r\n")
        assert pair[side].process.wait(60) == 0
    for side in start:
        pair[side].start()
    synced(pair)
    assert whole(load) == []
