"""The playbooks for running pairs, on the lab's."""

import json
import re
import threading

import memcache
import pytest

from nodes import PORT, lab


def playbook(name, *arguments):
    return lab("playbook", name, *arguments, minutes=6)


def changed(output):
    return sum(int(number) for number in re.findall(r"changed=(\d+)", output))


def test_verify_finds_a_running_pair_well_and_changes_nothing(pair):
    assert changed(playbook("verify")) == 0


def test_a_killed_node_costs_the_clients_of_the_other_one_nothing(pair):
    said = playbook("failover-test")
    # Ansible folds long lines.
    said = re.sub(r"\s+", " ", said)
    reports = {kind: json.loads(found) for kind, found in re.findall(r"(killed|stayed): (\{.*?\})", said)}
    assert reports["stayed"]["errors"] == 0 and reports["stayed"]["requests"] > 100
    # The one that was killed was really killed, and was back before the watching ended.
    assert reports["killed"]["errors"] > 0
    assert reports["killed"]["longest_gap_ms"] < 9000


def test_what_was_backed_up_comes_back(pair, tmp_path):
    items = {f"backup:{number}": f"value {number}" for number in range(500)}
    assert pair.node1.write(items) == []
    pair.wait_until_both_hold(items)
    playbook("backup", "-e", f"backup_directory={tmp_path}")
    assert (tmp_path / "default.dump").stat().st_size > 500 * 20
    pair.forget_everything()
    assert pair.node2.write({"backup:7": "newer"}) == []
    pair.wait_until_both_hold({"backup:7": "newer"})
    playbook("restore", "-e", f"backup_directory={tmp_path}")
    pair.wait_until_both_hold(items | {"backup:7": "newer"})


@pytest.fixture
def clients(pair):
    """Clients that go on while a test does what it does, one for each node; in the end what they saw."""
    over = threading.Event()
    kept = {f"kept:{number}": f"value {number}" for number in range(200)}
    assert pair.node1.write(kept) == []
    pair.wait_until_both_hold(kept)
    seen = {"refused": 0, "lost": 0, "done": 0}

    def go_on():
        # Both nodes, as its users configure it: what one does not answer, the other one is asked.
        one, other = (memcache.Client([f"{node.address}:{PORT}"], socket_timeout=3, dead_retry=0) for node in pair.nodes)
        number = 0
        while not over.is_set():
            number += 1
            key = f"kept:{number % 200}"
            value = one.get(key) or other.get(key)
            seen["lost"] += value != kept[key]
            stored = one.set("counted", str(number)) or other.set("counted", str(number))
            seen["refused"] += not stored
            seen["done"] += 1

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


RELEASES = "rpm -q --queryformat '%{RELEASE}' paircached"


def test_a_newer_package_is_refused_while_the_pair_is_not_whole(pair, higher_release):
    """By site.yml too, which is not the playbook for it."""
    pair.node2.run("systemctl stop paircached.service")
    assert pair.node1.write({"only": "here"}) == []
    process = pair.node1.unit("MainPID")
    try:
        with pytest.raises(AssertionError, match=r"A newer package takes\s+a\s+restart\s+of\s+node1"):
            playbook("site", "-e", "paircached_state=latest", "-e", "paircached_health_timeout=2")
        assert not any(node.run(RELEASES).startswith(higher_release) for node in pair.nodes)
        assert pair.node1.unit("MainPID") == process
    finally:
        pair.node2.run("systemctl start paircached.service")
    pair.wait_until_in_sync()
    pair.wait_until_both_hold({"only": "here"})


def test_a_rolling_update_loses_nothing_and_refuses_nobody_who_knows_both_nodes(pair, higher_release, clients):
    try:
        playbook("rolling-update")
        assert all(node.run(RELEASES).startswith(higher_release) for node in pair.nodes)
        pair.wait_until_in_sync()
    finally:
        for node in pair.nodes:
            node.run("yum -y downgrade paircached; systemctl restart paircached.service")
            pair.wait_until_in_sync()
    assert clients["done"] > 500
    assert (clients["lost"], clients["refused"]) == (0, 0)
