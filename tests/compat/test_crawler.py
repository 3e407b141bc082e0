"""lru_crawler: the search for dead items, and dumps of those that live."""

import base64
import re
import struct
import time

import pytest

from .wire import Case, eventually, stored, table

BAD_LINE = b"CLIENT_ERROR bad command line format\r\n"
BADCLASS = b"BADCLASS invalid class id\r\n"
STARTED = b"ERROR failed to start lru crawler thread\r\n"
TOO_LONG = b"CLIENT_ERROR sleep must be one second or less\r\n"
DISABLED = b"CLIENT_ERROR lru crawler disabled\r\n"
UNKNOWN = b"ERROR an unknown error happened\r\n"
NO_MGDUMP = "1.6.18 did not know mgdump"
LINE = re.compile(
    rb"key=(\S+) exp=(-1|\d+) la=(\d+) cas=(\d+) fetch=(yes|no) cls=(\d+) size=(\d+)(?: flags=(\d+) )?\n"
)


@table(
    Case("nothing", b"lru_crawler\r\nlru_crawler x\r\nlru_crawler crawl\r\n", b"ERROR\r\n" * 3),
    Case("enable what is on", b"lru_crawler enable\r\n", STARTED),
    Case("disable twice", b"lru_crawler disable\r\nlru_crawler disable\r\n", b"OK\r\n" * 2),
    Case("enable with a word behind it", b"lru_crawler enable x\r\nlru_crawler disable x\r\n", b"ERROR\r\n" * 2),
    Case("sleep", b"lru_crawler sleep 100\r\nlru_crawler sleep 1000000\r\n", b"OK\r\n" * 2),
    Case("sleep too long", b"lru_crawler sleep 1000001\r\n", TOO_LONG),
    Case("sleep of no number", b"lru_crawler sleep x\r\nlru_crawler sleep -1\r\n", BAD_LINE * 2),
    Case("tocrawl", b"lru_crawler tocrawl 5\r\nlru_crawler tocrawl 0\r\n", b"OK\r\n" * 2),
    Case("tocrawl of no number", b"lru_crawler tocrawl x\r\nlru_crawler tocrawl -1\r\n", BAD_LINE * 2),
    Case(
        "with noreply it says nothing, and has a word too many",
        b"lru_crawler sleep noreply\r\nlru_crawler crawl 1 noreply\r\nlru_crawler disable noreply\r\nlru_crawler enable\r\n",
        STARTED,
        old=BAD_LINE + b"ERROR\r\n" * 2 + STARTED,
        why="1.6.18 knew no noreply here",
    ),
    Case(
        "the beginnings of its words",
        b"lru_crawler c ,\r\nlru_crawler s x\r\nlru_crawler t x\r\nlru_crawler e\r\n",
        b"NOTSTARTED no items to crawl\r\n" + BAD_LINE * 2 + STARTED,
        old=b"ERROR\r\n" * 4,
        why="1.6.18 wanted the whole word",
    ),
    Case("crawl no class", b"lru_crawler crawl ,\r\n", b"NOTSTARTED no items to crawl\r\n"),
    Case("crawl class 0", b"lru_crawler crawl 0\r\n", BADCLASS),
    Case("crawl class 64", b"lru_crawler crawl 1,64\r\n", BADCLASS),
    Case("crawl no number", b"lru_crawler crawl x\r\nlru_crawler crawl 1,x\r\n", BADCLASS * 2),
    Case("crawl by hash", b"lru_crawler crawl hash\r\n", UNKNOWN),
    Case("metadump of class 64", b"lru_crawler metadump 64\r\n", BADCLASS),
    Case("mgdump of class 64", b"lru_crawler mgdump 64\r\n", BADCLASS, old=b"ERROR\r\n", why=NO_MGDUMP),
)
def test_lines(launch, case):
    with launch().client() as client:
        expect, _ = case.for_version(client.server.version)
        # memcached may be busy with a crawl of its own.
        said = eventually("it is not busy", lambda: None if b"BUSY" in (made := client.talk(case.send)) else made)
        assert said == expect


