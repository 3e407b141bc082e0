"""stats: the names that tools read, and numbers that tell the truth."""

import os
import time

import pytest

from .names import READ_BY_TOOLS, STATS_OF_1_6_45
from .wire import eventually, stored

WATCHED = [
    *("cmd_get", "cmd_set", "cmd_flush", "cmd_touch", "get_hits", "get_misses", "get_expired", "get_flushed"),
    *("delete_hits", "delete_misses", "incr_hits", "incr_misses", "decr_hits", "decr_misses"),
    *("cas_hits", "cas_misses", "cas_badval", "touch_hits", "touch_misses", "store_too_large", "store_no_memory"),
]


def counting(name, commands, moved, before=b""):
    """A row: the commands to count, how far each number moves, and what is done before."""
    return pytest.param(before, commands, moved, id=name)


@pytest.mark.parametrize(
    "before, commands, moved",
    [
        counting("get of a hit", b"get k\r\n", {"cmd_get": 1, "get_hits": 1}, stored("k", "a")),
        counting("get of a miss", b"get nosuch\r\n", {"cmd_get": 1, "get_misses": 1}),
        counting(
            "get counts each key",
            b"get k nosuch neither\r\n",
            {"cmd_get": 3, "get_hits": 1, "get_misses": 2},
            stored("k", "a"),
        ),
        counting("gets", b"gets k nosuch\r\n", {"cmd_get": 2, "get_hits": 1, "get_misses": 1}, stored("k", "a")),
        counting("set", stored("k", "a"), {"cmd_set": 1}),
        counting("add that stores", stored("k", "a", verb="add"), {"cmd_set": 1}),
        counting("add that does not", stored("k", "a", verb="add"), {"cmd_set": 1}, stored("k", "a")),
        counting("replace of a miss", stored("k", "a", verb="replace"), {"cmd_set": 1}),
        counting("append", stored("k", "a", verb="append"), {"cmd_set": 1}, stored("k", "a")),
        counting("set too large", stored("k", "a" * (1 << 20)), {"store_too_large": 1}),
        counting("cas of a miss", b"cas k 0 0 1 1\r\na\r\n", {"cmd_set": 1, "cas_misses": 1}),
        counting(
            "cas with a wrong number", b"cas k 0 0 1 0\r\na\r\n", {"cmd_set": 1, "cas_badval": 1}, stored("k", "a")
        ),
        counting("delete of a hit", b"delete k\r\n", {"delete_hits": 1}, stored("k", "a")),
        counting("delete of a miss", b"delete nosuch\r\n", {"delete_misses": 1}),
        counting("incr of a hit", b"incr k 1\r\n", {"incr_hits": 1}, stored("k", "1")),
        counting("incr of a miss", b"incr nosuch 1\r\n", {"incr_misses": 1}),
        counting("decr of a hit", b"decr k 1\r\n", {"decr_hits": 1}, stored("k", "1")),
        counting("decr of a miss", b"decr nosuch 1\r\n", {"decr_misses": 1}),
        counting("incr of what is no number", b"incr k 1\r\n", {}, stored("k", "a")),
        counting("touch of a hit", b"touch k 0\r\n", {"cmd_touch": 1, "touch_hits": 1}, stored("k", "a")),
        counting("touch of a miss", b"touch nosuch 0\r\n", {"cmd_touch": 1, "touch_misses": 1}),
        counting("gat of a hit", b"gat 0 k\r\n", {"cmd_touch": 1, "touch_hits": 1}, stored("k", "a")),
        counting("gat of a miss", b"gat 0 nosuch\r\n", {"cmd_touch": 1, "touch_misses": 1}),
        counting("flush_all", b"flush_all\r\n", {"cmd_flush": 1}),
        counting(
            "silent commands too", b"set k 0 0 1 noreply\r\na\r\ndelete k noreply\r\n", {"cmd_set": 1, "delete_hits": 1}
        ),
        counting("errors of form", b"get\r\nnosuch\r\nset k 0 0 x\r\nincr k x\r\ntouch k x\r\n", {}),
    ],
)
def test_commands_are_counted(launch, before, commands, moved):
    # A new daemon: memcached counts leftovers of a flush_all when it meets them.
    with launch().client() as client:
        client.talk(before)
        start = client.stats()
        client.talk(commands)
        end = client.stats()
    found = {name: int(end[name]) - int(start[name]) for name in WATCHED}
    assert {name: by for name, by in found.items() if by} == moved


def test_a_matching_cas_is_counted(client):
    client.ask(stored("k", "a"), b"STORED\r\n")
    client.send(b"gets k\r\n")
    number = client.line().split()[4]
    client.read_until(b"END\r\n")
    start = client.stats()
    client.ask(b"cas k 0 0 1 %s\r\nb\r\n" % number, b"STORED\r\n")
    end = client.stats()
    assert int(end["cas_hits"]) == int(start["cas_hits"]) + 1
    assert int(end["cmd_set"]) == int(start["cmd_set"]) + 1


