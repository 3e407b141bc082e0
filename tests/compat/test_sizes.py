"""Large values, the limit of -I to the byte, and what happens when memory is full."""

import os

import pytest

from .wire import RULES_OF_1_6_45, eventually, stored

TOO_LARGE = b"SERVER_ERROR object too large for cache\r\n"
NO_MEMORY = b"SERVER_ERROR out of memory storing object\r\n"
# Item header, CAS number, the end of the key, the line end of the value.
OVERHEAD = 48 + 8 + 1 + 2


def largest(limit, key, flags=0):
    """The most bytes that a value may have: 4 less with flags, that's where they are kept."""
    return limit - OVERHEAD - len(key) - (4 if flags else 0)


def test_the_largest_value_of_the_key_big_has_1048514_bytes(client):
    assert largest(1 << 20, "big") == 1_048_514
    value = b"x" * 1_048_514
    client.ask(stored("big", value), b"STORED\r\n")
    client.ask(b"get big\r\n", b"VALUE big 0 1048514\r\n" + value + b"\r\nEND\r\n")
    client.ask(stored("big", value + b"x"), TOO_LARGE)


@pytest.mark.parametrize("option, limit", [("512k", 1 << 19), ("2m", 1 << 21)])
@pytest.mark.parametrize("flags", [0, 1])
def test_the_limit_of_I_holds_to_the_byte(launch, option, limit, flags):
    with launch("-I", option).client() as client:
        for key in ("k", "key", "k" * 250):
            value = os.urandom(largest(limit, key, flags))
            client.ask(stored(key, value, flags), b"STORED\r\n")
            client.ask(
                f"get {key}\r\n".encode(), f"VALUE {key} {flags} {len(value)}\r\n".encode() + value + b"\r\nEND\r\n"
            )
            client.ask(stored(key, value + b"x", flags), TOO_LARGE)


def test_a_refused_set_takes_the_old_value_with_it(client):
    client.ask(stored("k", "old"), b"STORED\r\n")
    client.ask(stored("k", b"x" * (1 << 20)) + b"get k\r\n", TOO_LARGE + b"END\r\n")


@pytest.mark.parametrize("verb", ["add", "replace", "append", "prepend"])
def test_what_else_is_refused_leaves_the_old_value(client, verb):
    client.ask(stored("k", "old"), b"STORED\r\n")
    client.ask(
        stored("k", b"x" * (1 << 20), verb=verb) + b"get k\r\n",
        TOO_LARGE + b"VALUE k 0 3\r\nold\r\nEND\r\n",
    )


def test_a_refused_cas_leaves_the_old_value(client):
    client.ask(stored("k", "old"), b"STORED\r\n")
    big = 1 << 20
    client.ask(b"cas k 0 0 %d 1\r\n%s\r\nget k\r\n" % (big, b"x" * big), TOO_LARGE + b"VALUE k 0 3\r\nold\r\nEND\r\n")


def test_append_may_not_grow_beyond_the_limit(client):
    value = b"x" * 700_000
    client.ask(stored("k", value), b"STORED\r\n")
    said = client.talk(stored("k", value, verb="append"))
    assert said in (b"NOT_STORED\r\n", TOO_LARGE, NO_MEMORY)
    client.ask(b"get k\r\n", b"VALUE k 0 700000\r\n" + value + b"\r\nEND\r\n")


def test_the_refused_block_is_swallowed_in_pieces_too(client):
    client.send(b"set k 0 0 3000000\r\n")
    for _ in range(30):
        client.send(b"get a\r\n" + b"x" * 99_993)
    client.ask(b"\r\nget k\r\n", TOO_LARGE + b"END\r\n")


@pytest.mark.parametrize("size", [1000, 10_000, 100_000, 400_000, 524_288, 600_000, 1_000_000])
def test_values_of_every_size_come_back_whole(client, size):
    value = os.urandom(size)
    client.ask(stored("k", value), b"STORED\r\n")
    client.ask(b"get k\r\n", b"VALUE k 0 %d\r\n" % size + value + b"\r\nEND\r\n")


@pytest.mark.parametrize("size", [65_536, 102_400, 250_000])
@pytest.mark.parametrize("cut", [12, 1_000, 65_536, -70_000, -3, -2, -1])
def test_a_large_value_may_come_in_two_pieces_and_another_request_behind_it(client, size, cut):
    value = os.urandom(size)
    # What one connection sends twice it sends a third time.
    for number in range(3):
        value = value[1:] + value[:1]
        request = stored("k", value, flags=number)
        client.send(request[:cut])
        eventually("it is read", client.digested)
        client.send(request[cut:] + stored("other", "o") + b"get k\r\n")
        client.ask(b"", b"STORED\r\n" * 2 + b"VALUE k %d %d\r\n" % (number, size) + value + b"\r\nEND\r\n")


