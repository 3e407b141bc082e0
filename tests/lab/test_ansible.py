"""What the playbook does to hosts that have nothing yet, to a pair that serves, and with a faulty configuration."""

import pytest

from nodes import lab
from test_lab_deployment import recap

SYSCONFIG = "/etc/sysconfig/memcached"
TOML = "/etc/paircached/paircached.toml"
REPOSITORY = "/etc/yum.repos.d/paircached.repo"


def deploy(*arguments):
    return lab("deploy", *arguments, minutes=5)


def changes(output):
    return [count["changed"] for count in recap(output).values()]


def processes(pair):
    return [node.unit("MainPID") for node in pair.nodes]


def files(pair, path):
    return [node.run(f"cat {path}") for node in pair.nodes]


@pytest.fixture(scope="module", autouse=True)
def as_before(deployed):
    """The tests of other files find the nodes as the lab deploys them."""
    yield
    deploy()


@pytest.fixture
def fresh_hosts(pair):
    for node in pair.nodes:
        node.run(f"yum -y remove paircached && rm -rf /etc/paircached {SYSCONFIG}* {REPOSITORY}")
    return pair.nodes


def test_check_mode_on_fresh_hosts_touches_nothing_and_the_run_makes_them_a_pair(fresh_hosts, deployed):
    told = deploy("--check", "--diff")
    assert min(changes(told)) > 0, told
    assert "+baseurl = file:" in told and '+PORT="11211"' in told, told
    for node in fresh_hosts:
        assert node.run(f"ls -d /etc/paircached {SYSCONFIG} {REPOSITORY} /usr/bin/paircached 2>/dev/null", check=False) == ""
    deploy()
    deployed.wait_until_in_sync()


def test_memory_and_log_level_change_without_a_restart(pair):
    before = processes(pair)
    deploy("-e", "paircached_log_level=debug", "-e", "paircached_memory=200")
    assert processes(pair) == before
    assert all('CACHESIZE="200"' in text for text in files(pair, SYSCONFIG))
    assert all('level = "debug"' in text for text in files(pair, TOML))
    for node in pair.nodes:
        assert node.stats()["limit_maxbytes"] == str(200 << 20)


def test_what_needs_a_restart_takes_one_node_after_the_other_and_loses_nothing(pair):
    items = {f"K-{number}": f"V-{number}" for number in range(1000)}
    assert pair.node1.write(items) == []
    pair.wait_until_both_hold(items)
    before = processes(pair)
    deploy("-e", "paircached_max_connections=512")
    assert not set(processes(pair)) & set(before)
    pair.wait_until_both_hold(items)
    assert all('MAXCONN="512"' in text for text in files(pair, SYSCONFIG))


def test_a_restart_that_would_lose_what_only_one_node_holds_is_refused_before_anything_changes(pair):
    pair.node2.run("systemctl stop paircached.service")
    assert pair.node1.write({"only": "here"}) == []
    before = pair.node1.unit("MainPID"), files(pair, SYSCONFIG)
    change = ["-e", "paircached_max_connections=600", "-e", "paircached_health_timeout=2"]
    with pytest.raises(AssertionError, match=r"pair is not\s+whole"):
        deploy(*change)
    assert (pair.node1.unit("MainPID"), files(pair, SYSCONFIG)) == before
    assert pair.node1.read(["only"]) == {"only": "here"}
    pair.node2.run("systemctl start paircached.service")
    pair.wait_until_in_sync()
    deploy(*change[:2])
    pair.wait_until_both_hold({"only": "here"})
    assert all('MAXCONN="600"' in text for text in files(pair, SYSCONFIG))


def test_another_secret_takes_no_restart_and_no_item(pair):
    """A first one does take one: the nodes cannot meet before both have it."""
    deploy("-e", "paircached_secret=first-secret-of-the-lab")
    pair.wait_until_in_sync()
    items = {f"S-{number}": f"V-{number}" for number in range(1000)}
    assert pair.node1.write(items) == []
    pair.wait_until_both_hold(items)
    before = processes(pair)
    deploy("-e", "paircached_secret=second-secret-of-the-lab")
    assert processes(pair) == before
    for node in pair.nodes:
        assert node.stats("replication")["replication_sealed"] == "1"
        loaded = "journalctl --quiet --no-pager -u paircached.service | grep -c 'event=reload setting=secret next='"
        assert node.run(loaded) != "0"
    pair.wait_until_both_hold(items)


def test_a_faulty_configuration_takes_no_file_s_place_and_no_daemon_down(pair):
    before = processes(pair), files(pair, SYSCONFIG)
    with pytest.raises(AssertionError, match="unrecognized option '--no-such-option'"):
        deploy("-e", "paircached_options=--no-such-option")
    assert (processes(pair), files(pair, SYSCONFIG)) == before
