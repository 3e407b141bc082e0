"""Commands of administrators."""

import signal

import pytest

from .wire import Case, eventually, stored, table

TOO_SMALL = b"MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m\r\n"
MORE = "1.6.18 took no second word behind the number"
DISABLED = b"SERVER_ERROR: shutdown not enabled\r\n"
OLD_DISABLED = b"ERROR: shutdown not enabled\r\n"
NOT_BYTES = b"MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes\r\n"


@table(
    Case("the least", b"cache_memlimit 8\r\n", b"OK\r\n"),
    Case("the most", b"cache_memlimit 1000000000\r\n", b"OK\r\n"),
    Case("less than the least", b"cache_memlimit 7\r\ncache_memlimit 0\r\n", TOO_SMALL * 2),
    Case("bytes instead of megabytes", b"cache_memlimit 1000000001\r\n", NOT_BYTES),
    Case("a number beyond 32 bits is cut", b"cache_memlimit 4294967296\r\n", TOO_SMALL),
    Case("a number beyond 64 bits", b"cache_memlimit 18446744073709551616\r\n", b"ERROR\r\n"),
    Case("no number", b"cache_memlimit\r\ncache_memlimit x\r\ncache_memlimit 8x\r\n", b"ERROR\r\n" * 3),
    Case("a negative number", b"cache_memlimit -8\r\n", b"ERROR\r\n"),
    Case("a word behind the number", b"cache_memlimit 64 x\r\n", b"OK\r\n"),
    Case("two words behind the number", b"cache_memlimit 64 x y\r\n", b"OK\r\n", old=b"ERROR\r\n", why=MORE),
    Case(
        "two words behind it, noreply the last",
        b"cache_memlimit 64 x noreply\r\n",
        b"",
        old=b"ERROR\r\n",
        why=MORE,
    ),
    Case("noreply", b"cache_memlimit 64 noreply\r\n", b""),
    Case("noreply hides its errors", b"cache_memlimit 7 noreply\r\ncache_memlimit x noreply\r\n", b""),
)
def test_cache_memlimit(launch, case):
    with launch().client() as client:
        client.play(case)


def test_cache_memlimit_is_shown(launch):
    with launch("-m", "64").client() as client:
        client.ask(b"cache_memlimit 100\r\n", b"OK\r\n")
        assert client.stats()["limit_maxbytes"] == str(100 << 20)
        assert client.stats(b"settings")["maxbytes"] == str(100 << 20)
        client.ask(b"cache_memlimit 7\r\n", TOO_SMALL)
        assert client.stats()["limit_maxbytes"] == str(100 << 20)


def test_a_raised_limit_is_used(launch):
    with launch("-m", "8").client() as client:
        client.ask(b"cache_memlimit 64\r\n", b"OK\r\n")
        for number in range(300):
            client.ask(stored(f"k{number}", "x" * 100_000), b"STORED\r\n")
        assert client.stats()["evictions"] == "0"


def test_a_lowered_limit_is_kept(launch):
    with launch("-m", "64").client() as client:
        if client.server.version < (1, 6, 45):
            pytest.skip("1.6.18 keeps what it has as long as nothing is written")
        for number in range(300):
            client.ask(stored(f"k{number}", "x" * 100_000), b"STORED\r\n")
        assert client.stats()["evictions"] == "0"
        client.ask(b"cache_memlimit 8\r\n", b"OK\r\n")
        eventually("the excess is gone", lambda: int(client.stats()["bytes"]) <= 8 << 20)
        client.ask(stored("new", "x" * 100_000) + b"touch new 0\r\n", b"STORED\r\nTOUCHED\r\n")
        assert int(client.stats()["evictions"]) > 200


@table(
    Case("shutdown", b"shutdown\r\n", DISABLED, old=OLD_DISABLED, why="it was reworded"),
    Case("shutdown graceful", b"shutdown graceful\r\n", DISABLED, old=OLD_DISABLED, why="it was reworded"),
    Case("shutdown of no kind", b"shutdown x\r\n", DISABLED, old=OLD_DISABLED, why="it was reworded"),
    Case("silent shutdown", b"shutdown noreply\r\n", b"", old=OLD_DISABLED, why="1.6.18 knew no noreply here"),
    Case("debug commands", b"debugitem lock k\r\nmisbehave\r\ndebugtime 1\r\n", b"ERROR\r\n" * 3),
)
def test_what_is_not_enabled(client, case):
    client.play(case)


@pytest.mark.parametrize("line", [b"shutdown", b"shutdown graceful", b"shutdown g"])
def test_shutdown_ends_the_daemon(launch, line):
    server = launch("-A")
    with server.client() as client:
        if line.endswith(b" g") and server.version < (1, 6, 45):
            pytest.skip("1.6.18 wanted the whole word")
        client.ask(stored("k", "a"), b"STORED\r\n")
        client.send(line + b"\r\n")
        assert client.rest() == b""
    assert server.wait() in (0, -signal.SIGINT)


@pytest.mark.parametrize("line", [b"shutdown x", b"shutdown graceful x"])
def test_shutdown_of_no_kind_is_refused(launch, line):
    with launch("-A").client() as client:
        if client.server.version < (1, 6, 45) and line.endswith(b"graceful x"):
            pytest.skip("1.6.18 did not know how to say no")
        client.ask(line + b"\r\n", b"CLIENT_ERROR invalid shutdown mode\r\n")
