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
