"""More client libraries: over the binary protocol, asynchronous, with hashing and pools."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import aiomcache
import bmemcached
import pylibmc
import pytest
from pymemcache import MemcacheUnknownCommandError
from pymemcache.client.base import Client as Pymemcache
from pymemcache.client.base import PooledClient
from pymemcache.client.hash import HashClient

from .certificates import Identity, new_authority, trusting
from .daemon import SASL_PLUGINS
from .wire import eventually

LARGE = "0123456789" * 60_000
TOO_LARGE = b"x" * (1 << 20)


@pytest.fixture(params=["plain", "with a password", "through TLS"])
def binary_memcached(request, binary, launch, tmp_path):
    if request.param != "plain" and binary.resolve().name != "paircached":
        pytest.skip("Debian's memcached has no file of passwords, and its TLS forgets what is pipelined")
    login = {}
    if request.param == "with a password":
        users = tmp_path / "users"
        users.write_text("foo:bar\n")
        server = launch("-S", env={"MEMCACHED_SASL_PWDB": str(users)})
        login = {"username": "foo", "password": "bar"}
    elif request.param == "through TLS":
        authority = new_authority()
        tls = trusting(authority)
        server = launch(*Identity(tmp_path / "server", authority).options, tls=tls)
        login = {"tls_context": tls}
    else:
        server = launch()
    client = bmemcached.Client([f"localhost:{server.port}"], socket_timeout=10, **login)
    client.pid = server.pid
    yield client
    client.disconnect_all()


@pytest.fixture(params=["plain", "with a password"])
def connect_libmc(request, binary, launch, tmp_path):
    """Makes clients of one daemon."""
    login = {}
    if request.param == "plain":
        server = launch()
    elif binary.resolve().name != "paircached":
        pytest.skip("Debian's memcached has no file of passwords")
    elif not (pylibmc.support_sasl and SASL_PLUGINS):
        pytest.skip("pylibmc is built without SASL, or libsasl's plugins are not installed")
    else:
        users = tmp_path / "users"
        users.write_text("foo:bar\n")
        server = launch("-S", env={"MEMCACHED_SASL_PWDB": str(users)})
        login = {"username": "foo", "password": "bar"}
    made = []

    def connect(**behaviors):
        made.append(pylibmc.Client([server.address], binary=True, behaviors=behaviors, **login))
        return made[-1]

    yield connect
    for client in made:
        client.disconnect_all()


@pytest.fixture
def binary_libmc(connect_libmc):
    return connect_libmc(cas=True, tcp_nodelay=True)


class TestPythonBinaryMemcached:
    def test_values_of_any_type(self, binary_memcached):
        for value in ("text", "ünïcödé ✓", b"\x00\xff\r\n", 42, 2**40, 1.5, [1, {"a": (2, 3)}]):
            assert binary_memcached.set("k", value)
            assert binary_memcached.get("k") == value
        assert binary_memcached.get("nosuch") is None
        assert binary_memcached.get("nosuch", "default") == "default"

    def test_many_at_once(self, binary_memcached):
        values = {f"key{number}": f"v{number}" for number in range(500)}
        assert binary_memcached.set_multi(values) == []
        assert binary_memcached.get_multi([*values, "nosuch"]) == values
        assert binary_memcached.delete_multi(list(values))
        assert binary_memcached.get_multi(list(values)) == {}

    def test_conditional_stores(self, binary_memcached):
        assert not binary_memcached.replace("k", "x")
        assert binary_memcached.add("k", "b")
        assert not binary_memcached.add("k", "x")
        assert binary_memcached.replace("k", "new")
        assert binary_memcached.get("k") == "new"

    def test_cas(self, binary_memcached):
        assert binary_memcached.gets("k") == (None, None)
        binary_memcached.set("k", "old")
        value, number = binary_memcached.gets("k")
        assert value == "old" and number
        assert binary_memcached.cas("k", "new", number)
        assert not binary_memcached.cas("k", "newer", number)
        assert binary_memcached.get("k", get_cas=True)[0] == "new"
        found = binary_memcached.get_multi(["k"], get_cas=True)
        assert [value for value, _ in found.values()] == ["new"]

    def test_counting(self, binary_memcached):
        assert binary_memcached.incr("n", 5, default=100) == 100
        assert binary_memcached.incr("n", 5) == 105 and binary_memcached.decr("n", 200) == 0
        assert binary_memcached.get("n") is not None

    def test_times_and_removal(self, binary_memcached):
        binary_memcached.set("short", "v", time=1)
        binary_memcached.set("k", "v", time=int(time.time()) + 100)
        eventually("it expires", lambda: binary_memcached.get("short") is None)
        assert binary_memcached.get("k") == "v"
        assert binary_memcached.delete("k") and binary_memcached.get("k") is None
        binary_memcached.set("k", "v")
        assert binary_memcached.delete("k", cas=1) is False and binary_memcached.get("k") == "v"
        assert binary_memcached.flush_all() and binary_memcached.get("k") is None

    def test_large_values(self, binary_memcached):
        # Compressed by the library, unless it is told not to.
        assert binary_memcached.set("packed", LARGE) and binary_memcached.get("packed") == LARGE
        assert binary_memcached.set("large", LARGE, compress_level=0) and binary_memcached.get("large") == LARGE

    def test_stats(self, binary_memcached):
        ((_, stats),) = binary_memcached.stats().items()
        assert int(stats["pid"]) == binary_memcached.pid
        ((_, settings),) = binary_memcached.stats("settings").items()
        assert int(settings["maxbytes"]) == 64 << 20


class TestAiomcache:
    """Each test is one conversation of one event loop."""

    @staticmethod
    def play(server, conversation):
        async def whole():
            client = aiomcache.Client("127.0.0.1", server.port, pool_size=4)
            try:
                await conversation(client)
            finally:
                await client.close()

        asyncio.run(whole())

    def test_values_and_many_at_once(self, server):
        async def conversation(client):
            assert await client.get(b"nosuch") is None
            assert await client.get(b"nosuch", b"default") == b"default"
            assert await client.set(b"k", b"\x00\xff\r\n") and await client.get(b"k") == b"\x00\xff\r\n"
            for number in range(50):
                await client.set(b"k%d" % number, b"%d" % number)
            assert await client.multi_get(b"k0", b"nosuch", b"k49") == (b"0", None, b"49")
            value, cas = await client.gets(b"k0")
            assert value == b"0" and cas

        self.play(server, conversation)

    def test_conditional_stores_and_cas(self, server):
        async def conversation(client):
            assert not await client.replace(b"k", b"x")
            assert await client.add(b"k", b"b")
            assert not await client.add(b"k", b"x")
            assert await client.append(b"k", b"c") and await client.prepend(b"k", b"a")
            assert await client.get(b"k") == b"abc"
            _, cas = await client.gets(b"k")
            assert await client.cas(b"k", b"new", cas)
            assert not await client.cas(b"k", b"newer", cas)
            assert await client.get(b"k") == b"new"

        self.play(server, conversation)

    def test_counting_times_and_removal(self, server):
        async def conversation(client):
            with pytest.raises(aiomcache.ClientException, match="NOT_FOUND"):
                await client.incr(b"n")
            await client.set(b"n", b"5")
            assert await client.incr(b"n", 5) == 10 and await client.decr(b"n", 20) == 0
            await client.set(b"n", b"text")
            with pytest.raises(aiomcache.ClientException):
                await client.incr(b"n")
            assert await client.touch(b"n", 100)
            assert not await client.touch(b"nosuch", 100)
            assert await client.delete(b"n") and not await client.delete(b"n")
            await client.set(b"k", b"v", exptime=3_000_000)  # a date of 1970
            assert await client.get(b"k") is None
            await client.set(b"k", b"v")
            await client.flush_all()
            assert await client.get(b"k") is None

        self.play(server, conversation)

    def test_many_tasks_share_a_pool(self, server):
        async def conversation(client):
            async def one(number):
                key = b"k%d" % number
                assert await client.set(key, key * 100)
                assert await client.get(key) == key * 100

            await asyncio.gather(*(one(number) for number in range(200)))

        self.play(server, conversation)

    def test_answers_about_the_server(self, server):
        async def conversation(client):
            assert await client.version() == server.version_text
            assert int((await client.stats())[b"pid"]) == server.pid
            assert (await client.stats(b"settings"))[b"maxbytes"] == b"67108864"
            with pytest.raises(aiomcache.ClientException):
                await client.set(b"large", TOO_LARGE)

        self.play(server, conversation)


class TestPylibmcOverTheBinaryProtocol:
    def test_values_of_any_type(self, binary_libmc):
        for value in ("text", "ünïcödé ✓", b"\x00\xff\r\n", 42, 1.5, True, [1, {"a": (2, 3)}]):
            assert binary_libmc.set("k", value)
            assert binary_libmc.get("k") == value
        assert "k" in binary_libmc and "nosuch" not in binary_libmc

    def test_many_at_once(self, binary_libmc):
        values = {f"key{number}": number for number in range(500)}
        assert binary_libmc.set_multi(values, key_prefix="many-") == []
        assert binary_libmc.get_multi([*values, "nosuch"], key_prefix="many-") == values
        assert binary_libmc.add_multi({"key0": 1, "other": 2}, key_prefix="many-") == ["key0"]
        assert binary_libmc.delete_multi(list(values), key_prefix="many-")
        assert binary_libmc.get_multi(list(values), key_prefix="many-") == {}

    def test_conditional_stores_and_cas(self, binary_libmc):
        with pytest.raises(pylibmc.NotFound):
            binary_libmc.replace("k", "x")
        assert binary_libmc.add("k", "b") and not binary_libmc.add("k", "x")
        assert binary_libmc.append("k", "c") and binary_libmc.prepend("k", "a")
        value, number = binary_libmc.gets("k")
        assert value == "abc" and binary_libmc.cas("k", "new", number)
        assert not binary_libmc.cas("k", "newer", number)

    def test_counting(self, binary_libmc):
        binary_libmc.set("n", 5)
        assert binary_libmc.incr("n") == 6 and binary_libmc.incr("n", 10) == 16 and binary_libmc.decr("n", 20) == 0
        with pytest.raises(pylibmc.NotFound):
            binary_libmc.incr("nosuch")

    def test_times_and_large_values(self, binary_libmc):
        binary_libmc.set("k", "v", time=1)
        assert binary_libmc.set("stays", LARGE, time=1) and binary_libmc.touch("stays", 100)
        eventually("it expires", lambda: binary_libmc.get("k") is None)
        assert binary_libmc.get("stays") == LARGE
        with pytest.raises(pylibmc.Error):
            binary_libmc.set("large", TOO_LARGE)
        assert binary_libmc.set("k", "the connection is still good") and binary_libmc.get("k")

    def test_stores_without_waiting(self, connect_libmc):
        client = connect_libmc(no_block=True)
        for number in range(2000):
            client.set(f"k{number}", number)
        assert client.get_multi([f"k{number}" for number in range(2000)]) == {f"k{n}": n for n in range(2000)}

    def test_removal(self, binary_libmc):
        assert binary_libmc.set("k", "v") and binary_libmc.set("other", "v")
        assert binary_libmc.delete("k") and not binary_libmc.delete("k")
        assert binary_libmc.get("k") is None and binary_libmc.get("other") == "v"
        assert binary_libmc.set("k", "v", time=int(time.time()) + 100) and binary_libmc.get("k") == "v"
        assert binary_libmc.flush_all() and binary_libmc.get("k") is None

    def test_packed_values(self, binary_libmc):
        assert binary_libmc.set("packed", LARGE, min_compress_len=100) and binary_libmc.get("packed") == LARGE

    def test_stats(self, binary_libmc):
        ((_, stats),) = binary_libmc.get_stats()
        assert int(stats["pid"]) > 1 and stats["threads"] == b"4"

    def test_clones_and_pools(self, binary_libmc):
        pool = pylibmc.ClientPool(binary_libmc, 4)

        def one(number):
            with pool.reserve(block=True) as client:
                assert client.set(f"k{number}", number)
                return client.get(f"k{number}")

        with ThreadPoolExecutor(4) as threads:
            assert list(threads.map(one, range(200))) == list(range(200))


class TestPymemcacheInConcert:
    def test_a_pool_serves_many_threads(self, server):
        client = PooledClient(("127.0.0.1", server.port), max_pool_size=4, timeout=10)

        def one(number):
            assert client.set(f"k{number}", f"v{number}", noreply=False)
            return client.get(f"k{number}")

        with ThreadPoolExecutor(4) as threads:
            assert list(threads.map(one, range(400))) == [b"v%d" % number for number in range(400)]
        client.close()

    def test_keys_are_spread_over_servers(self, launch):
        servers = [launch() for _ in range(3)]
        client = HashClient([("127.0.0.1", server.port) for server in servers], timeout=10)
        values = {f"key{number}": b"v%d" % number for number in range(300)}
        assert client.set_many(values, noreply=False) == []
        assert client.get_many(list(values)) == values
        assert set(client.gets_many(list(values))) == set(values)
        for server in servers:
            with server.client() as own:
                assert 20 < int(own.stats()["curr_items"]) < 250
        assert client.delete_many(list(values), noreply=False)
        assert client.get_many(list(values)) == {}
        assert client.incr("n", 1) is None
        assert client.set("n", b"1", noreply=False) and client.incr("n", 2) == 3 and client.decr("n", 1) == 2
        assert client.touch("n", 100, noreply=False) and client.delete("n", noreply=False)
        client.flush_all()
        client.close()

    def test_a_server_that_is_gone_is_passed_over(self, launch):
        servers = [launch() for _ in range(2)]
        addresses = [("127.0.0.1", server.port) for server in servers]
        client = HashClient(addresses, timeout=2, connect_timeout=2, ignore_exc=True, retry_attempts=0)
        servers[0].stop()
        for number in range(50):
            client.set(f"k{number}", b"v", noreply=False)
        assert sum(client.get(f"k{number}") == b"v" for number in range(50)) >= 20
        client.close()

    def test_raw_commands(self, server):
        client = Pymemcache(("127.0.0.1", server.port), timeout=10)
        client.set("k", b"v", noreply=False)
        assert client.raw_command(b"gat 100 k", b"END\r\n") == b"VALUE k 0 1\r\nv\r\n"
        assert client.raw_command(b"mg k v", b"\r\nv\r\n") == b"VA 1"
        assert client.cache_memlimit(64)
        with pytest.raises(MemcacheUnknownCommandError):
            client.raw_command(b"nosuch")
        client.close()

    def test_a_unix_socket(self, launch, tmp_path):
        path = str(tmp_path / "socket")
        launch("-s", path, listen=())
        client = Pymemcache(path, timeout=10)
        assert client.set("k", b"v", noreply=False) and client.get("k") == b"v"
        client.close()
