"""What cannot work is refused before anything changes, with a message that says what to do."""

import pytest
from conftest import HERE

NODE1 = {"default_address": "192.0.2.1"}
NODE2 = {"default_address": "192.0.2.2"}
PAIR = {"node1": NODE1, "node2": NODE2}
# What looks and does not touch.
HARMLESS = {
    "assert", "set_fact", "setup", "gather_facts", "stat", "slurp", "command", "include_tasks", "validate_argument_spec",
}


def preflight(play, hosts=None, dnf="/bin/sh", **variables):
    run = play(HERE / "preflight.yml", hosts or PAIR, extra={"__paircached_dnf": dnf}, **variables)
    assert run.changed() == 0
    assert {action.removeprefix("ansible.builtin.") for action in run.actions()} <= HARMLESS
    return run


def refused(play, *words, hosts=None, **variables):
    run = preflight(play, hosts, **variables)
    assert not run.succeeded, run.failures() or run.text
    for word in words:
        assert word in run.failures(), run.failures() or run.text


def test_two_good_hosts_pass(play):
    run = preflight(play)
    assert run.succeeded, run.failures() or run.text


def test_site_yml_stops_before_it_changes_anything(play):
    run = play("site.yml", {"node1": {"paircached_address": "192.0.2.1"}})
    assert not run.succeeded
    assert run.changed() == 0
    assert "exactly the two hosts" in run.failures()
    assert {action.removeprefix("ansible.builtin.") for action in run.actions()} <= HARMLESS


def test_a_fault_of_one_host_stops_both(play):
    run = play("site.yml", {"node1": {"paircached_address": "192.0.2.1"}, "node2": {"paircached_peer": "127.0.0.1"}})
    assert not run.succeeded
    assert "Set `paircached_address`" in run.failures()
    assert run.changed() == 0
    assert {action.removeprefix("ansible.builtin.") for action in run.actions()} <= HARMLESS


def test_one_host_is_no_pair(play):
    refused(play, "exactly the two hosts", "it holds node1.", hosts={"node1": NODE1})


def test_three_hosts_are_no_pair(play):
    refused(play, "exactly the two hosts", hosts=PAIR | {"node3": {"default_address": "192.0.2.3"}})


def test_two_pairs_of_one_group_are_told_apart(play):
    hosts = {
        f"{pair}{number}": {"default_address": f"192.0.2.{number + 10 * (pair == 'pages')}", "paircached_pair": pair}
        for pair in ["pages", "sessions"] for number in [1, 2]
    }
    run = preflight(play, hosts)
    assert run.succeeded, run.failures() or run.text


def test_a_pair_of_three_beside_a_whole_one(play):
    hosts = {f"node{number}": {"default_address": f"192.0.2.{number}", "paircached_pair": "ab"[number > 2]}
             for number in range(1, 6)}
    refused(play, "the two hosts of the pair b", "it holds node3, node4, node5.", hosts=hosts)


def test_a_good_secret_passes_and_is_not_shown(play):
    secret = "Vx4 ambling ocelots/9+"
    run = preflight(play, paircached_secret=secret)
    assert run.succeeded, run.failures() or run.text
    assert secret not in run.text


@pytest.mark.parametrize("secret", ["too short", "changeme-changeme-changeme", "example secret of 30 characters"])
def test_a_secret_that_is_none(play, secret):
    refused(play, "`paircached_secret` must be at least 16 characters", paircached_secret=secret)


def test_a_secret_that_only_one_host_has(play):
    hosts = {"node1": NODE1 | {"paircached_secret": "Vx4 ambling ocelots/9+"}, "node2": NODE2}
    refused(play, "the same for both hosts", hosts=hosts)


def test_the_same_address_twice(play):
    refused(play, "Set `paircached_address`", hosts={"node1": NODE1, "node2": NODE1})


def test_the_same_address_for_both_by_variable(play):
    refused(play, "Set `paircached_address`", paircached_address="192.0.2.7")


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.9.10:11212", "::1", "[::1]:11212", "localhost", "localhost:11212"])
def test_a_loopback_peer(play, peer):
    refused(play, "Set `paircached_address`", hosts={"node1": NODE1 | {"paircached_peer": peer}, "node2": NODE2})


