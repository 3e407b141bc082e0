"""exptime and flush_all with a delay: on memcached's clock, which ticks in seconds."""

import time

import pytest

from .wire import Case, eventually, stored, table

BAD_LINE = b"CLIENT_ERROR bad command line format\r\n"
MONTH = 60 * 60 * 24 * 30
HELD = b"STORED\r\nVALUE k 0 1\r\na\r\nEND\r\n"
GONE = b"STORED\r\nEND\r\n"
SOON = 8  # seconds within which a few seconds are surely over, on a busy machine too


def expiring(exptime):
    return stored("k", "a", exptime=exptime) + b"get k\r\n"


@table(
    Case("0 is never", expiring(0), HELD),
    Case("a minute is not over", expiring(60), HELD),
    Case("thirty days are counted from now", expiring(MONTH), HELD),
    Case("one second more is a date of 1970", expiring(MONTH + 1), GONE),
    Case("a date to come", expiring(2_147_483_647), HELD),
    Case("a negative time is over", expiring(-1), GONE),
    Case("the most negative time is over", expiring(-2_147_483_648), GONE),
    Case(
        "an expiry beyond 64 bits is refused",
        expiring(9_223_372_036_854_775_808),
        BAD_LINE + b"END\r\n",
        old=BAD_LINE + b"ERROR\r\nEND\r\n",
        why="the data block is swallowed now",
    ),
    Case("the least expiry of 64 bits is cut to never", expiring(-9_223_372_036_854_775_808), HELD),
    Case("a plus before it", b"set k +5 +0 +1\r\na\r\nget k\r\n", b"STORED\r\nVALUE k 5 1\r\na\r\nEND\r\n"),
    Case("2^31 wraps to a negative time", expiring(2_147_483_648), GONE),
    Case("2^32-1 wraps to -1", expiring(4_294_967_295), GONE),
    Case("2^32 wraps to never", expiring(4_294_967_296), HELD),
    Case("an item stored over an expired one stays", expiring(-1) + expiring(0), GONE + HELD),
    Case("an item that is stored expired hides the old one", expiring(0) + expiring(-1), HELD + GONE),
)
def test_exptime_of_set(client, case):
    client.play(case)


@pytest.mark.parametrize("offset, held", [(-10, False), (100, True)])
def test_a_date_is_compared_with_the_clock(client, offset, held):
    client.ask(expiring(int(time.time()) + offset), HELD if held else GONE)


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(lambda: stored("k", "a", exptime=2), id="set for seconds"),
        pytest.param(lambda: stored("k", "a", exptime=int(time.time()) + 2), id="set until a date"),
        pytest.param(lambda: stored("k", "a", exptime=2, verb="add"), id="add for seconds"),
        pytest.param(lambda: stored("k", "a") + b"touch k 2\r\n", id="touch for seconds"),
        pytest.param(lambda: stored("k", "a") + b"gat 2 k\r\n", id="gat for seconds"),
    ],
)
def test_an_item_lives_its_seconds_and_no_longer(client, start):
    client.talk(start())
    begun = time.monotonic()
    eventually("it expires", lambda: client.talk(b"get k\r\n") == b"END\r\n", SOON, 0.05)
    # The clock ticks in seconds, so the first of them may be over at once.
    assert 0.9 <= time.monotonic() - begun < 3.5


def test_touch_lengthens_a_life(client):
    client.ask(stored("short", "a", exptime=1) + stored("long", "a", exptime=1), b"STORED\r\n" * 2)
    client.ask(b"touch long 100\r\n", b"TOUCHED\r\n")
    eventually("the other expires", lambda: client.talk(b"get short\r\n") == b"END\r\n", SOON, 0.05)
    client.ask(b"get long\r\n", b"VALUE long 0 1\r\na\r\nEND\r\n")


def test_gat_lengthens_a_life(client):
    client.ask(stored("short", "a", exptime=1) + stored("long", "a", exptime=1), b"STORED\r\n" * 2)
    client.ask(b"gat 100 long\r\n", b"VALUE long 0 1\r\na\r\nEND\r\n")
    eventually("the other expires", lambda: client.talk(b"get short\r\n") == b"END\r\n", SOON, 0.05)
    client.ask(b"get long\r\n", b"VALUE long 0 1\r\na\r\nEND\r\n")


@pytest.mark.parametrize(
    "command, says",
    [
        (b"get k", b"END\r\n"),
        (b"gets k", b"END\r\n"),
        (b"gat 0 k", b"END\r\n"),
        (b"touch k 0", b"NOT_FOUND\r\n"),
        (b"delete k", b"NOT_FOUND\r\n"),
        (b"incr k 1", b"NOT_FOUND\r\n"),
        (b"decr k 1", b"NOT_FOUND\r\n"),
        (b"add k 0 0 1\r\nx", b"STORED\r\n"),
        (b"set k 0 0 1\r\nx", b"STORED\r\n"),
        (b"replace k 0 0 1\r\nx", b"NOT_STORED\r\n"),
        (b"append k 0 0 1\r\nx", b"NOT_STORED\r\n"),
        (b"prepend k 0 0 1\r\nx", b"NOT_STORED\r\n"),
        (b"cas k 0 0 1 1\r\nx", b"NOT_FOUND\r\n"),
    ],
)
def test_to_every_command_an_expired_item_is_missing(client, command, says):
    client.ask(stored("k", "1", exptime=-1) + command + b"\r\n", b"STORED\r\n" + says)


