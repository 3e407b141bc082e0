"""What the log says of things that clients can cause as often as they like: enough, and not each of them."""

import os
import resource
import select

import pytest

from .certificates import Identity, new_authority, trusting
from .wire import eventually

MANY = 200


@pytest.fixture(autouse=True)
def ours(binary):
    if binary.resolve().name != "paircached":
        pytest.skip("it is paircached's log")


def lines(server, event):
    return [line for line in server.log.read_text().splitlines() if f"event={event} " in line]


def test_a_client_that_changes_the_memory_limit_again_and_again_is_mentioned_ten_times(launch):
    server = launch()
    with server.client() as client:
        for megabytes in range(64, 64 + MANY):
            client.ask(f"cache_memlimit {megabytes}\r\n".encode(), b"OK\r\n")
    told = lines(server, "memory_limit")
    assert 10 <= len(told) < 20, told
    assert told[0].endswith("megabytes=64 unmentioned_before=0")
    with server.client() as client:
        assert client.stats()["limit_maxbytes"] == str((63 + MANY) << 20), "each of them is obeyed"


def test_a_client_that_refreshes_certificates_again_and_again_is_mentioned_ten_times(launch, tmp_path):
    authority = new_authority()
    identity = Identity(tmp_path / "server", authority)
    server = launch(*identity.options, tls=trusting(authority))
    with server.client() as client:
        for _ in range(MANY):
            client.ask(b"refresh_certs\r\n", b"OK\r\n")
    assert 10 <= len(lines(server, "certificates_loaded")) < 20


def test_failures_to_load_certificates_are_mentioned_as_sparingly(launch, tmp_path):
    authority = new_authority()
    identity = Identity(tmp_path / "server", authority)
    server = launch(*identity.options, tls=trusting(authority))
    identity.key.write_text("no key")
    with server.client() as client:
        for _ in range(MANY):
            client.send(b"refresh_certs\r\n")
            assert client.line().startswith(b"Error"), "it is told to the client each time"
    told = lines(server, "certificates_failed")
    assert 10 <= len(told) < 20 and 'kept="those from before"' in told[0], told


def test_clients_that_find_no_open_file_left_are_mentioned_once_however_many_knock(launch):
    """Their connections wait, and the daemon tries again each 10 ms."""
    server = launch()
    with server.client() as client:
        # The port is there before the daemon has opened all that it needs.
        client.ask(b"get k\r\n", b"END\r\n")
    taken = max(int(number) for number in os.listdir(f"/proc/{server.pid}/fd")) + 1
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (taken + 3, taken + 3))
    waiting = [server.client() for _ in range(40)]
    for client in waiting:
        client.send(b"version\r\n")

    def served():
        found = select.select([client.socket for client in waiting], [], [], 0)[0]
        return [client for client in waiting if client.socket in found]

    for _ in range(20):
        # Each that goes lets another one in, and the one behind that is a failure again.
        for client in eventually("somebody is served", served):
            assert client.line().startswith(b"VERSION ")
            waiting.remove(client)
            client.close()
        if not waiting:
            break
    for client in waiting:
        client.close()
    told = lines(server, "accept_failed")
    assert 1 <= len(told) < 5 and "Too many open files" in told[0] and "unmentioned_before=0" in told[0], told
