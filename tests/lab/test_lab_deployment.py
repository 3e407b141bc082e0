"""The playbooks on the machines that they have deployed."""

import re

from nodes import lab, vagrant


def recap(output):
    """What Ansible counted, by host: {"node1": {"ok": 30, "changed": 0, ...}, ...}"""
    lines = re.findall(r"^\s*(\w+)\s+:\s+(ok=.*)$", re.sub(r"\x1b\[[0-9;]*m", "", output), re.MULTILINE)
    counts = {host: {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", rest)} for host, rest in lines}
    assert {"node1", "node2"} <= set(counts), output
    return counts


def test_provisioning_again_changes_nothing_on_any_machine(pair):
    counts = recap(vagrant("provision", minutes=5))
    assert sorted(counts) == ["client", "node1", "node2"]
    for host, count in counts.items():
        assert (count["changed"], count["failed"], count["unreachable"]) == (0, 0, 0), host


def test_check_mode_on_finished_hosts_finds_nothing_to_change(pair):
    for host, count in recap(lab("deploy", "--check", "--diff", minutes=5)).items():
        assert (count["changed"], count["failed"], count["unreachable"]) == (0, 0, 0), host
