"""Client libraries of the field, each with a repertoire of its own, over the text protocol."""

import time

import memcache
import pylibmc
import pytest
from pymemcache.client.base import Client as Pymemcache
from pymemcache.client.base import PooledClient
from pymemcache.client.hash import HashClient
from pymemcache.exceptions import MemcacheClientError, MemcacheIllegalInputError, MemcacheServerError
from pymemcache.serde import pickle_serde

from .wire import eventually

LARGE = "0123456789" * 60_000  # more than half of what an item may have
TOO_LARGE = b"x" * (1 << 20)


@pytest.fixture
def python_memcached(server):
    client = memcache.Client([server.address], socket_timeout=10, cache_cas=True)
    yield client
    client.disconnect_all()


@pytest.fixture
def pymemcache(server):
    client = Pymemcache(("127.0.0.1", server.port), timeout=10, serde=pickle_serde)
    yield client
    client.close()


@pytest.fixture
def libmc(server):
    client = pylibmc.Client([server.address], binary=False, behaviors={"cas": True, "tcp_nodelay": True})
    yield client
    client.disconnect_all()


class TestPythonMemcached:
    def test_values_of_any_type(self, python_memcached):
        client = python_memcached
        for value in ("text", "ünïcödé ✓", b"\x00\xff\r\n", 42, 2**70, 1.5, None, True, [1, {"a": (2, 3)}]):
            assert client.set("k", value)
            assert client.get("k") == value
        assert client.get("nosuch") is None
        assert client.get("nosuch", "default") == "default"

    def test_ten_thousand_keys(self, python_memcached):
        client = python_memcached
        for number in range(10_000):
            assert client.set(f"K-{number}", f"V-{number}")
        for number in range(10_000):
            assert client.get(f"K-{number}") == f"V-{number}"

    def test_many_at_once(self, python_memcached):
        client = python_memcached
        values = {f"key{number}": [number] for number in range(500)}
        assert client.set_multi(values, key_prefix="many-") == []
        assert client.get_multi([*values, "nosuch"], key_prefix="many-") == values
        assert client.delete_multi(list(values), key_prefix="many-") == 1
        assert client.get_multi(list(values), key_prefix="many-") == {}

    def test_conditional_stores(self, python_memcached):
        client = python_memcached
        assert not client.replace("k", "x")
        assert client.add("k", "b")
        assert not client.add("k", "x")
        assert client.append("k", "c") and client.prepend("k", "a")
        assert client.get("k") == "abc"
        assert client.replace("k", "new") and client.get("k") == "new"

    def test_cas(self, server, python_memcached):
        client = python_memcached
        client.set("k", "old")
        assert client.gets("k") == "old"
        memcache.Client([server.address]).set("k", "another's")
        assert not client.cas("k", "mine")
        assert client.gets("k") == "another's"
        assert client.cas("k", "mine")
        assert client.get("k") == "mine"

    def test_counting(self, python_memcached):
        client = python_memcached
        assert client.incr("n") is None
        client.set("n", "10")
        assert client.incr("n") == 11 and client.incr("n", 9) == 20 and client.decr("n", 15) == 5
        assert client.decr("n", 100) == 0

    def test_times_and_removal(self, python_memcached):
        client = python_memcached
        client.set("short", "v", time=1)
        client.set("k", "v")
        assert client.touch("k", 100) and client.delete("k") and client.get("k") is None
        client.set("k", "v")
        eventually("it expires", lambda: client.get("short") is None)
        assert client.get("k") == "v"
        client.flush_all()
        assert client.get("k") is None

    def test_large_values(self, python_memcached):
        client = python_memcached
        assert client.set("large", LARGE) and client.get("large") == LARGE
        assert client.set("packed", LARGE, min_compress_len=100) and client.get("packed") == LARGE
        assert not client.set("large", TOO_LARGE)
        assert client.set("k", "the connection is still good") and client.get("k")

    def test_stats(self, server, python_memcached):
        ((name, stats),) = python_memcached.get_stats()
        assert server.address in name and stats["pid"] == str(server.pid)
        ((_, settings),) = python_memcached.get_stats("settings")
        assert settings["maxbytes"] == "67108864"


