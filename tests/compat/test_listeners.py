"""Where the daemon listens: addresses, ports, unix sockets; and how many clients it takes."""

import contextlib
import os
import select
import socket
import stat
import subprocess

import pytest

from .wire import eventually, stored

TOO_MANY = b"ERROR Too many open connections\r\n"


def free_port():
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


def says_end(address):
    with socket.create_connection(address, 5) as made:
        made.sendall(b"get k\r\n")
        return made.recv(100) == b"END\r\n"


def refused(address):
    try:
        socket.create_connection(address, 5).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("options", [["-p", "{}"], ["-p{}"], ["--port={}"], ["--port", "{}"]], ids=" ".join)
def test_p_names_the_port(launch, options):
    port = free_port()
    server = launch(listen=("-l", "127.0.0.1", *(option.format(port) for option in options)))
    assert server.port == port
    assert says_end(("127.0.0.1", port))
    with server.client() as client:
        assert client.stats(b"settings")["tcpport"] == str(port)


def test_the_port_of_l_comes_first(launch):
    port = free_port()
    server = launch(listen=("-l", f"127.0.0.1:{port}", "-p", str(free_port())))
    assert server.port == port


@pytest.mark.parametrize(
    "listen", [("-l", "127.0.0.1,127.0.0.2"), ("-l", "127.0.0.1", "-l", "127.0.0.2")], ids=" ".join
)
def test_l_takes_many_addresses(launch, listen):
    port = free_port()
    server = launch(listen=(*listen, "-p", str(port)))
    assert server.port_file.read_text() == f"TCP INET: {port}\n" * 2
    assert says_end(("127.0.0.1", port)) and says_end(("127.0.0.2", port))
    assert refused(("127.0.0.3", port))
    with server.client() as client:
        assert client.stats(b"settings")["inter"] == "127.0.0.1,127.0.0.2"


def has_ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")
@pytest.mark.parametrize("listen", ["127.0.0.1,::1", "127.0.0.1,[::1]"])
def test_l_takes_both_families(launch, listen):
    port = free_port()
    server = launch(listen=("-l", listen, "-p", str(port)))
    assert sorted(server.port_file.read_text().splitlines()) == [f"TCP INET6: {port}", f"TCP INET: {port}"]
    assert says_end(("127.0.0.1", port)) and says_end(("::1", port))


def test_a_unix_socket_serves(launch, tmp_path):
    server = launch("-s", str(tmp_path / "socket"), listen=())
    with server.client() as client:
        client.ask(stored("k", "a") + b"get k\r\n", b"STORED\r\nVALUE k 0 1\r\na\r\nEND\r\n")


@pytest.mark.parametrize(
    "mask, mode", [([], 0o700), (["-a", "0777"], 0o777), (["-a", "660"], 0o660), (["--unix-mask=0755"], 0o755)]
)
def test_a_unix_socket_has_the_mode_of_a(launch, tmp_path, mask, mode):
    path = tmp_path / "socket"
    launch("-s", str(path), *mask, listen=())
    assert stat.S_ISSOCK(path.stat().st_mode)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_with_a_unix_socket_there_is_no_port(launch, tmp_path):
    port = free_port()
    server = launch("-s", str(tmp_path / "socket"), listen=("-l", "127.0.0.1", "-p", str(port)))
    assert refused(("127.0.0.1", port))
    assert not server.port_file.exists()


def test_a_socket_left_behind_is_replaced(launch, tmp_path):
    path = tmp_path / "socket"
    first = launch("-s", str(path), listen=())
    first.stop()
    assert path.exists()
    with launch("-s", str(path), listen=()).client() as client:
        client.ask(b"get k\r\n", b"END\r\n")