def test_a_crawl_is_begun(launch):
    with launch().client() as client:
        for request in (b"lru_crawler crawl all\r\n", b"lru_crawler crawl 1,2,63\r\n"):
            # memcached is busy while a crawl of its own is under way.
            eventually(request, lambda request=request: client.talk(request) == b"OK\r\n")


def test_disabled(launch):
    with launch().client() as client:
        client.ask(b"lru_crawler disable\r\n", b"OK\r\n")
        # memcached's thread takes a moment to end.
        for request in (b"lru_crawler crawl all\r\n", b"lru_crawler metadump all\r\n"):
            eventually(request, lambda request=request: client.talk(request) == DISABLED)


def metadump(client, what=b"all"):
    """The fields of each line, by key."""

    def dumped():
        """All lines, or nothing while memcached is busy with a crawl of its own."""
        client.send(b"lru_crawler metadump %s\r\n" % what)
        first = client.read_until(b"\n")
        if first.startswith(b"BUSY"):
            return None
        return first if first == b"END\r\n" else first + client.read_until(b"END\r\n")

    said = eventually("it is dumped", dumped)
    new = client.server.version >= (1, 6, 45)
    assert said.startswith(b"OK\r\n") == new
    lines = said[4 if new else 0 : -5].splitlines(keepends=True)
    found = [LINE.fullmatch(line) for line in lines]
    assert all(found), said[:300]
    assert all((match[8] is not None) == new for match in found)
    items = {match[1]: match.groups()[1:] for match in found}
    assert len(items) == len(lines), "an item came twice"
    return items


def test_an_empty_cache_is_dumped(launch):
    with launch().client() as client:
        assert metadump(client) == {}


def test_metadump_tells_all_of_an_item(launch):
    with launch().client() as client:
        client.ask(stored("k", "a", flags=5) + stored("far", "x" * 500, exptime=1000), b"STORED\r\n" * 2)
        client.send(b"gets k\r\n")
        cas = client.read_until(b"END\r\n").split()[4]
        items = metadump(client)
        exp, la, found_cas, fetched, _, size, flags = items[b"k"]
        assert (exp, found_cas, fetched, size) == (b"-1", cas, b"yes", b"65")
        assert abs(int(la) - time.time()) < 5
        assert flags in (b"5", None)
        exp, _, _, fetched, far_class, _, _ = items[b"far"]
        assert abs(int(exp) - time.time() - 1000) < 5 and fetched == b"no"
        assert set(metadump(client, far_class)) == {b"far"}
        assert set(metadump(client, b"1,%s" % far_class)) >= {b"far"}


def test_keys_are_encoded(launch):
    with launch().client() as client:
        client.ask(b"set a%/-._~\xff\x01Z9 0 0 1\r\nx\r\n", b"STORED\r\n")
        assert set(metadump(client)) == {b"a%25%2F-._~%FF%01Z9"}


def test_dumps_show_the_living_only(launch):
    with launch().client() as client:
        client.ask(stored("dead", "a", exptime=-1), b"STORED\r\n")
        client.ask(stored("gone", "a") + b"delete gone\r\n", b"STORED\r\nDELETED\r\n")
        client.ask(stored("lives", "a"), b"STORED\r\n")
        assert set(metadump(client)) == {b"lives"}


def test_mgdump_shows_commands(launch):
    with launch().client() as client:
        client.ask(stored("one", "a") + stored("two", "b"), b"STORED\r\n" * 2)
        client.send(b"lru_crawler mgdump all\r\n")
        if client.server.version < (1, 6, 45):
            assert client.line() == b"ERROR\r\n"  # 1.6.18 did not know it
            return
        lines = client.read_until(b"EN\r\n").split(b"\r\n")
    assert (lines[0], sorted(lines[1:3]), lines[3:]) == (b"OK", [b"mg one", b"mg two"], [b"EN", b""])


