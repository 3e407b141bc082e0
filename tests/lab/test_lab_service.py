"""What systemd sees of a node: its state, its privileges, reload and restart."""

import re
import time

import pytest

from nodes import wait_until


@pytest.fixture
def no_new_errors(pair):
    """Fails a test that leaves a failed unit or an error in the journal on either node."""
    since = time.time()
    yield
    for node in pair.nodes:
        assert node.failed_units() == ""
        assert node.errors_in_journal(since) == ""


def status_of_process(node):
    """/proc/PID/status of the daemon, by field."""
    text = node.run(f"cat /proc/{node.unit('MainPID')}/status")
    return dict(re.split(r":\s*", line, maxsplit=1) for line in text.splitlines())


def test_systemctl_status_shows_the_state_of_the_pair(pair):
    for node, peer in [pair.nodes, reversed(pair.nodes)]:
        wait_until(
            f"{node} shows that it is in sync with {peer}",
            lambda: re.search(rf'Status: "in-sync with {re.escape(peer.address)}\b', node.run("systemctl status paircached")),
        )


def test_memcached_is_another_name_of_the_unit_and_of_the_program(pair):
    for node in pair.nodes:
        assert node.run("systemctl is-active memcached.service") == "active"
        assert node.run("systemctl show --value -p Id memcached.service") == "paircached.service"
        assert node.run("readlink -f /usr/bin/memcached") == "/usr/bin/paircached"


def test_the_process_runs_as_memcached_and_cannot_regain_root(pair):
    for node in pair.nodes:
        process = status_of_process(node)
        uid, gid = node.run("id -u memcached"), node.run("id -g memcached")
        assert uid != "0" and gid != "0"
        assert process["Uid"].split() == [uid] * 4
        assert process["Gid"].split() == [gid] * 4
        assert set(process["Groups"].split()) <= {gid}
        # A set-user-ID program gives nothing either.
        assert process["NoNewPrivs"] == "1"


def test_the_process_has_no_capability_left(pair):
    for node in pair.nodes:
        process = status_of_process(node)
        for kind in ["CapInh", "CapPrm", "CapEff", "CapAmb"]:
            assert int(process[kind], 16) == 0, f"{kind} of {node}: {process[kind]}"


def test_a_reload_keeps_the_process_and_the_data(pair, no_new_errors):
    items = {f"K-{i}": f"V-{i}" for i in range(1_000)}
    assert pair.node1.write(items) == []
    for node in pair.nodes:
        process = node.unit("MainPID")
        node.run("systemctl reload paircached.service")
        wait_until(f"{node} has reloaded", lambda: node.unit("ActiveState") == "active")
        assert node.unit("MainPID") == process
    pair.wait_until_both_hold(items)


def test_the_data_survives_a_restart_of_each_node_through_the_peer(pair, no_new_errors):
    items = {f"K-{i}": f"V-{i}" for i in range(10_000)}
    assert pair.node1.write(items) == []
    pair.wait_until_both_hold(items)
    for node in pair.nodes:
        process = node.unit("MainPID")
        node.run("systemctl restart paircached.service")
        assert node.unit("MainPID") != process
        pair.wait_until_in_sync()
    pair.wait_until_both_hold(items)
