"""Sockets that are there before the daemon is, as systemd passes them."""

import contextlib
import os
import signal
import socket
import subprocess

import pytest

from conftest import PROGRAM, eventually, free_port

STANDALONE = ["--sysconfig=-/nonexistent", "--config=-/nonexistent", *(["-u", "root"] if os.geteuid() == 0 else [])]


@pytest.fixture
def activated(tmp_path):
    """activated(sockets, *options) starts a daemon that inherits these sockets, and kills it in the end."""
    with contextlib.ExitStack() as stack:

        def start(sockets, *options):
            # They come as descriptors from 3 on, and the number of the process is known only to itself.
            for number, inherited in enumerate(sockets):
                os.dup2(inherited.fileno(), 100 + number)
            moves = " ".join(f"{3 + number}<&{100 + number}" for number in range(len(sockets)))
            script = f'export LISTEN_PID=$$ LISTEN_FDS={len(sockets)}; exec "$@" {moves}'
            process = subprocess.Popen(
                ["bash", "-c", script, "bash", PROGRAM, *STANDALONE, *options],
                pass_fds=[100 + number for number in range(len(sockets))], stderr=(tmp_path / "log").open("a"),
            )  # fmt: skip
            stack.callback(lambda: (process.kill(), process.wait()))
            return process

        yield start


def listener(host="127.0.0.1", port=0):
    return socket.create_server((host, port))


def version(address):
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as client:
        client.settimeout(20)
        client.connect(address)
        client.sendall(b"version\r\n")
        return client.recv(100)


def test_a_client_that_connects_while_the_daemon_restarts_is_served_by_the_next_one(activated):
    with listener() as inherited:
        address = inherited.getsockname()
        options = ["-l", "127.0.0.1", "-p", str(address[1])]
        first = activated([inherited], *options)
        assert version(address).startswith(b"VERSION")
        first.send_signal(signal.SIGTERM)
        assert first.wait(20) == 0
        with socket.create_connection(address, 20) as waiting:
            waiting.sendall(b"version\r\n")
            activated([inherited], *options)
            assert waiting.recv(100).startswith(b"VERSION")


def test_an_inherited_address_that_the_configuration_does_not_name_is_served_beside_those_it_names(activated):
    port = free_port()
    with listener() as inherited:
        activated([inherited], "-l", "127.0.0.1", "-p", str(port))
        assert version(inherited.getsockname()).startswith(b"VERSION")
        assert version(("127.0.0.1", port)).startswith(b"VERSION")


def test_a_unix_socket_is_inherited_and_not_replaced(activated, tmp_path):
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as inherited:
        inherited.bind(path)
        inherited.listen()
        before = os.stat(path).st_ino
        activated([inherited], "-s", path)
        assert version(path).startswith(b"VERSION")
        assert os.stat(path).st_ino == before


def test_the_peers_port_is_inherited_too(activated):
    with listener() as clients, listener() as peer:
        port = peer.getsockname()[1]
        activated(
            [clients, peer], "-l", "127.0.0.1", "-p", str(clients.getsockname()[1]),
            "-x", "127.0.0.1", "-X", f"{port}:{free_port()}", "-vv",
        )  # fmt: skip
        assert version(clients.getsockname()).startswith(b"VERSION")
        with socket.create_connection(peer.getsockname(), 10) as stranger:
            stranger.sendall(b"version\r\n")
            stranger.shutdown(socket.SHUT_WR)
            assert b"VERSION" not in stranger.recv(100)


def test_a_descriptor_that_does_not_listen_is_refused_by_its_number(activated, tmp_path):
    with socket.socket() as idle:
        assert activated([idle]).wait(20) == 71
    assert "descriptor 3 is no socket that listens" in (tmp_path / "log").read_text()


def test_sockets_for_another_process_are_not_touched(tmp_path):
    environment = {**os.environ, "LISTEN_PID": "1", "LISTEN_FDS": "1"}
    port = free_port()
    process = subprocess.Popen([PROGRAM, *STANDALONE, "-l", "127.0.0.1", "-p", str(port)], env=environment)
    try:
        eventually("it serves", lambda: process.poll() is None and serves(port))
    finally:
        process.kill()
        process.wait()


def serves(port):
    with contextlib.suppress(OSError):
        return version(("127.0.0.1", port)).startswith(b"VERSION")
