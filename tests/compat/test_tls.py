"""TLS: what goes through it, who is let in, and what becomes of those who do not speak it."""

import contextlib
import os
import re
import selectors
import shutil
import socket
import ssl
import subprocess
from datetime import datetime, timezone

import bmemcached
import pytest
from pymemcache.client.base import Client as Pymemcache

from .certificates import Identity, new_authority, trusting
from .daemon import ours
from .wire import PATIENCE, RULES_OF_1_6_45, Client, eventually, stored

V1_2, V1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
LONG_AGO = datetime(2020, 1, 1, tzinfo=timezone.utc)
FORGETFUL = "memcached 1.6.18 forgets what it has decrypted behind a large value"
REFUSED = (ssl.SSLError, ConnectionResetError, BrokenPipeError)


@pytest.fixture(scope="module")
def authority():
    return new_authority()


@pytest.fixture(scope="module")
def stranger():
    """An authority that nobody knows."""
    return new_authority()


@pytest.fixture
def identity(authority, tmp_path):
    return Identity(tmp_path / "server", authority)


@pytest.fixture
def authority_file(authority, tmp_path):
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


@pytest.fixture
def server(launch, identity, authority):
    return launch(*identity.options, tls=trusting(authority))


class Door:
    """Another way to a daemon than its first port and usual context."""

    def __init__(self, server, tls=None, number=0):
        self.server, self.tls = server, tls
        self.version_text = server.version_text
        self.port = [int(line.split()[-1]) for line in server.port_file.read_text().splitlines()][number]

    def connect(self, patience=PATIENCE, **more):
        made = socket.create_connection(("127.0.0.1", self.port), patience)
        return self.tls.wrap_socket(made, server_hostname="localhost", **more) if self.tls else made

    def client(self):
        return Client(self)

    def admits(self):
        """Whether a client is served: with TLS 1.3 it learns that from the first answer only."""
        try:
            with self.client() as client:
                client.ask(b"get nothing\r\n", b"END\r\n")
        except REFUSED:
            return False
        except AssertionError as error:
            assert "hung up" in str(error), error
            return False
        return True


def ours_only(server, why):
    if server.version < RULES_OF_1_6_45:
        pytest.skip(why)


@pytest.mark.parametrize("version", [V1_2, V1_3])
@pytest.mark.parametrize("size", [0, 1, 16_383, 16_384, 16_385, 100_000, 1_000_000])
def test_values_of_every_size_go_in_and_come_out(server, authority, version, size):
    value = bytes(index * 7 % 251 for index in range(size))
    with Door(server, trusting(authority, version=version)).client() as client:
        assert client.socket.version() == {V1_2: "TLSv1.2", V1_3: "TLSv1.3"}[version]
        client.send(stored("key", value))
        assert client.line() == b"STORED\r\n"
        client.send(b"get key\r\n")
        expect = b"VALUE key 0 %d\r\n%b\r\nEND\r\n" % (size, value)
        assert client.read(len(expect)) == expect


def test_a_client_that_waits_for_each_answer_gets_one_for_each_large_value(server):
    with server.client() as client:
        for number in range(3):
            client.send(stored("k", os.urandom(100_000 + number)))
            assert client.line() == b"STORED\r\n"
            client.ask(b"mg k s\r\n", b"HD s%d\r\n" % (100_000 + number))


def test_a_request_in_records_of_one_byte_each_is_a_request(server):
    with server.client() as client:
        for byte in stored("key", "value") + b"get key\r\n":
            client.send(bytes([byte]))
        client.ask(b"", b"STORED\r\nVALUE key 0 5\r\nvalue\r\nEND\r\n")


