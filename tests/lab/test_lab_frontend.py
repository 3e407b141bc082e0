"""One address in front of the pair, and what clients see when a node dies."""

import contextlib
import socket
import time

import pytest

from conftest import NET
from nodes import PORT, bytes_of, lab, wait_until

ADDRESS = f"{NET}.10"
THROUGH_HAPROXY = 11210


def talk(port, request, end, timeout=1.0):
    with socket.create_connection((ADDRESS, port), timeout=timeout) as connection:
        connection.settimeout(timeout)
        connection.sendall(bytes_of(request))
        reply = b""
        while not reply.endswith(bytes_of(end)):
            part = connection.recv(65536)
            if not part:
                raise ConnectionError(f"hung up after {reply!r}")
            reply += part
    return reply.decode().replace("\r\n", "\n")


def answers(port):
    with contextlib.suppress(OSError):
        return talk(port, "version\n", "\n").startswith("VERSION")


@pytest.fixture
def owner(pair):
    """Which of the two has the address now, and the other one."""
    wait_until("the address answers", lambda: answers(PORT) and answers(THROUGH_HAPROXY), 60)
    has = [ADDRESS in node.run("ip -o -4 address") for node in pair.nodes]
    assert sum(has) == 1, has
    return pair.nodes if has[0] else pair.nodes[::-1]


def test_what_is_set_through_the_address_is_on_both_nodes(pair, owner):
    assert talk(THROUGH_HAPROXY, "set front 0 0 5\nvalue\n", "\n") == "STORED\n"
    pair.wait_until_both_hold({"front": b"value"})


@pytest.mark.parametrize("port", [PORT, THROUGH_HAPROXY])
def test_when_the_daemon_behind_the_address_is_stopped_clients_go_on_with_the_other_one(pair, owner, port):
    busy, other = owner
    assert talk(port, "set story 0 0 4\nkept\n", "\n") == "STORED\n"
    pair.wait_until_both_hold({"story": b"kept"})
    busy.run("systemctl stop paircached.service")
    began = time.monotonic()
    try:
        found = wait_until("the value is there again", lambda: read(port), 15)
        gap = time.monotonic() - began
        print(f"port {port}: first answer {gap:.1f} s after the daemon was gone")
        assert found == "kept"
        assert gap < 8
    finally:
        busy.run("systemctl start paircached.service")
    pair.wait_until_in_sync()
    # Nobody takes the address back: that would cost the clients their connections again.
    assert ADDRESS in other.run("ip -o -4 address") or port == THROUGH_HAPROXY


def read(port):
    with contextlib.suppress(OSError):
        reply = talk(port, "get story\n", "END\n")
        return reply.splitlines()[1] if reply.startswith("VALUE") else None


def test_a_node_that_is_being_filled_gets_no_clients(pair, owner):
    """Through HAProxy every answer comes from a node that holds everything."""
    items = {f"fill:{number}": "x" * 1000 for number in range(20_000)}
    assert pair.node1.write(items) == []
    pair.wait_until_both_hold({"fill:19999": "x" * 1000})
    busy, _ = owner
    busy.run("systemctl kill --signal=SIGKILL paircached.service")
    deadline, missing = time.monotonic() + 6, 0
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            reply = talk(THROUGH_HAPROXY, "get fill:17\n", "END\n")
            missing += not reply.startswith("VALUE")
    assert missing == 0
    pair.wait_until_in_sync()


@pytest.fixture
def by_source(pair, owner):
    lab("playbook", "frontend", "-e", "paircached_frontend_mode=source", minutes=5)
    yield
    lab("playbook", "frontend", minutes=5)


def test_haproxy_can_use_both_nodes_each_client_s_address_keeping_its_own(by_source, client):
    """Of 16 addresses all come to one node once in 32,768 times, were it by chance; but hashes do not change."""
    ask = f"printf 'stats replication\\r\\nquit\\r\\n' | nc -w 5 -s $address {ADDRESS} {THROUGH_HAPROXY}"
    node = "sed -n 's/^STAT replication_node \\(.\\).*/\\1/p'"
    addresses = [f"{NET}.{number}" for number in range(100, 116)]
    device = client.run(f"ip -o -4 address | grep -w {client.address} | awk '{{ print $2 }}'")
    try:
        for address in addresses:
            client.run(f"ip address add {address}/24 dev {device}")
        rounds = [
            client.run(f"for address in {' '.join(addresses)}; do {ask} | {node}; done").split() for _ in range(2)
        ]
    finally:
        for address in addresses:
            client.run(f"ip address del {address}/24 dev {device}", check=False)
    assert len(rounds[0]) == len(addresses) and set(rounds[0]) == {"a", "b"}, rounds
    assert rounds[0] == rounds[1]


def test_the_front_end_can_be_taken_away_and_put_back(pair, owner):
    lab("playbook", "frontend", "-e", "paircached_frontend_state=absent", minutes=5)
    try:
        assert not any(ADDRESS in node.run("ip -o -4 address") for node in pair.nodes)
        for node in pair.nodes:
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((node.address, THROUGH_HAPROXY), timeout=5)
    finally:
        lab("playbook", "frontend", minutes=5)
    wait_until("the address answers again", lambda: answers(PORT) and answers(THROUGH_HAPROXY), 60)