def test_a_host_as_its_own_peer_under_another_of_its_addresses(play):
    refused(
        play, "must be an address of the other host",
        hosts={"node1": NODE1 | {"paircached_peer": "192.0.2.1", "paircached_address": "192.0.2.9"}, "node2": NODE2},
    )


def test_a_peer_that_no_name_server_knows(play):
    refused(play, "an unknown name", hosts={"node1": NODE1 | {"paircached_peer": "peer.invalid"}, "node2": NODE2})


def test_an_ansible_host_on_the_loopback_is_not_taken_for_the_address(play):
    hosts = {name: {**node, "ansible_host": "127.0.0.1"} for name, node in PAIR.items()}
    run = preflight(play, hosts)
    assert run.succeeded, run.failures() or run.text


@pytest.mark.parametrize("peer", ["192.0.2.2:11999", "[2001:db8::2]:11999", "2001:db8::2"])
def test_a_peer_may_be_given_with_a_port_and_as_ipv6(play, peer):
    run = preflight(play, {"node1": NODE1 | {"paircached_peer": peer}, "node2": NODE2})
    assert run.succeeded, run.failures() or run.text


def test_the_same_node_name_twice(play):
    refused(play, "Both hosts would be node b", paircached_node="b")


def test_the_node_name_that_the_other_host_has_by_its_place(play):
    refused(play, "Both hosts would be node a", hosts={"node1": NODE1, "node2": NODE2 | {"paircached_node": "a"}})


def test_one_port_for_clients_and_peer(play):
    refused(play, "two different ports", paircached_port=11212)


@pytest.mark.parametrize("port", [0, 65536])
def test_a_port_out_of_range(play, port):
    refused(play, "two different ports", paircached_replication_port=port)


def test_more_memory_than_the_host_has(play):
    refused(play, "`paircached_memory` is 2049 MiB, this host has 2048 MiB", paircached_memory=2049)


def test_a_host_without_systemd(play):
    refused(play, "systemd or dnf is missing", "Made-up Linux 9", service_mgr="openrc")


def test_a_host_without_dnf(play):
    refused(play, "systemd or dnf is missing", dnf="/nonexistent/dnf")


def test_an_rpm_file_that_is_not_there(play):
    refused(play, "Not on this controller: /nonexistent/a.rpm", paircached_rpm_files=["/nonexistent/a.rpm"])


def test_rpm_files_together_with_a_repository(play):
    refused(
        play, "`paircached_rpm_files` excludes",
        paircached_rpm_files=["https://repo.example.com/a.rpm"], paircached_repository_url="file:///srv/repo",
    )


def test_options_of_two_lines(play):
    refused(play, "must be one line", paircached_options="-t 4\nPORT=1")


def test_extra_configuration_that_is_no_table(play):
    refused(play, "a dictionary of tables", paircached_config={"level": "debug"})


@pytest.mark.parametrize("variables", [
    {"paircached_memory": "much"},
    {"paircached_state": "gone"},
    {"paircached_log_level": "loud"},
    {"paircached_node": "c"},
    {"paircached_listen": {"address": "0.0.0.0"}},
], ids=lambda variables: next(iter(variables)))
def test_a_value_of_the_wrong_kind(play, variables):
    refused(play, "alidation of arguments failed", next(iter(variables)), **variables)


def test_settings_that_stay_on_the_host_are_to_be_known_to_the_inventory(play, tmp_path):
    kept = tmp_path / "memcached"
    kept.write_text('PORT="11300"\nOPTIONS="-l 192.0.2.1,127.0.0.1 -I 2m >> /var/log/memcached.log 2>&1"\n')
    run = play(HERE / "preflight.yml", PAIR, paircached_manage_sysconfig=False, extra={
        "__paircached_dnf": "/bin/sh", "__paircached_sysconfig": str(kept),
    })
    assert not run.succeeded
    assert "`paircached_port: 11300`" in run.failures()
    assert '192.0.2.1' in run.failures() and "`paircached_listen: [" in run.failures()
    run = play(HERE / "preflight.yml", PAIR, paircached_manage_sysconfig=False, extra={
        "__paircached_dnf": "/bin/sh", "__paircached_sysconfig": str(kept),
        "paircached_port": 11300, "paircached_listen": ["127.0.0.1", "192.0.2.1"],
    })
    assert run.succeeded, run.failures() or run.text