def test_a_record_cut_into_segments_is_a_record(server, authority):
    """The bytes on the wire come in pieces, as a slow network delivers them."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = trusting(authority).wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as wire:
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def wait_for(step):
            while True:
                try:
                    return step()
                except ssl.SSLWantReadError:
                    for byte in outgoing.read():
                        wire.send(bytes([byte]))
                    incoming.write(wire.recv(100))
                finally:
                    for byte in outgoing.read():
                        wire.send(bytes([byte]))

        wait_for(session.do_handshake)
        wait_for(lambda: session.write(stored("key", "v" * 3000) + b"get key\r\n"))
        expect = b"STORED\r\nVALUE key 0 3000\r\n" + b"v" * 3000 + b"\r\nEND\r\n"
        said = b""
        while len(said) < len(expect):
            said += wait_for(lambda: session.read(10_000))
        assert said == expect


def test_many_requests_in_one_record_are_answered_in_order(server):
    with server.client() as client:
        asked = b"".join(stored(f"key{number}", f"value{number}") for number in range(500))
        client.ask(asked, b"STORED\r\n" * 500)
        asked = b"".join(b"get key%d\r\n" % number for number in range(500))
        said = b"".join(
            b"VALUE key%d 0 %d\r\nvalue%d\r\nEND\r\n" % (number, len(f"value{number}"), number) for number in range(500)
        )
        client.ask(asked, said)


def test_large_values_are_pipelined_both_ways(server):
    ours_only(server, FORGETFUL)
    value = b"0123456789abcdef" * 40_000
    with server.client() as client:
        requests = b"".join(stored(f"key{number}", value.decode()) for number in range(8))
        # Not by two threads: a connection of Python's ssl is for one at a time.
        client.send(requests + b"get key0 key1 key2 key3 key4 key5 key6 key7\r\n")
        assert client.read(8 * len(b"STORED\r\n")) == b"STORED\r\n" * 8
        for number in range(8):
            assert client.line() == b"VALUE key%d 0 %d\r\n" % (number, len(value))
            assert client.read(len(value) + 2) == value + b"\r\n"
        assert client.line() == b"END\r\n"


def test_a_client_that_does_not_read_waits_for_nobody_but_itself(server):
    ours_only(server, FORGETFUL)
    value = b"x" * 500_000
    with server.client() as slow, server.client() as other:
        slow.ask(stored("key", value.decode()), b"STORED\r\n")
        slow.send(b"get key\r\n" * 40)
        other.ask(b"get nothing\r\n", b"END\r\n")
        for _ in range(40):
            assert slow.line() == b"VALUE key 0 500000\r\n"
            assert slow.read(500_002 + 5) == value + b"\r\nEND\r\n"


def test_the_binary_protocol_and_meta_commands_are_spoken_too(server):
    with server.client() as client:
        client.ask(b"ms key 2 T0\r\nhi\r\nmg key v\r\n", b"HD\r\nVA 2\r\nhi\r\n")
    with server.client() as client:
        client.send(b"\x80\x0a" + bytes(22))
        assert client.read(24)[:2] == b"\x81\x0a"


def test_quit_ends_the_conversation_and_says_so(server):
    made = Door(server, server.tls).connect(suppress_ragged_eofs=False)
    made.sendall(b"quit\r\n")
    assert made.recv(1) == b""  # a cut would be an error


def test_older_versions_are_refused(server, authority, identity, launch):
    old = trusting(authority)
    with pytest.warns(DeprecationWarning):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    assert not Door(server, old).admits()
    newer = launch("-Z", "-o", identity.options[-1] + ",ssl_min_version=3", tls=trusting(authority))
    assert not Door(newer, trusting(authority, version=V1_2)).admits()
    assert Door(newer, trusting(authority, version=V1_3)).admits()
    with newer.client() as client:
        assert client.stats(b"settings")["ssl_min_version"] == "tlsv1.3"


@pytest.mark.parametrize(
    "said",
    [b"get key\r\n", b"version\r\n" * 20, b"GET / HTTP/1.0\r\n\r\n", b"\x80\x0b" + bytes(22), b"\0" * 5000],
)
def test_whoever_speaks_no_tls_is_hung_up_on_and_counted(server, said):
    with Door(server).client() as plain, server.client() as client:
        plain.send(said)
        assert plain.rest() == b""
        ours_only(server, "memcached counts those only whose first words come at once")
        eventually("it is counted", lambda: client.stats()["ssl_handshake_errors"] == "1")


def test_whoever_watches_connections_is_told_of_failed_handshakes(server):
    with server.client() as watcher:
        watcher.send(b"watch connevents\r\n")
        assert watcher.line() == b"OK\r\n"
        ours_only(server, "1.6.18 tells of those only that broke off")
        with Door(server).client() as plain:
            plain.send(b"get key\r\n")
            assert plain.rest() == b""
        seen = b""
        while b"type=conntlserr" not in seen:
            seen = watcher.read_until(b"\n")
        assert re.fullmatch(rb"ts=[\d.]+ gid=\d+ type=conntlserr fd=\d+ msg=.+\n", seen)


def test_a_greeting_of_tls_is_no_request_where_there_is_none(launch):
    with launch().client() as client:
        client.ask(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03key\r\n", b"ERROR\r\n")


def test_half_a_handshake_holds_up_nobody_and_counts_as_a_connection(server):
    halves = [Door(server).connect() for _ in range(50)]
    for number, half in enumerate(halves):
        half.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[: 1 + number % 11])
    with server.client() as client:
        eventually("they count", lambda: client.stats()["curr_connections"] in ("51", "52"))
        client.ask(stored("key", "value"), b"STORED\r\n")
        for half in halves:
            half.close()
        eventually("they count no more", lambda: client.stats()["curr_connections"] in ("1", "2"))


def test_half_a_handshake_is_cut_off_in_time(server):
    ours_only(server, "memcached waits for ever")
    with Door(server).client() as half, server.client() as client:
        half.socket.settimeout(20)
        half.send(b"\x16\x03\x01\x02\x00\x01")
        assert half.rest() == b""
        assert client.stats()["ssl_handshake_errors"] == "1"
        assert client.stats()["curr_connections"] == "1"


def test_garbage_after_the_handshake_ends_it_and_is_counted(server):
    with server.client() as client:
        client.ask(b"get key\r\n", b"END\r\n")
        with socket.socket(fileno=socket.dup(client.socket.fileno())) as wire:
            wire.sendall(b"get key\r\n" * 10)
        with pytest.raises((ssl.SSLError, AssertionError, ConnectionResetError)):
            client.talk(b"get key\r\n")
    ours_only(server, "1.6.18 does not count it")
    with server.client() as client:
        assert client.stats()["ssl_proto_errors"] == "1"


def test_too_many_clients_are_told_in_plain_words(launch, identity, authority):
    server = launch(*identity.options, "-c", "30", tls=trusting(authority))
    halves = []
    with contextlib.closing(selectors.DefaultSelector()) as selector:
        for _ in range(31):  # memcached counts its own files too, so it may refuse earlier
            halves.append(Door(server).connect())
            selector.register(halves[-1], selectors.EVENT_READ)
        said = selector.select(PATIENCE)[0][0].fileobj.recv(100)
    assert said == b"ERROR Too many open connections\r\n"
    for half in halves:
        half.close()


def test_an_idle_client_is_sent_away(launch, identity, authority):
    server = launch("-Z", "-o", identity.options[-1] + ",idle_timeout=1", tls=trusting(authority))
    with server.client() as client:
        client.ask(b"get key\r\n", b"END\r\n")
        assert client.rest() == b""


# What ssl_verify_mode lets in: no certificate, one of the authority's, one of a stranger's.
ADMITTED = {0: (True, True, True), 1: (True, True, False), 2: (False, True, False), 3: (False, True, False)}


@pytest.mark.parametrize("mode", ADMITTED)
def test_clients_certificates_are_verified_as_the_mode_says(
    binary, launch, identity, authority, stranger, authority_file, tmp_path, mode
):
    known = Identity(tmp_path / "known", authority)
    options = f"{identity.options[-1]},ssl_verify_mode={mode},ssl_ca_cert={authority_file}"
    server = launch("-Z", "-o", options, tls=trusting(authority, known))
    unknown = trusting(authority, Identity(tmp_path / "unknown", stranger))
    doors = [trusting(authority), trusting(authority, known), unknown]
    assert tuple(Door(server, door).admits() for door in doors) == ADMITTED[mode]
    with server.client() as client:
        settings = client.stats(b"settings")
        assert settings["ssl_verify_mode"] == {0: "0", 1: "1", 2: "3", 3: "7"}[mode]
        assert settings["ssl_ca_cert"] == str(authority_file)


def test_an_expired_certificate_lets_nobody_in(launch, identity, authority, authority_file, tmp_path):
    expired = Identity(tmp_path / "expired", authority, not_before=LONG_AGO, not_after=LONG_AGO.replace(year=2021))
    options = f"{identity.options[-1]},ssl_verify_mode=2,ssl_ca_cert={authority_file}"
    server = launch("-Z", "-o", options, tls=trusting(authority, identity))
    assert not Door(server, trusting(authority, expired)).admits()


def test_a_client_knows_the_server_by_its_certificate(launch, authority, stranger, tmp_path):
    old = Identity(tmp_path / "old", authority, not_before=LONG_AGO, not_after=LONG_AGO.replace(year=2021))
    careless = ssl._create_unverified_context()
    server = launch(*old.options, tls=careless)
    assert not Door(server, trusting(authority)).admits()
    server = launch(*Identity(tmp_path / "new", authority).options, tls=careless)
    assert not Door(server, trusting(stranger)).admits()
    assert Door(server, trusting(authority)).admits()


def test_a_chain_is_shown_in_full(launch, authority, tmp_path):
    between = authority.create_child_ca()
    server = launch(*Identity(tmp_path / "chain", between).options, tls=trusting(authority))
    assert Door(server, trusting(authority)).admits()


def test_a_listener_can_be_plain(launch, identity, authority):
    server = launch(*identity.options, listen=("-l", "127.0.0.1,notls:127.0.0.1", "-p", "-1"), tls=trusting(authority))
    assert Door(server, number=1).admits()
    assert not Door(server, number=0).admits()


def test_a_unix_socket_is_plain(launch, identity, tmp_path):
    server = launch(*identity.options, "-s", str(tmp_path / "socket"), listen=())
    with server.client() as client:
        client.ask(b"get key\r\n", b"END\r\n")


def test_a_listener_can_say_who_shows_a_certificate(binary, launch, identity, authority, authority_file, tmp_path):
    if binary.resolve().name != "paircached":
        pytest.skip("1.6.18 knows notls only")
    known = trusting(authority, Identity(tmp_path / "known", authority))
    options = f"{identity.options[-1]},ssl_verify_mode=1,ssl_ca_cert={authority_file},ssl_session_cache"
    listen = ("-l", "127.0.0.1,btls:127.0.0.1,mtls:127.0.0.1", "-p", "-1")
    server = launch("-Z", "-o", options, listen=listen, tls=known)
    nameless = trusting(authority)
    assert [Door(server, nameless, number).admits() for number in range(3)] == [True, True, False]
    assert [Door(server, known, number).admits() for number in range(3)] == [True, True, True]


def test_a_session_without_a_certificate_opens_no_door_that_asks_for_one(
    binary, launch, identity, authority, authority_file
):
    if binary.resolve().name != "paircached":
        pytest.skip("1.6.18 knows notls only")
    context = trusting(authority, version=V1_2)
    options = f"{identity.options[-1]},ssl_ca_cert={authority_file},ssl_session_cache"
    server = launch("-Z", "-o", options, listen=("-l", "127.0.0.1,mtls:127.0.0.1", "-p", "-1"), tls=context)
    with Door(server, context).connect() as first:
        session = first.session
    with Door(server, context).connect(session=session) as again:
        assert again.session_reused
    with pytest.raises(REFUSED):
        Door(server, context, number=1).connect(session=session)


@pytest.mark.parametrize("version", [V1_2, V1_3])
def test_sessions_are_resumed_if_that_is_asked_for(launch, identity, authority, version):
    context = trusting(authority, version=version)
    server = launch("-Z", "-o", identity.options[-1] + ",ssl_session_cache", tls=context)

    def reused(session=None):
        with Door(server, context).connect(session=session) as made:
            made.sendall(b"version\r\n")
            made.recv(100)  # tickets of TLS 1.3 come with the first answer
            return made.session_reused, made.session

    _, session = reused()
    assert reused(session)[0]
    with server.client() as client:
        assert client.stats(b"settings")["ssl_session_cache"] == "yes"
        if version == V1_2:
            ours_only(server, "memcached 1.6.18 counts none of TLS 1.2")
        assert int(client.stats()["ssl_new_sessions"]) >= 2


def test_sessions_are_not_resumed_without_being_asked_for(server, authority):
    ours_only(server, "memcached hands out tickets all the same")
    for version in (V1_2, V1_3):
        context = trusting(authority, version=version)
        with Door(server, context).connect() as first:
            first.sendall(b"version\r\n")
            first.recv(100)
            with Door(server, context).connect(session=first.session) as again:
                assert not again.session_reused


def test_statistics_tell_of_tls(server, identity):
    with server.client() as client:
        stats = client.stats()
        assert "ssl_new_sessions" not in stats
        assert stats["ssl_handshake_errors"] == "0"
        assert int(stats["time_since_server_cert_refresh"]) < 100
        settings = client.stats(b"settings")
        shown = {name: value for name, value in settings.items() if name.startswith("ssl_")}
        assert list(shown.items()) == [
            ("ssl_enabled", "yes"),
            ("ssl_chain_cert", str(identity.chain)),
            ("ssl_key", str(identity.key)),
            ("ssl_verify_mode", "0"),
            ("ssl_keyformat", "1"),
            ("ssl_ciphers", "NULL"),
            ("ssl_ca_cert", "NULL"),
            ("ssl_wbuf_size", "16384"),
            ("ssl_session_cache", "no"),
            ("ssl_kernel_tls", "no"),
            ("ssl_min_version", "tlsv1.2"),
        ]
        ours_only(server, "1.6.18 has other statistics")
        names = list(stats)
        at = names.index("log_watchers")
        assert names[at + 1 : at + 5] == [
            "ssl_handshake_errors",
            "ssl_proto_errors",
            "time_since_server_cert_refresh",
            "unexpected_napi_ids",
        ]


def test_what_is_not_asked_for_is_shown_as_such(launch):
    with launch("-o", "ssl_verify_mode=1,ssl_wbuf_size=32,ssl_ciphers=HIGH,ssl_kernel_tls").client() as client:
        settings = client.stats(b"settings")
        assert settings["ssl_enabled"] == "no"
        assert settings["ssl_chain_cert"] == settings["ssl_key"] == "(null)"
        assert (settings["ssl_ciphers"], settings["ssl_wbuf_size"]) == ("HIGH", "32768")
        assert not [name for name in client.stats() if name.startswith("ssl_") or "cert" in name]


def test_pymemcache_works_through_tls(server):
    client = Pymemcache(("localhost", server.port), timeout=10, tls_context=server.tls)
    assert client.set("key", b"v" * 300_000, noreply=False)
    assert client.get("key") == b"v" * 300_000
    assert client.set_many({f"many{number}": b"x" * 5000 for number in range(200)}) == []
    assert len(client.get_many([f"many{number}" for number in range(200)])) == 200
    assert client.incr("absent", 1) is None
    client.close()


def test_python_binary_memcached_works_through_tls(server):
    client = bmemcached.Client((f"localhost:{server.port}",), tls_context=server.tls)
    assert client.set("key", "value" * 60_000)
    assert client.get("key") == "value" * 60_000
    assert client.set("number", 5) and client.incr("number", 2) == 7
    assert client.delete("key") and client.get("key") is None
    client.disconnect_all()


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")
@pytest.mark.parametrize("option", ["-tls1_2", "-tls1_3"])
def test_openssl_s_client_works(server, authority_file, option):
    command = ["openssl", "s_client", "-quiet", option, "-verify_return_error", "-CAfile", str(authority_file)]
    done = subprocess.run(
        [*command, "-connect", server.address],
        input=b"set key 0 0 5\r\nvalue\r\nget key\r\nquit\r\n",
        capture_output=True,
        timeout=20,
        check=False,
    )
    assert done.stdout == b"STORED\r\nVALUE key 0 5\r\nvalue\r\nEND\r\n", done.stderr


def pairctl(*words):
    command = [str(ours().parent / "pairctl"), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stdout, done.stderr


def test_pairctl_asks_and_loads_through_tls(server, authority_file):
    node = ["-s", f"localhost:{server.port}", "--tls", "--ca", authority_file]
    code, said, errors = pairctl(*node, "stats", "settings")
    assert (code, errors) == (0, "") and "ssl_enabled yes\n" in said
    ours_only(server, FORGETFUL)
    load = ["bench", "--fill", "--keys", 100, "--value-size", "1-50000", "--requests", 2000, "--pipeline", 10]
    code, said, errors = pairctl(*node, *load, "--connections", 5)
    assert (code, errors) == (0, ""), errors


def test_pairctl_shows_a_certificate_where_one_is_asked_for(launch, identity, authority, authority_file, tmp_path):
    known = Identity(tmp_path / "known", authority)
    options = f"{identity.options[-1]},ssl_verify_mode=2,ssl_ca_cert={authority_file}"
    server = launch("-Z", "-o", options, tls=trusting(authority, known))
    node = ["-s", server.address, "--tls", "--ca", authority_file]
    assert pairctl(*node, "--cert", known.chain, "--key", known.key, "stats")[0] == 0
    code, _, errors = pairctl(*node, "stats")
    assert code == 3 and "does it ask for one (--cert)?" in errors


def test_pairctl_says_what_keeps_it_from_speaking_tls(launch, server, stranger, authority_file, tmp_path):
    def fails(node, code, says):
        found, _, errors = pairctl(*node, "stats")
        assert found == code and says in errors, errors

    unknown = tmp_path / "stranger.pem"
    stranger.cert_pem.write_to_path(unknown)
    fails(["-s", server.address, "--tls", "--ca", unknown], 3, "UnknownIssuer")
    fails(["-s", f"127.0.0.2:{server.port}", "--tls", "--ca", authority_file], 3, "127.0.0.2")
    fails(["-s", server.address], 3, "does it speak TLS only (--tls)?")
    fails(["-s", launch().address, "--tls", "--ca", authority_file], 3, "does it speak TLS there")
    fails(["-s", server.address, "--tls", "--ca", "/nonexistent"], 2, "/nonexistent")
    fails(["-s", server.address, "--tls"], 2, "--ca")
