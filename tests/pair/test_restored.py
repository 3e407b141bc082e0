"""A node that comes back with a memory file: its last one, and one that somebody put back."""

import shutil
import signal
import subprocess

import pytest

from conftest import eventually


@pytest.fixture
def saving_pair(nodes, tmp_path):
    """Two nodes in sync, the first of which keeps a memory file; with that file."""
    (tmp_path / "memory").mkdir()
    file = tmp_path / "memory" / "file"
    made = nodes(["-e", str(file)])
    for node in made:
        eventually("both are in sync", node.in_sync)
    return *made, file


def start_again(a, b):
    a.start()
    for node in (a, b):
        eventually("both are in sync again", node.in_sync)


def holds(node, expected):
    return all(node.get(key) == value for key, value in expected.items())


def test_a_file_that_was_overtaken_brings_nothing_back(saving_pair, programs):
    a, b, file = saving_pair
    for key in (b"kept", b"deleted-here", b"deleted-there", b"overwritten-here", b"overwritten-there"):
        a.set(key, b"old")
    eventually("they arrived", lambda: b.get(b"overwritten-there") == b"old")
    assert a.kill(signal.SIGUSR1) == 0
    backup = shutil.copy(file, file.with_name("backup"))
    start_again(a, b)
    a.ask(b"delete deleted-here\r\n", b"\r\n")
    b.ask(b"delete deleted-there\r\n", b"\r\n")
    a.set(b"overwritten-here", b"new")
    b.set(b"overwritten-there", b"new")
    for node in (a, b):
        eventually("nothing is on its way", lambda node=node: node.replication("lag_ops") == "0")
    a.kill()
    shutil.copy(backup, file)
    start_again(a, b)
    expected = {b"kept": b"old", b"deleted-here": None, b"deleted-there": None}
    expected |= {b"overwritten-here": b"new", b"overwritten-there": b"new"}
    for node in (a, b):
        eventually("the peer's state won", lambda node=node: holds(node, expected))
    assert "event=memory_file_stale" in a.log()
    servers = [word for node in (a, b) for word in ("-s", f"127.0.0.1:{node.port}")]
    verified = subprocess.run([programs / "pairctl", *servers, "verify"], capture_output=True, text=True, timeout=60)
    assert verified.returncode == 0, verified.stdout


def test_the_last_file_is_believed_and_what_was_deleted_meanwhile_is_gone(saving_pair):
    a, b, _ = saving_pair
    a.set(b"kept", b"old")
    a.set(b"deleted", b"old")
    eventually("they arrived", lambda: b.get(b"deleted") == b"old")
    assert a.kill(signal.SIGUSR1) == 0
    b.ask(b"delete deleted\r\n", b"\r\n")
    start_again(a, b)
    for node in (a, b):
        eventually("both agree", lambda node=node: holds(node, {b"kept": b"old", b"deleted": None}))
    assert "event=memory_file_stale" not in a.log()


def test_a_graceful_restart_costs_what_changed_meanwhile(saving_pair):
    a, b, _ = saving_pair
    count = 300
    for number in range(count):
        (a, b)[number % 2].set(b"key-%d" % number, b"value")
    for node in (a, b):
        eventually("all arrived", lambda node=node: node.stats()["curr_items"] == str(count))
        eventually("nothing is on its way", lambda node=node: node.replication("lag_ops") == "0")
    before = {name: int(b.replication(name)) for name in ("sent", "resyncs_full", "resyncs_delta")}
    assert a.kill(signal.SIGUSR1) == 0
    b.set(b"key-0", b"new")
    b.ask(b"delete key-1\r\n", b"\r\n")
    start_again(a, b)
    for node in (a, b):
        eventually("both agree", lambda node=node: holds(node, {b"key-0": b"new", b"key-1": None, b"key-2": b"value"}))
    assert int(b.replication("resyncs_full")) == before["resyncs_full"]
    assert int(b.replication("resyncs_delta")) > before["resyncs_delta"]
    assert int(a.replication("resyncs_full")) == 0
    assert int(a.replication("sent")) == 0
    assert int(b.replication("sent")) - before["sent"] < 10, "of links made at once each sends it"