class TestPymemcache:
    def test_values_of_any_type(self, pymemcache):
        for value in ("text", "ünïcödé ✓", b"\x00\xff\r\n", 42, 1.5, None, [1, {"a": (2, 3)}]):
            assert pymemcache.set("k", value, noreply=False)
            assert pymemcache.get("k") == value

    def test_silent_stores(self, pymemcache):
        for number in range(1000):
            pymemcache.set(f"k{number}", number)  # noreply is this library's default
        assert pymemcache.get_many([f"k{number}" for number in range(1000)]) == {f"k{n}": n for n in range(1000)}

    def test_many_at_once(self, pymemcache):
        values = {f"key{number}": f"v{number}" for number in range(300)}
        assert pymemcache.set_many(values, noreply=False) == []
        assert pymemcache.get_many([*values, "nosuch"]) == values
        assert set(pymemcache.gets_many(values)) == set(values)
        assert pymemcache.delete_many(list(values), noreply=False)
        assert pymemcache.get_many(values) == {}

    def test_conditional_stores(self, pymemcache):
        assert pymemcache.replace("k", "x", noreply=False) is False
        assert pymemcache.add("k", "b", noreply=False) is True
        assert pymemcache.add("k", "x", noreply=False) is False
        assert pymemcache.append("k", "c", noreply=False) and pymemcache.prepend("k", "a", noreply=False)
        assert pymemcache.get("k") == "abc"

    def test_cas(self, pymemcache):
        assert pymemcache.gets("k") == (None, None)
        pymemcache.set("k", "old", noreply=False)
        value, number = pymemcache.gets("k")
        assert value == "old"
        assert pymemcache.cas("k", "new", number) is True
        assert pymemcache.cas("k", "newer", number) is False
        assert pymemcache.cas("nosuch", "x", number) is None
        assert pymemcache.get("k") == "new"

    def test_counting(self, pymemcache):
        assert pymemcache.incr("n", 1) is None
        pymemcache.set("n", "5", noreply=False)
        assert pymemcache.incr("n", 5) == 10 and pymemcache.decr("n", 3) == 7
        pymemcache.set("n", "text", noreply=False)
        with pytest.raises(MemcacheClientError):
            pymemcache.incr("n", 1)

    def test_times_and_removal(self, pymemcache):
        pymemcache.set("k", "v", expire=1, noreply=False)
        pymemcache.set("stays", "v", expire=1, noreply=False)
        assert pymemcache.touch("stays", 100, noreply=False) is True
        assert pymemcache.touch("nosuch", 100, noreply=False) is False
        eventually("it expires", lambda: pymemcache.get("k") is None)
        assert pymemcache.get("stays") == "v"
        assert pymemcache.delete("stays", noreply=False) is True
        assert pymemcache.delete("stays", noreply=False) is False
        pymemcache.set("k", "v", noreply=False)
        assert pymemcache.flush_all(noreply=False)
        assert pymemcache.get("k") is None

    def test_large_values(self, pymemcache):
        assert pymemcache.set("large", LARGE, noreply=False) and pymemcache.get("large") == LARGE
        with pytest.raises(MemcacheServerError, match="object too large for cache"):
            pymemcache.set("large", TOO_LARGE, noreply=False)
        assert pymemcache.get("large") is None

    def test_keys(self, server):
        client = Pymemcache(("127.0.0.1", server.port), allow_unicode_keys=True)
        assert client.set("schlüssel-✓", "v", noreply=False) and client.get("schlüssel-✓") == b"v"
        assert client.set("k" * 250, "v", noreply=False) and client.get("k" * 250) == b"v"
        with pytest.raises(MemcacheIllegalInputError):
            client.get("k" * 251)
        client.close()

    def test_pools_and_hashing(self, server):
        address = ("127.0.0.1", server.port)
        for client in (PooledClient(address, max_pool_size=4), HashClient([address], use_pooling=True)):
            assert client.set("k", b"v", noreply=False) and client.get("k") == b"v"
            client.close()

    def test_answers_about_the_server(self, server, pymemcache):
        assert pymemcache.version() == server.version_text
        assert pymemcache.stats()[b"pid"] == server.pid
        assert pymemcache.stats("settings")[b"maxbytes"] == 67108864
        pymemcache.quit()


