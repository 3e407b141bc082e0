"""The playbook on the nodes that it has deployed."""

import re

from nodes import lab


def recap(output):
    """What Ansible counted, by host: {"node1": {"ok": 30, "changed": 0, ...}, ...}"""
    lines = re.findall(r"^\s*(node\d)\s+:\s+(ok=.*)$", re.sub(r"\x1b\[[0-9;]*m", "", output), re.MULTILINE)
    counts = {host: {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", rest)} for host, rest in lines}
    assert sorted(counts) == ["node1", "node2"], output
    return counts


def test_a_second_run_of_the_playbook_changes_nothing(pair):
    for host, count in recap(lab("deploy", minutes=5)).items():
        assert (count["changed"], count["failed"], count["unreachable"]) == (0, 0, 0), host


def test_check_mode_on_finished_hosts_finds_nothing_to_change(pair):
    for host, count in recap(lab("deploy", "--check", "--diff", minutes=5)).items():
        assert (count["changed"], count["failed"], count["unreachable"]) == (0, 0, 0), host


def test_on_bare_hosts_check_mode_changes_nothing_and_a_run_makes_a_pair(pair):
    for node in pair.nodes:
        node.run("yum -y remove paircached")
        node.run("rm -rf /etc/sysconfig/memcached* /etc/paircached /etc/yum.repos.d/paircached.repo")

    for host, count in recap(lab("deploy", "--check", "--diff", minutes=5)).items():
        assert count["changed"] > 0 and (count["failed"], count["unreachable"]) == (0, 0), host
    written = "/usr/bin/paircached /etc/sysconfig/memcached /etc/paircached /etc/yum.repos.d/paircached.repo"
    for node in pair.nodes:
        assert node.run(f"ls -d {written} 2>/dev/null", check=False) == ""

    for host, count in recap(lab("deploy", minutes=5)).items():
        assert count["changed"] > 0 and (count["failed"], count["unreachable"]) == (0, 0), host
    pair.wait_until_in_sync()
