"""What cannot work is refused before anything changes, with a message that says what to do."""

import os
import re
import shutil
import subprocess

import pytest
from conftest import ANSIBLE, HERE

TOP = ANSIBLE.parent

NODE1 = {"default_address": "192.0.2.1"}
NODE2 = {"default_address": "192.0.2.2"}
PAIR = {"node1": NODE1, "node2": NODE2}
# What looks and does not touch.
HARMLESS = {
    "assert", "set_fact", "setup", "gather_facts", "stat", "slurp", "command", "include_tasks", "validate_argument_spec",
    "debug",
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


# What programs of the host say, played by scripts.


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """programs(name=script): programs of that name, found before the machine's own."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def make(**scripts):
        for name, script in scripts.items():
            (folder / name).write_text(f"#!/bin/sh\n{script}\n")
            (folder / name).chmod(0o755)

    return make


DAEMON = TOP / "target" / "debug" / "paircached"
# Wherever an earlier test run may have left a package.
NO_DAEMON = {"paircached": "exit 127"}


def advised(options):
    """What the daemon itself advises, in MiB."""
    told = subprocess.run([DAEMON, "--check-config", "--sysconfig=-/nonexistent", "--config=-/nonexistent", *options],
                          capture_output=True, text=True, check=True, timeout=30)  # fmt: skip
    return int(re.search(r"MemoryMax=(\d+)M", told.stdout)[1])


def pairs(*variables):
    """A pair of hosts for each of these variables: one run for many cases, where all pass, or one task refuses all."""
    return {
        f"{name}{number}": {"default_address": f"198.51.100.{2 * at + number}", "paircached_pair": name, **own}
        for at, own in enumerate(variables) for name in [f"pair{at}-"] for number in (1, 2)
    }  # fmt: skip


def test_without_a_daemon_the_limit_of_memory_is_computed_as_the_daemon_does(play, programs):
    programs(**NO_DAEMON)
    cases = [(64, 1024), (16, 100), (2048, 65535)]
    least = [advised(["-m", str(memory), "-c", str(most), "-x", "192.0.2.2", "-u", "root"]) for memory, most in cases]
    settings = [{"paircached_memory": memory, "paircached_max_connections": most} for memory, most in cases]
    too_little = pairs(*(own | {"paircached_memory_max": f"{mib - 1}M"} for own, mib in zip(settings, least)))
    refused(play, *(f"may come to need {mib}M" for mib in least), hosts=too_little)
    run = preflight(play, pairs(*(own | {"paircached_memory_max": f"{mib}M"} for own, mib in zip(settings, least))))
    assert run.succeeded, run.failures() or run.text


def test_the_daemon_that_is_there_says_what_the_new_settings_need(play, programs):
    programs(paircached=f'exec {DAEMON} "$@"')
    options = {"paircached_options": "-t 64 -I 16m", "paircached_user": "root", "paircached_memory": 100}
    least = advised(["-m", "100", "-t", "64", "-I", "16m", "-x", "192.0.2.2", "-u", "root"])
    refused(play, f"may come to need {least}M", paircached_memory_max=f"{least - 1}M", **options)
    run = preflight(play, paircached_memory_max=f"{least}M", **options)
    assert run.succeeded, run.failures() or run.text


def test_a_limit_of_memory_may_be_written_as_systemd_takes_it(play, programs):
    programs(**NO_DAEMON)
    enough = ["infinity", "1G", "1.5G", "50%", "1073741824"]
    run = preflight(play, pairs(*({"paircached_memory_max": text} for text in enough)))
    assert run.succeeded, run.failures() or run.text


def test_a_limit_of_memory_that_is_none_or_too_small(play, programs):
    programs(**NO_DAEMON)
    wrong = ["much", "64M", "3%", "1G; rm", "1000000"]
    hosts = pairs(*({"paircached_memory_max": text} for text in wrong))
    refused(play, *(f"`paircached_memory_max` is {text}" for text in wrong), hosts=hosts)


# A dnf that offers what the repository is called, and sources beside it.
DNF = 'case "$*" in *repo-two*) v=0.2.0-1.el9 ;; *repo-none*) exit 0 ;; *) v=0.1.0-1.el9 ;; esac\necho; echo "src $v"; echo "x86_64 $v"'
# An rpm that knows one package alone.
RPM = 'for name; do :; done; echo "package memcached is not installed"; case $name in *old) echo "$name 0.1.0-1.el9" ;; *new) echo "$name 0.2.0-1.el9" ;; *) echo "package $name is not installed" ;; esac'


def offered(play, programs, one, other, **variables):
    """The preflight of two hosts whose variables differ; dnf and rpm answer by them."""
    programs(dnf=DNF, rpm=RPM)
    return {"hosts": {"node1": NODE1 | one, "node2": NODE2 | other}, "dnf": shutil.which("dnf"), **variables}


def repository(name):
    return {"paircached_repository_url": f"file:///srv/repo-{name}"}


def test_two_versions_that_the_two_hosts_are_offered(play, programs):
    refused(play, "would get 0.1.0-1.el9 and node2 0.2.0-1.el9", **offered(play, programs, repository("one"), repository("two")))


def test_a_package_that_one_host_is_not_offered_at_all(play, programs):
    refused(play, "dnf finds no package paircached for this host in file:///srv/repo-none",
            **offered(play, programs, repository("one"), repository("none")))  # fmt: skip


def test_the_same_version_for_hosts_of_two_distributions(play, programs):
    case = offered(play, programs, repository("one"), repository("one"))
    programs(dnf=DNF.replace("0.1.0-1.el9", "0.1.0-1.el$(cat /proc/sys/kernel/random/uuid | tr -dc 0-9 | head -c 2)9"))
    run = preflight(play, **case)
    assert run.succeeded, run.failures() or run.text


def test_other_files_for_one_host_than_for_the_other(play, programs, tmp_path):
    files = [tmp_path / f"paircached-0.{number}.0-1.x86_64.rpm" for number in (1, 2)]
    for file in files:
        file.touch()
    one, other = ({"paircached_rpm_files": [str(file)]} for file in files)
    refused(play, "would get paircached-0.1.0-1 and node2 paircached-0.2.0-1", **offered(play, programs, one, other))


def told_of_two_versions(run):
    told = [host.get("msg", "") for task in run.tasks for host in task["hosts"].values() if "failed" not in host]
    return any("a state for the time of an update" in str(words) for words in told)


def test_two_versions_that_are_installed_are_told_and_not_refused(play, programs):
    run = preflight(play, **offered(play, programs, {"paircached_package": "old"}, {"paircached_package": "new"}))
    assert run.succeeded, run.failures() or run.text
    assert told_of_two_versions(run)


def test_the_newest_for_both_is_an_update_whatever_is_installed(play, programs):
    one, other = ({"paircached_package": package, **repository("two")} for package in ("old", "new"))
    run = preflight(play, **offered(play, programs, one, other, paircached_state="latest"))
    assert run.succeeded, run.failures() or run.text
    assert not told_of_two_versions(run)


def test_an_installed_package_that_stays_is_no_question_to_dnf(play, programs):
    case = offered(play, programs, {"paircached_package": "old"}, {"paircached_package": "old"})
    programs(dnf="exit 0")  # it has nothing, which would be refused
    run = preflight(play, **case)
    assert run.succeeded, run.failures() or run.text
    assert not told_of_two_versions(run)


def test_a_daemon_that_the_role_could_not_ask(play):
    told = {
        "`paircached_check_ca`": [
            {"paircached_options": "-Z -o ssl_chain_cert=/c,ssl_key=/k"}, {"paircached_options": "-vZ"},
            {"paircached_config": {"tls": {"enabled": True}}},
        ],
        "`paircached_check_auth_file`": [
            {"paircached_options": "-Y /etc/paircached/passwords"},
            {"paircached_config": {"auth": {"ascii_file": "/etc/paircached/passwords"}}},
        ],
        "the binary protocol alone": [{"paircached_options": "-S"}],
        "belong together": [{"paircached_check_ca": "/dev/null", "paircached_check_cert": "/dev/null"}],
        "without spaces": [{"paircached_check_ca": "/a file"}],
    }  # fmt: skip
    hosts = pairs(*(settings for cases in told.values() for settings in cases))
    run = preflight(play, hosts)
    assert not run.succeeded
    for words, cases in told.items():
        assert run.failures().count(words) == 2 * len(cases), run.failures() or run.text


def test_a_file_for_asking_that_is_not_there(play):
    missing = {"paircached_options": "-Z", "paircached_check_ca": "/nonexistent/ca.pem"}
    refused(play, "Not on this host, where the role is to ask the daemon with them: /nonexistent/ca.pem", **missing)


def test_a_daemon_that_the_role_can_ask(play):
    run = preflight(play, pairs(
        {"paircached_options": "-Z", "paircached_check_ca": "/dev/null"},
        {"paircached_options": "-Z", "paircached_listen": ["notls:127.0.0.1", "192.0.2.1"]},
        {"paircached_options": "-Y /dev/null", "paircached_check_auth_file": "/dev/null"},
        {"paircached_options": "-S", "paircached_check_address": "127.0.0.1:11299"},
        {"paircached_options": "-o ssl_chain_cert=/Z -v"},
    ))  # fmt: skip
    assert run.succeeded, run.failures() or run.text
