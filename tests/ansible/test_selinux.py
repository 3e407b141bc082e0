"""The labels of ports in SELinux, by the real module on top of a stand-in for what keeps them."""

import json
import os
import sys

import pytest
import yaml
from conftest import HERE, Run, tool

POLICY = {"11211": "memcache_port_t", "9150": "tor_port_t", "8080": "http_cache_port_t"}


class Host:
    """One that enforces SELinux, as far as labels of ports go."""

    def __init__(self, folder):
        self.file, self.inventory = folder / "ports.json", folder / "hosts.yml"
        self.label({})
        # The role asks rpm whether paircached-selinux is there.
        self.programs = folder / "bin"
        self.programs.mkdir()
        (self.programs / "rpm").write_text("#!/bin/sh\n")
        (self.programs / "rpm").chmod(0o755)

    def label(self, local):
        self.file.write_text(json.dumps({"policy": POLICY, "local": local}))

    @property
    def labels(self):
        return json.loads(self.file.read_text())["local"]

    def run(self, **variables):
        group = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, **variables}
        self.inventory.write_text(yaml.safe_dump({"paircached": {"hosts": {"node1": {}}, "vars": group}}))
        # What comes before installs a package of EL's.
        run = Run(tool(
            "ansible-playbook", "-i", self.inventory, "--start-at-task=Look for paircached's own policy", HERE / "selinux.yml",
            PATH=f"{self.programs}:{os.environ['PATH']}", PYTHONPATH=str(HERE / "stand_ins"), SEOBJECT_FILE=str(self.file),
            ANSIBLE_STDOUT_CALLBACK="ansible.posix.json",
        ))  # fmt: skip
        assert run.succeeded, run.failures() or run.text
        return run


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


OTHERS = {
    "paircached_port": 11300,
    "paircached_replication_port": 11313,
    "paircached_monitor_listen": ["0.0.0.0:9151", "[::]:9151", "127.0.0.1:9150"],
}


def test_ports_of_one_s_own_choice_are_labelled_once_and_the_labels_go_with_the_role(host):
    host.run(**OTHERS)
    assert host.labels == {"11300": "memcache_port_t", "11313": "paircached_port_t", "9151": "paircached_port_t"}
    assert host.run(**OTHERS).changed() == 0
    host.run(**OTHERS, paircached_state="absent")
    assert host.labels == {}


def test_what_the_policy_and_the_package_say_of_the_usual_ports_needs_no_change(host):
    host.label({"11212": "paircached_port_t"})
    assert host.run(paircached_monitor_listen=["0.0.0.0:9150"]).changed() == 0
    assert host.labels == {"11212": "paircached_port_t"}


def test_a_removal_leaves_the_policy_its_own_port(host):
    host.label({"11212": "paircached_port_t"})
    host.run(paircached_state="absent")
    assert host.labels == {}
    assert host.run(paircached_state="absent").changed() == 0


def test_without_the_policy_of_the_package_the_replication_port_is_one_of_memcached_s(host):
    (host.programs / "rpm").write_text("#!/bin/sh\nexit 1\n")
    host.run(paircached_monitor_listen=["0.0.0.0:9151"])
    assert host.labels == {"11212": "memcache_port_t"}