def test_items_are_counted(launch):
    with launch().client() as client:

        def now():
            stats = client.stats()
            return int(stats["curr_items"]), int(stats["total_items"]), int(stats["bytes"])

        assert now() == (0, 0, 0)
        client.talk(stored("key", "v" * 10))
        size = 48 + 8 + 4 + 10 + 2  # header, CAS, key and its end, value, line end
        assert now() == (1, 1, size)
        client.talk(stored("key", "v" * 20))
        assert now() == (1, 2, size + 10)
        client.talk(stored("yek", "v" * 10, flags=1))  # flags take 4 bytes if there are any
        assert now() == (2, 3, 2 * size + 14)
        client.talk(b"delete key\r\n")
        assert now() == (1, 3, size + 4)
        client.talk(b"delete yek\r\n")
        assert now() == (0, 3, 0)


@pytest.mark.parametrize(
    "commands, stored_anew",
    [
        (b"incr k 1\r\nincr k 9\r\ndecr k 15\r\nma k\r\n", 0),
        (b"incr k 90\r\n", 1),
        (b"md k I\r\nmd k I T30\r\ntouch k 9\r\n", 0),
        (b"append k 0 0 1\r\n1\r\nset k 0 0 1\r\n1\r\n", 2),
    ],
)
def test_what_is_changed_in_place_is_no_further_item(launch, commands, stored_anew):
    with launch().client() as client:
        client.talk(stored("k", "10") + commands)
        assert client.stats()["total_items"] == str(1 + stored_anew)


@pytest.mark.parametrize(
    "name, before",
    [("get_expired", stored("k", "a", exptime=-1)), ("get_flushed", stored("k", "a") + b"flush_all\r\n")],
)
def test_get_of_what_is_gone_is_a_miss_and_may_tell_why(launch, name, before):
    # memcached's maintainer thread may have dropped the item before the get meets it.
    with launch().client() as client:
        client.talk(before + b"get k\r\n")
        stats = client.stats()
        assert (stats["get_misses"], stats["get_hits"]) == ("1", "0")
        assert stats[name] in ("0", "1")


def test_bytes_of_the_network_are_counted(client):
    start = client.stats()
    client.ask(stored("k", "x" * 50_000), b"STORED\r\n")
    client.ask(b"get k\r\n", b"VALUE k 0 50000\r\n" + b"x" * 50_000 + b"\r\nEND\r\n")
    end = client.stats()
    for name in ("bytes_read", "bytes_written"):
        assert 50_000 < int(end[name]) - int(start[name]) < 60_000, name


def test_connections_are_counted(launch):
    server = launch()
    with server.client() as client:
        # The connection by which the start was waited for may not be gone yet.
        eventually("this is the only client", lambda: client.stats()["curr_connections"] == "1")
        start = client.stats()
        more = [server.client() for _ in range(10)]
        for other in more:
            other.ask(b"get k\r\n", b"END\r\n")
        end = client.stats()
        assert int(end["curr_connections"]) == int(start["curr_connections"]) + 10
        assert int(end["total_connections"]) == int(start["total_connections"]) + 10
        for other in more:
            other.close()
        eventually("they are gone", lambda: client.stats()["curr_connections"] == start["curr_connections"])
        assert client.stats()["total_connections"] == end["total_connections"]


def test_the_process_is_described(launch):
    server = launch("-m", "100", "-t", "3", "-c", "500")
    with server.client() as client:
        stats = client.stats()
    assert stats["pid"] == str(server.pid)
    assert abs(int(stats["time"]) - time.time()) < 5
    assert int(stats["uptime"]) < 10
    assert stats["version"] == server.version_text.decode()
    assert stats["pointer_size"] == "64"
    assert stats["max_connections"] == "500"
    assert stats["limit_maxbytes"] == str(100 << 20)
    assert stats["threads"] == "3"
    assert stats["accepting_conns"] == "1"
    for name in ("rusage_user", "rusage_system"):
        seconds, _, micros = stats[name].partition(".")
        assert seconds.isdigit() and micros.isdigit() and len(micros) == 6, stats[name]


def test_time_passes(client):
    start = client.stats()
    eventually("uptime moves", lambda: int(client.stats()["uptime"]) > int(start["uptime"]), pause=0.1)
    eventually("time moves", lambda: int(client.stats()["time"]) > int(start["time"]), pause=0.1)


def test_stats_reset_clears_the_counters_and_no_more(launch):
    with launch().client() as client:
        client.talk(stored("k", "a") + b"get k\r\nget x\r\ndelete x\r\nincr x 1\r\ntouch k 0\r\nflush_all 1000\r\n")
        assert client.stats()["get_hits"] == "1"
        held = {name: client.stats()[name] for name in ("curr_items", "bytes", "curr_connections", "limit_maxbytes")}
        client.ask(b"stats reset\r\n", b"RESET\r\n")
        stats = client.stats()
        assert {name: stats[name] for name in WATCHED if stats[name] != "0"} == {}
        assert stats["total_items"] == "0"
        assert {name: stats[name] for name in held} == held
        client.ask(b"get k\r\n", b"VALUE k 0 1\r\na\r\nEND\r\n")
        assert client.stats()["get_hits"] == "1"


