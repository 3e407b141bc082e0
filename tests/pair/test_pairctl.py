"""pairctl's view of running pairs."""

import os
import pty
import re
import signal
import subprocess

import pytest

from conftest import Node, eventually, free_port


@pytest.fixture
def pairctl(programs):
    def run(nodes, *words):
        servers = [word for node in nodes for word in ("-s", f"127.0.0.1:{node.port}")]
        done = subprocess.run([programs / "pairctl", *servers, *words], capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout + done.stderr

    return run


def test_a_node_that_lost_its_peer_is_ready_and_not_healthy(pair, pairctl):
    node, peer = pair
    assert pairctl(pair, "ready")[0] == 0
    eventually("the pair is whole", lambda: pairctl(pair, "health")[0] == 0)
    peer.kill()
    eventually("the loss is seen", lambda: node.replication("state") == "connecting")
    assert pairctl([node], "ready")[0] == 0
    assert pairctl([node], "health")[0] == 1
    code, said = pairctl([peer], "ready")
    assert code == 1 and "cannot connect" in said


def test_status_shows_that_both_hold_the_same_and_each_compares_it_all_the_while(pair, pairctl):
    a, b = pair
    keys = [b"key-%d" % number for number in range(300)]
    for number, key in enumerate(keys):
        pair[number % 2].set(key, b"value")
    a.ask(b"touch key-1 1000\r\n", b"TOUCHED\r\n")

    def same():
        said = pairctl(pair, "status")[1]
        digests = re.search(r"^digest of items +(\S+) +(\S+)$", said, re.M)
        return digests and digests[1] == digests[2] and "both hold the same, by the digests of 64 parts" in said

    eventually("the digests are the same", same)
    for node in pair:
        eventually("all was compared", lambda node=node: int(node.replication("checked_keys")) >= 600)
        assert node.replication("divergent_keys") == "0"
    # A key that only one node holds is in the digests of that one alone.
    b.kill()
    a.set(b"one-more", b"value")
    assert "digests" not in pairctl(pair, "status")[1]


def test_a_node_that_waits_for_its_first_filling_is_not_ready_at_once(tmp_path, pairctl):
    node = Node(tmp_path / "a", free_port(), free_port())
    node.start()
    try:
        code, said = pairctl([node], "ready")
        assert code == 1 and "waiting for 127.0.0.1" in said
        eventually("it does without", lambda: pairctl([node], "ready")[0] == 0)
    finally:
        node.stop()


def test_top_shows_what_happens_on_both_nodes(pair, pairctl):
    node, peer = pair

    def rows(said):
        return {line[:22].strip(): line[22:].split() for line in said.splitlines() if line[:22].strip()}

    node.set(b"key", b"value")
    for _ in range(50):
        node.get(b"key")

    def looked():
        seen = rows(pairctl(pair, "top", "--count", "1")[1])
        return seen["replication"] == ["in-sync", "in-sync"] and seen

    first = eventually("both are in sync", looked)
    assert first["get/s"] == ["-", "-"], "there is no rate of a single look"
    stop = subprocess.Popen(
        ["python3", "-c", f"""
import socket
client = socket.create_connection(("127.0.0.1", {node.port}))
while True:
    client.sendall(b"get key\\r\\n")
    client.recv(100)
"""])  # fmt: skip
    try:
        eventually("the load has begun", lambda: int(node.stats()["cmd_get"]) > 200)
        said = pairctl(pair, "top", "--count", "2", "--interval", "0.5")[1]
    finally:
        stop.kill()
        stop.wait()
    second = rows(said[said.rindex("replication"):])
    assert second["hit ratio"][:2] == ["100.0", "%"]
    assert int("".join(re.findall(r"^get/s +([\d ]+?)  ", said, re.M)[-1].split())) > 100
    assert re.search(r"busiest classes, 1/s +\d+ B: ", said)


def test_top_goes_on_on_a_terminal_until_it_is_interrupted(pair, programs):
    master, slave = pty.openpty()
    node, _ = pair
    process = subprocess.Popen(
        [programs / "pairctl", "-s", f"127.0.0.1:{node.port}", "top", "--interval", "0.1"],
        stdin=slave, stdout=slave, stderr=slave, env={**os.environ, "TERM": "xterm"},
        # Tests that a shell started in the background ignore it, and what they start would too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    os.close(slave)
    said = b""

    def seen():
        nonlocal said
        said += os.read(master, 65536)
        return said.count(b"\x1b[2J") >= 3

    try:
        eventually("the screen is drawn anew", seen)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) != 0
    finally:
        process.kill()
        process.wait()
        os.close(master)
