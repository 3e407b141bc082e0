"""What is left of the data when a node dies or the link between the nodes is cut."""

import itertools
import time

from nodes import wait_until


def test_a_killed_node_comes_back_by_itself_with_everything_and_nothing_deleted(pair):
    before = {f"K-{i}": f"V-{i}" for i in range(10_000)}
    assert pair.node1.write(before) == []
    pair.wait_until_both_hold(before)
    killed = pair.node2.unit("MainPID")

    pair.node2.run("systemctl kill -s KILL paircached.service")
    during = {f"L-{i}": f"W-{i}" for i in range(10_000)}
    deleted = [f"K-{i}" for i in range(1_000)]
    assert pair.node1.write(during) == []
    assert pair.node1.delete(deleted) == []

    pair.wait_until_in_sync()
    assert pair.node2.unit("MainPID") != killed
    pair.wait_until_both_hold(before | during | dict.fromkeys(deleted))


def test_a_node_that_was_stopped_for_the_changes_has_them_when_it_is_back(pair):
    before = {f"K-{i}": f"V-{i}" for i in range(2_000)}
    assert pair.node1.write(before) == []
    pair.wait_until_both_hold(before)

    pair.node2.run("systemctl stop paircached.service")
    during = {f"L-{i}": f"W-{i}" for i in range(2_000)}
    deleted = [f"K-{i}" for i in range(1_000)]
    assert pair.node1.write(during) == []
    assert pair.node1.delete(deleted) == []
    pair.node2.run("systemctl start paircached.service")

    pair.wait_until_in_sync()
    pair.wait_until_both_hold(before | during | dict.fromkeys(deleted))


def test_after_a_cut_of_twenty_seconds_both_nodes_hold_the_newest_values(pair):
    doomed = [f"doomed-{i}" for i in range(1_000)]
    assert pair.node1.write(dict.fromkeys(doomed, "alive")) == []
    pair.wait_until_both_hold(dict.fromkeys(doomed, "alive"))
    expected = dict.fromkeys(doomed, "alive")

    with pair.cut():
        heal_at = time.monotonic() + 20
        for turn in itertools.count():
            if time.monotonic() > heal_at:
                break
            # The two take turns in being the later one.
            earlier, later = pair.nodes if turn % 2 else reversed(pair.nodes)
            own = {node: {f"{node}-{i}": f"{turn}" for i in range(200)} for node in pair.nodes}
            shared = [f"shared-{i}" for i in range(200)]
            victims = doomed[turn * 10:turn * 10 + 10]
            # Between two writes of one key lie the 200 sets of the later node's own keys: many times what the two
            # clocks, being one machine's, may differ.
            assert earlier.write(dict.fromkeys(shared, f"{turn} earlier")) == []
            assert earlier.write(dict.fromkeys(victims, "changed")) == []
            assert earlier.write(own[earlier]) == []
            assert later.write(own[later]) == []
            assert later.write(dict.fromkeys(shared, f"{turn} later")) == []
            assert later.delete(victims) == []
            expected |= own[earlier] | own[later] | dict.fromkeys(shared, f"{turn} later") | dict.fromkeys(victims)
        assert turn >= 10, "too few turns to prove anything"
        assert pair.node1.read(own[pair.node2]) == {}, "the cut lets data through"
        assert pair.node2.read(own[pair.node1]) == {}, "the cut lets data through"

    pair.wait_until_in_sync()
    pair.wait_until_both_hold(expected)


def test_a_stopped_process_on_one_node_never_blocks_the_other(pair):
    pair.node2.run("systemctl kill -s STOP --kill-whom=main paircached.service")
    try:
        started = time.monotonic()
        items = {f"K-{i}": "v" * 10_000 for i in range(2_000)}
        assert pair.node1.write(items) == []
        assert time.monotonic() - started < 10
    finally:
        pair.node2.run("systemctl kill -s CONT --kill-whom=main paircached.service", check=False)
    wait_until("node2 answers", lambda: pair.node2.stats(), 60)
    pair.wait_until_in_sync()
    pair.wait_until_both_hold(items)