def test_mgdump_is_one_line_for_every_key(launch):
    hostile = b"k\r\nflush_all \r\n"
    with launch().client() as client:
        if client.server.version < (1, 6, 45):
            pytest.skip(NO_MGDUMP)
        client.ask(b"ms YQ== 1 b\r\nx\r\n", b"HD\r\n")
        # Any bytes: a set of the binary protocol.
        with client.server.client() as other:
            header = struct.pack(">BBHBBHIIQ", 0x80, 1, len(hostile), 8, 0, 0, 8 + len(hostile) + 1, 0, 0)
            other.send(header + bytes(8) + hostile + b"v")
            assert len(other.read(24)) == 24
        client.send(b"lru_crawler mgdump all\r\n")
        lines = client.read_until(b"EN\r\n").split(b"\r\n")
        encoded = base64.b64encode(hostile)
        assert sorted(lines[1:-2]) == sorted([b"mg YQ== b", b"mg %s b" % encoded])
        client.ask(b"mg %s b v\r\n" % encoded, b"VA 1\r\nv\r\n")


def test_dumps_may_be_forbidden(launch):
    with launch("-X").client() as client:
        client.ask(b"lru_crawler metadump all\r\n", b"ERROR metadump not allowed\r\n")
        if client.server.version >= (1, 6, 45):
            client.ask(b"lru_crawler mgdump all\r\n", b"ERROR key dump not allowed\r\n")


def test_a_long_dump_that_nobody_reads_blocks_nobody(launch):
    count = 50_000
    # memcached's maintainer moves items while the dump goes by, and the dump misses some.
    server = launch("-t", "1", "-o", "no_lru_maintainer")
    with server.client() as dumper, server.client() as other:
        for start in range(0, count, 1000):
            names = range(start, start + 1000)
            other.send(b"".join(b"set %0100d 0 0 1 noreply\r\nx\r\n" % number for number in names))
        other.ask(b"get nosuch\r\n", b"END\r\n")
        dumper.send(b"lru_crawler metadump all\r\n")
        for _ in range(10):
            other.ask(stored("k", "a") + b"delete k\r\n", b"STORED\r\nDELETED\r\n")
        said = dumper.read_until(b"END\r\n")
        assert len(set(re.findall(rb"key=(0\d+) ", said))) == said.count(b"key=0") == count


def test_what_follows_a_dump_is_answered_behind_it(launch):
    with launch().client() as client:
        if client.server.version < (1, 6, 45):
            pytest.skip("memcached wants the connection of a dump for it alone")
        client.ask(stored("k", "a"), b"STORED\r\n")
        client.send(b"lru_crawler mgdump all\r\nget k\r\n")
        assert client.read_until(b"END\r\n") == b"OK\r\nmg k\r\nEN\r\nVALUE k 0 1\r\na\r\nEND\r\n"


def test_disabling_is_shown_and_enabling_searches_again(launch):
    with launch().client() as client:
        client.ask(b"lru_crawler disable\r\n", b"OK\r\n")
        eventually("it is off", lambda: client.stats(b"settings")["lru_crawler"] == "no")
        client.ask(b"lru_crawler enable\r\n", b"OK\r\n")
        eventually("it is on", lambda: client.stats(b"settings")["lru_crawler"] == "yes")
        client.ask(stored("dead", "a", exptime=-1) + b"lru_crawler crawl all\r\n", b"STORED\r\nOK\r\n")
        eventually("the dead item is gone", lambda: client.stats()["curr_items"] == "0")


def test_the_search_may_be_off_from_the_start(launch):
    with launch("-o", "no_lru_crawler").client() as client:
        assert client.stats(b"settings")["lru_crawler"] == "no"
        assert "lru_crawler_running" not in client.stats()
        off = b"CLIENT_ERROR lru crawler disabled\r\n"
        client.ask(b"lru_crawler disable\r\nlru_crawler crawl all\r\nlru_crawler metadump all\r\n", b"OK\r\n" + off * 2)
        client.ask(b"lru_crawler enable\r\n", b"OK\r\n")
        assert client.stats(b"settings")["lru_crawler"] == "yes"
        assert "lru_crawler_running" in client.stats()
        # memcached is busy while a crawl of its own is under way.
        eventually("it searches", lambda: client.talk(b"lru_crawler crawl all\r\n") == b"OK\r\n")
