"""Brings the lab up for the tests of this directory and takes it down after them.

LAB_KEEP=1 leaves it running, which makes the next run quick; `vagrant/lab down` removes it then.
"""

import os

import pytest

from nodes import TOP, Node, Pair, lab

NET = os.environ.get("LAB_NET", "192.168.56")


@pytest.fixture(scope="session")
def deployed():
    ssh_config = TOP / "target" / "lab" / "ssh-config"
    try:
        lab("up", minutes=20)
        yield Pair(Node("node1", f"{NET}.11", ssh_config), Node("node2", f"{NET}.12", ssh_config))
    finally:
        if os.environ.get("LAB_KEEP") != "1":
            lab("down", minutes=3)


@pytest.fixture
def pair(deployed):
    """Both nodes up, in sync and empty, whatever the test before did."""
    if any("not installed" in node.run("rpm -q paircached", check=False) for node in deployed.nodes):
        lab("deploy", minutes=5)
    for node in deployed.nodes:
        node.run("systemctl reset-failed; systemctl start paircached.service")
    deployed.wait_until_in_sync()
    deployed.forget_everything()
    return deployed
