"""What docs/compatibility.md says of the differences to memcached, where no other test shows it."""

import ast
import contextlib
import re
import socket
import struct

import pytest

from . import daemon
from .certificates import Identity, new_authority, trusting
from .test_watch import Watcher, fields
from .wire import PATIENCE, stored

TABLE = daemon.TOP / "docs" / "compatibility.md"
ROW = re.compile(r"\| .* \|")
TEST = re.compile(r"`(\w+\.py::\w+(?:::\w+)?)`")
HARMLESS = ("-u", "root", "-l", "127.0.0.1", "-p", "-1")


def names(path):
    """The tests of a file, as pytest names them."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef):
            yield from (f"{path.name}::{node.name}::{part.name}" for part in node.body if hasattr(part, "name"))
        elif isinstance(node, ast.FunctionDef):
            yield f"{path.name}::{node.name}"


def test_every_difference_that_is_documented_has_its_test():
    folder = daemon.TOP / "tests"
    known = {name for path in folder.glob("*/test_*.py") for name in names(path)}
    known = {name for name in known if name.rpartition("::")[2].startswith("test_")}
    rows = [line for line in TABLE.read_text().splitlines() if line.startswith("|")]
    rows = [row for row in rows if not re.match(r"\|(-|.*\| Test \|$)", row)]
    assert len(rows) > 40
    for row in rows:
        assert row.count(" | ") == 3, f"not of four columns: {row}"
        named = TEST.findall(row.rsplit(" | ", 1)[1])
        assert named, f"no test named: {row}"
        assert set(named) <= known, f"no such test: {row}"


@pytest.fixture
def own(binary):
    if binary.resolve().name != "paircached":
        pytest.skip("a difference")


@pytest.fixture(scope="module")
def authority():
    return new_authority()


@pytest.fixture
def identity(authority, tmp_path):
    return Identity(tmp_path / "server", authority)


def test_an_unknown_protocol_of_an_address_ends_the_start(own, binary):
    done = daemon.run(binary, "-u", "root", "-p", "-1", "-l", "proto[typo]:127.0.0.1")
    assert done.returncode == 71
    assert 'Invalid protocol spec: "proto[typo]:127.0.0.1"' in done.stderr


def test_a_slab_chunk_max_of_0_ends_the_start(own, binary):
    done = daemon.run(binary, *HARMLESS, "-o", "slab_chunk_max=0")
    assert done.returncode == 1
    assert "slab_chunk_max must be greater than 0" in done.stderr


def test_a_small_hashpower_with_many_threads_is_taken(own, launch):
    with launch("-o", "hashpower=12", "-t", "6").client() as client:
        client.ask(stored("k", "v"), b"STORED\r\n")


def test_a_long_line_of_passwords_ends_the_start(own, binary, tmp_path):
    users = tmp_path / "users"
    users.write_text("u:" + "p" * 254 + "\n")
    done = daemon.run(binary, *HARMLESS, "-Y", users)
    assert done.returncode == 1
    assert f"Authfile [{users}] has a malformed entry." in done.stderr


@pytest.mark.parametrize("option", ["-p", "-U", "-m", "-c", "-t", "-R", "-n", "-f", "-a", "-b"])
@pytest.mark.parametrize("value", ["x", "", "-", "99999999999999999999"])
def test_a_value_that_begins_with_no_number_ends_the_start(own, binary, option, value):
    if option == "-f" and value.isdigit():
        pytest.skip("a factor may be as large as it likes")
    done = daemon.run(binary, *HARMLESS, option, value)
    assert done.returncode in (1, 64) and done.stderr


def test_as_many_clients_as_c_says_are_served(own, launch):
    server = launch("-c", "5")
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.client()) for _ in range(5)]
        for client in clients:
            client.ask(b"mn\r\n", b"MN\r\n")
        with server.client() as surplus:
            assert surplus.rest() == b"ERROR Too many open connections\r\n"


def test_statistics_of_parts_that_are_not_here_are_0(own, client):
    client.talk(stored("k", "v") * 100 + b"get k\r\n" * 100)
    absent = re.compile(
        "response_obj_.*|read_buf_.*|reserved_fds|slab_.*|slabs_moved|lru_crawler_running|lru_maintainer_juggles"
        "|malloc_fails|lrutail_reflocked|moves_.*|direct_reclaims|lru_bumps_dropped"
    )
    stats = client.stats()
    found = {name: value for name, value in stats.items() if absent.fullmatch(name)}
    assert len(found) == 27 and set(found.values()) == {"0"}
    assert stats["libevent"].startswith("none ")


def test_all_items_of_a_class_are_cold(own, launch):
    with launch().client() as client:
        client.talk(stored("a", "v") + stored("b", "v") + b"get a b\r\n")
        stats = client.stats(b"items")
    wanted = {"number": "2", "number_hot": "0", "number_warm": "0", "number_cold": "2", "hits_to_cold": "2"}
    assert {name: stats[f"items:1:{name}"] for name in wanted} == wanted


@pytest.mark.parametrize("option", ["-S", "-Y"])
def test_passwords_are_read_at_the_start_not_at_each_login(own, launch, tmp_path, option):
    users = tmp_path / "users"
    users.write_text("u:p\n")
    users.chmod(0o600)
    if option == "-S":
        server = launch("-S", env={"MEMCACHED_SASL_PWDB": str(users)})
        login, welcome = b"\x80\x21" + struct.pack(">HBBHIIQ", 5, 0, 0, 0, 9, 0, 0) + b"PLAIN\0u\0p", b"\x81\x21"
    else:
        server, login, welcome = launch("-Y", users), b"set u 0 0 3\r\nu p\r\n", b"STORED\r\n"
    users.write_text("u:q\n")
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as client:
        client.sendall(login)
        said = client.recv(100)
        assert said.startswith(welcome) and said[6:8] in (b"\0\0", b"\r\n"), said


def test_a_long_value_is_no_number(own, client):
    refused = b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"
    client.ask(stored("k", "12 " + "x" * 17) + b"incr k 1\r\n", b"STORED\r\n13\r\n")
    client.ask(stored("k", "12 " + "x" * 18) + b"incr k 1\r\nma k\r\n", b"STORED\r\n" + refused * 2)


def test_an_ended_item_shows_no_time_left(own, client):
    client.ask(stored("k", "a") + b"mg k T-1 t\r\n", b"STORED\r\nHD t0\r\n")
    client.ask(b"set n 0 0 1\r\n5\r\nma n T-1 t\r\n", b"STORED\r\nHD t0\r\n")


def test_a_key_in_base64_is_shown_so_by_the_command_that_makes_its_item(own, client):
    client.ask(b"mg CQo= b N30 k\r\n", b"HD kCQo= b W\r\n")
    client.ask(b"ms CQo= 1 b MA k\r\na\r\nmg CQo= b k v\r\n", b"HD kCQo= b\r\nVA 1 kCQo= b\r\na\r\n")


def test_me_decodes_a_key_without_another_word(own, client):
    client.ask(stored("foo", "a"), b"STORED\r\n")
    assert client.talk(b"me Zm9v b\r\n").startswith(b"ME foo exp=-1 ")


def test_a_line_of_more_than_a_mebibyte_is_hung_up_on(own, client):
    client.send(b"get" + b" nosuch-key" * 100_000)
    assert client.rest() == b""


def test_what_is_tuned_in_vain_is_shown_as_it_was_at_the_start(own, launch):
    with launch().client() as client:
        before = client.stats(b"settings")
        client.ask(b"slabs automove 0\r\nslabs automove window 99\r\nslabs automove ratio 0.5\r\n", b"OK\r\n" * 3)
        client.ask(b"lru mode flat\r\nlru temp_ttl 9\r\nlru tune 10 20 0.5 3\r\n", b"OK\r\n" * 3)
        client.ask(b"lru_crawler sleep 7\r\nlru_crawler tocrawl 8\r\n", b"OK\r\n" * 2)
        assert client.stats(b"settings") == before


def test_a_crawl_of_one_class_searches_all(own, launch):
    with launch("-o", "relaxed_privileges").client() as client:
        client.ask(stored("small", "a", exptime=10) + stored("large", "a" * 5000, exptime=10), b"STORED\r\n" * 2)
        client.ask(b"debugtime 20\r\nlru_crawler crawl 1\r\n", b"OK\r\n" * 2)
        while client.stats()["curr_items"] != "0":
            pass


def test_keys_that_no_line_can_hold_are_left_out_of_what_shows_lines(own, launch):
    key = b"a:b c"
    frame = b"\x80\x01" + struct.pack(">HBBHIIQ", len(key), 8, 0, 0, 8 + len(key), 0, 0) + bytes(8) + key
    server = launch("-D", ":")
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as binary:
        spaced = frame.replace(key, b"a b:c")
        binary.sendall(frame + spaced)
        assert binary.recv(48, socket.MSG_WAITALL)[24:26] == b"\x81\x01"
    with server.client() as client:
        client.ask(b"stats cachedump 1 0\r\n", b"END\r\n")
        client.ask(b"stats detail dump\r\n", b"PREFIX a get 0 hit 0 set 1 del 0\r\nEND\r\n")


def test_with_X_the_binary_protocol_shows_no_detail(own, launch):
    server = launch("-X")
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as client:
        client.sendall(b"\x80\x10" + struct.pack(">HBBHIIQ", 9, 0, 0, 0, 9, 0, 0) + b"detail on")
        assert client.recv(24, socket.MSG_WAITALL)[6:8] != b"\0\0"


def test_a_write_over_a_dead_item_tells_watchers_of_none(own, launch):
    with launch().client() as client, Watcher(client.server, "fetchers") as watcher:
        client.talk(stored("k", "a", exptime=-1) + stored("k", "b"))
        assert [fields(line)["status"] for line in watcher.lines(2)] == ["not_found"] * 2


def test_watch_may_stand_behind_what_noreply_silenced(own, client):
    client.send(b"set k 0 0 1 noreply\r\na\r\nwatch\r\n")
    assert client.line() == b"OK\r\n"


def test_several_clients_may_dump_at_once(own, launch):
    server = launch()
    with server.client() as client, server.client() as other:
        for number in range(0, 20_000, 1000):
            keys = (b"%0100d" % key for key in range(number, number + 1000))
            client.ask(b"".join(b"set %s 0 0 0\r\n\r\n" % key for key in keys), b"STORED\r\n" * 1000)
        client.send(b"lru_crawler metadump all\r\n")
        assert client.read(4) == b"OK\r\n"
        other.send(b"lru_crawler metadump all\r\n")
        assert other.read_until(b"END\r\n").count(b"\n") == 20_002
        assert client.read_until(b"END\r\n").count(b"\n") == 20_001  # its OK is read


def test_a_dump_too_long_to_keep_is_not_answered_by_udp(own, launch):
    server = launch("-U", "-1", "-t", "1")
    port = int(server.port_file.read_text().splitlines()[1].removeprefix("UDP INET: "))
    with server.client() as client, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        for start in range(0, 3000, 1000):
            keys = (b"%0200d" % key for key in range(start, start + 1000))
            client.ask(b"".join(b"set %s 0 0 0\r\n\r\n" % key for key in keys), b"STORED\r\n" * 1000)
        number = next(name.split(":")[1] for name in client.stats(b"items"))
        datagrams.settimeout(PATIENCE)
        datagrams.connect(("127.0.0.1", port))
        datagrams.send(b"\0\1\0\0\0\1\0\0" + f"stats cachedump {number} 0\r\n".encode())
        datagrams.send(b"\0\2\0\0\0\1\0\0mn\r\n")
        assert datagrams.recv(2000)[:2] == b"\0\2"


@pytest.mark.parametrize("word, option", [("", "ssl_verify_mode=2"), ("", "ssl_verify_mode=3"), ("mtls:", "")])
def test_a_certificate_asked_for_that_nobody_could_verify_ends_the_start(own, binary, identity, word, option):
    options = ",".join(filter(None, [identity.options[-1], option]))
    done = daemon.run(binary, "-u", "root", "-p", "-1", "-l", f"{word}127.0.0.1", "-Z", "-o", options)
    assert done.returncode != 0 and "ssl_ca_cert" in done.stderr


def test_a_certificate_that_may_be_shown_is_not_asked_for_without_authority(own, launch, identity, authority):
    server = launch("-Z", "-o", identity.options[-1] + ",ssl_verify_mode=1", tls=trusting(authority))
    with server.client() as client:
        client.ask(b"mn\r\n", b"MN\r\n")
    assert "ssl_ca_cert" in server.log.read_text()


def test_a_client_needs_a_certificate_of_its_own_and_its_authority_no_root(own, launch, identity, authority, tmp_path):
    child = new_authority().create_child_ca()
    trusted = tmp_path / "ca.pem"
    child.cert_pem.write_to_path(trusted)
    known = Identity(tmp_path / "known", child)
    as_authority = Identity(tmp_path / "authority", child)
    as_authority.chain.write_bytes(child.cert_pem.bytes())
    as_authority.key.write_bytes(child.private_key_pem.bytes())
    options = f"{identity.options[-1]},ssl_verify_mode=2,ssl_ca_cert={trusted}"
    server = launch("-Z", "-o", options, tls=trusting(authority, known))
    with server.client() as client:
        client.ask(b"mn\r\n", b"MN\r\n")
    server.tls = trusting(authority, as_authority)
    with pytest.raises(OSError), server.client() as client:
        client.send(b"mn\r\n")
        if not client.rest():
            raise OSError("hung up on")
