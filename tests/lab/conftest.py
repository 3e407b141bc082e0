"""Brings the lab up for the tests of this directory and takes it down after them.

LAB_KEEP=1 leaves it running, which makes the next run quick; `vagrant/lab down` removes it then.
"""

import os
import pathlib
import shutil
import subprocess

import pytest

from nodes import TOP, Node, Pair, lab

BUILT = TOP / "target" / "rpm" / "repo"
HIGHER = TOP / "target" / "rpm" / "repo-2"
ON_THE_NODES = TOP / "target" / "lab" / "repo"
NET = os.environ.get("LAB_NET", "192.168.56")


SSH_CONFIG = TOP / "target" / "lab" / "ssh-config"


@pytest.fixture(scope="session")
def deployed():
    try:
        lab("up", minutes=20)
        yield Pair(Node("node1", f"{NET}.11", SSH_CONFIG), Node("node2", f"{NET}.12", SSH_CONFIG))
    finally:
        if os.environ.get("LAB_KEEP") != "1":
            lab("down", minutes=3)


@pytest.fixture(scope="session")
def client(deployed):
    """The machine that is no node."""
    return Node("client", f"{NET}.20", SSH_CONFIG)


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


def index(repository):
    subprocess.run(["createrepo_c", "--quiet", repository], check=True, timeout=60)


@pytest.fixture
def higher_release(deployed):
    """The same package as release 2, in the repository that the nodes see."""
    made, source = HIGHER / "repodata" / "repomd.xml", BUILT / "repodata" / "repomd.xml"
    if not made.exists() or made.stat().st_mtime < source.stat().st_mtime:
        subprocess.run([TOP / "rpm" / "build"], env=os.environ | {"RELEASE": "2", "CHECK": "no"}, check=True, timeout=900)
    added = [pathlib.Path(shutil.copy(rpm, ON_THE_NODES)) for rpm in HIGHER.rglob("*.rpm") if ".src." not in rpm.name]
    index(ON_THE_NODES)
    yield "2"
    for rpm in added:
        rpm.unlink()
    index(ON_THE_NODES)
