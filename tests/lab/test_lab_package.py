"""What yum does to a node that is part of a running pair."""

import time

import pytest

SYSCONFIG = "/etc/sysconfig/memcached"
EDIT = "MAXCONN=777"


@pytest.fixture
def edited(pair):
    """node2 with an edited sysconfig file and data from node1; afterwards both are as they were."""
    node = pair.node2
    node.run(f"cp -a {SYSCONFIG} /root/sysconfig.before; echo '{EDIT}' >>{SYSCONFIG}")
    node.run("systemctl restart paircached.service")
    pair.wait_until_in_sync()
    items = {f"K-{i}": f"V-{i}" for i in range(1_000)}
    assert pair.node1.write(items) == []
    since = time.time()
    yield node
    assert_well(pair, node, items)
    assert node.failed_units() == ""
    assert node.errors_in_journal(since) == ""
    node.run(f"mv /root/sysconfig.before {SYSCONFIG}; systemctl restart paircached.service")


def assert_well(pair, node, items):
    """The node serves with its edited configuration and has the data."""
    pair.wait_until_in_sync()
    pair.wait_until_both_hold(items)
    assert EDIT in node.run(f"cat {SYSCONFIG}").splitlines()
    assert node.stats("settings")["maxconns"] == "777"


def release(node):
    return node.run("rpm -q --queryformat '%{RELEASE}' paircached")


def test_the_package_came_from_the_built_repository(pair):
    for node in pair.nodes:
        assert node.run("dnf -q repoquery --installed --queryformat '%{from_repo}' paircached") == "paircached"
        assert node.run("rpm --verify --nomtime --noconfig paircached") == ""


def test_an_upgrade_keeps_the_edited_sysconfig_and_the_data(edited, higher_release):
    node, before = edited, release(edited)
    process = node.unit("MainPID")
    node.run("yum -y upgrade paircached")
    try:
        assert release(node).startswith(higher_release) and not before.startswith(higher_release)
        # When to restart is the administrator's choice: both nodes at once would lose the data.
        assert node.unit("MainPID") == process
        node.run("systemctl restart paircached.service")
        assert EDIT in node.run(f"cat {SYSCONFIG}").splitlines()
    finally:
        node.run("yum -y downgrade paircached; systemctl restart paircached.service")


def test_a_reinstallation_keeps_the_edited_sysconfig(edited):
    edited.run("yum -y reinstall paircached")
    edited.run("systemctl restart paircached.service")


def test_a_removal_stops_the_service_and_leaves_the_edited_sysconfig_aside(pair, edited):
    node = edited
    enabled = node.run("systemctl is-enabled paircached.service", check=False)
    node.run("yum -y remove paircached")
    assert node.run("rpm -q paircached", check=False) == "package paircached is not installed"
    assert node.run("systemctl is-active paircached.service", check=False) == "inactive"
    assert node.run("ls /usr/bin/memcached /usr/bin/paircached 2>/dev/null", check=False) == ""
    assert EDIT in node.run(f"cat {SYSCONFIG}.rpmsave").splitlines()
    assert node.failed_units() == ""

    node.run("yum -y install paircached")
    node.run(f"mv {SYSCONFIG}.rpmsave {SYSCONFIG}")
    node.run("[ ! -f /etc/paircached/paircached.toml.rpmsave ] || mv /etc/paircached/paircached.toml{.rpmsave,}")
    if enabled == "enabled":
        node.run("systemctl enable paircached.service")
    node.run("systemctl start paircached.service")