@table(
    Case("it empties", stored("k", "a") + b"flush_all\r\nget k\r\n", b"STORED\r\nOK\r\nEND\r\n"),
    Case("0 is now", stored("k", "a") + b"flush_all 0\r\nget k\r\n", b"STORED\r\nOK\r\nEND\r\n"),
    Case("a negative time is now", stored("k", "a") + b"flush_all -1\r\nget k\r\n", b"STORED\r\nOK\r\nEND\r\n"),
    Case("what stands behind the time is nothing", b"flush_all 0 0\r\n", b"OK\r\n"),
    Case(
        "a time beyond 32 bits is refused",
        b"flush_all 2147483648\r\nflush_all -2147483649\r\n",
        b"CLIENT_ERROR invalid exptime argument\r\n" * 2,
        old=b"OK\r\n" * 2,
        why="1.6.18 cut it to 32 bits, now it is checked",
    ),
    Case("no number is refused", b"flush_all x\r\n", b"CLIENT_ERROR invalid exptime argument\r\n"),
    Case(
        "what is refused flushes nothing",
        stored("k", "a") + b"flush_all x\r\nget k\r\n",
        b"STORED\r\nCLIENT_ERROR invalid exptime argument\r\nVALUE k 0 1\r\na\r\nEND\r\n",
    ),
    Case("what is stored next stays", b"flush_all\r\n" + stored("k", "a") + b"get k\r\n", b"OK\r\n" + HELD),
    Case(
        "add stores after it",
        stored("k", "x") + b"flush_all\r\n" + stored("k", "a", verb="add") + b"get k\r\n",
        b"STORED\r\nOK\r\n" + HELD,
    ),
    Case(
        "append finds nothing after it",
        stored("k", "x") + b"flush_all\r\n" + stored("k", "a", verb="append"),
        b"STORED\r\nOK\r\nNOT_STORED\r\n",
    ),
    Case(
        "incr finds nothing after it", stored("k", "1") + b"flush_all\r\nincr k 1\r\n", b"STORED\r\nOK\r\nNOT_FOUND\r\n"
    ),
    Case(
        "delete finds nothing after it",
        stored("k", "1") + b"flush_all\r\ndelete k\r\n",
        b"STORED\r\nOK\r\nNOT_FOUND\r\n",
    ),
    Case(
        "touch finds nothing after it",
        stored("k", "1") + b"flush_all\r\ntouch k 0\r\n",
        b"STORED\r\nOK\r\nNOT_FOUND\r\n",
    ),
)
def test_flush_all(client, case):
    client.play(case)


def test_set_and_flush_all_in_turns_never_lose_the_last_set(client):
    for _ in range(200):
        client.ask(b"flush_all\r\n" + stored("k", "a") + b"get k\r\n", b"OK\r\n" + HELD)


def gone(client, key):
    return lambda: client.talk(b"get %s\r\n" % key) == b"END\r\n"


@pytest.mark.parametrize("date", [False, True], ids=["a delay", "a date"])
def test_a_delayed_flush_all_takes_what_is_stored_until_then(launch, date):
    with launch().client() as client:
        client.ask(stored("before", "a"), b"STORED\r\n")
        when = int(time.time()) + 3 if date else 3
        begun = time.monotonic()
        client.ask(b"flush_all %d\r\n" % when + stored("between", "a"), b"OK\r\nSTORED\r\n")
        client.ask(b"get before\r\n", b"VALUE before 0 1\r\na\r\nEND\r\n")
        client.ask(b"get between\r\n", b"VALUE between 0 1\r\na\r\nEND\r\n")
        eventually("the flush takes the older", gone(client, b"before"), SOON, 0.05)
        assert time.monotonic() - begun > 1
        eventually("the flush takes the newer", gone(client, b"between"), SOON, 0.05)


def test_what_is_stored_after_a_delayed_flush_all_stays(launch):
    with launch().client() as client:
        client.ask(stored("before", "a") + b"flush_all 1\r\n", b"STORED\r\nOK\r\n")
        eventually("the flush is done", gone(client, b"before"), SOON, 0.05)
        # memcached's flush takes all of its second, so a store may need a second try.
        eventually("a store holds", lambda: client.talk(stored("k", "a") + b"get k\r\n") == HELD, SOON, 0.05)
        client.ask(stored("witness", "a", exptime=2), b"STORED\r\n")
        eventually("time passes", gone(client, b"witness"), SOON, 0.05)
        client.ask(b"get k\r\n", b"VALUE k 0 1\r\na\r\nEND\r\n")


def test_a_second_flush_all_replaces_one_that_waits(launch):
    with launch().client() as client:
        client.ask(b"flush_all 2\r\nflush_all 1000\r\n", b"OK\r\n" * 2)
        client.ask(stored("k", "a") + stored("witness", "a", exptime=4), b"STORED\r\n" * 2)
        eventually("the time of the first is over", gone(client, b"witness"), SOON, 0.05)
        client.ask(b"get k\r\n", b"VALUE k 0 1\r\na\r\nEND\r\n")
