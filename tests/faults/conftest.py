"""Pairs of real daemons on hosts that can be cut off from each other."""

import os
import subprocess

import pytest
from load import Load
from network import cable
from node import PORT, PROGRAM, Node, eventually

if os.geteuid() != 0:
    pytest.exit("tests/faults makes networks, and needs root for that", returncode=1)


@pytest.fixture
def hosts():
    made = cable()
    yield made
    for host in made:
        host.close()


@pytest.fixture
def nodes(hosts, tmp_path):
    """Makes two nodes, with options for each and settings of [replication] for both."""
    made, alone = [], []

    def make(settings="", options_a=(), options_b=(), start=True, environment_b=None):
        file = tmp_path / "pair.toml"
        secret = tmp_path / "secret"
        secret.write_text("a secret of these tests " * 2)
        secret.chmod(0o600)
        file.write_text(f'[replication]\nsecret_file = "{secret}"\n{settings}')
        for index, (options, environment) in enumerate(((options_a, None), (options_b, environment_b))):
            options = [f"--config={file}", *options]
            made.append(Node(hosts[index], hosts[1 - index], tmp_path / "ab"[index], options, environment))
        alone.append(Node(hosts[0], None, tmp_path / "alone", port=PORT + 10))
        alone[0].start()
        for node in made:
            node.alone = alone[0]
        if start:
            for node in made:
                node.spawn()
            synced(made)
        return tuple(made)

    yield make
    for node in made + alone:
        node.stop()


def synced(nodes):
    for node in nodes:
        eventually("the node serves", node.serves)
    for node in nodes:
        eventually("they are in sync", node.in_sync)


def caught_up(nodes):
    """Whether nothing is on its way any more."""
    return all(node.in_sync() and node.replication("lag_ops") == "0" for node in nodes)


@pytest.fixture
def whole(nodes):
    """Ends a load and has everything compared: nothing but `lost` may be gone."""

    def check(load: Load):
        load.end()
        eventually("the two are in sync again by themselves", lambda: caught_up(load.nodes))
        servers = [word for node in load.nodes for word in ("-s", node.host.address)]
        with load.nodes[0].host.inside():
            verify = subprocess.run(
                [str(PROGRAM.with_name("pairctl")), *servers, "verify"], capture_output=True, text=True, timeout=60
            )
        assert verify.returncode == 0, verify.stdout + verify.stderr
        return load.accounted()

    return check
