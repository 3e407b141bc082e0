"""What may stand before and in an address of -l."""

import re
import socket
import stat

import pytest

from . import daemon
from .test_listeners import free_port, refused, says_end
from .wire import PATIENCE, RULES_OF_1_6_45

OS_ERROR = 71
VERSION = b"\x80\x0b" + bytes(22)


@pytest.fixture
def newest(binary):
    """The version in the program's own words: most of this came after Debian's."""
    said = daemon.run(binary, "-V").stdout
    if tuple(map(int, re.search(r"(\d+)\.(\d+)\.(\d+)", said).groups())) < RULES_OF_1_6_45:
        pytest.skip("1.6.18 knows no word before an address but notls")


@pytest.fixture
def own(binary):
    if "paircached" not in binary.name:
        pytest.skip("memcached listens on a Unix socket or on addresses, not on both")


def answer(address, said):
    """What comes back first, or nothing where the server hangs up."""
    with socket.create_connection(address, PATIENCE) as made:
        made.sendall(said)
        try:
            return made.recv(100)
        except ConnectionResetError:
            return b""


def test_each_address_has_its_own_protocol(newest, launch):
    text, frames, both = ports = [free_port() for _ in range(3)]
    listen = "proto[ascii]:127.0.0.1:{},proto[binary]:127.0.0.1:{},proto[negotiating]:127.0.0.1:{}"
    server = launch(listen=("-l", listen.format(*ports)))
    assert server.port == text
    assert answer(("127.0.0.1", text), b"mn\r\n") == b"MN\r\n"
    assert answer(("127.0.0.1", text), VERSION + b"\r\n") == b"ERROR\r\n"
    assert answer(("127.0.0.1", frames), VERSION)[:2] == b"\x81\x0b"
    assert answer(("127.0.0.1", frames), b"mn\r\n" + bytes(20)) == b""
    assert answer(("127.0.0.1", both), VERSION)[:2] == b"\x81\x0b"
    assert answer(("127.0.0.1", both), b"mn\r\n") == b"MN\r\n"


def test_an_address_without_a_protocol_has_that_of_B(newest, launch):
    ascii, any = free_port(), free_port()
    listen = f"127.0.0.1:{ascii},proto[negotiating]:127.0.0.1:{any}"
    server = launch("-B", "ascii", listen=("-l", listen))
    with server.client() as client:
        assert client.stats(b"settings")["binding_protocol"] == "ascii"
        assert client.stats(b"settings")["inter"] == listen
    assert answer(("127.0.0.1", ascii), VERSION + b"\r\n") == b"ERROR\r\n"
    assert answer(("127.0.0.1", any), VERSION)[:2] == b"\x81\x0b"


@pytest.mark.parametrize("tag", ["tag[front]:", "tag_b_:", "proto[ascii]:tag[12345678]:"])
def test_an_address_may_have_a_tag(newest, launch, tag):
    port = free_port()
    launch(listen=("-l", f"{tag}127.0.0.1:{port}"))
    assert says_end(("127.0.0.1", port))


@pytest.mark.parametrize(
    "address, says",
    [
        ("proto[ascii:127.0.0.1", "Invalid protocol spec: "),
        ("tag[a:127.0.0.1", "Invalid tag in socket config: "),
        ("tag[]:127.0.0.1", "Listener tags must be between 1 and 8 characters: "),
        ("tag_123456789_:127.0.0.1", "Listener tags must be between 1 and 8 characters: "),
        ("notls:127.0.0.1", "'notls' option is valid only when SSL is enabled"),
        ("btls:127.0.0.1", "'btls' option is valid only when SSL is enabled"),
    ],
)
def test_what_stands_before_an_address_must_be_right(newest, binary, address, says):
    done = daemon.run(binary, "-p", "-1", "-l", address)
    assert done.returncode == OS_ERROR
    assert says in done.stderr
    assert f"failed to listen on one of interface(s) {address}" in done.stderr


def test_a_path_in_l_is_a_unix_socket_beside_the_addresses(own, launch, tmp_path):
    path, port = tmp_path / "socket", free_port()
    server = launch("-a", "0770", listen=("-l", f"127.0.0.1:{port},proto[binary]:{path}"))
    assert server.port_file.read_text() == f"TCP INET: {port}\n"
    assert says_end(("127.0.0.1", port))
    assert stat.S_IMODE(path.stat().st_mode) == 0o770
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(VERSION)
        assert client.recv(100)[:2] == b"\x81\x0b"
    with server.client() as client:
        assert client.stats(b"settings")["domain_socket"] == "NULL"
        assert client.stats(b"settings")["inter"] == f"127.0.0.1:{port},proto[binary]:{path}"


def test_with_port_0_only_the_paths_of_l_are_listened_on(own, launch, tmp_path):
    path, port = tmp_path / "socket", free_port()
    server = launch("-p", "0", listen=("-l", f"{path}", "-l", f"127.0.0.1:{port}"), path=path)
    assert server.port_file.read_text() == ""
    assert path.exists() and refused(("127.0.0.1", port))


def test_a_socket_left_behind_by_a_path_of_l_is_replaced_and_another_file_is_not(own, binary, launch, tmp_path):
    path, port = tmp_path / "socket", free_port()
    launch(listen=("-l", f"127.0.0.1:{port},{path}")).stop()
    assert path.exists()
    launch(listen=("-l", f"127.0.0.1:{port},{path}")).stop()
    path.unlink()
    path.write_text("precious")
    done = daemon.run(binary, "-u", "root", "-p", "0", "-l", path)
    assert done.returncode == OS_ERROR
    assert f"failed to listen on UNIX socket: {path}: Address already in use" in done.stderr
    assert path.read_text() == "precious"