def test_more_clients_than_c_are_told_and_hung_up_on(launch):
    server = launch("-c", "100")
    taken = []
    for _ in range(101):  # memcached counts its own files too, so it may refuse earlier
        client = server.client()
        client.send(b"get k\r\n")
        first = client.line()
        if first != b"END\r\n":
            break
        taken.append(client)
    assert first == TOO_MANY
    assert client.rest() == b""
    assert len(taken) > 50
    stats = taken[0].stats()
    assert stats["rejected_connections"] == "1"
    assert stats["accepting_conns"] == "1"
    # Those who are in are served, and room that is made is used.
    taken[-1].ask(b"get k\r\n", b"END\r\n")
    taken.pop().close()

    def let_in():
        with server.client() as another:
            try:
                another.send(b"get k\r\n")
                return another.line() == b"END\r\n"
            except ConnectionError:
                return False

    eventually("there is room again", let_in)
    for client in taken:
        client.close()


def test_c_holds_for_all_addresses_together(launch):
    one, other = free_port(), free_port()
    server = launch("-c", "100", listen=("-l", f"127.0.0.1:{one},127.0.0.1:{other}"))
    with contextlib.ExitStack() as stack, server.client() as first:
        for number in range(110):
            made = socket.create_connection(("127.0.0.1", (one, other)[number % 2]), 5)
            stack.callback(made.close)
            made.sendall(b"get k\r\n")
            if (said := made.recv(100)) != b"END\r\n":
                break
        assert said == TOO_MANY and 50 < number <= 100
        assert int(first.stats()["rejected_connections"]) == 1


def test_b_is_the_length_of_the_queue(launch):
    server = launch("-b", "77")
    shown = subprocess.run(["ss", "-ltnH", f"sport = :{server.port}"], capture_output=True, text=True, check=True)
    assert shown.stdout.split()[2] == "77"
    with server.client() as client:
        assert client.stats(b"settings")["tcp_backlog"] == "77"


def test_without_maxconns_fast_surplus_clients_wait_until_there_is_room(launch):
    server = launch("-c", "100", "-o", "no_maxconns_fast")
    first = server.client()
    taken = []

    def accepting():
        return first.stats()["accepting_conns"] == "1"

    def served(client):
        return bool(select.select([client.socket], [], [], 0)[0])

    # memcached counts its own files too, so it may stop earlier.
    while accepting():
        assert len(taken) < 100
        client = server.client()
        client.send(b"get k\r\n")
        taken.append(client)
        eventually("the client is served or held back", lambda made=client: served(made) or not accepting())
    waiting = taken.pop()
    assert len(taken) > 50 and not served(waiting)
    assert first.stats()["listen_disabled_num"] == "1"
    assert "rejected_connections" not in first.stats()
    for client in taken:
        client.close()
    assert waiting.line() == b"END\r\n"
    stats = first.stats()
    assert stats["accepting_conns"] == "1"
    assert int(stats["time_in_listen_disabled_us"]) > 0
    first.close()
    waiting.close()


def test_idle_clients_are_closed_and_counted(launch):
    server = launch("-o", "idle_timeout=1")
    with server.client() as idle, server.client() as busy:
        idle.ask(b"get k\r\n", b"END\r\n")

        def kicks():
            return int(busy.stats()["idle_kicks"])

        # Who asks all the time stays.
        eventually("the idle client is kicked", kicks)
        assert idle.rest() == b""
        assert kicks() == 1


def test_without_an_idle_timeout_nothing_is_counted(client):
    assert "idle_kicks" not in client.stats()


def test_five_hundred_clients_are_served_at_once(launch):
    server = launch()
    clients = [server.client() for _ in range(500)]
    for number, client in enumerate(clients):
        client.send(stored(f"k{number}", str(number)))
    for client in clients:
        assert client.line() == b"STORED\r\n"
    for number, client in enumerate(clients):
        client.send(f"get k{number}\r\n".encode())
    for number, client in enumerate(clients):
        assert client.read_until(b"END\r\n") == f"VALUE k{number} 0 {len(str(number))}\r\n{number}\r\nEND\r\n".encode()
        client.close()


def test_the_port_file_is_written_whole(launch):
    server = launch()
    assert server.port_file.read_text() == f"TCP INET: {server.port}\n"
    assert not os.path.exists(f"{server.port_file}.lck")
