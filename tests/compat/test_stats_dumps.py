"""stats cachedump and stats sizes: what lies in a class, and how many items there are of each size."""

import re

from .test_stats_slabs import class_of, size
from .wire import Case, eventually, stored, table

FORMAT = b"CLIENT_ERROR bad command line format\r\n"
PREFIXES = "since the parser was rewritten the beginning of a word is enough"


@table(
    Case("cachedump of nothing", b"stats cachedump\r\n", b"CLIENT_ERROR bad command line\r\n"),
    Case("cachedump without a limit", b"stats cachedump 1\r\n", b"CLIENT_ERROR bad command line\r\n"),
    Case("cachedump of no number", b"stats cachedump x 1\r\nstats cachedump 1 x\r\n", FORMAT * 2),
    Case("cachedump of a negative number", b"stats cachedump -1 1\r\nstats cachedump 1 -1\r\n", FORMAT * 2),
    Case("cachedump beyond 32 bits, which is cut", b"stats cachedump 4294967296 1\r\n", b"END\r\n"),
    Case("cachedump of a class that cannot be", b"stats cachedump 64 1\r\n", b"CLIENT_ERROR Illegal slab id\r\n"),
    Case("cachedump of a class without items", b"stats cachedump 63 1\r\nstats cachedump 0 0\r\n", b"END\r\n" * 2),
    Case("cachedump with a word too many", b"stats cachedump 63 1 x\r\n", b"END\r\n"),
    Case("cachedump in short", b"stats cach 63 1\r\n", b"END\r\n", old=b"ERROR\r\n", why=PREFIXES),
    Case("sizes", b"stats sizes\r\n", b"STAT sizes_status disabled\r\nEND\r\n"),
    Case("sizes in short", b"stats siz\r\n", b"ERROR\r\n"),
    Case(
        "switches of sizes",
        b"stats sizes_enable\r\nstats sizes_disable\r\n",
        b"ERROR\r\n" * 2,
        old=b"STAT sizes_status enabled\r\nSTAT sizes_status disabled\r\n",
        why="only -o track_sizes is left",
    ),
)
def test_lines(client, case):
    client.play(case)


def test_with_X_there_is_no_cachedump(launch):
    with launch("-X").client() as client:
        client.ask(b"stats cachedump 1 1\r\n", b"CLIENT_ERROR stats cachedump not allowed\r\n")
        client.ask(b"stats cachedump\r\n", b"CLIENT_ERROR stats cachedump not allowed\r\n")


def dumped(client, number, limit):
    """The lines of a class."""
    client.send(b"stats cachedump %d %d\r\n" % (number, limit))
    return client.read_until(b"END\r\n").split(b"\r\n")[:-2]


def test_cachedump_shows_the_items_of_a_class(launch):
    with launch().client() as client:
        client.talk(stored("short", "v") + stored("dated", "vv", exptime=1000) + stored("long", "v" * 500))
        seconds = int(client.stats()["time"]) + 1000
        # memcached shows them once its maintainer thread has moved them out of the first queue.
        found = eventually("both are shown", lambda: lines if len(lines := dumped(client, 1, 0)) == 2 else None)
        found = dict(re.fullmatch(rb"ITEM (\w+) \[(.*)\]", line).groups() for line in found)
        assert found[b"short"] == b"1 b; 0 s"
        size_shown, expiry = found[b"dated"].removesuffix(b" s").split(b" b; ")
        assert size_shown == b"2" and abs(int(expiry) - seconds) <= 2
        assert len(dumped(client, 1, 1)) == 1
        number = class_of(size("long", 500))
        eventually("it is shown", lambda: dumped(client, number, 100) == [b"ITEM long [500 b; 0 s]"])


def test_cachedump_ends_after_2_megabytes(launch):
    with launch().client() as client:
        keys = [b"%0250d" % number for number in range(10_000)]
        for start in range(0, len(keys), 500):
            client.ask(b"".join(b"set %s 0 0 0\r\n\r\n" % key for key in keys[start : start + 500]), b"STORED\r\n" * 500)
        number = class_of(size("k" * 250, 0))

        def lines():
            return len(dumped(client, number, 0))

        each = len("ITEM  [0 b; 0 s]\r\n") + 250
        eventually("all that may be shown is", lambda: lines() * each > (2 << 20) - 2000)
        assert lines() * each < (2 << 20) + 100_000


def test_sizes_are_counted_in_steps_of_32(launch):
    with launch("-o", "track_sizes").client() as client:
        client.ask(b"stats sizes\r\n", b"END\r\n")
        client.talk(stored("a", "v") + stored("b", "v") + stored("c", "v" * 1000) + stored("d", "v" * 100_000))
        wanted = {}
        for value in (1, 1, 1000, 100_000):
            rounded = -(-size("a", value) // 32) * 32
            wanted[str(rounded)] = str(int(wanted.get(str(rounded), "0")) + 1)
        assert list(client.stats(b"sizes").items()) == list(wanted.items())
        client.talk(b"delete a\r\ndelete c\r\n" + stored("d", "v"))
        assert client.stats(b"sizes") == {"64": "2"}
        assert client.stats(b"settings")["track_sizes"] == "yes"


def test_many_items_are_counted_while_others_are_served(launch):
    count = 30_000
    server = launch("-o", "track_sizes", "-m", "200", "-t", "1")
    with server.client() as client, server.client() as other:
        for start in range(0, count, 1000):
            client.ask(b"".join(stored(f"k{number}", "v") for number in range(start, start + 1000)), b"STORED\r\n" * 1000)
        client.send(b"stats sizes\r\n" * 20)
        other.ask(b"get nosuch\r\n", b"END\r\n")
        for _ in range(20):
            assert client.read_until(b"END\r\n").count(b"STAT") in (1, 2)
