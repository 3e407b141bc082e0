"""What systemd is told, read from the socket that it would listen on."""

import re
import signal

import pytest

from conftest import Node, eventually, free_port


def test_systemd_hears_of_readiness_state_life_reload_and_end(manager, tmp_path):
    def heard(text, since=0):
        return any(text in message for message in manager()[since:])

    node = Node(tmp_path / "a", free_port(), free_port())
    node.start()
    try:
        eventually("it is ready", lambda: heard("READY=1"))
        eventually("it says how the pair is doing", lambda: heard("STATUS=connecting with 127.0.0.1"))
        eventually("it lives", lambda: heard("WATCHDOG=1"))
        before = len(manager())
        node.send(signal.SIGHUP)
        eventually("the reload is over", lambda: heard("READY=1", before))
        reloading = next(message for message in manager()[before:] if "RELOADING=1" in message)
        assert re.search(r"MONOTONIC_USEC=\d+", reloading)
        before = len(manager())
        assert node.kill(signal.SIGTERM) == 0
        assert heard("STOPPING=1", before)
    finally:
        node.stop()


def test_a_node_that_was_frozen_is_not_said_to_be_stuck(manager, tmp_path):
    node = Node(tmp_path / "a", free_port(), free_port())
    node.start()
    try:
        eventually("it lives", lambda: any("WATCHDOG=1" in message for message in manager()))
        node.send(signal.SIGSTOP)
        with pytest.raises(AssertionError):
            before = len(manager())
            eventually("a frozen node says something", lambda: len(manager()) > before, 3)
        node.send(signal.SIGCONT)
        before = len(manager())
        eventually("it lives on", lambda: sum("WATCHDOG=1" in m for m in manager()[before:]) >= 3)
        assert "worker_stuck" not in node.log()
    finally:
        node.stop()