def test_stats_reset_clears_what_was_counted_of_connections(launch):
    server = launch("-c", "60")
    with server.client() as client:
        others = [server.connect(5) for _ in range(80)]

        def met():
            stats = client.stats()
            return int(stats["total_connections"]) + int(stats["rejected_connections"])

        # These, this one, and the one by which the start was waited for.
        eventually("all were let in or rejected", lambda: met() >= 82)
        assert client.stats()["rejected_connections"] != "0"
        for other in others:
            other.close()
        before = client.stats()
        assert int(before["total_connections"]) > 5
        client.ask(b"stats reset\r\n", b"RESET\r\n")
        after = client.stats()
        for name in ("total_connections", "rejected_connections", "listen_disabled_num", "time_in_listen_disabled_us"):
            assert after[name] == "0", name
        assert after["max_connections"] == before["max_connections"]


def test_an_unknown_kind_of_stats_is_an_error(client):
    client.ask(b"stats nosuch\r\nstats no such thing\r\n", b"ERROR\r\nERROR\r\n")


@pytest.mark.parametrize("reader", READ_BY_TOOLS)
def test_every_name_that_a_tool_reads_is_there(client, reader):
    client.talk(stored("k", "a"))
    for what, names in READ_BY_TOOLS[reader].items():
        found = client.stats(what.encode())
        assert [name for name in names if name not in found] == []


def test_every_value_is_one_word_of_the_right_kind(client):
    words = ("version", "libevent")
    for name, value in client.stats().items():
        if name not in words:
            float(value)


def test_names_are_exactly_those_of_1_6_45_in_its_order(client):
    if client.server.version < (1, 6, 45):
        pytest.skip("the list is that of 1.6.45; older versions have their own")
    assert list(client.stats()) == STATS_OF_1_6_45


MAINTAINER = {"lru_maintainer_juggles", "evicted_active", "moves_to_cold", "moves_to_warm", "moves_within_lru"} | {
    "direct_reclaims",
    "lru_bumps_dropped",
}


@pytest.mark.parametrize(
    "option, gone",
    [
        ("no_lru_crawler", {"lru_crawler_running", "lru_crawler_starts"}),
        ("no_lru_maintainer", MAINTAINER),
        ("no_slab_reassign", {name for name in STATS_OF_1_6_45 if name.startswith("slab_reassign")} | {"slabs_moved"}),
    ],
)
def test_a_part_that_is_off_has_no_statistics(client, launch, option, gone):
    with launch("-o", option).client() as other:
        names, items = list(other.stats()), other.talk(stored("k", "v") + b"stats items\r\n")
    assert names == [name for name in client.stats() if name not in gone and not is_new(name, option)]
    assert (b"items:1:number_cold" in items) == (option != "no_lru_maintainer")


def is_new(name, option):
    """One that 1.6.18 had beside those."""
    return option == "no_slab_reassign" and name == "slab_reassign_evictions_nomem"


@pytest.mark.parametrize(
    "options, items, power",
    [((), 0, 16), (("-o", "hashpower=13"), 0, 13), (("-o", "hashpower=13"), 12_288, 13), (("-o", "hashpower=13"), 12_400, 14)],
)
def test_the_table_of_keys_is_as_large_as_memcacheds(launch, options, items, power):
    with launch(*options).client() as client:
        for first in range(0, items, 1000):
            keys = range(first, min(first + 1000, items))
            client.talk(b"".join(b"set k%d 0 0 0 noreply\r\n\r\n" % key for key in keys))

        def grown():
            stats = client.stats()
            return stats["hash_is_expanding"] == "0" and stats["hash_power_level"] == str(power) and stats

        stats = eventually("the table has grown", grown)
        assert int(stats["hash_bytes"]) == 8 << power


def test_searches_that_clients_ask_for_are_counted(client, launch):
    if client.server.version < (1, 6, 45):
        pytest.skip("memcached counts those of its own too")
    with launch().client() as other:
        other.talk(b"lru_crawler crawl all\r\nlru_crawler metadump all\r\nlru_crawler mgdump 1\r\nlru_crawler crawl x\r\n")
        assert other.stats()["lru_crawler_starts"] == "3"
        other.ask(b"stats reset\r\n", b"RESET\r\n")
        assert other.stats()["lru_crawler_starts"] == "0"


def test_cpu_time_is_that_of_the_process(client):
    ticks = os.sysconf("SC_CLK_TCK")
    client.talk(stored("k", "x" * 100_000) + b"get k\r\n" * 300)
    with open(f"/proc/{client.server.pid}/stat", encoding="ascii") as file:
        used = sum(int(field) for field in file.read().rpartition(")")[2].split()[11:13]) / ticks
    stats = client.stats()
    assert abs(float(stats["rusage_user"]) + float(stats["rusage_system"]) - used) < 0.2