class TestPylibmc:
    def test_values_of_any_type(self, libmc):
        for value in ("text", "ünïcödé ✓", b"\x00\xff\r\n", 42, 1.5, True, [1, {"a": (2, 3)}]):
            assert libmc.set("k", value)
            assert libmc.get("k") == value
        assert "k" in libmc and "nosuch" not in libmc
        libmc["k"] = "item"
        assert libmc["k"] == "item"
        del libmc["k"]
        with pytest.raises(KeyError):
            libmc["k"]

    def test_many_at_once(self, libmc):
        values = {f"key{number}": number for number in range(500)}
        assert libmc.set_multi(values, key_prefix="many-") == []
        assert libmc.get_multi([*values, "nosuch"], key_prefix="many-") == values
        assert libmc.add_multi({"key0": 1, "other": 2}, key_prefix="many-") == ["key0"]
        assert libmc.delete_multi(list(values), key_prefix="many-")
        assert libmc.get_multi(list(values), key_prefix="many-") == {}

    def test_conditional_stores(self, libmc):
        assert not libmc.replace("k", "x")
        assert libmc.add("k", "b")
        assert not libmc.add("k", "x")
        assert libmc.append("k", "c") and libmc.prepend("k", "a")
        assert libmc.get("k") == "abc"

    def test_cas(self, libmc):
        libmc.set("k", "old")
        value, number = libmc.gets("k")
        assert value == "old" and libmc.cas("k", "new", number)
        assert not libmc.cas("k", "newer", number)
        assert libmc.get("k") == "new"

    def test_counting(self, libmc):
        libmc.set("n", 5)
        assert libmc.incr("n") == 6 and libmc.incr("n", 10) == 16 and libmc.decr("n", 20) == 0
        with pytest.raises(pylibmc.NotFound):
            libmc.incr("nosuch")
        libmc.set_multi({"a": 1, "b": 2})
        libmc.incr_multi(["a", "b"], delta=10)
        assert libmc.get_multi(["a", "b"]) == {"a": 11, "b": 12}

    def test_times_and_removal(self, libmc):
        libmc.set("k", "v", time=1)
        libmc.set("stays", "v", time=1)
        assert libmc.touch("stays", 100)
        eventually("it expires", lambda: libmc.get("k") is None)
        assert libmc.get("stays") == "v"
        assert libmc.delete("stays") and not libmc.delete("stays")
        libmc.set("k", "v", time=int(time.time()) + 100)
        assert libmc.get("k") == "v"
        assert libmc.flush_all() and libmc.get("k") is None

    def test_large_values(self, libmc):
        assert libmc.set("large", LARGE) and libmc.get("large") == LARGE
        assert libmc.set("packed", LARGE, min_compress_len=100) and libmc.get("packed") == LARGE
        with pytest.raises(pylibmc.Error):
            libmc.set("large", TOO_LARGE)
        assert libmc.set("k", "the connection is still good") and libmc.get("k")

    def test_stores_without_waiting(self, libmc):
        libmc.behaviors = {**libmc.behaviors, "no_block": True}
        for number in range(2000):
            libmc.set(f"k{number}", number)
        assert libmc.get_multi([f"k{number}" for number in range(2000)]) == {f"k{n}": n for n in range(2000)}

    def test_stats(self, server, libmc):
        ((_, stats),) = libmc.get_stats()
        assert stats["pid"] == str(server.pid).encode()