def test_a_large_value_that_ends_otherwise_is_refused_and_the_old_one_stays(client):
    # Twice, since the second is expected to be large.
    for old in (stored("k", "a" * 100_000), b""):
        client.ask(old, b"STORED\r\n" if old else b"")
        client.send(b"set k 0 0 100000\r\n" + b"b" * 30_000)
        eventually("it is read", client.digested)
        client.send(b"b" * 70_000 + b"XY")
        assert client.line() == b"CLIENT_ERROR bad data chunk\r\n"
        client.ask(b"", b"")
        client.ask(b"get k\r\n", b"VALUE k 0 100000\r\n" + b"a" * 100_000 + b"\r\nEND\r\n")


def test_a_large_value_arrives_though_its_conversation_is_shown_from_its_middle_on(launch):
    server = launch()
    value = os.urandom(100_000)
    with server.client() as client, server.client() as other:
        client.send(stored("k", value)[:70_000])
        eventually("it is read", client.digested)
        other.ask(b"verbosity 2\r\n", b"OK\r\n")
        client.ask(stored("k", value)[70_000:], b"STORED\r\n")
        client.ask(b"get k\r\n", b"VALUE k 0 100000\r\n" + value + b"\r\nEND\r\n")


def test_a_client_that_leaves_before_its_large_value_has_come_changes_nothing(server):
    with server.client() as client:
        client.ask(stored("k", "old"), b"STORED\r\n")
        with server.client() as other:
            other.send(b"set k 0 0 100000\r\n" + b"b" * 99_999)
            eventually("it is read", other.digested)
        client.ask(b"get k\r\n", b"VALUE k 0 3\r\nold\r\nEND\r\n")


@pytest.mark.parametrize("verb, whole", [("append", "ab"), ("prepend", "ba")])
def test_large_values_grow_at_both_ends(client, verb, whole):
    parts = {"a": os.urandom(450_000), "b": os.urandom(450_000)}
    client.ask(stored("k", parts["a"]) + stored("k", parts["b"], verb=verb), b"STORED\r\n" * 2)
    client.ask(b"get k\r\n", b"VALUE k 0 900000\r\n" + parts[whole[0]] + parts[whole[1]] + b"\r\nEND\r\n")


def fill(client, bytes_in_all, size=10_000):
    """Store values until so many bytes were sent; what each set was answered."""
    count = bytes_in_all // size
    value = b"x" * size
    for start in range(0, count, 100):
        numbers = range(start, min(start + 100, count))
        client.send(b"".join(stored(f"fill{number}", value) for number in numbers))
        for _ in numbers:
            yield client.line()


def test_a_full_memory_evicts_the_oldest_and_stores_the_newest(launch):
    server = launch("-m", "8", "-I", "1m")
    with server.client() as client:
        assert set(fill(client, 24 << 20)) == {b"STORED\r\n"}

        def held(numbers):
            return sum(client.talk(b"get fill%d\r\n" % number).startswith(b"VALUE fill") for number in numbers)

        # Of items that nobody has asked for paircached keeps one in a hundred a little longer: 10 at most in 25 runs.
        assert held(range(300)) <= (0 if server.version < RULES_OF_1_6_45 else 15)
        assert held(range(2216, 2516)) == 300
        stats = client.stats()
        assert int(stats["evictions"]) > 1000
        assert int(stats["bytes"]) <= 8 << 20 == int(stats["limit_maxbytes"])
        assert 200 < int(stats["curr_items"]) < 900


def test_with_M_a_full_memory_refuses_and_keeps_what_it_has(launch):
    with launch("-m", "8", "-M").client() as client:
        says = list(fill(client, 24 << 20))
        assert set(says) == {b"STORED\r\n", NO_MEMORY}
        held = says.count(b"STORED\r\n")
        assert says[:200] == [b"STORED\r\n"] * 200
        assert client.talk(b"get fill0\r\n").startswith(b"VALUE fill0 0 10000\r\n")
        stats = client.stats()
        assert stats["evictions"] == "0"
        assert int(stats["curr_items"]) == held
        assert int(stats["store_no_memory"]) == len(says) - held


def test_with_M_a_refused_set_takes_the_old_value_with_it(launch):
    with launch("-m", "8", "-M").client() as client:
        client.ask(stored("k", "old"), b"STORED\r\n")
        assert NO_MEMORY in list(fill(client, 24 << 20))
        client.ask(stored("k", b"x" * 10_000) + b"get k\r\n", NO_MEMORY + b"END\r\n")


def test_with_M_room_that_is_freed_is_used_again(launch):
    with launch("-m", "8", "-M").client() as client:
        assert NO_MEMORY in list(fill(client, 24 << 20))
        client.ask(b"delete fill0\r\n", b"DELETED\r\n")
        client.ask(stored("again", b"x" * 10_000), b"STORED\r\n")
