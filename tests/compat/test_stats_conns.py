"""stats conns: every open connection and every listener."""

import resource
import socket

import pytest

from .wire import RULES_OF_1_6_45, Case, eventually, stored, table

PREFIXES = "since the parser was rewritten the beginning of a word is enough"


def conns(client):
    """{descriptor: {name: value}} in the order shown."""
    found = {}
    for name, value in client.stats(b"conns").items():
        number, _, field = name.partition(":")
        found.setdefault(int(number), {})[field] = value
    assert list(found) == sorted(found)
    return found


def address(client):
    return "tcp:%s:%d" % client.socket.getsockname()


def of(client, other):
    """What `client` is told of `other`."""
    (shown,) = (stats for stats in conns(client).values() if stats["addr"] == address(other))
    return shown


@table(Case("nobody is shown by the binary protocol's name", b"stats connections\r\n", b"ERROR\r\n"))
def test_lines(client, case):
    client.play(case)


def test_the_listener_and_the_one_who_asks(launch):
    with launch().client() as client:
        eventually("nobody else is connected", lambda: len(conns(client)) == 2)
        listener, asker = sorted(conns(client).values(), key=len)
        here = f"tcp:{client.server.address}"
        assert {name: listener[name] for name in ("addr", "state")} == {"addr": here, "state": "conn_listening"}
        assert list(listener) == ["addr", "state", "secs_since_last_cmd"]
        assert asker == {
            "addr": address(client),
            "listen_addr": here,
            "state": "conn_parse_cmd",
            "secs_since_last_cmd": "0",
        }
        assert list(asker) == ["addr", "listen_addr", "state", "secs_since_last_cmd"]


def test_states(launch):
    server = launch()
    with server.client() as client, server.client() as other:

        def state(is_now):
            eventually(f"it is {is_now}", lambda: of(client, other)["state"] == is_now)

        other.ask(b"mn\r\n", b"MN\r\n")
        state("conn_read")
        other.send(b"set k 0 0 100\r\nabc")
        state("conn_nread")
        other.ask(b"x" * 97 + b"\r\n", b"STORED\r\n")
        other.send(b"set k 0 0 3000000\r\nabc")
        state("conn_swallow")
    with server.client() as client, server.client() as other:
        client.ask(stored("big", b"x" * 900_000), b"STORED\r\n")
        other.send(b"get big\r\n" * 20)
        eventually("it waits to be read", lambda: of(client, other)["state"] == "conn_mwrite")
    with server.client() as client, server.client() as other:
        other.send(b"watch\r\n")
        assert other.line() == b"OK\r\n"
        eventually("it watches", lambda: of(client, other)["state"] == "conn_watch")


def test_silence_is_counted(launch):
    server = launch()
    with server.client() as client, server.client() as other:
        other.ask(b"mn\r\n", b"MN\r\n")
        eventually("it was silent", lambda: int(of(client, other)["secs_since_last_cmd"]) >= 1, pause=0.1)

        def speaks_and_is_heard():
            other.ask(b"mn\r\n", b"MN\r\n")
            return of(client, other)["secs_since_last_cmd"] == "0"

        # A second may begin between its command and the look at it.
        eventually("it was heard", speaks_and_is_heard)


def test_those_who_left_are_gone(launch):
    server = launch()
    with server.client() as client:
        others = [server.client() for _ in range(100)]
        for other in others:
            other.ask(b"mn\r\n", b"MN\r\n")
        shown = {stats["addr"] for stats in conns(client).values()}
        assert {address(other) for other in others} < shown
        for other in others:
            other.close()
        eventually("they are gone", lambda: len(conns(client)) == 2)


def test_a_unix_socket(launch, tmp_path):
    path = str(tmp_path / "socket")
    with launch("-s", path, listen=()).client() as client:
        eventually("nobody else is connected", lambda: len(conns(client)) == 2)
        listener, asker = sorted(conns(client).values(), key=len)
        here = listener["addr"]
        if client.server.version < RULES_OF_1_6_45:
            assert f"unix:{path}".startswith(here), "1.6.18 shows the beginning of the path"
        else:
            assert here == f"unix:{path}"
        assert listener["state"] == "conn_listening"
        assert (asker["addr"], asker["listen_addr"]) == ("?:<AF 0>", f"unix:{path}")


def test_ipv6(launch):
    server = launch(listen=("-l", "127.0.0.1,::1", "-p", "-1"))
    with server.client() as client:
        addresses = [stats["addr"] for stats in conns(client).values() if stats["state"] == "conn_listening"]
        (port,) = (address.rpartition(":")[2] for address in addresses if address.startswith("tcp6:[::1]:"))
        other = socket.create_connection(("::1", int(port)))
        other.sendall(b"mn\r\n")
        assert other.recv(4) == b"MN\r\n"
        here = f"tcp6:[::1]:{other.getsockname()[1]}"
        (shown,) = (stats for stats in conns(client).values() if stats["addr"] == here)
        assert shown["listen_addr"] == f"tcp6:[::1]:{port}"
        other.close()


def test_many_connections_are_shown_while_others_are_served(launch):
    count = 3000
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < count + 100:
        pytest.skip("this machine does not let a process have so many files")
    server = launch("-c", str(count + 100), "-t", "1")
    others = [server.connect(5) for _ in range(count)]
    with server.client() as client, server.client() as busy:
        client.send(b"stats conns\r\n" * 10)
        busy.ask(b"mn\r\n", b"MN\r\n")
        for _ in range(10):
            assert client.read_until(b"END\r\n").count(b":state ") >= count
    for other in others:
        other.close()


def test_the_name_may_be_shortened(client):
    if client.server.version < RULES_OF_1_6_45:
        pytest.skip(PREFIXES)
    client.send(b"stats co\r\n")
    assert b":state conn_parse_cmd\r\n" in client.read_until(b"END\r\n")
