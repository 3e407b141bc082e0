"""Roads between the nodes that lose, stall and delay."""

import pytest
from conftest import synced
from load import Load
from network import LongRoad
from node import LINK, eventually


def disconnected(node):
    return node.replication("state") == "connecting"


@pytest.mark.parametrize("deaf", [(0, 1), (0,), (1,)], ids=["both", "only-a", "only-b"])
def test_a_road_that_loses_everything_makes_nobody_wait_and_nothing_is_lost(nodes, hosts, whole, deaf):
    a, b = nodes()
    with Load((a, b)) as load:
        load.goes_on()
        for side in deaf:
            hosts[side].deafen()
        # Silence is noticed on both sides, in whichever direction it is.
        for node in (a, b):
            eventually("the link is given up", lambda node=node: disconnected(node))
        load.goes_on()
        for side in deaf:
            hosts[side].hear()
        assert whole(load) == []
        for node in (a, b):
            load.served_all_the_while(node)
            assert int(node.replication("resyncs_delta")) >= 1, "what travelled was what changed"


def test_a_cut_too_short_to_be_noticed_loses_nothing_either(nodes, hosts, whole):
    a, b = nodes()
    with Load((a, b)) as load:
        for side in (0, 1, 0, 1):
            hosts[side].deafen()
            load.goes_on(writes=100)
            hosts[side].hear()
            load.goes_on(writes=20)
        assert whole(load) == []
        for node in (a, b):
            load.served_all_the_while(node)


def test_a_link_that_flaps_settles(nodes, hosts, whole):
    a, b = nodes()
    reset = ("-p", "tcp", "-j", "REJECT", "--reject-with", "tcp-reset")
    with Load((a, b)) as load:
        for _ in range(5):
            hosts[0].run("iptables", "-w", "-I", "INPUT", "-i", "cable", *reset)
            eventually("the link is gone", lambda: disconnected(b))
            load.goes_on(writes=50)
            hosts[0].hear()
            synced((a, b))
        assert whole(load) == []
        for node in (a, b):
            load.served_all_the_while(node)


def test_over_a_long_road_everything_arrives(nodes, hosts, whole):
    a, b = nodes(start=False)
    road = LongRoad(hosts[0], (hosts[1].address, LINK), 0.2)
    a.command += ["-x", "127.0.0.1", "-X", f"{LINK}:{road.port}"]
    b.command += ["-X", f"{LINK}:{LINK + 1}"]  # b's own way to a ends nowhere
    for node in (a, b):
        node.spawn()
    synced((a, b))
    with Load((a, b)) as load:
        load.goes_on(writes=500)
        assert whole(load) == []
        for node in (a, b):
            load.served_all_the_while(node)
    road.close()


@pytest.mark.parametrize("mode", ["semi-sync", "strict"])
def test_what_was_confirmed_before_and_in_a_cut_is_on_both_nodes_after_it(nodes, hosts, whole, mode):
    a, b = nodes(f'durability = "{mode}"\n')
    with Load((a, b)) as load:
        load.goes_on()
        for host in hosts:
            host.deafen()
        eventually("the fuse is open", lambda: a.replication("fuse") == b.replication("fuse") == "open")
        if mode == "semi-sync":
            load.goes_on()
        for host in hosts:
            host.hear()
        load.goes_on()
        assert whole(load) == []
        for node in (a, b):
            if mode == "semi-sync":
                load.served_all_the_while(node, waits=True)
                assert int(node.replication("unconfirmed_writes")) >= 200
            else:
                errors = sum(count for writer in load.of(node) for count in writer.errors().values())
                assert int(node.replication("refused_writes")) == errors
