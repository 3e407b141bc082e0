"""Taking a node out of service without losing a write, and comparing the two."""

import socket
import subprocess
import threading
import urllib.parse

import pytest

from conftest import eventually

REFUSED = b"SERVER_ERROR not written: this node hands over to its peer\r\n"


@pytest.fixture
def pairctl(programs):
    def run(nodes, *words):
        servers = [word for node in nodes for word in ("-s", f"127.0.0.1:{node.port}")]
        done = subprocess.run([programs / "pairctl", *servers, *words], capture_output=True, text=True, timeout=120)
        return done.returncode, done.stdout + done.stderr

    return run


def test_a_node_that_handed_over_can_be_killed_and_nothing_is_lost(pair, pairctl):
    a, b = pair
    acknowledged = []

    def write():
        with socket.create_connection(a.address, 10) as client:
            file = client.makefile("rb")
            for number in range(1_000_000):
                client.sendall(b"set k%d 0 0 1000\r\n%b\r\n" % (number, b"x" * 1000))
                answer = file.readline()
                if answer != b"STORED\r\n":
                    assert answer == REFUSED
                    return
                acknowledged.append(number)

    writer = threading.Thread(target=write)
    writer.start()
    eventually("much was written", lambda: len(acknowledged) > 500)
    code, said = pairctl([a], "handover")
    assert (code, "it can be stopped" in said) == (0, True), said
    writer.join(20)
    assert a.get(b"k0") is not None, "it serves reads"
    code, said = pairctl([a], "ready")
    assert (code, "handing over" in said) == (1, True), said
    a.kill()
    assert all(b.get(b"k%d" % number) for number in acknowledged[-200:])
    assert int(b.stats()["curr_items"]) == len(acknowledged)


def test_a_handover_can_be_taken_back(pair, pairctl):
    a, b = pair
    assert pairctl([a], "handover")[0] == 0
    assert a.ask(b"set k 0 0 1\r\n1\r\n", b"\r\n") == REFUSED
    assert a.ask(b"set k 0 0 1 noreply\r\n1\r\nmn\r\n", b"MN\r\n") == b"MN\r\n"
    b.set(b"k", b"2")
    eventually("it takes what the peer sends", lambda: a.get(b"k") == b"2")
    assert pairctl([a], "handover", "--undo")[0] == 0
    a.set(b"k", b"3")
    assert "writes=refused" in a.log() and "writes=taken" in a.log()


def test_there_is_no_handover_to_a_peer_that_is_away(pair, pairctl):
    a, b = pair
    b.kill()
    eventually("the loss is seen", lambda: a.replication("state") == "connecting")
    code, said = pairctl([a], "handover")
    assert code == 1 and "replication is connecting" in said
    a.set(b"k", b"v")


def test_two_that_hold_the_same_are_found_the_same_while_they_serve(pair, pairctl):
    a, b = pair
    stop = threading.Event()

    def write(node, name):
        number = 0
        while not stop.is_set():
            number += 1
            node.ask(b"set %b-%d 0 %d 1\r\nx\r\n" % (name, number % 300, number % 2 * 100), b"\r\n")

    a.ask(b"".join(b"set key-%d 0 0 1 noreply\r\nx\r\n" % n for n in range(5_000)) + b"ms a2V5IGI= 1 b\r\nx\r\n", b"HD\r\n")
    writers = [threading.Thread(target=write, args=pair) for pair in ((a, b"a"), (b, b"b"))]
    for writer in writers:
        writer.start()
    try:
        code, said = pairctl(pair, "verify")
    finally:
        stop.set()
        for writer in writers:
            writer.join(20)
    assert code == 0, said
    assert int(said.split()[0]) >= 5_001
    assert "0 differ, 0 missing" in said


def test_keys_that_differ_are_named(nodes, pairctl, tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.toml").write_text(f'[replication]\ncluster = "{name}"\n')
    a, b = pair = nodes(*([f"--config={tmp_path / name}.toml"] for name in "ab"))
    a.set(b"both", b"1")
    b.set(b"both", b"2")
    a.set(b"left", b"1")
    b.set(b"ri%ght", b"1")
    code, said = pairctl(pair, "verify")
    assert code == 1
    said = urllib.parse.unquote(said)
    assert "1 differ, 1 missing" in said and "3 keys compared" in said
    assert any(line.startswith("both: cas ") for line in said.splitlines())
    assert f"left: only on 127.0.0.1:{a.port}" in said
    assert f"ri%ght: only on 127.0.0.1:{b.port}" in said
    assert pairctl([a], "verify")[0] == 2
    b.ask(b"delete both\r\n", b"\r\n")
    assert pairctl(pair, "verify")[0] == 1
    assert pairctl(pair, "verify", "--missing-ok")[0] == 0
