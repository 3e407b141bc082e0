"""A node that kept its items over a restart (-e), and its peer: together they hold the newest."""

import os
import signal

import pytest

from conftest import Node, eventually, free_port
from test_pair import all_there, client

MANY = 5_000


@pytest.fixture
def pair(tmp_path):
    """Two nodes in sync, each with a file of its own to keep its items in."""
    links = free_port(), free_port()
    kept = tmp_path / "kept"
    kept.mkdir()
    nodes = [
        Node(tmp_path / name, *ports, "-e", str(kept / name))
        for name, ports in (("a", links), ("b", links[::-1]))
    ]
    for node in nodes:
        node.start()
    try:
        for node in nodes:
            eventually("both are in sync", node.in_sync)
        yield nodes
    finally:
        for node in nodes:
            node.stop()


def reload(node):
    assert node.kill(signal.SIGUSR1) == 0, node.log()
    node.start()


def merged(pair, expected, gone=()):
    for node in pair:
        eventually("it is in sync", node.in_sync)
        eventually("it holds the newest", lambda node=node: all_there(node, expected))
        assert client(node).get_multi(list(gone)) == {}


def test_what_happened_meanwhile_wins_over_what_was_kept(pair):
    a, b = pair
    values = {f"K-{number}": f"V-{number}" for number in range(MANY)}
    client(a).set_multi(values)
    eventually("all arrived", lambda: all_there(b, values))
    assert a.kill(signal.SIGUSR1) == 0
    gone = [f"K-{number}" for number in range(100)]
    changed = {f"K-{number}": "new" for number in range(100, 200)}
    assert client(b).delete_multi(gone) and client(b).set_multi(changed) == []
    a.start()
    expected = {key: value for key, value in {**values, **changed}.items() if key not in gone}
    merged(pair, expected, gone)


def test_what_the_peer_never_heard_of_is_kept_for_it(pair):
    a, b = pair
    client(a).set_multi({"gone": "old", "changed": "old", "kept": "old"})
    eventually("all arrived", lambda: b.get(b"kept"))
    b.kill(signal.SIGUSR1)
    a.set(b"changed", b"new")
    client(a).delete("gone")
    reload(a)
    assert a.get(b"changed") == b"new" and a.get(b"gone") is None
    b.start()
    merged(pair, {"changed": b"new", "kept": "old"}, ["gone"])


def test_a_flush_while_it_was_down_holds_for_what_it_kept(pair):
    a, b = pair
    a.set(b"k", b"v")
    eventually("it arrived", lambda: b.get(b"k"))
    a.kill(signal.SIGUSR1)
    client(b).flush_all()
    b.set(b"later", b"v")
    a.start()
    merged(pair, {"later": b"v"}, ["k"])


def test_both_down_at_once_lose_nothing(pair):
    values = {f"K-{number}": f"V-{number}" for number in range(MANY)}
    client(pair[0]).set_multi(values)
    eventually("all arrived", lambda: all_there(pair[1], values))
    for node in pair:
        assert node.kill(signal.SIGUSR1) == 0
    for node in pair:
        node.start()
    merged(pair, values)


def test_a_node_keeps_its_name_and_items_their_cas(pair):
    a, b = pair
    a.set(b"k", b"v")
    eventually("it arrived", lambda: b.get(b"k"))
    names, cas = [node.replication("node") for node in pair], a.ask(b"gets k\r\n")
    for node in pair:
        reload(node)
    for node, name in zip(pair, names, strict=True):
        eventually("it is in sync", node.in_sync)
        assert (node.replication("node"), node.ask(b"gets k\r\n")) == (name, cas)


def test_after_a_crash_the_node_starts_empty_and_is_filled(pair):
    a, b = pair
    a.set(b"gone", b"v")
    a.set(b"kept", b"v")
    reload(a)
    eventually("it is in sync", a.in_sync)
    client(a).delete("gone")
    eventually("the delete arrived", lambda: b.get(b"gone") is None)
    a.kill(signal.SIGKILL)
    assert not any((a.folder.parent / "kept").iterdir())
    a.start()
    merged(pair, {"kept": b"v"}, ["gone"])


def test_systemd_is_told_to_wait_while_items_are_loaded_and_saved(manager, tmp_path):
    node = Node(tmp_path / "a", free_port(), free_port(), "-e", str(tmp_path / "memory"))
    node.start()
    try:
        for number in range(10):
            node.set(b"k%d" % number, os.urandom(100_000))
        assert node.kill(signal.SIGUSR1) == 0
        said = manager()
        stopping = next(at for at, message in enumerate(said) if "STOPPING=1" in message)
        assert any(
            "EXTEND_TIMEOUT_USEC=30000000" in message and "STATUS=saving to" in message and "WATCHDOG=1" in message
            for message in said[stopping:]
        )
        before = len(said)
        node.start()
        eventually("it is ready", lambda: any("READY=1" in message for message in manager()[before:]))
        since = manager()[before:]
        loading = next(at for at, message in enumerate(since) if "STATUS=loading" in message)
        ready = next(at for at, message in enumerate(since) if "READY=1" in message)
        assert loading < ready and "EXTEND_TIMEOUT_USEC=30000000" in since[loading]
    finally:
        node.stop()
